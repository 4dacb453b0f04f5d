"""The two-level Gaussian log-likelihood with its derivatives, on the host; of incomplete rows by two_level_casewise.

Persons i in clusters j of size n: y_ij = u_j + w_ij with w ~ N(mu_W, Sigma_W), u ~ N(mu_B, Sigma_B), zero where a
variable does not exist at a level. Rotating the rows of a cluster leaves its mean, scaled, and n - 1 deviations,

    a * mean_j ~ N(a * (mu_W + mu_B), V_n),   V_n = Sigma_W + aa' * Sigma_B,   a = sqrt(n), 1 for a cluster's variable
    deviations ~ N(0, Sigma_W)

so that clusters of one size are a group of a model for several groups, and pooled deviations another (McDonald and
Goldstein 1989; Muthen 1990).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxlatent.data.cluster_cases import ClusterCases
from jaxlatent.data.cluster_moments import ClusterMoments
from jaxlatent.inference.moment_model import MomentModel, vech_index
from jaxlatent.inference.two_level_casewise import cluster_parts, pulls, within_pulls
from jaxlatent.numerics.newton import Evaluation
from jaxlatent.spec.layout import Layout

STEP = 3e-4  # of differences of gradients


class TwoLevelProblem(NamedTuple):
    """A layout whose leading axis is the level (within, between), and the data.

    cases: incomplete rows; moments are then of filled ones, for starting values and an expected Hessian to lean on.
    """

    layout: Layout
    moments: ClusterMoments
    cases: ClusterCases | None = None

    def at(self, free: np.ndarray) -> MomentModel:
        return MomentModel(self.layout, free, np.ones(2), True)


class LevelMoments(NamedTuple):
    """Means [p] and covariances [p, p] of both levels, zero where a variable does not exist."""

    within_mean: np.ndarray
    within: np.ndarray
    between_mean: np.ndarray
    between: np.ndarray

    @classmethod
    def of(cls, model: MomentModel) -> LevelMoments:
        return cls(*model.implied[0], *model.implied[1])

    @property
    def stacked(self) -> tuple[np.ndarray, np.ndarray]:
        """Means [2, p] and covariances [2, p, p] by level."""
        return np.stack([self.within_mean, self.between_mean]), np.stack([self.within, self.between])

    @property
    def mean(self) -> np.ndarray:
        return self.within_mean + self.between_mean


def scale_of(moments: ClusterMoments, size: float) -> np.ndarray:
    """a [p]: what means of clusters of a size are multiplied by."""
    return np.where(moments.within, np.sqrt(size), 1.0)


def log_likelihood(moments: ClusterMoments, at: LevelMoments) -> float:
    """Of all rows; nan where a covariance matrix is not positive definite."""
    v = np.flatnonzero(moments.within)
    others = len(moments.within) - len(v)
    total = -(moments.persons * len(v) + moments.clusters * others) / 2 * np.log(2 * np.pi)
    for size, count, mean, cov in zip(moments.size, moments.number, moments.mean, moments.cov, strict=True):
        a = scale_of(moments, size)
        total -= count / 2 * _discrepancy(at.within + np.outer(a, a) * at.between, a * (mean - at.mean), a, cov)
    df = moments.persons - moments.clusters
    if len(v) and df:
        inner = np.ix_(v, v)
        scatter = moments.scatter[inner] / df
        total -= df / 2 * _discrepancy(at.within[inner], np.zeros(len(v)), np.ones(len(v)), scatter)
    return float(total)


def _discrepancy(v: np.ndarray, residual: np.ndarray, a: np.ndarray, cov: np.ndarray) -> float:
    sign, log_det = np.linalg.slogdet(v)
    if sign <= 0 or np.linalg.eigvalsh(v)[0] <= 0:
        return np.nan
    return float(log_det + np.trace(np.linalg.solve(v, np.outer(a, a) * cov + np.outer(residual, residual))))


def joint_log_likelihood(problem: TwoLevelProblem, at: LevelMoments) -> float:
    """Of all observed values, also of incomplete rows; nan where a covariance matrix is not positive definite."""
    if problem.cases is None:
        return log_likelihood(problem.moments, at)
    return float(cluster_parts(problem.cases, at.mean, at.within, at.between).value.sum())


def two_level(problem: TwoLevelProblem, free: np.ndarray) -> Evaluation:
    """Minus log-likelihood per person, gradient, observed and expected Hessian; nan where it does not exist.

    What free has beyond the layout's parameters is padding: zero in the gradient, one in the Hessians.
    """
    q, used = len(free), problem.layout.n_free
    out = Evaluation(np.nan, np.zeros(q), np.eye(q), np.eye(q))
    try:
        model = problem.at(free[:used])
        at = LevelMoments.of(model)
        value = -joint_log_likelihood(problem, at)
        if not np.isfinite(value):
            return out
        found = _derivatives(problem.moments, model, at, value)
        if problem.cases is not None:
            found = _casewise(problem, free[:used], found)
    except np.linalg.LinAlgError:
        return out
    out.gradient[:used] = found.gradient
    out.hessian[:used, :used], out.expected[:used, :used] = found.hessian, found.expected
    return out._replace(value=found.value)


def _derivatives(moments: ClusterMoments, model: MomentModel, at: LevelMoments, value: float) -> Evaluation:
    d_within, d_between, d_mean = moment_derivatives(model)
    q, p = d_mean.shape
    pull_within, pull_between, pull_mean = np.zeros((p, p)), np.zeros((p, p)), np.zeros(p)
    hessian, expected = np.zeros((q, q)), np.zeros((q, q))
    for size, count, mean, cov in zip(moments.size, moments.number, moments.mean, moments.cov, strict=True):
        a = scale_of(moments, size)
        aa = np.outer(a, a)
        k = np.linalg.inv(at.within + aa * at.between)
        r = a * (mean - at.mean)
        m = k @ (aa * cov + np.outer(r, r)) @ k
        pull = count * (k - m)
        pull_within, pull_between = pull_within + pull, pull_between + aa * pull
        pull_mean += count * a * (k @ r)
        part, information = _second(k, m, k @ r, d_within + aa * d_between, a * d_mean)
        hessian, expected = hessian + count * part, expected + count * information
    df = moments.persons - moments.clusters
    v = np.flatnonzero(moments.within)
    if len(v) and df:
        inner = np.ix_(v, v)
        k = np.linalg.inv(at.within[inner])
        m = k @ (moments.scatter[inner] / df) @ k
        pull_within[inner] += df * (k - m)
        part, information = _second(k, m, np.zeros(len(v)), d_within[:, v][:, :, v], np.zeros((q, len(v))))
        hessian, expected = hessian + df * part, expected + df * information
    gradient = model.pull(0, pull_within, pull_mean) + model.pull(1, pull_between, pull_mean)
    hessian += model.curvature(0, pull_within, pull_mean) + model.curvature(1, pull_between, pull_mean)
    n = moments.persons
    return Evaluation(value / n, gradient / n, hessian / n, expected / n)


def _casewise(problem: TwoLevelProblem, free: np.ndarray, complete: Evaluation) -> Evaluation:
    """Of incomplete rows: an exact gradient, the Hessian by its central differences, the expected one of filled rows.

    Steps are small beside the standard deviation that one person leaves of each parameter.
    """
    n = problem.moments.persons
    steps = STEP / np.sqrt(np.maximum(np.diag(complete.expected), 1e-12))

    def gradient(x: np.ndarray) -> np.ndarray:
        model = problem.at(x)
        at = LevelMoments.of(model)
        assert problem.cases is not None
        found = pulls(problem.cases, cluster_parts(problem.cases, at.mean, at.within, at.between, checked=False))
        return (model.pull(0, found[0], found[2]) + model.pull(1, found[1], found[2])) / n

    ways = np.diag(steps)
    hessian = np.stack([(gradient(free + d) - gradient(free - d)) / (2 * s) for d, s in zip(ways, steps, strict=True)])
    return complete._replace(gradient=gradient(free), hessian=(hessian + hessian.T) / 2)


def _second(
    k: np.ndarray, m: np.ndarray, kr: np.ndarray, d_cov: np.ndarray, d_mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Second derivatives of 1/2 [log|V| + tr(V^-1 M)] in linear directions of V and the mean, and their expectation.

    k = V^-1, m = V^-1 M V^-1 with M the moments about the mean, kr = V^-1 times the residual of the mean.
    """
    q = len(d_cov)
    flat = lambda x: x.reshape(q, -1)  # noqa: E731
    turned = flat(d_cov @ k)  # (k dV)', for tr(X Y) is the sum of X * Y'
    plain = flat(k @ d_cov) @ turned.T / 2
    means = d_mean @ k @ d_mean.T
    cross = (d_mean @ k) @ (d_cov @ kr).T
    return flat(m @ d_cov) @ turned.T - plain + means + cross + cross.T, plain + means


def moment_derivatives(model: MomentModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """d Sigma_W, d Sigma_B [free, p, p] and d (mu_W + mu_B) [free, p]."""
    p = model.implied[0][0].shape[0]
    rows, columns = vech_index(p)
    out = []
    for jacobian in model.jacobian:
        full = np.zeros((jacobian.shape[1], p, p))
        full[:, rows, columns] = full[:, columns, rows] = jacobian[p:].T
        out.append(full)
    return out[0], out[1], (model.jacobian[0][:p] + model.jacobian[1][:p]).T


def cluster_scores(cases: ClusterCases, model: MomentModel) -> np.ndarray:
    """Scores of clusters over the free parameters [cluster, free]; they add up to the log-likelihood's gradient."""
    at = LevelMoments.of(model)
    d_within, d_between, d_mean = moment_derivatives(model)
    found = cluster_parts(cases, at.mean, at.within, at.between, checked=False)
    flat = lambda x: x.reshape(len(x), -1)  # noqa: E731
    outer = (found.h[:, :, None] * found.h[:, None, :] - found.big_h) / 2
    inner = within_pulls(cases, found)
    return np.asarray(flat(inner) @ flat(d_within).T + flat(outer) @ flat(d_between).T + found.h @ d_mean.T)
