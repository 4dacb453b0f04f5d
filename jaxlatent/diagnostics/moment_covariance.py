"""Univariate and bivariate moments of categorical items: observed, expected, their covariances and derivatives.

Moments e = (E f_a, E y_i y_j), i < j: functions f_a of one item each, and products of scores. Given the latent
variables items are independent, so every moment is a sum over nodes of products of per-item moments; where two moments
share an item, the product is corrected by that item's conditional covariance (Maydeu-Olivares and Joe 2006).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxlatent.diagnostics.category_tables import CategoryTables, SlotJacobian


@dataclass(frozen=True)
class Univariate:
    """Functions f_a of single items: item [A], and value [A, K] at every category."""

    item: np.ndarray
    value: np.ndarray


def scores_of(n_categories: np.ndarray) -> Univariate:
    """f_j = y_j: one function an item (M2; M2* of Cai and Hansen 2013)."""
    items = len(n_categories)
    return Univariate(np.arange(items), np.tile(np.arange(n_categories.max(), dtype=float), (items, 1)))


def indicators_of(n_categories: np.ndarray) -> Univariate:
    """f_jk = 1(y_j = k), k = 1 ... K_j - 1 (C2 of Cai and Monroe 2014)."""
    item = np.repeat(np.arange(len(n_categories)), n_categories - 1)
    category = np.concatenate([np.arange(1, k) for k in n_categories])
    return Univariate(item, np.eye(n_categories.max())[category])


def observed_moments(code: np.ndarray, weights: np.ndarray, univariate: Univariate) -> np.ndarray:
    """(mean of f_a, mean of y_i y_j) of complete rows [n, J] with weights [n]."""
    share = weights / weights.sum()
    first = share @ univariate.value[np.arange(len(univariate.item)), code[:, univariate.item]]
    y = code.astype(float)
    return np.concatenate([first, ((y * share[:, None]).T @ y)[np.triu_indices(code.shape[1], 1)]])


def expected_moments(model: CategoryTables, univariate: Univariate) -> np.ndarray:
    """(E f_a, E y_i y_j) [m]."""
    first = model.weights @ _functions(model.tables, univariate)
    return np.concatenate([first, model.score_moments[1][np.triu_indices(len(model.n_categories), 1)]])


def moment_jacobian(
    model: CategoryTables,
    univariate: Univariate,
    jacobian: np.ndarray | SlotJacobian,
    weight_jacobian: np.ndarray | None,
) -> np.ndarray:
    """d e / d free [m, q] from those of the tables [R, J, K, q] and, where they move, of the weights [R, q]."""
    mu, f = model.expected, _functions(model.tables, univariate)
    left, right = np.triu_indices(mu.shape[1], 1)
    by_slot = jacobian.by_slot if isinstance(jacobian, SlotJacobian) else jacobian
    first, turned = _mean_slopes(model, univariate, mu, by_slot)
    if isinstance(jacobian, SlotJacobian):  # from the slots of the item, and of the pair's second item
        first = (first[:, None] @ jacobian.chain[univariate.item])[:, 0]
        turned = np.swapaxes(np.swapaxes(turned, 0, 1) @ jacobian.chain, 0, 1)
    second = turned[left, right] + turned[right, left]
    if weight_jacobian is not None:
        first = first + f.T @ weight_jacobian
        second = second + (mu[:, left] * mu[:, right]).T @ weight_jacobian
    return np.concatenate([first, second])


def moment_covariance(model: CategoryTables, univariate: Univariate) -> np.ndarray:
    """Covariance matrix [m, m] of one person's (f_a, y_i y_j).

    cov = sum_r w_r g_r g_r' - e e' + corrections, g_r the moments at node r taken as if no item were shared. With
    v_i = var(y_i at x_r), c_a = cov(f_a, y_h at x_r), h the item of f_a, the corrections are sum_r w_r times
        v_i mu_j mu_l        for (i, j), (i, l);   and v_i v_j once more for (i, j), (i, j)
        c_a mu_j             for a, (h, j)
        cov(f_a, f_b at x_r) for a, b of one item.
    """
    w, mu, f = model.weights[:, None], model.expected, _functions(model.tables, univariate)
    items, size = mu.shape[1], f.shape[1]
    left, right = np.triu_indices(items, 1)
    place = np.zeros((items, items), dtype=np.intp)
    place[left, right] = place[right, left] = size + np.arange(len(left))
    g = np.concatenate([f, mu[:, left] * mu[:, right]], 1)
    g -= model.weights @ g
    out = (g * w).T @ g

    score = np.arange(model.tables.shape[-1], dtype=float)
    v = model.tables @ score**2 - mu**2
    values = univariate.value
    for i in range(items):
        others = np.delete(np.arange(items), i)
        at = place[i, others]
        out[np.ix_(at, at)] += (mu[:, others] * (w * v[:, [i]])).T @ mu[:, others]
        mine = np.flatnonzero(univariate.item == i)
        p = model.tables[:, i]
        cross = w * (p @ (values[mine] * score).T - f[:, mine] * mu[:, [i]])  # w_r c_a
        block = cross.T @ mu[:, others]
        out[np.ix_(mine, at)] += block
        out[np.ix_(at, mine)] += block.T
        within = (values[mine] * (model.weights @ p)) @ values[mine].T - (f[:, mine] * w).T @ f[:, mine]
        out[np.ix_(mine, mine)] += within
    pairs = size + np.arange(len(left))
    out[pairs, pairs] += ((v * w).T @ v)[left, right]
    return out


def _mean_slopes(
    model: CategoryTables, univariate: Univariate, mu: np.ndarray, jacobian: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """sum_r w_r df_a [A, q] and sum_r w_r mu_i dmu_j [J, J, q] for derivatives of the tables [R, J, K, q]."""
    nodes, items, categories, q = jacobian.shape
    slope = np.tensordot(np.arange(categories, dtype=float), jacobian, (0, 2))  # [R, J, q]
    weighted = np.tensordot(model.weights, jacobian, (0, 0))  # [J, K, q]
    first = np.einsum("ak,akq->aq", univariate.value, weighted[univariate.item])
    return first, ((mu * model.weights[:, None]).T @ slope.reshape(nodes, -1)).reshape(items, items, q)


def _functions(tables: np.ndarray, univariate: Univariate) -> np.ndarray:
    """E(f_a at x_r) [R, A]."""
    return np.einsum("rak,ak->ra", tables[:, univariate.item], univariate.value)
