"""G2: the likelihood-ratio test of an item response model against all response patterns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxlatent.diagnostics.category_tables import CategoryTables, complete_rows, log_likelihoods
from jaxlatent.numerics.special import chdtrc

LARGEST = 10**300  # degrees of freedom a float can take


@dataclass(frozen=True)
class FullInformation:
    """G2 and its test; all but df is nan where a response is missing."""

    statistic: float
    df: int
    pvalue: float
    rmsea: float


def g2(
    models: CategoryTables | Sequence[CategoryTables],
    ys: np.ndarray | Sequence[np.ndarray],
    n_parameters: int,
    person_weights: Sequence[np.ndarray] | np.ndarray | None = None,
) -> FullInformation:
    """2 sum_p r_p log(r_p / (N pi_p)) over observed patterns p with counts r_p; a list of groups, or one.

    df = sum_g (prod_j K_j - 1) - n_parameters, rmsea = sqrt((G2 - df) / (df (N - 1))). Chi-square only where there are
    few patterns and many persons (Bock and Aitkin 1981).
    """
    models = [models] if isinstance(models, CategoryTables) else list(models)
    ys = [ys] if isinstance(ys, np.ndarray) else list(ys)
    weights = [np.ones(len(y)) for y in ys]
    if person_weights is not None:
        weights = [person_weights] if isinstance(person_weights, np.ndarray) else list(person_weights)
    df = sum(math.prod(int(k) for k in m.n_categories) - 1 for m in models) - n_parameters
    if any(np.isnan(y).any() for y in ys):
        return FullInformation(math.nan, df, math.nan, math.nan)
    value = sum(log_likelihoods(m, complete_rows(y, w)[0]) @ w for m, y, w in zip(models, ys, weights, strict=True))
    return g2_of(float(value), df, ys, weights)


def g2_of(log_likelihood: float, df: int, ys: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> FullInformation:
    """G2 of a log-likelihood that is known, whatever integrated it; ys [N, J] and person weights [N] by group."""
    if any(np.isnan(y).any() for y in ys):
        return FullInformation(math.nan, df, math.nan, math.nan)
    value = 2 * (sum(_saturated(y, w) for y, w in zip(ys, weights, strict=True)) - log_likelihood)
    if not 0 < df < LARGEST:
        return FullInformation(value, df, math.nan, math.nan)
    n = sum(float(w.sum()) for w in weights)
    rmsea = math.sqrt(max(value / df - 1, 0.0) / (n - 1))
    return FullInformation(value, df, float(chdtrc(float(df), max(value, 0.0))), rmsea)


def _saturated(y: np.ndarray, weights: np.ndarray) -> float:
    """sum_p r_p log(r_p / N) over observed patterns."""
    which = np.unique(y.astype(np.int16), axis=0, return_inverse=True)[1]
    count = np.bincount(which.reshape(-1), weights)
    count = count[count > 0]
    return float(count @ np.log(count / weights.sum()))
