"""Persons in chunks of one size and one group each: what loops over persons in compiled code see."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.long_arrays import LongArrays
from jaxlatent.numerics.types import Array

PADDED = 256  # answers of a chunk are padded to a multiple, so that programs are shared


class Cells(NamedTuple):
    """Answers of the persons of a chunk [chunk, answer]: places of person and item, and value; padding has a person
    beyond the last.
    """

    person: Array
    item: Array
    value: Array


class Chunks(NamedTuple):
    """y [chunk, person, item], 0 where missing, and seen, the same shape; or y as Cells and seen None. weight
    [chunk, person], 0 for padding; group [chunk]; design [chunk, person, 1 + covariates], first a column of ones.
    """

    y: Array | Cells
    seen: Array | None
    weight: Array
    group: Array
    design: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Chunks, and persons in each."""
        return self.weight.shape

    @property
    def n_answers(self) -> int:
        """Cells that are held."""
        return int(np.size(self.y.value if isinstance(self.y, Cells) else self.y))


def dense_chunk(
    y: Array | Cells, seen: Array | None, n_persons: int, n_items: int, dtype: Any
) -> tuple[jax.Array, jax.Array]:
    """y [person, item], 0 where missing, and seen of one chunk, in compiled code."""
    if not isinstance(y, Cells):
        return jnp.asarray(y).astype(dtype), jnp.asarray(seen)
    at = y.person, y.item
    table = jnp.zeros((n_persons, n_items), dtype).at[at].set(jnp.asarray(y.value).astype(dtype), mode="drop")
    return table, jnp.zeros((n_persons, n_items), bool).at[at].set(True, mode="drop")


def chunks_of(
    y: np.ndarray | LongArrays,
    group: np.ndarray,
    n_groups: int,
    size: int,
    *,
    weight: np.ndarray | None = None,
    covariates: np.ndarray | None = None,
    dtype: type = np.float64,
) -> tuple[Chunks, np.ndarray]:
    """Chunks of rows [person, item] (nan or -1 in integers where missing), and the rows' places [person] in them.

    Places count through [chunk, person] flattened. Answers in triples stay triples.
    """
    n = len(group)
    count = [int((group == g).sum()) for g in range(n_groups)]
    per_group = [max(-(-c // size), 1) for c in count]
    places, start = np.empty(n, np.int64), 0
    for g in range(n_groups):
        places[group == g] = start + np.arange(count[g])
        start += per_group[g] * size
    total = sum(per_group)

    def placed(rows: Any, fill: Any = 0) -> np.ndarray:
        out = np.full((total * size, *rows.shape[1:]), fill, rows.dtype)
        out[places] = rows
        return out.reshape(total, size, *rows.shape[1:])

    weights = np.ones(n) if weight is None else np.asarray(weight, float)
    design = np.ones((n, 1)) if covariates is None else np.column_stack([np.ones(n), covariates])
    whole = placed(design.astype(dtype))
    whole[..., 0] = 1
    of_chunk = np.repeat(np.arange(n_groups), per_group).astype(np.int32)
    if isinstance(y, LongArrays):
        return Chunks(_cells(y, places, total, size), None, placed(weights), of_chunk, whole), places
    missing = np.isnan(y) if np.issubdtype(y.dtype, np.floating) else y < 0
    kind = np.int8 if np.issubdtype(y.dtype, np.integer) else dtype
    filled = placed(np.where(missing, 0, y).astype(kind, copy=False))
    return Chunks(filled, placed(~missing), placed(weights), of_chunk, whole), places


def _cells(y: LongArrays, places: np.ndarray, total: int, size: int) -> Cells:
    """Triples by chunk, as many in each as in the fullest."""
    chunk, person = np.divmod(places[y.person], size)
    count = np.bincount(chunk, minlength=total)
    most = -(-int(count.max()) // PADDED) * PADDED
    order = np.argsort(chunk, kind="stable")
    begin = np.cumsum(count) - count
    at = chunk[order], np.arange(len(order)) - begin[chunk[order]]

    def placed(values: np.ndarray, fill: int = 0) -> np.ndarray:
        out = np.full((total, most), fill, values.dtype)
        out[at] = values[order]
        return out

    return Cells(placed(person.astype(np.int32), size), placed(y.item), placed(y.y))


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
