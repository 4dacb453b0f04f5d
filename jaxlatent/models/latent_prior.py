"""The latent distribution x ~ N(M z, C) in its natural parameters, z the design: a column of ones and covariates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlatent.numerics.linalg import structural_inverse
from jaxlatent.numerics.normal_density import inverse_and_log_det

LOG_2_PI = math.log(2 * math.pi)


class Prior(NamedTuple):
    """x ~ N(M z, P^-1), z the design: P [.., D, D], P M [.., D, k], M'P M [.., k, k], log|P| [..]."""

    precision: jax.Array
    linear: jax.Array
    square: jax.Array
    log_det: jax.Array


def moments(params: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """M [group, D, k] and the covariance of x given the design [group, D, D]."""
    a = jax.vmap(structural_inverse)(params["regressions"])
    columns = [params["factor_means"][..., None]]
    if "covariate_effects" in params:
        columns.append(params["covariate_effects"])
    return a @ jnp.concatenate(columns, -1), a @ params["factor_cov"] @ a.mT


def prior_of(params: Mapping[str, jax.Array]) -> Prior:
    """The latent distribution of every group in its natural parameters."""
    m, cov = moments(params)
    precision, log_det = jax.vmap(inverse_and_log_det)(cov)
    linear = precision @ m
    return Prior(precision, linear, m.mT @ linear, -log_det)


def prior_vector(params: Mapping[str, jax.Array]) -> jax.Array:
    """What multiplies the features of x in log p(x) [group, feature]."""
    p = prior_of(params)
    n = p.log_det.shape[0]
    parts = [p.precision.reshape(n, -1), p.linear.reshape(n, -1), p.square.reshape(n, -1), p.log_det[:, None]]
    return jnp.concatenate(parts, -1)


def features(xx: jax.Array, x: jax.Array, design: jax.Array) -> jax.Array:
    """[-x x'/2, x z', -z z'/2, 1/2] [..., feature] of second moments [..., D, D], x [..., D] and design [..., k]."""
    shape = x.shape[:-1]
    square = jnp.broadcast_to(design[..., :, None] * design[..., None, :], (*shape, *design.shape[-1:] * 2))
    parts = [
        (-xx / 2).reshape(*shape, -1),
        (x[..., :, None] * design[..., None, :]).reshape(*shape, -1),
        (-square / 2).reshape(*shape, -1),
        jnp.full((*shape, 1), 0.5, x.dtype),
    ]
    return jnp.concatenate(parts, -1)


def log_prior(prior: Prior, x: jax.Array, design: jax.Array) -> jax.Array:
    """log p(x) [person, point] of x [person or 1, point, D] given design [person, k]; prior of the persons' group."""
    d = x.shape[-1]
    flat = x.reshape(-1, d)
    quadratic = ((flat @ prior.precision) * flat).sum(-1).reshape(x.shape[:-1])
    shift = design @ prior.linear.T
    constant = prior.log_det - d * LOG_2_PI - ((design @ prior.square) * design).sum(-1)
    cross = shift @ x[0].T if x.shape[0] == 1 else (x * shift[:, None, :]).sum(-1)
    return cross - quadratic / 2 + constant[:, None] / 2
