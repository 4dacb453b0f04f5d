"""What a rule of integration answers, and what it asks of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import jax

from jaxlatent.data.arrays import Arrays
from jaxlatent.latent.latent import LatentDistribution

Params = Mapping[str, jax.Array]  # named matrices [group, ...]


class PointModel(Protocol):
    """What a rule of points asks of a model."""

    def log_prob_given_latent(self, params: Params, x: jax.Array, data: Arrays) -> jax.Array:
        """log p(y | x) [..., person] for x [..., person or 1, D]."""

    def latent_distribution(self, params: Params, data: Arrays) -> LatentDistribution:
        """p(x)."""


class Integration(ABC):
    """A way to integrate x out. Concrete rules are frozen pytrees; weights of persons are left to the caller."""

    @abstractmethod
    def log_marginal(self, model: Any, params: Params, data: Arrays) -> jax.Array:
        """log p(y_i) [person]; params are matrices [group, ...]. nan where the parameters are not allowed."""


class PointRule(Integration):
    """log p(y_i) ~ logsumexp_r [log p(y_i | x_r) + log w_r].

    Needs p(y | x) as a product over items: where ``measurement.normal.factorises`` says no, the answer would leave out
    residual covariances.
    """

    @abstractmethod
    def points(self, model: PointModel, params: Params, data: Arrays) -> tuple[jax.Array, jax.Array]:
        """Points x [R, person or 1, D] and log-weights [R, person or 1], the density of x included."""

    def log_marginal(self, model: PointModel, params: Params, data: Arrays) -> jax.Array:
        x, log_weight = self.points(model, params, data)
        return jax.nn.logsumexp(model.log_prob_given_latent(params, x, data) + log_weight, axis=0)
