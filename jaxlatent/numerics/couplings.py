"""Coupling layers: invertible maps of R^D with triangular Jacobians, as pure functions of a pytree of parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.numerics.networks import MLP
from jaxlatent.numerics.splines import knots, n_raw, spline, spline_inverse

Kind = Literal["affine", "spline"]
KINDS = ("affine", "spline")
MOST_LOG_SCALE = 3.0  # of one affine layer, reached smoothly: keeps densities finite in single precision


@dataclass(frozen=True)
class Couplings:
    """T: R^D -> R^D, a chain of coupling layers; in each, half the variables move as a network of the others says.

    affine: x_b = shift + exp(scale) z_b (Dinh et al. 2017); spline: x_b a rational-quadratic spline of z_b (Durkan et
    al. 2019), the identity beyond +-bound. shift, scale and knots are network(z_a, context). One variable has nothing
    to depend on but the context; without one it has parameters of its own. Static.

    kind: "affine" or "spline". n: D. hidden: widths of each layer's network, whose last layer starts near 0 and T near
    the identity. n_context: length of the context vector, 0 for none. bins, bound: of splines.

    Raises
    ------
    ValueError
        An unknown kind; n, layers or a width below 1, bins below 2, a negative n_context, a bound that is not positive.
    """

    kind: Kind
    n: int
    layers: int = 4
    hidden: tuple[int, ...] = (32,)
    n_context: int = 0
    bins: int = 8
    bound: float = 4.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Expected 'affine' or 'spline' as the kind of a flow; got {self.kind!r}.")
        least = {"n": 1, "layers": 1, "n_context": 0, "bins": 2}
        for name, low in least.items():
            check_count(name, getattr(self, name), low)
        for width in self.hidden:
            check_count("hidden", width, 1)
        if not 0 < self.bound < np.inf:
            raise ValueError(f"Expected bound to be a positive number; got {self.bound!r}.")

    def init(self, key: jax.Array) -> Any:
        """Parameters of every layer, a tuple."""
        keys = jax.random.split(key, self.layers)
        return tuple(self._init(k, layer) for layer, k in enumerate(keys))

    def forward(self, params: Any, z: jax.Array, context: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """x = T(z) [..., D] and log |dx/dz| [...]; context [..., n_context] with leading axes that broadcast."""
        total = jnp.zeros(z.shape[:-1], z.dtype)
        for layer in range(self.layers):
            z, log_det = self._layer(params[layer], layer, z, context, inverse=False)
            total = total + log_det
        return z, total

    def inverse(self, params: Any, x: jax.Array, context: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """z = T^-1(x) [..., D] and log |dz/dx| [...]."""
        total = jnp.zeros(x.shape[:-1], x.dtype)
        for layer in reversed(range(self.layers)):
            x, log_det = self._layer(params[layer], layer, x, context, inverse=True)
            total = total + log_det
        return x, total

    def _split(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """Which variables stay and which move: halves, then every second one, each both ways round."""
        order = np.arange(self.n)
        if self.n == 1:
            return order[:0], order
        if layer % 4 >= 2:
            order = np.concatenate([order[::2], order[1::2]])
        half = self.n // 2
        first, second = order[:half], order[half:]
        return (first, second) if layer % 2 == 0 else (second, first)

    def _conditioner(self, layer: int) -> tuple[MLP | None, tuple[int, int]]:
        """The network of a layer, None where it would have no inputs, and the shape [moved, raw] of what it says."""
        stay, move = self._split(layer)
        shape = (len(move), 2 if self.kind == "affine" else n_raw(self.bins))
        inputs = len(stay) + self.n_context
        return (MLP(inputs, self.hidden, shape[0] * shape[1]) if inputs else None), shape

    def _init(self, key: jax.Array, layer: int) -> Any:
        network, shape = self._conditioner(layer)
        return jax.random.normal(key, shape, jnp.float32) * 0.01 if network is None else network.init(key)

    def _layer(
        self, params: Any, layer: int, x: jax.Array, context: jax.Array | None, *, inverse: bool
    ) -> tuple[jax.Array, jax.Array]:
        """One layer, either way; what stays is the same on both sides, so the network is run once."""
        stay, move = self._split(layer)
        network, shape = self._conditioner(layer)
        if network is None:
            raw = params
        else:
            said = network.apply(params, self._inputs(x[..., stay], context))
            raw = said.reshape(*said.shape[:-1], *shape)
        moved, log_det = self._elementwise(raw.astype(x.dtype), x[..., move], inverse=inverse)
        back = np.argsort(np.concatenate([stay, move]))
        return jnp.concatenate([x[..., stay], moved], -1)[..., back], log_det.sum(-1)

    def _inputs(self, stay: jax.Array, context: jax.Array | None) -> jax.Array:
        if (context is None) != (self.n_context == 0):
            raise ValueError(f"Expected {'a' if self.n_context else 'no'} context vector; got {context!r}.")
        if context is None:
            return stay
        if not stay.shape[-1]:  # not repeated for every draw
            return context
        lead = jnp.broadcast_shapes(stay.shape[:-1], context.shape[:-1])
        parts = (jnp.broadcast_to(part, (*lead, part.shape[-1])) for part in (stay, context.astype(stay.dtype)))
        return jnp.concatenate(tuple(parts), -1)

    def _elementwise(self, raw: jax.Array, x: jax.Array, *, inverse: bool) -> tuple[jax.Array, jax.Array]:
        if self.kind == "spline":
            return (spline_inverse if inverse else spline)(knots(raw, self.bound), x, self.bound)
        shift, scale = raw[..., 0], MOST_LOG_SCALE * jnp.tanh(raw[..., 1] / MOST_LOG_SCALE)
        log_det = jnp.broadcast_to(scale, x.shape)
        return ((x - shift) * jnp.exp(-scale), -log_det) if inverse else (shift + x * jnp.exp(scale), log_det)


def check_count(name: str, value: Any, least: int) -> None:
    """Raise ValueError where an option is no whole number from `least` on."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"Expected {name} to be a whole number of at least {least}; got {value!r}.")
