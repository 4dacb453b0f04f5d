"""Categories without an order: "nominal" (Bock, 1972; Thissen, Cai & Bock, 2010)."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.measurement.family import Family, ItemParameter, ItemParams, free
from jaxlatent.measurement.starting import log_odds
from jaxlatent.numerics.log_probability import NEVER, log_sum_exp, pick


@dataclass(frozen=True)
class Nominal(Family):
    """P(y = k) ∝ exp(s_k eta + d_k), d_0 = 0, s_0 = 0, s_{K-1} = K - 1."""

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        scoring = (0.0, *free(n_categories - 2), float(n_categories - 1))
        return (ItemParameter("intercepts", free(n_categories - 1)), ItemParameter("scoring", scoring))

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        return {"intercepts": log_odds(observed), "scoring": np.arange(n_categories, dtype=float)}

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        intercepts, scoring = params["intercepts"], params["scoring"][..., 1 : params["intercepts"].shape[-1] + 1]
        scoring = jnp.where(intercepts > NEVER, scoring, 0)  # of categories the item lacks
        zero = jnp.zeros_like(intercepts[..., :1])
        own_score = pick(jnp.concatenate([zero, scoring], -1), y)
        own = pick(jnp.concatenate([zero, intercepts], -1), y)
        each = range(intercepts.shape[-1])
        terms = [jnp.zeros_like(eta)] + [scoring[..., k] * eta + intercepts[..., k] for k in each]
        return own_score * eta + own - log_sum_exp(terms)
