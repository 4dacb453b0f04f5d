"""All persons: what every chunk needs, computed once, and the posterior of one chunk by the points of the problem."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlatent.data.chunks import dense_chunk
from jaxlatent.models.laplace import laplace_posterior
from jaxlatent.models.latent_prior import Prior, prior_of, prior_vector
from jaxlatent.models.points import Form, Group, Located, Problem, group_at, personal_points, shared_points
from jaxlatent.models.posterior import Chunk, Posterior, posterior
from jaxlatent.models.reduced import Blocks, ReducedPosterior, at_group, blocks_of, reduced_posterior
from jaxlatent.models.slots import FamilySlots, family_slots, slot_jacobians
from jaxlatent.models.tables import PointTable, tables_of

WIDER = 1.5  # slots for each free parameter up to which sums by slots pay


class Setting(NamedTuple):
    """Parameters in the precision of the computation, by group, and their derivatives by free ones."""

    loadings: jax.Array
    slots: list[FamilySlots]
    prior: Prior
    shared: Located | None
    tables: list[PointTable | None] | None
    blocks: Blocks | None
    slot_jacobians: list[jax.Array]  # [group, item x slot, free]
    prior_jacobian: jax.Array  # [group, feature, free]


def setting(form: Form, problem: Problem, free: jax.Array, dtype: Any) -> Setting:
    """Everything a chunk needs, computed once."""
    params = problem.layout.unpack(free)
    cast = lambda tree: jax.tree.map(lambda a: a.astype(dtype), tree)  # noqa: E731
    by_group = [j.reshape(*j.shape[:1], -1, j.shape[-1]) for j in
                slot_jacobians(form.measurement, problem.slots, problem.layout, free)]  # fmt: skip
    prior_jacobian = jax.jacfwd(lambda f: prior_vector(problem.layout.unpack(f)))(free)
    loadings, slots, prior = cast(
        (params["loadings"], family_slots(form.measurement, problem.slots, params), prior_of(params))
    )
    shared = tables = blocks = None
    if form.reduction is not None:
        blocks = blocks_of(form, problem, params, slots, dtype)
    elif not form.personal:
        shared = cast(shared_points(problem, params))
        n_groups = loadings.shape[0]
        every = [
            tables_of(form, problem.slots, group_at(loadings, slots, prior, g), shared.x[g]) for g in range(n_groups)
        ]
        tables = [
            None
            if every[0][f] is None
            else jax.tree.map(lambda *a: jnp.stack(a), *(every[g][f] for g in range(n_groups)))
            for f in range(len(slots))
        ]
    return Setting(loadings, slots, prior, shared, tables, blocks, cast(by_group), cast(prior_jacobian))


class Inputs(NamedTuple):
    """One chunk of the loop over persons: its data, group, modes and own points."""

    chunk: Chunk
    group: jax.Array
    modes: jax.Array
    z: jax.Array | None


def inputs_of(form: Form, problem: Problem, modes: jax.Array) -> Inputs:
    c = problem.chunks
    chunk = Chunk(*jax.tree.map(jnp.asarray, (c.y, c.seen, c.weight, c.design)))
    own = form.personal and problem.points.z.shape[0] > 1
    return Inputs(chunk, jnp.asarray(c.group), modes, jnp.asarray(problem.points.z) if own else None)


def chunk_of(here: Setting, each: Inputs) -> tuple[Group, Chunk]:
    """One chunk in the precision of the computation, with its group's parameters."""
    dtype = here.loadings.dtype
    group = group_at(here.loadings, here.slots, here.prior, each.group)
    c = each.chunk
    y, seen = dense_chunk(c.y, c.seen, len(c.weight), here.loadings.shape[1], dtype)
    return group, Chunk(y, seen, c.weight, c.design.astype(dtype))


def located(
    form: Form, problem: Problem, here: Setting, each: Inputs, steps: Any
) -> tuple[Group, Chunk, list[PointTable | None], Located, jax.Array]:
    """One chunk with its group's parameters and its points in all dimensions."""
    group, chunk = chunk_of(here, each)
    dtype = here.loadings.dtype
    if not form.personal:
        tables = [None if t is None else PointTable(*(a[each.group] for a in t)) for t in here.tables]  # type: ignore[union-attr]
        at = Located(here.shared.x[each.group][None], here.shared.log_weight[each.group][None])  # type: ignore[union-attr]
        return group, chunk, tables, at, each.modes
    z = jnp.asarray(problem.points.z)[0] if each.z is None else each.z
    log_w = jnp.asarray(problem.points.log_weight, dtype)
    at, modes = personal_points(
        form, group, chunk.y, chunk.seen, chunk.design, each.modes, steps, z.astype(dtype), log_w
    )
    return group, chunk, [None] * len(here.slots), at, modes


class Found(NamedTuple):
    """The posterior of one chunk and its points: in all dimensions or, where the integral is reduced, by blocks."""

    group: Group
    chunk: Chunk
    posterior: Posterior
    at: Located | ReducedPosterior
    modes: jax.Array


def posterior_of(form: Form, problem: Problem, here: Setting, each: Inputs, steps: Any) -> Found:
    """The posterior of one chunk."""
    if form.laplace:
        group, chunk = chunk_of(here, each)
        found, at, mode = laplace_posterior(form, problem.slots, group, chunk, each.modes)
        return Found(group, chunk, found, at, mode)
    if here.blocks is None:
        group, chunk, tables, at, modes = located(form, problem, here, each, steps)
        return Found(group, chunk, posterior(form, problem.slots, group, tables, chunk, at), at, modes)
    group, chunk = chunk_of(here, each)
    found, more = reduced_posterior(form, problem.slots, group, at_group(here.blocks, each.group), chunk)
    return Found(group, chunk, found, more, each.modes)


def scores_of(here: Setting, g: jax.Array, found: Posterior) -> jax.Array:
    """S_i [person, free] of one chunk of group g."""
    score = found.features @ here.prior_jacobian[g]
    for part, jacobian in zip(found.scores, here.slot_jacobians, strict=True):
        value = part.of_persons()
        score = score + value.reshape(value.shape[0], -1) @ jacobian[g]
    return score


def by_slots(here: Setting) -> bool:
    """Whether products of scores are summed by features and slots, which come before free parameters.

    That spares a product for each person (and point) where there is one group and few parameters are equal.
    """
    widths = [here.prior_jacobian.shape[1], *(j.shape[1] for j in here.slot_jacobians)]
    return here.prior_jacobian.shape[0] == 1 and sum(widths) <= WIDER * here.prior_jacobian.shape[2]


def whole_jacobian(here: Setting) -> jax.Array:
    """Derivatives of features' and slots' coefficients in the only group by free parameters [feature + slot, free]."""
    return jnp.concatenate([here.prior_jacobian[0], *(j[0] for j in here.slot_jacobians)])


def slot_scores_of(found: Posterior) -> jax.Array:
    """Scores by features and slots [person, feature + slot] of one chunk."""
    parts = [part.of_persons() for part in found.scores]
    return jnp.concatenate([found.features, *(p.reshape(p.shape[0], -1) for p in parts)], -1)


def total_score(here: Setting, g: jax.Array, found: Posterior, weight: jax.Array) -> jax.Array:
    """sum_i w_i S_i [free] of one chunk of group g, w zero for nobody."""
    rows = jnp.where(weight[:, None] > 0, found.features, 0)
    score = (weight @ rows) @ here.prior_jacobian[g]
    for part, jacobian in zip(found.scores, here.slot_jacobians, strict=True):
        score = score + part.total(weight).reshape(-1) @ jacobian[g]
    return score
