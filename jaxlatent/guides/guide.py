"""What a guide q(x | y) must answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
from numpyro.distributions import Distribution

from jaxlatent.data.arrays import Arrays
from jaxlatent.models.latent_variable_model import LatentVariableModel

GuideParams = Mapping[str, Any]


@dataclass(frozen=True)
class Guide(ABC):
    """A family of approximate posteriors q(x | y), before it has met a model and data. Frozen and hashable."""

    @abstractmethod
    def bind(self, model: LatentVariableModel, arrays: Arrays) -> BoundGuide:
        """The guide for this model and these data. Host side.

        Raises ValueError where guide and model don't go together.
        """


class BoundGuide(ABC):
    """q(x | y) of one model: pure functions of parameters. A pytree: sizes are static, small constants are leaves."""

    @abstractmethod
    def init(self, key: jax.Array) -> GuideParams:
        """Starting values, a pytree of float32; another key gives other networks."""

    @abstractmethod
    def distribution(self, params: GuideParams, arrays: Arrays, persons: jax.Array | None = None) -> Distribution:
        """q(x | y) with batch shape [person] and event shape [D], reparametrised.

        arrays: the rows at hand; persons [person]: where they are in the whole data (None: these are the whole data),
        for guides with parameters of their own for every person.
        """


def check_shape(distribution: Distribution, n_persons: int, n_latent: int) -> Distribution:
    """The distribution itself, its last batch axis an event where an event is one number.

    Raises
    ------
    ValueError
        It is no distribution of [person, D].
    """
    if not isinstance(distribution, Distribution):
        raise ValueError(f"Expected a NumPyro distribution from the guide; got {type(distribution).__name__}.")
    if not distribution.event_shape and distribution.batch_shape == (n_persons, n_latent):
        distribution = distribution.to_event(1)
    if distribution.batch_shape != (n_persons,) or distribution.event_shape != (n_latent,):
        raise ValueError(
            f"Expected a guide with batch shape ({n_persons},), a row for each person, and event shape ({n_latent},),"
            f" the latent variables; got batch shape {distribution.batch_shape} and event shape"
            f" {distribution.event_shape}."
        )
    return distribution
