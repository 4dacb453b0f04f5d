"""A fixed-point iteration whose objective never falls, accelerated by squared extrapolation, in one compiled loop.

From u: u1 = F(u), u2 = F(u1), r = u1 - u, v = u2 - u1 - r, and with a = -|r| / |v| the point u - 2 a r + a² v, to which
F is applied once more. It is kept only if its objective is at least that of u1; otherwise u2 is.
Varadhan and Roland (2008), Scandinavian Journal of Statistics 35.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

TRACE = 512  # objectives of that many steps are kept

Map = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


class Climb(NamedTuple):
    """Where a climb ended: u, its objective before the last step, steps, whether it converged, objectives by step."""

    u: jax.Array
    value: jax.Array
    steps: jax.Array
    converged: jax.Array
    trace: jax.Array


def climb(step: Map, start: jax.Array, tolerance: jax.Array, max_steps: jax.Array, accelerate: bool) -> Climb:
    """Iterate u -> F(u) until the objective gains less than the tolerance in a step.

    step(u) gives F(u) and the objective at u. Squared steps apply F three times.
    """

    def plain(u: jax.Array) -> tuple[jax.Array, jax.Array]:
        return step(u)

    def squared(u: jax.Array) -> tuple[jax.Array, jax.Array]:
        u1, f0 = step(u)
        u2, f1 = step(u1)
        r, v = u1 - u, u2 - 2 * u1 + u
        bend = jnp.sqrt((v * v).sum())
        a = -jnp.maximum(jnp.sqrt((r * r).sum()) / jnp.where(bend > 0, bend, 1), 1)
        u3, f = step(u - 2 * a * r + a * a * v)
        better = (bend > 0) & jnp.isfinite(f) & (f >= f1) & jnp.isfinite(u3).all()
        return jnp.where(better, u3, u2), f0

    advance = squared if accelerate else plain

    def going(s: Climb) -> jax.Array:
        return (~s.converged) & (s.steps < max_steps) & jnp.isfinite(s.value)

    def body(s: Climb) -> Climb:
        u, value = advance(s.u)
        done = (s.steps > 0) & (value - s.value <= tolerance)
        kept = jnp.where(done, s.u, u)
        trace = s.trace.at[jnp.minimum(s.steps, TRACE - 1)].set(value)
        return Climb(kept, value, s.steps + 1, done, trace)

    low = jnp.asarray(-jnp.finfo(start.dtype).max)
    begin = Climb(start, low, jnp.asarray(0), jnp.asarray(False), jnp.full(TRACE, jnp.nan, start.dtype))
    return lax.while_loop(going, body, begin)
