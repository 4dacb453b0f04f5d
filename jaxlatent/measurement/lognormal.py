"""Positive items, response times among them: "lognormal" (van der Linden, 2006)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.measurement.family import Family, ItemParameter, ItemParams, rows_of
from jaxlatent.measurement.normal_item import NormalItem
from jaxlatent.numerics.log_probability import steep_exp

_LOG = NormalItem()  # what log y is


@dataclass(frozen=True)
class LogNormal(Family):
    """log y = eta + d + e, e ~ N(0, dispersion); y <= 0 has density 0."""

    categorical: ClassVar[bool] = False

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return _LOG.item_parameters(n_categories)

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        """observed: mean and variance of y itself."""
        mean, variance = np.maximum(observed, 1e-12)
        log_variance = np.log1p(variance / mean**2)
        return _LOG.start(n_categories, np.array([np.log(mean) - log_variance / 2, log_variance]))

    def item_params(self, params: Mapping[str, jax.Array]) -> ItemParams:
        return rows_of(self.item_parameters(0), params)

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        log_y = jnp.log(jnp.where(y > 0, y, 1).astype(eta.dtype))
        return jnp.where(y > 0, _LOG.log_prob(eta, params, log_y) - log_y, -jnp.inf)

    def sample(self, key: jax.Array, eta: jax.Array, params: ItemParams) -> jax.Array:
        return steep_exp(_LOG.sample(key, eta, params))

    def expected(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        return steep_exp(_LOG.expected(eta, params) + params["dispersion"][..., 0] / 2)

    def information(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        return _LOG.information(eta, params)
