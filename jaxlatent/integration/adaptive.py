"""Rules around each person's posterior mode: adaptive quadrature, Laplace's method, importance sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.integration.gauss_hermite import check_grid, grid
from jaxlatent.integration.rule import Params, PointModel, PointRule
from jaxlatent.integration.standard_points import StandardPoints, equal_weights, shifted_sobol
from jaxlatent.numerics.small_cholesky import backward, cells_of, cholesky_cells, forward, log_diagonal
from jaxlatent.numerics.sobol import normal_sobol, sobol
from jaxlatent.numerics.types import Array

NEWTON_STEPS = 20


def around_modes(
    model: PointModel, params: Params, data: Arrays, z: Array, log_weight: Array
) -> tuple[jax.Array, jax.Array]:
    """x = mode + L'^-1 z [point, person, D] and log w + log p(x) - log q, L L' the curvature at the mode."""
    latent = model.latent_distribution(params, data)
    d, n = latent.n_latent, data.n_persons
    dtype = params["factor_cov"].dtype

    def joint(x: jax.Array) -> jax.Array:
        return model.log_prob_given_latent(params, x, data) + latent.log_prob(x)

    slope = jax.grad(lambda x: joint(x).sum())

    def curvature(x: jax.Array) -> jax.Array:
        columns = [jax.jvp(slope, (x,), (jnp.zeros_like(x).at[:, k].set(1),))[1] for k in range(d)]
        return -jnp.stack(columns, -1)

    def newton(_: Any, x: jax.Array) -> jax.Array:
        lower, gradient = cholesky_cells(cells_of(curvature(x))), slope(x)
        step = jnp.stack(backward(lower, forward(lower, [gradient[:, k] for k in range(d)])), -1)
        step = jnp.where(jnp.isfinite(step).all(-1, keepdims=True), step, 0.1 * gradient)
        size = jnp.sqrt((step**2).sum(-1, keepdims=True))
        return x + step * jnp.minimum(1.0, 1.0 / jnp.maximum(size, 1e-30))

    mode = jax.lax.fori_loop(0, NEWTON_STEPS, newton, jnp.zeros((n, d), dtype))
    lower = cholesky_cells(cells_of(curvature(mode)))
    z = jnp.asarray(z, dtype)
    z = z[:, None, :] if z.ndim == 2 else jnp.moveaxis(z, 0, 1)
    away = backward(lower, [jnp.broadcast_to(z[..., k], (z.shape[0], n)) for k in range(d)])
    x = mode + jnp.stack(away, -1)
    log_q = -(z**2).sum(-1) / 2 - d * math.log(2 * math.pi) / 2 + log_diagonal(lower)
    return x, jnp.asarray(log_weight, dtype)[:, None] + latent.log_prob(x) - log_q


def _check(n: int) -> None:
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"Expected at least 1 point; got n = {n!r}.")


@partial(jax.tree_util.register_dataclass, data_fields=(), meta_fields=("n",))
@dataclass(frozen=True)
class AdaptiveGaussHermite(PointRule):
    """n Gauss-Hermite nodes per latent variable around each person's posterior mode, scaled by the curvature there.

    Source: Liu and Pierce (1994), Biometrika 81; Schilling and Bock (2005), Psychometrika 70.
    """

    n: int

    def __post_init__(self) -> None:
        _check(self.n)

    def standard(self, n_latent: int, shape: tuple[int, ...], dtype: str, key: int) -> StandardPoints:
        """The same nodes for every person, [1, 1, point, D]."""
        check_grid(self.n, n_latent)
        z, log_w = grid(self.n, n_latent)
        return StandardPoints(z[None, None].astype(dtype), log_w)

    def points(self, model: PointModel, params: Params, data: Arrays) -> tuple[jax.Array, jax.Array]:
        latent = model.latent_distribution(params, data)
        return around_modes(model, params, data, *grid(self.n, latent.n_latent))


@partial(jax.tree_util.register_dataclass, data_fields=(), meta_fields=())
@dataclass(frozen=True)
class Laplace(PointRule):
    """Laplace's method: one point, the mode, with the volume of the normal curve there (Tierney and Kadane 1986)."""

    def standard(self, n_latent: int, shape: tuple[int, ...], dtype: str, key: int) -> StandardPoints:
        """The mode itself."""
        return StandardPoints(np.zeros((1, 1, 1, n_latent), dtype), np.zeros(1))

    def points(self, model: PointModel, params: Params, data: Arrays) -> tuple[jax.Array, jax.Array]:
        latent = model.latent_distribution(params, data)
        return around_modes(model, params, data, np.zeros((1, latent.n_latent)), np.zeros(1))


@partial(jax.tree_util.register_dataclass, data_fields=(), meta_fields=("n", "proposal"))
@dataclass(frozen=True)
class ImportanceSampling(PointRule):
    """n Sobol points of every person, around the posterior mode, shifted at random for each person.

    log p(y_i) ~ log 1/n sum_r p(y_i | x_r) p(x_r) / q_i(x_r),   q_i = N(mode, curvature^-1)

    proposal: None, the normal curve at the mode, or a guide, as fits by AmortizedVI have it.

    Source: Kuk (1999); Owen (1997) for the points.
    """

    n: int
    proposal: Any = None

    def __post_init__(self) -> None:
        _check(self.n)
        if self.proposal is not None and not hasattr(self.proposal, "bind"):
            raise ValueError(
                f"Expected proposal=None, the normal curve at the mode, or a guide; got {self.proposal!r}."
            )

    def standard(self, n_latent: int, shape: tuple[int, ...], dtype: str, key: int) -> StandardPoints:
        """Points of every person [*shape, point, D]."""
        u = sobol(self.n, n_latent, key)
        return StandardPoints(shifted_sobol(u, shape, dtype, jax.random.key(key)), equal_weights(self.n))

    def points(self, model: PointModel, params: Params, data: Arrays) -> tuple[jax.Array, jax.Array]:
        latent = model.latent_distribution(params, data)
        u = sobol(self.n, latent.n_latent)
        dtype = str(params["factor_cov"].dtype)
        z = shifted_sobol(u, (data.n_persons,), dtype, jax.random.key(0))
        return around_modes(model, params, data, z, equal_weights(self.n))


@partial(jax.tree_util.register_dataclass, data_fields=(), meta_fields=("n",))
@dataclass(frozen=True)
class QuasiMonteCarlo(PointRule):
    """n Sobol points of the prior, the same for all persons: for more latent variables than a grid can take."""

    n: int

    def __post_init__(self) -> None:
        _check(self.n)

    def standard(self, n_latent: int, shape: tuple[int, ...], dtype: str, key: int) -> StandardPoints:
        """Points [point, D]."""
        return StandardPoints(normal_sobol(self.n, n_latent, key).astype(dtype), equal_weights(self.n))

    def points(self, model: PointModel, params: Params, data: Arrays) -> tuple[jax.Array, jax.Array]:
        latent = model.latent_distribution(params, data)
        dtype = params["factor_cov"].dtype
        z = jnp.asarray(normal_sobol(self.n, latent.n_latent), dtype)
        return latent.transform(z[:, None]), jnp.asarray(equal_weights(self.n), dtype)[:, None]
