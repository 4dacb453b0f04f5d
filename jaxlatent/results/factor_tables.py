"""Tables of an exploratory solution on the scale of standardised variables: loadings, structure, shares of variance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def explained_variance(loadings: np.ndarray, phi: np.ndarray, factors: Sequence[str]) -> pd.DataFrame:
    """A row a factor: sum of squared loadings diag(Φ Λ'Λ), its share of the total variance, cumulated, of the common.

    loadings [item, factor] of standardised variables. Of correlated factors the sums share out the communalities.
    """
    import pandas as pd

    sums = np.diag(phi @ loadings.T @ loadings)
    share = sums / len(loadings)
    columns = {
        "ss_loadings": sums,
        "proportion": share,
        "cumulative": np.cumsum(share),
        "proportion_explained": sums / sums.sum(),
    }
    return pd.DataFrame(columns, pd.Index(list(factors), name="factor"))


def complexity(loadings: np.ndarray) -> np.ndarray:
    """(Σ λ²)² / Σ λ⁴ of every item: how many factors it takes (Hofmann 1978)."""
    square = loadings**2
    return square.sum(1) ** 2 / (square**2).sum(1)


def determinacy(loadings: np.ndarray, phi: np.ndarray, correlations: np.ndarray) -> np.ndarray:
    """Correlation of every factor with its regression scores, sqrt diag(S'R^-1 S), S = ΛΦ (Guttman 1955)."""
    structure = loadings @ phi
    return np.sqrt(np.diag(structure.T @ np.linalg.solve(correlations, structure)))


def sorted_items(loadings: np.ndarray) -> np.ndarray:
    """Positions of the items by the factor they load on most, the largest loadings first."""
    size = np.abs(loadings)
    return np.lexsort((-size.max(1), size.argmax(1)))
