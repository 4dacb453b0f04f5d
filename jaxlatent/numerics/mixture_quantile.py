"""Quantiles of mixtures of normals in one variable."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import log_ndtr, ndtri

from jaxlatent.numerics.normal_density import LOG_2_PI

FARTHEST = 12.0  # z beyond this is moved here: its probability is below single precision
STEPS = {"float32": 26, "float64": 52}  # halvings, as many as there are digits


def mixture_quantile(log_weights: jax.Array, means: jax.Array, scales: jax.Array, z: jax.Array) -> jax.Array:
    """x [...] with sum_k w_k Phi((x - m_k) / s_k) = Phi(z), by bisection; differentiable once in every argument.

    log_weights, means, scales [..., k] broadcast against z [..., 1]. The root lies between the smallest and the largest
    of the components' own quantiles m_k + s_k z. Upper tails are compared as such where z > 0, in logarithms, so that
    nothing cancels. One Newton step from the root carries the derivative.
    """
    z = jnp.clip(z, -FARTHEST, FARTHEST)
    side = jnp.where(z > 0, -1.0, 1.0).astype(z.dtype)
    target = log_ndtr(side * z)
    fixed = lax.stop_gradient((log_weights, means, scales, z, side, target))
    x = lax.stop_gradient(_bisect(*fixed))
    log_tail = _log_tail(log_weights, means, scales, side, x)
    log_density = jax.nn.logsumexp(
        log_weights - ((x[..., None] - means) / scales) ** 2 / 2 - jnp.log(scales) - LOG_2_PI / 2, axis=-1
    )
    slope = lax.stop_gradient(side * jnp.exp(log_density - log_tail))  # of log_tail in x
    return x - (log_tail - target) / slope


def normal_score(log_weights: jax.Array, means: jax.Array, scales: jax.Array, x: jax.Array) -> jax.Array:
    """z [...] with Phi(z) = sum_k w_k Phi((x - m_k) / s_k), by the smaller of the two tails."""
    ones = jnp.ones_like(x)
    below = _log_tail(log_weights, means, scales, ones, x)
    above = _log_tail(log_weights, means, scales, -ones, x)
    least = math.log(jnp.finfo(x.dtype).tiny) + 1
    z = ndtri(jnp.exp(jnp.clip(jnp.minimum(below, above), least, -math.log(2))))
    return jnp.where(below < above, z, -z)


def _log_tail(log_weights: jax.Array, means: jax.Array, scales: jax.Array, side: jax.Array, x: jax.Array) -> jax.Array:
    """log P(X <= x), or log P(X > x) where side is -1."""
    return jax.nn.logsumexp(log_weights + log_ndtr(side[..., None] * (x[..., None] - means) / scales), axis=-1)


def _bisect(
    log_weights: jax.Array, means: jax.Array, scales: jax.Array, z: jax.Array, side: jax.Array, target: jax.Array
) -> jax.Array:
    each = means + scales * z[..., None]

    def halve(_: jax.Array, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        above = (_log_tail(log_weights, means, scales, side, middle) - target) * side > 0
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    low, high = lax.fori_loop(0, STEPS[str(z.dtype)], halve, (each.min(-1), each.max(-1)))
    return (low + high) / 2
