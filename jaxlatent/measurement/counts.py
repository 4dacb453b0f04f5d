"""Counts: "poisson" and "negative_binomial"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from jaxlatent.measurement.family import Family, ItemParameter, ItemParams, free, rows_of
from jaxlatent.numerics.log_probability import rising_gammaln, steep_exp

_LARGEST_DRAW = 20.0  # log mean of counts that are drawn: they are 32-bit integers


@dataclass(frozen=True)
class Poisson(Family):
    """y ~ Poisson(e^l), l = eta + d."""

    categorical: ClassVar[bool] = False

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return (ItemParameter("intercepts", free(1)),)

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        return {"intercepts": np.log(np.maximum(observed[:1], 0.05))}

    def item_params(self, params: Mapping[str, jax.Array]) -> ItemParams:
        return rows_of(self.item_parameters(0), params)

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        l = eta + params["intercepts"][..., 0]
        return y * l - steep_exp(l) - gammaln(y + jnp.ones((), eta.dtype))

    def sample(self, key: jax.Array, eta: jax.Array, params: ItemParams) -> jax.Array:
        mean = jnp.exp(jnp.minimum(eta + params["intercepts"][..., 0], _LARGEST_DRAW))
        return jax.random.poisson(key, mean).astype(eta.dtype)

    def expected(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        return steep_exp(eta + params["intercepts"][..., 0])

    def information(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        return self.expected(eta, params)


@dataclass(frozen=True)
class NegativeBinomial(Family):
    """Mean μ = e^l, l = eta + d, and variance μ + α μ², α the dispersion.

    With r = 1 / α: p = Γ(y + r) / (Γ(r) y!) (r / (r + μ))^r (μ / (r + μ))^y
                      = Γ(y + r) / (Γ(r) r^y y!) μ^y (1 + α μ)^-(y + r).
    """

    categorical: ClassVar[bool] = False

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return (ItemParameter("intercepts", free(1)), ItemParameter("dispersion", free(1), support="positive"))

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        mean, variance = np.maximum(observed, 0.05)
        dispersion = np.clip((variance - mean) / (2 * mean**2), 0.05, 5.0)  # half: the rest is the latent variables'
        return {"intercepts": np.log(np.array([mean])), "dispersion": np.array([dispersion])}

    def item_params(self, params: Mapping[str, jax.Array]) -> ItemParams:
        return rows_of(self.item_parameters(0), params)

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        alpha = params["dispersion"][..., 0]
        l, y = eta + params["intercepts"][..., 0], y + jnp.zeros((), eta.dtype)
        ways = rising_gammaln(1 / alpha, y) - gammaln(y + 1)  # the same for every eta of a person
        return ways + y * l - (y + 1 / alpha) * jax.nn.softplus(l + jnp.log(alpha))

    def sample(self, key: jax.Array, eta: jax.Array, params: ItemParams) -> jax.Array:
        ours, theirs = jax.random.split(key)
        alpha, l = params["dispersion"][..., 0], eta + params["intercepts"][..., 0]
        log_rate = jnp.log(alpha) + jax.random.loggamma(ours, jnp.broadcast_to(1 / alpha, l.shape), dtype=l.dtype)
        return jax.random.poisson(theirs, jnp.exp(jnp.minimum(l + log_rate, _LARGEST_DRAW))).astype(eta.dtype)

    def expected(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        return steep_exp(eta + params["intercepts"][..., 0])

    def information(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        """μ / (1 + α μ)."""
        alpha = params["dispersion"][..., 0]
        return jax.nn.sigmoid(eta + params["intercepts"][..., 0] + jnp.log(alpha)) / alpha
