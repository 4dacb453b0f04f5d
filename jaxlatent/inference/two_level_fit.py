"""Two-level structural equation models by maximum likelihood: validation, start, Newton, and the models compared to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from jaxlatent.data.cluster_cases import ClusterCases, cluster_cases, filled_in
from jaxlatent.data.cluster_moments import ClusterMoments, cluster_moments
from jaxlatent.data.moments import GroupMoments
from jaxlatent.data.responses import Responses
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.fitting import FREE_STEP, exogenous_moments, newton_problem, restriction_jacobian, to_host
from jaxlatent.inference.newton_engine import Newton, run_newton_on_host
from jaxlatent.inference.settings import ML
from jaxlatent.inference.two_level_casewise import cluster_parts
from jaxlatent.inference.two_level_model import LevelMoments, TwoLevelProblem, cluster_scores, two_level
from jaxlatent.models.cells import round_up
from jaxlatent.numerics.definite import smallest_eigenvalue
from jaxlatent.numerics.newton import CONVERGED
from jaxlatent.spec.layout import Layout, layout_of, places
from jaxlatent.spec.levels import LEVELS, by_level, level_start, levels_of, unrestricted
from jaxlatent.spec.restrictions_matrix import Linear, split
from jaxlatent.spec.table import ParameterTable

SE = ("standard", "robust", "none")
TESTS = ("standard", "yuan_bentler_mplus", "none")
SINGULAR = 1e-10  # smallest eigenvalue, at unit diagonal, of an information matrix that can be inverted


@dataclass(frozen=True)
class TwoLevelFitted:
    """A fitted two-level model.

    fitted: the model by level (its groups are the levels); moments: what it was fitted to; levels [2, p]: where the
    observed variables occur; saturated: the unrestricted moments, with saturated_parameters; exogenous: log-likelihood
    of the fixed predictors, which is no part of the model's.
    """

    fitted: Fitted
    moments: ClusterMoments
    levels: np.ndarray
    saturated: LevelMoments
    saturated_parameters: int
    exogenous: float
    stored_vcov: np.ndarray | None = None

    @property
    def df(self) -> int:
        return self.saturated_parameters - self.fitted.n_parameters

    @property
    def problem(self) -> TwoLevelProblem:
        return TwoLevelProblem(self.fitted.layout, self.moments, self.cases)

    @cached_property
    def cases(self) -> ClusterCases | None:
        """Incomplete rows; None where all are complete."""
        return cluster_cases(self.fitted.rows, self.moments.within) if self.fitted.missing == "fiml" else None

    @property
    def at(self) -> LevelMoments:
        """Implied moments of both levels."""
        return LevelMoments.of(TwoLevelProblem(self.fitted.layout, self.moments).at(self.fitted.free))

    @cached_property
    def information(self) -> np.ndarray:
        """Per person, observed or expected as the engine says [free, free]."""
        found = two_level(self.problem, self.fitted.free)
        return np.asarray(found.expected if self.fitted.engine.information == "expected" else found.hessian)

    @cached_property
    def vcov(self) -> np.ndarray | None:
        """Covariance matrix of the estimates [free, free]; None where the information matrix is singular.

        robust: the sandwich with the cross-products of clusters' scores (Huber 1967; White 1982).
        """
        f = self.fitted
        if self.stored_vcov is not None:
            return self.stored_vcov
        if f.engine.se == "none" or not np.isfinite(f.free).all():
            return None
        tangent = f.tangent(self.information)
        if not np.isfinite(tangent).all() or smallest_eigenvalue(tangent) <= SINGULAR:
            return None
        bread = f.basis @ np.linalg.inv(tangent) @ f.basis.T / self.moments.persons
        if f.engine.se == "standard":
            return bread
        scores = self.scores_of(self.problem, f.free)
        return bread @ (scores.T @ scores) @ bread

    def robust_trace(self, problem: TwoLevelProblem, free: np.ndarray, basis: np.ndarray | None = None) -> float:
        """tr(A^-1 B) of a model at its estimate: A the observed information, B the cross-products of clusters' scores.

        basis: the directions that constraints leave free.
        """
        hessian = self.moments.persons * np.asarray(two_level(problem, free).hessian)
        scores = self.scores_of(problem, free)
        z = np.eye(len(free)) if basis is None else basis
        meat = (scores @ z).T @ (scores @ z)
        return float(np.trace(np.linalg.solve(z.T @ hessian @ z, meat)))

    @cached_property
    def saturated_trace(self) -> float:
        """tr(A^-1 B) of the unrestricted moments."""
        mean, cov = self.saturated.stacked
        table = unrestricted(self.fitted.table, self.levels)
        layout = layout_of(table, exogenous=exogenous_moments(table, mean, cov))
        return self.robust_trace(TwoLevelProblem(layout, self.moments, self.cases), _fill(layout, mean, cov))

    def scores_of(self, problem: TwoLevelProblem, free: np.ndarray) -> np.ndarray:
        """Scores of clusters over the free parameters of a model [cluster, free]."""
        cases = cluster_cases(self.fitted.rows, self.moments.within) if self.cases is None else self.cases
        return cluster_scores(cases, problem.at(free))

    @cached_property
    def baseline(self) -> tuple[TwoLevelProblem, Estimate]:
        """The independence model, and its estimate (of the joint likelihood)."""
        table = unrestricted(self.fitted.table, self.levels, covariances=False)
        mean, cov = self.saturated.stacked
        layout = layout_of(table, exogenous=exogenous_moments(table, mean, cov))
        diagonal = np.stack([np.diag(np.abs(np.diag(s))) for s in cov])
        problem = TwoLevelProblem(layout, self.moments, self.cases)
        return problem, _newton(problem, _fill(layout, mean, diagonal))


def resolve(engine: Any, data: Responses, missing: str | None) -> ML:
    """ML with its options filled in; raises ValueError for what two-level models don't take."""
    if not isinstance(engine, ML):
        raise ValueError(f"Two-level models are fitted by ML; got {engine!r}.")
    if data.weight is not None:
        raise ValueError("Two-level models take no sampling weights in this version: leave weights out.")
    if missing not in (None, "fiml", "listwise"):
        raise ValueError(f"Expected missing of two-level models to be None, 'fiml' or 'listwise'; got {missing!r}.")
    se = "robust" if engine.se == "cluster" else engine.se or "standard"
    if se not in SE or engine.test not in (None, *TESTS) or engine.likelihood != "normal":
        raise ValueError(
            f"Two-level models take se {', '.join(SE)}, test {', '.join(TESTS)} and likelihood 'normal'; got"
            f" se={engine.se!r}, test={engine.test!r}, likelihood={engine.likelihood!r}."
        )
    if engine.information == "first_order":
        raise ValueError("Two-level models take information 'observed' or 'expected'; got 'first_order'.")
    return replace(engine, information=engine.information or "observed", se=se, test=engine.test or "standard")


class Prepared(NamedTuple):
    """A table by level that has met its data: what is fitted, from where, and what it is compared to.

    likelihoods: joint ones of the unrestricted moments and of fixed predictors. cases: incomplete rows.
    """

    data: Responses
    cases: ClusterCases | None
    moments: ClusterMoments
    saturated: LevelMoments
    likelihoods: tuple[float, float]
    layout: Layout
    start: np.ndarray
    linear: Linear


def prepare_two_level(table: ParameterTable, data: Responses, missing: str | None) -> Prepared:
    """Moments and starting values of rows in clusters; raises ValueError where they don't go together.

    Incomplete rows count with what is observed, but for those without a fixed predictor, or are left out (listwise).
    """
    leveled, levels = by_level(table), levels_of(table)
    if missing == "listwise" or not data.has_missing:
        data = data.listwise()
        cases, moments = None, cluster_moments(data, *levels)
    else:
        data = data.drop_empty_rows().require_observed(table.exogenous)
        some = int(np.isnan(data.y).any(axis=1).sum())
        data = replace(data, notes=(*data.notes, f"{some} rows have missing values; all that is observed counts."))
        moments = cluster_moments(filled_in(data), *levels)
        cases = cluster_cases(data, levels[0])
    restrictions = split(leveled)
    if restrictions[1] or restrictions[2]:
        raise ValueError("Two-level models take linear equality constraints only in this version.")
    fixed, exogenous = _exogenous(leveled, moments, levels)
    full = unrestricted(leveled, levels)
    _check_size(leveled, full, restrictions[0])
    saturated, top = _saturate(full, moments, fixed, cases)
    mean, cov = saturated.stacked
    layout = layout_of(leveled, exogenous=exogenous_moments(leveled, mean, cov))
    start = level_start(layout, mean, np.stack([_filled(s, at) for s, at in zip(cov, levels, strict=True)]))
    return Prepared(data, cases, moments, saturated, (top, exogenous), layout, start, restrictions[0])


def fit_two_level(table: ParameterTable, data: Responses, engine: Any, missing: str | None) -> TwoLevelFitted:
    """Fit a table with levels to rows in clusters; raises ValueError where they don't go together."""
    engine = resolve(engine, data, missing)
    p = prepare_two_level(table, data, missing)
    if p.cases is not None and engine.information == "expected":
        raise ValueError("Incomplete rows of two-level models take information 'observed'; got 'expected'.")
    estimate = _newton(TwoLevelProblem(p.layout, p.moments, p.cases), p.start, p.linear)
    how = "complete" if p.cases is None else "fiml"
    return assemble(table, p.moments, p.saturated, p.likelihoods, engine, estimate, p.data, p.data.notes, missing=how)


def assemble(
    table: ParameterTable,
    moments: ClusterMoments,
    saturated: LevelMoments,
    likelihoods: tuple[float, float],
    engine: ML,
    estimate: Estimate,
    data: Responses | None,
    notes: tuple[str, ...],
    vcov: np.ndarray | None = None,
    missing: str = "complete",
) -> TwoLevelFitted:
    """A fitted model from its parts; likelihoods: joint ones of the unrestricted moments and of fixed predictors.

    Fixed predictors have their moments in the unrestricted ones.
    """
    leveled, levels = by_level(table), levels_of(table)
    top, exogenous = likelihoods
    mean, cov = saturated.stacked
    matrix, equalities = restriction_jacobian(leveled, estimate, split(leveled))
    n = np.array([moments.persons, moments.clusters], float)
    fitted = Fitted(
        table=leveled,
        places=places(leveled),
        layout=layout_of(leveled, exogenous=exogenous_moments(leveled, mean, cov)),
        moments=GroupMoments(mean, cov, n, leveled.observed),
        engine=engine,
        missing=missing,
        estimate=estimate,
        data=data,
        group_labels=LEVELS,
        saturated_log_likelihood=top - exogenous,
        log_likelihood=float(estimate.log_likelihood) - exogenous,
        restrictions=matrix,
        equalities=equalities,
        notes=notes,
    )
    parameters = unrestricted(leveled, levels).n_free
    return TwoLevelFitted(fitted, moments, levels, saturated, parameters, exogenous, vcov)


def _newton(inner: TwoLevelProblem, start: np.ndarray, linear: Linear | None = None) -> Estimate:
    """Parameters are padded, so that few sizes of steps are compiled."""
    linear = Linear(np.zeros((0, len(start))), np.zeros(0)) if linear is None else linear
    padded = np.zeros(round_up(len(start), FREE_STEP))
    padded[: len(start)] = start
    problem = newton_problem(inner, padded, linear, float(inner.moments.persons), 0.0)
    return to_host(run_newton_on_host(Newton(two_level), problem), inner.layout.n_free)


def _check_size(table: ParameterTable, full: ParameterTable, linear: Linear) -> None:
    if table.n_free == 0:
        raise ValueError("The model has no free parameters: nothing is left to estimate; free at least one.")
    excess = table.n_free - linear.rank - full.n_free
    if excess > 0:
        raise ValueError(
            f"The model has {table.n_free} free parameters but the moments of both levels are only {full.n_free}: fix"
            f" or equate at least {excess}, or add indicators."
        )


def _exogenous(table: ParameterTable, moments: ClusterMoments, levels: np.ndarray) -> tuple[list[dict] | None, float]:
    """The moments at which predictors are fixed, by level, and their log-likelihood."""
    if not table.exogenous:
        return None, 0.0
    columns = np.array([table.observed.index(v) for v in table.exogenous])
    only = replace(table, observed=table.exogenous, exogenous=())
    found, value = _saturate(unrestricted(only, levels[:, columns]), moments.only(columns), None, None)
    return exogenous_moments(replace(table, observed=table.exogenous), *found.stacked), value


def _saturate(
    table: ParameterTable, moments: ClusterMoments, fixed: list[dict] | None, cases: ClusterCases | None
) -> tuple[LevelMoments, float]:
    """Unrestricted moments of both levels and their log-likelihood, from those by analysis of variance."""
    layout = layout_of(table, exogenous=fixed)
    clusters, persons = moments.clusters, moments.persons
    if persons == clusters and moments.within.any():
        raise ValueError("Every cluster has one person: the two levels cannot be told apart; leave cluster out.")
    within = moments.scatter / max(persons - clusters, 1)
    mean = moments.number @ moments.mean / clusters
    gap = moments.mean - mean
    between = np.einsum("s,sij->ij", moments.number, moments.cov + gap[:, :, None] * gap[:, None, :]) / clusters
    between = between - within * clusters / persons
    overall = (moments.size * moments.number) @ moments.mean / persons
    start = _fill(layout, np.stack([overall, mean]), np.stack([within, _positive(between)]))
    estimate = _newton(TwoLevelProblem(layout, moments, cases), start)
    if int(estimate.code) != CONVERGED:
        raise ValueError(
            "The unrestricted model has no maximum: a variable hardly varies within or between clusters, or is a sum of"
            " others; leave it out of that level."
        )
    return LevelMoments.of(TwoLevelProblem(layout, moments).at(estimate.free)), float(estimate.log_likelihood)


def _fill(layout: Layout, mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
    """The free vector of a table of moments alone."""
    free = np.zeros(layout.n_free)
    for name, values in (("residual_cov", cov), ("intercepts", mean)):
        at = layout.index[name]
        free[at[at >= 0]] = values[at >= 0]
    return free


def _positive(cov: np.ndarray) -> np.ndarray:
    """With eigenvalues of at least a hundredth of the average one, at standard deviations of one."""
    sd = np.sqrt(np.maximum(np.abs(np.diag(cov)), 1e-300))
    value, vector = np.linalg.eigh(cov / np.outer(sd, sd))
    return np.outer(sd, sd) * ((vector * np.maximum(value, max(1e-2 * value.mean(), 1e-2))) @ vector.T)


def _filled(cov: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Positive definite, with unit variances for absent variables: start values divide by variances."""
    out = np.eye(len(cov))
    here = np.flatnonzero(present)
    out[np.ix_(here, here)] = _positive(cov[np.ix_(here, here)])
    return out


def cluster_log_likelihoods(fit: TwoLevelFitted, data: Responses) -> np.ndarray:
    """Log-likelihood of every cluster [cluster], joint with its predictors."""
    at, cases = fit.at, cluster_cases(data, fit.moments.within)
    return cluster_parts(cases, at.mean, at.within, at.between).value
