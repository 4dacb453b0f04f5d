"""What Louis' formula needs of one chunk of a bifactor or two-tier model: see ``models.reduced``."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxlatent.models.latent_prior import features
from jaxlatent.models.points import Form, Group
from jaxlatent.models.posterior import Chunk
from jaxlatent.models.reduced import ReducedPosterior, columns_of, embedded, of_block, places_of
from jaxlatent.models.slot_hessian import slot_hessian
from jaxlatent.models.slots import Slots, point_scores


def _feature_rows(columns: np.ndarray, n_design: int) -> tuple[np.ndarray, np.ndarray]:
    """Which features a block's factor moves [block, 1 + k]: -t^2/2 and t z; and 1 where the block has a factor."""
    d = columns.shape[1]
    k = columns.argmax(1)[:, None]
    rows = np.concatenate([k * d + k, d * d + k * n_design + np.arange(n_design)], 1)
    return rows, columns.sum(1)


def reduced_parts(
    form: Form, slots: Slots, group: Group, chunk: Chunk, more: ReducedPosterior,
    slot_jacobians: list[jax.Array], prior_jacobian: jax.Array,
) -> tuple[jax.Array, list[jax.Array]]:  # fmt: skip
    """sum_i w_i [E(s s') - S S'] [free, free], and second derivatives of every family's slots [item, slot, slot].

    slot_jacobians [item, slot, free] by family, prior_jacobian [feature, free], of the chunk's group.
    """
    columns = columns_of(form.reduction, group.loadings.shape[-1])  # type: ignore[arg-type]
    blocks, places = more.blocks, places_of(form)
    rows, has_factor = _feature_rows(columns, chunk.design.shape[-1])
    persons, n_general = more.weight.shape
    n_inner = blocks.t.shape[-1]
    dtype = more.weight.dtype
    person_weight = jnp.where(chunk.weight > 0, chunk.weight, 0).astype(dtype)
    outer = person_weight[:, None] * more.weight

    def block(given: tuple) -> tuple[jax.Array, jax.Array, list[jax.Array]]:
        """Conditional means of the block's scores by free parameters [person, R, free], their mean variance given g
        [free, free], and second derivatives by slots [place, slot, slot] of every family.
        """
        t, column, conditional, row, used, at = given
        joint = (outer[..., None] * conditional).reshape(persons, -1)
        x = embedded(form, columns.shape[1], blocks.g, t, column)
        linear = used * t[:, None] * chunk.design[:, None]
        square = jnp.broadcast_to(-used * t[:, None] ** 2 / 2, (*linear.shape[:-1], 1))
        own = jnp.concatenate([square, linear], -1)[:, None]
        own = jnp.broadcast_to(own, (persons, n_general, *own.shape[2:])).reshape(*joint.shape, -1)
        local, jacobian, hessians = [own], [prior_jacobian[row]], []
        for f, ((family, _), (own_at, every, present)) in enumerate(zip(form.measurement.groups, at, strict=True)):
            here, xs = of_block(slots, group.slots[f], own_at, every, x)
            y, seen = chunk.y[:, None, every], chunk.seen[:, None, every] & present
            each = jnp.where(seen[..., None], point_scores(family, xs[None], here, y), 0)
            local.append(each.reshape(*joint.shape, -1))
            of_items = slot_jacobians[f][own_at]
            jacobian.append(of_items.reshape(-1, of_items.shape[-1]))
            hessians.append(slot_hessian(family, xs[None], here, y, seen, joint[..., None]))
        s, k = jnp.concatenate(local, -1), jnp.concatenate(jacobian)
        mean = jnp.einsum("crn,crnl->crl", conditional, s.reshape(persons, n_general, n_inner, -1))
        flat, flat_mean = s.reshape(-1, s.shape[-1]), mean.reshape(-1, s.shape[-1])
        spread = (flat * joint.reshape(-1, 1)).T @ flat - (flat_mean * outer.reshape(-1, 1)).T @ flat_mean
        return mean @ k, k.T @ spread @ k, hessians

    given = (blocks.t, columns.astype(dtype), more.conditional, rows, has_factor.astype(dtype), places)
    top = more.center * jnp.asarray(1 - columns.sum(0), dtype)
    every = features(top[..., :, None] * top[..., None, :], top, chunk.design[:, None, :]) @ prior_jacobian
    zero = (every.astype(dtype), jnp.zeros((prior_jacobian.shape[1],) * 2, dtype))

    def add(carry: tuple, each: tuple) -> tuple[tuple, list[jax.Array]]:
        mean, spread, hessians = block(each)
        return (carry[0] + mean, carry[1] + spread), hessians

    (mean, spread), hessians = lax.scan(add, zero, jax.tree.map(jnp.asarray, given))
    q = mean.shape[-1]
    whole = (more.weight[..., None] * mean).sum(1)
    flat = mean.reshape(-1, q)
    missing = spread + (flat * outer.reshape(-1, 1)).T @ flat - (whole * person_weight[:, None]).T @ whole
    out = []
    for f, (_, items) in enumerate(form.measurement.groups):
        h = jnp.where(jnp.asarray(places[f].present)[..., None, None], hessians[f], 0)
        out.append(jnp.zeros((len(items), *h.shape[2:]), h.dtype).at[places[f].own].add(h))
    return missing, out
