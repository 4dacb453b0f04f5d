"""Linear restrictions R free = c in compiled code: the nearest free vector that keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.models.blocks import ParameterBlock
from jaxlatent.numerics.bijections import Bijection

ZERO = 1e-9


class LinearRestrictions(Protocol):
    """R free = c."""

    @property
    def matrix(self) -> np.ndarray: ...
    @property
    def value(self) -> np.ndarray: ...
    @property
    def rank(self) -> int: ...
    def reduce(self) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class Restriction:
    """free -> P free + move, P = Z Z' with Z a basis of the null space of R, R move = c: an orthogonal projection.

    projection [n_free, n_free], move [n_free].
    """

    projection: np.ndarray
    move: np.ndarray

    def __call__(self, free: jax.Array) -> jax.Array:
        """The nearest vector [n_free] that keeps the restrictions."""
        return jnp.asarray(self.projection, free.dtype) @ free + jnp.asarray(self.move, free.dtype)


def restricted_cells(linear: LinearRestrictions) -> np.ndarray:
    """Positions in the free vector that a restriction is about."""
    return np.flatnonzero(np.abs(linear.matrix).max(axis=0, initial=0.0) > ZERO)


def restriction_of(
    linear: LinearRestrictions, blocks: Sequence[ParameterBlock], bijections: Sequence[Bijection]
) -> Restriction | None:
    """The projection, or None where nothing is restricted.

    It keeps every cell in the set it lives in: cells that may be any number, and means of cells of one kind (equal
    variances, say). Raises ValueError for others, which only engines with steps in natural parameters can take.
    """
    if not linear.rank:
        return None
    offset, basis = linear.reduce()
    projection = basis @ basis.T
    move = offset - projection @ offset
    kinds = _kinds(blocks, bijections)
    for at in restricted_cells(linear).tolist():
        name, kind = kinds[at]
        if kind == "real":
            continue
        row = projection[at]
        same = all(kinds[int(k)] == (name, kind) for k in np.flatnonzero(np.abs(row) > ZERO))
        mean = row.min() > -ZERO and abs(row.sum() - 1) < ZERO and abs(move[at]) < ZERO
        if kind in ("decreasing", "covariance") or not (same and mean):
            raise ValueError(
                f"Steps in unconstrained coordinates take linear constraints on {name} only where cells may be any"
                " number, or as equal variances: use MarginalML()."
            )
    return Restriction(projection, move)


def _kinds(blocks: Sequence[ParameterBlock], bijections: Sequence[Bijection]) -> dict[int, tuple[str, str]]:
    """Matrix and kind of set of every position in the free vector."""
    out: dict[int, tuple[str, str]] = {}
    for block, b in zip(blocks, bijections, strict=True):
        own = dict.fromkeys(range(b.size), "real")
        own |= dict.fromkeys(b.positive, "positive") | dict.fromkeys(b.unit, "unit")
        own |= {at: f"from {low} to {high}" for at, low, high in b.bounded}
        own |= {at: "decreasing" for row in b.decreasing for at in row}
        own |= {at: "covariance" for pattern in b.covariances for _, _, at in pattern.free}
        out |= {int(block.positions[k]): (block.name, kind) for k, kind in own.items()}
    return out
