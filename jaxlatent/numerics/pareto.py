"""The tail of importance weights: a generalised Pareto distribution fitted to the largest of them."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

POOR = 0.7  # shapes above mean that a sum of weights cannot be trusted at any feasible number of draws
PRIOR_SHAPE, PRIOR_WEIGHT = 0.5, 10.0


def tail_size(n: int) -> int:
    """How many of n weights count as the tail: min(n / 5, 3 sqrt n). Source: Vehtari et al. (2024), JMLR 25, (10)."""
    return max(min(n // 5, math.ceil(3 * math.sqrt(n))), 5)


def pareto_shape(log_weights: jax.Array) -> jax.Array:
    """Shape k of the generalised Pareto tail of weights [R, ...] along the first axis; R of 25 or more.

    k = 1/M sum_j log(1 - b y_j), b the posterior mean over a grid of the profile likelihood, then shrunk towards 1/2.

    Source: Zhang and Stephens (2009), Technometrics 51; Vehtari et al. (2024), JMLR 25, appendix C.
    """
    n = log_weights.shape[0]
    if n < 25:
        raise ValueError(f"Expected at least 25 weights to judge their tail; got {n}.")
    m = tail_size(n)
    top = jnp.sort(log_weights - log_weights.max(0), axis=0)[n - m - 1 :]
    y = jnp.maximum(jnp.exp(top[1:]) - jnp.exp(top[0]), 1e-30)  # excesses over the threshold, in ascending order
    points = 30 + int(math.sqrt(m))
    quartile = y[(m + 2) // 4 - 1]
    grid = 1 - jnp.sqrt(points / (jnp.arange(1, points + 1, dtype=y.dtype) - 0.5))
    grid = grid.reshape(-1, *[1] * (y.ndim - 1))
    b = 1 / y[-1] + grid / (3 * quartile)  # [grid, ...]
    k = jnp.log1p(-b[:, None] * y[None]).mean(1)
    profile = m * (jnp.log(jnp.abs(b / k)) - k - 1)
    weight = jax.nn.softmax(jnp.where(jnp.isfinite(profile), profile, -jnp.inf), axis=0)
    b_mean = (jnp.where(weight > 0, b, 0) * weight).sum(0)
    shape = jnp.log1p(-b_mean * y).mean(0)
    return (m * shape + PRIOR_WEIGHT * PRIOR_SHAPE) / (m + PRIOR_WEIGHT)
