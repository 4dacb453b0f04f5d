"""Starting values of item response models from correlations between items. Host side."""

from __future__ import annotations

import math

import numpy as np

from jaxlatent.numerics.special import ndtri
from jaxlatent.spec.item_table import ItemTable

LOGISTIC = 1.702  # a normal ogive of slope 1 is close to a logistic curve of this slope
SIZES = (0.3, 2.5)  # slopes start between these
MOST = 0.95  # correlation between items


def correlations(y: np.ndarray) -> np.ndarray:
    """Pairwise correlations of columns [item, item] with missing values as nan; 0 where a pair is never seen."""
    seen = ~np.isnan(y)
    if seen.all():
        z = y - y.mean(0)
        spread = np.sqrt(np.maximum((z**2).sum(0), 1e-12))
        return np.clip((z.T @ z) / np.outer(spread, spread), -1, 1)
    mean = np.where(seen, y, 0).sum(0) / np.maximum(seen.sum(0), 1)
    z = np.where(seen, y - mean, 0)
    both = seen.astype(float).T @ seen
    cov = (z.T @ z) / np.maximum(both, 1)
    spread = np.sqrt(np.maximum((z**2).T @ seen / np.maximum(both, 1), 1e-12))
    r = np.where(both > 2, cov / (spread * spread.T), 0)
    np.fill_diagonal(r, 1)
    return np.clip(r, -1, 1)


def coded_correlations(y: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Correlation of each coded item with the normal variable behind it [item]; 1 where shape [item] is 0.

    c = sum_k phi(tau_k) (s_k+1 - s_k) / sd(y) for scores s (Olsson, Drasgow and Dorans 1982, eq. 9).
    """
    out = np.ones(y.shape[1])
    for j in np.flatnonzero(shape):
        values, counts = np.unique(y[~np.isnan(y[:, j]), j], return_counts=True)
        if len(values) > 1:
            share = counts / counts.sum()
            ordinates = np.exp(-(ndtri(np.cumsum(share)[:-1]) ** 2) / 2) / math.sqrt(2 * math.pi)
            out[j] = np.diff(values) @ ordinates / math.sqrt(share @ (values - share @ values) ** 2)
    return out


def latent_correlations(r: np.ndarray, y: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Correlations of the normal variables behind ordered items, to first order: r*_jk = r_jk / (c_j c_k).

    shape [item]: 1 for ordered items, others keep theirs; c: see ``coded_correlations``.
    """
    c = coded_correlations(y, shape)
    out = np.clip(r / np.outer(c, c), -MOST, MOST)
    np.fill_diagonal(out, 1)
    return out


def principal_loadings(r: np.ndarray, d: int, rounds: int = 4) -> np.ndarray:
    """Loadings [item, d] of a principal factor analysis of correlations."""
    communality = np.full(len(r), 0.5)
    loadings = np.zeros((len(r), d))
    for _ in range(rounds):
        reduced = r.copy()
        np.fill_diagonal(reduced, communality)
        size, vectors = np.linalg.eigh(reduced)
        loadings = vectors[:, ::-1][:, :d] * np.sqrt(np.maximum(size[::-1][:d], 1e-3))
        communality = np.clip((loadings**2).sum(1), 0.05, 0.95)
    return loadings


def anchor_items(y: np.ndarray, d: int) -> list[int]:
    """d items that span the factors best: the largest loading on each new direction, one after the other."""
    rest = principal_loadings(correlations(y), d)
    chosen: list[int] = []
    for _ in range(d):
        size = np.linalg.norm(rest, axis=1)
        size[chosen] = -1
        chosen.append(int(size.argmax()))
        direction = rest[chosen[-1]] / max(np.linalg.norm(rest[chosen[-1]]), 1e-12)
        rest = rest - np.outer(rest @ direction, direction)
    return chosen


def starting_free(table: ItemTable, start: np.ndarray, y: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """The free vector to start from: loadings by factor analysis of y [person, item], intercepts to match margins.

    start: values from the margins alone; shape [item]: "ordered" items (1), others whose slopes start small (0).
    """
    free = start.copy()
    r = latent_correlations(correlations(y), y, shape)
    loadings, cov = _loadings(table, r)
    given: dict[tuple[int, ...], float] = {}
    for row in table.rows:
        if row.matrix == "loadings" and row.group == 1:
            given[row.cell] = loadings[row.cell] if row.free else row.fixed
    total = np.zeros(len(table.items))
    for cell, value in given.items():
        total[cell[0]] += value**2
    widen = np.sqrt(1 + total / LOGISTIC**2)
    first = len(table.factors) if table.occasions is None else len(table.occasions.factors)  # those of one occasion
    shared: dict[int, list[float]] = {}
    for row in table.rows:
        if not row.free:
            continue
        at = row.free - 1
        own = not math.isnan(row.start)
        if row.matrix == "loadings" and not own:
            value = loadings[row.cell]
            shared.setdefault(at, []).append(value if shape[row.cell[0]] else 0.3 * np.sign(value))
        elif row.matrix in ("intercepts", "spacing") and shape[row.cell[0]]:
            shared.setdefault(at, []).append(row.start * (widen[row.cell[0]] if row.matrix == "intercepts" else 1.0))
        elif row.matrix == "factor_cov" and row.cell[0] != row.cell[1] and max(row.cell) < first:
            shared.setdefault(at, []).append(cov[row.cell])
        elif row.matrix == "spacing":
            shared.setdefault(at, []).append(row.start)
    for at, values in shared.items():
        free[at] = float(np.mean(values))
    return free


def _loadings(table: ItemTable, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes [item, factor] of factor analyses, and correlations of factors from those of sums."""
    n_items, d = len(table.items), len(table.factors)
    pattern = np.zeros((n_items, d), bool)
    for row in table.rows:
        if row.matrix == "loadings":
            pattern[row.cell] |= bool(row.free) or row.fixed != 0
    anchors = exploratory_anchors(pattern)
    if d > 1 and anchors is not None:
        standard = _triangular(principal_loadings(r, d), anchors)
        cov = np.eye(d)
    else:
        standard, cov = np.zeros((n_items, d)), np.eye(d)
        for k in range(d):
            at = np.flatnonzero(pattern[:, k])
            if len(at) == 1:
                standard[at, k] = 0.6
                continue
            own = principal_loadings(r[np.ix_(at, at)], 1)[:, 0]
            standard[at, k] = own if own.sum() >= 0 else -own
        several = (pattern.sum(1) > 1)[:, None]
        standard = np.where(pattern, np.where(several, 0.7 * standard, standard), 0)
        weights = np.sign(standard) * (pattern.sum(1) == 1)[:, None]
        sums = weights.T @ r @ weights
        spread = np.sqrt(np.maximum(np.diag(sums), 1e-12))
        cov = np.clip(sums / np.outer(spread, spread), -0.6, 0.6)
        np.fill_diagonal(cov, 1)
        if np.linalg.eigvalsh(cov).min() < 0.1:
            cov = 0.5 * cov + 0.5 * np.eye(d)
    unique = np.maximum(1 - (standard**2).sum(1), 0.15)
    slopes = LOGISTIC * standard / np.sqrt(unique)[:, None]
    sign = np.where(slopes < 0, -1.0, 1.0)
    size = np.clip(np.abs(slopes), SIZES[0] if d == 1 or not pattern.all() else 0.0, SIZES[1])
    return np.where(pattern, sign * size, 0), cov


def exploratory_anchors(pattern: np.ndarray) -> list[int] | None:
    """Anchors of an exploratory pattern [item, factor], the k-th loading on the first k factors only; else None."""
    n_items, d = pattern.shape
    count = pattern.sum(1)
    anchors = []
    for k in range(d - 1):
        found = np.flatnonzero((count == k + 1) & pattern[:, : k + 1].all(1))
        if len(found) != 1:
            return None
        anchors.append(int(found[0]))
    full = np.flatnonzero(count == d)
    return [*anchors, int(full[0])] if len(full) == n_items - d + 1 else None


def _triangular(loadings: np.ndarray, anchors: list[int]) -> np.ndarray:
    """The rotation in which the anchors' rows are lower triangular, each factor's loadings with a positive sum."""
    q, _ = np.linalg.qr(loadings[anchors].T)
    out = loadings @ q
    for k, j in enumerate(anchors):
        out[j, k + 1 :] = 0
    return out * np.where(out.sum(0) < 0, -1.0, 1.0)
