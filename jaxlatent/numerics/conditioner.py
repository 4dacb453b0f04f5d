"""The small network that says how a coupling layer moves its variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxlatent.numerics.bijections import Network

SMALL = 0.01  # of the last layer's weights at the start: maps begin close to the identity


@dataclass(frozen=True)
class Conditioner:
    """h = tanh(W h + b) for every width in hidden, then a linear map. Static: equal widths, equal programs."""

    hidden: tuple[int, ...] = (32,)

    def __call__(self, n_in: int, n_out: int) -> Network:
        widths = (n_in, *self.hidden, n_out)

        def init(key: jax.Array) -> Any:
            keys = jax.random.split(key, len(widths) - 1)
            scales = [(1 / n) ** 0.5 for n in widths[:-2]] + [SMALL]
            layers = zip(keys, widths[:-1], widths[1:], scales, strict=True)
            return [{"kernel": jax.random.normal(k, (a, b)) * s, "bias": jnp.zeros(b)} for k, a, b, s in layers]

        return Network(init, _apply)


def _apply(params: Any, x: jax.Array) -> jax.Array:
    """Outputs [..., m]; all leading axes as one, which is faster than a product of higher rank."""
    h = x.reshape(-1, x.shape[-1])
    for n, layer in enumerate(params):
        h = h @ layer["kernel"].astype(h.dtype) + layer["bias"].astype(h.dtype)
        h = jnp.tanh(h) if n < len(params) - 1 else h
    return h.reshape(*x.shape[:-1], h.shape[-1])
