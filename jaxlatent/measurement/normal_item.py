"""Normal items of item response models, and positive ones (response times): "normal" and "lognormal"."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.measurement.family import Family, ItemParameter, ItemParams, free, rows_of


@dataclass(frozen=True)
class NormalItem(Family):
    """y = eta + d + e, e ~ N(0, dispersion)."""

    categorical: ClassVar[bool] = False

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return (ItemParameter("intercepts", free(1)), ItemParameter("dispersion", free(1), support="positive"))

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        """Half of the variance is the latent variables'."""
        return {"intercepts": observed[:1].astype(float), "dispersion": observed[1:] / 2}

    def item_params(self, params: Mapping[str, jax.Array]) -> ItemParams:
        return rows_of(self.item_parameters(0), params)

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        variance = params["dispersion"][..., 0]
        return -((y - self.expected(eta, params)) ** 2 / variance + jnp.log(variance) + math.log(2 * math.pi)) / 2

    def sample(self, key: jax.Array, eta: jax.Array, params: ItemParams) -> jax.Array:
        mean = self.expected(eta, params)
        return mean + jnp.sqrt(params["dispersion"][..., 0]) * jax.random.normal(key, mean.shape, mean.dtype)

    def expected(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        return eta + params["intercepts"][..., 0]

    def information(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        return 1 / params["dispersion"][..., 0] + jnp.zeros_like(eta)
