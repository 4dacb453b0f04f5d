"""Guides with parameters of their own for every person."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution

from jaxlatent.data.arrays import Arrays
from jaxlatent.guides.amortized import n_latent
from jaxlatent.guides.encoding import Encoding, encoding_of
from jaxlatent.guides.guide import BoundGuide, Guide, GuideParams
from jaxlatent.guides.heads import Head, head_of
from jaxlatent.guides.starting import linear_start
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.types import Array


@dataclass(frozen=True)
class Free(Guide):
    """q(x_i | y_i) = the family at numbers that belong to person i: the best the family can do, at a cost linear in N.

    They begin at factor scores of the model's starting values, with the covariance these have. New persons (see
    ``own_rows``) stay there: nothing is learned for them. With family "flow" the network of the couplings is shared,
    its context is the person's. Hoffman, Blei, Wang and Paisley (2013); Cremer, Li and Duvenaud (2018).

    family: "isotropic", "diagonal", "full" or "flow". Raises ValueError for another.
    """

    family: str = "full"

    def __post_init__(self) -> None:
        head_of(self.family)

    def bind(self, model: LatentVariableModel, arrays: Arrays) -> BoundFree:
        encoding = encoding_of(model, arrays)
        weights, cov = linear_start(model, encoding, arrays, n_latent(model))
        head = head_of(self.family)
        return BoundFree(head, arrays.n_persons, encoding, weights, head.start(cov))


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("encoding", "weights", "start"),
    meta_fields=("head", "n_persons"),
)
@dataclass(frozen=True)
class BoundFree(BoundGuide):
    """A free guide of one model and n_persons persons; weights [column, D] and start as in BoundAmortized, fixed."""

    head: Head
    n_persons: int
    encoding: Encoding
    weights: Array
    start: dict[str, Array]

    def init(self, key: jax.Array) -> GuideParams:
        d = self.weights.shape[-1]
        own = jnp.zeros((self.n_persons, d + self.head.size(d)), jnp.float32)
        return {"own": own, "head": self.head.networks(key, d)}

    def distribution(self, params: GuideParams, arrays: Arrays, persons: jax.Array | None = None) -> Distribution:
        d = self.weights.shape[-1]
        own = own_rows(params["own"], arrays, persons)
        mean = self.encoding(arrays) @ jnp.asarray(self.weights, own.dtype) + own[:, :d]
        start = {name: jnp.asarray(value, own.dtype) for name, value in self.start.items()}
        return self.head.distribution(start | params["head"], mean, own[:, d:])


def own_rows(own: jax.Array, arrays: Arrays, persons: jax.Array | None) -> jax.Array:
    """What belongs to these persons [person, size] of own [all persons, size]; zeros for new ones.

    New persons have -1 in persons. Without persons, rows as many as there are persons are these persons in their order,
    other numbers of rows are new persons.
    """
    if persons is None:
        return own if arrays.n_persons == len(own) else jnp.zeros((arrays.n_persons, own.shape[1]), own.dtype)
    return jnp.where((persons >= 0)[:, None], own[jnp.maximum(persons, 0)], 0)
