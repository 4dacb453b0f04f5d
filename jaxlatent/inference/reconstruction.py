"""Autoencoders by least squares: sum over observed cells of (y - g(f(y)))², f and g networks or linear maps.

Columns are centered, and all are divided by one number, so that a linear autoencoder spans what principal components
of the raw columns span (Bourlard and Kamp 1988; Baldi and Hornik 1989).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlatent.data.arrays import Arrays
from jaxlatent.inference.amortized_loop import Trainer, TrainState, default_optimizer
from jaxlatent.inference.amortized_training import DONE, Course, Look, Plan, held_out, in_memory, train
from jaxlatent.inference.progress import step_bar
from jaxlatent.numerics.networks import MLP

RATE = 2e-3
BATCH, EPOCHS, STEPS_A_LOOK, LEAST_STEPS = 100, 500, 60, 1000
LINEAR_STEPS = 5000  # of L-BFGS
FLAT = 1e-4  # of the error: a slope below which its minimum counts as found


@dataclass(frozen=True)
class Networks:
    """Encoder f and decoder g of columns [person, p] and latent variables [person, D]."""

    encoder: MLP
    decoder: MLP

    @staticmethod
    def of(p: int, d: int, hidden: tuple[int, ...]) -> Networks:
        """Mirrored layers; both maps are linear where there are none."""
        return Networks(MLP(p, hidden, d, scale=1.0), MLP(d, tuple(reversed(hidden)), p, scale=1.0))

    def init(self, key: jax.Array) -> dict[str, Any]:
        ours, theirs = jax.random.split(key)
        return {"encoder": self.encoder.init(ours), "decoder": self.decoder.init(theirs)}

    def loss(self, none: Any, params: Any, arrays: Arrays, rows: Any, key: Any) -> jax.Array:
        """Mean over persons of the squared errors of their observed cells."""
        return self.errors(params, arrays).mean()

    def errors(self, params: Any, arrays: Arrays) -> jax.Array:
        """Sum of squared errors [person] times weights."""
        y = jnp.where(arrays.observed, arrays.y, 0)
        made = self.decoder.apply(params["decoder"], self.encoder.apply(params["encoder"], y))
        return (jnp.where(arrays.observed, made - y, 0) ** 2).sum(-1) * arrays.weight


class Reconstruction(NamedTuple):
    """Where training ended: weights, looks, whether it was done, epochs or steps."""

    params: Any
    looks: tuple[Look, ...]
    done: bool
    steps: int


@partial(jax.jit, static_argnums=0)
def errors(networks: Networks, params: Any, arrays: Arrays) -> jax.Array:
    """Sum of squared errors [person]."""
    return networks.errors(params, arrays)


@partial(jax.jit, static_argnums=0)
def encode(networks: Networks, params: Any, y: jax.Array) -> jax.Array:
    """x [person, D] of centered columns, 0 where missing."""
    return networks.encoder.apply(params["encoder"], y)


@partial(jax.jit, static_argnums=0)
def decode(networks: Networks, params: Any, x: jax.Array) -> jax.Array:
    """Centered columns [person, p] of x."""
    return networks.decoder.apply(params["decoder"], x)


def by_steps(
    networks: Networks, arrays: Arrays, optimizer: optax.GradientTransformation | None, key: int,
    progress: bool | None, *, max_epochs: int = EPOCHS, batch_size: int = BATCH,
) -> Reconstruction:  # fmt: skip
    """Mini-batches by any optax optimiser, Adam by default, until the error of persons held out stops falling."""
    n = arrays.n_persons
    batch = min(batch_size, n)
    steps = max(n // batch, 1)
    least = min(-(-LEAST_STEPS // steps), max_epochs // 3)
    plan = Plan(RATE, max(STEPS_A_LOOK // steps, 1), max_epochs, batch, key, least, optimizer is not None, True)
    trainer = Trainer(networks.loss, optimizer or default_optimizer())
    held = held_out(n, key)
    device = jax.tree.map(jnp.asarray, arrays)
    mine = jax.tree.map(lambda a: a[held], device)
    first, later = jax.random.split(jax.random.key(key))
    state, course = trainer.start(networks.init(first), later), Course()
    epoch = in_memory(trainer, None, plan, device, held, lambda tree: tree)

    def watch(state: TrainState) -> np.ndarray:
        return -np.asarray(errors(networks, state.params, mine), float) if len(held) else np.zeros(0)

    finished = False
    with step_bar("AutoEncoder", progress if progress is not None else sys.stderr.isatty()) as say:
        try:
            for look in train(trainer, epoch, state, course, plan, watch):
                state = look
                say(f"epoch {course.epoch}, squared error {course.looks[-1].loss if course.looks else np.nan:.4f}")
            finished = course.stage == DONE
        except KeyboardInterrupt:
            pass
    return Reconstruction(jax.tree.map(np.asarray, state.best), tuple(course.looks), finished, course.epoch)


def linear_least_squares(networks: Networks, arrays: Arrays, start: Any) -> Reconstruction:
    """The linear maps at the minimum of the squared error of all persons, by L-BFGS in float64."""
    from jax.flatten_util import ravel_pytree
    from scipy.optimize import minimize

    with jax.enable_x64(True):
        first, back = ravel_pytree(jax.tree.map(lambda a: jnp.asarray(np.asarray(a, float)), start))
        y: Any = np.asarray(arrays.y, float)
        weight: Any = np.asarray(arrays.weight, float)
        double = Arrays(*(jnp.asarray(a) for a in (y, arrays.observed, arrays.group, weight)))
        slope = jax.jit(jax.value_and_grad(lambda u, arrays: networks.loss(None, back(u), arrays, None, None)))

        def host(u: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = slope(jnp.asarray(u), double)
            return float(value), np.asarray(gradient, float)

        options = {"maxiter": LINEAR_STEPS, "maxfun": 2 * LINEAR_STEPS, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 30}
        found = minimize(host, np.asarray(first), jac=True, method="L-BFGS-B", options=options)
        params = jax.tree.map(np.asarray, back(jnp.asarray(found.x)))
    look = Look(int(found.nit), float(found.fun), np.nan, np.nan)
    flat = float(np.abs(found.jac).max()) < FLAT * max(float(found.fun), 1e-3)
    return Reconstruction(params, (look,), bool(found.success) or flat, int(found.nit))
