"""Scoring steps for likelihoods that are sums over persons: cross-products of scores far off, the information near by.

Far from the maximum a step is (sum S S' + ridge)^-1 score (Berndt, Hall, Hall and Hausman 1974), which costs nothing
beyond the score. Once the step is below one standard error the observed information is computed and kept; it is renewed
where progress slows. Where there are few persons for the parameters the cross-products are no guide, and the
information (or, where it is not positive definite, that of the complete data, which makes it an EM step) is used from
the start. After convergence one more step computes the information at the maximum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlatent.numerics.linalg import spd_solve
from jaxlatent.numerics.newton import BAD_START, CONVERGED, RUNNING, STEP_LIMIT, STUCK

NEAR = 1.0  # squared standard errors: from here on the observed information is used
FINISHING = 5  # internal: converged, the information at the maximum is still to come


class Options(NamedTuple):
    """tolerance of the decrement score' H^-1 score (squared standard errors); max_steps; slack of the objective that
    counts as no rise; by_cross: cross-products are a guide; by_information: the information may be computed on the way;
    finish: compute it at the end.
    """

    tolerance: Any
    max_steps: Any
    slack: Any
    by_cross: Any
    by_information: Any
    finish: Any


class ScoringState(NamedTuple):
    x: jax.Array
    value: jax.Array  # minus the log-likelihood
    gradient: jax.Array
    cross: jax.Array
    aux: Any
    matrix: jax.Array
    direction: jax.Array
    damping: jax.Array
    decrement: jax.Array
    kept: jax.Array
    steps: jax.Array
    code: jax.Array


class First(NamedTuple):
    """Minus the log-likelihood, its gradient, sum of S S', and what is carried to the next evaluation."""

    value: jax.Array
    gradient: jax.Array
    cross: jax.Array
    aux: Any


def scoring_init(x: jax.Array, aux: Any) -> ScoringState:
    """The state before anything is evaluated: the first step stays at x."""
    q, zero, inf = x.shape[0], jnp.zeros((), x.dtype), jnp.full((), jnp.inf, x.dtype)
    eye, none = jnp.eye(q, dtype=x.dtype), jnp.zeros_like(x)
    return ScoringState(
        x, inf, none, eye, aux, eye, none, zero, inf, jnp.zeros((), bool),
        jnp.full((), -1, jnp.int32), jnp.full((), RUNNING, jnp.int32),
    )  # fmt: skip


def scoring_step(
    first: Callable[[jax.Array, Any, jax.Array], First],
    second: Callable[[jax.Array, Any], tuple[jax.Array, jax.Array]],
    s: ScoringState,
    options: Options,
) -> ScoringState:
    """One step; refused where the objective rises beyond the slack or is not finite, and then the damping grows."""
    start, finishing = s.steps < 0, s.code == FINISHING
    x = s.x + s.direction
    e = first(x, s.aux, start)
    lower = start | finishing | (e.value <= s.value + options.slack * (1 + jnp.abs(s.value)))
    better = jnp.isfinite(e.value) & jnp.isfinite(e.gradient).all() & lower
    keep = lambda new, old: jax.tree.map(lambda a, b: jnp.where(better, a, b), new, old)  # noqa: E731
    x, value, gradient, cross = keep((x, e.value, e.gradient, e.cross), (s.x, s.value, s.gradient, s.cross))
    aux = keep(e.aux, s.aux)
    damping = jnp.where(better, jnp.where(s.damping < 1e-4, 0, s.damping / 10), jnp.maximum(10 * s.damping, 1e-2))
    damping = jnp.where(start, 0, damping)

    def scored(matrix: jax.Array) -> jax.Array:
        ridge = damping * jnp.diag(jnp.diagonal(matrix))
        return -spd_solve(matrix + ridge, gradient)

    by_cross = options.by_cross & ~s.kept
    matrix = jnp.where(by_cross, cross, s.matrix)
    direction = scored(matrix)
    after = -gradient @ direction
    slow = ~better | (after > 0.05 * s.decrement)
    far = ~jnp.isfinite(after) | (after > NEAR)
    wanted = jnp.where(by_cross, ~far | ~jnp.isfinite(after), start | (slow & (after > options.tolerance)) | (s.damping > 0))
    wanted = (wanted & options.by_information & ~finishing) | (finishing & options.finish)

    def renewed() -> tuple[jax.Array, jax.Array]:
        information, complete = second(x, aux)
        tried = scored(information)
        ok = jnp.isfinite(tried).all() & (-gradient @ tried >= 0) | finishing
        return jax.lax.cond(ok, lambda: (information, tried), lambda: (complete, scored(complete)))

    matrix, direction = jax.lax.cond(wanted, renewed, lambda: (matrix, direction))
    kept = s.kept | wanted
    after = -gradient @ direction
    done = better & (after < options.tolerance) & (damping < 1e-3) & ~start & ~finishing
    steps = s.steps + jnp.where(finishing, 0, 1)
    code = jnp.where(steps >= options.max_steps, STEP_LIMIT, RUNNING)
    code = jnp.where(damping > 1e8, STUCK, code)
    code = jnp.where(done, FINISHING, code)
    code = jnp.where(finishing, CONVERGED, code)
    code = jnp.where(start & ~(better & jnp.isfinite(direction).all()), BAD_START, code).astype(jnp.int32)
    direction = jnp.where(done | finishing | ~jnp.isfinite(direction).all(), 0, direction)
    return ScoringState(x, value, gradient, cross, aux, matrix, direction, damping, after, kept, steps, code)
