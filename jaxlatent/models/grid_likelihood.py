"""The marginal log-likelihood on points that the persons of a group share, for gradients by reverse differentiation.

log p(y_i) ~ log sum_r w_r prod_j P(y_ij | x_r)

Persons enter by one product with a table of log-probabilities [point, item x category]; backwards the same product
gives the expected answers at every point, which is all that a gradient needs. ``models.marginal`` has the scores of
single persons, at a higher price.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxlatent.data.chunks import dense_chunk
from jaxlatent.models.latent_prior import log_prior, prior_of
from jaxlatent.models.persons import Inputs, inputs_of
from jaxlatent.models.points import Form, Problem, group_at, shared_points
from jaxlatent.models.posterior import Chunk
from jaxlatent.models.slots import eta_of, family_positions, family_slots, gathered, log_prob_of, table_of


def grid_log_likelihood(form: Form, problem: Problem, free: jax.Array) -> jax.Array:
    """Sum over persons, with their weights, of log p(y_i); form has points that are shared, and no reduction."""
    params = problem.layout.unpack(free)
    slots, prior = family_slots(form.measurement, problem.slots, params), prior_of(params)
    shared = shared_points(problem, params)
    positions = family_positions(form.measurement)
    loadings = params["loadings"]
    factor, used = jnp.asarray(problem.slots.factor), jnp.asarray(problem.slots.used, free.dtype)

    def tables(g: int) -> list[jax.Array | None]:
        group, x = group_at(loadings, slots, prior, g), shared.x[g]
        out: list[jax.Array | None] = []
        for (family, _), at, own, k in zip(
            form.measurement.groups, positions, group.slots, form.categories, strict=True
        ):
            eta = (gathered(x, factor[at]) * used[at] * own.loadings).sum(-1)
            out.append(table_of(family, eta, own, k).reshape(len(x), -1) if k else None)
        return out

    every = [tables(g) for g in range(loadings.shape[0])]
    columns: list[Any] = [[each[f] for each in every] for f in range(len(slots))]
    stacked = [None if column[0] is None else jnp.stack(column) for column in columns]

    def one(each: Inputs) -> jax.Array:
        group, x = group_at(loadings, slots, prior, each.group), shared.x[each.group][None]
        y, seen = dense_chunk(each.chunk.y, each.chunk.seen, len(each.chunk.weight), loadings.shape[1], free.dtype)
        chunk = Chunk(y, seen, each.chunk.weight, each.chunk.design.astype(free.dtype))
        total = log_prior(group.prior, x, chunk.design) + shared.log_weight[each.group][None]
        for f, (family, _) in enumerate(form.measurement.groups):
            table = stacked[f]
            if table is not None:
                hot = one_hot(chunk, positions[f], form.categories[f])
                total = total + hot.reshape(len(y), -1) @ table[each.group].T
                continue
            own = jax.tree.map(lambda a: a[None, None], group.slots[f])
            terms = log_prob_of(family, eta_of(x, group.loadings, positions[f]), own, y[:, None, positions[f]])
            total = total + jnp.where(seen[:, None, positions[f]], terms, 0).sum(-1)
        return jnp.where(chunk.weight > 0, chunk.weight * jax.nn.logsumexp(total, axis=-1), 0).sum()

    modes = jnp.zeros((*problem.chunks.shape, 0), free.dtype)
    step = jax.checkpoint(one)
    return lax.scan(lambda sum_, each: (sum_ + step(each), None), jnp.zeros((), free.dtype),
                    inputs_of(form, problem, modes))[0]  # fmt: skip


def one_hot(chunk: Chunk, at: Any, k: int) -> jax.Array:
    """[person, item, category], all zeros where missing."""
    same = chunk.y[:, at, None] == jnp.arange(k, dtype=chunk.y.dtype)
    return (same & chunk.seen[:, at, None]).astype(chunk.design.dtype)
