"""The posterior of the points of persons in one chunk, with Fisher's identity applied by item slots."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlatent.models.latent_prior import features, log_prior
from jaxlatent.models.points import Form, Group, Located, jackknifed
from jaxlatent.models.slots import (
    FamilySlots,
    Slots,
    eta_of,
    family_positions,
    gathered,
    log_prob_of,
    table_and_scores,
)


class Chunk(NamedTuple):
    """The persons of one chunk."""

    y: jax.Array
    seen: jax.Array
    weight: jax.Array
    design: jax.Array


class TableScores(NamedTuple):
    """Scores of a categorical family, not yet summed: answers [person, item, category], weights of points, and the
    derivatives [point, category x item x slot].
    """

    hot: jax.Array
    weight: jax.Array
    derivatives: jax.Array

    def of_persons(self) -> jax.Array:
        """[person, item, slot]."""
        persons, items, k = self.hot.shape
        mean = (self.weight @ self.derivatives).reshape(persons, k, items, -1)
        return (mean * jnp.swapaxes(self.hot, 1, 2)[..., None]).sum(1)

    def total(self, weight: jax.Array) -> jax.Array:
        """Sum over persons with these weights [item, slot]: by expected counts of answers at points."""
        persons, items, k = self.hot.shape
        count = (self.weight * weight[:, None]).T @ jnp.swapaxes(self.hot, 1, 2).reshape(persons, -1)
        by_category = self.derivatives.reshape(*count.shape, -1) * count[..., None]
        return by_category.sum(0).reshape(k, items, -1).sum(0)


class PersonScores(NamedTuple):
    """Scores of a family [person, item, slot]."""

    value: jax.Array

    def of_persons(self) -> jax.Array:
        """[person, item, slot]."""
        return self.value

    def total(self, weight: jax.Array) -> jax.Array:
        """Sum over persons with these weights [item, slot]."""
        rows = jnp.where(weight[:, None] > 0, self.value.reshape(len(weight), -1), 0)
        return (weight @ rows).reshape(self.value.shape[1:])


class Posterior(NamedTuple):
    """log p(y) [person], weights of points [person, point], scores by family, features of x [person, feature]."""

    log_marginal: jax.Array
    weight: jax.Array
    scores: list[TableScores | PersonScores]
    features: jax.Array


def _direct(
    form: Form, slots: Slots, group: Group, chunk: Chunk, x: jax.Array, which: list[int]
) -> tuple[jax.Array, Any]:
    """log p(y | x) [person, point] of some families at x [person or 1, point, D], and the scores for given weights."""
    positions = family_positions(form.measurement)
    persons = chunk.y.shape[0]
    etas = [eta_of(x, group.loadings, positions[f]) for f in which]
    slots_of_persons = [
        jax.tree.map(lambda a: jnp.broadcast_to(a[None, None], (persons, 1, *a.shape)), group.slots[f]) for f in which
    ]

    def log_prob(etas: list[jax.Array], of_persons: list[FamilySlots]) -> jax.Array:
        total = jnp.zeros((), x.dtype)
        for f, eta, each in zip(which, etas, of_persons, strict=True):
            own = log_prob_of(form.measurement.groups[f][0], eta, each, chunk.y[:, None, positions[f]])
            total = total + jnp.where(chunk.seen[:, None, positions[f]], own, 0).sum(-1)
        return total

    etas = [jnp.broadcast_to(eta, (persons, *eta.shape[1:])) for eta in etas]
    value, pull = jax.vjp(log_prob, etas, slots_of_persons)

    def scores(w: jax.Array) -> list[jax.Array]:
        out = []
        for f, slope, own in zip(which, *pull(w), strict=True):
            if x.shape[0] == 1:
                every = (jnp.swapaxes(slope, 1, 2).reshape(-1, slope.shape[1]) @ x[0]).reshape(
                    *slope.shape[::2], x.shape[-1]
                )
            else:
                every = jnp.einsum("crj,crd->cjd", slope, x)
            picked = jnp.take_along_axis(every, jnp.asarray(slots.factor)[None, positions[f]], axis=2)
            picked = (picked + own.loadings[:, 0]) * jnp.asarray(slots.used, picked.dtype)[positions[f]]
            out.append(jnp.concatenate([picked, *(own.own[name][:, 0] for name in sorted(own.own))], -1))
        return out

    return value, scores


class Table(NamedTuple):
    """A categorical family at a group's points: log P [point, item x category] and its derivatives by slots
    [point, category x item x slot] (of blocks, in ``models.reduced``, [point, place x category x slot]).
    """

    log_prob: jax.Array
    scores: jax.Array


def tables_of(form: Form, slots: Slots, group: Group, x: jax.Array) -> list[Table | None]:
    """Tables of the categorical families of one group at x [point, D]."""
    out: list[Table | None] = []
    for (family, _), at, each, k in zip(
        form.measurement.groups, family_positions(form.measurement), group.slots, form.categories, strict=True
    ):
        if not k:
            out.append(None)
            continue
        xs = gathered(x, jnp.asarray(slots.factor)[at]) * jnp.asarray(slots.used, x.dtype)[at]
        value, scores = table_and_scores(family, xs, each, k)
        scores = jnp.where(value[..., None] < -1e20, 0, scores)  # categories an item does not have
        out.append(Table(value.reshape(len(x), -1), jnp.swapaxes(scores, 1, 2).reshape(len(x), -1)))
    return out


def one_hot(chunk: Chunk, at: Any, k: int) -> jax.Array:
    """[person, item, category], all zeros where missing."""
    same = chunk.y[:, at, None] == jnp.arange(k, dtype=chunk.y.dtype)
    return (same & chunk.seen[:, at, None]).astype(chunk.design.dtype)


def posterior(
    form: Form, slots: Slots, group: Group, tables: list[Table | None], chunk: Chunk, at: Located
) -> Posterior:
    """The posterior of the points of one chunk, with Fisher's identity applied by item slots."""
    positions = family_positions(form.measurement)
    persons, points = chunk.y.shape[0], at.x.shape[1]
    direct = [f for f, table in enumerate(tables) if table is None]
    total = log_prior(group.prior, at.x, chunk.design) + at.log_weight
    hot = {f: one_hot(chunk, positions[f], form.categories[f]) for f, t in enumerate(tables) if t is not None}
    for f, each in hot.items():
        total = total + each.reshape(persons, -1) @ tables[f].log_prob.T  # type: ignore[union-attr]
    pull = None
    if direct:
        value, pull = _direct(form, slots, group, chunk, at.x, direct)
        total = total + value
    log_marginal = jax.nn.logsumexp(total, axis=-1)
    w = jnp.exp(total - log_marginal[:, None])
    if form.jackknife:
        w = jackknifed(w)
    found: dict[int, TableScores | PersonScores] = {}
    if pull:
        found = {f: PersonScores(value) for f, value in zip(direct, pull(w), strict=True)}
    for f, each in hot.items():
        found[f] = TableScores(each, w, tables[f].scores)  # type: ignore[union-attr]
    if at.x.shape[0] == 1:
        mean_x = w @ at.x[0]
        square = (at.x[0][:, :, None] * at.x[0][:, None, :]).reshape(points, -1)
        xx = (w @ square).reshape(persons, *at.x.shape[2:] * 2)
    else:
        weighted = w[..., None] * at.x
        mean_x = weighted.sum(1)
        xx = jnp.einsum("crd,cre->cde", weighted, at.x)
    return Posterior(log_marginal, w, [found[f] for f in range(len(tables))], features(xx, mean_x, chunk.design))
