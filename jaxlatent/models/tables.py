"""Categorical items at points that all persons of a group share: tables by point, and persons as rows of 0 and 1.

log p(y_i | x_q) = sum_j [seen_ij log P_j0(q) + sum_k hot_ijk (log P_jk(q) - log P_j0(q))], k = 1, ..., K - 1

so that the first category needs a product only where answers are missing, and scores likewise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxlatent.models.points import Form, Group
from jaxlatent.models.slots import Slots, family_positions, gathered, table_and_scores

LACKING = -1e20  # log-probabilities below are those of categories an item does not have


class PointTable(NamedTuple):
    """log P of the first category [point, item] and the others' log P less it [point, category, item], with their
    derivatives by slots [point, item, slot] and [point, category, item, slot].
    """

    first: jax.Array
    odds: jax.Array
    first_scores: jax.Array
    odds_scores: jax.Array


def tables_of(form: Form, slots: Slots, group: Group, x: jax.Array) -> list[PointTable | None]:
    """Tables of the categorical families of one group at x [point, D]."""
    out: list[PointTable | None] = []
    for (family, _), at, each, k in zip(
        form.measurement.groups, family_positions(form.measurement), group.slots, form.categories, strict=True
    ):
        if not k:
            out.append(None)
            continue
        xs = gathered(x, jnp.asarray(slots.factor)[at]) * jnp.asarray(slots.used, x.dtype)[at]
        value, scores = table_and_scores(family, xs, each, k)
        scores = jnp.where(value[..., None] < LACKING, 0, scores)
        first, others = value[..., 0], jnp.moveaxis(value[..., 1:], -1, 1)
        own, others_own = scores[:, :, 0], jnp.moveaxis(scores[:, :, 1:], 2, 1)
        out.append(PointTable(first, others - first[:, None], own, others_own - own[:, None]))
    return out


class Answers(NamedTuple):
    """Answers to a family's items: in a category but the first [person, category, item], and at all [person, item]."""

    hot: jax.Array
    seen: jax.Array

    def given_seen(self, some: Callable[[jax.Array], jax.Array], every: Callable[[], jax.Array]) -> jax.Array:
        """some(seen), or every() where nothing is missing, which is the same for less."""
        return lax.cond(self.seen.all(), every, lambda: some(self.seen.astype(self.hot.dtype)))

    def log_prob(self, table: PointTable) -> jax.Array:
        """log p(y | x) [person, point]."""
        n, points = len(self.hot), len(table.first)
        first = self.given_seen(
            lambda seen: seen @ table.first.T, lambda: jnp.broadcast_to(table.first.sum(1), (n, points))
        )
        return first + self.hot.reshape(n, -1) @ table.odds.reshape(points, -1).T

    def counts(self, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Sums of weight [person, point]: answers [point, item], and those in each category but the first
        [point, category, item].
        """
        points = weight.shape[1]
        seen = self.given_seen(
            lambda seen: weight.T @ seen,
            lambda: jnp.broadcast_to(weight.sum(0)[:, None], (points, self.seen.shape[1])),
        )
        return seen, (weight.T @ self.hot.reshape(len(self.hot), -1)).reshape(points, *self.hot.shape[1:])


def answers_of(y: jax.Array, seen: jax.Array, k: int, dtype: Any) -> Answers:
    """Those of y and seen [person, item] in k categories."""
    hot = (y[:, None] == jnp.arange(1, k, dtype=y.dtype)[:, None]) & seen[:, None]
    return Answers(hot.astype(dtype), seen)


class TableScores(NamedTuple):
    """Scores of a categorical family, not yet summed: answers, weights of points, and the table."""

    answers: Answers
    weight: jax.Array
    table: PointTable

    def of_persons(self) -> jax.Array:
        """[person, item, slot]."""
        hot, seen = self.answers
        points, items = self.table.first.shape
        both = jnp.concatenate([self.table.first_scores[:, None], self.table.odds_scores], 1)
        mean = (self.weight @ both.reshape(points, -1)).reshape(len(hot), both.shape[1], items, -1)
        return jnp.where(seen[..., None], mean[:, 0], 0) + (mean[:, 1:] * hot[..., None]).sum(1)

    def total(self, weight: jax.Array) -> jax.Array:
        """Sum over persons with these weights [item, slot]: by expected counts of answers at points."""
        seen, hot = self.answers.counts(self.weight * weight[:, None])
        first, others = self.table.first_scores, self.table.odds_scores
        return (first * seen[..., None]).sum(0) + (others * hot[..., None]).sum((0, 1))
