"""The observed information of the marginal likelihood by Louis' formula."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxlatent.models.latent_prior import features, prior_vector
from jaxlatent.models.persons import (
    Found,
    Inputs,
    Setting,
    by_slots,
    inputs_of,
    posterior_of,
    scores_of,
    setting,
    slot_scores_of,
    whole_jacobian,
)
from jaxlatent.models.points import Form, Problem
from jaxlatent.models.reduced import ReducedPosterior
from jaxlatent.models.reduced_louis import reduced_parts
from jaxlatent.models.slot_hessian import slot_hessian
from jaxlatent.models.slots import family_positions, gathered, point_scores
from jaxlatent.models.table_louis import by_residuals, residual_moments, residual_slots, table_hessians


def information(
    form: Form, problem: Problem, free: jax.Array, modes: jax.Array, steps: Any = 2
) -> tuple[jax.Array, jax.Array]:
    """Observed information by Louis' formula, and that of the complete data [free, free]."""
    here = setting(form, problem, free, modes.dtype)
    sums = _by_residuals if by_residuals(form, here) else _by_points
    missing, blocks, feature_sums = sums(form, problem, here, inputs_of(form, problem, modes), steps, free)

    def latent_part(f: jax.Array) -> jax.Array:
        return (feature_sums * prior_vector(problem.layout.unpack(f))).sum()

    complete = -jax.hessian(latent_part)(free)
    for block, jacobian in zip(blocks, here.slot_jacobians, strict=True):
        e = jacobian.reshape(*block.shape[:3], -1).astype(free.dtype)
        complete = complete - jnp.einsum("gjpa,gjpb->ab", e, jnp.einsum("gjpr,gjrb->gjpb", block, e))
    return complete - missing, complete


class Sums(NamedTuple):
    """sum_i w_i [E(s s') - S S'] [free, free]; of what complete data would have, second derivatives of every family's
    slots [group, item, slot, slot], and features of x [group, feature].
    """

    missing: jax.Array
    blocks: list[jax.Array]
    features: jax.Array


def _by_points(form: Form, problem: Problem, here: Setting, inputs: Inputs, steps: Any, free: jax.Array) -> Sums:
    """Sums over persons and points."""
    q, n_groups = free.shape[0], here.loadings.shape[0]

    def add(carry: Sums, each: Inputs) -> tuple[Sums, None]:
        found = posterior_of(form, problem, here, each, steps)
        g, weight = each.group, found.chunk.weight
        missing, blocks = _parts(form, problem, here, g, found)
        latent = jnp.where(weight > 0, weight, 0).astype(missing.dtype) @ found.posterior.features
        by_group = jax.nn.one_hot(g, n_groups, dtype=free.dtype)
        sums = Sums(
            missing.astype(free.dtype),
            [by_group[:, None, None, None] * b.astype(free.dtype) for b in blocks],
            by_group[:, None] * latent.astype(free.dtype),
        )
        return jax.tree.map(jnp.add, carry, sums), None

    sizes = [
        (len(at), j.shape[1] // len(at))
        for at, j in zip(family_positions(form.measurement), here.slot_jacobians, strict=True)
    ]
    zero = Sums(
        jnp.zeros((q, q), free.dtype),
        [jnp.zeros((n_groups, j, p, p), free.dtype) for j, p in sizes],
        jnp.zeros((n_groups, here.prior_jacobian.shape[1]), free.dtype),
    )
    return lax.scan(add, zero, inputs)[0]


def _by_residuals(form: Form, problem: Problem, here: Setting, inputs: Inputs, steps: Any, free: jax.Array) -> Sums:
    """Sums over persons, at each point, of products of residuals and of answers: see ``models.table_louis``."""

    def of_chunk(each: Inputs) -> tuple:
        found = posterior_of(form, problem, here, each, steps)
        weight = jnp.where(found.chunk.weight > 0, found.chunk.weight, 0)
        rows = slot_scores_of(found.posterior)
        of_points = weight[:, None] * found.posterior.weight
        counts = [part.answers.counts(of_points) for part in found.posterior.scores]  # type: ignore[union-attr]
        products = (rows * weight[:, None]).T @ rows
        return residual_moments(found, of_points), products, counts, weight @ found.posterior.features

    def add(carry: tuple, each: Inputs) -> tuple[tuple, None]:
        return jax.tree.map(lambda a, b: a.at[each.group].add(b), carry, of_chunk(each)), None

    n_groups = here.loadings.shape[0]
    one = jax.eval_shape(of_chunk, jax.tree.map(lambda a: a[0], inputs))
    zero = jax.tree.map(lambda a: jnp.zeros((n_groups, *a.shape), a.dtype), one)
    moments, products, counts, latent = lax.scan(add, zero, inputs)[0]
    missing, blocks = jnp.zeros((free.shape[0],) * 2, free.dtype), []
    for g in range(n_groups):
        slots = residual_slots(here, g)
        jacobian = jnp.concatenate([here.prior_jacobian[g], *(j[g] for j in here.slot_jacobians)])
        between = jnp.einsum("qca,qcb->ab", slots, moments[g] @ slots) - products[g]
        missing = missing + jacobian.T @ between @ jacobian
        blocks.append(table_hessians(form, problem, here, g, jax.tree.map(lambda a, g=g: a[g], counts)))
    return Sums(missing, [jnp.stack(each) for each in zip(*blocks, strict=True)], latent)


def _parts(
    form: Form, problem: Problem, here: Setting, g: jax.Array, found: Found
) -> tuple[jax.Array, list[jax.Array]]:
    """sum_i w_i [E(s s') - S S'] [free, free] of one chunk, and second derivatives of slots [item, slot, slot]."""
    group, chunk, posterior, at, _ = found
    if isinstance(at, ReducedPosterior):
        own = [
            j[g].reshape(len(p), -1, j.shape[-1])
            for j, p in zip(here.slot_jacobians, family_positions(form.measurement), strict=True)
        ]
        return reduced_parts(form, problem.slots, group, chunk, at, own, here.prior_jacobian[g])
    persons, points = chunk.y.shape[0], at.x.shape[1]
    x = jnp.broadcast_to(at.x, (persons, *at.x.shape[1:]))
    xx = x[..., :, None] * x[..., None, :]
    wide, latent = by_slots(here), features(xx, x, chunk.design[:, None, :])
    parts = [latent if wide else latent @ here.prior_jacobian[g]]
    mean = slot_scores_of(posterior) if wide else scores_of(here, g, posterior)
    weight = jnp.where(chunk.weight > 0, chunk.weight, 0).astype(mean.dtype)
    total_weight = weight[:, None] * posterior.weight
    hessians = []
    for f, ((family, _), positions) in enumerate(
        zip(form.measurement.groups, family_positions(form.measurement), strict=True)
    ):
        factor, used = (jnp.asarray(a)[positions] for a in problem.slots)
        xs = gathered(at.x, factor) * used.astype(x.dtype)
        y, seen = chunk.y[:, None, positions], chunk.seen[:, None, positions]
        scores = jnp.where(seen[..., None], point_scores(family, xs, group.slots[f], y), 0)
        scores = scores.reshape(persons, points, -1)
        parts.append(scores if wide else scores @ here.slot_jacobians[f][g])
        hessians.append(slot_hessian(family, xs, group.slots[f], y, seen, total_weight[..., None]))
    every = jnp.concatenate(parts, -1) if wide else sum(parts[1:], parts[0])
    flat, plain = every.reshape(-1, every.shape[-1]), total_weight.reshape(-1, 1)
    missing = (flat * plain).T @ flat - (mean * weight[:, None]).T @ mean
    if not wide:
        return missing, hessians
    jacobian = whole_jacobian(here)
    return jacobian.T @ missing @ jacobian, hessians
