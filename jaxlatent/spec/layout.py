"""From the parameter table to matrices: which cell is which free parameter, as data.

Variables that occur in regressions are carried as latent variables with loading one and no residual (the all-y LISREL
form), so that one pair of formulas covers measurement models, path models and everything between.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxlatent.spec.table import ParameterTable, Row

SHAPES = {
    "loadings": "pm",
    "intercepts": "p",
    "residual_cov": "pp",
    "factor_cov": "mm",
    "regressions": "mm",
    "factor_means": "m",
}
SYMMETRIC = ("residual_cov", "factor_cov")


@dataclass(frozen=True)
class Block:
    """Free parameters of one matrix: its name and the positions of its own cells in the free vector."""

    name: str
    positions: tuple[int, ...]


@partial(jax.tree_util.register_dataclass, data_fields=("index", "fixed", "start"), meta_fields=("blocks",))
@dataclass(frozen=True)
class Layout:
    """Free vector <-> named matrices.

    index[name] holds the position in the free vector of every cell, or -1; fixed[name] the value of the others; both
    carry a leading group axis. start [n_free] are the starting values.
    """

    index: dict[str, np.ndarray]
    fixed: dict[str, np.ndarray]
    start: np.ndarray
    blocks: tuple[Block, ...] = ()

    @property
    def n_groups(self) -> int:
        return self.fixed["factor_cov"].shape[0]

    @property
    def n_free(self) -> int:
        return self.start.shape[-1]

    def unpack(self, free: jax.Array) -> dict[str, jax.Array]:
        """Matrices [group, ...] of a free vector [n_free]."""
        return unpack(self.index, self.fixed, free)

    def pack(self, params: dict[str, jax.Array]) -> jax.Array:
        """The free vector [n_free] of matrices: the inverse of ``unpack`` on its range."""
        free = jnp.zeros(self.n_free)
        for name, index in self.index.items():
            free = free.at[jnp.where(index >= 0, index, self.n_free)].set(params[name], mode="drop")
        return free


def unpack(index: dict, fixed: dict, free: jax.Array) -> dict[str, jax.Array]:
    """Matrices from a free vector: a gather and a select, the pattern of free cells being data."""
    free = jnp.asarray(free)
    return {name: jnp.where(i >= 0, free[jnp.maximum(i, 0)], fixed[name]) for name, i in index.items()}


@dataclass(frozen=True)
class Places:
    """Where the rows of a table live: the order of observed and of (carried) latent variables."""

    observed: tuple[str, ...]
    latent: tuple[str, ...]  # the table's latent variables, then the observed variables carried as latent
    carried: tuple[str, ...]

    def of(self, row: Row) -> tuple[str, tuple[int, ...]]:
        """Matrix and cell of a row."""
        x, y = self.observed.index, self.latent.index
        inner = lambda name: name in self.latent  # noqa: E731
        if row.op == "=~":
            if inner(row.rhs):
                return "regressions", (y(row.rhs), y(row.lhs))
            return "loadings", (x(row.rhs), y(row.lhs))
        if row.op == "~":
            return "regressions", (y(row.lhs), y(row.rhs))
        if row.op == "~~":
            both = inner(row.lhs)
            return ("factor_cov", (y(row.lhs), y(row.rhs))) if both else ("residual_cov", (x(row.lhs), x(row.rhs)))
        if row.op == "~1":
            return ("factor_means", (y(row.lhs),)) if inner(row.lhs) else ("intercepts", (x(row.lhs),))
        raise ValueError(f"Expected one of =~ ~ ~~ ~1; got {row.op!r} ({row.lhs} {row.op} {row.rhs}).")


def places(table: ParameterTable) -> Places:
    """Which observed variables are carried as latent: those in regressions, and those that covary with one of them."""
    observed, latent = table.observed, set(table.latent)
    carried = {v for r in table.rows if r.op == "~" for v in (r.lhs, r.rhs) if v not in latent}
    while True:
        reach = latent | carried
        more = {
            v
            for r in table.rows
            if r.op == "~~" and (r.lhs in reach) != (r.rhs in reach)
            for v in (r.lhs, r.rhs)
            if v not in reach
        }
        if not more:
            break
        carried |= more
    ordered = tuple(v for v in observed if v in carried)
    return Places(tuple(observed), tuple(table.latent) + ordered, ordered)


def layout_of(table: ParameterTable, *, width: int | None = None, exogenous: list[dict] | None = None) -> Layout:
    """Matrices of index and fixed values; start is left at nan where the user gave none.

    width: number of columns for latent variables (padded ones have variance one and no loadings).
    exogenous: per group {(name, name): covariance, (name,): mean} for the rows fixed at sample moments.
    """
    where = places(table)
    n = len(where.latent)
    size = {"p": len(where.observed), "m": max(width or n, n)}
    shape = {name: (table.n_groups, *(size[c] for c in axes)) for name, axes in SHAPES.items()}
    index = {name: np.full(s, -1, np.int32) for name, s in shape.items()}
    fixed = {name: np.zeros(s) for name, s in shape.items()}
    fixed["factor_cov"][:, range(n, size["m"]), range(n, size["m"])] = 1.0
    for j, name in enumerate(where.observed):
        if name in where.carried:
            fixed["loadings"][:, j, where.latent.index(name)] = 1.0
    start = np.full(table.n_free, np.nan)
    for row in table.rows:
        _place(row, where, index, fixed, start, exogenous)
    return Layout(index, fixed, start, blocks_of(index))


def trimmed(layout: Layout, n_latent: int) -> Layout:
    """The layout without the columns that only pad the latent variables."""

    def cut(matrices: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        at = {name: tuple(slice(n_latent) if c == "m" else slice(None) for c in axes) for name, axes in SHAPES.items()}
        return {name: matrix[(slice(None), *at[name])] for name, matrix in matrices.items()}

    return Layout(cut(layout.index), cut(layout.fixed), layout.start, layout.blocks)


def _place(row: Row, where: Places, index: dict, fixed: dict, start: np.ndarray, exogenous: list[dict] | None) -> None:
    name, cell = where.of(row)
    cells = [cell, cell[::-1]] if name in SYMMETRIC else [cell]
    value = row.fixed
    if row.exo:
        key = (row.lhs, row.rhs) if row.op == "~~" else (row.lhs,)
        value = exogenous[row.group - 1][key] if exogenous else 0.0
    for c in cells:
        if row.free:
            index[name][(row.group - 1, *c)] = row.free - 1
        else:
            fixed[name][(row.group - 1, *c)] = value
    if row.free and not np.isnan(row.start):
        start[row.free - 1] = row.start


def blocks_of(index: dict[str, np.ndarray]) -> tuple[Block, ...]:
    """Every free parameter belongs to the matrix it appears in first."""
    taken: set[int] = set()
    blocks = []
    for name, i in index.items():
        own = sorted(set(i[i >= 0].tolist()) - taken)
        taken.update(own)
        if own:
            blocks.append(Block(name, tuple(own)))
    return tuple(blocks)
