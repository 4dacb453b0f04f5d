"""Quasi-Newton steps for likelihoods that are sums over persons, begun at their cross-products of scores.

Steps are (sum S S')^-1 score (Berndt, Hall, Hall and Hausman 1974), which cost nothing beyond the score, as long as
they bring the maximum much nearer. From then on the matrix is updated by what gradients show of the curvature (BFGS:
Nocedal and Wright 2006, eq. 6.19), because cross-products are a poor guide where the model is wrong or persons are
few. Where there are very few persons for the parameters the observed information (or, where it is not positive
definite, that of the complete data) takes their place at the start. Where a step is small enough to stop, the observed
information is computed; if the step it gives is not small, it becomes the matrix and the search goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlatent.numerics.linalg import spd_solve
from jaxlatent.numerics.newton import BAD_START, CONVERGED, RUNNING, STEP_LIMIT, STUCK

EARLY = 2  # accepted steps that follow the cross-products in any case
NEARER, NEAR = 0.3, 1.0  # later ones do where each brings the decrement below this share of the last, to this value
SHORTER = 0.25  # a refused step is tried again at this length
NOTHING, GUIDE, FINISH = 0, 1, 2  # what the information is wanted for: nothing, directions, the end
PATIENCE, RESETS = 4, 4  # shorter steps before the matrix is renewed, renewals before the search gives up


class Options(NamedTuple):
    """tolerance of the decrement score' H^-1 score (squared standard errors); max_steps; slack of the objective that
    counts as no rise; by_cross: cross-products are a guide at the start; finish: the information is wanted at the end;
    keep_cross: so are cross-products (else they are made only while they guide).
    """

    tolerance: Any
    max_steps: Any
    slack: Any
    by_cross: Any
    finish: Any
    keep_cross: Any = True


class ScoringState(NamedTuple):
    x: jax.Array
    value: jax.Array  # minus the log-likelihood
    gradient: jax.Array
    cross: jax.Array
    aux: Any
    matrix: jax.Array
    direction: jax.Array
    decrement: jax.Array
    crossing: jax.Array  # the matrix is that of cross-products
    accepted: jax.Array
    refused: jax.Array  # in a row
    resets: jax.Array
    steps: jax.Array
    code: jax.Array
    wanted: jax.Array  # NOTHING, or what the information is wanted for before the next step


class First(NamedTuple):
    """Minus the log-likelihood, its gradient, sum of S S', and what is carried to the next evaluation."""

    value: jax.Array
    gradient: jax.Array
    cross: jax.Array
    aux: Any


def scoring_init(x: jax.Array, aux: Any) -> ScoringState:
    """The state before anything is evaluated: the first step stays at x."""
    q, inf = x.shape[0], jnp.full((), jnp.inf, x.dtype)
    eye, none, count = jnp.eye(q, dtype=x.dtype), jnp.zeros_like(x), jnp.zeros((), jnp.int32)
    yes = jnp.ones((), bool)
    return ScoringState(
        x, inf, none, eye, aux, eye, none, inf, yes, count, count, count, count - 1, count + RUNNING, count + NOTHING
    )


def bfgs(matrix: jax.Array, step: jax.Array, change: jax.Array) -> jax.Array:
    """The matrix after a step and the change of the gradient; as it is where the curvature seen is not positive."""
    moved = matrix @ step
    seen, expected = change @ step, step @ moved
    fine = (seen > 1e-4 * expected) & (expected > 0)
    new = matrix - jnp.outer(moved, moved) / jnp.where(fine, expected, 1)
    new = new + jnp.outer(change, change) / jnp.where(fine, seen, 1)
    return jnp.where(fine, new, matrix)


def scoring_step(
    first: Callable[[jax.Array, Any, jax.Array, jax.Array], First],
    second: Callable[[jax.Array, Any], tuple[jax.Array, jax.Array]],
    feasible: Callable[[jax.Array, jax.Array], jax.Array],
    s: ScoringState,
    options: Options,
) -> ScoringState:
    """One step, with the information where it is wanted: ``scoring_try`` and ``scoring_renewed`` in one program."""
    after = scoring_try(first, feasible, s, options)
    return jax.lax.cond(
        after.wanted != NOTHING, lambda: scoring_renewed(second, feasible, after, options), lambda: after
    )


def scoring_try(
    first: Callable[[jax.Array, Any, jax.Array, jax.Array], First],
    feasible: Callable[[jax.Array, jax.Array], jax.Array],
    s: ScoringState,
    options: Options,
) -> ScoringState:
    """One step; refused where the objective rises beyond the slack or is not finite, and then tried again shorter.

    first(x, aux, start, crossed): at the start or not, and whether sum S S' is wanted (zeros will do otherwise).
    feasible(x, direction) shortens a direction where it would leave the parameters' space. Where ``wanted`` is not
    NOTHING, ``scoring_renewed`` must follow.
    """
    start = s.steps < 0
    guided = options.by_cross & s.crossing
    e = first(s.x + s.direction, s.aux, start, guided | options.keep_cross)
    lower = start | (e.value <= s.value + options.slack * (1 + jnp.abs(s.value)))
    better = jnp.isfinite(e.value) & jnp.isfinite(e.gradient).all() & lower
    new = (s.x + s.direction, e.value, e.gradient, e.cross, e.aux)
    old = (s.x, s.value, s.gradient, s.cross, s.aux)
    x, value, gradient, cross, aux = jax.tree.map(lambda a, b: jnp.where(better, a, b), new, old)
    accepted = (s.accepted + better).astype(jnp.int32)
    refused = jnp.where(better, 0, s.refused + 1).astype(jnp.int32)

    updated = jnp.where(better & ~start, bfgs(s.matrix, x - s.x, gradient - s.gradient), s.matrix)
    along_cross = jax.lax.cond(guided, lambda: -spd_solve(cross, gradient), lambda: jnp.zeros_like(gradient))
    nearer = better & (-gradient @ along_cross < NEARER * s.decrement)
    crossing = guided & ((accepted <= EARLY) | (nearer & (s.decrement > NEAR)))
    matrix = jnp.where(crossing & better, cross, updated)
    direction = jax.lax.cond(crossing, lambda: along_cross, lambda: -spd_solve(matrix, gradient))
    direction = jnp.where(better, direction, SHORTER * s.direction)
    decrement = jnp.where(better, -gradient @ direction, s.decrement)
    small = better & (decrement < options.tolerance) & ~start
    broken = ~jnp.isfinite(direction).all() | (refused >= PATIENCE) | (start & ~options.by_cross)
    fine = better | ~start
    wanted = jnp.where(broken & fine, GUIDE, NOTHING)
    wanted = jnp.where(small & options.finish, FINISH, wanted)  # it may say that this is not the maximum
    steps = s.steps + 1
    code = jnp.where(steps >= options.max_steps, STEP_LIMIT, RUNNING)
    code = jnp.where(small, CONVERGED, code)
    code = jnp.where(fine, code, BAD_START)
    code = jnp.where(wanted == NOTHING, code, RUNNING)
    direction = jnp.where(code == RUNNING, jnp.where(better, feasible(x, direction), direction), 0)
    return ScoringState(
        x, value, gradient, cross, aux, matrix, direction, decrement, crossing, accepted, refused, s.resets, steps,
        code.astype(jnp.int32), wanted.astype(jnp.int32),
    )  # fmt: skip


def scoring_renewed(
    second: Callable[[jax.Array, Any], tuple[jax.Array, jax.Array]],
    feasible: Callable[[jax.Array, jax.Array], jax.Array],
    s: ScoringState,
    options: Options,
) -> ScoringState:
    """The state with the observed information, second(x, aux)[0], as its matrix; that of the complete data where steps
    are wanted and the first gives none.
    """
    last = s.wanted == FINISH
    information, complete = second(s.x, s.aux)
    tried = -spd_solve(information, s.gradient)
    ok = jnp.isfinite(tried).all() | last
    matrix, direction = jax.lax.cond(
        ok, lambda: (information, tried), lambda: (complete, -spd_solve(complete, s.gradient))
    )
    decrement = -s.gradient @ direction
    further = last & (decrement > 10 * options.tolerance) & (s.resets < RESETS)
    given_up = ~last & (s.steps > 0)
    resets = (s.resets + given_up + further).astype(jnp.int32)
    code = jnp.where(s.steps >= options.max_steps, STEP_LIMIT, RUNNING)
    code = jnp.where(resets > RESETS, STUCK, code)
    code = jnp.where(last & ~further, CONVERGED, code)
    code = jnp.where((s.steps == 0) & ~jnp.isfinite(direction).all(), BAD_START, code).astype(jnp.int32)
    return s._replace(
        matrix=matrix,
        direction=jnp.where(code == RUNNING, feasible(s.x, direction), 0),
        decrement=decrement,
        crossing=s.crossing & last & ~further,
        refused=jnp.zeros_like(s.refused),
        resets=resets,
        code=code,
        wanted=jnp.zeros_like(s.wanted),
    )
