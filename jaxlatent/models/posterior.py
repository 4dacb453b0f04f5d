"""The posterior of the points of persons in one chunk, with Fisher's identity applied by item slots."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxlatent.models.latent_prior import features, log_prior
from jaxlatent.models.points import Form, Group, Located, jackknifed
from jaxlatent.models.slots import (
    FamilySlots,
    Slots,
    eta_of,
    family_positions,
    log_prob_of,
)
from jaxlatent.models.tables import PointTable, TableScores, answers_of


class Chunk(NamedTuple):
    """The persons of one chunk."""

    y: jax.Array
    seen: jax.Array
    weight: jax.Array
    design: jax.Array


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


def posterior(
    form: Form, slots: Slots, group: Group, tables: list[PointTable | None], chunk: Chunk, at: Located
) -> Posterior:
    """The posterior of the points of one chunk, with Fisher's identity applied by item slots."""
    positions = family_positions(form.measurement)
    persons, points = chunk.y.shape[0], at.x.shape[1]
    direct = [f for f, table in enumerate(tables) if table is None]
    total = log_prior(group.prior, at.x, chunk.design) + at.log_weight
    tabled = {
        f: (answers_of(chunk.y[:, positions[f]], chunk.seen[:, positions[f]], form.categories[f], total.dtype), table)
        for f, table in enumerate(tables)
        if table is not None
    }
    for answers, table in tabled.values():
        total = total + answers.log_prob(table)
    pull = None
    if direct:
        value, pull = _direct(form, slots, group, chunk, at.x, direct)
        total = total + value
    most = lax.stop_gradient(total.max(-1, keepdims=True))
    w = jnp.exp(total - most)
    size = w.sum(-1, keepdims=True)
    log_marginal, w = (most + jnp.log(size))[:, 0], w / size
    if form.jackknife:
        w = jackknifed(w)
    found: dict[int, TableScores | PersonScores] = {}
    if pull:
        found = {f: PersonScores(value) for f, value in zip(direct, pull(w), strict=True)}
    for f, (answers, table) in tabled.items():
        found[f] = TableScores(answers, w, table)
    if at.x.shape[0] == 1:
        mean_x = w @ at.x[0]
        square = (at.x[0][:, :, None] * at.x[0][:, None, :]).reshape(points, -1)
        xx = (w @ square).reshape(persons, *at.x.shape[2:] * 2)
    else:
        weighted = w[..., None] * at.x
        mean_x = weighted.sum(1)
        xx = jnp.einsum("crd,cre->cde", weighted, at.x)
    return Posterior(log_marginal, w, [found[f] for f in range(len(tables))], features(xx, mean_x, chunk.design))
