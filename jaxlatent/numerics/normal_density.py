"""Log densities of normal rows with missing cells: by their covariance, or by factors at the cost of factors.

Missing cells are marginalised: only the observed block of a row enters. A row with nothing observed has log density 0.
Loops are inside jit here, because a loop that is run eagerly is compiled anew at every call.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxlatent.numerics.linalg import spd_inverse, sweep_inverse

LOG_2_PI = math.log(2 * math.pi)  # a Python float: keeps float32 code float32
CHUNK = 256  # rows at a time whose own p x p inverses are held

Array = jax.Array


@jax.jit
def psd_root(a: Array) -> Array:
    """Lower L with L L' = A for A [..., m, m] positive semidefinite (a zero variance gives a zero column), else nan.

    Our own elimination, without LAPACK: safe in batches inside loops, and differentiable where pivots are zero.
    """
    m = a.shape[-1]
    scale = jnp.abs(jnp.diagonal(a, axis1=-2, axis2=-1))
    # elimination without pivoting magnifies rounding where earlier pivots are small: eps would not do
    tolerance = jnp.finfo(a.dtype).eps ** (2 / 3) * scale
    rows = jnp.arange(m)

    def eliminate(j: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        rest, root = carry
        column = jnp.where(rows >= j, lax.dynamic_index_in_dim(rest, j, -1, keepdims=False), 0)
        pivot, small = (lax.dynamic_index_in_dim(v, j, -1, keepdims=False) for v in (column, tolerance))
        positive = pivot > small
        # a zero pivot of a positive semidefinite matrix has a zero column: |a_ij|^2 <= a_ii a_jj
        fine = positive | ((pivot >= -small) & (column**2 <= small[..., None] * scale).all(-1))
        factor = jnp.where(positive, lax.rsqrt(jnp.where(positive, pivot, 1)), jnp.where(fine, 0, jnp.nan))
        new = column * factor[..., None]
        return rest - new[..., :, None] * new[..., None, :], root + new[..., :, None] * (rows == j)

    return lax.fori_loop(0, m, eliminate, (a, jnp.zeros_like(a)))[1]


@jax.custom_jvp
@jax.jit
def inverse_and_log_det(a: Array) -> tuple[Array, Array]:
    """Inverse and log-determinant of A [..., m, m], nan where not positive definite; differentiable to every order.

    d(A^-1) = -A^-1 dA A^-1, d log|A| = tr(A^-1 dA). A batch is swept, never sent to LAPACK, and must be scaled: pivots
    below linalg.TINY count as not positive.
    """
    if a.ndim == 2:
        return spd_inverse(a)
    return sweep_inverse(a)


@inverse_and_log_det.defjvp
def _inverse_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    (a,), (da,) = primals, tangents
    k, log_det = inverse_and_log_det(a)
    return (k, log_det), (-k @ da @ k, (k * da).sum((-2, -1)))


@jax.custom_jvp
@jax.jit
def posterior_cov(factor_cov: Array, gram: Array) -> tuple[Array, Array]:
    """M = (Phi^-1 + G)^-1 and log|I + Phi G| of Phi [m, m] and G [..., m, m], both positive semidefinite.

    With Phi = R R': M = R (I + R'GR)^-1 R', so a singular Phi is allowed. With W = I - M G:
    dM = W dPhi W' - M dG M, d log|I + Phi G| = tr(G W dPhi) + tr(M dG), right also where Phi is singular.
    """
    root = psd_root(factor_cov)
    inner, log_det = inverse_and_log_det(jnp.eye(root.shape[-1], dtype=gram.dtype) + root.T @ gram @ root)
    return root @ inner @ root.T, log_det


@posterior_cov.defjvp
def _posterior_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    (phi, g), (d_phi, d_g) = primals, tangents
    m, log_det = posterior_cov(phi, g)
    w = jnp.eye(phi.shape[-1], dtype=m.dtype) - m @ g
    d_log_det = ((g @ w) * d_phi).sum((-2, -1)) + (m * d_g).sum((-2, -1))
    return (m, log_det), (w @ d_phi @ w.mT - m @ d_g @ m, d_log_det)


@jax.jit
def dense_log_prob(y: Array, observed: Array, mean: Array, cov: Array) -> Array:
    """log N(y_o; mu_o, Sigma_oo) [person] of rows y [person, p] with a mask observed [person, p].

    Complete rows share one inverse; if any cell is missing every row takes its own, p^3 each. nan where Sigma is not
    positive definite.
    """
    residual = jnp.where(observed, y - mean, 0)

    def complete() -> Array:
        k, log_det = inverse_and_log_det(cov)
        return -((residual @ k) * residual).sum(-1) / 2 - (log_det + LOG_2_PI * y.shape[-1]) / 2

    return lax.cond(observed.all(), complete, lambda: _in_chunks(_masked(cov), residual, observed))


def _masked(cov: Array) -> Callable[[Array, Array], Array]:
    """Density of rows by the inverse of their observed block; missing variables are replaced by independent ones."""
    d = jnp.diagonal(cov)
    s = lax.rsqrt(jnp.where(d > 0, d, jnp.nan))
    correlation = cov * s[:, None] * s

    def log_prob(residual: Array, observed: Array) -> Array:
        both = observed[:, :, None] & observed[:, None, :]
        k, log_det = inverse_and_log_det(jnp.where(both, correlation, jnp.eye(len(d), dtype=cov.dtype)))
        z = residual * s
        constants = jnp.where(observed, LOG_2_PI - 2 * jnp.log(s), 0).sum(-1)
        return -(jnp.einsum("ni,nij,nj->n", z, k, z) + log_det + constants) / 2

    return log_prob


def _in_chunks(log_prob: Callable[[Array, Array], Array], residual: Array, observed: Array) -> Array:
    """Apply to CHUNK rows at a time; rows that fill the last chunk are thrown away."""
    n, p = residual.shape
    log_prob = jax.checkpoint(log_prob)  # a gradient holds the inverses of one chunk, not of all rows
    if n <= CHUNK:
        return log_prob(residual, observed)
    pad = ((0, -n % CHUNK), (0, 0))
    parts = [jnp.pad(a, pad).reshape(-1, CHUNK, p) for a in (residual, observed)]
    return lax.map(lambda part: log_prob(*part), tuple(parts)).reshape(-1)[:n]


@jax.jit
def pattern_log_prob(y: Array, which: Array, patterns: Array, mean: Array, cov: Array) -> Array:
    """log N(y_o; mu_o, Sigma_oo) [person] with one inverse for each pattern of observed cells.

    patterns [pattern, p]: what is observed; which [person]: each row's pattern. nan where Sigma_oo is not positive
    definite.
    """
    d = jnp.diagonal(cov)
    s = lax.rsqrt(jnp.where(d > 0, d, jnp.nan))
    correlation = cov * s[:, None] * s
    both = patterns[:, :, None] & patterns[:, None, :]
    k, log_det = inverse_and_log_det(jnp.where(both, correlation, jnp.eye(len(d), dtype=cov.dtype)))
    z = jnp.where(patterns[which], y - mean, 0) * s
    if patterns.shape[0] == 1:
        quadratic = ((z @ k[0]) * z).sum(-1)
    else:
        n, p = z.shape
        pad = ((0, -n % CHUNK), (0, 0))
        parts = jnp.pad(z, pad).reshape(-1, CHUNK, p), jnp.pad(which, pad[0]).reshape(-1, CHUNK)
        quadratic = lax.map(lambda part: jnp.einsum("ni,nij,nj->n", part[0], k[part[1]], part[0]), parts)
        quadratic = quadratic.reshape(-1)[:n]
    constants = log_det + jnp.where(patterns, LOG_2_PI - 2 * jnp.log(s), 0).sum(-1)
    return -(quadratic + constants[which]) / 2


@jax.jit
def factor_log_prob(y: Array, observed: Array, mean: Array, loadings: Array, diag: Array, factor_cov: Array) -> Array:
    """log N(y_o; mu_o, (L Phi L' + D)_oo) [person] by m x m systems, m the number of factors.

    y, observed [person, p]; mean, diag [p]; loadings [p, m]; factor_cov [m, m]. With G = L_o' D_o^-1 L_o,
    h = L_o' D_o^-1 (y - mu)_o and M = (Phi^-1 + G)^-1 (Woodbury; Rubin and Thayer 1982):

        -2 l = p_o log 2 pi + log|D_o| + log|I + Phi G| + r' D_o^-1 r - h' M h

    nan where a residual variance is not positive or Phi not positive semidefinite; Phi may be singular.
    """
    precision = 1 / jnp.where(diag > 0, diag, jnp.nan)
    residual = jnp.where(observed, y - mean, 0)
    weighted = residual * precision
    h = weighted @ loadings

    def complete() -> Array:
        m, log_det = posterior_cov(factor_cov, (loadings.T * precision) @ loadings)
        return log_det - ((h @ m) * h).sum(-1)

    def incomplete() -> Array:
        width = loadings.shape[-1]
        pairs = (loadings[:, :, None] * loadings[:, None, :]).reshape(-1, width * width)
        gram = (jnp.where(observed, precision, 0) @ pairs).reshape(-1, width, width)
        m, log_det = posterior_cov(factor_cov, gram)
        return log_det - jnp.einsum("ni,nij,nj->n", h, m, h)

    # checkpoint: under a gradient both branches' intermediate values would be stored, also for complete data
    latent = lax.cond(observed.all(), complete, jax.checkpoint(incomplete))
    constants = jnp.where(observed, LOG_2_PI - jnp.log(precision), 0).sum(-1)
    return -(constants + (weighted * residual).sum(-1) + latent) / 2
