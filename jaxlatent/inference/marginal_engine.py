"""Maximum marginal likelihood: scoring steps over persons in chunks, one compiled loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.priors import Priors
from jaxlatent.models.feasible import step_shares
from jaxlatent.models.marginal import evaluate, person_scores
from jaxlatent.models.observed import observed_information
from jaxlatent.models.points import Form, Problem
from jaxlatent.numerics.newton import RUNNING
from jaxlatent.numerics.program import jit
from jaxlatent.numerics.scoring import (
    NOTHING,
    First,
    Options,
    ScoringState,
    scoring_init,
    scoring_renewed,
    scoring_step,
    scoring_try,
)
from jaxlatent.numerics.types import Array
from jaxlatent.spec.layout import Layout


def feasible_step(form: Form, layout: Layout, offset: Array, z: Array, x: jax.Array, direction: jax.Array) -> jax.Array:
    """A step from free = offset + z x, shortened where item parameters would leave where they live."""
    free, step = offset + z @ x, z @ direction
    shares = step_shares(form.measurement, layout, free, step)
    if z.shape[0] == z.shape[1]:
        return z.T @ (shares * step)
    return shares.min() * direction  # linear restrictions tie the parameters: all go together


class MarginalProblem(NamedTuple):
    """The likelihood, its linear restrictions free = offset + basis @ x, where to start, and the solver's options."""

    inner: Problem
    offset: Array
    basis: Array
    start: Array
    modes: Array
    options: Options


@dataclass(frozen=True)
class Marginal:
    """The engine: static form of the likelihood and priors on natural parameters."""

    form: Form
    priors: Priors

    def first(
        self, problem: MarginalProblem, x: jax.Array, modes: jax.Array, start: jax.Array, crossed: jax.Array
    ) -> First:
        """Minus the log of likelihood times prior, with its gradient."""
        free = problem.offset + problem.basis @ x
        at = evaluate(self.form, problem.inner, free, modes, jnp.where(start, 8, 2), crossed)
        value, gradient, hessian = self.priors.second_order(problem.inner.layout, free)
        z = problem.basis
        cross = z.T @ (at.cross - hessian) @ z
        return First(-at.log_likelihood - value, -z.T @ (at.score + gradient), cross, at.modes)

    def second(self, problem: MarginalProblem, x: jax.Array, modes: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Observed information and one that is positive definite, with the curvature of the prior."""
        free = problem.offset + problem.basis @ x
        observed, complete = observed_information(self.form, problem.inner, free, modes, 0)
        hessian = self.priors.second_order(problem.inner.layout, free)[2]
        z = problem.basis
        return z.T @ (observed - hessian) @ z, z.T @ (complete - hessian) @ z

    def feasible(self, problem: MarginalProblem, x: jax.Array, direction: jax.Array) -> jax.Array:
        """The step, shortened where item parameters would leave where they live."""
        return feasible_step(self.form, problem.inner.layout, problem.offset, problem.basis, x, direction)

    def init(self, problem: MarginalProblem, key: jax.Array | None = None) -> ScoringState:
        return scoring_init(jnp.asarray(problem.start), jnp.asarray(problem.modes))

    def done(self, state: ScoringState) -> jax.Array:
        return state.code != RUNNING

    def step(self, problem: MarginalProblem, state: ScoringState) -> ScoringState:
        first, second = partial(self.first, problem), partial(self.second, problem)
        return scoring_step(first, second, partial(self.feasible, problem), state, problem.options)

    def finish(self, problem: MarginalProblem, state: ScoringState) -> Estimate:
        """free, and in statistics the reduced matrices: information (where computed), cross-products (where kept)."""
        free = problem.offset + problem.basis @ state.x
        prior = self.priors.second_order(problem.inner.layout, free)[0]
        statistics = {
            "value": state.value, "decrement": state.decrement, "information": state.matrix,
            "cross": jnp.where(problem.options.keep_cross, state.cross, jnp.nan),
            "gradient": state.gradient, "log_prior": prior,
        }  # fmt: skip
        vcov = jnp.full((free.shape[0],) * 2, jnp.nan)
        return Estimate(free, vcov, -state.value - prior, state.code, state.steps, statistics)


@partial(jit, static_argnums=0)
def run_marginal(engine: Marginal, problem: MarginalProblem) -> tuple[Estimate, jax.Array]:
    """Steps until done in one compiled loop: the estimate, and the modes [chunk, person, factor]."""
    state = jax.lax.while_loop(
        lambda s: jnp.logical_not(engine.done(s)), lambda s: engine.step(problem, s), engine.init(problem)
    )
    return engine.finish(problem, state), state.aux


def run_steps(
    engine: Marginal,
    problem: MarginalProblem,
    most: int = 2**30,
    say: Callable[[ScoringState], None] = lambda _: None,
) -> Estimate:
    """The same from the host, most steps in a call, with say(state) after each: the information has a program of its
    own, which is compiled only where it is wanted. Ctrl-C between single steps ends with the last good state, code 0.
    """
    state = start_steps(engine, problem)
    try:
        while int(state.code) == RUNNING:
            state = some_steps(engine, problem, state, min(int(state.steps) + most, 2**30))
            if int(state.wanted) != NOTHING:
                state = renewed(engine, problem, state)
            say(state)
    except KeyboardInterrupt:
        if most > 1:
            raise
        state = state._replace(code=np.asarray(RUNNING, np.int32))
    return finish_steps(engine, problem, state)


@partial(jit, static_argnums=0)
def start_steps(engine: Marginal, problem: MarginalProblem) -> ScoringState:
    """The state before the first step."""
    return engine.init(problem)


@partial(jit, static_argnums=0)
def some_steps(engine: Marginal, problem: MarginalProblem, state: ScoringState, upto: Any) -> ScoringState:
    """Steps up to this number, or until done, or until the information is wanted."""
    first, feasible = partial(engine.first, problem), partial(engine.feasible, problem)
    return jax.lax.while_loop(
        lambda s: (s.code == RUNNING) & (s.wanted == NOTHING) & (s.steps < upto),
        lambda s: scoring_try(first, feasible, s, problem.options),
        state,
    )


@partial(jit, static_argnums=0)
def renewed(engine: Marginal, problem: MarginalProblem, state: ScoringState) -> ScoringState:
    """The state with the information that was wanted."""
    return scoring_renewed(partial(engine.second, problem), partial(engine.feasible, problem), state, problem.options)


@partial(jit, static_argnums=0)
def finish_steps(engine: Marginal, problem: MarginalProblem, state: ScoringState) -> Estimate:
    """What the engine returns of a state."""
    return engine.finish(problem, state)


@partial(jit, static_argnums=0)
def scores_of_persons(form: Form, problem: Problem, free: jax.Array, modes: jax.Array) -> tuple[Any, Any]:
    """log p(y_i) [chunk, person] and S_i [chunk, person, free]."""
    return person_scores(form, problem, free, modes, 2)
