"""Posterior predictive checks of item response models: sum scores, odds ratios of item pairs, correlations.

Odds ratios of pairs show dependence that the latent variables leave; sum scores show whether their distribution fits.
Items with more than two categories are split in the middle.

Source: Sinharay, Johnson and Stern (2006), Applied Psychological Measurement 30, 298-321; Chen and Thissen (1997).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.diagnostics.replicates import observed_cells, replicated_codes
from jaxlatent.inference.draws import Draws
from jaxlatent.inference.marginal_fit import ItemFitted

if TYPE_CHECKING:
    import pandas as pd

REPLICATES = 400  # data sets
HALF = 0.5  # added to every cell of a 2 x 2 table (Haldane 1956), so that no odds ratio is infinite
LEVEL = 0.95


def item_predictive_checks(fitted: ItemFitted, draws: Draws, key: int = 0, n: int = REPLICATES) -> pd.DataFrame:
    """Rows sum_scores, odds_ratios, srmr: how far the data are from what is replicated, and how far replicates are.

    sum_scores: chi-square of the distribution of sum scores about its posterior predictive mean (complete rows only).
    odds_ratios: root mean square of log odds ratios, and srmr of correlations, about theirs. Columns observed,
    replicated (mean), ci_lower, ci_upper (of replicates), ppp.

    Raises ValueError for a model with items that are not categorical.
    """
    import pandas as pd

    observed, made = _codes(fitted, draws, key, n)
    statistics = {"sum_scores": _score_counts, "odds_ratios": _log_odds, "srmr": _correlations}
    cuts, top = _cuts(fitted), int(sum(k - 1 for k in fitted.coding.n_categories))
    rows = {}
    for name, statistic in statistics.items():
        here = statistic(observed, cuts, top)
        each = np.array([statistic(y, cuts, top) for y in made])
        expected = each.mean(0)
        if name == "sum_scores":
            scale = np.where(expected > 0, expected, np.inf)
            distance = lambda t, e=expected, s=scale: ((t - e) ** 2 / s).sum(-1)  # noqa: E731
        else:
            distance = lambda t, e=expected: np.sqrt(((t - e) ** 2).mean(-1))  # noqa: E731
        rows[name] = _row(float(distance(here)), distance(each))
    return pd.DataFrame.from_dict(rows, orient="index")


def odds_ratio_checks(fitted: ItemFitted, draws: Draws, key: int = 0, n: int = REPLICATES) -> pd.DataFrame:
    """A row for every pair of items (index item, item2): odds ratio observed, replicated (median) with its 95 %
    interval, and the posterior predictive p-value that a replicated one is as large; near 0 or 1 the pair misfits.
    """
    import pandas as pd

    observed, made = _codes(fitted, draws, key, n)
    cuts = _cuts(fitted)
    here = _log_odds(observed, cuts, 0)
    each = np.array([_log_odds(y, cuts, 0) for y in made])
    lower, middle, upper = np.quantile(each, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], axis=0)
    names = fitted.table.observed
    a, b = np.triu_indices(len(names), 1)
    index = pd.MultiIndex.from_arrays([[names[j] for j in a], [names[k] for k in b]], names=["item", "item2"])
    columns = {"observed": np.exp(here), "replicated": np.exp(middle), "ci_lower": np.exp(lower),
               "ci_upper": np.exp(upper), "ppp": (each > here).mean(0) + (each == here).mean(0) / 2}  # fmt: skip
    return pd.DataFrame(columns, index)


def _row(observed: float, made: np.ndarray) -> dict[str, float]:
    lower, upper = np.quantile(made, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"observed": observed, "replicated": made.mean(), "ci_lower": lower, "ci_upper": upper,
            "ppp": float((made >= observed).mean())}  # fmt: skip


def _codes(fitted: ItemFitted, draws: Draws, key: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes observed [person, item] and replicated [replicate, person, item], nan where missing."""
    if not fitted.coding.categorical:
        raise ValueError("Checks of odds ratios and sum scores are for items with categories.")
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 20:
        raise ValueError(f"Expected n, the number of replicated data sets, as a whole number from 20; got {n!r}.")
    seen = observed_cells(fitted)
    free = draws.flat[np.linspace(0, len(draws.flat) - 1, int(n)).round().astype(int)]
    made = replicated_codes(fitted, free, key)
    return np.where(seen, fitted.data.codes, np.nan), np.where(seen, made, np.nan)


def _cuts(fitted: ItemFitted) -> np.ndarray:
    """Codes from which an answer counts as high [item]."""
    return np.array([max(k // 2, 1) for k in fitted.coding.n_categories])


def _score_counts(y: np.ndarray, cuts: np.ndarray, top: int) -> np.ndarray:
    """Persons with each sum score [score], of rows without missing cells."""
    total = y.sum(1)
    return np.bincount(total[~np.isnan(total)].astype(int), minlength=top + 1).astype(float)


def _log_odds(y: np.ndarray, cuts: np.ndarray, top: int) -> np.ndarray:
    """Log odds ratios of all pairs of items [pair], over persons who answered both."""
    seen = ~np.isnan(y)
    high = (seen & (np.nan_to_num(y) >= cuts)).astype(float)
    low = seen - high
    tables = [a.T @ b + HALF for a, b in ((high, high), (low, low), (high, low), (low, high))]
    odds = np.log(tables[0]) + np.log(tables[1]) - np.log(tables[2]) - np.log(tables[3])
    return odds[np.triu_indices(y.shape[1], 1)]


def _correlations(y: np.ndarray, cuts: np.ndarray, top: int) -> np.ndarray:
    """Correlations of all pairs of items [pair], over persons who answered both; 0 where an item does not vary."""
    seen = (~np.isnan(y)).astype(float)
    filled = np.nan_to_num(y)
    n, first, cross = seen.T @ seen, filled.T @ seen, filled.T @ filled
    square = (filled**2).T @ seen
    cov = cross / n - first * first.T / n**2
    variance = square / n - (first / n) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.nan_to_num(cov / np.sqrt(variance * variance.T))
    return found[np.triu_indices(y.shape[1], 1)]
