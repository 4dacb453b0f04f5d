"""Monotone rational-quadratic splines, elementwise, with the identity outside an interval.

Source: Durkan, Bekasov, Murray and Papamakarios (2019), Neural spline flows; Gregory and Delbourgo (1982).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

LEAST_SHARE = 1e-2  # of a bin in the width and height of all: slopes stay between 1/100 and 100, for single precision
LEAST_SLOPE = 1e-2  # at a knot
_UNIT = math.log(math.expm1(1 - LEAST_SLOPE))  # softplus(_UNIT) + LEAST_SLOPE = 1


class Bin(NamedTuple):
    """The bin an argument falls in: where it begins, its width and height, the slopes at its two ends; all [...]."""

    x: jax.Array
    y: jax.Array
    width: jax.Array
    height: jax.Array
    slope: jax.Array
    next_slope: jax.Array


class Knots(NamedTuple):
    """Bins of a spline: left and lower ends, widths and heights [..., bin], slopes at knots [..., bin + 1]."""

    x: jax.Array
    y: jax.Array
    width: jax.Array
    height: jax.Array
    slope: jax.Array


def n_raw(bins: int) -> int:
    """How many unconstrained numbers a spline of so many bins has."""
    return 3 * bins - 1


def knots(raw: jax.Array, bound: float) -> Knots:
    """Knots on [-bound, bound] from unconstrained numbers [..., 3 bins - 1]; all zero is the identity.

    Widths and heights by softmax, slopes of inner knots by softplus; the slopes at both ends are 1, as outside.
    """
    bins = (raw.shape[-1] + 1) // 3
    width, height = (_shares(part) * (2 * bound) for part in (raw[..., :bins], raw[..., bins : 2 * bins]))
    inner = LEAST_SLOPE + jax.nn.softplus(raw[..., 2 * bins :] + _UNIT)
    slope = jnp.pad(inner, [(0, 0)] * (raw.ndim - 1) + [(1, 1)], constant_values=1)
    left, low = (jnp.cumsum(size, axis=-1) - size - bound for size in (width, height))
    return Knots(left, low, width, height, slope)


def spline(k: Knots, x: jax.Array, bound: float) -> tuple[jax.Array, jax.Array]:
    """y and log dy/dx [...] at x [...]; knots with axes [..., bin] that broadcast.

    With t the place of x in its bin, s its height over its width, d and d' the slopes at its ends (Durkan, eq. 4, 5):

        y = y_k + h (s t^2 + d t (1 - t)) / (s + (d' + d - 2 s) t (1 - t))
    """
    inside = (x > -bound) & (x < bound)
    b = _bin(k, k.x, jnp.where(inside, x, 0))
    s = b.height / b.width
    t = (jnp.where(inside, x, b.x) - b.x) / b.width
    below = s + (b.next_slope + b.slope - 2 * s) * t * (1 - t)
    y = b.y + b.height * (s * t**2 + b.slope * t * (1 - t)) / below
    return jnp.where(inside, y, x), jnp.where(inside, _log_slope(b, s, t, below), 0)


def spline_inverse(k: Knots, y: jax.Array, bound: float) -> tuple[jax.Array, jax.Array]:
    """x and log dx/dy [...] at y [...]: the root in [0, 1] of a quadratic in t, in the form that does not cancel."""
    inside = (y > -bound) & (y < bound)
    b = _bin(k, k.y, jnp.where(inside, y, 0))
    s = b.height / b.width
    up = jnp.where(inside, y, b.y) - b.y
    bend = b.next_slope + b.slope - 2 * s
    linear = b.height * b.slope - up * bend
    square = b.height * (s - b.slope) + up * bend
    # the discriminant is a square of slopes; rounding must not make it zero, where the root has no derivative
    root = jnp.sqrt(jnp.maximum(linear**2 + 4 * square * s * up, jnp.finfo(y.dtype).tiny))
    t = jnp.clip(2 * s * up / (linear + root), 0, 1)
    below = s + bend * t * (1 - t)
    return jnp.where(inside, b.x + t * b.width, y), jnp.where(inside, -_log_slope(b, s, t, below), 0)


def _shares(raw: jax.Array) -> jax.Array:
    """Positive numbers [..., bin] that sum to one, none below LEAST_SHARE."""
    return LEAST_SHARE + (1 - LEAST_SHARE * raw.shape[-1]) * jax.nn.softmax(raw, axis=-1)


def _bin(k: Knots, starts: jax.Array, at: jax.Array) -> Bin:
    """The bin whose start is the last one not above `at`, by sums over an indicator: they differentiate fast."""
    reached = at[..., None] >= starts[..., 1:]
    ends = [(0, 0)] * (reached.ndim - 1)
    here = jnp.pad(reached, [*ends, (1, 0)], constant_values=True) & ~jnp.pad(reached, [*ends, (0, 1)])
    parts = (k.x, k.y, k.width, k.height, k.slope[..., :-1], k.slope[..., 1:])
    return Bin(*(jnp.where(here, part, 0).sum(-1) for part in parts))


def _log_slope(b: Bin, s: jax.Array, t: jax.Array, below: jax.Array) -> jax.Array:
    """log dy/dx inside a bin."""
    above = b.next_slope * t**2 + 2 * s * t * (1 - t) + b.slope * (1 - t) ** 2
    return 2 * jnp.log(s) + jnp.log(above) - 2 * jnp.log(below)
