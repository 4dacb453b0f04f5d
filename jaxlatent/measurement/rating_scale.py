"""One scale of answers for all items: "grsm" and "rsm"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.measurement.family import Family, ItemParameter, ItemParams, Support, free
from jaxlatent.measurement.graded import graded_log_prob, graded_params
from jaxlatent.measurement.partial_credit import partial_credit_log_prob
from jaxlatent.measurement.starting import log_odds, logit, reached
from jaxlatent.numerics.log_probability import NEVER


@dataclass(frozen=True)
class GradedRatingScale(Family):
    """P(y >= k) = σ(a (x + b_k + c)): spacing b shared by all items and decreasing, a shift c per item.

    a (b_k + c) needs the slope a itself: the sum of the item's loadings, all but one of which must be fixed at 0.
    """

    reads_slope: ClassVar[bool] = True

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return _spacing_and_shift(n_categories, "decreasing")

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        return {"spacing": logit(reached(observed)), "shift": np.zeros(1)}

    def item_params(self, params: Mapping[str, jax.Array]) -> ItemParams:
        slope, spacing = params["loadings"].sum(-1, keepdims=True), params["spacing"]
        there = spacing > NEVER  # whatever the slope's sign, categories an item lacks keep the probability 0
        return graded_params(jnp.where(there, slope * (jnp.where(there, spacing, 0) + params["shift"]), NEVER))

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        return graded_log_prob(eta, params, y)


@dataclass(frozen=True)
class RatingScale(Family):
    """P(y = k) ∝ exp(Σ_{j <= k} (eta + b_j + c)): spacing b shared by all items, a shift c per item (Andrich, 1978)."""

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return _spacing_and_shift(n_categories, "real")

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        return {"spacing": np.diff(log_odds(observed), prepend=0.0), "shift": np.zeros(1)}

    def item_params(self, params: Mapping[str, jax.Array]) -> ItemParams:
        return {"intercepts": jnp.cumsum(params["spacing"] + params["shift"], -1)}

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        return partial_credit_log_prob(eta, params["intercepts"], y)


def _spacing_and_shift(n_categories: int, support: Support) -> tuple[ItemParameter, ...]:
    spacing = ItemParameter("spacing", free(n_categories - 1), shared=True, support=support)
    return (spacing, ItemParameter("shift", free(1), first=0.0))
