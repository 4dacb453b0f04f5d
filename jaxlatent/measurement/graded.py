"""Ordered categories: "graded" (Samejima, 1969)."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.measurement.family import Family, ItemParameter, ItemParams, free
from jaxlatent.measurement.starting import logit, reached
from jaxlatent.numerics.log_probability import NEVER, log1mexp, pick, softplus


@dataclass(frozen=True)
class Graded(Family):
    """P(y >= k) = σ(eta + d_k), k = 1, ..., K - 1, d decreasing."""

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return (ItemParameter("intercepts", free(n_categories - 1), support="decreasing"),)

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        return {"intercepts": logit(reached(observed))}

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        return graded_log_prob(eta, params["intercepts"], y)


def graded_log_prob(eta: jax.Array, intercepts: jax.Array, y: jax.Array) -> jax.Array:
    """log[σ(u) - σ(v)] = log σ(u) + log σ(-v) + log(1 - e^{v-u}), u = eta + d_y, v = eta + d_{y+1}.

    The last term, and the choice of d_y and d_{y+1}, are the same for every eta of a person.
    """
    above, below = edges(intercepts, y)
    return log1mexp(above - below) - softplus(-(eta + above)) - softplus(eta + below)


def edges(intercepts: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """d_y and d_{y+1} [person, item] of intercepts d_1, ..., d_C [person or 1, item, C], with d_0 = -d_{C+1} = 1e30."""
    end = jnp.full_like(intercepts[..., :1], NEVER)
    return pick(jnp.concatenate([-end, intercepts], -1), y), pick(jnp.concatenate([intercepts, end], -1), y)
