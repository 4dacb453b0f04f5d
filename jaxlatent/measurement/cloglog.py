"""Binary items with a complementary log-log link: "cloglog"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.measurement.family import Family, ItemParameter, ItemParams, free
from jaxlatent.numerics.log_probability import log1mexp, steep_exp

_FAR, _SURE = -15.0, 6.0  # below the one log(1 - exp(-r)) is log r - r/2 to the last digit, above the other 0


@dataclass(frozen=True)
class ComplementaryLogLog(Family):
    """P(y = 1) = 1 - exp(-r), r = e^{eta + d}."""

    fixed_categories: ClassVar[int | None] = 2

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return (ItemParameter("intercepts", free(1)),)

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        return {"intercepts": np.log(-np.log1p(-np.clip(observed[1:], 0.005, 0.995)))}

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        l = eta + params["intercepts"][..., 0]
        rate = steep_exp(l)
        yes = jnp.where(l < _FAR, l - rate / 2, log1mexp(jnp.exp(jnp.clip(l, _FAR, _SURE))))
        return jnp.where(y == 1, yes, -rate)
