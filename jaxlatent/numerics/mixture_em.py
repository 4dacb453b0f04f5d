"""EM of mixtures of factor analysers: y | k ~ N(μ_k, Λ_k Λ_k' + Θ_k), k with probability π_k.

Ghahramani and Hinton (1996), The EM algorithm for mixtures of factor analyzers; McLachlan and Peel (2000). Both steps
are those of factor_em.py with the probabilities of the components as weights; missing cells are left out.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlatent.numerics.factor_em import Rows, posterior, regressions
from jaxlatent.numerics.program import jit
from jaxlatent.numerics.squarem import Climb, climb
from jaxlatent.numerics.types import Array

RIDGE = 1e-9  # keeps an empty component's regressions solvable


class Mixture(NamedTuple):
    """log π [k], loadings [k, item, m], log θ [k, item] and means [k, item]."""

    log_weight: Any
    loadings: Any
    log_theta: Any
    mean: Any


def flat(params: Mixture) -> jax.Array:
    """All parameters as one vector."""
    return jnp.concatenate([jnp.ravel(part) for part in params])


def unflat(u: Array, k: int, p: int, m: int) -> Mixture:
    """The vector's parts."""
    at = [k, k + k * p * m, k + k * p * m + k * p]
    a, b, c, d = jnp.split(jnp.asarray(u), at)
    return Mixture(a, b.reshape(k, p, m), c.reshape(k, p), d.reshape(k, p))


def components(params: Mixture, rows: Rows) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of every component: covariances and means of the factors [k, person, ...], log π_k p(y | k) [k, person]."""

    def one(a: jax.Array, log_theta: jax.Array, mean: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        return posterior(a, jnp.exp(log_theta), (rows.y - mean) * rows.seen, rows.seen)

    inner, x, value = jax.vmap(one)(params.loadings, params.log_theta, params.mean)
    return inner, x, value + jax.nn.log_softmax(params.log_weight)[:, None]


def mixture_step(
    u: jax.Array, rows: Rows, least: jax.Array, k: int, m: int, shared: bool
) -> tuple[jax.Array, jax.Array]:
    """One EM step, and the log-likelihood per person before it."""
    p = rows.y.shape[1]
    inner, x, joint = components(unflat(u, k, p, m), rows)
    total = jax.nn.logsumexp(joint, axis=0)
    share = jnp.exp(joint - total) * rows.weight

    def one(x: jax.Array, inner: jax.Array, share: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        return regressions(rows.y, rows.seen * share[:, None], x, inner, RIDGE)

    new, left, count = jax.vmap(one)(x, inner, share)
    if shared:
        left, count = (jnp.broadcast_to(part.sum(0), part.shape) for part in (left, count))
    theta = jnp.maximum(left / jnp.maximum(count, 1e-9), least)
    log_weight = jnp.log(jnp.maximum(share.sum(1) / rows.weight.sum(), 1e-300))
    out = flat(Mixture(log_weight, new[..., :m], jnp.log(theta), new[..., m]))
    return out, (total * rows.weight).sum() / rows.weight.sum()


@partial(jit, static_argnames=("k", "m", "shared"))
def climb_mixture(
    start: Any, rows: Rows, least: Any, tolerance: Any, max_steps: Any, *, k: int, m: int, shared: bool
) -> Climb:
    """EM to a maximum."""
    return climb(lambda u: mixture_step(u, rows, least, k, m, shared), start, tolerance, max_steps, True)


@partial(jit, static_argnames=("k", "m"))
def assign(u: Any, rows: Rows, *, k: int, m: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log-likelihoods [person], probabilities [person, k] and means of the factors [k, person, m]."""
    _, x, joint = components(unflat(u, k, rows.y.shape[1], m), rows)
    total = jax.nn.logsumexp(joint, axis=0)
    return total, jnp.exp(joint - total).T, x
