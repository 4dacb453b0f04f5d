"""Item parameters as slots: the few numbers an item's log-probability depends on, and their derivatives by free ones.

An item's slots are its loadings that can be free, then the parameters its family reads. Log-probabilities are
elementwise over items, so one directional derivative along slot s of every item gives column s for all of them: the
number of derivatives is that of an item's slots, not that of the model's parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.measurement.family import Family
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.numerics.types import Array
from jaxlatent.spec.layout import Layout

Params = Mapping[str, jax.Array]


class Slots(NamedTuple):
    """Which factors an item's loading slots belong to [item, slot], and 1 where a slot is used, else 0."""

    factor: Array
    used: Array


def slots_of(layout: Layout) -> Slots:
    """Loading slots of a layout (host side): cells that are free in some group, or fixed at something."""
    here = ((np.asarray(layout.index["loadings"]) >= 0) | (np.asarray(layout.fixed["loadings"]) != 0)).any(axis=0)
    width = max(int(here.sum(axis=1).max(initial=0)), 1)
    order = np.argsort(~here, axis=1, kind="stable")[:, :width].astype(np.int32)
    return Slots(order, np.take_along_axis(here, order, axis=1).astype(float))


class FamilySlots(NamedTuple):
    """The slots of one family's items, by group: loadings [group, item, slot], own [group, item, ...] by name."""

    loadings: Array
    own: Mapping[str, Array]


def family_positions(measurement: Measurement) -> list[np.ndarray]:
    """Positions of each family's items among all items."""
    return [np.asarray(items, dtype=np.int32) for _, items in measurement.groups]


def family_slots(measurement: Measurement, slots: Slots, params: Params) -> list[FamilySlots]:
    """Every family's slots at these matrices [group, ...]."""
    picked = jnp.take_along_axis(params["loadings"], jnp.asarray(slots.factor)[None], axis=2)
    picked = picked * jnp.asarray(slots.used, picked.dtype)
    out = []
    for (family, _), at in zip(measurement.groups, family_positions(measurement), strict=True):
        own = {name: value[:, at] for name, value in family.item_params(params).items()}
        out.append(FamilySlots(picked[:, at], own))
    return out


def flat(slots: FamilySlots) -> jax.Array:
    """[group, item, slot]: loadings first, then own parameters by name."""
    return jnp.concatenate([slots.loadings, *(slots.own[name] for name in sorted(slots.own))], axis=-1)


def slot_jacobians(measurement: Measurement, slots: Slots, layout: Layout, free: jax.Array) -> list[jax.Array]:
    """Derivatives of every family's slots by the free vector [group, item, slot, free]."""

    def function(f: jax.Array) -> list[jax.Array]:
        return [flat(each) for each in family_slots(measurement, slots, layout.unpack(f))]

    return jax.jacfwd(function)(free)


def widths(slots: FamilySlots) -> tuple[int, int]:
    """How many loading slots and how many own slots."""
    return slots.loadings.shape[-1], sum(value.shape[-1] for value in slots.own.values())


def split_own(slots: FamilySlots, values: jax.Array) -> dict[str, jax.Array]:
    """Values [..., own slot] as the family's parameters by name."""
    out, at = {}, 0
    for name in sorted(slots.own):
        size = slots.own[name].shape[-1]
        out[name] = values[..., at : at + size]
        at += size
    return out


# ---- derivatives at every person and point ---------------------------------------------------------------------------


def point_scores(family: Family, eta: jax.Array, xs: jax.Array, here: FamilySlots, y: jax.Array) -> jax.Array:
    """d log p(y | x) / d slot [person, point, item, slot].

    eta [person, point, item]; xs [person or 1, point, item, loading slot]: x where the slots' factors are; here: slots
    of the persons' group without a group axis; y [person, 1, item].
    """
    own = {name: value[None, None] for name, value in here.own.items()}

    def log_prob(e: jax.Array, o: dict[str, jax.Array]) -> jax.Array:
        return family.log_prob(e, o, y)

    zeros = jax.tree.map(jnp.zeros_like, own)
    slope = jax.jvp(lambda e: log_prob(e, own), (eta,), (jnp.ones_like(eta),))[1]
    columns = []
    for name in sorted(own):
        for k in range(own[name].shape[-1]):
            tangent = {**zeros, name: zeros[name].at[..., k].set(1)}
            columns.append(jax.jvp(lambda o: log_prob(eta, o), (own,), (tangent,))[1])
    loading = slope[..., None] * xs
    return jnp.concatenate([loading, jnp.stack(columns, -1)], -1) if columns else loading


def table_of(family: Family, eta: jax.Array, own: Mapping[str, jax.Array], n_categories: int) -> jax.Array:
    """log P(y = k | x) [point, item, category] for eta [point, item] and own [item, ...]."""
    given = {name: value[None] for name, value in own.items()}
    each = [family.log_prob(eta, given, jnp.full((1, 1), k)) for k in range(n_categories)]
    return jnp.stack([jnp.broadcast_to(one, eta.shape) for one in each], -1)


def table_and_scores(
    family: Family, xs: jax.Array, here: FamilySlots, n_categories: int
) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities [point, item, category] and their derivatives by slots [point, item, category, slot].

    xs [point, item, loading slot].
    """
    eta = (xs * here.loadings).sum(-1)

    def table(e: jax.Array, o: Mapping[str, jax.Array]) -> jax.Array:
        return table_of(family, e, o, n_categories)

    value, slope = jax.jvp(lambda e: table(e, here.own), (eta,), (jnp.ones_like(eta),))
    zeros = jax.tree.map(jnp.zeros_like, dict(here.own))
    columns = []
    for name in sorted(here.own):
        for k in range(here.own[name].shape[-1]):
            tangent = {**zeros, name: zeros[name].at[..., k].set(1)}
            columns.append(jax.jvp(lambda o: table(eta, o), (dict(here.own),), (tangent,))[1])
    loading = slope[..., None] * xs[:, :, None, :]
    return value, jnp.concatenate([loading, *(c[..., None] for c in columns)], -1)


def gathered(x: jax.Array, factor: Any) -> jax.Array:
    """x [..., factor] -> [..., item, slot] where the items' slots are."""
    return x[..., jnp.asarray(factor)]


def slots_at(each: FamilySlots, g: jax.Array | int) -> FamilySlots:
    """The slots of one group, without the group axis."""
    return FamilySlots(each.loadings[g], {name: value[g] for name, value in each.own.items()})


def eta_of(x: jax.Array, loadings: jax.Array, items: Sequence[int] | np.ndarray) -> jax.Array:
    """Linear predictors [person, point, item] of x [person, point, factor] as one flat product."""
    rows = loadings[jnp.asarray(items)]
    return (x.reshape(-1, x.shape[-1]) @ rows.T).reshape(*x.shape[:-1], rows.shape[0])
