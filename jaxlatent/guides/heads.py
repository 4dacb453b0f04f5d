"""From a network's output to q(x | y): one head for each family of amortized guides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Distribution

from jaxlatent.guides.flow_normal import FlowNormal
from jaxlatent.guides.guide import GuideParams
from jaxlatent.guides.normals import CholeskyNormal, DiagonalNormal
from jaxlatent.numerics.couplings import Couplings

NARROWEST = -8.0  # of log standard deviations: at smaller ones single precision loses (x - mean) / sd
CONTEXT = 8  # numbers by which only the shape of a flow depends on the responses


@dataclass(frozen=True)
class Head(ABC):
    """A family of distributions of x [D], as a function of an output [person, size(D)]. Frozen and hashable."""

    @abstractmethod
    def size(self, d: int) -> int:
        """How many numbers a person's distribution takes besides its mean."""

    @abstractmethod
    def start(self, cov: np.ndarray) -> dict[str, np.ndarray]:
        """Parameters that all persons share, such that an output of 0 gives about the covariance cov [D, D]."""

    def networks(self, key: jax.Array, d: int) -> dict[str, Any]:
        """Further parameters that are drawn, name -> pytree; none by default."""
        return {}

    @abstractmethod
    def distribution(self, params: GuideParams, mean: jax.Array, output: jax.Array) -> Distribution:
        """q(x | y) with batch shape [person] of mean [person, D] and output [person, size(D)]."""


@dataclass(frozen=True)
class Isotropic(Head):
    """N(mean, s² I)."""

    def size(self, d: int) -> int:
        return 1

    def start(self, cov: np.ndarray) -> dict[str, np.ndarray]:
        return {"log_scale": np.log(_conditional(cov)).mean(keepdims=True) / 2}

    def distribution(self, params: GuideParams, mean: jax.Array, output: jax.Array) -> Distribution:
        return DiagonalNormal(mean, jnp.maximum(params["log_scale"] + output, NARROWEST))


@dataclass(frozen=True)
class Diagonal(Head):
    """N(mean, diag(s²))."""

    def size(self, d: int) -> int:
        return d

    def start(self, cov: np.ndarray) -> dict[str, np.ndarray]:
        return {"log_scale": np.log(_conditional(cov)) / 2}

    def distribution(self, params: GuideParams, mean: jax.Array, output: jax.Array) -> Distribution:
        return DiagonalNormal(mean, jnp.maximum(params["log_scale"] + output, NARROWEST))


@dataclass(frozen=True)
class Full(Head):
    """N(mean, L L')."""

    def size(self, d: int) -> int:
        return d * (d + 1) // 2

    def start(self, cov: np.ndarray) -> dict[str, np.ndarray]:
        root = np.linalg.cholesky(cov)
        return {"log_diagonal": np.log(np.diagonal(root)), "below": root[np.tril_indices(len(cov), -1)]}

    def distribution(self, params: GuideParams, mean: jax.Array, output: jax.Array) -> Distribution:
        d = mean.shape[-1]
        diagonal = jnp.maximum(params["log_diagonal"] + output[..., :d], NARROWEST)
        return CholeskyNormal(mean, diagonal, params["below"] + output[..., d:])


@dataclass(frozen=True)
class Flow(Head):
    """mean + L T(z; c), z standard normal: spline couplings T whose context c is the mean and the output.

    The last 8 numbers of the output serve the context alone. It begins close to Full.
    """

    def size(self, d: int) -> int:
        return Full().size(d) + CONTEXT

    def start(self, cov: np.ndarray) -> dict[str, np.ndarray]:
        return Full().start(cov)

    def networks(self, key: jax.Array, d: int) -> dict[str, Any]:
        return {"flow": self._couplings(d).init(key)}

    def distribution(self, params: GuideParams, mean: jax.Array, output: jax.Array) -> Distribution:
        d = mean.shape[-1]
        base = Full().distribution(params, mean, output[..., : Full().size(d)])
        return FlowNormal(base, jnp.concatenate([mean, output], -1), params["flow"], self._couplings(d))

    def _couplings(self, d: int) -> Couplings:
        return Couplings("spline", d, layers=min(d, 2), n_context=d + self.size(d))


def _conditional(cov: np.ndarray) -> np.ndarray:
    """The variances of the best approximation with independent latent variables: those given all others."""
    return 1 / np.diagonal(np.linalg.inv(cov))


HEADS: dict[str, Head] = {"isotropic": Isotropic(), "diagonal": Diagonal(), "full": Full(), "flow": Flow()}


def head_of(family: str) -> Head:
    """The head of this name; raises ValueError if there is none."""
    if family not in HEADS:
        raise ValueError(f"Expected the family of a guide among {', '.join(HEADS)}; got {family!r}.")
    return HEADS[family]
