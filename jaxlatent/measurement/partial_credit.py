"""Categories in steps: "gpcm", "pcm", and "rasch" items of several categories."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.measurement.family import Family, ItemParameter, ItemParams, free
from jaxlatent.measurement.starting import log_odds
from jaxlatent.numerics.log_probability import log_sum_exp, pick, spread


@dataclass(frozen=True)
class PartialCredit(Family):
    """P(y = k) ∝ exp(k eta + d_k), d_0 = 0 (Muraki, 1992; Masters, 1982)."""

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return (ItemParameter("intercepts", free(n_categories - 1)),)

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        return {"intercepts": log_odds(observed)}

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        return partial_credit_log_prob(eta, params["intercepts"], y)


def partial_credit_log_prob(eta: jax.Array, intercepts: jax.Array, y: jax.Array) -> jax.Array:
    """y eta + d_y - log Σ_k exp(k eta + d_k), intercepts d_1, ..., d_C [person or 1, item, C]."""
    own = pick(jnp.concatenate([jnp.zeros_like(intercepts[..., :1]), intercepts], -1), y)
    terms = [jnp.zeros_like(eta)] + [(k + 1) * eta + intercepts[..., k] for k in range(intercepts.shape[-1])]
    return y * eta + spread(own, eta) - log_sum_exp(terms)
