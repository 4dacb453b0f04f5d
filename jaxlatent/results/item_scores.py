"""Scores of persons on the latent variables of item response models."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.inference.item_data import ItemRows
from jaxlatent.inference.marginal_fit import ItemFitted, form_of, pattern_data, problem_of
from jaxlatent.integration.gauss_hermite import GaussHermite
from jaxlatent.integration.histogram import EmpiricalHistogram
from jaxlatent.models.marginal import PersonMoments, person_moments
from jaxlatent.models.persons import inputs_of, located, setting
from jaxlatent.models.points import Form, Problem
from jaxlatent.models.slots import eta_of, family_positions
from jaxlatent.numerics.program import jit
from jaxlatent.numerics.small_cholesky import backward, cells_of, cholesky_cells, forward
from jaxlatent.numerics.types import Array

METHODS = ("eap", "map", "ml", "wle", "eapsum")
MODE_STEPS = 60
FLAT = 1e-6
LIMIT = 12.0  # a maximum likelihood score beyond is infinite


@partial(jit, static_argnums=0)
def _moments(form: Form, problem: Problem, free: jax.Array, modes: jax.Array) -> PersonMoments:
    return person_moments(form, problem, free, modes, 12)


def posterior_moments(fitted: ItemFitted, data: ItemRows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log p(y_i) [person], posterior means [person, D] and covariances [person, D, D] by the rule of the fit."""
    if fitted.is_learned:
        found = fitted.amortized.posteriors(fitted.free, data, known=data is fitted.data)
        return found.log_marginal, found.mean, found.cov
    used, inverse = pattern_data(replace(data, weight=None))
    form = fitted.form
    with jax.enable_x64(True):
        problem, modes, places = problem_of(form, fitted.layout, used, fitted.table.n_groups, fitted.rule, fitted.key)
        found = _moments(form, problem, jnp.asarray(fitted.free), modes)
        d = found.mean.shape[-1]
        value = np.asarray(found.log_marginal, float).ravel()[places][inverse]
        mean = np.asarray(found.mean, float).reshape(-1, d)[places][inverse]
        cov = np.asarray(found.cov, float).reshape(-1, d, d)[places][inverse]
    return value, mean, cov


@partial(jit, static_argnums=(0, 4))
def _modes(form: Form, problem: Problem, free: jax.Array, modes: jax.Array, kind: str) -> tuple[Array, Array]:
    """Maximum of log p(y | x) [+ log p(x)] [+ log|I(x)|/2] and minus its second derivatives there."""
    here = setting(replace(form, personal=False), problem, free, modes.dtype)
    positions = family_positions(form.measurement)
    d = modes.shape[-1]

    def one(each: Any) -> tuple[Array, Array]:
        group, chunk, _, _, _ = located(replace(form, personal=False), problem, here, each, 0)
        shift = chunk.design @ group.prior.linear.T

        def log_lik(x: jax.Array) -> jax.Array:
            total = jnp.zeros(x.shape[0], x.dtype)
            for (family, _), at, slots in zip(form.measurement.groups, positions, group.slots, strict=True):
                own = jax.tree.map(lambda a: a[None], slots).read(family)
                given = family.log_prob(eta_of(x, group.loadings, at), own, chunk.y[:, at])
                total = total + jnp.where(chunk.seen[:, at], given, 0).sum(-1)
            return total

        def information(x: jax.Array) -> jax.Array:
            total = jnp.zeros((x.shape[0], d, d), x.dtype)
            for (family, _), at, slots in zip(form.measurement.groups, positions, group.slots, strict=True):
                own = jax.tree.map(lambda a: a[None], slots).read(family)
                rows = group.loadings[at]
                weight = jnp.where(chunk.seen[:, at], family.information(eta_of(x, group.loadings, at), own), 0)
                outer = (rows[:, :, None] * rows[:, None, :]).reshape(-1, d * d)
                total = total + (weight @ outer).reshape(-1, d, d)
            return total

        def log_det(x: jax.Array) -> jax.Array:
            lower = cholesky_cells(cells_of(information(x) + 1e-12 * jnp.eye(d, dtype=x.dtype)))
            return jnp.stack([jnp.log(row[-1]) for row in lower]).sum(0)

        def objective(x: jax.Array) -> jax.Array:
            value = log_lik(x)
            if kind == "map":
                value = value + (x * shift).sum(-1) - ((x @ group.prior.precision) * x).sum(-1) / 2
            return value + log_det(x) if kind == "wle" else value

        slope = jax.grad(lambda x: objective(x).sum())

        def curvature(x: jax.Array) -> jax.Array:
            return -jnp.stack([jax.jvp(slope, (x,), (jnp.zeros_like(x).at[:, k].set(1),))[1] for k in range(d)], -1)

        def newton(_: Any, x: jax.Array) -> jax.Array:
            gradient = slope(x)
            prior = group.prior.precision if kind == "map" else 1e-8 * jnp.eye(d, dtype=x.dtype)
            guide = information(x) + prior
            exact = curvature(x)
            lower = cholesky_cells(cells_of(exact))
            pivots = jnp.stack([row[-1] for row in lower])
            fine = (jnp.isfinite(pivots) & (pivots > FLAT)).all(0)  # far out the likelihood is flat to rounding
            lower = cholesky_cells(cells_of(jnp.where(fine[:, None, None], exact, guide)))
            step = jnp.stack(backward(lower, forward(lower, [gradient[:, k] for k in range(d)])), -1)
            size = jnp.sqrt((step**2).sum(-1, keepdims=True))
            step = step * jnp.minimum(1.0, 1.0 / jnp.maximum(size, 1e-30))
            here_value = objective(x)

            def halve(_: Any, s: jax.Array) -> jax.Array:
                worse = ~(objective(x + s) >= here_value - 1e-12)
                return jnp.where(worse[:, None], s / 4, s)

            return jnp.clip(x + jax.lax.fori_loop(0, 4, halve, step), -4 * LIMIT, 4 * LIMIT)

        x = jax.lax.fori_loop(0, MODE_STEPS, newton, jnp.zeros_like(each.modes))
        return x, curvature(x)

    return jax.lax.map(one, inputs_of(replace(form, personal=False), problem, modes))


def mode_scores(fitted: ItemFitted, data: ItemRows, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores [person, D] that maximise posterior ("map"), likelihood ("ml") or Warm's weighted one ("wle"), and errors.

    Maximum likelihood scores of patterns without a finite one are -inf or inf, with error nan.
    """
    if kind == "map" and isinstance(fitted.rule, EmpiricalHistogram):
        raise ValueError("An empirical histogram has no mode between its nodes: use method 'eap', 'ml' or 'wle'.")
    if fitted.measurement.blocks:
        raise ValueError(f"Scores by {kind!r} are for items without networks: use method 'eap'.")
    used, inverse = pattern_data(replace(data, weight=None))
    form = form_of(fitted.measurement, fitted.coding, GaussHermite(1))
    with jax.enable_x64(True):
        problem, modes, places = problem_of(form, fitted.layout, used, fitted.table.n_groups, GaussHermite(1), 0, 256)
        x, info = (np.asarray(a) for a in _modes(form, problem, jnp.asarray(fitted.free), modes, kind))
    d = x.shape[-1]
    x, info = x.reshape(-1, d)[places], info.reshape(-1, d, d)[places]
    silent = np.diagonal(info, axis1=-2, axis2=-1) == 0  # factors of which a person answered no item
    info = info + silent[:, :, None] * np.eye(d)
    with np.errstate(all="ignore"):
        good = np.linalg.det(info) > 1e-12
        cov = np.full(info.shape, np.nan)
        cov[good] = np.linalg.inv(info[good])
        errors = np.where(silent, np.nan, np.sqrt(np.diagonal(cov, axis1=-2, axis2=-1)))
    if kind == "ml":
        infinite = np.abs(x) > LIMIT
        x = np.where(infinite, np.copysign(np.inf, x), x)
        errors = np.where(infinite.any(1, keepdims=True), np.nan, errors)
    return x[inverse], errors[inverse]
