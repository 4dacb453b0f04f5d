"""Tests of item response models on the moments of single items and pairs: M2, M2* and C2.

N e'(K - K D (D'K D)^-1 D'K) e with e the residual moments, K the inverse of their covariance matrix and D their
derivatives by the free parameters; chi-square with m - q degrees of freedom (Maydeu-Olivares and Joe 2005, 2006).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cholesky, eigh, qr, solve_triangular

from jaxlatent.diagnostics.category_tables import CategoryTables, SlotJacobian, complete_rows
from jaxlatent.diagnostics.indices import comparative, rmsea
from jaxlatent.diagnostics.moment_covariance import (
    Univariate,
    expected_moments,
    indicators_of,
    moment_covariance,
    moment_jacobian,
    observed_moments,
    scores_of,
)
from jaxlatent.numerics.special import chdtrc

SINGULAR = 1e-7  # smallest pivot of a correlation matrix taken as regular


@dataclass(frozen=True)
class GroupFit:
    """One group: responses y [N, J], its tables, and their derivatives by all q free parameters.

    jacobian [R, J, K, q], or its two links; weight_jacobian [R, q] where latent means or variances are free;
    person_weights [N].
    """

    y: np.ndarray
    model: CategoryTables
    jacobian: np.ndarray | SlotJacobian
    weight_jacobian: np.ndarray | None = None
    person_weights: np.ndarray | None = None


@dataclass(frozen=True)
class LimitedInformation:
    """A limited-information test, nan where its df are not positive; cfi and tli also where the baseline's are not."""

    df: int
    baseline_df: int
    statistic: float = math.nan
    pvalue: float = math.nan
    rmsea: float = math.nan
    rmsea_ci_lower: float = math.nan
    rmsea_ci_upper: float = math.nan
    cfi: float = math.nan
    tli: float = math.nan
    srmsr: float = math.nan
    baseline_statistic: float = math.nan


def m2(groups: GroupFit | Sequence[GroupFit]) -> LimitedInformation:
    """M2 of binary items (Maydeu-Olivares and Joe 2005), M2* of polytomous ones (Cai and Hansen 2013).

    Moments: mean scores and mean products of scores, so that m = J (J + 1) / 2 a group.
    """
    return _test(groups, scores_of)


def c2(groups: GroupFit | Sequence[GroupFit]) -> LimitedInformation:
    """C2 (Cai and Monroe 2014): every category's proportion, and mean products of scores; M2 where items are binary."""
    return _test(groups, indicators_of)


def m2_and_c2(groups: GroupFit | Sequence[GroupFit]) -> tuple[LimitedInformation, LimitedInformation]:
    """Both; computed once where all items are binary."""
    first = m2(groups)
    binary = all((g.model.n_categories == 2).all() for g in _list(groups))
    return first, first if binary else c2(groups)


def srmsr(groups: GroupFit | Sequence[GroupFit]) -> float:
    """Root mean square of observed minus expected correlations of item pairs (Maydeu-Olivares 2013)."""
    gaps = [_pairs_of(residual_correlations(group)) for group in _list(groups)]
    return math.sqrt(np.mean(np.concatenate(gaps) ** 2))


def residual_correlations(group: GroupFit) -> np.ndarray:
    """Observed minus expected correlations of items [J, J], over persons without a missing response."""
    observed = _observed_correlation(*complete_rows(group.y, group.person_weights))
    return observed - _correlation(*group.model.score_moments)


def _test(groups: GroupFit | Sequence[GroupFit], functions: Callable[[np.ndarray], Univariate]) -> LimitedInformation:
    """The test of a model and of independence, persons with a missing response left out."""
    fits = _list(groups)
    moments = sum(len(functions(g.model.n_categories).item) + _pairs(len(g.model.n_categories)) for g in fits)
    df = moments - fits[0].jacobian.shape[-1]
    base_df = moments - sum(int((g.model.n_categories - 1).sum()) for g in fits)
    if df <= 0:
        return LimitedInformation(df, base_df)
    n = sum(float(complete_rows(g.y, g.person_weights)[1].sum()) for g in fits)
    value = _statistic(fits, functions)
    base = sum(_independence(g) for g in fits) if base_df > 0 else math.nan
    index = comparative(value, df, base, base_df) if base_df > 0 else {"cfi": math.nan, "tli": math.nan}
    size = rmsea(value, df, n, 1)
    return LimitedInformation(
        df,
        base_df,
        statistic=value,
        pvalue=float(chdtrc(df, value)),
        rmsea=rmsea(value, df, n - 1, 1)["rmsea"],  # n - 1 here, n in the interval: as mirt
        rmsea_ci_lower=size["rmsea_ci_lower"],
        rmsea_ci_upper=size["rmsea_ci_upper"],
        cfi=index["cfi"],
        tli=index["tli"],
        srmsr=srmsr(fits),
        baseline_statistic=base,
    )


def _statistic(fits: Sequence[GroupFit], functions: Callable[[np.ndarray], Univariate]) -> float:
    """Squared length of the whitened residuals outside the column space of the whitened derivatives."""
    residuals, slopes = [], []
    for g in fits:
        f = functions(g.model.n_categories)
        code, weights = complete_rows(g.y, g.person_weights)
        e = observed_moments(code, weights, f) - expected_moments(g.model, f)
        d = moment_jacobian(g.model, f, g.jacobian, g.weight_jacobian)
        white = math.sqrt(weights.sum()) * _whiten(moment_covariance(g.model, f), np.column_stack([e, d]))
        residuals.append(white[:, 0])
        slopes.append(white[:, 1:])
    residual, slope = np.concatenate(residuals), np.concatenate(slopes)
    length = np.sqrt((slope**2).sum(0))
    basis, triangle, _ = qr(slope / np.where(length > 0, length, 1.0), mode="economic", pivoting=True)
    pivots = np.abs(np.diag(triangle))
    along = basis[:, : len(pivots)][:, pivots > 1e-10 * pivots.max(initial=0.0)].T @ residual
    return max(float(residual @ residual - along @ along), 0.0)


def _whiten(covariance: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """L^-1 columns with LL' = covariance; directions without variance are left out."""
    scale = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    keep = scale > 1e-12
    if not keep.all():
        covariance, scale, columns = covariance[np.ix_(keep, keep)], scale[keep], columns[keep]
    correlation = covariance / scale
    correlation /= scale[:, None]
    columns = columns / scale[:, None]
    try:
        lower = cholesky(correlation, lower=True, check_finite=False)
        if np.diag(lower).min(initial=1.0) > SINGULAR:
            return np.asarray(solve_triangular(lower, columns, lower=True))
    except LinAlgError:
        pass
    values, vectors = eigh(correlation)
    regular = values > 1e-10 * values.max()
    return (vectors[:, regular].T @ columns) / np.sqrt(values[regular])[:, None]


def _independence(group: GroupFit) -> float:
    """N sum_{i<j} r_ij^2, the statistic of independent items.

    Their score covariances are uncorrelated with one another and with the items' own moments, which fit exactly, so
    that the quadratic form is a sum over sample correlations; the same for scores and for category indicators.
    """
    code, weights = complete_rows(group.y, group.person_weights)
    return float(weights.sum() * (_pairs_of(_observed_correlation(code, weights)) ** 2).sum())


def _observed_correlation(code: np.ndarray, weights: np.ndarray) -> np.ndarray:
    share = weights / weights.sum()
    return _correlation(share @ code, (code * share[:, None]).T @ code)


def _correlation(mean: np.ndarray, product: np.ndarray) -> np.ndarray:
    covariance = product - np.outer(mean, mean)
    variance = np.diag(covariance)
    scale = np.sqrt(np.where(variance > 1e-12, variance, np.inf))  # an item all answered alike: uncorrelated
    return covariance / scale / scale[:, None]


def _pairs_of(matrix: np.ndarray) -> np.ndarray:
    return matrix[np.triu_indices(len(matrix), 1)]


def _pairs(items: int) -> int:
    return items * (items - 1) // 2


def _list(groups: GroupFit | Sequence[GroupFit]) -> list[GroupFit]:
    return [groups] if isinstance(groups, GroupFit) else list(groups)
