"""Sums over the weighted nodes of an empirical histogram."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.integration.gauss_hermite import LOST
from jaxlatent.integration.rule import Params, PointModel, PointRule
from jaxlatent.integration.standard_points import StandardPoints


@partial(jax.tree_util.register_dataclass, data_fields=(), meta_fields=("nodes", "weights"))
@dataclass(frozen=True, repr=False)
class EmpiricalHistogram(PointRule):
    """Nodes of one latent variable with mean 0 and variance 1, and their weights: the distribution itself.

    The weights stand in the place of those of the normal density, so that sums are over this distribution.
    """

    nodes: tuple[float, ...]
    weights: tuple[float, ...]

    def __repr__(self) -> str:
        return f"EmpiricalHistogram({len(self.nodes)} nodes)"

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes [R] and weights [R]."""
        return np.array(self.nodes), np.array(self.weights)

    def standard(self, n_latent: int, shape: tuple[int, ...], dtype: str, key: int) -> StandardPoints:
        """Nodes [point, 1] with the logarithms of their weights, lost ones at 1e-36 of the whole."""
        z, w = self.arrays()
        return StandardPoints(z[:, None].astype(dtype), np.log(np.maximum(w, np.exp(LOST) ** 2)))

    def points(self, model: PointModel, params: Params, data: Arrays) -> tuple[jax.Array, jax.Array]:
        latent = model.latent_distribution(params, data)
        z, w = self.arrays()
        dtype = params["factor_cov"].dtype
        log_w = jnp.asarray(np.log(np.maximum(w, np.exp(LOST) ** 2)), dtype)
        return latent.transform(jnp.asarray(z, dtype)[:, None, None]), log_w[:, None]
