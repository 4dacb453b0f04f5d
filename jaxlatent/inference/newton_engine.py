"""The second-order engine every exact likelihood shares: init, step, done, finish, and one compiled loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.inference.estimate import Estimate
from jaxlatent.numerics.linalg import spd_inverse
from jaxlatent.numerics.newton import (
    RUNNING,
    Evaluation,
    NewtonState,
    newton_direction,
    newton_init,
    newton_judge,
    newton_step,
)
from jaxlatent.numerics.program import program
from jaxlatent.numerics.types import Array

TOLERANCE = 1e-13  # of the Newton decrement per person: N times it is the squared distance in standard errors
MAX_STEPS = 200


class NewtonProblem(NamedTuple):
    """An inner problem and what surrounds it; free = offset + basis @ x where linear equalities leave only x free."""

    inner: Any
    offset: Array | None
    basis: Array | None
    start: Array
    n: Array  # persons
    saturated: Array  # log-likelihood of the unrestricted model
    tolerance: Array | float = TOLERANCE
    max_steps: Array | int = MAX_STEPS
    matrix: Array | None = None  # a Hessian to begin with [free, free], for engines that keep theirs


@dataclass(frozen=True)
class Newton:
    """Damped Newton on an objective (inner problem, free) -> Evaluation per person.

    covariance: also the inverse of the expected information, where nobody computes standard errors afterwards.
    """

    objective: Callable[[Any, Array], Evaluation]
    covariance: bool = False

    def evaluate(self, problem: NewtonProblem, x: Array) -> Evaluation:
        if problem.basis is None:
            return self.objective(problem.inner, x)
        z = problem.basis
        at = self.objective(problem.inner, problem.offset + z @ x)
        return Evaluation(at.value, z.T @ at.gradient, z.T @ at.hessian @ z, z.T @ at.expected @ z)

    def init(self, problem: NewtonProblem, key: jax.Array | None = None) -> NewtonState:
        return newton_init(problem.start)

    def done(self, state: NewtonState) -> jax.Array:
        return state.code != RUNNING

    def step(self, problem: NewtonProblem, state: NewtonState) -> NewtonState:
        return newton_step(partial(self.evaluate, problem), state, problem.tolerance, problem.max_steps)

    def finish(self, problem: NewtonProblem, state: NewtonState) -> Estimate:
        free = state.x if problem.basis is None else problem.offset + problem.basis @ state.x
        vcov: Array = np.full((free.shape[0],) * 2, np.nan)
        if self.covariance:
            vcov = spd_inverse(state.at.expected)[0] / problem.n
            vcov = vcov if problem.basis is None else problem.basis @ vcov @ problem.basis.T
        statistics = {"value": state.at.value, "decrement": state.decrement}
        return Estimate(free, vcov, problem.saturated - problem.n * state.at.value, state.code, state.steps, statistics)


@partial(jax.jit, static_argnums=0)
def run(engine: Any, problem: Any, key: jax.Array | None = None) -> Estimate:
    """Init, steps until done, finish: one compiled program per engine and shape, safe under vmap."""
    state = jax.lax.while_loop(
        lambda s: jnp.logical_not(engine.done(s)), lambda s: engine.step(problem, s), engine.init(problem, key)
    )
    return engine.finish(problem, state)


_direction = program(newton_direction)
_judge = program(newton_judge)


def run_newton_on_host(engine: Newton, problem: NewtonProblem) -> Estimate:
    """The same steps for an objective on the host, where its program would cost more than it saves; NumPy out."""
    with jax.enable_x64(True), np.errstate(all="ignore"):
        state = jax.tree.map(np.asarray, engine.init(problem))
        while state.code == RUNNING:
            direction, ok = map(np.asarray, _direction(state))
            at = engine.evaluate(problem, state.x + direction)
            state = jax.tree.map(np.asarray, _judge(state, direction, ok, at, problem.tolerance, problem.max_steps))
        return jax.tree.map(np.asarray, engine.finish(problem, state))
