"""Second derivatives of item log-probabilities by an item's slots."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxlatent.models.slots import FamilySlots, flat, log_prob_of, stacked, units


def slot_hessian(
    family: Any, xs: jax.Array, here: FamilySlots, y: jax.Array, seen: jax.Array, weight: jax.Array
) -> jax.Array:
    """Second derivatives of sum W log p(y | x) by an item's slots [item, slot, slot], a slot of all items at a time.

    weight [person, point, item or 1].
    """

    def total(values: FamilySlots) -> jax.Array:
        wide = jax.tree.map(lambda a: a[None, None], values)
        each = jnp.where(seen, log_prob_of(family, (xs * values.loadings).sum(-1), wide, y), 0)
        return (each * weight).sum()

    along = jax.linearize(jax.grad(total), here)[1]  # what all directions share is computed once
    return jax.vmap(lambda direction: flat(along(direction)), out_axes=-1)(stacked(units(here)))
