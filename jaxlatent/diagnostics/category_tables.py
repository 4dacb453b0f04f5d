"""What fit statistics of item response models read: category probabilities at nodes of the latent distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CategoryTables:
    """Probabilities P_jk(x_r) of one group, whatever estimated them.

    weights [R] of the nodes, sum 1; tables [R, J, K], 0 beyond an item's own categories; n_categories [J].

    Raises
    ------
    ValueError
        The shapes do not belong together.
    """

    weights: np.ndarray
    tables: np.ndarray
    n_categories: np.ndarray

    def __post_init__(self) -> None:
        nodes, items, categories = self.tables.shape
        if self.weights.shape != (nodes,) or self.n_categories.shape != (items,):
            raise ValueError(
                f"Expected weights [{nodes}] and n_categories [{items}] beside tables {self.tables.shape}; got "
                f"{self.weights.shape} and {self.n_categories.shape}."
            )
        if items and self.n_categories.max() > categories:
            raise ValueError(f"Expected at most {categories} categories per item; got {self.n_categories.max()}.")

    @property
    def expected(self) -> np.ndarray:
        """E(y_j at x_r) = sum_k k P_jk [R, J]."""
        return expected_scores(self.tables)

    @property
    def score_moments(self) -> tuple[np.ndarray, np.ndarray]:
        """E(y_j) [J] and E(y_j y_l) [J, J] over the latent distribution, given which items are independent."""
        mu = self.expected
        second = self.tables @ np.arange(self.tables.shape[-1]) ** 2.0
        product = (mu * self.weights[:, None]).T @ mu
        np.fill_diagonal(product, self.weights @ second)
        return self.weights @ mu, product


@dataclass(frozen=True)
class SlotJacobian:
    """Derivatives of tables by q free parameters in two links, where every item depends on few numbers, its slots.

    dP_jk(x_r) / d free = by_slot [R, J, K, S] @ chain [J, S, q]
    """

    by_slot: np.ndarray
    chain: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(R, J, K, q), as of the product."""
        return (*self.by_slot.shape[:3], self.chain.shape[-1])

    def dense(self) -> np.ndarray:
        """The product [R, J, K, q]."""
        return np.einsum("rjks,jsq->rjkq", self.by_slot, self.chain)


def expected_scores(tables: np.ndarray) -> np.ndarray:
    """sum_k k P_k over the last axis: [..., K] -> [...]."""
    return tables @ np.arange(tables.shape[-1], dtype=float)


def codes(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Categories as integers [N, J] (0 where missing) and which are observed [N, J]."""
    seen = ~np.isnan(y)
    return np.where(seen, y, 0).astype(np.intp), seen


def complete_rows(y: np.ndarray, person_weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Categories of persons with no missing response [n, J] and their weights [n]."""
    code, seen = codes(y)
    keep = seen.all(1)
    return code[keep], (np.ones(len(y)) if person_weights is None else person_weights)[keep]


def chosen(values: np.ndarray, y: np.ndarray) -> np.ndarray:
    """values[i, j, y_ij] [N, J] of values [N, J, K], nan where y is missing."""
    code, seen = codes(y)
    return np.where(seen, np.take_along_axis(values, code[..., None], -1)[..., 0], np.nan)


def log_likelihoods(model: CategoryTables, code: np.ndarray) -> np.ndarray:
    """log sum_r w_r prod_j P_j,y_ij(x_r) of complete rows [n, J] -> [n]; equal rows are computed once."""
    patterns, which = np.unique(code, axis=0, return_inverse=True)
    with np.errstate(divide="ignore"):
        log_tables, log_weights = np.log(model.tables), np.log(model.weights)
    joint = np.broadcast_to(log_weights, (len(patterns), len(log_weights))).copy()
    for j in range(code.shape[1]):
        joint += log_tables[:, j, patterns[:, j]].T
    top = joint.max(1, keepdims=True, initial=-np.inf)
    top[~np.isfinite(top)] = 0.0
    with np.errstate(divide="ignore"):
        out = np.log(np.exp(joint - top).sum(1)) + top[:, 0]
    return out[which.reshape(-1)]
