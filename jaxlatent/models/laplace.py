"""Laplace's approximation of each person's marginal likelihood, with its own gradient.

    l_i = h(m) + D/2 log 2 pi - 1/2 log |H(m)|,    h(x) = log p(y_i, x),  m = argmax h,  H = -d2h/dx2 at m

The mode moves with the parameters: dm = T^-1 d(dh/dx), T = -d2h/dx2. With v = T^-1 dF/dx, F = -1/2 log |H(x)|, the
derivative of l_i by any parameter is that of h + v' dh/dx + F at fixed m, v and H^-1. For the parameters of p(x) this
is Fisher's identity with mean m + v and second moments m m' + H^-1 + m v' + v m', posterior moments to the second
order.

H counts an item's curvature where it is positive, so that log |H| is bounded where log p(y | x) is not concave
(guessing); elsewhere H = T.

Source: Tierney and Kadane (1986); Tierney, Kass and Kadane (1989), JASA 84, for the moments; Thomas (1993) and
Kristensen et al. (2016) for the derivatives.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxlatent.models.latent_prior import LOG_2_PI, features, log_prior
from jaxlatent.models.points import Bent, Form, Group, Located, joint_derivatives, newton_step
from jaxlatent.models.posterior import Chunk, PersonScores, Posterior, TableScores
from jaxlatent.models.slots import FamilySlots, Slots, family_positions, gathered
from jaxlatent.numerics.small_cholesky import Cells, backward, cells_of, cholesky_cells, forward, log_diagonal

MODE_STEPS, SETTLED = 60, 1e-12  # Newton steps at most, and the length of the last


def laplace_posterior(
    form: Form, slots: Slots, group: Group, chunk: Chunk, start: jax.Array
) -> tuple[Posterior, Located, jax.Array]:
    """log p(y) [person] and the scores of one chunk, the mode as the only point, and the modes [person, D].

    Forward derivatives are right, too: the search for the mode has none, and one Newton step from there has all.
    """
    mode = lax.stop_gradient(settled(form, *lax.stop_gradient((group, chunk, start))))
    there = _bent(form, group, chunk, mode)
    mode = mode + _solve(_guarded(there.exact, there.curvature), there.gradient)
    volume, inverse, push = correction(form, group, chunk, mode)
    value: list[jax.Array] = []
    scores: list[TableScores | PersonScores] = []
    for f, at in enumerate(family_positions(form.measurement)):
        one, score = _family(form, slots, group, chunk, f, at, mode, push, inverse)
        value.append(one)
        scores.append(PersonScores(score))
    d = mode.shape[-1]
    log_joint = sum(value) + log_prior(group.prior, mode[:, None, :], chunk.design)[:, 0]
    log_marginal = log_joint + d * LOG_2_PI / 2 - log_diagonal(volume)
    cross = mode[:, :, None] * push[:, None, :]
    xx = mode[:, :, None] * mode[:, None, :] + inverse + cross + cross.mT
    found = features(xx, mode + push, chunk.design)
    ones = jnp.ones_like(log_marginal)[:, None]
    return Posterior(log_marginal, ones, scores, found), Located(mode[:, None, :], 0 * ones), mode


def settled(form: Form, group: Group, chunk: Chunk, start: jax.Array) -> jax.Array:
    """Modes [person, D], by Newton steps until the longest is nothing."""

    def step(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        x, _, count = carry
        here = _bent(form, group, chunk, x)
        step = newton_step(here.gradient, here.curvature)
        step = jnp.where(jnp.isfinite(step), step, 0)
        return x + step, jnp.abs(step).max(), count + 1

    first = (start, jnp.full((), jnp.inf, start.dtype), jnp.zeros((), jnp.int32))
    return lax.while_loop(lambda c: (c[1] > SETTLED) & (c[2] < MODE_STEPS), step, first)[0]


class Correction(NamedTuple):
    """The Cholesky factor of H, H^-1 [person, D, D], and v [person, D] = T^-1 dF/dx: how far the posterior mean is from
    the mode, to the second order.
    """

    lower: Cells
    inverse: jax.Array
    push: jax.Array


def correction(form: Form, group: Group, chunk: Chunk, x: jax.Array) -> Correction:
    """At x [person, D]."""
    here = _bent(form, group, chunk, x)
    lower = cholesky_cells(cells_of(here.curvature))
    inverse = _inverse(lower)
    gradient = jnp.zeros_like(x)
    for (family, _), at, each in zip(
        form.measurement.groups, family_positions(form.measurement), group.slots, strict=True
    ):
        rows, own = group.loadings[at], jax.tree.map(lambda a: a[None], each).read(family)
        eta = x @ rows.T
        third = jax.jvp(
            lambda e, own=own, family=family, at=at: _bend(family, e, own, chunk.y[:, at])[2], (eta,),
            (jnp.ones_like(eta),),
        )[1]  # fmt: skip
        outer = (rows[:, :, None] * rows[:, None, :]).reshape(len(at), -1)
        width = inverse.reshape(len(x), -1) @ outer.T
        gradient = gradient - (jnp.where(chunk.seen[:, at], third * width, 0) @ rows) / 2
    return Correction(lower, inverse, _solve(_guarded(here.exact, here.curvature), gradient))


def laplace_moments(form: Form, group: Group, chunk: Chunk, mode: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Posterior means [person, D] and covariances [person, D, D] to the second order: derivatives of log E exp(t'x).

    Mean m + v; covariance (I + dv/dx) T^-1, or H^-1 where that is not positive definite.
    """
    d = mode.shape[-1]
    here = _bent(form, group, chunk, mode)
    push, turn = jax.linearize(lambda x: correction(form, group, chunk, x).push, mode)
    columns = jnp.stack([turn(jnp.zeros_like(mode).at[:, k].set(1)) for k in range(d)], -1)
    inverse = _inverse(cholesky_cells(cells_of(_guarded(here.exact, here.curvature))))
    cov = inverse + columns @ inverse
    cov = (cov + cov.mT) / 2
    return mode + push, _guarded(cov, _inverse(cholesky_cells(cells_of(here.curvature))))


def _family(
    form: Form, slots: Slots, group: Group, chunk: Chunk, f: int, at: Any, mode: jax.Array, push: jax.Array,
    inverse: jax.Array,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """Of one family's items log p(y | m) [person], and derivatives of l_i by slots [person, item, slot]."""
    family, persons = form.measurement.groups[f][0], len(mode)
    y, seen = chunk.y[:, at], chunk.seen[:, at]
    factor, used = jnp.asarray(slots.factor)[at], jnp.asarray(slots.used, mode.dtype)[at]
    xs, vs = gathered(mode, factor) * used, gathered(push, factor) * used
    width = inverse[:, factor[:, :, None], factor[:, None, :]] * used[:, :, None] * used[:, None, :]
    own = jax.tree.map(lambda a: jnp.broadcast_to(a[None], (persons, *a.shape)), group.slots[f])

    def terms(own: FamilySlots) -> tuple[jax.Array, jax.Array]:
        slope = own.loadings
        eta, along = (xs * slope).sum(-1), (vs * slope).sum(-1)
        spread = (slope * (width * slope[..., None, :]).sum(-1)).sum(-1)
        value, first, bend = _bend(family, eta, own.read(family), y)
        total = jnp.where(seen, value + first * along - bend * spread / 2, 0)
        return total.sum(), jnp.where(seen, value, 0).sum(-1)

    slopes, value = jax.grad(terms, has_aux=True)(own)
    parts = [slopes.loadings * used, *(slopes.own[name] for name in sorted(slopes.own))]
    return value, jnp.concatenate(parts, -1)


def _bend(family: Any, eta: jax.Array, own: Any, y: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """log p(y | eta), its derivative, and minus the second where positive, else 0 [person, item]."""
    one = jnp.ones_like(eta)
    value = lambda e: family.log_prob(e, own, y)  # noqa: E731
    slope = lambda e: jax.jvp(value, (e,), (one,))  # noqa: E731
    (at, first), (_, second) = jax.jvp(slope, (eta,), (one,))
    return at, first, jnp.maximum(-second, 0)


def _bent(form: Form, group: Group, chunk: Chunk, x: jax.Array) -> Bent:
    return joint_derivatives(form, group, chunk.y, chunk.seen, chunk.design, x)


def _guarded(a: jax.Array, other: jax.Array) -> jax.Array:
    """A [person, D, D] where it is positive definite, else the other."""
    fine = jnp.isfinite(jnp.stack([row[-1] for row in cholesky_cells(cells_of(a))])).all(0)
    return jnp.where(fine[:, None, None], a, other)


def _solve(a: jax.Array, b: jax.Array) -> jax.Array:
    """A^-1 b [person, D]."""
    lower = cholesky_cells(cells_of(a))
    return jnp.stack(backward(lower, forward(lower, [b[:, k] for k in range(b.shape[-1])])), -1)


def _inverse(lower: Cells) -> jax.Array:
    """(L L')^-1 [person, D, D]."""
    d, one = len(lower), jnp.ones_like(lower[0][0])
    columns = []
    for k in range(d):
        unit = [one if i == k else 0 * one for i in range(d)]
        columns.append(jnp.stack(backward(lower, forward(lower, unit)), -1))
    return jnp.stack(columns, -1)
