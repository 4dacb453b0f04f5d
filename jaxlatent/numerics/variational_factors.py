"""Variational Bayes of factor analysis: coordinate updates in closed form and the bound that none of them lowers.

    z_nj ~ N(λ_j'x_n + μ_j, 1/τ_j),  x_n ~ N(0, I),  λ_jk ~ N(0, 1/ν_k),  μ_j ~ N(0, 1/β),  ν_k, τ_j ~ Gamma(a, b)
    q = Π q(x_n) Π q(λ_j, μ_j) Π q(ν_k) Π q(τ_j)

Bishop (1999), Variational principal components; Ghahramani and Beal (2000). After each sweep factors are rotated and
rescaled together with loadings where that raises the bound (Luttinen and Ilin 2010, Neurocomputing 73).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import digamma, gammaln

from jaxlatent.numerics.linalg import sweep_inverse
from jaxlatent.numerics.program import jit
from jaxlatent.numerics.types import Array

LOG_2_PI = 1.8378770664093453
TRACE = 2048  # bounds of that many steps are kept


class Priors(NamedTuple):
    """a and b of the Gamma priors, and the precision β of the means."""

    shape: Any
    rate: Any
    mean_precision: Any


class Posterior(NamedTuple):
    """Parameters of q: of x [person, m] and [person, m, m]; of (λ_j, μ_j) [item, m + 1] and [item, m + 1, m + 1].

    tau_shape, tau_rate [item]; nu_shape, nu_rate [m].
    """

    x: Any
    x_cov: Any
    slope: Any
    slope_cov: Any
    tau_shape: Any
    tau_rate: Any
    nu_shape: Any
    nu_rate: Any


class Fitting(NamedTuple):
    """A posterior, its bound, steps, whether it converged, and the bounds of all steps."""

    q: Posterior
    bound: jax.Array
    steps: jax.Array
    converged: jax.Array
    trace: jax.Array


@partial(jit, static_argnames=("ard",))
def fit_factors(y: Any, seen: Any, start: Any, priors: Priors, tolerance: Any, max_steps: Any, *, ard: bool) -> Fitting:
    """Sweeps until the bound gains less than the tolerance. y [person, item] is 0 where seen is 0; start: E(λ, μ)."""
    p, width = start.shape
    m = width - 1
    count = seen.sum(0)
    ones = jnp.ones(m, y.dtype)
    q = Posterior(
        jnp.zeros((y.shape[0], m), y.dtype), jnp.zeros((y.shape[0], m, m), y.dtype), start,
        jnp.zeros((p, width, width), y.dtype) + 1e-2 * jnp.eye(width, dtype=y.dtype),
        priors.shape + count / 2, (priors.shape + count / 2) * 0.5,
        ones * (priors.shape + p / 2), ones * (priors.shape + p / 2),
    )  # fmt: skip
    begin = Fitting(q, jnp.asarray(-jnp.inf), jnp.asarray(0), jnp.asarray(False), jnp.full(TRACE, jnp.nan, y.dtype))

    def going(s: Fitting) -> jax.Array:
        return (~s.converged) & (s.steps < max_steps) & ~jnp.isnan(s.bound)

    def body(s: Fitting) -> Fitting:
        q = sweep(s.q, y, seen, priors, ard)
        value = bound(q, y, seen, priors, ard)
        turned = _update_nu(rotated(q), priors) if ard else rotated(q)
        other = bound(turned, y, seen, priors, ard)
        better = other > value
        q = jax.tree.map(lambda a, b: jnp.where(better, a, b), turned, q)
        value = jnp.where(better, other, value)
        trace = s.trace.at[jnp.minimum(s.steps, TRACE - 1)].set(value)
        return Fitting(q, value, s.steps + 1, value - s.bound <= tolerance, trace)

    return lax.while_loop(going, body, begin)


def sweep(q: Posterior, y: jax.Array, seen: jax.Array, priors: Priors, ard: bool) -> Posterior:
    """One update of each factor of q: persons, loadings, noise, relevance."""
    q = _update_x(q, y, seen)
    q = _update_slopes(q, y, seen, priors, ard)
    left = _expected_squares(q, y, seen)
    q = q._replace(tau_shape=priors.shape + seen.sum(0) / 2, tau_rate=priors.rate + left / 2)
    return _update_nu(q, priors) if ard else q


def person_posterior(slope: Array, slope_cov: Array, tau: Array, y: Array, seen: Array) -> tuple[jax.Array, jax.Array]:
    """Mean [person, m] and covariance [person, m, m] of q(x) given the moments of the loadings."""
    n, m = y.shape[0], slope.shape[1] - 1
    second = slope_cov + slope[:, :, None] * slope[:, None, :]
    gram = (seen @ (tau[:, None, None] * second[:, :m, :m]).reshape(-1, m * m)).reshape(n, m, m)
    cov = _inverse(jnp.eye(m, dtype=y.dtype) + gram)
    b = (y * seen) @ (tau[:, None] * slope[:, :m]) - seen @ (tau[:, None] * second[:, :m, m])
    return (cov @ b[:, :, None])[:, :, 0], cov


def _inverse(a: jax.Array) -> jax.Array:
    """Inverses of symmetric [..., k, k], symmetric to the last bit: sweeps would let differences grow."""
    return _symmetric(sweep_inverse(_symmetric(a))[0])


def _symmetric(a: jax.Array) -> jax.Array:
    return (a + jnp.swapaxes(a, -1, -2)) / 2


def _update_x(q: Posterior, y: jax.Array, seen: jax.Array) -> Posterior:
    x, cov = person_posterior(q.slope, q.slope_cov, q.tau_shape / q.tau_rate, y, seen)
    return q._replace(x=x, x_cov=cov)


def _moments(q: Posterior, y: jax.Array, seen: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Σ E (x, 1)(x, 1)' and Σ y E(x, 1) over the persons who have an item [item, ...]."""
    n, m = q.x.shape
    x = jnp.concatenate([q.x, jnp.ones((n, 1), y.dtype)], 1)
    outer = (x[:, :, None] * x[:, None, :]).at[:, :m, :m].add(q.x_cov)
    return (seen.T @ outer.reshape(n, -1)).reshape(-1, m + 1, m + 1), (y * seen).T @ x


def _precisions(q: Posterior, priors: Priors, ard: bool) -> jax.Array:
    """E ν, and β for the means."""
    nu = q.nu_shape / q.nu_rate if ard else jnp.ones_like(q.nu_rate)
    return jnp.append(nu, priors.mean_precision)


def _update_slopes(q: Posterior, y: jax.Array, seen: jax.Array, priors: Priors, ard: bool) -> Posterior:
    gram, cross = _moments(q, y, seen)
    tau = q.tau_shape / q.tau_rate
    cov = _inverse(jnp.diag(_precisions(q, priors, ard)) + tau[:, None, None] * gram)
    return q._replace(slope=tau[:, None] * (cov @ cross[:, :, None])[:, :, 0], slope_cov=cov)


def _expected_squares(q: Posterior, y: jax.Array, seen: jax.Array) -> jax.Array:
    """Σ_n E (y - λ'x - μ)² [item]."""
    gram, cross = _moments(q, y, seen)
    second = q.slope_cov + q.slope[:, :, None] * q.slope[:, None, :]
    return (y * y * seen).sum(0) - 2 * (q.slope * cross).sum(1) + (second * gram).sum((1, 2))


def _update_nu(q: Posterior, priors: Priors) -> Posterior:
    m = q.x.shape[1]
    square = (q.slope[:, :m] ** 2).sum(0) + jnp.diagonal(q.slope_cov.sum(0))[:m]
    return q._replace(nu_rate=priors.rate + square / 2)


def rotated(q: Posterior) -> Posterior:
    """The same products λ'x with factors of second moment I and loadings whose second moments are diagonal."""
    n, m = q.x.shape
    second = (q.x.T @ q.x + q.x_cov.sum(0)) / n
    value, vector = jnp.linalg.eigh(second)
    root = jnp.sqrt(jnp.maximum(value, 1e-12))
    back = vector * root  # λ -> back' λ
    gram = (q.slope[:, :m].T @ q.slope[:, :m]) + q.slope_cov[:, :m, :m].sum(0)
    turn = jnp.linalg.eigh(back.T @ gram @ back)[1][:, ::-1]
    on_x = turn.T @ (vector / root).T
    on_slope = jnp.eye(m + 1, dtype=q.x.dtype).at[:m, :m].set(turn.T @ back.T)
    return q._replace(
        x=q.x @ on_x.T,
        x_cov=_symmetric(on_x @ q.x_cov @ on_x.T),
        slope=q.slope @ on_slope.T,
        slope_cov=_symmetric(on_slope @ q.slope_cov @ on_slope.T),
    )


def bound(q: Posterior, y: jax.Array, seen: jax.Array, priors: Priors, ard: bool) -> jax.Array:
    """E_q log p(y, x, λ, μ, ν, τ) - E_q log q."""
    n, m = q.x.shape
    p = y.shape[1]
    tau, log_tau = q.tau_shape / q.tau_rate, digamma(q.tau_shape) - jnp.log(q.tau_rate)
    data = (seen.sum(0) * (log_tau - LOG_2_PI) - tau * _expected_squares(q, y, seen)).sum() / 2
    persons = (sweep_inverse(q.x_cov)[1].sum() + n * m - jnp.trace(q.x_cov.sum(0)) - (q.x**2).sum()) / 2
    second = q.slope_cov + q.slope[:, :, None] * q.slope[:, None, :]
    log_nu = (digamma(q.nu_shape) - jnp.log(q.nu_rate)).sum() if ard else 0.0
    prior = p * (log_nu + jnp.log(priors.mean_precision))
    prior -= (jnp.diagonal(second.sum(0)) * _precisions(q, priors, ard)).sum()
    loadings = (prior + sweep_inverse(q.slope_cov)[1].sum() + p * (m + 1)) / 2
    out = data + persons + loadings - gamma_divergence(q.tau_shape, q.tau_rate, priors).sum()
    return out - gamma_divergence(q.nu_shape, q.nu_rate, priors).sum() if ard else out


def gamma_divergence(shape: jax.Array, rate: jax.Array, priors: Priors) -> jax.Array:
    """KL from Gamma(shape, rate) to the prior."""
    a, b = priors.shape, priors.rate
    out = (shape - a) * digamma(shape) - gammaln(shape) + gammaln(a)
    return out + a * (jnp.log(rate) - jnp.log(b)) + shape * (b - rate) / rate
