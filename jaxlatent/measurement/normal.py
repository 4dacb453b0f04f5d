"""Normal items with independent residuals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.measurement.family import Family, ItemParameter, ItemParams
from jaxlatent.spec.layout import Layout


@dataclass(frozen=True)
class Normal(Family):
    """y = intercept + eta + e, e ~ N(0, diagonal of residual_cov), independent over items.

    Covariances of residuals are not part of a density that factorises over items; ``factorises`` says whether a layout
    has any, and the closed form takes them in.
    """

    categorical: ClassVar[bool] = False

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        raise TypeError("The matrices of normal items come from a parameter table; the item type is NormalItem.")

    def item_params(self, params: Mapping[str, jax.Array]) -> ItemParams:
        variance = jnp.diagonal(params["residual_cov"], axis1=-2, axis2=-1)
        return {"intercepts": params["intercepts"], "variance": variance}

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        variance = params["variance"]
        return -((y - eta - params["intercepts"]) ** 2 / variance + jnp.log(variance) + math.log(2 * math.pi)) / 2

    def sample(self, key: jax.Array, eta: jax.Array, params: ItemParams) -> jax.Array:
        noise = jax.random.normal(key, eta.shape, eta.dtype)
        return eta + params["intercepts"] + jnp.sqrt(params["variance"]) * noise

    def expected(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        return eta + params["intercepts"]

    def information(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        return jnp.broadcast_to(1 / params["variance"], eta.shape)


def factorises(layout: Layout) -> bool:
    """Whether p(y | x) has a density that is a product over items: no residual covariances, all variances positive.

    Observed variables in regressions are carried as latent with residual variance 0, so path models do not factorise.
    Host side: needs a layout of NumPy arrays.
    """
    index, fixed = np.asarray(layout.index["residual_cov"]), np.asarray(layout.fixed["residual_cov"])
    off = ~np.eye(index.shape[-1], dtype=bool)
    free = index >= 0
    covary = (free | (fixed != 0)) & off
    return bool(not covary.any() and (free | (fixed > 0) | off).all())
