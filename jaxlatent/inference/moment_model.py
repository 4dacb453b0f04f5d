"""A Gaussian model at one point, on the host: implied moments, their Jacobian, and information matrices.

Moments are ordered per group as lavaan does: means (where there is a mean structure), then vech(Sigma) by rows of the
lower triangle. Matrices over moments are applied, not formed, wherever their size would be felt.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxlatent.models import cells as cell_algebra
from jaxlatent.models.cells import Basis, Cells
from jaxlatent.spec.layout import Layout


def vech_index(p: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the lower triangle, row by row."""
    return np.tril_indices(p)


@dataclass(frozen=True)
class MomentModel:
    """Layout, free vector [n_free] and group weights [group] (n_g / N)."""

    layout: Layout
    free: np.ndarray
    weight: np.ndarray
    mean_structure: bool

    @cached_property
    def params(self) -> dict[str, np.ndarray]:
        """Matrices [group, ...]."""
        full = np.append(self.free, 0.0)
        return {n: np.where(i >= 0, full[i], self.layout.fixed[n]) for n, i in self.layout.index.items()}

    @property
    def n_groups(self) -> int:
        return self.layout.n_groups

    def group(self, g: int) -> dict[str, np.ndarray]:
        return {name: value[g] for name, value in self.params.items()}

    @cached_property
    def cells(self) -> Cells:
        return cell_algebra.cells_of(self.layout, self.layout.n_free)

    def cells_of(self, g: int) -> Cells:
        return Cells(*(field[g] for field in self.cells))

    @cached_property
    def bases(self) -> list[Basis]:
        return [cell_algebra.basis(self.group(g)) for g in range(self.n_groups)]

    @cached_property
    def implied(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Per group (mean [p], covariance [p, p])."""
        return [cell_algebra.implied(self.group(g)) for g in range(self.n_groups)]

    @cached_property
    def inverse(self) -> list[np.ndarray]:
        return [np.linalg.inv(sigma) for _, sigma in self.implied]

    @cached_property
    def jacobian(self) -> list[np.ndarray]:
        """Per group d moments / d free [moments, n_free]."""
        out = []
        for g in range(self.n_groups):
            c, p = self.cells_of(g), self.implied[g][0].shape[0]
            d_mu, d_sigma = cell_algebra.vech_jacobian(c, self.bases[g], vech_index(p))
            by_cell = np.concatenate([d_mu, d_sigma]) if self.mean_structure else d_sigma
            out.append(self._columns_to_free(by_cell, c.free))
        return out

    def _columns_to_free(self, values: np.ndarray, free: np.ndarray) -> np.ndarray:
        out = np.zeros((self.layout.n_free + 1, values.shape[0]))
        np.add.at(out, free, values.T)
        return out[:-1].T

    def _pairs_to_free(self, values: np.ndarray, free: np.ndarray) -> np.ndarray:
        half = self._columns_to_free(values, free)
        return self._columns_to_free(half.T, free)

    def expected_information(self, g: int, inverse: np.ndarray | None = None) -> np.ndarray:
        """Normal-theory expected information per person of group g [n_free, n_free], at Sigma or a given inverse."""
        c, b = self.cells_of(g), self.bases[g]
        k = b.columns.T @ (self.inverse[g] if inverse is None else inverse) @ b.columns
        return self._pairs_to_free(cell_algebra.information_cells(c, b, k), c.free)

    def observed_information(self, g: int, mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
        """Hessian per person of F_ML of group g at sample moments [n_free, n_free]."""
        c, b = self.cells_of(g), self.bases[g]
        residual = mean - self.implied[g][0] if self.mean_structure else np.zeros(len(mean))
        ke = self.inverse[g] @ b.columns
        k, r = b.columns.T @ ke, ke.T @ (cov + np.outer(residual, residual)) @ ke
        z = ke.T @ residual
        hessian = cell_algebra.observed_cells(c, b, k, r, z) + cell_algebra.curvature_cells(c, b, k - r, z)
        return self._pairs_to_free(hessian, c.free)

    def pull(self, g: int, pull_cov: np.ndarray, pull_mean: np.ndarray) -> np.ndarray:
        """1/2 tr(pull_cov dSigma) - pull_mean' dmu for every free parameter [n_free]."""
        c, b = self.cells_of(g), self.bases[g]
        e = b.columns
        values = cell_algebra.gradient_cells(c, b, e.T @ pull_cov @ e, e.T @ pull_mean)
        return np.bincount(c.free, values, self.layout.n_free + 1)[:-1]

    def curvature(self, g: int, pull_cov: np.ndarray, pull_mean: np.ndarray) -> np.ndarray:
        """sum of 1/2 tr(pull_cov d2Sigma) - pull_mean' d2mu over free pairs: the model's own curvature."""
        c, b = self.cells_of(g), self.bases[g]
        e = b.columns
        values = cell_algebra.curvature_cells(c, b, e.T @ pull_cov @ e, e.T @ pull_mean)
        return self._pairs_to_free(values, c.free)

    def residual(self, g: int, mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
        """Sample moments minus implied moments of group g [moments]."""
        mu, sigma = self.implied[g]
        low = vech_index(len(mu))
        r = (cov - sigma)[low]
        return np.concatenate([mean - mu, r]) if self.mean_structure else r


def apply_normal_weight(inverse: np.ndarray, moments: np.ndarray, mean_structure: bool) -> np.ndarray:
    """W x for moments [moments, columns], W = blockdiag(K, 1/2 D'(K kron K)D), without forming W."""
    p = len(inverse)
    lower = vech_index(p)
    m = p if mean_structure else 0
    columns = moments.shape[1]
    x = np.zeros((columns, p, p))
    x[:, lower[0], lower[1]] = moments[m:].T
    x = np.swapaxes(x, 1, 2) + x
    x[:, range(p), range(p)] /= 2
    y = (inverse @ x @ inverse)[:, lower[0], lower[1]].T
    y[lower[0] == lower[1]] /= 2
    return np.concatenate([inverse @ moments[:m], y]) if mean_structure else y


def normal_weight(inverse: np.ndarray, mean_structure: bool) -> np.ndarray:
    """W itself [moments, moments]: the expected information of the saturated model."""
    p = len(inverse)
    size = p * (p + 1) // 2 + (p if mean_structure else 0)
    return apply_normal_weight(inverse, np.eye(size), mean_structure)


def moment_contributions(y: np.ndarray, mean: np.ndarray, mean_structure: bool) -> np.ndarray:
    """Rows (y - m, vech (y - m)(y - m)') [person, moments]."""
    e = y - mean
    lower = vech_index(y.shape[1])
    z = e[:, lower[0]] * e[:, lower[1]]
    return np.concatenate([e, z], axis=1) if mean_structure else z
