"""Any function of responses as a guide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from numpyro import handlers
from numpyro.distributions import Distribution

from jaxlatent.data.arrays import Arrays
from jaxlatent.guides.guide import BoundGuide, Guide, GuideParams, check_shape
from jaxlatent.models.latent_variable_model import LatentVariableModel

Given = Callable[[jax.Array, jax.Array, jax.Array | None], Distribution]


@dataclass(frozen=True)
class FromFunction(Guide):
    """q(x | y) = function(y, observed, covariates), y [person, item] with 0 where missing.

    The function gives a NumPyro distribution with batch shape [person] and event shape [D], reparametrised; inside a
    pair it may call numpyro.param.
    """

    function: Given

    def bind(self, model: LatentVariableModel, arrays: Arrays) -> BoundFunction:
        return BoundFunction(self.function, model.layout.fixed["factor_cov"].shape[-1])


@partial(jax.tree_util.register_dataclass, data_fields=(), meta_fields=("function", "n_latent"))
@dataclass(frozen=True)
class BoundFunction(BoundGuide):
    """A function as a guide; it has no parameters that we know of."""

    function: Given
    n_latent: int

    def init(self, key: jax.Array) -> GuideParams:
        return {}

    def distribution(self, params: GuideParams, arrays: Arrays, persons: jax.Array | None = None) -> Distribution:
        found = self.function(jnp.where(arrays.observed, arrays.y, 0), arrays.observed, arrays.covariates)
        return check_shape(found, arrays.n_persons, self.n_latent)

    def names(self, arrays: Arrays) -> list[str]:
        """What the function asks numpyro.param for."""
        seeded = handlers.seed(lambda: self.distribution({}, arrays), 0)
        return [name for name, site in handlers.trace(seeded).get_trace().items() if site["type"] == "param"]


def guide_of(given: object) -> Guide:
    """A guide, or a function as one; raises ValueError for anything else."""
    if isinstance(given, Guide):
        return given
    if callable(given):
        return FromFunction(given)
    raise ValueError(
        f"Expected a guide such as guides.Amortized(...), or a function (y, observed, covariates) -> distribution; got"
        f" {given!r}."
    )
