"""Newton's method for objectives whose Hessian costs many gradients: the Hessian is kept until progress slows.

A direction uses the last Hessian; it is renewed where the decrement g'H^-1 g fell by less than a factor of 20, or the
step was refused. Where the Hessian is not positive definite a fallback (an upper bound, such as the complete-data
information, which gives EM-like steps) takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.numerics.linalg import spd_solve
from jaxlatent.numerics.newton import BAD_START, CONVERGED, RUNNING, STEP_LIMIT, STUCK
from jaxlatent.numerics.types import Array


class ChordState(NamedTuple):
    x: Array
    value: Array
    gradient: Array
    matrix: Array  # the Hessian kept, its ridge included
    direction: Array  # -matrix^-1 gradient
    damping: Array
    fresh: Array  # the matrix belongs to x (before the first step: it was given)
    steps: Array
    code: Array

    @property
    def trial(self) -> Array:
        """The point to be evaluated next."""
        return self.x + self.direction

    @property
    def decrement(self) -> Array:
        """g' H^-1 g."""
        return -self.gradient @ self.direction


First = Callable[[Array], tuple[jax.Array, jax.Array]]
Second = Callable[[Array], tuple[jax.Array, jax.Array]]


def chord_init(x: Array, matrix: Array | None = None) -> ChordState:
    """The state before anything is evaluated: its first step stays at x, so that nothing is compiled twice.

    NumPy's constants: on the host each of JAX's would be a program of its own.

    matrix: a Hessian to begin with; without one the first step computes it.
    """
    zero, none = np.zeros((), x.dtype), np.zeros(x.shape, x.dtype)
    value, count = np.full((), np.inf, x.dtype), np.full((), -1, np.int32)
    first = np.eye(x.shape[0], dtype=x.dtype) if matrix is None else matrix
    running, given = np.full((), RUNNING, np.int32), np.full((), matrix is not None)
    return ChordState(x, value, none, first, none, zero, given, count, running)


def chord_step(
    first: First, second: Second, s: ChordState, tolerance: jax.Array | float, max_steps: jax.Array | int
) -> ChordState:
    """One step, and where it disappoints a new Hessian for the next."""
    s, renew = chord_advance(s, *first(s.trial), tolerance, max_steps)
    return jax.lax.cond(renew, lambda: chord_renew(s, *second(s.x)), lambda: s)


def chord_advance(
    s: ChordState, value: jax.Array, gradient: jax.Array, tolerance: jax.Array | float, max_steps: jax.Array | int
) -> tuple[ChordState, jax.Array]:
    """Judge the trial point by its value and gradient; also whether the Hessian is to be renewed."""
    start = s.steps < 0
    lower = start | (value <= s.value + 1e-11 * (1 + jnp.abs(s.value)))
    better = jnp.isfinite(value) & jnp.isfinite(gradient).all() & lower
    pairs = ((s.trial, s.x), (value, s.value), (gradient, s.gradient))
    x, value, gradient = (jnp.where(better, a, b) for a, b in pairs)
    direction = -spd_solve(s.matrix, gradient)
    after = -gradient @ direction
    done = better & (after < tolerance) & (s.damping < 1e-3) & ~start
    slow = ~better | jnp.where(start, ~s.fresh, after > 5e-2 * s.decrement)
    damping = jnp.where(better, s.damping / 10, jnp.where(s.fresh, jnp.maximum(10 * s.damping, 1e-2), s.damping))
    renew = (slow | (s.damping > 0)) & ~done
    code = jnp.where(s.steps + 1 >= max_steps, STEP_LIMIT, RUNNING)
    code = jnp.where(damping > 1e8, STUCK, code)
    code = jnp.where(done, CONVERGED, code).astype(jnp.int32)
    new = ChordState(x, value, gradient, s.matrix, direction, damping, renew, s.steps + 1, code)
    return new._replace(code=jnp.where(_lost(new) & ~renew, BAD_START, code).astype(jnp.int32)), renew


def _lost(s: ChordState) -> jax.Array:
    """The start could not be evaluated, or has no direction."""
    return (s.steps == 0) & ~(jnp.isfinite(s.value) & jnp.isfinite(s.direction).all())


def chord_renew(s: ChordState, hessian: jax.Array, fallback: jax.Array) -> ChordState:
    """A matrix at x that can be solved with, and the direction it gives."""
    ridge = s.damping * jnp.diag(jnp.diagonal(fallback))
    direction = -spd_solve(hessian + ridge, s.gradient)
    matrix, direction = jax.lax.cond(
        jnp.isfinite(direction).all(),
        lambda: (hessian + ridge, direction),
        lambda: (fallback + ridge, -spd_solve(fallback + ridge, s.gradient)),
    )
    new = s._replace(matrix=matrix, direction=direction)
    return new._replace(code=jnp.where(_lost(new), BAD_START, s.code).astype(jnp.int32))
