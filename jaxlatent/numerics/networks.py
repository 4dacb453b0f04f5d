"""Neural networks as pure functions: parameters are made of a key and passed in. The one file that imports flax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

Weights = Mapping[str, Any]


@dataclass(frozen=True)
class MLP:
    """A fully connected network [..., n_in] -> [..., n_out] with ELU between its layers; static, float32.

    scale: the last layer starts as normal noise with variance scale / (its inputs), so that a small scale starts at 0.
    """

    n_in: int
    hidden: tuple[int, ...]
    n_out: int
    scale: float = 1e-4

    def init(self, key: jax.Array) -> Weights:
        """Weights, another network for every key."""
        return self._module().init(key, jnp.zeros((1, self.n_in), jnp.float32))["params"]

    def apply(self, weights: Weights, x: jax.Array) -> jax.Array:
        """The network's output [..., n_out] at x [..., n_in]."""
        return cast(jax.Array, self._module().apply({"params": weights}, x))

    def _module(self) -> _Layers:
        return _Layers((*self.hidden, self.n_out), self.scale)


class _Layers(nn.Module):
    sizes: tuple[int, ...]
    scale: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        last = nn.initializers.variance_scaling(self.scale, "fan_in", "normal")
        for n, size in enumerate(self.sizes[:-1]):
            x = nn.elu(nn.Dense(size, name=f"layer{n}")(x))
        return nn.Dense(self.sizes[-1], kernel_init=last, name="last")(x)
