"""Bifactor and two-tier models on fewer points: dimension reduction.

p(y) = integral of p(y_0 | g) prod_s [integral of p(y_s | g, t_s) p(t_s) dt_s] p(g) dg

g are the general factors, t_s the specific ones, y_s the items of block s, y_0 those without a specific factor: points
number R n for each block (R of g, n of t_s) instead of R n^S. Blocks are padded to one number of items, so that they
are one more axis of arrays; items without a specific factor are a block whose t matters to none of them.

Given g the blocks are independent, so the second moment of the score s = s_0(g) + sum_b s_b(g, t_b) that Louis'
formula needs is E[m m'] + sum_b E[s_b s_b' - m_b m_b'], m_b = E(s_b | g), m = s_0 + sum_b m_b.

Source: Gibbons and Hedeker (1992), Psychometrika 57; Cai (2010), Psychometrika 75; Cai, Yang and Hansen (2011),
Psychological Methods 16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.models.latent_prior import LOG_2_PI, Prior, features, log_prior, moments
from jaxlatent.models.points import Form, Group, Problem
from jaxlatent.models.posterior import Chunk, PersonScores, Posterior
from jaxlatent.models.slots import (
    FamilySlots,
    Slots,
    family_positions,
    gathered,
    log_prob_of,
    point_scores,
    table_and_scores,
)
from jaxlatent.numerics.normal_density import psd_root
from jaxlatent.spec.two_tier import Reduction


class Places(NamedTuple):
    """Items of one family by block [block, place]: positions in the family and among all items, and which are there."""

    own: np.ndarray
    every: np.ndarray
    present: np.ndarray


def places_of(form: Form) -> list[Places]:
    """Every family's items by block, padded with the first item."""
    blocks = form.reduction.items  # type: ignore[union-attr]
    out = []
    for at in family_positions(form.measurement):
        where = {int(j): k for k, j in enumerate(at)}
        mine = [[where[j] for j in block if j in where] for block in blocks]
        own = np.zeros((len(blocks), max(len(block) for block in mine)), np.int32)
        present = np.zeros(own.shape, bool)
        for b, block in enumerate(mine):
            own[b, : len(block)], present[b, : len(block)] = block, True
        out.append(Places(own, at[own], present))
    return out


def columns_of(reduction: Reduction, n_factors: int) -> np.ndarray:
    """1 for the factor of a block, else 0 [block, D]."""
    out = np.zeros((len(reduction.items), n_factors))
    out[np.arange(len(reduction.specific)), list(reduction.specific)] = 1
    return out


class Table(NamedTuple):
    """A categorical family at a block's points: log P [point, place x category], derivatives by slots
    [point, place x category x slot].
    """

    log_prob: jax.Array
    scores: jax.Array


class Blocks(NamedTuple):
    """Points of the groups: g [group, R, G] and t [group, block, n] with log w - log q; tables [group, block, ...]."""

    g: jax.Array
    log_weight: jax.Array
    t: jax.Array
    log_weight_t: jax.Array
    tables: list[Table | None]


def blocks_of(
    form: Form, problem: Problem, params: Mapping[str, jax.Array], slots: list[FamilySlots], dtype: Any
) -> Blocks:
    """Points moved to every group's marginal mean and spread, and the tables of categorical items there."""
    reduction: Reduction = form.reduction  # type: ignore[assignment]
    m, cov = moments(params)
    center = (m @ problem.design_mean[..., None])[..., 0]
    cov = cov + m @ problem.design_cov @ m.mT
    top, low = jnp.array(reduction.general), jnp.array(reduction.specific)
    z, log_w = (jnp.asarray(a) for a in problem.points)
    u, log_v = (jnp.asarray(a) for a in problem.inner)  # type: ignore[union-attr]
    root = psd_root(cov[:, top[:, None], top])
    g = center[:, None, top] + z @ root.mT
    log_det = jnp.log(jnp.diagonal(root, axis1=-2, axis2=-1)).sum(-1)
    log_q = -(z**2).sum(-1) / 2 - z.shape[-1] * LOG_2_PI / 2 - log_det[:, None]
    extra = ((0, 0), (0, len(reduction.items) - len(reduction.specific)))
    mean = jnp.pad(center[:, low], extra)
    sd = jnp.pad(jnp.sqrt(cov[:, low, low]), extra, constant_values=1)
    t = mean[..., None] + sd[..., None] * u[:, 0]
    log_q_t = -(u[:, 0] ** 2) / 2 - LOG_2_PI / 2 - jnp.log(sd)[..., None]
    g, log_g, t, log_t = (a.astype(dtype) for a in (g, log_w - log_q, t, log_v - log_q_t))
    return Blocks(g, log_g, t, log_t, _tables(form, problem.slots, slots, g, t))


def embedded(form: Form, n_factors: int, g: jax.Array, t: jax.Array, column: Any) -> jax.Array:
    """Points x [R n, D] of one block: g [R, G] and t [n] where they belong, 0 elsewhere."""
    x = jnp.zeros((len(g), n_factors), g.dtype).at[:, jnp.array(form.reduction.general)].set(g)  # type: ignore[union-attr]
    return (x[:, None] + t[:, None] * jnp.asarray(column, g.dtype)).reshape(-1, n_factors)


def of_block(slots: Slots, here: FamilySlots, own: Any, every: Any, x: jax.Array) -> tuple[FamilySlots, jax.Array]:
    """The slots of a block's items, and x [point, place, loading slot] where these are."""
    used = jnp.asarray(slots.used, x.dtype)[every]
    return jax.tree.map(lambda a: a[own], here), gathered(x, jnp.asarray(slots.factor)[every]) * used


def _tables(form: Form, slots: Slots, every: list[FamilySlots], g: jax.Array, t: jax.Array) -> list[Table | None]:
    n_factors = len(form.reduction.general) + len(form.reduction.specific)  # type: ignore[union-attr]
    columns = columns_of(form.reduction, n_factors)  # type: ignore[arg-type]
    out: list[Table | None] = []
    for (family, _), places, each, k in zip(
        form.measurement.groups, places_of(form), every, form.categories, strict=True
    ):
        if not k:
            out.append(None)
            continue

        def table(
            here: FamilySlots, own: Any, at: Any, column: Any, g: Any, t: Any, family: Any = family, k: int = k
        ) -> Table:
            x = embedded(form, n_factors, g, t, column)
            here, xs = of_block(slots, here, own, at, x)
            value, scores = table_and_scores(family, xs, here, k)
            scores = jnp.where(value[..., None] < -1e20, 0, scores)  # categories an item does not have
            return Table(value.reshape(len(x), -1), scores.reshape(len(x), -1))

        by_block = jax.vmap(table, (None, 0, 0, 0, None, 0))
        out.append(jax.vmap(by_block, (0, None, None, None, 0, 0))(each, places.own, places.every, columns, g, t))
    return out


def at_group(blocks: Blocks, g: Any) -> Blocks:
    """The points and tables of one group, without the group axis."""
    return jax.tree.map(lambda a: a[g], blocks)


class ReducedPosterior(NamedTuple):
    """weight [person, R] of g; conditional [block, person, R, n] of t given g; E(x | g) [person, R, D]; the rest of the
    variance of x, that of specific factors given g, [person, D]; and the points, of one group.
    """

    weight: jax.Array
    conditional: jax.Array
    center: jax.Array
    rest: jax.Array
    blocks: Blocks


def _priors(reduction: Reduction, prior: Prior) -> tuple[Prior, Prior]:
    """That of the general factors, and those of the blocks [block, ...] (standard normal without a factor)."""
    top, low = jnp.array(reduction.general), jnp.array(reduction.specific)
    precision, linear = prior.precision[low, low], prior.linear[low]
    square = linear[:, :, None] * linear[:, None, :] / precision[:, None, None]
    general = Prior(
        prior.precision[top[:, None], top],
        prior.linear[top],
        prior.square - square.sum(0),
        prior.log_det - jnp.log(precision).sum(),
    )
    more = len(reduction.items) - len(reduction.specific)
    pad = lambda a, value=0.0: jnp.pad(a, ((0, more),) + ((0, 0),) * (a.ndim - 1), constant_values=value)  # noqa: E731
    own = Prior(pad(precision, 1.0)[:, None, None], pad(linear)[:, None], pad(square), pad(jnp.log(precision)))
    return general, own


def reduced_posterior(
    form: Form, slots: Slots, group: Group, blocks: Blocks, chunk: Chunk
) -> tuple[Posterior, ReducedPosterior]:
    """The posterior of the points of one chunk, with Fisher's identity applied by item slots; blocks of its group."""
    reduction: Reduction = form.reduction  # type: ignore[assignment]
    persons, (n_general, n_inner) = chunk.y.shape[0], (len(blocks.g), blocks.t.shape[-1])
    d = group.loadings.shape[-1]
    columns = columns_of(reduction, d)
    general, own = _priors(reduction, group.prior)
    by_block = jax.vmap(lambda p, t: log_prior(p, t[None, :, None], chunk.design))(own, blocks.t)
    inner = jnp.zeros((len(columns), persons, n_general * n_inner), blocks.g.dtype)
    answers = []
    for f, ((family, _), places, k) in enumerate(
        zip(form.measurement.groups, places_of(form), form.categories, strict=True)
    ):
        y = jnp.moveaxis(chunk.y[:, places.every], 1, 0)
        seen = jnp.moveaxis(chunk.seen[:, places.every] & places.present, 1, 0)
        answers.append((y, seen))
        table = blocks.tables[f]
        if table is not None:
            inner = inner + _hot(y, seen, k, inner.dtype) @ table.log_prob.mT
        else:
            inner = inner + _direct(form, slots, group, blocks, columns, f, family, places, y, seen)
    inner = inner.reshape(*inner.shape[:2], n_general, n_inner) + (by_block + blocks.log_weight_t[:, None])[:, :, None]
    given_g = jax.nn.logsumexp(inner, axis=-1)
    total = given_g.sum(0) + log_prior(general, blocks.g[None], chunk.design) + blocks.log_weight
    log_marginal = jax.nn.logsumexp(total, axis=-1)
    weight = jnp.exp(total - log_marginal[:, None])
    conditional = jnp.exp(inner - given_g[..., None])
    joint = (conditional * weight[..., None]).reshape(*inner.shape[:2], -1)

    scores: list[Any] = []
    for f, ((family, items), places, k, (y, seen)) in enumerate(
        zip(form.measurement.groups, places_of(form), form.categories, answers, strict=True)
    ):
        table = blocks.tables[f]
        if table is not None:
            mean = (joint @ table.scores).reshape(*y.shape, k, -1)
            found = (mean * _hot(y, seen, k, mean.dtype).reshape(*y.shape, k)[..., None]).sum(3)
        else:
            found = _direct_scores(form, slots, group, blocks, columns, f, family, places, y, seen, joint)
        empty = jnp.zeros((persons, len(items), found.shape[-1]), found.dtype)
        scores.append(PersonScores(empty.at[:, places.own].add(jnp.moveaxis(found, 0, 1))))

    t = blocks.t[:, None, None]
    mean_t = (conditional * t).sum(-1)
    rest = (weight * ((conditional * t**2).sum(-1) - mean_t**2)).sum(-1)
    low = jnp.array(reduction.specific)
    center = jnp.zeros((persons, n_general, d), weight.dtype)
    center = center.at[..., jnp.array(reduction.general)].set(blocks.g)
    center = center.at[..., low].set(jnp.moveaxis(mean_t[: len(low)], 0, -1))
    rest = jnp.zeros((persons, d), weight.dtype).at[:, low].set(rest[: len(low)].T)
    weighted = weight[..., None] * center
    xx = jnp.einsum("crd,cre->cde", weighted, center) + rest[..., None] * jnp.eye(d, dtype=rest.dtype)
    posterior = Posterior(log_marginal, weight, scores, features(xx, weighted.sum(1), chunk.design))
    return posterior, ReducedPosterior(weight, conditional, center, rest, blocks)


def _hot(y: jax.Array, seen: jax.Array, k: int, dtype: Any) -> jax.Array:
    """[block, person, place x category], all zeros where missing."""
    hot = (y[..., None] == jnp.arange(k, dtype=y.dtype)) & seen[..., None]
    return hot.astype(dtype).reshape(*y.shape[:2], -1)


def _direct(
    form: Form, slots: Slots, group: Group, blocks: Blocks, columns: Any, f: int, family: Any, places: Places,
    y: jax.Array, seen: jax.Array,
) -> jax.Array:  # fmt: skip
    """log p(y | x) [block, person, R n] of a family without categories."""

    def one(own: Any, every: Any, t: Any, column: Any, y: Any, seen: Any) -> jax.Array:
        x = embedded(form, group.loadings.shape[-1], blocks.g, t, column)
        here, xs = of_block(slots, group.slots[f], own, every, x)
        wide = jax.tree.map(lambda a: a[None, None], here)
        value = log_prob_of(family, (xs * here.loadings).sum(-1)[None], wide, y[:, None])
        return jnp.where(seen[:, None], value, 0).sum(-1)

    return jax.vmap(one)(places.own, places.every, blocks.t, columns, y, seen)


def _direct_scores(
    form: Form, slots: Slots, group: Group, blocks: Blocks, columns: Any, f: int, family: Any, places: Places,
    y: jax.Array, seen: jax.Array, joint: jax.Array,
) -> jax.Array:  # fmt: skip
    """Posterior means of the scores [block, person, place, slot] of a family without categories."""

    def one(own: Any, every: Any, t: Any, column: Any, y: Any, seen: Any, w: Any) -> jax.Array:
        x = embedded(form, group.loadings.shape[-1], blocks.g, t, column)
        here, xs = of_block(slots, group.slots[f], own, every, x)
        each = jnp.where(seen[:, None, :, None], point_scores(family, xs[None], here, y[:, None]), 0)
        return jnp.einsum("cp,cpjs->cjs", w, each)

    return jax.vmap(one)(places.own, places.every, blocks.t, columns, y, seen, joint)


def reduced_moments(more: ReducedPosterior) -> tuple[jax.Array, jax.Array]:
    """Posterior means [person, D] and covariances [person, D, D] of all factors."""
    mean = (more.weight[..., None] * more.center).sum(1)
    away = more.center - mean[:, None]
    cov = jnp.einsum("crd,cre->cde", more.weight[..., None] * away, away)
    return mean, cov + more.rest[..., None] * jnp.eye(mean.shape[-1], dtype=mean.dtype)
