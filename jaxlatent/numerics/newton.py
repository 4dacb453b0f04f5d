"""Damped Newton for likelihoods: expected Hessian far from the optimum, observed one afterwards.

One step is pure and vmappable; the loop belongs to whoever calls it. Levenberg-Marquardt damping is relative to the
diagonal of the expected Hessian, and convergence is judged by the Newton decrement g'H^-1 g, so nothing depends on the
units of the variables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.numerics.linalg import spd_solve
from jaxlatent.numerics.types import Array

FAR, EARLY = 0.2, 4  # above this decrement the first steps follow the expected Hessian, which knows no saddle points
RUNNING, CONVERGED, STEP_LIMIT, STUCK, BAD_START = 0, 1, 2, 3, 4


class Evaluation(NamedTuple):
    """An objective at one point: value (), gradient [q], observed and expected Hessian [q, q]."""

    value: Array
    gradient: Array
    hessian: Array
    expected: Array


class NewtonState(NamedTuple):
    x: Array
    at: Evaluation
    damping: Array
    decrement: Array
    steps: Array
    code: Array


Objective = Callable[[jax.Array], Evaluation]


def newton_init(x: Array) -> NewtonState:
    """The state before anything is evaluated: its first step stays at x, so that the objective is compiled once.

    NumPy's constants: on the host each of JAX's would be a program of its own.
    """
    q, zero, inf = x.shape[0], np.zeros((), x.dtype), np.full((), np.inf, x.dtype)
    nothing = Evaluation(inf, np.zeros(q, x.dtype), np.eye(q, dtype=x.dtype), np.eye(q, dtype=x.dtype))
    return NewtonState(x, nothing, zero, inf, np.full((), -1, np.int32), np.full((), RUNNING, np.int32))


def newton_step(
    objective: Objective, s: NewtonState, tolerance: jax.Array | float, max_steps: jax.Array | int
) -> NewtonState:
    """One damped step; rejected where the objective rises or is not finite, and then the damping grows."""
    direction, ok = newton_direction(s)
    return newton_judge(s, direction, ok, objective(s.x + direction), tolerance, max_steps)


def newton_judge(
    s: NewtonState,
    direction: jax.Array,
    ok: jax.Array,
    at: Evaluation,
    tolerance: jax.Array | float,
    max_steps: jax.Array | int,
) -> NewtonState:
    """The state after a step, from what the objective is there."""
    decrement = jnp.where(ok, -s.at.gradient @ direction, jnp.inf)
    x = s.x + direction
    first = s.steps < 0
    better = ok & _finite(at) & (first | (at.value <= s.at.value + 1e-11 * (1 + jnp.abs(s.at.value))))
    keep = lambda new, old: jnp.where(better, new, old)  # noqa: E731
    gain = (s.at.value - at.value) / (0.5 * decrement)  # actual over predicted decrease
    relaxed = jnp.where(s.damping < 1e-4, 0, s.damping / jnp.where(gain > 0.9, 10, 4))
    damping = jnp.where(better, relaxed, jnp.maximum(8 * s.damping, jnp.where(ok, 0.1, 1e-2)))
    steps = s.steps + 1
    small = better & (decrement < tolerance) & (s.damping < 1e-5) & ~first
    decrement = jnp.where(first, jnp.inf, decrement)
    code = jnp.where(steps >= max_steps, STEP_LIMIT, RUNNING)
    code = jnp.where(damping > 1e10, STUCK, code)
    code = jnp.where(small, CONVERGED, code)
    code = jnp.where(first & ~better, BAD_START, code).astype(jnp.int32)
    return NewtonState(keep(x, s.x), jax.tree.map(keep, at, s.at), damping, decrement, steps, code)


def newton_direction(s: NewtonState) -> tuple[jax.Array, jax.Array]:
    """-(H + damping D)^-1 g with the observed Hessian; in the first steps the expected one where that is no guide."""
    ridge = s.damping * jnp.diag(jnp.diagonal(s.at.expected))

    def solve(h: jax.Array) -> jax.Array:
        return -spd_solve(h + ridge, s.at.gradient)

    observed = solve(s.at.hessian)
    poor = ~jnp.isfinite(observed).all() | (-s.at.gradient @ observed > FAR)
    early = poor & (s.steps < EARLY)
    direction = jax.lax.cond(early, lambda: solve(s.at.expected), lambda: observed)
    ok = jnp.isfinite(direction).all()
    return jnp.where(ok, direction, 0), ok


def _finite(at: Evaluation) -> jax.Array:
    return jnp.isfinite(at.value) & jnp.isfinite(at.gradient).all()
