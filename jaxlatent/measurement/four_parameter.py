"""Binary items with guessing or slipping: "3pl" and "4pl"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.measurement.family import Family, ItemParameter, ItemParams, free
from jaxlatent.measurement.starting import logit
from jaxlatent.numerics.log_probability import log_mixture

GUESSING, UPPER = 0.15, 0.95  # where free ones start


@dataclass(frozen=True)
class FourParameter(Family):
    """P(y = 1) = g + (u - g) σ(eta + d) = u σ(l) + g σ(-l); "3pl" has u = 1, fixed.

    Nothing cancels in either sum, P(y = 0) = (1 - g) σ(-l) + (1 - u) σ(l), so that g = 0 and u = 1 are exact.
    """

    fixed_categories: ClassVar[int | None] = 2
    upper: float | None = None  # None: free

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return (
            ItemParameter("intercepts", free(1)),
            ItemParameter("guessing", free(1), support="unit"),
            ItemParameter("upper", (self.upper,), support="unit"),
        )

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        upper = UPPER if self.upper is None else self.upper
        above = (observed[1:] - GUESSING) / (upper - GUESSING)
        return {"intercepts": logit(above), "guessing": np.array([GUESSING]), "upper": np.array([upper])}

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        d, g, u = (params[name][..., 0] for name in ("intercepts", "guessing", "upper"))
        yes = y == 1
        upper, lower = jnp.where(yes, u, 1 - g), jnp.where(yes, g, 1 - u)
        return log_mixture(jnp.where(yes, 1, -1) * (eta + d), upper, lower)
