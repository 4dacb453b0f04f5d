"""Ordered categories: "graded" (Samejima, 1969)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.measurement.family import Family, ItemParameter, ItemParams, free
from jaxlatent.measurement.starting import logit, reached
from jaxlatent.numerics.log_probability import NEVER, log1mexp, pick, softplus, spread


@dataclass(frozen=True)
class Graded(Family):
    """P(y >= k) = σ(eta + d_k), k = 1, ..., K - 1, d decreasing."""

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return (ItemParameter("intercepts", free(n_categories - 1), support="decreasing"),)

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        return {"intercepts": logit(reached(observed))}

    def item_params(self, params: Mapping[str, jax.Array]) -> ItemParams:
        return graded_params(params["intercepts"])

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        return graded_log_prob(eta, params, y)


def graded_params(intercepts: jax.Array) -> ItemParams:
    """Intercepts d_1, ..., d_C [group, item, C], and log(1 - e^{d_{k+1} - d_k}) of k = 0, ..., C, once for all."""
    above, below = edges(intercepts)
    return {"intercepts": intercepts, "log_gaps": log1mexp(above - below)}


def graded_log_prob(eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
    """log[σ(u) - σ(v)] = log σ(u) + log σ(-v) + log(1 - e^{v-u}), u = eta + d_y, v = eta + d_{y+1}.

    The last term, and the choice of d_y and d_{y+1}, are the same for every eta of a person.
    """
    above, below = (spread(pick(edge, y), eta) for edge in edges(params["intercepts"]))
    return pick(params["log_gaps"], y) - softplus(-(eta + above)) - softplus(eta + below)


def edges(intercepts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """d_k and d_{k+1}, k = 0, ..., C, of d_1, ..., d_C [..., C], with d_0 = -d_{C+1} = 1e30."""
    end = jnp.full_like(intercepts[..., :1], NEVER)
    return jnp.concatenate([-end, intercepts], -1), jnp.concatenate([intercepts, end], -1)
