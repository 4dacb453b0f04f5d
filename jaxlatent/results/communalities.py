"""Communalities of items from the parameter table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def loading_matrix(rows: pd.DataFrame, items: list[str], factors: list[str], column: str = "std_all") -> pd.DataFrame:
    """One group's rows item = loadings as items by factors; 0 where a factor has no row for an item."""
    import pandas as pd

    own = rows[(rows["op"] == "=~") & rows["lhs"].isin(factors) & rows["rhs"].isin(items)]
    out = pd.DataFrame(0.0, items, factors)
    for factor, item, value in zip(own["lhs"], own["rhs"], own[column], strict=True):
        out.loc[item, factor] = value
    return out


def communalities(standardized: pd.DataFrame, factor_cov: pd.DataFrame) -> pd.Series:
    """diag(L Phi L'): the share of the variance of the variable behind each item that the factors explain.

    standardized: loadings of standardised factors and items; factor_cov: covariances of the factors.
    """
    import pandas as pd

    l, cov = standardized.to_numpy(float), factor_cov.to_numpy(float)
    sd = np.sqrt(np.diag(cov))
    phi = cov / np.outer(sd, sd)
    return pd.Series(((l @ phi) * l).sum(1), standardized.index, name="h2")
