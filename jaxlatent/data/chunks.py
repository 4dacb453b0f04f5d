"""Persons in chunks of one size and one group each: what loops over persons in compiled code see."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxlatent.numerics.types import Array


class Chunks(NamedTuple):
    """y [chunk, person, item], 0 where missing; seen, the same shape; weight [chunk, person], 0 for padding; group
    [chunk]; design [chunk, person, 1 + covariates], first a column of ones.
    """

    y: Array
    seen: Array
    weight: Array
    group: Array
    design: Array

    @property
    def size(self) -> int:
        """Persons in a chunk."""
        return self.y.shape[1]


def chunks_of(
    y: np.ndarray,
    group: np.ndarray,
    n_groups: int,
    size: int,
    *,
    weight: np.ndarray | None = None,
    covariates: np.ndarray | None = None,
    dtype: type = np.float64,
) -> tuple[Chunks, np.ndarray]:
    """Chunks of rows [person, item] (nan or -1 in integers where missing), and the rows' places [person] in them.

    Places count through [chunk, person] flattened.
    """
    n, n_items = y.shape
    weights = np.ones(n) if weight is None else weight
    design = np.ones((n, 1)) if covariates is None else np.column_stack([np.ones(n), covariates])
    missing = np.isnan(y) if np.issubdtype(y.dtype, np.floating) else y < 0
    count = [int((group == g).sum()) for g in range(n_groups)]
    per_group = [max(-(-c // size), 1) for c in count]
    total = sum(per_group)
    kind = np.int8 if np.issubdtype(y.dtype, np.integer) else dtype
    out = Chunks(
        np.zeros((total * size, n_items), kind),
        np.zeros((total * size, n_items), bool),
        np.zeros(total * size),
        np.repeat(np.arange(n_groups), per_group).astype(np.int32),
        np.zeros((total * size, design.shape[1]), dtype),
    )
    out.design[:, 0] = 1
    places, start = np.empty(n, np.int64), 0
    for g in range(n_groups):
        rows = np.flatnonzero(group == g)
        at = start + np.arange(len(rows))
        out.y[at] = np.where(missing[rows], 0, y[rows])
        out.seen[at] = ~missing[rows]
        out.weight[at], out.design[at] = weights[rows], design[rows]
        places[rows] = at
        start += per_group[g] * size
    y, seen, weight = (a.reshape(total, size, *a.shape[1:]) for a in (out.y, out.seen, out.weight))
    return Chunks(y, seen, weight, out.group, out.design.reshape(total, size, -1)), places


def collapsed(
    y: np.ndarray, group: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Distinct rows of small integers with their groups and summed weights, and every row's distinct row [person].

    Exact for anything that depends on a person through answers and group only.
    """
    weights = np.ones(len(y)) if weight is None else weight
    key = np.ascontiguousarray(np.column_stack([y.astype(np.int8), group.astype(np.int8)]))
    rows = key.view(np.dtype((np.void, key.shape[1]))).ravel()
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    return y[first], group[first], np.bincount(inverse, weights), inverse
