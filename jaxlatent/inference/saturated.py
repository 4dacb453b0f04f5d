"""Unrestricted means and covariances of incomplete rows: a few EM steps, then Newton's method."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.incomplete import CaseArrays, cases_of
from jaxlatent.data.moments import GroupMoments
from jaxlatent.data.responses import Responses
from jaxlatent.inference.chord_engine import Chord
from jaxlatent.inference.newton_engine import NewtonProblem, run
from jaxlatent.models.casewise_objective import (
    count,
    em_step,
    pack_moments,
    saturated_first,
    saturated_second,
)
from jaxlatent.numerics.masked import Cases
from jaxlatent.numerics.types import Array

EM_STEPS = 9
SECOND_ORDER_LIMIT = 40  # variables; above, the Hessian over (mu, vech Sigma) is too large and EM goes on alone
EM_TOLERANCE, EM_LIMIT = 1e-9, 2000


@partial(jax.jit, static_argnums=3)
def _em(cases: tuple[Cases, ...], mu: jax.Array, sigma: jax.Array, steps: int) -> tuple[jax.Array, jax.Array]:
    return jax.lax.fori_loop(0, steps, lambda _, s: em_step(cases, *s), (mu, sigma))


@jax.jit
def _em_to_the_end(cases: tuple[Cases, ...], mu: jax.Array, sigma: jax.Array) -> tuple[jax.Array, ...]:
    """EM until the largest change, in standard deviations, is below EM_TOLERANCE; minus log-likelihood last."""

    def body(s: tuple) -> tuple:
        mu, sigma, _, k = s
        new_mu, new = em_step(cases, mu, sigma)
        scale = jnp.sqrt(jnp.diagonal(sigma))
        change = jnp.maximum(
            jnp.abs((new_mu - mu) / scale).max(), jnp.abs((new - sigma) / (scale[:, None] * scale)).max()
        )
        return new_mu, new, change, k + 1

    start = (mu, sigma, jnp.array(jnp.inf), 0)
    mu, sigma, _, _ = jax.lax.while_loop(lambda s: (s[2] > EM_TOLERANCE) & (s[3] < EM_LIMIT), body, start)
    value, _ = saturated_first(cases, pack_moments(mu, sigma))
    return mu, sigma, value * count(cases)


def saturated_moments(
    data: Responses, made: tuple[tuple[CaseArrays, ...], ...] | None = None
) -> tuple[GroupMoments, float]:
    """Maximum likelihood means and covariances per group, and the log-likelihood at them; made: their cases."""
    means, covs, ns, total = [], [], [], 0.0
    for g in range(data.n_groups):
        cases = tuple(Cases(*b) for b in (made[g] if made else cases_of(data, g)))
        with jax.enable_x64(True):
            mu, sigma, value = _maximise(cases, *_available(data, g))
        means.append(mu)
        covs.append(sigma)
        ns.append(len(data.rows_of(g)))
        total -= value
    return GroupMoments(np.array(means), np.array(covs), np.array(ns), data.names), total


def _available(data: Responses, g: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances of what is observed: where EM starts."""
    rows = slice(None) if data.n_groups == 1 else data.rows_of(g)
    columns = [c[~np.isnan(c)] for c in data.y[rows].T]
    return np.array([c.mean() for c in columns]), np.diag([c.var() for c in columns])


def _maximise(cases: tuple[Cases, ...], mu: Array, sigma: Array) -> tuple[np.ndarray, np.ndarray, float]:
    p = len(mu)
    if p > SECOND_ORDER_LIMIT:
        mu, sigma, value = _em_to_the_end(cases, mu, sigma)
        return np.asarray(mu), np.asarray(sigma), float(value)
    mu, sigma = _em(cases, mu, sigma, EM_STEPS)
    problem = NewtonProblem(cases, None, None, pack_moments(mu, sigma), float(_persons(cases)), 0.0)
    found = run(Chord(saturated_first, saturated_second), problem)
    if int(found.code) != 1:
        mu, sigma, value = _em_to_the_end(cases, mu, sigma)
        return np.asarray(mu), np.asarray(sigma), float(value)
    free = np.asarray(found.free)
    sigma = np.zeros((p, p))
    sigma[np.tril_indices(p)] = free[p:]
    return free[:p], sigma + np.tril(sigma, -1).T, -float(found.log_likelihood)


def _persons(cases: tuple[Cases, ...]) -> float:
    return float(sum(np.asarray(c.n).sum() for c in cases))
