"""What a distribution of latent variables must answer."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax

from jaxlatent.data.arrays import Arrays


class LatentDistribution(Protocol):
    """p(x) for the persons of one data set; a pytree. D is the number of latent variables."""

    @property
    def n_latent(self) -> int:
        """D."""

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log p(x) [..., person] of x [..., person or 1, D]."""

    def transform(self, z: jax.Array) -> jax.Array:
        """x [..., person or 1, D] from standard normal z of the same shape (the non-centred form)."""

    def inverse(self, x: jax.Array) -> jax.Array:
        """The standard normal z of ``transform`` for x [..., person or 1, D]."""

    def sample(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Draws [*shape, D]; the last axis of shape is the person."""


@dataclass(frozen=True)
class Latent(ABC):
    """A family of distributions of x given parameters and, through group and covariates, data. Static."""

    @abstractmethod
    def distribution(self, params: Mapping[str, jax.Array], data: Arrays) -> LatentDistribution:
        """p(x) at these parameters [group, ...]."""

    def init(self, key: jax.Array, n_latent: int) -> dict[str, Any]:
        """Starting values of networks, name -> pytree; ``distribution`` finds them by name among the parameters."""
        return {}

    def n_weights(self, n_latent: int) -> int:
        """How many numbers it learns, as far as data can tell them apart."""
        shapes = jax.tree.leaves(jax.eval_shape(lambda: self.init(jax.random.key(0), n_latent)))
        return sum(math.prod(leaf.shape) for leaf in shapes)
