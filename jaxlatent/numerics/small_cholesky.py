"""Cholesky factors of many small matrices, written out: safe inside loops, vectorised over the batch.

A matrix [..., D, D] is held as lists of lists of its cells [...], so that every operation runs over the whole batch.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Cells = list[list[jax.Array]]


def cholesky_cells(a: Cells) -> Cells:
    """Lower L with L L' = A, cell by cell; nan where A is not positive definite."""
    d = len(a)
    out: Cells = [[] for _ in range(d)]
    for i in range(d):
        for j in range(i + 1):
            rest = a[i][j]
            for k in range(j):
                rest = rest - out[i][k] * out[j][k]
            out[i].append(jnp.sqrt(rest) if i == j else rest / out[j][j])
    return out


def forward(lower: Cells, b: list[jax.Array]) -> list[jax.Array]:
    """L^-1 b."""
    out: list[jax.Array] = []
    for i, row in enumerate(lower):
        rest = b[i]
        for k in range(i):
            rest = rest - row[k] * out[k]
        out.append(rest / row[i])
    return out


def backward(lower: Cells, b: list[jax.Array]) -> list[jax.Array]:
    """L'^-1 b."""
    d = len(lower)
    out: list[jax.Array] = [b[0]] * d
    for i in reversed(range(d)):
        rest = b[i]
        for k in range(i + 1, d):
            rest = rest - lower[k][i] * out[k]
        out[i] = rest / lower[i][i]
    return out


def cells_of(a: jax.Array) -> Cells:
    """A [..., D, D] as cells."""
    return [[a[..., i, j] for j in range(a.shape[-1])] for i in range(a.shape[-2])]


def log_diagonal(lower: Cells) -> jax.Array:
    """log |L|."""
    return sum((jnp.log(row[-1]) for row in lower[1:]), start=jnp.log(lower[0][0]))
