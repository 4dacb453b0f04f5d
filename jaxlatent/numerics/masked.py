"""Marginals of one multivariate normal for many patterns of missing values.

With K = Sigma^-1, the inverse of the observed block follows from the (small) missing block of K:

    P = Sigma_oo^-1 (zero elsewhere) = K - K_.m K_mm^-1 K_m.        log|Sigma_oo| = log|Sigma| + log|K_mm|

so that the cost per case is the cube of the number of missing, not of observed, variables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxlatent.numerics.linalg import sweep_inverse
from jaxlatent.numerics.types import Array


class Cases(NamedTuple):
    """Persons, or whole patterns of missing values; case is the leading axis.

    n: number of persons; mean [p]: their mean, nan where missing; scatter [p, p]: sum of squares and products around
    it, or None where each case is one person; missing [k]: positions of the missing variables, filled up with p.
    """

    n: Array
    mean: Array
    scatter: Array | None
    missing: Array


CHUNK = 128  # cases at a time: their k x k blocks stay in a core's cache


def over_chunks(add: Callable[[Any, Cases], Any], start: Any, cases: Cases) -> Any:
    """Fold add(total, chunk of cases) over all cases without copying them, save those of weight zero at the end.

    The last chunk overlaps with weight zero.
    """
    total = cases.n.shape[0]
    size = min(CHUNK, total)
    used = jnp.where(cases.n != 0, jnp.arange(1, total + 1), 0).max()

    def body(i: jax.Array, carry: Any) -> Any:
        at = jnp.minimum(i * size, total - size)
        part = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, at, size), cases)
        new = at + jnp.arange(size) >= i * size
        part = part._replace(n=part.n * new)
        if part.scatter is not None:
            part = part._replace(scatter=part.scatter * new[:, None, None])
        return add(carry, part)

    return lax.fori_loop(0, -(-used // size), body, start)


class Blocks(NamedTuple):
    """What the missing blocks of a chunk give: K_mm^-1 [case, k, k], log|K_mm| and a validity mask [case, k]."""

    inverse: jax.Array
    log_det: jax.Array
    valid: jax.Array


def missing_blocks(k: jax.Array, cases: Cases) -> Blocks:
    """Invert the missing blocks of K; padded positions become an identity and are masked."""
    p = k.shape[0]
    valid = cases.missing < p
    at = jnp.minimum(cases.missing, p - 1)
    block = k[at[:, :, None], at[:, None, :]]
    both = valid[:, :, None] & valid[:, None, :]
    eye = jnp.eye(at.shape[1], dtype=k.dtype)
    inverse, log_det = sweep_inverse(jnp.where(both, block, eye))
    return Blocks(jnp.where(both, inverse, 0), log_det, valid)


def observed_mask(cases: Cases) -> jax.Array:
    """1 where a variable is observed [case, p]."""
    return jnp.isfinite(cases.mean).astype(cases.n.dtype)


def solve_observed(k: jax.Array, blocks: Blocks, cases: Cases, mu: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Residuals r [case, p] from mu (zero where missing), P r, and r completed by its conditional expectation."""
    residual = jnp.nan_to_num(cases.mean - mu)
    at = jnp.minimum(cases.missing, k.shape[0] - 1)
    pulled = jnp.where(blocks.valid, jnp.take_along_axis(residual @ k, at, axis=1), 0)
    filled = -jnp.einsum("ckl,cl->ck", blocks.inverse, pulled)
    rows = jnp.arange(len(residual))[:, None]
    complete = residual.at[rows, cases.missing].add(jnp.where(blocks.valid, filled, 0), mode="drop")
    return residual, (complete @ k) * observed_mask(cases), complete


def observed_inverses(k: jax.Array, blocks: Blocks, cases: Cases) -> jax.Array:
    """P for every case [case, p, p]."""
    at = jnp.minimum(cases.missing, k.shape[0] - 1)
    rows = jnp.where(blocks.valid[:, :, None], k[at], 0)
    p = k - jnp.swapaxes(rows, 1, 2) @ (blocks.inverse @ rows)
    seen = observed_mask(cases)
    return p * seen[:, :, None] * seen[:, None, :]


def scatter_blocks(blocks: Blocks, cases: Cases, p: int) -> jax.Array:
    """sum_c n_c K_mm^-1, each put back where its variables are [p, p]."""
    weighted = blocks.inverse * cases.n[:, None, None]
    out = jnp.zeros((p, p), weighted.dtype)
    return out.at[cases.missing[:, :, None], cases.missing[:, None, :]].add(weighted, mode="drop")
