"""Sum scores: their distribution at every node, and what they say of the latent variables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jaxlatent.diagnostics.category_tables import CategoryTables, complete_rows


def lord_wingersky(tables: np.ndarray, n_categories: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """P(sum_j y_j = s at x_r) [R, S], S = 1 + sum_j (K_j - 1), item by item from start [R, S0] (no item).

    S_j(s) = sum_k P_jk S_{j-1}(s - k)      (Lord and Wingersky 1984; polytomous: Thissen, Pommerich, Billeaud and
    Williams 1995)
    """
    out = np.ones((len(tables), 1)) if start is None else start
    for j, categories in enumerate(n_categories):
        longer = np.zeros((len(tables), out.shape[1] + categories - 1))
        for k in range(categories):
            longer[:, k : k + out.shape[1]] += out * tables[:, j, k : k + 1]
        out = longer
    return out


def leave_one_out(
    tables: np.ndarray, n_categories: np.ndarray, start: np.ndarray | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """(j, distribution [R, S_j] of the sum of all items but j) for every j, in J log J steps, halves added whole."""
    items = len(n_categories)
    if items == 1:
        yield 0, np.ones((len(tables), 1)) if start is None else start
        return
    half = items // 2
    left, right = slice(0, half), slice(half, items)
    for mine, other, shift in ((left, right, 0), (right, left, half)):
        rest = lord_wingersky(tables[:, other], n_categories[other], start)
        for j, distribution in leave_one_out(tables[:, mine], n_categories[mine], rest):
            yield j + shift, distribution


@dataclass(frozen=True)
class SumScoreTable:
    """One row a sum score (categories counted from 0): EAP and SE [S, D], counts [S], |observed - expected| / sqrt."""

    score: np.ndarray
    eap: np.ndarray
    se: np.ndarray
    observed: np.ndarray
    expected: np.ndarray
    residual: np.ndarray


def sum_score_table(
    model: CategoryTables, nodes: np.ndarray, y: np.ndarray, person_weights: np.ndarray | None = None
) -> SumScoreTable:
    """E(x given s) = sum_r w_r x_r S_r(s) / sum_r w_r S_r(s), and counts of the persons with no missing response.

    nodes [R, D], y [N, J] (Thissen, Pommerich, Billeaud and Williams 1995).
    """
    joint = model.weights[:, None] * lord_wingersky(model.tables, model.n_categories)
    probability = joint.sum(0)
    posterior = joint / probability
    eap = posterior.T @ nodes
    variance = np.maximum(posterior.T @ nodes**2 - eap**2, 0.0)
    code, weights = complete_rows(y, person_weights)
    observed = np.bincount(code.sum(1), weights, minlength=len(probability))
    expected = weights.sum() * probability
    residual = np.abs(observed - expected) / np.sqrt(expected)
    return SumScoreTable(np.arange(len(probability)), eap, np.sqrt(variance), observed, expected, residual)


def eap_sum_scores(table: SumScoreTable, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """EAP for sum scores and standard errors of persons [N, D]; nan where a response is missing."""
    complete = ~np.isnan(y).any(1)
    score = np.where(complete, y.sum(1), 0).astype(np.intp)
    return tuple(np.where(complete[:, None], column[score], np.nan) for column in (table.eap, table.se))  # type: ignore[return-value]
