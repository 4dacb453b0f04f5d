"""Elementary logarithms that neither overflow nor cancel, value and derivatives, in either precision."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

NEVER = -1e30  # the logarithm of a probability 0, finite so that no derivative is NaN; also pads rows of intercepts
_STEEP = 80.0  # exp of it is finite in float32, and its reciprocal not zero


@jax.custom_jvp
def softplus(x: jax.Array) -> jax.Array:
    """log(1 + e^x), as max(x, 0) + log(1 + e^-|x|): several times faster on the CPU than jax.nn.softplus."""
    return jnp.maximum(x, 0) + jnp.log(1 + jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def _softplus_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Stated, since the derivatives of the absolute value would give 0 for the second derivative at x = 0."""
    return softplus(*primals), jax.nn.sigmoid(primals[0]) * tangents[0]


def log1mexp(x: jax.Array) -> jax.Array:
    """log(1 - e^-x); ``NEVER`` where x <= 0 (Maechler, 2012)."""
    near = jnp.clip(x, 1e-37, math.log(2))
    far = jnp.maximum(x, math.log(2))
    value = jnp.where(x > math.log(2), jnp.log1p(-jnp.exp(-far)), jnp.log(-jnp.expm1(-near)))
    return jnp.where(x > 0, value, NEVER)


def steep_exp(x: jax.Array) -> jax.Array:
    """e^x, continued by its tangent above x = 80."""
    low = jnp.minimum(x, _STEEP)
    return jnp.exp(low) * (1 + (x - low))


@jax.custom_jvp
def log_mixture(x: jax.Array, upper: jax.Array, lower: jax.Array) -> jax.Array:
    """log P, P = upper σ(x) + lower σ(-x), exact also at lower = 0; 0 <= lower, upper <= 1.

    It is log σ(m) + log(upper e^{x - m} + lower e^{-m}) with m = max(x, -80).
    """
    m = jnp.maximum(x, -_STEEP)
    return jnp.log(upper * jnp.exp(jnp.maximum(x - m, -_STEEP)) + lower * jnp.exp(-m)) - softplus(-m)


@log_mixture.defjvp
def _log_mixture_jvp(
    primals: tuple[jax.Array, jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """(upper - lower) σ(x) σ(-x) / P, σ(x) / P and σ(-x) / P, the last two at most e^80."""
    (x, upper, lower), (dx, du, dl) = primals, tangents
    value, log_one = log_mixture(x, upper, lower), softplus(x)  # the latter is -log σ(-x)
    by_x = (upper - lower) * jnp.exp(x - 2 * log_one - value)
    by_upper = jnp.exp(jnp.minimum(x - log_one - value, _STEEP))
    by_lower = jnp.exp(jnp.minimum(-log_one - value, _STEEP))
    return value, by_x * dx + by_upper * du + by_lower * dl


def log_sum_exp(terms: Sequence[jax.Array]) -> jax.Array:
    """log Σ_k e^{terms_k}, elementwise: no array with an axis for k is made."""
    top = terms[0]
    for term in terms[1:]:
        top = jnp.maximum(top, term)
    top = jax.lax.stop_gradient(top)
    total = jnp.exp(terms[0] - top)
    for term in terms[1:]:
        total = total + jnp.exp(term - top)
    return top + jnp.log(total)


def pick(table: jax.Array, y: jax.Array) -> jax.Array:
    """table[..., y]: table [..., category], y [...] whole numbers.

    A sum over categories, elementwise: its derivative is no scatter, and it makes no array with an axis for them.
    """
    picked = jnp.where(y == 0, table[..., 0], 0)
    for k in range(1, table.shape[-1]):
        picked = picked + jnp.where(y == k, table[..., k], 0)
    return picked


def spread(value: jax.Array, like: jax.Array) -> jax.Array:
    """value [person, item], repeated over the leading axes of like [..., person or 1, item].

    As a product with a column of ones: its derivative, a sum over the leading axes, is then a product with a row of
    ones, on the CPU several times faster than a reduction.
    """
    leading = like.shape[:-2]
    if value.ndim > 2:  # it has leading axes of its own
        return value
    ones = jnp.ones((math.prod(leading), 1), value.dtype)
    repeated = jnp.matmul(ones, value.reshape(1, -1), precision=jax.lax.Precision.HIGHEST)
    return repeated.reshape(*leading, *value.shape)


def rising_gammaln(r: jax.Array, y: jax.Array) -> jax.Array:
    """log[Γ(r + y) / (Γ(r) r^y)], without cancellation for large r; r > 0, y >= 0.

    Above r = 8 by Stirling's series of both logarithms, whose leading terms cancel by hand.
    """
    small, large = jnp.minimum(r, 8.0), jnp.maximum(r, 8.0)
    direct = gammaln(small + y) - gammaln(small) - y * jnp.log(small)
    leading = (large + y - 0.5) * jnp.log1p(y / large) - y
    return jnp.where(r < 8.0, direct, leading + _stirling_rest(large + y) - _stirling_rest(large))


def _stirling_rest(x: jax.Array) -> jax.Array:
    """log Γ(x) - (x - 1/2) log x + x - log(2 π) / 2, for x >= 8."""
    inverse = 1 / (x * x)
    return (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse * (1 / 1680 - inverse / 1188)))) / x
