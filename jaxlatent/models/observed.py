"""The observed information of the marginal likelihood, whatever the rule."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxlatent.models.louis import information
from jaxlatent.models.marginal import evaluate
from jaxlatent.models.points import Form, Problem

AT_ONCE = 8  # derivatives of the score taken together


def observed_information(
    form: Form, problem: Problem, free: jax.Array, modes: jax.Array, steps: Any = 2
) -> tuple[jax.Array, jax.Array]:
    """Observed information, and a matrix in its place where that is not positive definite [free, free].

    Louis' formula and the information of the complete data. Laplace's approximation is no mixture over points: there
    minus the derivatives of its score, the mode's own included, and the size of their diagonal.
    """
    if not form.laplace:
        return information(form, problem, free, modes, steps)

    def score(at: jax.Array) -> jax.Array:
        return evaluate(form, problem, at, modes, steps, crossed=False).score

    eye = jnp.eye(free.shape[0], dtype=free.dtype)
    columns = jax.lax.map(lambda unit: jax.jvp(score, (free,), (unit,))[1], eye, batch_size=AT_ONCE)
    observed = -(columns + columns.T) / 2
    return observed, jnp.diag(jnp.abs(jnp.diagonal(observed)) + 1)
