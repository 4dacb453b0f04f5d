"""Symmetric positive definite algebra that is fast alone and safe in batches.

XLA's CPU backend can deadlock when a ``while_loop`` body under ``vmap`` holds two independent batched LAPACK
calls. Every routine here is therefore LAPACK for one matrix and, under ``vmap``, our own elimination with the batch on
the last axis, which is also several times faster for the small matrices of latent variable models.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

TINY = 1e-13  # a pivot of the unit-diagonal matrix below this is "not positive definite"


def _equilibrate(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scale to unit diagonal; a nonpositive diagonal cell becomes nan, so that failure is visible."""
    d = jnp.diagonal(a, axis1=-2, axis2=-1)
    s = jnp.where(d > 0, lax.rsqrt(jnp.where(d > 0, d, 1)), jnp.nan)
    return a * s[..., :, None] * s[..., None, :], s


@custom_vmap
def _unit_inverse(r: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Inverse and log-determinant of one matrix with unit diagonal; nan where it is not positive definite."""
    factor = lax.linalg.cholesky(r, symmetrize_input=False)
    pivots = jnp.diagonal(factor)
    ok = jnp.isfinite(pivots).all() & (jnp.nan_to_num(pivots).min() ** 2 > TINY)
    half = lax.linalg.triangular_solve(factor, jnp.eye(r.shape[0], dtype=r.dtype), left_side=True, lower=True)
    return jnp.where(ok, half.T @ half, jnp.nan), jnp.where(ok, 2 * jnp.log(pivots).sum(), jnp.nan)


@_unit_inverse.def_vmap
def _(axis_size: int, in_batched: list[bool], r: jax.Array) -> tuple[tuple[jax.Array, jax.Array], tuple[bool, bool]]:
    return sweep_inverse(r), (True, True)


def sweep_inverse(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Inverse and log-determinant of [..., n, n] by n symmetric sweeps, batch on the last axis.

    One sweep on pivot j is the rank-one update A - (a_j - e_j)(a_j - e_j)'/a_jj; after all of them A = 2I - inverse.
    """
    n = a.shape[-1]
    lanes = jnp.moveaxis(a.reshape((-1, n, n)), 0, -1)
    eye = jnp.eye(n, dtype=a.dtype)[..., None]

    def sweep(j: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        m, log_det = carry
        column = lax.dynamic_index_in_dim(m, j, 0, keepdims=False)
        pivot = lax.dynamic_index_in_dim(column, j, 0, keepdims=False)
        pivot = jnp.where(pivot > TINY, pivot, jnp.nan)
        column = column - lax.dynamic_index_in_dim(eye, j, 0, keepdims=False)
        return m - column[:, None] * (column / pivot)[None], log_det + jnp.log(pivot)

    start = (lanes, jnp.zeros_like(lanes[0, 0]))
    swept, log_det = lax.fori_loop(0, n, sweep, start)
    return jnp.moveaxis(2 * eye - swept, -1, 0).reshape(a.shape), log_det.reshape(a.shape[:-2])


def spd_inverse(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Inverse and log-determinant of a symmetric matrix [n, n]; all nan where it is not positive definite."""
    r, s = _equilibrate(a)
    inverse, log_det = _unit_inverse(r)
    return inverse * s[..., :, None] * s[..., None, :], log_det - 2 * jnp.log(s).sum(-1)


@custom_vmap
def _unit_solve(r: jax.Array, b: jax.Array) -> jax.Array:
    """r^-1 b for one matrix with unit diagonal and one right-hand side; nan where it is not positive definite."""
    factor = lax.linalg.cholesky(r, symmetrize_input=False)
    ok = jnp.nan_to_num(jnp.diagonal(factor)).min() ** 2 > TINY
    half = lax.linalg.triangular_solve(factor, b[:, None], left_side=True, lower=True)
    x = lax.linalg.triangular_solve(factor, half, left_side=True, lower=True, transpose_a=True)[:, 0]
    return jnp.where(ok, x, jnp.nan)


@_unit_solve.def_vmap
def _(axis_size: int, in_batched: list[bool], r: jax.Array, b: jax.Array) -> tuple[jax.Array, bool]:
    wide = r if in_batched[0] else jnp.broadcast_to(r, (axis_size, *r.shape))
    right = b if in_batched[1] else jnp.broadcast_to(b, (axis_size, *b.shape))
    return (sweep_inverse(wide)[0] @ right[..., None])[..., 0], True


def spd_solve(a: jax.Array, b: jax.Array) -> jax.Array:
    """a^-1 b for a symmetric matrix [n, n] and b [n]; all nan where a is not positive definite.

    Without forming the inverse: LAPACK would start threads for it from 32 columns on, which costs more than the work.
    """
    r, s = _equilibrate(a)
    return _unit_solve(r, b * s) * s


def structural_inverse(b: jax.Array) -> jax.Array:
    """(I - B)^-1 for B [m, m] by Gauss-Jordan elimination; inf or nan where I - B is singular.

    The diagonal of I - B is one and path models are (nearly) triangular after reordering, so no pivoting is done.
    """
    m = b.shape[-1]
    eye = jnp.eye(m, dtype=b.dtype)

    def eliminate(j: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        left, right = carry
        pivot = left[j, j]
        factor = (left[:, j] - eye[j]) / pivot
        return left - factor[:, None] * left[j], right - factor[:, None] * right[j]

    return lax.fori_loop(0, m, eliminate, (eye - b, eye))[1]
