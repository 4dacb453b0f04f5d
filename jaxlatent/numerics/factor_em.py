"""E and M steps of factor analysis in closed form: y = μ + Λ x + e, x ~ N(0, I), e ~ N(0, Θ), Θ diagonal or θ I.

With M = I + Λ'Θ^-1 Λ:  E x = M^-1 Λ'Θ^-1 (y - μ),  E xx' = M^-1 + E x E x'. The M step is a regression of every
variable on the factors (Rubin and Thayer 1982, Psychometrika 47). Given the factors variables are independent, so that
with missing cells each variable's regression takes the persons who have it.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlatent.numerics.linalg import spd_inverse, sweep_inverse
from jaxlatent.numerics.program import jit
from jaxlatent.numerics.squarem import Climb, climb

LOG_2_PI = 1.8378770664093453


class Rows(NamedTuple):
    """Standardised rows: y [person, item] with 0 where missing, seen [person, item] as 0 and 1, weight [person]."""

    y: Any
    seen: Any
    weight: Any


def moment_step(u: jax.Array, cov: jax.Array, least: jax.Array, isotropic: bool) -> tuple[jax.Array, jax.Array]:
    """One EM step from a covariance matrix, u = (Λ, log θ); and the log-likelihood per person at u."""
    p = cov.shape[0]
    a, theta = u[:-p].reshape(p, -1), jnp.exp(u[-p:])
    m = a.shape[1]
    scaled = a / theta[:, None]
    inner, log_det = spd_inverse(jnp.eye(m, dtype=u.dtype) + a.T @ scaled)
    beta = inner @ scaled.T
    cross = cov @ beta.T
    second = inner + beta @ cross
    new = cross @ spd_inverse(second)[0]
    left = jnp.diagonal(cov) - (new * cross).sum(1)
    left = jnp.full(p, left.mean()) if isotropic else left
    trace = (jnp.diagonal(cov) / theta).sum() - (scaled * cross).sum()
    value = -(p * LOG_2_PI + jnp.log(theta).sum() + log_det + trace) / 2
    return jnp.concatenate([new.ravel(), jnp.log(jnp.maximum(left, least))]), value


def row_step(u: jax.Array, rows: Rows, least: jax.Array, isotropic: bool) -> tuple[jax.Array, jax.Array]:
    """One EM step from incomplete rows, u = (Λ, log θ, μ); and the log-likelihood per person at u."""
    p = rows.y.shape[1]
    a, theta, mean = u[: -2 * p].reshape(p, -1), jnp.exp(u[-2 * p : -p]), u[-p:]
    m = a.shape[1]
    e = (rows.y - mean) * rows.seen
    inner, mean_x, value = posterior(a, theta, e, rows.seen)
    new, left, count = regressions(rows.y, rows.seen * rows.weight[:, None], mean_x, inner)
    theta = jnp.full(p, left.sum() / count.sum()) if isotropic else left / count
    out = jnp.concatenate([new[:, :m].ravel(), jnp.log(jnp.maximum(theta, least)), new[:, m]])
    return out, (value * rows.weight).sum() / rows.weight.sum()


def regressions(
    y: jax.Array, weight: jax.Array, x: jax.Array, x_cov: jax.Array, ridge: float = 0.0
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Every variable on uncertain factors and a constant: (Λ, μ) [item, m + 1], what is left, sums of weights [item].

    y, weight [person, item]; x [person, m], x_cov [person, m, m]: moments of the factors.
    """
    n, m = x.shape
    both = jnp.concatenate([x, jnp.ones((n, 1), x.dtype)], 1)
    outer = (both[:, :, None] * both[:, None, :]).at[:, :m, :m].add(x_cov)
    gram = (weight.T @ outer.reshape(n, -1)).reshape(-1, m + 1, m + 1)
    cross = (weight * y).T @ both
    new = (sweep_inverse(gram + ridge * jnp.eye(m + 1, dtype=x.dtype))[0] @ cross[:, :, None])[:, :, 0]
    second = (new[:, :, None] * new[:, None, :] * gram).sum((1, 2))
    left = (weight * y**2).sum(0) - 2 * (new * cross).sum(1) + second
    return new, left, weight.sum(0)


def posterior(a: jax.Array, theta: jax.Array, e: jax.Array, seen: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Covariances [person, m, m] and means [person, m] of x given what is observed, and log-likelihoods [person]."""
    n, m = e.shape[0], a.shape[1]
    scaled = a / theta[:, None]
    outer = (scaled[:, :, None] * a[:, None, :]).reshape(-1, m * m)
    inner, log_det = sweep_inverse(jnp.eye(m, dtype=e.dtype) + (seen @ outer).reshape(n, m, m))
    b = e @ scaled
    mean = (inner @ b[:, :, None])[:, :, 0]
    fixed = seen @ (LOG_2_PI + jnp.log(theta))
    value = -(fixed + log_det + (e * e) @ (1 / theta) - (b * mean).sum(1)) / 2
    return inner, mean, value


@partial(jit, static_argnames=("isotropic", "accelerate"))
def climb_moments(
    start: Any, cov: Any, least: Any, tolerance: Any, max_steps: Any, *, isotropic: bool, accelerate: bool
) -> Climb:
    """EM from a covariance matrix to its maximum."""
    return climb(lambda u: moment_step(u, cov, least, isotropic), start, tolerance, max_steps, accelerate)


@partial(jit, static_argnames=("isotropic", "accelerate"))
def climb_rows(
    start: Any, rows: Rows, least: Any, tolerance: Any, max_steps: Any, *, isotropic: bool, accelerate: bool
) -> Climb:
    """EM from incomplete rows to the maximum."""
    return climb(lambda u: row_step(u, rows, least, isotropic), start, tolerance, max_steps, accelerate)
