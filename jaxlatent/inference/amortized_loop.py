"""Stochastic steps on a bound, compiled in stretches: gradients of mini-batches, undone where they are not finite.

A stretch is a scan over steps. Its learning rates are data, so that holding, lowering and halving them compiles once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlatent.data.arrays import Arrays
from jaxlatent.numerics.program import jit

CLIP = 10.0  # global norm of the gradient of the mean bound per person beyond which it is shortened
DECAY = 0.99  # of Adam's second moments: a window of a hundred steps, short against a fit

Loss = Callable[[Any, Any, Arrays, jax.Array, jax.Array], jax.Array]  # (constants, parameters, arrays, rows, key)


class TrainState(NamedTuple):
    """Parameters (unconstrained), the optimiser's state, the key, the rate's factor, the number of undone steps, and
    the parameters of the best look.
    """

    params: Mapping[str, Any]
    optimizer: Any
    key: jax.Array
    factor: jax.Array
    undone: jax.Array
    best: Mapping[str, Any]


def default_optimizer() -> optax.GradientTransformation:
    """Adam at a rate of 1, on clipped gradients: the rates of steps are the loop's."""
    return optax.chain(optax.clip_by_global_norm(CLIP), optax.scale_by_adam(b2=DECAY), optax.scale(-1.0))


@dataclass(frozen=True, eq=False)
class Trainer:
    """Steps on a loss, the mean over persons of minus the bound. Compiled programs belong to the object: keep it."""

    loss: Loss
    optimizer: optax.GradientTransformation

    def start(self, params: Mapping[str, Any], key: jax.Array) -> TrainState:
        """The state before the first step."""
        one, zero = jnp.ones((), jnp.float32), jnp.zeros((), jnp.int32)
        return TrainState(params, self.optimizer.init(params), key, one, zero, params)

    def step(
        self, constants: Any, state: TrainState, arrays: Arrays, rows: jax.Array, rate: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        """One step on a mini-batch. Where loss or gradient are not finite nothing moves, and the rate is halved."""
        key, own = jax.random.split(state.key)
        value, gradient = jax.value_and_grad(self.loss, 1)(constants, state.params, arrays, rows, own)
        fine = jnp.isfinite(value) & jnp.isfinite(sum(jnp.abs(g).sum() for g in jax.tree.leaves(gradient)))
        move, optimizer = self.optimizer.update(gradient, state.optimizer, state.params)
        params = jax.tree.map(lambda p, m: p + rate * state.factor * m, state.params, move)
        params, optimizer = jax.tree.map(
            lambda new, old: jnp.where(fine, new, old), (params, optimizer), (state.params, state.optimizer)
        )
        factor = jnp.where(fine, state.factor, state.factor / 2)
        return TrainState(params, optimizer, key, factor, state.undone + ~fine, state.best), value

    def back(self, state: TrainState) -> TrainState:
        """The best look again, with a fresh optimiser at a quarter of the rate."""
        return state._replace(params=state.best, optimizer=self.optimizer.init(state.best), factor=state.factor / 4)

    @partial(jit, static_argnums=0)
    def stretch(
        self, constants: Any, state: TrainState, data: Arrays, rows: jax.Array, rates: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        """Steps on rows [step, person] of data that lie on the device, at rates [step]: state and losses [step]."""

        def one(state: TrainState, given: tuple) -> tuple[TrainState, jax.Array]:
            at, rate = given
            return self.step(constants, state, jax.tree.map(lambda a: a[at], data), at, rate)

        return jax.lax.scan(one, state, (rows, rates))

    @partial(jit, static_argnums=0)
    def streamed(
        self, constants: Any, state: TrainState, batches: Arrays, rows: jax.Array, rates: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        """Steps on batches [step, person, ...] that came from elsewhere."""

        def one(state: TrainState, given: tuple) -> tuple[TrainState, jax.Array]:
            arrays, at, rate = given
            return self.step(constants, state, arrays, at, rate)

        return jax.lax.scan(one, state, (batches, rows, rates))
