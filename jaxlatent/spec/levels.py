"""Two-level models: the table with a level in each row as one with levels in the place of groups."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from jaxlatent.spec.layout import Layout
from jaxlatent.spec.start import starting_values
from jaxlatent.spec.table import ParameterTable, Row

LEVELS = ("within", "between")


def has_levels(table: ParameterTable) -> bool:
    """Whether any row is at the second level."""
    return any(row.level > 1 for row in table.rows)


def by_level(table: ParameterTable) -> ParameterTable:
    """The same rows, those of level 1 as group 1 and those of level 2 as group 2: matrices then have a leading level.

    Raises ValueError for more than two levels, several groups, and a predictor with fixed moments at one level that is
    an outcome at the other.
    """
    if table.n_groups > 1:
        raise ValueError("Two-level models take one group in this version: fit the groups one by one.")
    most = max(row.level for row in table.rows)
    if most != 2:
        raise ValueError(f"Expected two levels, level: 1 (persons) and level: 2 (clusters); got {most} levels.")
    seen = levels_of(table)
    fixed = [{row.lhs for row in table.rows if row.exo and row.level == k} for k in (1, 2)]
    for name in table.exogenous:
        for k, here in enumerate(seen):
            if here[table.observed.index(name)] and name not in fixed[k]:
                raise ValueError(
                    f"The variable {name!r} is a predictor at one level and more than that at the other, so that its"
                    " moments cannot be the sample's: use fixed_x=False."
                )
    rows = tuple(replace(row, group=row.level, level=1) for row in table.rows)
    return replace(table, rows=rows, n_groups=2, groups=LEVELS)


def levels_of(table: ParameterTable) -> np.ndarray:
    """Which observed variables occur at each level [2, p]."""
    out = np.zeros((2, len(table.observed)), bool)
    for row in table.rows:
        for name in (row.lhs, row.rhs):
            if name in table.observed:
                out[row.level - 1, table.observed.index(name)] = True
    return out


def unrestricted(table: ParameterTable, levels: np.ndarray, *, covariances: bool = True) -> ParameterTable:
    """A table by level with every variance, covariance and mean free, but for the moments of fixed predictors.

    covariances=False: the independence model, only those of fixed predictors among themselves. Means of variables at
    both levels belong to the second.
    """
    names, fixed, count = table.observed, set(table.exogenous), itertools.count(1)

    def keys() -> Iterator[tuple[int, str, str, str]]:
        for level, here in enumerate(levels, 1):
            present = [v for v, at in zip(names, here, strict=True) if at]
            for i, v in enumerate(present):
                for w in present[: i + 1]:
                    if covariances or v == w or {v, w} <= fixed:
                        yield level, w, "~~", v
            yield from ((level, v, "~1", "") for v in present if level == 2 or not levels[1][names.index(v)])

    rows = []
    for k, (level, lhs, op, rhs) in enumerate(keys(), 1):
        exo = {lhs, rhs or lhs} <= fixed
        number = 0 if exo else next(count)
        rows.append(Row(k, lhs, op, rhs, 0, level, 1, number, math.nan, math.nan, int(exo), "", f".p{k}.", None, ""))
    return replace(table, rows=tuple(rows), definitions=(), constraints=(), latent=(), n_groups=2, groups=LEVELS)


def level_start(layout: Layout, mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
    """Starting values [n_free] from the moments of both levels, mean [2, p] and cov [2, p, p].

    Loadings beside a marker m are those of Haegglund (1982), lambda_j = sum_k s_jk s_mk / sum_k s_mk^2 over the other
    indicators k: where a factor fits badly, as one between clusters often does, they keep to the marker's side.
    """
    start = starting_values(layout, mean, cov)
    index, fixed = layout.index, layout.fixed
    for g, s in enumerate(cov):
        for f in range(fixed["loadings"].shape[2]):
            free = index["loadings"][g, :, f]
            items = np.flatnonzero((free >= 0) | (fixed["loadings"][g, :, f] != 0))
            markers = [j for j in items if free[j] < 0]
            if len(items) < 3 or len(markers) != 1:
                continue
            m = markers[0]
            for j in items[items != m]:
                others = np.setdiff1d(items, [j, m])
                found = s[j, others] @ s[m, others] / (s[m, others] @ s[m, others])
                if np.isnan(layout.start[free[j]]) and np.isfinite(found):
                    start[free[j]] = np.clip(found, -5, 5) * fixed["loadings"][g, m, f]
    return start
