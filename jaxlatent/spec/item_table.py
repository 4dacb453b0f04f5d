"""The parameter table of an item response model: factors as in lavaan's syntax, item parameters by item type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from jaxlatent.spec.layout import Layout, blocks_of
from jaxlatent.spec.restrictions_matrix import Linear

if TYPE_CHECKING:
    import pandas

PADDED = -1e30  # an intercept of a category that an item does not have
ITEM_MATRICES = ("intercepts", "scoring", "guessing", "upper", "dispersion", "spacing", "shift")
NEUTRAL = {"intercepts": PADDED, "spacing": PADDED, "upper": 1.0, "dispersion": 1.0}  # of items without; else 0


class ItemParameter(Protocol):
    """What a type of item has besides loadings: cells of one matrix, None where free, a number where fixed."""

    @property
    def matrix(self) -> str: ...
    @property
    def cells(self) -> tuple[float | None, ...]: ...
    @property
    def shared(self) -> bool: ...
    @property
    def first(self) -> float | None: ...
    @property
    def support(self) -> str: ...


@dataclass(frozen=True)
class Item:
    """One item: its type's name, number of categories (0 for numbers and counts), parameters and starting values.

    slopes: "free", "one" (fixed at 1) or "common" (one slope for all such items of a factor); variance_free: the
    variance of the item's factors is free.
    """

    name: str
    type: str
    n_categories: int
    slopes: str
    variance_free: bool
    parameters: tuple[ItemParameter, ...]
    start: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class ItemRow:
    """One parameter. free is 0 for a fixed row, else its number from 1; equal rows share it. group counts from 1.

    op is =~ (loading), ~~ ~ ~1 among factors and covariates, ~1 for intercepts of items (rhs: which of several), or
    the name of another item parameter: guessing, upper, scoring, dispersion, spacing, shift.
    """

    lhs: str
    op: str
    rhs: str
    group: int
    free: int
    fixed: float
    start: float
    label: str
    matrix: str
    cell: tuple[int, ...]


@dataclass(frozen=True)
class ItemTable:
    """All rows of a model and what they are about. linear: restrictions over the free vector."""

    rows: tuple[ItemRow, ...]
    items: tuple[Item, ...]
    factors: tuple[str, ...]
    covariates: tuple[str, ...]
    groups: tuple[str, ...]
    linear: Linear
    labels: Mapping[str, int]
    definitions: tuple = ()

    @property
    def n_free(self) -> int:
        """How many free parameters there are before linear restrictions; equal rows count once."""
        return max((row.free for row in self.rows), default=0)

    @property
    def n_groups(self) -> int:
        return len(self.groups)

    @property
    def observed(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.items)

    @property
    def latent(self) -> tuple[str, ...]:
        return self.factors

    @property
    def n_parameters(self) -> int:
        """Free parameters less the linear restrictions."""
        return self.n_free - self.linear.rank

    def to_frame(self) -> pandas.DataFrame:
        """lhs, op, rhs, group, label, free, fixed, start: a row each."""
        import pandas

        names = ("lhs", "op", "rhs", "group", "label", "free", "fixed", "start")
        return pandas.DataFrame([{name: getattr(row, name) for name in names} for row in self.rows])


def item_layout(table: ItemTable) -> Layout:
    """Matrices [group, ...] of index and fixed values; start holds the rows' starting values, 0 where none is given.

    loadings [group, item, factor]; item matrices [group, item, width]; factor_cov, regressions [group, factor,
    factor]; factor_means [group, factor]; covariate_effects [group, factor, covariate] where there are covariates.
    """
    n_groups, n_items, d = table.n_groups, len(table.items), len(table.factors)
    shapes: dict[str, tuple[int, ...]] = {"loadings": (n_items, d)}
    for matrix in ITEM_MATRICES:
        width = max((r.cell[1] + 1 for r in table.rows if r.matrix == matrix), default=0)
        if width:
            shapes[matrix] = (n_items, width)
    shapes |= {"factor_means": (d,), "factor_cov": (d, d), "regressions": (d, d)}
    if table.covariates:
        shapes["covariate_effects"] = (d, len(table.covariates))
    index = {name: np.full((n_groups, *shape), -1, np.int32) for name, shape in shapes.items()}
    fixed = {name: np.full((n_groups, *shape), NEUTRAL.get(name, 0.0)) for name, shape in shapes.items()}
    start = np.zeros(table.n_free)
    for row in table.rows:
        cells = [row.cell, row.cell[::-1]] if row.matrix == "factor_cov" else [row.cell]
        for cell in cells:
            if row.free:
                index[row.matrix][(row.group - 1, *cell)] = row.free - 1
            else:
                fixed[row.matrix][(row.group - 1, *cell)] = row.fixed
        if row.free and not math.isnan(row.start):
            start[row.free - 1] = row.start
    return Layout(index, fixed, start, blocks_of(index))
