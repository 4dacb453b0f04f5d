"""Amortized guides with a correction of its own for every person."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution

from jaxlatent.data.arrays import Arrays
from jaxlatent.guides.amortized import Amortized, BoundAmortized
from jaxlatent.guides.free import own_rows
from jaxlatent.guides.guide import BoundGuide, Guide, GuideParams
from jaxlatent.models.latent_variable_model import LatentVariableModel


@dataclass(frozen=True)
class SemiAmortized(Guide):
    """q(x_i | y_i) = the family at what an amortized guide says of y_i, plus numbers that belong to person i.

    The numbers begin at zero and close the amortization gap while the network learns from all persons; new persons (see
    ``free.own_rows``) have none and are served by the network alone. Numbers of one's own are learned with the other
    parameters, instead of by steps within each evaluation of the bound (Kim, Wiseman, Miller, Sontag and Rush 2018).

    hidden, family: as in Amortized, which raises ValueError for others.
    """

    hidden: tuple[int, ...] = (128, 128)
    family: str = "full"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", Amortized(self.hidden, self.family).hidden)

    def bind(self, model: LatentVariableModel, arrays: Arrays) -> BoundSemiAmortized:
        return BoundSemiAmortized(Amortized(self.hidden, self.family).bind(model, arrays), arrays.n_persons)


@partial(jax.tree_util.register_dataclass, data_fields=("amortized",), meta_fields=("n_persons",))
@dataclass(frozen=True)
class BoundSemiAmortized(BoundGuide):
    """A semi-amortized guide of one model and n_persons persons."""

    amortized: BoundAmortized
    n_persons: int

    def init(self, key: jax.Array) -> GuideParams:
        d = self.amortized.weights.shape[-1]
        own = jnp.zeros((self.n_persons, d + self.amortized.head.size(d)), jnp.float32)
        return {"own": own, "amortized": self.amortized.init(key)}

    def distribution(self, params: GuideParams, arrays: Arrays, persons: jax.Array | None = None) -> Distribution:
        mean, output = self.amortized.outputs(params["amortized"], arrays)
        own = own_rows(params["own"], arrays, persons)
        d = mean.shape[-1]
        return self.amortized.head.distribution(params["amortized"]["head"], mean + own[:, :d], output + own[:, d:])
