"""A structured model and its incomplete rows, on the host: value, gradient and Hessian for a solver it steers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxlatent.data.incomplete import Buckets, CaseArrays, joined
from jaxlatent.data.moments import GroupMoments
from jaxlatent.inference.casewise_sums import (
    casewise_sums,
    factor_information,
    factor_sums,
    inverse_of,
    persons,
    quadratic_form,
    saturated_information_of,
)
from jaxlatent.inference.moment_model import MomentModel
from jaxlatent.models.casewise import FactorPoint, Sums
from jaxlatent.models.cells import total_effects
from jaxlatent.numerics.newton import Evaluation
from jaxlatent.spec.layout import Layout


class CasewiseModel(NamedTuple):
    """Layout, cases by group and by number of missing variables, persons in all; factors: their number, or None.

    With factors the sums cost the cube of their number, not of that of the missing variables.
    """

    layout: Layout
    cases: tuple[Buckets, ...]
    n: float
    factors: int | None = None

    def at(self, free: np.ndarray) -> MomentModel:
        weight = np.array([persons(c) for c in self.cases]) / self.n
        return MomentModel(self.layout, free[: self.layout.n_free], weight, True)

    def sums(self, model: MomentModel, g: int) -> Sums:
        """Value and derivatives of group g."""
        if self.factors is None:
            return casewise_sums(*model.implied[g], self.cases[g])
        return factor_sums(self._factor_point(model, g), self.cases[g])

    def information(self, model: MomentModel, g: int) -> np.ndarray:
        """Observed information of group g over (mu, vech Sigma), summed over persons."""
        if self.factors is None:
            return saturated_information_of(self.cases[g], *model.implied[g])
        return factor_information(self._factor_point(model, g), self.cases[g])

    def _factor_point(self, model: MomentModel, g: int) -> FactorPoint:
        params, m = model.group(g), self.factors
        total = total_effects(params["regressions"])
        phi = (total @ params["factor_cov"] @ total.T)[:m, :m]
        diag = np.diagonal(params["residual_cov"]).copy()
        return FactorPoint(model.implied[g][0], params["loadings"][:, :m], diag, phi)

    def by_factors(self, latent: int) -> CasewiseModel | None:
        """The same by factors where that is possible and takes fewer multiplications: many patterns, Theta diagonal.

        By missing blocks a case costs k^3, k its number of missing variables as its bucket rounds it up; by m factors
        p m (p + 2 m).
        """
        buckets = [bucket for group in self.cases for bucket in group]
        if any(isinstance(bucket, CaseArrays) and bucket.scatter is not None for bucket in buckets):
            return None
        index, fixed = self.layout.index["residual_cov"], self.layout.fixed["residual_cov"]
        diagonal = np.eye(index.shape[-1], dtype=bool)
        possible = np.where(diagonal, (index >= 0) | (fixed > 0), (index < 0) & (fixed == 0))
        blocks = sum(len(b.n) * b.width**3 for b in buckets) / sum(len(b.n) for b in buckets)
        p = index.shape[-1]
        if not possible.all() or blocks <= p * latent * (p + 2 * latent):
            return None
        return self._replace(cases=tuple(joined(group) for group in self.cases), factors=latent)


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
        for g in range(model.n_groups):
            s = problem.sums(model, g)
            value += float(s.value)
            gradient[: problem.layout.n_free] += model.pull(g, s.d_cov, -s.d_mean)
    except np.linalg.LinAlgError:  # regressions whose I - B is singular
        return np.nan, gradient
    return value / problem.n, gradient / problem.n


def casewise_second(problem: CasewiseModel, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hessian per person, and the complete-data information that bounds it [free, free]; one for padding."""
    model, used = problem.at(free), problem.layout.n_free
    hessian, complete = np.eye(len(free)), np.eye(len(free))
    hessian[:used, :used] = observed_hessian(problem, model) / problem.n
    complete[:used, :used] = sum(
        w * model.expected_information(g, inverse_of(*model.implied[g]).inverse) for g, w in enumerate(model.weight)
    )
    return hessian, complete


def observed_hessian(problem: CasewiseModel, model: MomentModel) -> np.ndarray:
    """Hessian of minus the log-likelihood [n_free, n_free], summed over persons."""
    total = np.zeros((model.layout.n_free,) * 2)
    for g in range(model.n_groups):
        moments, s = problem.information(model, g), problem.sums(model, g)
        total += quadratic_form(model.jacobian[g], moments) + model.curvature(g, s.d_cov, -s.d_mean)
    return total
