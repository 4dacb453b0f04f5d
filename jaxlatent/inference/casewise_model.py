"""A structured model and its incomplete rows, on the host: value, gradient and Hessian for a solver it steers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxlatent.data.incomplete import Buckets
from jaxlatent.data.moments import GroupMoments
from jaxlatent.inference.casewise_sums import casewise_sums, inverse_of, persons, saturated_information_of
from jaxlatent.inference.moment_model import MomentModel
from jaxlatent.numerics.newton import Evaluation
from jaxlatent.spec.layout import Layout


class CasewiseModel(NamedTuple):
    """Layout, cases by group and by number of missing variables, and persons in all."""

    layout: Layout
    cases: tuple[Buckets, ...]
    n: float

    def at(self, free: np.ndarray) -> MomentModel:
        weight = np.array([persons(c) for c in self.cases]) / self.n
        return MomentModel(self.layout, free[: self.layout.n_free], weight, True)


def two_stage(problem: tuple[Layout, GroupMoments], free: np.ndarray) -> Evaluation:
    """The discrepancy of the saturated moments: where a casewise solver begins. nan where it does not exist."""
    layout, moments = problem
    used, size = layout.n_free, len(free)
    at = Evaluation(0.0, np.zeros(size), np.eye(size), np.eye(size))
    at.hessian[:used, :used] = at.expected[:used, :used] = 0
    value = 0.0
    try:
        model = MomentModel(layout, free[:used], moments.n / moments.n.sum(), True)
        for g, w in enumerate(model.weight):
            mu, sigma = model.implied[g]
            point = inverse_of(mu, sigma)
            residual = moments.mean[g] - mu
            moment = moments.cov[g] + np.outer(residual, residual)
            k = point.inverse
            value += w * (point.log_det + (k * moment).sum()) / 2
            at.gradient[:used] += w * model.pull(g, k - k @ moment @ k, k @ residual)
            at.hessian[:used, :used] += w * model.observed_information(g, moments.mean[g], moments.cov[g])
            at.expected[:used, :used] += w * model.expected_information(g, k)
    except np.linalg.LinAlgError:
        value = np.nan
    return at._replace(value=value)


def casewise_first(problem: CasewiseModel, free: np.ndarray) -> tuple[float, np.ndarray]:
    """Minus log-likelihood per person and its gradient [free], zero for padding; nan where it does not exist."""
    value, gradient = 0.0, np.zeros(len(free))
    try:
        model = problem.at(free)
        for g, cases in enumerate(problem.cases):
            s = casewise_sums(*model.implied[g], cases)
            value += float(s.value)
            gradient[: problem.layout.n_free] += model.pull(g, s.d_cov, -s.d_mean)
    except np.linalg.LinAlgError:  # regressions whose I - B is singular
        return np.nan, gradient
    return value / problem.n, gradient / problem.n


def casewise_second(problem: CasewiseModel, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hessian per person, and the complete-data information that bounds it [free, free]; one for padding."""
    model, used = problem.at(free), problem.layout.n_free
    hessian, complete = np.eye(len(free)), np.eye(len(free))
    hessian[:used, :used] = observed_hessian(model, problem.cases) / problem.n
    complete[:used, :used] = sum(
        w * model.expected_information(g, inverse_of(*model.implied[g]).inverse) for g, w in enumerate(model.weight)
    )
    return hessian, complete


def observed_hessian(model: MomentModel, cases: tuple[Buckets, ...]) -> np.ndarray:
    """Hessian of minus the log-likelihood [n_free, n_free], summed over persons."""
    total = np.zeros((model.layout.n_free,) * 2)
    for g, buckets in enumerate(cases):
        moments = saturated_information_of(buckets, *model.implied[g])
        s = casewise_sums(*model.implied[g], buckets)
        total += model.jacobian[g].T @ moments @ model.jacobian[g] + model.curvature(g, s.d_cov, -s.d_mean)
    return total
