"""Difficulties of items along one factor, with the raw answers they lie between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.data.coding import Coding

if TYPE_CHECKING:
    import pandas as pd

LEAST = 0.3  # standardised loading from which an item of several factors counts as the factor's


def items_of_factor(loadings: np.ndarray, factor: int, standardized: np.ndarray) -> np.ndarray:
    """Whether each item belongs to a factor [item]: it loads on no other, or its standardised loading is .3 or more.

    loadings, standardized: [item, factor].
    """
    there = loadings[:, factor] != 0
    alone = there & ((loadings != 0).sum(1) == 1)
    return alone | (there & (np.abs(standardized[:, factor]) >= LEAST))


def difficulties_along(
    irt: pd.DataFrame, loadings: np.ndarray, factor: int, coding: Coding, keep: np.ndarray
) -> pd.DataFrame:
    """Places on a factor's axis, the others at 0, where items change: items by thresholds, nan where there is none.

    irt: the table of discrimination and difficulty of one group; a difficulty there is -d / discrimination, on the
    axis -d / loading. Columns are named after the raw answers on both sides ("1|2") where all items agree.
    """
    names = [name for name in irt.columns if name.startswith("difficulty") and not name.endswith("_se")]
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = irt["discrimination"].to_numpy(float) / loadings[:, factor]
    table = irt[names].mul(scale, axis=0)[keep]
    table.columns = [_between(coding, k, np.flatnonzero(keep)) for k in range(len(names))]
    return table.dropna(axis=1, how="all")


def _between(coding: Coding, threshold: int, items: np.ndarray) -> str:
    """The raw answers around a threshold, or its number where items differ."""
    found = set()
    for j in items:
        values = coding.values[j]
        if values is not None and len(values) > threshold + 1:
            found.add(f"{values[threshold]:g}|{values[threshold + 1]:g}")
    return found.pop() if len(found) == 1 else f"threshold {threshold + 1}"
