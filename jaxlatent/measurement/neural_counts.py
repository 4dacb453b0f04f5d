"""Items of decoders whose values are whole numbers: successes out of known numbers of trials, unordered categories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from jaxlatent.measurement.family import Family, ItemParameter, ItemParams, free, rows_of
from jaxlatent.measurement.starting import log_odds, logit
from jaxlatent.numerics.log_probability import log_sum_exp, pick, softplus


@dataclass(frozen=True)
class Binomial(Family):
    """y ~ Binomial(trials, σ(l)), l = d + m(x).

    Raises ValueError where trials is no whole number from 1.
    """

    trials: int
    categorical: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if isinstance(self.trials, bool) or not isinstance(self.trials, int | np.integer) or self.trials < 1:
            raise ValueError(f"Expected trials, a whole number from 1; got {self.trials!r}.")

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return (ItemParameter("intercepts", free(1)),)

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        return {"intercepts": logit(observed[:1] / self.trials)}

    def item_params(self, params: Mapping[str, jax.Array]) -> ItemParams:
        return rows_of(self.item_parameters(0), params)

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        l = eta + params["intercepts"][..., 0]
        y = y.astype(l.dtype)
        ways = gammaln(self.trials + jnp.ones_like(y)) - gammaln(y + 1) - gammaln(self.trials - y + 1)
        return y * l - self.trials * softplus(l) + ways

    def sample(self, key: jax.Array, eta: jax.Array, params: ItemParams) -> jax.Array:
        p = jax.nn.sigmoid(eta + params["intercepts"][..., 0])
        return jax.random.binomial(key, self.trials, p).astype(eta.dtype)

    def expected(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        return self.trials * jax.nn.sigmoid(eta + params["intercepts"][..., 0])

    def information(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        l = eta + params["intercepts"][..., 0]
        return self.trials * jax.nn.sigmoid(l) * jax.nn.sigmoid(-l)


@dataclass(frozen=True)
class Categorical(Family):
    """P(y = k) ∝ exp(d_k + m_k(x)), d_0 = m_0 = 0: size - 1 outputs. expected is the most probable category."""

    size: int

    @property
    def outputs(self) -> int:
        return self.size - 1

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return (ItemParameter("intercepts", free(self.size - 1)),)

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        return {"intercepts": log_odds(observed)}

    def item_params(self, params: Mapping[str, jax.Array]) -> ItemParams:
        return rows_of(self.item_parameters(0), params)

    def n_categories(self, params: ItemParams) -> int:
        return self.size

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        logits = self._logits(eta, params)
        total = log_sum_exp([logits[..., k] for k in range(self.size)])
        return pick(logits, y) - total

    def expected(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        return jnp.argmax(self._logits(eta, params), -1).astype(eta.dtype)

    def sample(self, key: jax.Array, eta: jax.Array, params: ItemParams) -> jax.Array:
        return jax.random.categorical(key, self._logits(eta, params), -1).astype(eta.dtype)

    def _logits(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        """[..., person, item, category], 0 for the first."""
        eta = eta if self.size > 2 else eta[..., None]
        rest = eta + params["intercepts"]
        return jnp.concatenate([jnp.zeros_like(rest[..., :1]), rest], -1)
