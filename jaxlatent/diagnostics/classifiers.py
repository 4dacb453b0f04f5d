"""Classifiers that tell two samples apart: nearest neighbours and a small network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxlatent.numerics.networks import MLP

Predict = Callable[[np.ndarray], np.ndarray]
BLOCK = 4_000_000  # distances held at once


class Classifier(ABC):
    """Learns from rows x [row, feature] with labels [row] in {0, 1}; what it returns predicts labels of other rows."""

    @abstractmethod
    def learn(self, x: np.ndarray, label: np.ndarray, key: int) -> Predict:
        """A function from rows to labels."""


@dataclass(frozen=True)
class Neighbours(Classifier):
    """The majority among the k nearest rows by Euclidean distance; k an odd number near sqrt(rows) unless given."""

    k: int | None = None

    def learn(self, x: np.ndarray, label: np.ndarray, key: int) -> Predict:
        """Ties in distance are broken by the order of x, which must be random."""
        k = min(self.k or int(np.sqrt(len(x))) // 2 * 2 + 1, len(x))
        square = (x**2).sum(1)

        def predict(rows: np.ndarray) -> np.ndarray:
            size = max(1, BLOCK // len(x))
            return np.concatenate([nearest(rows[at : at + size]) for at in range(0, len(rows), size)])

        def nearest(rows: np.ndarray) -> np.ndarray:
            distance = square - 2 * rows @ x.T
            at = np.argpartition(distance, k - 1, axis=1)[:, :k]
            return (label[at].mean(1) > 0.5).astype(int)

        return predict


@dataclass(frozen=True)
class Network(Classifier):
    """A fully connected network trained by Adam with weight decay on the cross-entropy."""

    hidden: tuple[int, ...] = (20, 20)
    epochs: int = 40
    batch_size: int = 128
    learning_rate: float = 1e-2
    decay: float = 1e-2

    def learn(self, x: np.ndarray, label: np.ndarray, key: int) -> Predict:
        """Train on minibatches in a random order."""
        from jaxlatent.numerics.networks import MLP

        network = MLP(x.shape[1], self.hidden, 1)
        rng = np.random.default_rng(key)
        size = min(self.batch_size, len(x))
        per_epoch = len(x) // size
        order = [rng.permutation(len(x))[: per_epoch * size].reshape(per_epoch, size) for _ in range(self.epochs)]
        rows, labels = jnp.asarray(x, jnp.float32), jnp.asarray(label, jnp.float32)
        start = network.init(jax.random.key(key))
        weights = _train(self, network, start, rows, labels, np.concatenate(order))
        return lambda rows: np.asarray(_told(network, weights, jnp.asarray(rows, jnp.float32))).astype(int)


@partial(jax.jit, static_argnums=(0, 1))
def _train(how: Network, network: MLP, start: Any, x: jax.Array, label: jax.Array, order: jax.Array) -> Any:
    """Weights after the steps whose rows are order [step, row]."""
    import optax

    schedule = optax.cosine_decay_schedule(how.learning_rate, len(order))
    optimizer = optax.adamw(schedule, weight_decay=how.decay)

    def loss(weights: Any, at: jax.Array) -> jax.Array:
        logit = network.apply(weights, x[at])[:, 0]
        return (jax.nn.softplus(logit) - label[at] * logit).mean()

    def step(carry: tuple, at: jax.Array) -> tuple[tuple, None]:
        weights, state = carry
        updates, state = optimizer.update(jax.grad(loss)(weights, at), state, weights)
        return (optax.apply_updates(weights, updates), state), None

    return jax.lax.scan(step, (start, optimizer.init(start)), order)[0][0]


@partial(jax.jit, static_argnums=0)
def _told(network: MLP, weights: Any, x: jax.Array) -> jax.Array:
    return network.apply(weights, x)[:, 0] > 0
