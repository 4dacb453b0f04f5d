"""Fits to incomplete rows by full information maximum likelihood: where they begin, and which sums they use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from jaxlatent.data.incomplete import Buckets, cases_of
from jaxlatent.data.moments import GroupMoments
from jaxlatent.data.responses import Responses
from jaxlatent.inference.casewise_model import CasewiseModel, casewise_first, casewise_second, two_stage
from jaxlatent.inference.casewise_sums import quadratic_form, saturated_information_of
from jaxlatent.inference.chord_engine import Chord, run_on_host
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.fitting import (
    assemble,
    moment_layout,
    moment_problem,
    newton_problem,
    normal_constant,
    solve,
    to_host,
    with_prior,
)
from jaxlatent.inference.moment_model import MomentModel
from jaxlatent.inference.newton_engine import Newton, run_newton_on_host
from jaxlatent.inference.posterior_mode import LogPrior
from jaxlatent.inference.requirements import saturated_or_refuse
from jaxlatent.inference.settings import ML
from jaxlatent.inference.written_priors import table_priors
from jaxlatent.models.casewise_objective import CasewiseProblem, fiml_first, fiml_second
from jaxlatent.models.moments_objective import MomentProblem, maximum_likelihood
from jaxlatent.numerics.blas_threads import one_thread
from jaxlatent.numerics.masked import Cases
from jaxlatent.numerics.newton import CONVERGED
from jaxlatent.spec.layout import Layout, places
from jaxlatent.spec.restrictions_matrix import split
from jaxlatent.spec.table import ParameterTable


@one_thread()
def fit_fiml(table: ParameterTable, data: Responses, engine: ML, given: Mapping[str, Any]) -> Fitted:
    made = tuple(cases_of(data, g) for g in range(data.n_groups))
    moments, saturated = saturated_or_refuse(data, made)
    layout = moment_layout(table, moments)
    prior = LogPrior(table_priors(table, layout, given), layout)
    restrictions = split(table)
    rough = moment_problem(layout, moments, True)
    near = _near(table, layout, rough, moments, restrictions, prior)
    start = rough.start.copy()
    start[: table.n_free] = near.free if np.isfinite(near.free).all() else start[: table.n_free]
    n = float(moments.n.sum())
    informed = [saturated_information_of(made[g], moments.mean[g], moments.cov[g]) for g in range(data.n_groups)]
    matrix = _two_stage_hessian(layout, start, informed, moments, len(rough.used))
    if prior:
        matrix[: table.n_free, : table.n_free] += prior.curvature(start[: table.n_free]) / n
    estimate = _solve_casewise(table, layout, rough, made, start, restrictions, n, matrix, prior)
    exogenous = [table.observed.index(v) for v in table.exogenous]
    outside = _exogenous_log_likelihood(moments, exogenous)
    logl = float(-n * estimate.statistics["value"]) - outside
    fitted = assemble(table, layout, moments, engine, "fiml", estimate, data, saturated - outside, logl, restrictions)
    per_person = {("observed", g): j / moments.n[g] for g, j in enumerate(informed)}
    return with_prior(replace(fitted, made_cases=made, saturated_cache=per_person), prior)


def _near(
    table: ParameterTable,
    layout: Layout,
    rough: MomentProblem,
    moments: GroupMoments,
    restrictions: tuple,
    prior: LogPrior,
) -> Estimate:
    """The estimate from the saturated moments alone."""
    linear, nonlinear, inequalities = restrictions
    n = float(moments.n.sum())
    if nonlinear or inequalities:
        return solve(Newton(maximum_likelihood), rough, rough.start, restrictions, table, n, 0.0, prior)
    engine, inner = prior.around(Newton(two_stage), (layout, moments), n)
    return to_host(run_newton_on_host(engine, newton_problem(inner, rough.start, linear, n, 0.0)), table.n_free)


def _solve_casewise(
    table: ParameterTable,
    layout: Layout,
    rough: MomentProblem,
    made: tuple[Buckets, ...],
    start: np.ndarray,
    restrictions: tuple,
    n: float,
    matrix: np.ndarray,
    prior: LogPrior,
) -> Estimate:
    """Steered by the host; in one compiled loop under constraints that are not linear."""
    linear, nonlinear, inequalities = restrictions
    if nonlinear or inequalities:
        cases = tuple(tuple(Cases(*b.gathered()) for b in group) for group in made)
        inner = CasewiseProblem(rough.cells, rough.where, rough.fixed, rough.used, cases, n)
        return solve(Chord(fiml_first, fiml_second), inner, start, restrictions, table, n, 0.0, prior)
    whole = CasewiseModel(layout, made, n)
    by_factors = whole.by_factors(len(places(table).latent))

    def run_by(way: CasewiseModel) -> Estimate:
        engine, inner = prior.around(Chord(casewise_first, casewise_second), way, n)
        problem = newton_problem(inner, start, linear, n, 0.0)._replace(matrix=matrix)
        return prior.apart(to_host(run_on_host(engine, problem), table.n_free), n)

    if by_factors is not None:
        found = run_by(by_factors)
        if int(found.code) == CONVERGED:  # else there may be a maximum where a variance is negative
            return found
    return run_by(whole)


def _two_stage_hessian(
    layout: Layout, free: np.ndarray, informed: list[np.ndarray], moments: GroupMoments, size: int
) -> np.ndarray:
    """Delta' J Delta per person at the two-stage estimates, J the information of the saturated model; padded."""
    model = MomentModel(layout, free[: layout.n_free], moments.n / moments.n.sum(), True)
    out = np.eye(size)
    used = sum(quadratic_form(model.jacobian[g], j) for g, j in enumerate(informed)) / moments.n.sum()
    out[: layout.n_free, : layout.n_free] = used
    return out


def _exogenous_log_likelihood(moments: GroupMoments, exogenous: list[int]) -> float:
    if not exogenous:
        return 0.0
    at = np.ix_(exogenous, exogenous)
    return -sum(n / 2 * normal_constant(s[at]) for s, n in zip(moments.cov, moments.n, strict=True))
