"""Where a person's likelihood is looked at: points that all persons of a group share, or each person's own.

Each person's own lie around the mode of the posterior, which Newton steps find.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxlatent.data.chunks import Chunks
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.models.latent_prior import LOG_2_PI, Prior, moments
from jaxlatent.models.slots import FamilySlots, Slots, family_positions, slots_at
from jaxlatent.numerics.normal_density import psd_root
from jaxlatent.numerics.small_cholesky import backward, cells_of, cholesky_cells, forward, log_diagonal
from jaxlatent.numerics.types import Array
from jaxlatent.spec.layout import Layout
from jaxlatent.spec.two_tier import Reduction


@dataclass(frozen=True)
class Form:
    """What is static: families, whether points are each person's own, categories by family (0: not categorical),
    whether posterior weights are jackknifed, how the factors split where the integral is done on fewer points, and
    whether Laplace's approximation stands for the sum over points.
    """

    measurement: Measurement
    personal: bool
    categories: tuple[int, ...]
    jackknife: bool = False
    reduction: Reduction | None = None
    laplace: bool = False


class Points(NamedTuple):
    """Standardised points z [..., point, factor] and their log-weights [point]; personal: z [chunk or 1, person or 1,
    point, factor].
    """

    z: Array
    log_weight: Array


class Problem(NamedTuple):
    """Data, pattern of the parameters, points, and mean [group, k] and covariance [group, k, k] of the design.

    inner: points of one specific factor, where points are those of the general factors only.
    """

    chunks: Chunks
    layout: Layout
    slots: Slots
    points: Points
    design_mean: Array
    design_cov: Array
    inner: Points | None = None

    @property
    def n_points(self) -> int:
        """Points of a person, of one block where the integral is reduced."""
        return len(self.points.log_weight) * (1 if self.inner is None else len(self.inner.log_weight))


class Located(NamedTuple):
    """Points x [person or 1, point, D] of a chunk with log w - log q [person or 1, point]."""

    x: jax.Array
    log_weight: jax.Array


def shared_points(problem: Problem, params: Mapping[str, jax.Array]) -> Located:
    """Points of every group [group, point, D]: standardised ones moved to the group's marginal mean and covariance."""
    m, cov = moments(params)
    z, log_w = jnp.asarray(problem.points.z), jnp.asarray(problem.points.log_weight)
    center = (m @ problem.design_mean[..., None])[..., 0]
    root = psd_root(cov + m @ problem.design_cov @ m.mT)
    x = center[:, None, :] + z @ root.mT
    log_det = jnp.log(jnp.diagonal(root, axis1=-2, axis2=-1)).sum(-1)
    log_q = -(z**2).sum(-1) / 2 - z.shape[-1] * LOG_2_PI / 2 - log_det[:, None]
    return Located(x, log_w - log_q)


class Group(NamedTuple):
    """What a chunk needs of its group's parameters."""

    loadings: jax.Array
    slots: list[FamilySlots]
    prior: Prior


def group_at(loadings: jax.Array, slots: list[FamilySlots], prior: Prior, g: Any) -> Group:
    """One group's, without the group axis."""
    return Group(loadings[g], [slots_at(each, g) for each in slots], Prior(*(a[g] for a in prior)))


class Bent(NamedTuple):
    """Derivatives of log p(y, x) by x: gradient [person, D], curvature and exact [person, D, D].

    exact is minus the second derivatives. In curvature an item counts where it bends downwards, so that the matrix is
    positive definite for every family; they differ where log p(y | x) is not concave.
    """

    gradient: jax.Array
    curvature: jax.Array
    exact: jax.Array


def joint_derivatives(form: Form, group: Group, y: jax.Array, seen: jax.Array, design: jax.Array, x: jax.Array) -> Bent:
    """Derivatives at x [person, D]."""
    d = x.shape[-1]
    gradient = design @ group.prior.linear.T - x @ group.prior.precision
    curvature = exact = jnp.broadcast_to(group.prior.precision, (*x.shape, d))
    for (family, _), at, each in zip(
        form.measurement.groups, family_positions(form.measurement), group.slots, strict=True
    ):
        rows = group.loadings[at]
        own = jax.tree.map(lambda a: a[None], each).read(family)
        eta = x @ rows.T

        def slope(e: jax.Array, own: Any = own, family: Any = family, at: Any = at) -> jax.Array:
            return jax.grad(lambda v: family.log_prob(v, own, y[:, at]).sum())(e)

        first, second = jax.jvp(slope, (eta,), (jnp.ones_like(eta),))
        gradient = gradient + jnp.where(seen[:, at], first, 0) @ rows
        outer = (rows[:, :, None] * rows[:, None, :]).reshape(-1, d * d)
        bend = jnp.where(seen[:, at], -second, 0)
        curvature = curvature + (jnp.maximum(bend, 0) @ outer).reshape(-1, d, d)
        exact = exact + (bend @ outer).reshape(-1, d, d)
    return Bent(gradient, curvature, exact)


def newton_step(gradient: jax.Array, curvature: jax.Array) -> jax.Array:
    """curvature^-1 gradient [person, D], at most 2 long."""
    lower = cholesky_cells(cells_of(curvature))
    step = jnp.stack(backward(lower, forward(lower, [gradient[..., i] for i in range(gradient.shape[-1])])), -1)
    size = jnp.sqrt((step**2).sum(-1, keepdims=True))
    return step * jnp.minimum(1.0, 2.0 / jnp.maximum(size, 1e-30))


def posterior_mode(
    form: Form, group: Group, y: jax.Array, seen: jax.Array, design: jax.Array, start: jax.Array, steps: Any
) -> tuple[jax.Array, Any]:
    """Modes [person, D] of p(x | y) and the Cholesky cells of the curvature there, by damped Newton steps."""

    def newton(_: Any, x: jax.Array) -> jax.Array:
        at = joint_derivatives(form, group, y, seen, design, x)
        return x + newton_step(at.gradient, at.curvature)

    x = lax.fori_loop(0, steps, newton, start)
    return x, cholesky_cells(cells_of(joint_derivatives(form, group, y, seen, design, x).curvature))


def personal_points(
    form: Form, group: Group, y: jax.Array, seen: jax.Array, design: jax.Array, mode: jax.Array, steps: Any,
    z: jax.Array, log_w: jax.Array,
) -> tuple[Located, jax.Array]:  # fmt: skip
    """x = mode + L'^-1 z with L L' the curvature at the mode: points of one chunk, and the modes."""
    mode, lower = posterior_mode(form, group, y, seen, design, mode, steps)
    d = mode.shape[-1]
    wide = [[cell[:, None] for cell in row] for row in lower]
    away = backward(wide, [z[..., i] for i in range(d)])
    x = jnp.stack([mode[:, None, i] + away[i] for i in range(d)], -1)
    log_q = -(z**2).sum(-1) / 2 - d * LOG_2_PI / 2 + log_diagonal(lower)[:, None]
    return Located(x, log_w - log_q), mode


def jackknifed(w: jax.Array) -> jax.Array:
    """w_r [R - (R - 1)/R (sum_s 1/(1 - w_s) - 1/(1 - w_r))]: self-normalised weights less their bias of order 1/R."""
    n = w.shape[-1]
    inverse = 1 / (1 - jnp.minimum(w, 0.9))
    return w * (n - (n - 1) / n * (inverse.sum(-1, keepdims=True) - inverse))
