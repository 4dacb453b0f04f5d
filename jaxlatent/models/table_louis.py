"""What Louis' formula needs where all items are tables at shared points.

Scores of an answer in category k, at a point q, have mean zero there: sum_k P_k D_k = 0. So they are

D_k = sum_m (1{k = m} - P_m) (D_m - D_0), m = 1, ..., K - 1

and sums over persons need no more than second moments of the few residuals 1{k = m} - P_m, at each point.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxlatent.models.latent_prior import features
from jaxlatent.models.persons import Found, Setting
from jaxlatent.models.points import Form, Problem
from jaxlatent.models.slot_hessian import slot_hessian
from jaxlatent.models.slots import family_positions, gathered, slots_at
from jaxlatent.models.tables import LACKING, PointTable, TableScores

MOST_CELLS = 5_000_000  # points x residuals^2 that are held


def n_residuals(form: Form, here: Setting) -> int:
    """Features of x, and residuals of all items."""
    per_item = [(k - 1) * len(at) for k, at in zip(form.categories, family_positions(form.measurement), strict=True)]
    return here.prior_jacobian.shape[1] + sum(per_item)


def by_residuals(form: Form, here: Setting) -> bool:
    """Whether all items are tables, small enough for this file."""
    if here.tables is None or not all(form.categories):
        return False
    n_groups, points = here.shared.x.shape[:2]  # type: ignore[union-attr]
    return n_groups * points * n_residuals(form, here) ** 2 <= MOST_CELLS


def residual_moments(found: Found, weight: jax.Array) -> jax.Array:
    """Sums over persons of one chunk of products of residuals [point, residual, residual]; weight [person, point]."""
    x, design = found.at.x[0], found.chunk.design[None]  # type: ignore[union-attr]
    wide = jnp.broadcast_to(x[:, None], (len(x), design.shape[1], x.shape[1]))
    columns = [features(wide[..., :, None] * wide[..., None, :], wide, design)]
    for part in found.posterior.scores:
        assert isinstance(part, TableScores)
        (hot, seen), table = part.answers, part.table
        p = jnp.exp(table.odds + table.first[:, None])[:, None]
        columns.append((hot - jnp.where(seen[:, None], p, 0)).reshape(*wide.shape[:2], -1))
    each = jnp.concatenate(columns, -1)
    return jnp.einsum("qpc,qpd->qcd", each * weight.T[..., None], each)


def residual_slots(here: Setting, g: int) -> jax.Array:
    """Scores by slots of one for each residual [point, residual, feature + slot] in a group."""
    n_features, tables = here.prior_jacobian.shape[1], _tables(here, g)
    points = len(tables[0].first)
    blocks = [jnp.broadcast_to(jnp.eye(n_features, dtype=here.loadings.dtype), (points, n_features, n_features))]
    for table in tables:
        scores = table.odds_scores  # [point, category, item, slot]
        spread = scores[:, :, :, None] * jnp.eye(scores.shape[2], dtype=scores.dtype)[..., None]
        blocks.append(spread.reshape(points, scores.shape[1] * scores.shape[2], -1))
    return jax.vmap(jax.scipy.linalg.block_diag)(*blocks)


def table_hessians(
    form: Form, problem: Problem, here: Setting, g: int, counts: list[tuple[jax.Array, jax.Array]]
) -> list[jax.Array]:
    """Second derivatives by slots [item, slot, slot] of every family, from expected answers at points in a group."""
    out, x = [], here.shared.x[g]  # type: ignore[union-attr]
    every = zip(form.measurement.groups, family_positions(form.measurement), here.slots, _tables(here, g), strict=True)
    for ((family, _), at, slots, table), (seen, others) in zip(every, counts, strict=True):
        weight = jnp.concatenate([(seen - others.sum(1))[None], jnp.moveaxis(others, 1, 0)])
        factor, used = (jnp.asarray(a)[at] for a in problem.slots)
        xs = gathered(x, factor) * used.astype(x.dtype)
        category = jnp.arange(1, len(weight), dtype=x.dtype)[:, None]
        y = jnp.where(table.odds[0] < LACKING, 0, category)  # categories an item lacks have no answers
        y = jnp.concatenate([jnp.zeros_like(y[:1]), y])[:, None]
        out.append(slot_hessian(family, xs[None], slots_at(slots, g), y, jnp.ones(y.shape, bool), weight))
    return out


def _tables(here: Setting, g: int) -> list[PointTable]:
    return [PointTable(*(a[g] for a in table)) for table in here.tables or () if table is not None]
