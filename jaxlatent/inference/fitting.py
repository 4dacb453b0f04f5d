"""From a parameter table and data to a fitted model: validation, starting values, the compiled engine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from jaxlatent.data.incomplete import zero_coverage
from jaxlatent.data.moments import GroupMoments, Moments, from_cov, sample_moments
from jaxlatent.data.responses import Responses
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.moment_model import MomentModel, normal_weight
from jaxlatent.inference.newton_engine import MAX_STEPS, TOLERANCE, Newton, NewtonProblem, run
from jaxlatent.inference.posterior_mode import NOTE, LogPrior, mode_engine
from jaxlatent.inference.requirements import check_size, check_start, saturated_or_refuse
from jaxlatent.inference.settings import ML, LeastSquares
from jaxlatent.inference.weights import weight_matrices
from jaxlatent.inference.written_priors import table_priors
from jaxlatent.models.cells import cells_of, round_up
from jaxlatent.models.moments_objective import MomentProblem, least_squares, maximum_likelihood
from jaxlatent.spec.layout import Layout, layout_of, places
from jaxlatent.spec.restrictions_matrix import Linear, split
from jaxlatent.spec.start import starting_values
from jaxlatent.spec.table import ParameterTable

FREE_STEP, LATENT_STEP = 32, 4  # shapes are rounded up to these, so that models of one size share a program


def exogenous_moments(table: ParameterTable, mean: np.ndarray, cov: np.ndarray) -> list[dict]:
    """The sample moments that stand in the table's exo rows, per group."""
    at = {v: table.observed.index(v) for v in table.exogenous}
    out = []
    for m, s in zip(mean, cov, strict=True):
        values: dict[tuple, float] = {(a, b): s[i, j] for a, i in at.items() for b, j in at.items()}
        out.append(values | {(a,): m[i] for a, i in at.items()})
    return out


def moment_layout(table: ParameterTable, moments: GroupMoments) -> Layout:
    """Matrices for these moments, latent columns padded to a common width."""
    width = round_up(len(places(table).latent), LATENT_STEP)
    return layout_of(table, width=width, exogenous=exogenous_moments(table, moments.mean, moments.cov))


def moment_problem(layout: Layout, moments: GroupMoments, mean_structure: bool, extra: Any = None) -> MomentProblem:
    """Arrays for the moment engines, free parameters padded."""
    n_free, padded = layout.n_free, round_up(layout.n_free, FREE_STEP)
    used = np.zeros(padded)
    used[:n_free] = 1
    mean = moments.mean if mean_structure else np.zeros_like(moments.mean)
    constant = np.linalg.slogdet(moments.cov)[1] + moments.cov.shape[-1]
    start = np.zeros(padded)
    start[:n_free] = starting_values(layout, moments.mean, moments.cov)
    weight = moments.n / moments.n.sum()
    cells = cells_of(layout, padded)
    return MomentProblem(cells, layout.index, layout.fixed, used, start, mean, moments.cov, weight, constant, extra)


def newton_problem(inner: Any, start: np.ndarray, linear: Linear, n: float, saturated: float) -> NewtonProblem:
    """Surround a problem by its linear constraints."""
    base = (float(n), float(saturated), TOLERANCE, MAX_STEPS)
    if linear.rank == 0:
        return NewtonProblem(inner, None, None, start, *base)
    n_free = linear.matrix.shape[1]
    offset, basis = np.zeros(len(start)), np.zeros((len(start), n_free - linear.rank))
    offset[:n_free], basis[:n_free] = linear.reduce()
    return NewtonProblem(inner, offset, basis, basis.T @ (start - offset), *base)


def to_host(estimate: Estimate, n_free: int) -> Estimate:
    """NumPy arrays without padding."""
    host = jax.tree.map(np.asarray, estimate)
    return host._replace(free=host.free[..., :n_free], vcov=host.vcov[..., :n_free, :n_free])


def normal_constant(cov: np.ndarray) -> float:
    """p log 2 pi + log|S| + p."""
    return len(cov) * math.log(2 * math.pi) + np.linalg.slogdet(cov)[1] + len(cov)


def saturated_log_likelihood(moments: GroupMoments, exogenous: Sequence[int]) -> float:
    """Log-likelihood of unrestricted moments, conditional on the fixed exogenous variables."""
    total = 0.0
    for s, n in zip(moments.cov, moments.n, strict=True):
        total -= n / 2 * normal_constant(s)
        if len(exogenous):
            total += n / 2 * normal_constant(s[np.ix_(exogenous, exogenous)])
    return total


def fit_table(
    table: ParameterTable,
    source: Responses | Moments,
    engine: Any = None,
    missing: str | None = None,
    given: Mapping[str, Any] | None = None,
) -> Fitted:
    """Fit a parameter table to data with ML or LeastSquares; given: priors, under which ML gives the posterior mode.

    Raises ValueError where the data do not fit the model or the engine, in one sentence.
    """
    engine, given = ML() if engine is None else engine, given or {}
    priors = table_priors(table, None, given)
    engine = mode_engine(engine, missing) if priors.active else engine
    check_size(table, priors.informed)
    if missing not in (None, "fiml", "listwise", "two_stage", "robust_two_stage"):
        choices = "'fiml', 'listwise', 'two_stage', 'robust_two_stage'"
        raise ValueError(f"Expected missing to be one of {choices}; got {missing!r}.")
    if isinstance(source, Moments):
        return _fit_given_moments(table, source, engine, missing, given)
    data, how = route(table, source, engine, missing)
    resolved = engine.resolve(
        missing=how == "fiml",
        weights=data.weight is not None,
        cluster=data.cluster is not None,
        two_stage=how if "two_stage" in how else None,
    )
    if how == "fiml":
        from jaxlatent.inference.fiml_fitting import fit_fiml

        return fit_fiml(table, data, resolved, given)
    if "two_stage" in how:
        moments, _ = saturated_or_refuse(data)
        return _fit_moments(table, moments, resolved, data, how)
    unbiased = _unbiased(resolved)
    return _fit_moments(table, sample_moments(data, unbiased=unbiased), resolved, data, how, given)


def route(table: ParameterTable, data: Responses, engine: Any, missing: str | None) -> tuple[Responses, str]:
    """The rows that are used, and how missing values are treated."""
    least_squares_engine = isinstance(engine, LeastSquares)
    if missing == "listwise" or not data.has_missing:
        return data.listwise(), "complete"
    how = missing or "fiml"
    if least_squares_engine:
        raise ValueError(
            f"{engine.name} needs complete rows and variable {_first_missing(data)!r} has missing values:"
            " use missing='listwise', or ML with missing='fiml', 'two_stage' or 'robust_two_stage'."
        )
    if table.exogenous:
        data = data.require_observed(table.exogenous)
        if not data.has_missing:
            return data, "complete"
    pair = zero_coverage(data)
    if pair:
        raise ValueError(
            f"The variables {pair[0]!r} and {pair[1]!r} are never observed together"
            + (f" in group {pair[2]!r}" if data.n_groups > 1 else "")
            + ": their covariance cannot be estimated; leave one out."
        )
    return data, how


def _unbiased(engine: Any) -> bool:
    """Whether the covariance matrix is divided by n - 1, as lavaan does."""
    return engine.kind != "dls" if isinstance(engine, LeastSquares) else engine.likelihood == "wishart"


def _first_missing(data: Responses) -> str:
    return data.names[int(np.isnan(data.y).any(axis=0).argmax())]


def _fit_given_moments(
    table: ParameterTable, given: Moments, engine: Any, missing: str | None, priors: Mapping[str, Any]
) -> Fitted:
    resolved = engine.resolve(missing=False, weights=False, cluster=False, two_stage=None)
    needs_rows = resolved.se not in ("standard", "none") or resolved.test not in ("standard", "none")
    if needs_rows or (isinstance(resolved, LeastSquares) and resolved.kind not in ("gls", "uls", "matrix")):
        raise ValueError(
            f"Moments cannot give se={resolved.se!r}, test={resolved.test!r} with {resolved.name}: pass the rows"
            " instead."
        )
    if missing not in (None, "listwise"):
        raise ValueError(
            f"Moments hold no rows, so nothing can be missing: leave out missing={missing!r}, or pass the rows."
        )
    if table.mean_structure and given.mean is None:
        raise ValueError("The model has a mean structure: expected Moments(..., mean=...) with the sample means.")
    unbiased = _unbiased(resolved)
    moments = from_cov(given, table.observed, unbiased=unbiased)
    return _fit_moments(table, moments, resolved, None, "complete", priors)


def _fit_moments(
    table: ParameterTable,
    moments: GroupMoments,
    engine: Any,
    data: Responses | None,
    how: str,
    given: Mapping[str, Any] | None = None,
) -> Fitted:
    layout = moment_layout(table, moments)
    prior = LogPrior(table_priors(table, layout, given or {}), layout)
    restrictions = split(table)
    weights = None
    if isinstance(engine, LeastSquares):
        estimate, weights = _solve_least_squares(table, layout, moments, engine, data, restrictions)
        saturated = logl = math.nan
    else:
        inner = moment_problem(layout, moments, table.mean_structure)
        exogenous = [table.observed.index(v) for v in table.exogenous]
        saturated = saturated_log_likelihood(moments, exogenous)
        n = float((moments.n - (engine.likelihood == "wishart")).sum())
        estimate = solve(Newton(maximum_likelihood), inner, inner.start, restrictions, table, n, saturated, prior)
        logl = float(saturated - moments.n.sum() * estimate.statistics["value"])
    fitted = assemble(table, layout, moments, engine, how, estimate, data, saturated, logl, restrictions, weights)
    return with_prior(fitted, prior)


def _solve_least_squares(
    table: ParameterTable, layout: Layout, moments: GroupMoments, engine: LeastSquares, data: Any, restrictions: tuple
) -> tuple[Estimate, tuple[np.ndarray, ...]]:
    if engine.kind == "dls":
        return _solve_reweighted(table, layout, moments, restrictions)
    weights = weight_matrices(engine, table, moments, data)
    inner = moment_problem(layout, moments, table.mean_structure, np.stack(_with_means(weights, moments, table)))
    n = float(moments.n.sum())
    return solve(Newton(least_squares), inner, inner.start, restrictions, table, n, 0.0), weights


def _solve_reweighted(
    table: ParameterTable, layout: Layout, moments: GroupMoments, restrictions: tuple
) -> tuple[Estimate, tuple[np.ndarray, ...]]:
    """Least squares whose normal-theory weight is renewed at the estimate until neither moves.

    Its stationary point is that of F_ML (Browne 1974), so it is found there and evaluated with its own weight.
    """
    inner = moment_problem(layout, moments, table.mean_structure)
    estimate = solve(Newton(maximum_likelihood), inner, inner.start, restrictions, table, float(moments.n.sum()), 0.0)
    model = MomentModel(layout, estimate.free, moments.n / moments.n.sum(), table.mean_structure)
    weights = tuple(normal_weight(k, table.mean_structure) for k in model.inverse)
    value = 0.0
    for g, w in enumerate(weights):
        r = model.residual(g, moments.mean[g], moments.cov[g])
        value += model.weight[g] * (r @ w @ r) / 2
    return estimate._replace(statistics={**estimate.statistics, "value": np.asarray(value)}), weights


def _with_means(weights: Sequence[np.ndarray], moments: GroupMoments, table: ParameterTable) -> list[np.ndarray]:
    """The compiled objective always has means first; without a mean structure they weigh nothing."""
    if table.mean_structure:
        return list(weights)
    p = len(moments.names)
    if weights[0].ndim == 1:
        return [np.concatenate([np.zeros(p), w]) for w in weights]
    return [np.block([[np.zeros((p, p)), np.zeros((p, len(w)))], [np.zeros((len(w), p)), w]]) for w in weights]


def solve(
    engine: Any,
    inner: Any,
    start: np.ndarray,
    restrictions: tuple,
    table: ParameterTable,
    n: float,
    saturated: float,
    prior: LogPrior | None = None,
) -> Estimate:
    """Run a compiled engine under the table's constraints; NumPy out."""
    linear, nonlinear, inequalities = restrictions
    if prior:
        found = solve(*prior.around(engine, inner, n), start, restrictions, table, n, saturated)
        return prior.apart(found, n)
    if nonlinear or inequalities:
        from jaxlatent.inference.constrained import solve_constrained

        return solve_constrained(engine, inner, start, restrictions, table, n, saturated)
    with jax.enable_x64(True):
        problem = newton_problem(inner, start, linear, n, saturated)
        return to_host(run(engine, problem), table.n_free)


def with_prior(fitted: Fitted, prior: LogPrior) -> Fitted:
    """The fit with its priors, and the note that says what they make of it."""
    return replace(fitted, priors=prior.priors, notes=(*fitted.notes, NOTE)) if prior else fitted


def assemble(
    table: ParameterTable,
    layout: Layout,
    moments: GroupMoments,
    engine: Any,
    how: str,
    estimate: Estimate,
    data: Responses | None,
    saturated: float,
    logl: float,
    restrictions: tuple,
    weights: tuple[np.ndarray, ...] | None = None,
) -> Fitted:
    estimate = check_start(table, layout, estimate, restrictions)
    matrix, equalities = restriction_jacobian(table, estimate, restrictions)
    return Fitted(
        table=table,
        places=places(table),
        layout=layout,
        moments=moments,
        engine=engine,
        missing=how,
        estimate=estimate,
        data=data,
        group_labels=data.group_labels if data is not None else table.groups,
        saturated_log_likelihood=float(saturated),
        log_likelihood=logl,
        restrictions=matrix,
        equalities=equalities,
        weight_matrix=weights,
        notes=data.notes if data is not None else (),
    )


def restriction_jacobian(table: ParameterTable, estimate: Estimate, restrictions: tuple) -> tuple[np.ndarray, int]:
    """Jacobian [k, n_free] of the active constraints at the estimate, and how many of them are equalities."""
    linear, nonlinear, inequalities = restrictions
    if not nonlinear and not inequalities:
        return linear.matrix, linear.rank
    from jaxlatent.inference.active_constraints import active_jacobian

    extra, equalities = active_jacobian(table, estimate, nonlinear, inequalities)
    return np.concatenate([linear.matrix, extra]), linear.rank + equalities
