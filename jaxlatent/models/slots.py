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
    """The slots of one family's items, by group: loadings [group, item, slot], own [group, item, ...] by matrix.

    own are cells of the named matrices; what a family derives from them is made by ``read``.
    """

    loadings: Array
    own: Mapping[str, Array]

    def read(self, family: Family) -> dict[str, jax.Array]:
        """The family's parameters [group, item, ...]; its slope, where it reads one, is the sum of loadings."""
        return family.item_params({"loadings": self.loadings, **self.own})


def family_positions(measurement: Measurement) -> list[np.ndarray]:
    """Positions of each family's items among all items."""
    return [np.asarray(items, dtype=np.int32) for _, items in measurement.groups]


def family_slots(measurement: Measurement, slots: Slots, params: Params) -> list[FamilySlots]:
    """Every family's slots at these matrices [group, ...]."""
    picked = jnp.take_along_axis(params["loadings"], jnp.asarray(slots.factor)[None], axis=2)
    picked = picked * jnp.asarray(slots.used, picked.dtype)
    out = []
    for (family, _), at in zip(measurement.groups, family_positions(measurement), strict=True):
        names = [row.matrix for row in family.item_parameters(family.fixed_categories or 2)]
        out.append(FamilySlots(picked[:, at], {name: params[name][:, at] for name in names}))
    return out


def flat(slots: FamilySlots) -> jax.Array:
    """[group, item, slot]: loadings first, then own parameters by name."""
    return jnp.concatenate([slots.loadings, *(slots.own[name] for name in sorted(slots.own))], axis=-1)


def slot_jacobians(measurement: Measurement, slots: Slots, layout: Layout, free: jax.Array) -> list[jax.Array]:
    """Derivatives of every family's slots by the free vector [group, item, slot, free]."""

    def function(f: jax.Array) -> list[jax.Array]:
        return [flat(each) for each in family_slots(measurement, slots, layout.unpack(f))]

    return jax.jacfwd(function)(free)


# ---- derivatives at every person and point ---------------------------------------------------------------------------


def log_prob_of(family: Family, eta: jax.Array, here: FamilySlots, y: jax.Array) -> jax.Array:
    """log p(y | eta) [..., item] with slots [..., item, slot] that broadcast against eta [..., item]."""
    return family.log_prob(eta, here.read(family), y)


def units(here: FamilySlots) -> list[FamilySlots]:
    """For every slot the direction along it, of all items at once."""
    zeros = jax.tree.map(jnp.zeros_like, here)
    out = [zeros._replace(loadings=zeros.loadings.at[..., k].set(1)) for k in range(here.loadings.shape[-1])]
    for name in sorted(here.own):
        for k in range(here.own[name].shape[-1]):
            out.append(zeros._replace(own={**zeros.own, name: zeros.own[name].at[..., k].set(1)}))
    return out


def stacked(directions: list[FamilySlots]) -> FamilySlots:
    """Directions as one tree with a leading axis."""
    return jax.tree.map(lambda *a: jnp.stack(a), *directions)


def point_scores(family: Family, xs: jax.Array, here: FamilySlots, y: jax.Array) -> jax.Array:
    """d log p(y | x) / d slot [person, point, item, slot].

    xs [person or 1, point, item, loading slot]: x where the slots' factors are; here: slots of the persons' group
    without a group axis; y [person, 1, item].
    """
    wide = jax.tree.map(lambda a: a[None, None], here)
    n_loading = here.loadings.shape[-1]
    eta = (xs * here.loadings).sum(-1)
    eta = jnp.broadcast_to(eta, jnp.broadcast_shapes(eta.shape, y.shape))
    slope = jax.jvp(lambda e: log_prob_of(family, e, wide, y), (eta,), (jnp.ones_like(eta),))[1]
    columns = [slope * xs[..., k] for k in range(n_loading)]
    by_slot = jax.linearize(lambda s: log_prob_of(family, eta, s, y), wide)[1]
    direct = jax.vmap(by_slot, out_axes=-1)(stacked(units(wide)))
    if family.reads_slope:
        columns = [column + direct[..., k] for k, column in enumerate(columns)]
    return jnp.concatenate([jnp.stack(columns, -1), direct[..., n_loading:]], -1)


def table_of(family: Family, eta: jax.Array, here: FamilySlots, n_categories: int) -> jax.Array:
    """log P(y = k | x) [point, item, category] for eta [point, item] and slots without a group axis."""
    own = jax.tree.map(lambda a: a[None], here).read(family)

    def category(k: jax.Array) -> jax.Array:
        return jnp.broadcast_to(family.log_prob(eta, own, jnp.full((1, 1), k)), eta.shape)

    return jax.vmap(category, out_axes=-1)(jnp.arange(n_categories))


def table_and_scores(
    family: Family, xs: jax.Array, here: FamilySlots, n_categories: int
) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities [point, item, category] and their derivatives by slots [point, item, category, slot].

    xs [point, item, loading slot].
    """

    def table(slots: FamilySlots) -> jax.Array:
        return table_of(family, (xs * slots.loadings).sum(-1), slots, n_categories)

    value, derivative = jax.linearize(table, here)
    return value, jax.vmap(derivative, out_axes=-1)(stacked(units(here)))


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
