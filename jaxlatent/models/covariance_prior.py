"""Densities of standard deviations and correlations as densities of the cells of covariance matrices."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from jaxlatent.numerics.bijections import Covariance
from jaxlatent.numerics.small_cholesky import cholesky_cells, log_diagonal

Draws = dict[int, jax.Array]  # by position in the block


def log_sd(pattern: Covariance, c: jax.Array, i: int) -> jax.Array:
    """log of the standard deviation of variable i at cells c [..., n]."""
    fixed = dict(pattern.variances)
    if i in fixed:
        return jnp.full(c.shape[:-1], np.log(fixed[i]).item() / 2, c.dtype)
    return jnp.log(c[..., next(at for a, b, at in pattern.free if a == b == i)]) / 2


def correlations(pattern: Covariance, c: jax.Array) -> dict[int, tuple[jax.Array, jax.Array]]:
    """By position of each free covariance: its correlation r = c_ij / (s_i s_j), and log(s_i s_j) = -log |dr/dc_ij|."""
    out = {}
    for i, j, at in pattern.free:
        if i != j:
            size = log_sd(pattern, c, i) + log_sd(pattern, c, j)
            out[at] = (c[..., at] * jnp.exp(-size), size)
    return out


def log_det_correlation(pattern: Covariance, c: jax.Array) -> jax.Array:
    """log det R [...], nan where the matrix is not positive definite."""
    sds = sum((log_sd(pattern, c, i) for i in range(pattern.size)), start=jnp.zeros(c.shape[:-1], c.dtype))
    return 2 * (log_diagonal(cholesky_cells(pattern.matrix(c))) - sds)


def lkj_constant(pattern: Covariance, concentration: float) -> float:
    """Minus the log of the integral of det(R)^(η - 1), 0 where some correlations are fixed at 0.

    Σ_k k [(2η - 2 + k) log 2 + log B(η + (k - 1)/2, η + (k - 1)/2)], k = 1 ... d - 1 (Lewandowski et al. 2009).
    """
    if not _full(pattern):
        return 0.0
    total = 0.0
    for k in range(1, pattern.size):
        a = concentration + (k - 1) / 2
        total += k * ((2 * concentration - 2 + k) * math.log(2) + 2 * math.lgamma(a) - math.lgamma(2 * a))
    return -total


def _full(pattern: Covariance) -> bool:
    return sum(i != j for i, j, _ in pattern.free) == pattern.size * (pattern.size - 1) // 2


def draw_lkj(
    pattern: Covariance, concentration: float, key: jax.Array, shape: tuple[int, ...]
) -> tuple[Draws, jax.Array]:
    """Correlations by position, and the log of the probability with which each draw is to be kept.

    Of full matrices by the onion method, all kept: where 2η is whole, row i of the Cholesky factor is the first i cells
    of a random direction in 2η + d - 1 dimensions. Else uniform on (-1, 1), kept with det(R)^(η - 1).
    """
    if _full(pattern):
        r = _onion(pattern.size, float(concentration), key, shape)
        return {at: r[..., i, j] for i, j, at in pattern.free if i != j}, jnp.zeros(shape)
    cells = [(i, j, at) for i, j, at in pattern.free if i != j]
    u = jax.random.uniform(key, (*shape, len(cells)), minval=-1.0, maxval=1.0)
    drawn = {at: u[..., k] for k, (_, _, at) in enumerate(cells)}
    log_det = 2 * log_diagonal(cholesky_cells(correlation_matrix(pattern, drawn)))
    return drawn, (concentration - 1) * log_det


def _onion(size: int, concentration: float, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Correlation matrices [*shape, size, size]."""
    if (2 * concentration) % 1:
        return dist.LKJ(size, concentration).sample(key, shape)
    z = jax.random.normal(key, (*shape, size, int(2 * concentration) + size - 1))
    below = jnp.tril((z / jnp.sqrt((z**2).sum(-1, keepdims=True)))[..., :size], -1)
    root = below + jnp.eye(size) * jnp.sqrt(1 - (below**2).sum(-1))[..., None]
    return root @ jnp.swapaxes(root, -1, -2)


def correlation_matrix(pattern: Covariance, r: Draws) -> list[list[jax.Array]]:
    """Cells of R from correlations by position; the others are 0."""
    zero = jnp.zeros_like(next(iter(r.values())))
    out = [[zero + (1.0 if i == j else 0.0) for j in range(pattern.size)] for i in range(pattern.size)]
    for i, j, at in pattern.free:
        if i != j:
            out[i][j] = out[j][i] = r[at]
    return out
