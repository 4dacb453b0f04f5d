"""Exploratory blocks in structural equation models: efa("b")*f1 + efa("b")*f2 =~ ..., rotated after estimation.

The model is fitted with a triangle of zeros in each block and its factors uncorrelated. With x -> M x, M the blocks' T'
and ones elsewhere, every matrix follows: Λ M^-1, M B M^-1, M Ψ M', M α. Restrictions are the rows orthogonal to the
directions in which that moves, as in exploratory.py. Asparouhov and Muthén (2009), Structural Equation Modeling 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxlatent.data.moments import GroupMoments, Moments, from_cov, sample_moments
from jaxlatent.data.responses import Responses
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.fitting import fit_table, moment_layout
from jaxlatent.inference.requirements import saturated_or_refuse
from jaxlatent.models.cells import implied
from jaxlatent.numerics.factor_extraction import extract
from jaxlatent.numerics.rotation import Rotation, rotate, rotation_jacobian
from jaxlatent.numerics.rotation_criteria import find_method
from jaxlatent.spec.layout import Places, places
from jaxlatent.spec.table import ParameterTable, Row

DEFAULT = "geomin"  # lavaan's
STEP = 1e-30


@dataclass(frozen=True)
class Block:
    """A block's name, its factors and its variables."""

    name: str
    factors: tuple[str, ...]
    items: tuple[str, ...]


def blocks_in(table: ParameterTable) -> tuple[Block, ...]:
    """The exploratory blocks of a table; none in most."""
    names = dict.fromkeys(row.efa for row in table.rows if row.efa)
    found = []
    for name in names:
        own = [row for row in table.rows if row.efa == name]
        found.append(Block(name, tuple(dict.fromkeys(r.lhs for r in own)), tuple(dict.fromkeys(r.rhs for r in own))))
    return tuple(found)


def prepared(table: ParameterTable, rotation: str) -> ParameterTable:
    """The table of the rotated model: factors of a block are uncorrelated where the rotation is orthogonal.

    Raises ValueError for what blocks do not take: groups, constraints, loadings that are fixed.
    """
    blocks = blocks_in(table)
    if table.n_groups > 1 or table.constraints:
        what = "several groups" if table.n_groups > 1 else "constraints"
        raise ValueError(f"The model has efa blocks and {what}: expected one of the two in this version.")
    for block in blocks:
        own = [row for row in table.rows if row.efa == block.name]
        if len(own) < len(block.factors) * len(block.items) or not all(row.free for row in own):
            raise ValueError(f"The efa block {block.name!r} needs all its variables free on all its factors.")
        if len(block.items) <= len(block.factors):
            raise ValueError(f"The efa block {block.name!r} needs more variables than factors.")
        if any(row.op == "=~" and row.rhs in block.factors for row in table.rows):
            raise ValueError(
                f"The factors of the efa block {block.name!r} measure another factor: not in this version."
            )
    if find_method(rotation)[1].oblique:
        return _with_covariances(table, blocks)
    return _without(table, {_key(a, b) for block in blocks for a in block.factors for b in block.factors if a != b})


def _with_covariances(table: ParameterTable, blocks: Sequence[Block]) -> ParameterTable:
    """The table with a free covariance for every pair of a block's factors, residual where they are regressed."""
    rows, there = list(table.rows), {_key(row.lhs, row.rhs) for row in table.rows if row.op == "~~"}
    count = table.n_free
    for block in blocks:
        for b, second in enumerate(block.factors):
            for first in block.factors[:b]:
                if _key(first, second) not in there:
                    k, count = len(rows) + 1, count + 1
                    rows.append(Row(k, first, "~~", second, 0, 1, 1, count, np.nan, np.nan, 0, "", f".p{k}.", None, ""))
    return replace(table, rows=tuple(rows))


def _key(a: str, b: str) -> frozenset[str]:
    return frozenset((a, b))


def _without(table: ParameterTable, pairs: set[frozenset[str]], zeros: Any = ()) -> ParameterTable:
    """The table with covariances of pairs, and loadings of (factor, item), fixed at zero and free rows renumbered."""
    count, number, rows = 0, {0: 0}, []
    for row in table.rows:
        gone = row.op == "~~" and row.lhs != row.rhs and _key(row.lhs, row.rhs) in pairs
        gone = gone or (row.op == "=~" and (row.lhs, row.rhs) in zeros)
        if gone:
            rows.append(replace(row, free=0, fixed=0.0, start=np.nan))
            continue
        if row.free not in number:
            count += 1
            number[row.free] = count
        rows.append(replace(row, free=number[row.free]))
    return replace(table, rows=tuple(rows))


def fit_blocks(
    table: ParameterTable, source: Responses | Moments, engine: Any, missing: str | None, rotation: str, key: int = 0
) -> Fitted:
    """Fit a prepared table by its echelon form, then rotate every block."""
    blocks = blocks_in(table)
    plain = fit_table(_echelon(table, blocks, _moments(source, table)), source, engine, missing)
    return _Turning(plain, table, blocks, rotation, key).fitted()


def _moments(source: Responses | Moments, table: ParameterTable) -> GroupMoments:
    if isinstance(source, Moments):
        return from_cov(source, table.observed)
    return saturated_or_refuse(source)[0] if source.has_missing else sample_moments(source)


def _echelon(table: ParameterTable, blocks: Sequence[Block], moments: GroupMoments) -> ParameterTable:
    """Zeros in the rows of the variables that span each block best, its factors uncorrelated, and starting values."""
    pairs: set[frozenset[str]] = set()
    zeros: set[tuple[str, str]] = set()
    start: dict[tuple[str, str], float] = {}
    for block in blocks:
        at = [table.observed.index(v) for v in block.items]
        near = extract(moments.cov[0][np.ix_(at, at)], len(block.factors))
        scaled = near.loadings / np.sqrt(near.uniquenesses)[:, None]
        from scipy.linalg import qr  # not where all who import would pay for it

        anchors = qr(scaled.T, pivoting=True)[2][: len(block.factors)]
        loadings = near.loadings @ np.linalg.qr(near.loadings[anchors].T)[0]
        pairs |= {_key(a, b) for a in block.factors for b in block.factors if a != b}
        zeros |= {(f, block.items[j]) for k, j in enumerate(anchors) for f in block.factors[k + 1 :]}
        for k, f in enumerate(block.factors):
            start |= {(f, item): loadings[j, k] for j, item in enumerate(block.items)}
    fixed = _without(table, pairs, zeros)
    return replace(fixed, rows=tuple(_begun(row, start) for row in fixed.rows))


def _begun(row: Row, start: dict[tuple[str, str], float]) -> Row:
    begins = row.free and row.op == "=~" and np.isnan(row.start)
    return replace(row, start=start.get((row.lhs, row.rhs), np.nan)) if begins else row


@dataclass(frozen=True)
class _Turning:
    """The map from the free vector of the echelon form to that of the rotated table."""

    plain: Fitted
    table: ParameterTable
    blocks: tuple[Block, ...]
    method: str
    key: int

    def fitted(self) -> Fitted:
        f = self.plain
        turns = [self._rotation(block) for block in self.blocks]
        jacobians = [rotation_jacobian(a, turn) for a, turn in turns]
        parts = list(zip(self.blocks, turns, jacobians, strict=True))
        where = places(self.table)
        free = self._map(f.free.astype(complex), parts, where).real
        steps = np.eye(f.table.n_free) * STEP * 1j
        jacobian = np.array([self._map(f.free + step, parts, where).imag / STEP for step in steps]).T
        inner = f.basis if len(f.restrictions) else np.eye(f.table.n_free)
        left = np.linalg.svd(jacobian @ inner)[0]
        rank = inner.shape[1]
        estimate = f.estimate._replace(free=free, vcov=np.full((len(free),) * 2, np.nan))
        out = replace(
            f,
            table=self.table,
            places=where,
            layout=moment_layout(self.table, f.moments),
            estimate=estimate,
            restrictions=left[:, rank:].T,
            equalities=len(free) - f.n_parameters,
        )
        sd = np.sqrt(np.abs(np.diag(f.model.implied[0][1])))
        if (np.abs(out.model.implied[0][1] - f.model.implied[0][1]) > 1e-6 * np.outer(sd, sd)).any():
            raise ValueError(
                "The model fixes parameters that a rotation of its efa blocks would change: give all factors of a block"
                " the same regressions and covariances."
            )
        return out

    def _at(self, block: Block) -> tuple[list[int], list[int]]:
        f = self.plain
        rows = [f.table.observed.index(v) for v in block.items]
        return rows, [f.places.latent.index(v) for v in block.factors]

    def _standard(self, block: Block, params: dict[str, np.ndarray]) -> np.ndarray:
        """Loadings of the block's variables at variance one."""
        rows, columns = self._at(block)
        sd = np.sqrt(np.diag(implied(params)[1]))
        return params["loadings"][np.ix_(rows, columns)] / sd[rows][:, None]

    def _rotation(self, block: Block) -> tuple[np.ndarray, Rotation]:
        a = self._standard(block, self.plain.model.group(0))
        found = rotate(a, self.method, key=self.key)
        if len(block.factors) == 1 or found.settings.name in ("none", "target", "biquartimin", "bigeomin", "bifactor"):
            return a, found
        weight = found.loadings**2
        order = np.argsort(np.arange(len(a)) @ weight / weight.sum(0), kind="stable")  # as the variables come
        return a, found._replace(
            loadings=found.loadings[:, order],
            rotation=found.rotation[:, order],
            factor_cov=found.factor_cov[np.ix_(order, order)],
            stationary=found.stationary[:, order],
        )

    def _map(self, free: np.ndarray, parts: list, where: Places) -> np.ndarray:
        full = np.append(free, 0.0)
        layout = self.plain.layout
        params = {n: np.where(i[0] >= 0, full[i[0]], layout.fixed[n][0]) for n, i in layout.index.items()}
        turn = np.eye(params["factor_cov"].shape[0], dtype=complex)
        for block, (a, rotation), jacobian in parts:
            now = self._standard(block, params)
            moved = (jacobian[: a.size] @ (now - a).ravel()).reshape(a.shape)
            back = np.linalg.solve(now.T @ now, now.T @ (rotation.loadings + moved))
            columns = self._at(block)[1]
            turn[np.ix_(columns, columns)] = np.linalg.inv(back)
        back = np.linalg.inv(turn)
        turned = params | {
            "loadings": params["loadings"] @ back,
            "regressions": turn @ params["regressions"] @ back,
            "factor_cov": turn @ params["factor_cov"] @ turn.T,
            "factor_means": turn @ params["factor_means"],
        }
        out = np.zeros(self.table.n_free, complex)
        for row in self.table.rows:
            if row.free:
                name, cell = where.of(row)
                out[row.free - 1] = turned[name][cell]
        return out
