"""Engines for incomplete rows: few Hessians, many gradients, in one compiled loop or steered by the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.newton_engine import NewtonProblem
from jaxlatent.numerics.chord import ChordState, chord_advance, chord_init, chord_renew, chord_step
from jaxlatent.numerics.newton import RUNNING
from jaxlatent.numerics.program import program
from jaxlatent.numerics.types import Array


@dataclass(frozen=True)
class Chord:
    """Newton with a kept Hessian on (inner problem, free) -> (value, gradient) and -> (hessian, fallback)."""

    first: Callable[[Any, Array], tuple[Array, Array]]
    second: Callable[[Any, Array], tuple[Array, Array]]

    def _parts(self, problem: NewtonProblem) -> tuple[Callable, Callable]:
        first, second = partial(self.first, problem.inner), partial(self.second, problem.inner)
        if problem.basis is None:
            return first, second
        z, offset = problem.basis, problem.offset

        def reduced_first(x: Array) -> tuple[Array, Array]:
            value, gradient = first(offset + z @ x)
            return value, z.T @ gradient

        def reduced_second(x: Array) -> tuple[Array, Array]:
            hessian, fallback = second(offset + z @ x)
            return z.T @ hessian @ z, z.T @ fallback @ z

        return reduced_first, reduced_second

    def init(self, problem: NewtonProblem, key: jax.Array | None = None) -> ChordState:
        matrix = problem.matrix
        if matrix is not None and problem.basis is not None:
            matrix = problem.basis.T @ matrix @ problem.basis
        return chord_init(problem.start, matrix)

    def done(self, state: ChordState) -> jax.Array:
        return state.code != RUNNING

    def step(self, problem: NewtonProblem, state: ChordState) -> ChordState:
        return chord_step(*self._parts(problem), state, problem.tolerance, problem.max_steps)

    def finish(self, problem: NewtonProblem, state: ChordState) -> Estimate:
        free = state.x if problem.basis is None else problem.offset + problem.basis @ state.x
        vcov = np.full((free.shape[0],) * 2, np.nan)
        statistics = {"value": state.value, "decrement": state.decrement}
        return Estimate(free, vcov, -problem.n * state.value, state.code, state.steps, statistics)


_advance = program(chord_advance)
_renew = program(chord_renew)


def run_on_host(engine: Chord, problem: NewtonProblem) -> Estimate:
    """The same steps, first and second called from the host; NumPy out.

    Their programs are small and shared by all who need these sums, where one loop would be compiled for each problem;
    and they may read data piece by piece, where a loop needs its own copy.
    """
    with jax.enable_x64(True), np.errstate(all="ignore"):
        first, second = engine._parts(problem)
        state = jax.tree.map(np.asarray, engine.init(problem))
        while state.code == RUNNING:
            state, renew = _advance(state, *first(state.trial), problem.tolerance, problem.max_steps)
            if renew:
                state = _renew(state, *second(np.asarray(state.x)))
            state = jax.tree.map(np.asarray, state)
        return jax.tree.map(np.asarray, engine.finish(problem, state))
