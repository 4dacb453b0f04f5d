"""Standardised points: where a rule looks around the mean of the prior, or around each person's posterior mode."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from jaxlatent.numerics.program import jit
from jaxlatent.numerics.sobol import CLIP
from jaxlatent.numerics.types import Array


class StandardPoints(NamedTuple):
    """z [point, D], or [person, point, D] where every person has points of their own, and log-weights [point].

    Sums of exp(log_weight) f(z) approximate expectations of f under N(0, I).
    """

    z: Array
    log_weight: np.ndarray


def equal_weights(n: int) -> np.ndarray:
    """log(1/n) [n]."""
    return np.full(n, -np.log(n))


@partial(jit, static_argnums=(1, 2))
def shifted_sobol(u: jax.Array, shape: tuple[int, ...], dtype: str, key: jax.Array) -> jax.Array:
    """Normal points of every person [*shape, n, d]: one Sobol set u [n, d], shifted at random for each person.

    Points that all persons share leave errors that do not average out over persons (Cranley and Patterson 1976).
    """
    shift = jax.random.uniform(key, (*shape, 1, u.shape[1]), dtype)
    moved = (u.astype(dtype) + shift) % 1.0
    return ndtri(jnp.clip(moved, CLIP, 1 - CLIP))
