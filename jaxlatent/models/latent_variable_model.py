"""The one model type: p(y) = integral of p(y | x) p(x) over x, as three parts and no state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxlatent.data.arrays import Arrays
from jaxlatent.latent.latent import Latent, LatentDistribution
from jaxlatent.latent.structural import StructuralNormal, total_effects
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.models import cells
from jaxlatent.spec.layout import Layout

Params = Mapping[str, Any]
_implied = jax.jit(jax.vmap(cells.implied))


@partial(
    jax.tree_util.register_dataclass, data_fields=("layout",), meta_fields=("measurement", "latent", "n_occasions")
)
@dataclass(frozen=True)
class LatentVariableModel:
    """Measurement p(y | x), latent p(x), and the layout that makes named matrices [group, ...] of a free vector.

    The pattern of free cells is data; measurement and latent are part of the compiled program. n_occasions: items and
    latent variables are those of the first occasion, then of the second, ..., as many at each.
    """

    measurement: Measurement
    latent: Latent
    layout: Layout
    n_occasions: int = 1

    @staticmethod
    def normal(layout: Layout) -> LatentVariableModel:
        """The model of structural equations: normal items, a normal structural model."""
        return LatentVariableModel(Measurement.normal(layout.fixed["loadings"].shape[-2]), StructuralNormal(), layout)

    @property
    def n_latent(self) -> int:
        """D."""
        return self.layout.fixed["factor_cov"].shape[-1]

    def networks(self, key: jax.Array) -> dict[str, Any]:
        """Starting weights of all networks, name -> pytree: of p(x), and the decoder of p(y | x)."""
        return {**self.latent.init(key, self.n_latent), **self.measurement.init(jax.random.fold_in(key, 1))}

    def log_prob_given_latent(self, params: Params, x: jax.Array, data: Arrays) -> jax.Array:
        """log p(y | x) [..., person] for x [..., person or 1, D]."""
        return self.measurement.log_prob(params, x, data)

    def latent_distribution(self, params: Params, data: Arrays) -> LatentDistribution:
        """p(x) for the persons of these data."""
        return self.latent.distribution(params, data)

    def implied(self, params: Params) -> tuple[jax.Array, jax.Array]:
        """Mean [group, p] and covariance [group, p, p] of y where items and x are normal."""
        return _implied(dict(params))

    def factor_form(self, params: Params) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Mean [group, p], loadings [group, p, D], residual variances [group, p] and Psi [group, D, D], x = A xi.

        The loadings are Lambda (I - B)^-1, so that y = mean + loadings xi + e with xi ~ N(0, Psi).
        """
        loadings = params["loadings"] @ total_effects(params["regressions"])
        mean = params["intercepts"] + (loadings @ params["factor_means"][..., None])[..., 0]
        variance = jnp.diagonal(params["residual_cov"], axis1=-2, axis2=-1)
        return mean, loadings, variance, params["factor_cov"]
