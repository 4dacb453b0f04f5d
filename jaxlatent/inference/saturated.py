"""Unrestricted means and covariances of incomplete rows: a few EM steps, then Newton's method."""

from __future__ import annotations

import numpy as np

from jaxlatent.data.incomplete import Buckets, cases_of
from jaxlatent.data.moments import GroupMoments
from jaxlatent.data.responses import Responses
from jaxlatent.inference.casewise_sums import casewise_sums, inverse_of, persons, saturated_information_of
from jaxlatent.inference.chord_engine import Chord, run_on_host
from jaxlatent.inference.moment_model import normal_weight, vech_index
from jaxlatent.inference.newton_engine import NewtonProblem

EM_STEPS = 9
SECOND_ORDER_LIMIT = 40  # variables; above, the Hessian over (mu, vech Sigma) is too large and EM goes on alone
EM_TOLERANCE, EM_LIMIT = 1e-9, 2000


def em_step(cases: Buckets, mu: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One EM step of the saturated model."""
    sums = casewise_sums(mu, sigma, cases)
    return sums.mean, sums.cov


def _em_to_the_end(cases: Buckets, mu: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """EM until the largest change, in standard deviations, is below EM_TOLERANCE; minus log-likelihood last."""
    for _ in range(EM_LIMIT):
        scale = np.sqrt(np.diagonal(sigma))
        old_mu, old = mu, sigma
        mu, sigma = em_step(cases, mu, sigma)
        change = max(np.abs((mu - old_mu) / scale).max(), np.abs((sigma - old) / (scale[:, None] * scale)).max())
        if not change > EM_TOLERANCE:
            break
    return mu, sigma, float(casewise_sums(mu, sigma, cases).value)


def pack_moments(mu: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """(mu, vech Sigma) [p + p(p+1)/2]."""
    return np.concatenate([mu, sigma[vech_index(len(mu))]])


def unpack_moments(x: np.ndarray, p: int) -> tuple[np.ndarray, np.ndarray]:
    sigma = np.zeros((p, p))
    sigma[vech_index(p)] = x[p:]
    return x[:p], sigma + np.tril(sigma, -1).T


def saturated_first(cases: Buckets, x: np.ndarray) -> tuple[float, np.ndarray]:
    """Minus log-likelihood per person of free moments, and its gradient over (mu, vech Sigma)."""
    s, n = casewise_sums(*unpack_moments(x, _variables(cases)), cases), persons(cases)
    return s.value / n, pack_moments(s.d_mean, s.d_cov - np.diag(np.diagonal(s.d_cov)) / 2) / n


def saturated_second(cases: Buckets, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hessian per person over (mu, vech Sigma), and the complete-data information."""
    mu, sigma = unpack_moments(x, _variables(cases))
    complete = normal_weight(inverse_of(mu, sigma).inverse, True)
    return saturated_information_of(cases, mu, sigma) / persons(cases), complete


def _variables(cases: Buckets) -> int:
    return cases[0].mean.shape[1]


def saturated_moments(data: Responses, made: tuple[Buckets, ...] | None = None) -> tuple[GroupMoments, float]:
    """Maximum likelihood means and covariances per group, and the log-likelihood at them; made: their cases."""
    means, covs, ns, total = [], [], [], 0.0
    for g in range(data.n_groups):
        cases = made[g] if made else cases_of(data, g)
        mu, sigma, value = _maximise(cases, *_available(data, g))
        means.append(mu)
        covs.append(sigma)
        ns.append(len(data.rows_of(g)))
        total -= value
    return GroupMoments(np.array(means), np.array(covs), np.array(ns), data.names), total


def _available(data: Responses, g: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances of what is observed: where EM starts."""
    rows = slice(None) if data.n_groups == 1 else data.rows_of(g)
    both = [(np.nanmean(c), np.nanvar(c)) for c in data.y[rows].T]  # column by column: no copy of the data
    return np.array([m for m, _ in both]), np.diag([v for _, v in both])


def _maximise(cases: Buckets, mu: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    p = len(mu)
    if p > SECOND_ORDER_LIMIT:
        return _em_to_the_end(cases, mu, sigma)
    for _ in range(EM_STEPS):
        mu, sigma = em_step(cases, mu, sigma)
    problem = NewtonProblem(cases, None, None, pack_moments(mu, sigma), persons(cases), 0.0)
    found = run_on_host(Chord(saturated_first, saturated_second), problem)
    if int(found.code) != 1:
        return _em_to_the_end(cases, mu, sigma)
    return *unpack_moments(found.free, p), -float(found.log_likelihood)
