"""From a table of items and coded answers to a fitted item response model."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.chunks import Chunks, chunks_of, collapsed
from jaxlatent.data.coding import Coding
from jaxlatent.data.long_arrays import LongResponses
from jaxlatent.data.responses import Responses
from jaxlatent.inference.amortized_settings import AmortizedVI
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.histogram import check_histogram, fit_histogram, normal_histogram
from jaxlatent.inference.item_data import ItemData, ItemRows, LongItemData, some_rows
from jaxlatent.inference.item_model import is_normal
from jaxlatent.inference.marginal_engine import Marginal, MarginalProblem, run_steps
from jaxlatent.inference.nominal_turns import has_nominal, in_stretches
from jaxlatent.inference.priors import Priors
from jaxlatent.inference.progress import step_bar
from jaxlatent.inference.settings import MarginalML
from jaxlatent.inference.starts import best_of
from jaxlatent.integration.adaptive import AdaptiveGaussHermite, ImportanceSampling, Laplace
from jaxlatent.integration.gauss_hermite import GaussHermite
from jaxlatent.latent.histogram import Histogram
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.models.points import Form, Points, Problem
from jaxlatent.models.slots import slots_of
from jaxlatent.numerics.newton import CONVERGED
from jaxlatent.numerics.scoring import Options
from jaxlatent.spec.item_start import starting_free
from jaxlatent.spec.item_table import ItemTable, item_layout
from jaxlatent.spec.layout import Layout
from jaxlatent.spec.two_tier import Reduction, reduction_of

MAX_STEPS = 500
LARGE = 20_000_000  # answers x points from which single steps are worth their overhead
MANY = 100_000_000  # coordinates of points from which they are kept in half precision
HUGE = 500_000_000  # answers x points from which steps begin with fewer persons and points
FEWER_ROWS, FEWER_POINTS, NEARLY = 20_000, 16, 1e-2  # as many, to so large a squared distance in standard errors
SINGULAR = 1e-7  # smallest eigenvalue of an information matrix with unit diagonal that is still inverted
SMALL = 1e-3  # root mean square of the last step, in standard errors, where points are each person's own
START_ROWS = 2000  # persons from which starting values are taken
CELLS = 24_000  # persons x points of a chunk
GRID_NODES = {1: 61, 2: 31, 3: 15}
SAMPLES = 128  # of each person, where there are more factors than a grid can take
PER_PARAMETER = 5  # persons for each parameter from which on cross-products of scores are a guide
AFFORDABLE = 4e11  # persons x points x parameters^2 up to which the observed information is computed at the start


def pattern_data(data: ItemRows) -> tuple[ItemRows, np.ndarray]:
    """Distinct patterns with weights, and every person's pattern; the persons themselves where nothing is gained."""
    everyone = np.arange(data.n_persons)
    if isinstance(data, LongItemData):
        return data, everyone
    if data.covariates is not None or data.codes.dtype != np.int8 or data.group.max(initial=0) > 100:
        return data, everyone
    codes, group, weight, inverse = collapsed(data.codes, data.group, data.weight)
    if len(codes) > 0.9 * len(data.codes):
        return data, everyone
    return ItemData(codes, group, weight, None), inverse


def default_rule(n_factors: int) -> Any:
    """Quadrature on a grid for up to three factors, importance sampling above."""
    return GaussHermite(GRID_NODES[n_factors]) if n_factors in GRID_NODES else ImportanceSampling(SAMPLES)


def is_personal(rule: Any) -> bool:
    """Whether the rule's points are each person's own."""
    return isinstance(rule, AdaptiveGaussHermite | ImportanceSampling | Laplace)


def form_of(measurement: Measurement, coding: Coding, rule: Any, reduction: Reduction | None = None) -> Form:
    """The static form of the likelihood; a reduction is used where the rule is a grid."""
    k = coding.n_categories
    categories = tuple(max(k[j] for j in items) if family.categorical else 0 for family, items in measurement.groups)
    reduction = reduction if isinstance(rule, GaussHermite) else None
    return Form(
        measurement, is_personal(rule), categories, isinstance(rule, ImportanceSampling), reduction,
        isinstance(rule, Laplace),
    )  # fmt: skip


def problem_of(
    form: Form,
    layout: Layout,
    data: ItemRows,
    n_groups: int,
    rule: Any,
    key: int = 0,
    chunk: int | None = None,
) -> tuple[Problem, np.ndarray, np.ndarray]:
    """The likelihood's arrays, modes to start from, and every row's place among [chunk, person] flattened."""
    d = layout.fixed["factor_cov"].shape[-1]
    sampled = isinstance(rule, ImportanceSampling)  # whose points a compiled program draws
    dtype = "float32" if sampled else "float64"
    inner, top = None, d
    if form.reduction is not None:
        top, inner = len(form.reduction.general), Points(*rule.standard(1, (1, 1), dtype, key))
    n_points = rule.n if sampled else len(rule.standard(top, (1, 1), dtype, key).log_weight)
    n_points *= 1 if inner is None else len(inner.log_weight)
    enough = 1 << max(data.n_persons - 1, 7).bit_length()  # a power of two, so that small sets share programs
    size = chunk or min(256, max(8, CELLS // n_points), enough)
    chunks, places = chunks_of(
        data.answers, data.group, n_groups, size, weight=data.weight, covariates=data.covariates, dtype=np.float64
    )
    standard = rule.standard(top, chunks.shape, dtype, key)
    mean, cov = design_moments(chunks, n_groups)
    z = standard.z
    if z.size > MANY and dtype == "float32":
        z = jnp.asarray(z, jnp.float16)  # any points near those drawn will do: weights are those of where they are
    points = Points(z, np.asarray(standard.log_weight, dtype))
    modes = np.zeros((*chunks.shape, d), dtype)
    return Problem(chunks, layout, slots_of(layout), points, mean, cov, inner), modes, places


def design_moments(chunks: Chunks, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean [group, k] and covariance [group, k, k] of the design, over persons with weight."""
    k = chunks.design.shape[-1]
    mean, cov = np.zeros((n_groups, k)), np.zeros((n_groups, k, k))
    if k == 1:
        return mean + 1, cov
    for g in range(n_groups):
        z = chunks.design[chunks.group == g].reshape(-1, k)
        w = chunks.weight[chunks.group == g].ravel()
        total = max(w.sum(), 1e-300)
        mean[g] = w @ z / total
        cov[g] = (z - mean[g]).T @ ((z - mean[g]) * w[:, None]) / total
    return mean, cov


@dataclass(frozen=True)
class ItemFitted:
    """A fitted item response model: everything errors, tests, scores and tables are computed from."""

    table: ItemTable
    layout: Layout
    measurement: Measurement
    coding: Coding
    data: ItemRows
    responses: Responses | LongResponses | None
    engine: MarginalML | AmortizedVI
    rule: Any
    why: str
    priors: Priors
    estimate: Estimate
    log_likelihood: float
    notes: tuple[str, ...] = ()
    key: int = 0
    anchors: tuple[int, ...] = ()  # items that identify an exploratory solution
    n_saved: float | None = None  # of a fit that was read from a file, like the two that follow
    group_name: str | None = None
    vcov_saved: np.ndarray | None = None
    cache: dict = field(default_factory=dict)
    latent: Any = None  # None: normal
    amortized: Any = None  # a guide, trained, where there is one

    @property
    def free(self) -> np.ndarray:
        return self.estimate.free

    @property
    def group_labels(self) -> tuple[str, ...]:
        return self.table.groups

    @property
    def n_total(self) -> float:
        """Persons, or the sum of their weights."""
        if self.n_saved is not None:
            return self.n_saved
        return float(self.data.n_persons if self.data.weight is None else self.data.weight.sum())

    @property
    def n_parameters(self) -> int:
        """Free parameters less restrictions, and all weights of learned distributions and networks of items."""
        n = self.table.n_parameters + self.measurement.n_block_weights
        return n if is_normal(self.latent) else n + self.latent.n_weights(len(self.table.factors))

    @property
    def networks(self) -> dict[str, Any]:
        """What was learned of p(x) and p(y | x) besides the free vector, by name among the parameters."""
        return {} if self.amortized is None else self.amortized.networks

    @property
    def is_learned(self) -> bool:
        """Whether p(x) or p(y | x) has networks, so that integrals over x rest on draws from the guide."""
        return not is_normal(self.latent) or bool(self.measurement.blocks)

    @cached_property
    def basis(self) -> np.ndarray:
        """Directions the linear restrictions leave free [free, reduced]."""
        return reduction(self.table)[1]

    @cached_property
    def form(self) -> Form:
        return form_of(self.measurement, self.coding, self.rule, reduction_of(self.layout))

    @cached_property
    def params(self) -> dict[str, np.ndarray]:
        """Named matrices [group, ...] at the estimate."""
        return self.matrices(self.free)

    def matrices(self, free: np.ndarray) -> dict[str, np.ndarray]:
        """Named matrices [group, ...] of a free vector (NumPy, also complex)."""
        return {
            name: np.where(i >= 0, np.asarray(free)[np.maximum(i, 0)], self.layout.fixed[name])
            for name, i in self.layout.index.items()
        }

    @cached_property
    def vcov(self) -> np.ndarray | None:
        """Covariance matrix of the free vector by the engine's kind of standard errors, or None."""
        return self.vcov_saved if self.vcov_saved is not None else covariance(self)


def reduction(table: ItemTable) -> tuple[np.ndarray, np.ndarray]:
    """offset and basis with free = offset + basis x for all x that keep the linear restrictions."""
    q = table.n_free
    return (np.zeros(q), np.eye(q)) if table.linear.rank == 0 else table.linear.reduce()


def fit_items(
    table: ItemTable,
    measurement: Measurement,
    coding: Coding,
    data: ItemRows,
    responses: Responses | LongResponses | None,
    engine: MarginalML,
    *,
    priors: Priors | None = None,
    notes: Sequence[str] = (),
    key: int = 0,
    progress: bool | None = None,
    start: np.ndarray | None = None,
    anchors: Sequence[int] = (),
    histogram: Histogram | None = None,
) -> ItemFitted:
    """Maximum marginal likelihood (the posterior mode where there are priors), with an empirical histogram if given."""
    priors = priors or Priors()
    layout = item_layout(table)
    split = reduction_of(layout)
    if histogram is None:
        rule, why = choose_rule(engine, len(table.factors), split)
    else:
        check_histogram(table)
        if engine.integration is not None:
            raise ValueError("An empirical histogram brings its own nodes: leave integration out.")
        rule, why = normal_histogram(histogram), "the histogram is the distribution of the factor"
    form = form_of(measurement, coding, rule, split)
    used, _ = pattern_data(data)
    if start is None:
        start = starting_values(table, layout, data, measurement)
    solver = Marginal(form, priors)
    with jax.enable_x64(True):
        begin = start
        if form.jackknife and math.prod(used.shape) * rule.n > HUGE and rule.n > FEWER_POINTS:
            some = some_rows(used, FEWER_ROWS)
            rough = replace(engine, tolerance=NEARLY, se="none")
            first = whole_problem(form, table, layout, some, ImportanceSampling(FEWER_POINTS), key, rough, start)
            found = np.asarray(solve(solver, first, progress).free)
            begin = found if np.isfinite(found).all() else start
        whole = whole_problem(form, table, layout, used, rule, key, engine, begin, data.n_persons)
        if engine.starts > 1:
            together = progress is not True and not is_large(whole)
            estimate, said = best_of(solver, whole, engine.starts, key, together, partial(solve, progress=progress))
            notes = (*notes, said)
        elif has_nominal(measurement, layout):
            estimate = in_stretches(partial(solve, solver, progress=progress), whole)
        else:
            estimate = jax.tree.map(np.asarray, solve(solver, whole, progress))
        if histogram is not None:
            estimate, rule, said = fit_histogram(solver, whole, estimate, histogram)
            notes = (*notes, said)
    return ItemFitted(
        table, replace(layout, start=start), measurement, coding, data, responses, engine, rule, why, priors, estimate,
        float(estimate.log_likelihood), tuple(notes), key, tuple(anchors), None,
        None if responses is None else responses.group_name,
    )  # fmt: skip


def whole_problem(
    form: Form, table: ItemTable, layout: Layout, data: ItemRows, rule: Any, key: int, engine: MarginalML,
    start: np.ndarray, n_persons: int | None = None,
) -> MarginalProblem:  # fmt: skip
    """The likelihood of these rows under a rule, with restrictions, starting values and options."""
    offset, basis = reduction(table)
    problem, modes, _ = problem_of(form, layout, data, table.n_groups, rule, key)
    options = solver_options(form, problem, basis.shape[1], n_persons or data.n_persons, engine)
    return MarginalProblem(problem, offset, basis, basis.T @ (start - offset), modes, options)


def solve(engine: Marginal, problem: MarginalProblem, progress: bool | None) -> Estimate:
    """All steps in one compiled loop where the work is small; else one at a time, which shows progress and stops.

    Both give the same numbers. Ctrl-C ends single steps with the last good state, code 0.
    """
    single = progress is True or is_large(problem)
    shown = progress if progress is not None else single and sys.stderr.isatty()
    with step_bar("MarginalML", bool(shown)) as say:
        return run_steps(
            engine, problem, 1 if single else MAX_STEPS, lambda s: say(f"log-likelihood {-float(s.value):.3f}")
        )


def is_large(problem: MarginalProblem) -> bool:
    """Whether single steps are worth their overhead."""
    return problem.inner.chunks.n_answers * problem.inner.n_points >= LARGE


def choose_rule(engine: MarginalML, n_factors: int, reduction: Reduction | None = None) -> tuple[Any, str]:
    """The rule of integration, and why."""
    rule = engine.integration
    if getattr(rule, "proposal", None) is not None:
        raise ValueError("MarginalML centres its points itself: leave proposal out, or use AmortizedVI(guide=...).")
    if reduction is None:
        d, reason = n_factors, f"there are {n_factors} factor(s), at most 3"
    else:
        d = len(reduction.general) + 1
        reason = f"{len(reduction.specific)} specific factors are integrated one at a time, {d} dimensions in all"
    if isinstance(rule, Laplace):
        return rule, "as asked for; an approximation, whose error falls with items for each factor and not with persons"
    if rule is not None:
        apart = reduction is not None and isinstance(rule, GaussHermite)
        return rule, f"as asked for; {reason}" if apart else "as asked for"
    rule = default_rule(d)
    if isinstance(rule, GaussHermite):
        return rule, f"quadrature, because {reason}"
    return rule, f"importance sampling, because there are {n_factors} factors, more than 3"


def solver_options(form: Form, problem: Problem, q: int, n: int, engine: MarginalML) -> Options:
    """How the solver goes about it: cross-products where persons are many."""
    rows = float((problem.chunks.weight > 0).sum())
    cost = rows * problem.n_points * q**2
    exact = not form.personal or form.laplace
    tolerance = engine.tolerance or (1e-10 if exact else max(1e-5, SMALL**2 * q))
    slack = 1e-10 if exact else 1e-6
    by_cross = n >= PER_PARAMETER * q or cost > AFFORDABLE
    keep = engine.se in ("crossprod", "sandwich")
    return Options(tolerance, MAX_STEPS, slack, by_cross, engine.se in ("observed", "sandwich"), keep)


def starting_values(table: ItemTable, layout: Layout, data: ItemRows, measurement: Measurement) -> np.ndarray:
    """Where the solver starts."""
    rows = data.every(max(data.n_persons // START_ROWS, 1))
    y = rows.astype(float)
    if rows.dtype == np.int8:
        y[rows < 0] = np.nan
    ordered = np.zeros(len(table.items), bool)
    for family, items in measurement.groups:
        ordered[list(items)] = family.categorical and type(family).__name__ not in ("Ideal",)
    return starting_free(table, layout.start, y, ordered)


def covariance(fitted: ItemFitted) -> np.ndarray | None:
    """Covariance matrix of the free vector: inverse information in the directions the restrictions leave free."""
    s, kind = fitted.estimate.statistics, fitted.engine.se
    if kind == "none" or int(fitted.estimate.code) != CONVERGED:
        return None
    z = fitted.basis
    if kind == "crossprod":
        inner = _inverse(s["cross"])
    elif kind == "observed":
        inner = _inverse(s["information"])
    elif kind == "sandwich":
        bread = _inverse(s["information"])
        inner = None if bread is None else bread @ s["cross"] @ bread
    else:
        from jaxlatent.inference.expected_information import expected_information

        inner = _inverse(z.T @ expected_information(fitted) @ z)
    return None if inner is None else z @ inner @ z.T


def _inverse(a: np.ndarray) -> np.ndarray | None:
    """The inverse of a positive definite matrix, else None."""
    if not np.isfinite(a).all():
        return None
    scale = np.sqrt(np.maximum(np.diag(a), 1e-300))
    r = a / np.outer(scale, scale)
    size, vectors = np.linalg.eigh((r + r.T) / 2)
    if size.min() < SINGULAR:
        return None
    return (vectors / size) @ vectors.T / np.outer(scale, scale)
