"""Many data sets of one model in one compiled call: simulation studies and the bootstrap.

Data sets go through ``lax.map`` in small vmapped chunks: a vmapped loop runs until its slowest lane stops, so large
chunks waste steps, and single lanes waste the vector units.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.moments import GroupMoments
from jaxlatent.data.responses import Responses
from jaxlatent.inference.chord_engine import Chord
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.fitting import moment_layout, moment_problem, newton_problem, to_host
from jaxlatent.inference.newton_engine import Newton, NewtonProblem, run
from jaxlatent.inference.posterior_mode import refuse_mode
from jaxlatent.inference.progress import track
from jaxlatent.inference.settings import ML, LeastSquares
from jaxlatent.models.casewise_objective import CasewiseProblem, fiml_first, fiml_second
from jaxlatent.models.moments_objective import MomentProblem, least_squares, maximum_likelihood
from jaxlatent.numerics.linalg import spd_inverse
from jaxlatent.numerics.masked import Cases
from jaxlatent.numerics.types import Array
from jaxlatent.spec.restrictions_matrix import split
from jaxlatent.spec.table import ParameterTable


class ExogenousCells(NamedTuple):
    """Cells of the fixed exogenous variables among the matrices, and the observed variables they copy."""

    latent: np.ndarray
    observed: np.ndarray


def exogenous_cells(table: ParameterTable, latent: tuple[str, ...]) -> ExogenousCells:
    names = table.exogenous
    return ExogenousCells(
        np.array([latent.index(v) for v in names], int), np.array([table.observed.index(v) for v in names], int)
    )


def refresh(problem: MomentProblem, mean: jax.Array, cov: jax.Array, exo: ExogenousCells, means: bool) -> MomentProblem:
    """The same problem for other sample moments [group, p], [group, p, p]."""
    constant = jax.vmap(lambda s: spd_inverse(s)[1])(cov) + cov.shape[-1]
    fixed = dict(problem.fixed)
    if len(exo.latent):
        a, b = exo.latent, exo.observed
        fixed["factor_cov"] = jnp.asarray(fixed["factor_cov"]).at[:, a[:, None], a].set(cov[:, b[:, None], b])
        if means:
            fixed["factor_means"] = jnp.asarray(fixed["factor_means"]).at[:, a].set(mean[:, b])
    return problem._replace(mean=mean if means else jnp.zeros_like(mean), cov=cov, constant=constant, fixed=fixed)


def weighted_group_moments(y: jax.Array, w: jax.Array, divisor: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Means and covariances [group, ...] for weights w [group, person]; the divisor turns sums into covariances."""
    total = w.sum(axis=1)
    mean = (w @ y) / total[:, None]
    second = jax.vmap(lambda v: (y * v[:, None]).T @ y)(w)
    cov = second / total[:, None, None] - mean[:, :, None] * mean[:, None, :]
    return mean, cov * (total / divisor)[:, None, None]


# ---- the bootstrap ----------------------------------------------------------------------------------------------


def resampled_counts(
    key: jax.Array, group: jax.Array, order: jax.Array, start: jax.Array, size: jax.Array
) -> jax.Array:
    """How often each person is drawn [person], with replacement within groups."""
    n = group.shape[0]
    u = jax.random.uniform(key, (n,), dtype=jnp.float64)
    drawn = order[start[group] + jnp.minimum((u * size[group]).astype(jnp.int32), size[group] - 1)]
    return jnp.zeros(n).at[drawn].add(1.0)


class Sampling(NamedTuple):
    """What resampling needs: persons, their weights and groups, and the positions of each group's members."""

    y: Array
    weight: Array
    group: Array
    order: Array
    start: Array
    size: Array


def sampling(data: Responses) -> Sampling:
    order = np.argsort(data.group, kind="stable").astype(np.int32)
    size = np.bincount(data.group, minlength=data.n_groups).astype(np.int32)
    start = (np.cumsum(size) - size).astype(np.int32)
    weight = np.ones(len(data.y)) if data.weight is None else data.weight
    return Sampling(data.y, weight, data.group.astype(np.int32), order, start, size)


@partial(jax.jit, static_argnames=("engine", "means", "unbiased", "chunk"))
def _bootstrap_moments(
    engine: Newton,
    problem: NewtonProblem,
    s: Sampling,
    exo: ExogenousCells,
    keys: jax.Array,
    means: bool,
    unbiased: bool,
    chunk: int,
) -> tuple[jax.Array, jax.Array]:
    member = (s.group[None] == jnp.arange(s.size.shape[0])[:, None]).astype(s.y.dtype)

    def one(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        counts = resampled_counts(key, s.group, s.order, s.start, s.size) * s.weight
        w = member * counts
        mean, cov = weighted_group_moments(s.y, w, w.sum(axis=1) - (1.0 if unbiased else 0.0))
        inner = refresh(problem.inner, mean, cov, exo, means)
        found = run(engine, problem._replace(inner=inner))
        return found.free, found.code

    return jax.lax.map(one, keys, batch_size=None if chunk == 1 else chunk)


@partial(jax.jit, static_argnames=("engine", "chunk"))
def _bootstrap_cases(
    engine: Chord,
    problem: NewtonProblem,
    s: Sampling,
    rows: tuple[tuple[jax.Array, ...], ...],
    keys: jax.Array,
    chunk: int,
) -> tuple[jax.Array, jax.Array]:
    def one(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        counts = jnp.append(resampled_counts(key, s.group, s.order, s.start, s.size) * s.weight, 0.0)
        cases = tuple(
            tuple(c._replace(n=counts[r]) for c, r in zip(group, at, strict=True))
            for group, at in zip(problem.inner.cases, rows, strict=True)
        )
        found = run(engine, problem._replace(inner=problem.inner._replace(cases=cases)))
        return found.free, found.code

    return jax.lax.map(one, keys, batch_size=None if chunk == 1 else chunk)


CHUNK = 1


def bootstrap_draws(fitted: Fitted, n: int, key: int, progress: bool | None = None) -> tuple[np.ndarray, np.ndarray]:
    """n bootstrap estimates [n, n_free] and their codes, each started at the estimate from all persons.

    Raises ValueError for fits without rows, or engines whose weight would have to be made anew from fourth moments.
    """
    refuse_mode(fitted.priors, "The bootstrap of ML is")
    if fitted.data is None:
        raise ValueError("The bootstrap resamples rows: fit the data themselves, not their moments.")
    if any(row.efa for row in fitted.table.rows):
        raise ValueError("The bootstrap does not take rotated solutions in this version.")
    if len(fitted.restrictions) > fitted.equalities or any(c.op != "==" for c in fitted.table.constraints):
        raise ValueError("The bootstrap does not take inequality constraints: leave them out.")
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 2:
        raise ValueError(f"Expected n, the number of bootstrap draws, to be a whole number above 1; got {n!r}.")
    draw = _moments_sampler(fitted) if fitted.missing == "complete" else _case_sampler(fitted)
    parts = _in_portions(draw, int(n), key, progress)
    free, code = (np.concatenate(column)[:n] for column in zip(*parts, strict=True))
    return free[:, : fitted.table.n_free], code


PORTION = 64  # draws between two looks at the clock and the keyboard


def _in_portions(draw: Callable, n: int, key: int, progress: bool | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draws in portions of one size, as many at a time as there are cores: a compiled loop frees the interpreter."""
    size = min(n, PORTION)
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(key), -(-n // size) * size).reshape(-1, size)

    def portion(k: int) -> tuple[np.ndarray, np.ndarray]:
        with jax.enable_x64(True):
            free, code = draw(keys[k])
            return np.asarray(free), np.asarray(code)

    first = portion(0)  # compiles
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        rest = pool.map(portion, range(1, len(keys)))
        return [first, *track(rest, len(keys) - 1, "bootstrap", progress)]


def _start(problem: NewtonProblem, padded: np.ndarray) -> NewtonProblem:
    if problem.basis is None:
        return problem._replace(start=padded)
    return problem._replace(start=problem.basis.T @ (padded - problem.offset))


def _padded(fitted: Fitted, size: int) -> np.ndarray:
    out = np.zeros(size)
    out[: fitted.table.n_free] = fitted.free
    return out


def _linear(fitted: Fitted) -> Any:
    linear, nonlinear, _ = split(fitted.table)
    if nonlinear:
        raise ValueError("The bootstrap takes linear equality constraints only; got a nonlinear one.")
    return linear


def _moments_sampler(fitted: Fitted) -> Callable:
    means = fitted.table.mean_structure
    extra, engine, unbiased = None, Newton(maximum_likelihood), fitted.engine.likelihood == "wishart"
    if isinstance(fitted.engine, LeastSquares):
        if fitted.engine.kind not in ("uls", "dls"):
            raise ValueError(
                f"The bootstrap takes ML, ULS and DLS; got {fitted.engine.name}: its weight varies as well."
            )
        if fitted.engine.kind == "uls":
            p = len(fitted.table.observed)
            ones = np.ones((len(fitted.moments.n), p * (p + 1) // 2 + p))
            ones[:, :p] = float(means)
            extra, engine, unbiased = ones, Newton(least_squares), True
    layout = moment_layout(fitted.table, fitted.moments)
    inner = moment_problem(layout, fitted.moments, means, extra)
    problem = newton_problem(inner, inner.start, _linear(fitted), float(fitted.n_total), 0.0)
    problem = _start(problem, _padded(fitted, len(inner.used)))
    exo = exogenous_cells(fitted.table, fitted.places.latent)
    people = sampling(fitted.rows)
    return lambda keys: _bootstrap_moments(engine, problem, people, exo, keys, means, unbiased, CHUNK)


def _case_sampler(fitted: Fitted) -> Callable:
    """FIML: persons as single cases whose weights are the counts."""
    if fitted.missing != "fiml":
        raise ValueError(f"The bootstrap takes complete rows and FIML; got missing={fitted.missing!r}.")
    from jaxlatent.data.incomplete import single_cases

    groups = [single_cases(fitted.rows, g) for g in range(fitted.table.n_groups)]
    cases = tuple(tuple(Cases(*c) for c, _ in buckets) for buckets in groups)
    rows = tuple(tuple(r for _, r in buckets) for buckets in groups)
    base = moment_problem(moment_layout(fitted.table, fitted.moments), fitted.moments, True)
    inner = CasewiseProblem(base.cells, base.where, base.fixed, base.used, cases, float(fitted.n_total))
    problem = newton_problem(inner, base.start, _linear(fitted), float(fitted.n_total), 0.0)
    problem = _start(problem, _padded(fitted, len(base.used)))
    people = sampling(fitted.rows)
    return lambda keys: _bootstrap_cases(Chord(fiml_first, fiml_second), problem, people, rows, keys, 1)


# ---- batches ----------------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("engine", "means", "unbiased", "chunk"))
def _fit_stack(
    engine: Newton,
    problem: NewtonProblem,
    stack: jax.Array,
    exo: ExogenousCells,
    means: bool,
    unbiased: bool,
    chunk: int,
) -> Estimate:
    def one(y: jax.Array) -> Estimate:
        n = y.shape[0]
        mean = y.mean(axis=0)
        e = y - mean
        cov = e.T @ e / (n - (1 if unbiased else 0))
        inner = refresh(problem.inner, mean[None], cov[None], exo, means)
        p = y.shape[1]
        saturated = -n / 2 * (p * jnp.log(2 * jnp.pi) + inner.constant[0])
        if len(exo.observed):
            b = exo.observed
            x = len(b)
            saturated += n / 2 * (x * jnp.log(2 * jnp.pi) + spd_inverse(cov[b[:, None], b])[1] + x)
        return run(engine, problem._replace(inner=inner, saturated=saturated))

    return jax.lax.map(one, stack, batch_size=None if chunk == 1 else chunk)


def fit_stack(table: ParameterTable, stack: np.ndarray, engine: Any = None, *, chunk: int = CHUNK) -> Estimate:
    """Fit one model to every data set of a stack [batch, person, variable] (variables in the table's order).

    Returns an Estimate with a leading batch axis: free, vcov (expected information), log_likelihood, code, steps and
    statistics "chisq". Raises ValueError for engines other than ML and ULS, several groups, or missing values.
    """
    engine = ML() if engine is None else engine
    uls = isinstance(engine, LeastSquares) and engine.kind == "uls"
    if not uls and not isinstance(engine, ML):
        raise ValueError(f"Batches take ML and ULS; got {engine.name}.")
    _check_stack(table, stack)
    linear, nonlinear, inequalities = split(table)
    if nonlinear or inequalities:
        raise ValueError("Batches take linear equality constraints only: leave nonlinear ones and inequalities out.")
    means, p = table.mean_structure, stack.shape[2]
    pooled = stack.reshape(-1, p)
    n = stack.shape[1]
    cov = np.mean([np.cov(y.T, bias=True).reshape(p, p) for y in stack[:8]], axis=0)
    moments = GroupMoments(pooled.mean(axis=0)[None], cov[None], np.array([n]), table.observed)
    extra = None
    if uls:
        extra = np.concatenate([np.full(p, float(means)), np.ones(p * (p + 1) // 2)])[None]
    layout = moment_layout(table, moments)
    inner = moment_problem(layout, moments, means, extra)
    problem = newton_problem(inner, inner.start, linear, float(n), 0.0)
    from jaxlatent.spec.layout import places

    exo = exogenous_cells(table, places(table).latent)
    unbiased = uls or engine.likelihood == "wishart"
    with jax.enable_x64(True):
        objective = Newton(least_squares if uls else maximum_likelihood, covariance=True)
        found = _fit_stack(objective, problem, np.ascontiguousarray(stack), exo, means, unbiased, chunk)
        host = to_host(found, table.n_free)
    chisq = 2 * (n - (1 if unbiased else 0)) * host.statistics["value"]
    return host._replace(statistics={**host.statistics, "chisq": chisq})


def _check_stack(table: ParameterTable, stack: np.ndarray) -> None:
    if stack.ndim != 3 or stack.shape[2] != len(table.observed):
        raise ValueError(
            f"Expected a stack [data set, person, variable] with the {len(table.observed)} variables"
            f" {', '.join(table.observed)}; got shape {stack.shape}."
        )
    if table.n_groups > 1:
        raise ValueError("Batches take one group; got several.")
    bad = ~np.isfinite(stack).all(axis=(1, 2))
    if bad.any():
        raise ValueError(
            f"Data set {int(bad.argmax())} of the stack has missing or infinite values: batches need complete data."
        )
    if stack.shape[1] <= stack.shape[2]:
        raise ValueError(
            f"Expected more rows than variables; got {stack.shape[1]} rows and {stack.shape[2]} variables."
        )
