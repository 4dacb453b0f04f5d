"""The parameter table of an exploratory factor model: every variable on every factor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from jaxlatent.spec.table import ParameterTable, Row

BLOCK = "efa"  # what the rows of the loadings say in their column efa


@dataclass
class _Writer:
    rows: list[Row] = field(default_factory=list)
    count: int = 0

    def free(self) -> int:
        self.count += 1
        return self.count

    def add(
        self, lhs: str, op: str, rhs: str, number: int, fixed: float, start: float = math.nan, efa: str = ""
    ) -> None:
        k = len(self.rows) + 1
        value = math.nan if number else fixed
        self.rows.append(Row(k, lhs, op, rhs, 0, 1, 1, number, value, start, 0, "", f".p{k}.", None, efa))


def exploratory_table(
    observed: Sequence[str],
    factors: Sequence[str],
    *,
    oblique: bool = False,
    mean_structure: bool = False,
    isotropic: bool = False,
    start: tuple[np.ndarray, np.ndarray] | None = None,
) -> ParameterTable:
    """Λ [item, factor] free, factors of variance 1, Θ diagonal (isotropic: one variance for all).

    oblique: covariances of the factors are free. start: loadings and uniquenesses to start from; loadings that are
    exactly 0 there are fixed, which is how a triangle of zeros identifies the model for solvers that need that.
    """
    out = _Writer()
    for k, factor in enumerate(factors):
        for j, item in enumerate(observed):
            value = math.nan if start is None else float(start[0][j, k])
            out.add(factor, "=~", item, 0 if value == 0 else out.free(), 0.0, value, BLOCK)
    shared = out.free() if isotropic else 0
    for j, item in enumerate(observed):
        out.add(item, "~~", item, shared or out.free(), 0.0, math.nan if start is None else float(start[1][j]))
    for factor in factors:
        out.add(factor, "~~", factor, 0, 1.0)
    for a in range(len(factors)):
        for b in range(a + 1, len(factors)):
            out.add(factors[a], "~~", factors[b], out.free() if oblique else 0, 0.0)
    if mean_structure:
        for item in observed:
            out.add(item, "~1", "", out.free(), 0.0)
        for factor in factors:
            out.add(factor, "~1", "", 0, 0.0)
    return ParameterTable(tuple(out.rows), (), (), tuple(observed), tuple(factors), (), 1, mean_structure)
