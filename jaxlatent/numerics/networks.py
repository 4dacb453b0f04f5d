"""Neural networks as pure functions: parameters are made of a key and passed in. The one file that imports flax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.numerics.sobol import normal_sobol

POINTS = 64  # of a departure's expectations, with as many mirror images
Weights = Mapping[str, Any]


class Network(Protocol):
    """A function of n_in numbers with weights that are passed in; hashable, static in compiled code."""

    @property
    def n_in(self) -> int: ...

    def init(self, key: jax.Array) -> Weights:
        """Weights, another network for every key."""

    def apply(self, weights: Weights, x: jax.Array) -> jax.Array:
        """The output [..., n_out] at x [..., n_in]."""


@dataclass(frozen=True)
class MLP:
    """A fully connected network [..., n_in] -> [..., n_out] with ELU between its layers; static, float32.

    scale: the last layer starts as normal noise with variance scale / (its inputs), so that a small scale starts at 0.
    bias: whether the last layer has one.
    """

    n_in: int
    hidden: tuple[int, ...]
    n_out: int
    scale: float = 1e-4
    bias: bool = True

    def init(self, key: jax.Array) -> Weights:
        """Weights, another network for every key."""
        return self._module().init(key, jnp.zeros((1, self.n_in), jnp.float32))["params"]

    def apply(self, weights: Weights, x: jax.Array) -> jax.Array:
        """The network's output [..., n_out] at x [..., n_in]."""
        return cast(jax.Array, self._module().apply({"params": weights}, x))

    def _module(self) -> _Layers:
        return _Layers((*self.hidden, self.n_out), self.scale, self.bias)


@dataclass(frozen=True)
class Given:
    """A network that a user has written: an object with init(key, x) and apply(variables, x), such as a Flax module.

    It takes rows x [row, n_in] (or [row, *shape], where shape is given) and its output, flattened to [row, n], goes
    through one linear layer of our own to n_out numbers, if n_out is not None.
    """

    module: Any
    n_in: int
    n_out: int | None = None
    shape: tuple[int, ...] | None = None
    scale: float = 1e-4

    def init(self, key: jax.Array) -> Weights:
        """The module's variables, and the weights of the last layer."""
        ours, theirs = jax.random.split(key)
        variables = self.module.init(theirs, self._rows(jnp.zeros((1, self.n_in), jnp.float32)))
        if self.n_out is None:
            return {"given": variables}
        width = self._flat(variables, jnp.zeros((1, self.n_in), jnp.float32)).shape[-1]
        return {"given": variables, "last": MLP(width, (), self.n_out, self.scale).init(ours)}

    def apply(self, weights: Weights, x: jax.Array) -> jax.Array:
        """The output [..., n] at x [..., n_in]."""
        out = self._flat(weights["given"], x[..., : self.n_in].reshape(-1, self.n_in))
        if self.n_out is not None:
            out = MLP(out.shape[-1], (), self.n_out, self.scale).apply(weights["last"], out)
        return out.reshape(*x.shape[:-1], out.shape[-1])

    def output_shape(self) -> tuple[int, ...]:
        """Shape of the module's output for one row, found without running it."""

        def one(key: jax.Array) -> jax.Array:
            x = self._rows(jnp.zeros((1, self.n_in), jnp.float32))
            return cast(jax.Array, self.module.apply(self.module.init(key, x), x))

        return tuple(jax.eval_shape(one, jax.random.key(0)).shape[1:])

    def _rows(self, x: jax.Array) -> jax.Array:
        return x if self.shape is None else x.reshape(-1, *self.shape)

    def _flat(self, variables: Any, x: jax.Array) -> jax.Array:
        out = cast(jax.Array, self.module.apply(variables, self._rows(x)))
        return out.reshape(out.shape[0], -1)


@dataclass(frozen=True)
class Departure:
    """What of a network is not linear: m(x) - a - B x, with mean 0 and no correlation with x ~ N(0, I).

    a = E m(x) and B = E m(x) x' are sums over fixed points with mean 0 and covariance I, so that a linear network
    leaves nothing.
    """

    network: Network

    @property
    def n_in(self) -> int:
        """Inputs of the network."""
        return self.network.n_in

    def init(self, key: jax.Array) -> Weights:
        """Weights of the network."""
        return self.network.init(key)

    def apply(self, weights: Weights, x: jax.Array) -> jax.Array:
        """The departure [..., n_out] at x [..., n_in]."""
        flat = x.reshape(-1, self.n_in)
        z = jnp.asarray(_white_points(self.n_in), flat.dtype)
        at = self.network.apply(weights, z)
        slope = z.T @ at / len(z)
        out = self.network.apply(weights, flat) - at.mean(0) - flat @ slope
        return out.reshape(*x.shape[:-1], out.shape[-1])


@lru_cache(maxsize=16)
def _white_points(d: int) -> np.ndarray:
    """Points [point, d] of N(0, I), each with its mirror image, whose covariance is I."""
    half = normal_sobol(POINTS, d)
    z = np.concatenate([half, -half])
    return np.asarray(z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / len(z))).T)


class _Layers(nn.Module):
    sizes: tuple[int, ...]
    scale: float
    bias: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        last = nn.initializers.variance_scaling(self.scale, "fan_in", "normal")
        for n, size in enumerate(self.sizes[:-1]):
            x = nn.elu(nn.Dense(size, name=f"layer{n}")(x))
        return nn.Dense(self.sizes[-1], kernel_init=last, use_bias=self.bias, name="last")(x)


@dataclass(frozen=True)
class Recurrent:
    """Gated recurrent units along the last axis but one [..., time, n_in] -> [..., time, n_out]; static, float32.

    hidden: widths of layers, each with a cell forwards and, if bidirectional, another backwards; scale: as in MLP, of
    the linear layer on top. Cho et al. (2014); Schuster and Paliwal (1997).
    """

    n_in: int
    hidden: tuple[int, ...]
    n_out: int
    bidirectional: bool = True
    scale: float = 1e-4

    def init(self, key: jax.Array) -> Weights:
        """Weights, another network for every key."""
        return self._module().init(key, jnp.zeros((1, 1, self.n_in), jnp.float32))["params"]

    def apply(self, weights: Weights, x: jax.Array) -> jax.Array:
        """The network's output [..., time, n_out] at x [..., time, n_in]."""
        return cast(jax.Array, self._module().apply({"params": weights}, x))

    def _module(self) -> _Gated:
        return _Gated(self.hidden, self.n_out, self.bidirectional, self.scale)


class _Gated(nn.Module):
    sizes: tuple[int, ...]
    n_out: int
    bidirectional: bool
    scale: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for n, size in enumerate(self.sizes):
            parts: list[Any] = [nn.RNN(nn.GRUCell(size, name=f"forward{n}"))(x)]
            if self.bidirectional:
                parts.append(nn.RNN(nn.GRUCell(size, name=f"backward{n}"), reverse=True, keep_order=True)(x))
            x = jnp.concatenate(parts, -1)
        last = nn.initializers.variance_scaling(self.scale, "fan_in", "normal")
        return nn.Dense(self.n_out, kernel_init=last, name="last")(x)


@dataclass(frozen=True)
class Repeated:
    """The same network at each of so many times [..., times n_in] -> [..., times n_out].

    sizes: outputs that belong together; those of the first come first, for all times, then those of the second, ...
    """

    network: Network
    times: int
    sizes: tuple[int, ...]

    @property
    def n_in(self) -> int:
        """Inputs of all times."""
        return self.network.n_in * self.times

    def init(self, key: jax.Array) -> Weights:
        """Weights, another network for every key."""
        return self.network.init(key)

    def apply(self, weights: Weights, x: jax.Array) -> jax.Array:
        """The outputs of all times at x [..., times n_in]."""
        out = self.network.apply(weights, x.reshape(*x.shape[:-1], self.times, -1))
        ends = [sum(self.sizes[: k + 1]) for k in range(len(self.sizes) - 1)]
        return jnp.concatenate([part.reshape(*x.shape[:-1], -1) for part in jnp.split(out, ends, -1)], -1)
