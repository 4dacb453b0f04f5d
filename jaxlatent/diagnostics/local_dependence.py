"""What pairs of items share beyond the latent variables: LD X2 and Q3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxlatent.diagnostics.category_tables import CategoryTables, codes


@dataclass(frozen=True)
class LocalDependence:
    """Pairs of items [J, J], symmetric, nan on the diagonal: X2, its df, and Cramer's V with a sign."""

    x2: np.ndarray
    df: np.ndarray
    cramer_v: np.ndarray


def ld_x2(model: CategoryTables, y: np.ndarray, person_weights: np.ndarray | None = None) -> LocalDependence:
    """X2 = sum_kl (O_kl - E_kl)^2 / E_kl of every pair, E_kl = N sum_r w_r P_ik P_jl (Chen and Thissen 1997).

    V = +-sqrt(X2 / (N (min(K_i, K_j) - 1))), positive where the scores are more alike than expected; y [N, J], N counts
    the persons who answered both.
    """
    code, seen = codes(y)
    items, categories = model.tables.shape[1:]
    weights = np.ones(len(y)) if person_weights is None else person_weights
    chose = ((code[..., None] == np.arange(categories)) & seen[..., None]).astype(float).reshape(len(y), -1)
    observed = _pairs((chose * weights[:, None]).T @ chose, items)
    flat = model.tables.reshape(len(model.tables), -1)
    n = observed.sum((2, 3))
    expected = _pairs((flat * model.weights[:, None]).T @ flat, items) * n[..., None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        x2 = np.where(expected > 0, (observed - expected) ** 2 / expected, 0.0).sum((2, 3))
        smaller = np.minimum.outer(model.n_categories, model.n_categories) - 1
        sign = np.sign(_correlation(observed) - _correlation(expected))
        v = sign * np.sqrt(x2 / (n * smaller))
    df = np.outer(model.n_categories - 1, model.n_categories - 1).astype(float)
    for matrix in (x2, v, df):
        np.fill_diagonal(matrix, np.nan)
    return LocalDependence(x2, df, v)


def mirt_matrix(result: LocalDependence) -> np.ndarray:
    """X2 below the diagonal and signed V above it [J, J], as mirt prints."""
    return np.tril(result.x2, -1) + np.triu(result.cramer_v, 1) + np.diag(np.full(len(result.x2), np.nan))


def q3(expected: np.ndarray, y: np.ndarray, person_weights: np.ndarray | None = None) -> np.ndarray:
    """Correlations [J, J] of residuals y - E(y at the person's score), over persons who answered both (Yen 1984).

    expected [N, J] at each person's score (EAP), y [N, J].
    """
    seen = (~np.isnan(y)).astype(float)
    residual = np.where(seen > 0, y - expected, 0.0)
    weighted = seen if person_weights is None else seen * person_weights[:, None]
    n = weighted.T @ seen
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (weighted * residual).T @ seen / n  # of item i over those who answered both i and j
        square = (weighted * residual**2).T @ seen / n - mean**2
        product = (weighted * residual).T @ residual / n - mean * mean.T
        out = product / np.sqrt(square * square.T)
    np.fill_diagonal(out, 1.0)
    return out


def _pairs(product: np.ndarray, items: int) -> np.ndarray:
    """[J K, J K] -> [J, J, K, K]."""
    categories = len(product) // items
    return product.reshape(items, categories, items, categories).swapaxes(1, 2)


def _correlation(tables: np.ndarray) -> np.ndarray:
    """Correlation of the scores of every pair in its table of counts [..., K, K]."""
    score = np.arange(tables.shape[-1], dtype=float)
    p = tables / tables.sum((-2, -1), keepdims=True)
    rows, columns = p.sum(-1), p.sum(-2)
    a, b = rows @ score, columns @ score
    covariance = p @ score @ score - a * b
    return covariance / np.sqrt((rows @ score**2 - a**2) * (columns @ score**2 - b**2))
