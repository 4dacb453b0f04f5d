"""Amortized guides: one network gives every person's q(x | y)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution

from jaxlatent.data.arrays import Arrays
from jaxlatent.guides.encoding import Encoding, encoding_of
from jaxlatent.guides.guide import BoundGuide, Guide, GuideParams
from jaxlatent.guides.heads import Head, head_of
from jaxlatent.guides.starting import linear_start
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.networks import MLP, Given, Network
from jaxlatent.numerics.types import Array


@dataclass(frozen=True)
class Amortized(Guide):
    """q(x | y) = the family at (W u + m(u), s(u)), u the coded responses, (m, s) a network.

    The input u: responses (indicators of categories, standardised numbers), what is missing, covariates and group; the
    value in a missing cell changes nothing. W starts at factor score weights of the model's starting values, the
    network near 0. Source: Kingma and Welling (2014); Urban and Bauer (2021), Psychometrika 86.

    hidden: widths of the network's layers. network: in place of these layers, an object with init(key, rows) and
    apply(variables, rows), such as a Flax module, of the coded responses [row, column] ([row, *shape] where shape is
    given), a layer of our own on top. family: "isotropic", "diagonal" or "full" normal distributions, or "flow",
    a full one bent by spline couplings that depend on the responses.

    Raises ValueError for other widths or another family.
    """

    hidden: tuple[int, ...] = (128, 128)
    family: str = "full"
    network: Any = None
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        sizes = self.hidden if isinstance(self.hidden, list | tuple) else (self.hidden,)
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ValueError(f"Expected widths of layers as whole numbers from 1 in hidden; got {self.hidden!r}.")
        object.__setattr__(self, "hidden", tuple(sizes))
        head_of(self.family)

    def bind(self, model: LatentVariableModel, arrays: Arrays) -> BoundAmortized:
        d = n_latent(model)
        encoding, head = encoding_of(model, arrays), head_of(self.family)
        weights, cov = linear_start(model, encoding, arrays, d)
        network: Network = MLP(encoding.width, self.hidden, d + head.size(d))
        if self.network is not None:
            network = Given(self.network, len(encoding.items), d + head.size(d), self.shape)
        return BoundAmortized(network, head, encoding, weights, head.start(cov))


@partial(
    jax.tree_util.register_dataclass, data_fields=("encoding", "weights", "start"), meta_fields=("network", "head")
)
@dataclass(frozen=True)
class BoundAmortized(BoundGuide):
    """An amortized guide of one model: network and head are static; weights [column, D] and start where it begins."""

    network: Network
    head: Head
    encoding: Encoding
    weights: Array
    start: dict[str, Array]

    def init(self, key: jax.Array) -> GuideParams:
        ours, theirs = jax.random.split(key)
        drawn = self.head.networks(theirs, self.weights.shape[-1])
        single = lambda a: jnp.asarray(a, jnp.float32)  # noqa: E731
        return {
            "network": self.network.init(ours),
            "weights": single(self.weights),
            "head": jax.tree.map(single, self.start) | drawn,
        }

    def distribution(self, params: GuideParams, arrays: Arrays, persons: jax.Array | None = None) -> Distribution:
        return self.head.distribution(params["head"], *self.outputs(params, arrays))

    def outputs(self, params: GuideParams, arrays: Arrays) -> tuple[jax.Array, jax.Array]:
        """What the head takes: the mean [person, D], and what the network says besides [person, size]."""
        u = self.encoding(arrays)
        output = self.network.apply(params["network"], u)
        d = self.weights.shape[-1]
        return u @ params["weights"] + output[..., :d], output[..., d:]


def n_latent(model: LatentVariableModel) -> int:
    """D."""
    return model.layout.fixed["factor_cov"].shape[-1]
