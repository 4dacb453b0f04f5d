"""The marginal likelihood of persons by points: value, scores and moments of the posterior.

log p(y_i) ~ log sum_r w_ir p(y_i | x_ir) p(x_ir) / q(x_ir)

With posterior weights W_ir of the points, s_ir the score of the complete data and B_ir its negative Hessian:
score S_i = sum_r W_ir s_ir (Fisher's identity), information sum_i [sum_r W_ir (B_ir - s_ir s_ir') + S_i S_i']
(Louis 1982, eq. 3.2; ``models.louis``). Points are either the same for all persons of a group (then categorical items
are tables, and persons enter by matrix products), or each person's own, around the mode of the posterior. Bifactor and
two-tier models take fewer (``models.reduced``).

Persons come in chunks of one group; nothing of size persons x points is ever held.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxlatent.models.laplace import laplace_moments
from jaxlatent.models.persons import (
    Inputs,
    by_slots,
    inputs_of,
    posterior_of,
    scores_of,
    setting,
    slot_scores_of,
    total_score,
    whole_jacobian,
)
from jaxlatent.models.points import Form, Problem
from jaxlatent.models.reduced import ReducedPosterior, reduced_moments


class Evaluation(NamedTuple):
    """Log-likelihood (), score [free], sum of S S' [free, free], modes [chunk, person, factor]."""

    log_likelihood: jax.Array
    score: jax.Array
    cross: jax.Array
    modes: jax.Array


def evaluate(
    form: Form, problem: Problem, free: jax.Array, modes: jax.Array, steps: Any = 2, crossed: Any = True
) -> Evaluation:
    """Log-likelihood, score and, where crossed, the sum over persons of S_i S_i' at a free vector (else zeros).

    modes [chunk, person, D] are where each person's points were centred; steps: Newton steps towards the new modes.
    """
    here = setting(form, problem, free, modes.dtype)
    q, wide = free.shape[0], by_slots(here)
    jacobian = whole_jacobian(here).astype(free.dtype) if wide else jnp.eye(q, dtype=free.dtype)
    size = jacobian.shape[0]

    def add(carry: tuple, each: Inputs) -> tuple[tuple, jax.Array]:
        _, chunk, found, _, mode = posterior_of(form, problem, here, each, steps)
        value = jnp.where(chunk.weight > 0, chunk.weight * found.log_marginal, 0).sum()
        weight = jnp.where(chunk.weight > 0, chunk.weight, 0).astype(found.features.dtype)
        score = total_score(here, each.group, found, weight)

        def products() -> jax.Array:
            rows = slot_scores_of(found) if wide else scores_of(here, each.group, found)
            rows = jnp.where(weight[:, None] > 0, rows, 0)
            return ((rows * weight[:, None]).T @ rows).astype(free.dtype)

        cross = lax.cond(crossed, products, lambda: jnp.zeros((size, size), free.dtype))
        return jax.tree.map(jnp.add, carry, (value, score.astype(free.dtype), cross)), mode

    zero = (jnp.zeros((), free.dtype), jnp.zeros(q, free.dtype), jnp.zeros((size, size), free.dtype))
    (value, gradient, cross), modes = lax.scan(add, zero, inputs_of(form, problem, modes))
    return Evaluation(value, gradient, jacobian.T @ cross @ jacobian if wide else cross, modes)


def person_scores(
    form: Form, problem: Problem, free: jax.Array, modes: jax.Array, steps: Any = 2
) -> tuple[jax.Array, jax.Array]:
    """log p(y_i) [chunk, person] and S_i [chunk, person, free]."""
    here = setting(form, problem, free, modes.dtype)

    def one(each: Inputs) -> tuple[jax.Array, jax.Array]:
        found = posterior_of(form, problem, here, each, steps).posterior
        return found.log_marginal, scores_of(here, each.group, found)

    return lax.map(one, inputs_of(form, problem, modes))


def log_marginals(form: Form, problem: Problem, free: jax.Array, modes: jax.Array, steps: Any = 3) -> jax.Array:
    """log p(y_i) [chunk, person]."""
    here = setting(form, problem, free, modes.dtype)
    return lax.map(
        lambda each: posterior_of(form, problem, here, each, steps).posterior.log_marginal,
        inputs_of(form, problem, modes),
    )


class PersonMoments(NamedTuple):
    """log p(y_i) [chunk, person], posterior mean [chunk, person, D], covariance [chunk, person, D, D], and modes."""

    log_marginal: jax.Array
    mean: jax.Array
    cov: jax.Array
    modes: jax.Array


def person_moments(form: Form, problem: Problem, free: jax.Array, modes: jax.Array, steps: Any = 10) -> PersonMoments:
    """The posterior distribution of x for every person: expected a posteriori scores."""
    here = setting(form, problem, free, modes.dtype)

    def one(each: Inputs) -> PersonMoments:
        group, chunk, found, at, mode = posterior_of(form, problem, here, each, steps)
        if isinstance(at, ReducedPosterior):
            return PersonMoments(found.log_marginal, *reduced_moments(at), mode)
        if form.laplace:
            return PersonMoments(found.log_marginal, *laplace_moments(form, group, chunk, mode), mode)
        x = jnp.broadcast_to(at.x, (chunk.y.shape[0], *at.x.shape[1:]))
        mean = (found.weight[..., None] * x).sum(1)
        away = x - mean[:, None, :]
        cov = jnp.einsum("crd,cre->cde", found.weight[..., None] * away, away)
        return PersonMoments(found.log_marginal, mean, cov, mode)

    return lax.map(one, inputs_of(form, problem, modes))


def point_counts(form: Form, problem: Problem, free: jax.Array, modes: jax.Array) -> jax.Array:
    """Expected number of persons at every shared point, with their weights [point]."""
    here = setting(form, problem, free, modes.dtype)

    def one(each: Inputs) -> jax.Array:
        found = posterior_of(form, problem, here, each, 0)
        return jnp.where(found.chunk.weight > 0, found.chunk.weight, 0) @ found.posterior.weight

    return lax.map(one, inputs_of(form, problem, modes)).sum(0)
