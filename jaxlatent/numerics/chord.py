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

from jaxlatent.numerics.linalg import spd_solve
from jaxlatent.numerics.newton import BAD_START, CONVERGED, RUNNING, STEP_LIMIT, STUCK


class ChordState(NamedTuple):
    x: jax.Array
    value: jax.Array
    gradient: jax.Array
    matrix: jax.Array  # the Hessian kept, its ridge included
    direction: jax.Array  # -matrix^-1 gradient
    damping: jax.Array
    fresh: jax.Array  # the matrix belongs to x (before the first step: it was given)
    steps: jax.Array
    code: jax.Array

    @property
    def decrement(self) -> jax.Array:
        """g' H^-1 g."""
        return -self.gradient @ self.direction


First = Callable[[jax.Array], tuple[jax.Array, jax.Array]]
Second = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def chord_init(x: jax.Array, matrix: jax.Array | None = None) -> ChordState:
    """The state before anything is evaluated: its first step stays at x, so that nothing is compiled twice.

    matrix: a Hessian to begin with; without one the first step computes it.
    """
    zero, none = jnp.zeros((), x.dtype), jnp.zeros_like(x)
    value, count = jnp.full((), jnp.inf, x.dtype), jnp.full((), -1, jnp.int32)
    first = jnp.eye(x.shape[0], dtype=x.dtype) if matrix is None else jnp.asarray(matrix)
    running, given = jnp.full((), RUNNING, jnp.int32), jnp.full((), matrix is not None)
    return ChordState(x, value, none, first, none, zero, given, count, running)


def chord_step(
    first: First, second: Second, s: ChordState, tolerance: jax.Array | float, max_steps: jax.Array | int
) -> ChordState:
    """One step, and where it disappoints a new Hessian for the next."""
    x = s.x + s.direction
    value, gradient = first(x)
    start = s.steps < 0
    lower = start | (value <= s.value + 1e-11 * (1 + jnp.abs(s.value)))
    better = jnp.isfinite(value) & jnp.isfinite(gradient).all() & lower
    x, value, gradient = (jnp.where(better, a, b) for a, b in ((x, s.x), (value, s.value), (gradient, s.gradient)))
    direction = -spd_solve(s.matrix, gradient)
    after = -gradient @ direction
    done = better & (after < tolerance) & (s.damping < 1e-3) & ~start
    slow = ~better | jnp.where(start, ~s.fresh, after > 5e-2 * s.decrement)
    damping = jnp.where(better, s.damping / 10, jnp.where(s.fresh, jnp.maximum(10 * s.damping, 1e-2), s.damping))
    renew = (slow | (s.damping > 0)) & ~done
    matrix, direction = jax.lax.cond(
        renew, lambda: _renewed(second, x, gradient, damping), lambda: (s.matrix, direction)
    )
    code = jnp.where(s.steps + 1 >= max_steps, STEP_LIMIT, RUNNING)
    code = jnp.where(damping > 1e8, STUCK, code)
    code = jnp.where(done, CONVERGED, code)
    lost = start & ~(better & jnp.isfinite(direction).all())
    code = jnp.where(lost, BAD_START, code).astype(jnp.int32)
    return ChordState(x, value, gradient, matrix, direction, damping, renew, s.steps + 1, code)


def _renewed(second: Second, x: jax.Array, gradient: jax.Array, damping: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A matrix at x that can be solved with, and the direction it gives."""
    hessian, fallback = second(x)
    ridge = damping * jnp.diag(jnp.diagonal(fallback))
    direction = -spd_solve(hessian + ridge, gradient)
    ok = jnp.isfinite(direction).all()
    return jax.lax.cond(
        ok,
        lambda: (hessian + ridge, direction),
        lambda: (fallback + ridge, -spd_solve(fallback + ridge, gradient)),
    )
