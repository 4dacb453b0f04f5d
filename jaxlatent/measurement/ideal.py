"""Binary items agreed with near one point only: "ideal" (Maydeu-Olivares, Hernández & McDonald, 2006)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.measurement.family import Family, ItemParameter, ItemParams, free
from jaxlatent.numerics.log_probability import log1mexp

_LEAST = 1e-30  # of z²/2: P(y = 0) is 0 at z = 0, and the derivative of its logarithm infinite


@dataclass(frozen=True)
class Ideal(Family):
    """P(y = 1) = exp(-z²/2), z = eta + d."""

    fixed_categories: ClassVar[int | None] = 2

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return (ItemParameter("intercepts", free(1)),)

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        return {"intercepts": -np.sqrt(-2 * np.log(np.clip(observed[1:], 0.005, 0.995)))}

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        half = self._half_square(eta, params)
        return jnp.where(y == 1, -half, log1mexp(jnp.maximum(half, _LEAST)))

    def information(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        """z² / (e^{z²/2} - 1), which is 2 at z = 0."""
        half = jnp.maximum(self._half_square(eta, params), _LEAST)
        return -2 * half * jnp.exp(-half) / jnp.expm1(-half)

    def _half_square(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        return (eta + params["intercepts"][..., 0]) ** 2 / 2
