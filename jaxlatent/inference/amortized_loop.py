"""Stochastic steps on a bound, compiled in stretches: gradients of mini-batches, undone where they are not finite.

A stretch is a scan over steps. Learning rates, weights of the divergence and which steps are averaged are data, so that
holding, lowering and halving them compiles once.
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

Loss = Callable[
    ..., jax.Array
]  # of constants, parameters, arrays, rows, key, and the divergence's weight if it has one


class Pace(NamedTuple):
    """Of every step [step]: the rate; the weight of the divergence, 0 to 1, None where it stays what it is; whether its
    parameters are averaged (1 or 0), None where none are.
    """

    rate: Any
    weight: Any = None
    averaged: Any = None


class TrainState(NamedTuple):
    """Parameters (unconstrained), the optimiser's state, the key, the rate's factor, the number of undone steps, and
    the parameters of the best look; where steps are averaged their mean (else ()) and number.
    """

    params: Mapping[str, Any]
    optimizer: Any
    key: jax.Array
    factor: jax.Array
    undone: jax.Array
    best: Mapping[str, Any]
    average: Any = ()
    averaged: Any = ()


def default_optimizer() -> optax.GradientTransformation:
    """Adam at a rate of 1, on clipped gradients: the rates of steps are the loop's."""
    return optax.chain(optax.clip_by_global_norm(CLIP), optax.scale_by_adam(b2=DECAY), optax.scale(-1.0))


@dataclass(frozen=True, eq=False)
class Trainer:
    """Steps on a loss, the mean over persons of minus the bound. Compiled programs belong to the object: keep it."""

    loss: Loss
    optimizer: optax.GradientTransformation

    def start(self, params: Mapping[str, Any], key: jax.Array, *, averaging: bool = False) -> TrainState:
        """The state before the first step."""
        one, zero = jnp.ones((), jnp.float32), jnp.zeros((), jnp.int32)
        mean = (params, jnp.zeros((), jnp.float32)) if averaging else ((), ())
        return TrainState(params, self.optimizer.init(params), key, one, zero, params, *mean)

    def step(
        self, constants: Any, state: TrainState, arrays: Arrays, rows: jax.Array, pace: Pace
    ) -> tuple[TrainState, jax.Array]:
        """One step on a mini-batch. Where loss or gradient are not finite nothing moves, and the rate is halved."""
        key, own = jax.random.split(state.key)
        weight = () if pace.weight is None else (pace.weight,)
        value, gradient = jax.value_and_grad(self.loss, 1)(constants, state.params, arrays, rows, own, *weight)
        fine = jnp.isfinite(value) & jnp.isfinite(sum(jnp.abs(g).sum() for g in jax.tree.leaves(gradient)))
        move, optimizer = self.optimizer.update(gradient, state.optimizer, state.params)
        params = jax.tree.map(lambda p, m: p + pace.rate * state.factor * m, state.params, move)
        params, optimizer = jax.tree.map(
            lambda new, old: jnp.where(fine, new, old), (params, optimizer), (state.params, state.optimizer)
        )
        factor = jnp.where(fine, state.factor, state.factor / 2)
        average, count = state.average, state.averaged
        if pace.averaged is not None:
            count = count + pace.averaged
            share = pace.averaged / jnp.maximum(count, 1)
            average = jax.tree.map(lambda a, p: a + share * (p - a), average, params)
        return TrainState(params, optimizer, key, factor, state.undone + ~fine, state.best, average, count), value

    def back(self, state: TrainState) -> TrainState:
        """The best look again, with a fresh optimiser at a quarter of the rate."""
        count = jax.tree.map(jnp.zeros_like, state.averaged)
        return state._replace(
            params=state.best, optimizer=self.optimizer.init(state.best), factor=state.factor / 4, averaged=count
        )

    def shown(self, state: TrainState) -> Mapping[str, Any]:
        """The parameters that a look is at: the mean of the steps averaged so far, where there are any."""
        return state.params if isinstance(state.averaged, tuple) else self._mean(state)

    @partial(jit, static_argnums=0)
    def _mean(self, state: TrainState) -> Mapping[str, Any]:
        any_yet = state.averaged > 0
        return jax.tree.map(lambda a, p: jnp.where(any_yet, a, p), state.average, state.params)

    @partial(jit, static_argnums=0)
    def stretch(
        self, constants: Any, state: TrainState, data: Arrays, rows: jax.Array, pace: Pace
    ) -> tuple[TrainState, jax.Array]:
        """Steps on rows [step, person] of data that lie on the device, at this pace: state and losses [step]."""

        def one(state: TrainState, given: tuple) -> tuple[TrainState, jax.Array]:
            at, own = given
            return self.step(constants, state, jax.tree.map(lambda a: a[at], data), at, own)

        return jax.lax.scan(one, state, (rows, pace))

    @partial(jit, static_argnums=0)
    def streamed(
        self, constants: Any, state: TrainState, batches: Arrays, rows: jax.Array, pace: Pace
    ) -> tuple[TrainState, jax.Array]:
        """Steps on batches [step, person, ...] that came from elsewhere."""

        def one(state: TrainState, given: tuple) -> tuple[TrainState, jax.Array]:
            arrays, at, own = given
            return self.step(constants, state, arrays, at, own)

        return jax.lax.scan(one, state, (batches, rows, pace))
