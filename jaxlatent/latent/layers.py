"""Layers of latent variables: each normal, with moments that a network gives from the layer above."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxlatent.data.arrays import Arrays
from jaxlatent.latent.latent import Latent
from jaxlatent.numerics.networks import MLP
from jaxlatent.numerics.normal_density import LOG_2_PI

STEEPEST = 6.0  # the most a logarithm of a standard deviation can be, either way


@dataclass(frozen=True)
class Layers(Latent):
    """x = (x_1, ..., x_L), x_L ~ N(0, I), x_l ~ N(m_l(x_{l+1}), diag(s_l(x_{l+1})²)): a deep latent Gaussian model.

    sizes: of the layers, the lowest first, which alone the items depend on. hidden: widths of the networks (m_l, s_l).
    Every layer begins as independent standard normal variables. Learned: params["layers"].

    Source: Rezende, Mohamed and Wierstra (2014).
    """

    sizes: tuple[int, ...]
    hidden: tuple[int, ...] = (64,)

    def networks(self) -> list[MLP]:
        """(m_l, s_l) of all layers but the uppermost."""
        pairs = zip(self.sizes[:-1], self.sizes[1:], strict=True)
        return [MLP(above, self.hidden, 2 * own, scale=0.01) for own, above in pairs]

    def init(self, key: jax.Array, n_latent: int) -> dict[str, Any]:
        keys = jax.random.split(key, len(self.sizes))
        return {"layers": [network.init(k) for network, k in zip(self.networks(), keys, strict=False)]}

    def distribution(self, params: Mapping[str, Any], data: Arrays) -> LayeredNormal:
        return LayeredNormal(self, params["layers"])


@partial(jax.tree_util.register_dataclass, data_fields=("weights",), meta_fields=("form",))
@dataclass(frozen=True)
class LayeredNormal:
    """p(x) of Layers at these weights, the same for all persons."""

    form: Layers
    weights: Any

    @property
    def n_latent(self) -> int:
        return sum(self.form.sizes)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log p(x_L) + sum_l log p(x_l | x_{l+1}) [...]."""
        z, log_det = self._standard(self._split(x))
        return -(z**2).sum(-1) / 2 - log_det - self.n_latent * LOG_2_PI / 2

    def transform(self, z: jax.Array) -> jax.Array:
        """x from standard normal z, from the uppermost layer down."""
        parts = self._split(z)
        out = [parts[-1]]
        for level in reversed(range(len(parts) - 1)):
            mean, log_scale = self._moments(level, out[0])
            out.insert(0, mean + jnp.exp(log_scale) * parts[level])
        return jnp.concatenate(out, -1)

    def inverse(self, x: jax.Array) -> jax.Array:
        """The z of transform."""
        return self._standard(self._split(x))[0]

    def sample(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        dtype = jax.tree.leaves(self.weights)[0].dtype
        return self.transform(jax.random.normal(key, (*shape, self.n_latent), dtype))

    def _standard(self, parts: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
        out, log_det = [], jnp.zeros((), parts[0].dtype)
        for level, own in enumerate(parts[:-1]):
            mean, log_scale = self._moments(level, parts[level + 1])
            out.append((own - mean) * jnp.exp(-log_scale))
            log_det = log_det + log_scale.sum(-1)
        return jnp.concatenate([*out, parts[-1]], -1), log_det

    def _moments(self, level: int, above: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = self.form.networks()[level].apply(self.weights[level], above)
        own = self.form.sizes[level]
        return found[..., :own], jnp.clip(found[..., own:], -STEEPEST, STEEPEST)

    def _split(self, x: jax.Array) -> list[jax.Array]:
        ends = [sum(self.form.sizes[: k + 1]) for k in range(len(self.form.sizes) - 1)]
        return jnp.split(x, ends, -1)
