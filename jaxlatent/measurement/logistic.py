"""Binary items: "rasch", "1pl" and "2pl"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import numpy as np

from jaxlatent.measurement.family import Family, ItemParameter, ItemParams, free
from jaxlatent.measurement.starting import logit
from jaxlatent.numerics.log_probability import softplus


@dataclass(frozen=True)
class Logistic(Family):
    """P(y = 1) = σ(l), l = eta + d: log p = y l - log(1 + e^l)."""

    fixed_categories: ClassVar[int | None] = 2

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return (ItemParameter("intercepts", free(1)),)

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        return {"intercepts": logit(observed[1:])}

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        l = eta + params["intercepts"][..., 0]
        return y * l - softplus(l)

    def expected(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        return jax.nn.sigmoid(eta + params["intercepts"][..., 0])

    def information(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        l = eta + params["intercepts"][..., 0]
        return jax.nn.sigmoid(l) * jax.nn.sigmoid(-l)
