"""Fit indices of a posterior distribution: Bayesian RMSEA, CFI and the like, with intervals.

With D_i the likelihood-ratio discrepancy at draw i, p* the number of sample moments, pD the effective number of
parameters (mean deviance less the deviance at the posterior mean) and df = p* - pD, D_i - p* takes the place of the
noncentrality chi-square - df.

Source: Garnier-Villarreal and Jorgensen (2020), Psychological Methods 25, 46-70.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.diagnostics.predictive_checks import deviances
from jaxlatent.inference.draws import Draws
from jaxlatent.inference.fitted import Fitted

if TYPE_CHECKING:
    import pandas as pd


def bayesian_fit_measures(fitted: Fitted, draws: Draws, level: float = 0.9, key: int = 0) -> pd.DataFrame:
    """brmsea, bgamma, adj_bgamma, bmc, bcfi, btli, bnfi: mean, median, sd and equal-tailed interval.

    The null model (all variables independent) has its posterior under the prior 1 / variance, which is known, so that
    it is drawn from and not fitted. Raises ValueError for a level out of (0, 1), or least squares.
    """
    import pandas as pd

    if not 0 < level < 1:
        raise ValueError(f"Expected level to be a number between 0 and 1; got {level!r}.")
    values = index_draws(fitted, draws, key)
    tail = (1 - level) / 2
    rows = {}
    for name, each in values.items():
        lower, upper = np.quantile(each, [tail, 1 - tail])
        rows[name] = {"mean": each.mean(), "median": np.median(each), "sd": each.std(ddof=1), "ci_lower": lower,
                      "ci_upper": upper}  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index")


def index_draws(fitted: Fitted, draws: Draws, key: int = 0) -> dict[str, np.ndarray]:
    """Every index at every draw [draw]."""
    free = draws.flat
    both = deviances(fitted, np.concatenate([free, free.mean(0, keepdims=True)]))
    found, effective = both[:-1], both[:-1].mean() - both[-1]
    null, null_effective = _independence(fitted, len(free), key)
    moments, n = float(fitted.n_moments), float(fitted.n_total)
    df, null_df = moments - effective, moments - null_effective
    away, null_away = np.maximum(found - moments, 0), np.maximum(null - moments, 0)
    p, groups = len(fitted.table.observed), fitted.table.n_groups
    gamma = p / (p + 2 * away / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, null_ratio = (found - effective) / df, (null - null_effective) / null_df
        return {
            "brmsea": np.sqrt(away * groups / (n * df)),
            "bgamma": gamma,
            "adj_bgamma": 1 - (moments / df) * (1 - gamma),
            "bmc": np.exp(-away / (2 * n)),
            "bcfi": 1 - away / np.maximum(null_away, away),
            "btli": (null_ratio - ratio) / (null_ratio - 1),
            "bnfi": 1 - (found - effective) / (null - null_effective),
        }


def _independence(fitted: Fitted, n_draws: int, key: int) -> tuple[np.ndarray, float]:
    """Discrepancies [draw] of the null model and their pD: variances s n / chi-square(n - 1), means N(m, variance / n).

    Fixed exogenous variables are no part of it. Columns of incomplete rows are taken as they are observed.
    """
    rng, means = np.random.default_rng((key, 1)), fitted.table.mean_structure
    keep = np.setdiff1d(np.arange(len(fitted.table.observed)), fitted.exogenous)
    total, at_mean = np.zeros(n_draws), 0.0
    incomplete = fitted.missing == "fiml"
    for g, n_g in enumerate(fitted.moments.n):
        variance = np.diag(fitted.moments.cov[g])[keep]
        n = np.full(len(keep), float(n_g))
        if incomplete:
            y = fitted.rows.y[fitted.rows.rows_of(g)][:, keep]
            n, variance = (~np.isnan(y)).sum(0).astype(float), np.nanvar(y, axis=0)
        drawn = n * variance / rng.chisquare(n - 1, (n_draws, len(keep)))
        spread = rng.chisquare(1, drawn.shape) if means else np.zeros_like(drawn)  # n (m - mu)^2 / sigma^2

        def minus_two(v: np.ndarray, apart: np.ndarray, n: np.ndarray = n, s: np.ndarray = variance) -> np.ndarray:
            return (n * (np.log(2 * np.pi * v) + s / v) + apart).sum(-1)

        total += minus_two(drawn, spread)
        at_mean += float(minus_two(drawn.mean(0), np.zeros(len(keep))))
    best = 2 * fitted.saturated_log_likelihood
    return total + best, float(total.mean() - at_mean)
