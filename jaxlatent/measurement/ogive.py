"""Normal ogives: "ogive", binary or with ordered categories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr

from jaxlatent.measurement.family import Family, ItemParameter, ItemParams, free
from jaxlatent.measurement.graded import edges
from jaxlatent.measurement.starting import reached
from jaxlatent.numerics.log_probability import log1mexp, pick
from jaxlatent.numerics.special import ndtri

_END = 1e4  # stands for infinity: its square is finite in float32


@dataclass(frozen=True)
class Ogive(Family):
    """P(y = 1) = Φ(eta + d)."""

    fixed_categories: ClassVar[int | None] = 2

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return (ItemParameter("intercepts", free(1)),)

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        return {"intercepts": ndtri(np.clip(observed[1:], 0.005, 0.995))}

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        return log_ndtr(jnp.where(y == 1, 1, -1) * (eta + params["intercepts"][..., 0]))


@dataclass(frozen=True)
class OrderedOgive(Family):
    """P(y >= k) = Φ(eta + d_k), k = 1, ..., K - 1, d decreasing.

    log[Φ(u) - Φ(v)] = log Φ(u) + log(1 - Φ(v) / Φ(u)), with (-v, -u) for (u, v) in the upper half.
    """

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return (ItemParameter("intercepts", free(n_categories - 1), support="decreasing"),)

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        return {"intercepts": ndtri(reached(observed))}

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        above, below = (pick(edge, y) for edge in edges(params["intercepts"]))
        u, v = jnp.clip(eta + above, -_END, _END), jnp.clip(eta + below, -_END, _END)
        turned = u + v > 0
        larger = log_ndtr(jnp.where(turned, -v, u))
        smaller = log_ndtr(jnp.where(turned, -u, v))
        return larger + log1mexp(larger - smaller)
