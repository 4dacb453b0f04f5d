"""How far a step may go before item parameters leave where they live: order, the unit interval, positive numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxlatent.measurement.measurement import Measurement
from jaxlatent.spec.layout import Layout

SHARE = 0.9  # of the way to the boundary that one step may take
ABSENT = -1e29  # intercepts below are those of categories an item does not have


def step_shares(measurement: Measurement, layout: Layout, free: jax.Array, direction: jax.Array) -> jax.Array:
    """The share of a step [free] that each free parameter may take; the parameters of one row of cells go together.

    A row that has to decrease keeps a tenth of each gap, a number in [0, 1] or above 0 a tenth of its distance.
    """
    here, there = layout.unpack(free), layout.unpack(free + direction)
    shares = jnp.ones_like(free)
    for family, items in measurement.groups:
        at = jnp.array(list(items))
        for row in family.item_parameters(family.fixed_categories or 2):
            if row.support == "real":
                continue
            value, moved = here[row.matrix][:, at], there[row.matrix][:, at]
            change = moved - value
            if row.support == "decreasing":
                present = value[..., 1:] > ABSENT
                gap = jnp.where(present, value[..., :-1] - value[..., 1:], 1.0)
                moving = jnp.where(present, change[..., :-1] - change[..., 1:], 0.0)
                part = _share(gap, moving).min(-1, initial=1.0)
                part = jnp.broadcast_to(part[..., None], value.shape)
            else:
                part = _share(value, change)
                if row.support == "unit":
                    part = jnp.minimum(part, _share(1 - value, -change))
            index = jnp.asarray(layout.index[row.matrix])[:, at]
            shares = shares.at[jnp.where(index >= 0, index, free.shape[0])].min(part, mode="drop")
    return shares


def _share(room: jax.Array, change: jax.Array) -> jax.Array:
    """The share of a change that leaves a tenth of the room."""
    towards = (change < 0) & (room > 0)
    return jnp.where(towards, jnp.minimum(1.0, SHARE * room / jnp.where(towards, -change, 1.0)), 1.0)
