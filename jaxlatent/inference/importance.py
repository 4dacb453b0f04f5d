"""Persons by importance sampling from a guide: marginal likelihood, posterior moments, and how good the weights are.

log p(y_i) ~ log 1/R sum_r w_ir,   w_ir = p(y_i | x_ir) p(x_ir) / q(x_ir | y_i),   x_ir ~ q

Sums are float64 whatever the precision of the draws; persons come in chunks, so that draws are never held together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.pareto import POOR, pareto_shape
from jaxlatent.numerics.program import jit

DRAWS_AT_ONCE = 200_000  # persons x draws of a chunk

Params = Mapping[str, Any]


class Proposal(Protocol):
    """q(x | y) of persons, a pytree: a bound guide."""

    def distribution(self, params: Any, arrays: Arrays, persons: jax.Array | None = None) -> Any:
        """A distribution of [person, D] with ``sample`` and ``log_prob``."""


class PersonPosterior(NamedTuple):
    """Of every person: log p(y) [person] and the variance of that estimate, mean [person, D] and covariance
    [person, D, D] of x given y, effective sample size, and the shape of the weights' Pareto tail.
    """

    log_marginal: Any
    variance: Any
    mean: Any
    cov: Any
    effective: Any
    shape: Any


class LogLikelihoodEstimate(NamedTuple):
    """A sampled log-likelihood: its value, its Monte Carlo standard error, and the draws of each person."""

    value: float
    standard_error: float
    n_samples: int


def log_weights(model: LatentVariableModel, params: Params, arrays: Arrays, q: Any, x: jax.Array) -> jax.Array:
    """log p(y | x) + log p(x) - log q(x) [R, person] at x [R, person, D]."""
    prior, log_q = model.latent_distribution(params, arrays), q.log_prob(x)
    x = x.astype(arrays.y.dtype)
    return model.log_prob_given_latent(params, x, arrays) + prior.log_prob(x) - log_q


def summarised(log_w: jax.Array, x: jax.Array) -> PersonPosterior:
    """Weights [R, person] and draws [R, person, D] in numbers of each person."""
    n = log_w.shape[0]
    log_w = log_w.astype(float)
    total = jax.nn.logsumexp(log_w, axis=0)
    w = jnp.exp(log_w - total)
    square = (w**2).sum(0)
    mean = (w[..., None] * x).sum(0)
    away = x - mean
    cov = jnp.einsum("rp,rpd,rpe->pde", w, away, away)
    shape = pareto_shape(log_w) if n >= 25 else jnp.full(total.shape, jnp.nan)
    return PersonPosterior(total - math.log(n), square - 1 / n, mean, cov, 1 / square, shape)


class Rows(NamedTuple):
    """Arrays [chunk, person, ...] with the rows' numbers [chunk, person]; padding repeats the first row."""

    arrays: Arrays
    rows: Any


def fresh(tree: Any) -> Any:
    """Arrays copied to the device in the precision of the context.

    A NumPy array that a program has seen in single precision would be taken from JAX's cache as such.
    """
    return jax.tree.map(lambda a: jnp.asarray(np.array(a)), tree)


def rows_of(arrays: Arrays, n_draws: int, most: int = DRAWS_AT_ONCE, *, known: bool = True) -> Rows:
    """Persons in chunks of one size, so that a chunk has at most so many draws (host).

    known: they are the persons of the fit; others have the number -1, and guides have nothing of their own for them.
    """
    n = arrays.n_persons
    size = min(max(most // n_draws, 1), 1 << max(n - 1, 1).bit_length())
    count = -(-n // size)
    order = np.r_[np.arange(n), np.zeros(count * size - n, int)]
    split = lambda a: np.asarray(a)[order].reshape(count, size, *np.shape(a)[1:])  # noqa: E731
    return Rows(jax.tree.map(split, arrays), (order if known else order * 0 - 1).reshape(count, size).astype(np.int32))


@partial(jit, static_argnums=0)
def _posteriors(
    n_draws: int, proposal: Proposal, model: LatentVariableModel, params: Params, guide: Any, rows: Rows, key: jax.Array
) -> PersonPosterior:
    def one(given: tuple[Rows, jax.Array]) -> PersonPosterior:
        each, own = given
        q = _double(proposal.distribution(guide, each.arrays, each.rows))
        x = q.sample(own, (n_draws,))
        return summarised(log_weights(model, params, each.arrays, q, x), x)

    return jax.lax.map(one, (rows, jax.random.split(key, rows.rows.shape[0])))


def person_posteriors(
    model: LatentVariableModel, params: Params, proposal: Proposal, guide: Any, arrays: Arrays, n_draws: int, key: int,
    *, known: bool = True, most: int = DRAWS_AT_ONCE,
) -> PersonPosterior:  # fmt: skip
    """Every person's posterior in NumPy arrays [person, ...], by n_draws from the proposal, so many draws at once."""
    rows = rows_of(arrays, n_draws, most, known=known)
    found = _posteriors(n_draws, *fresh((proposal, model, params, guide, rows)), jax.random.key(key))
    n = arrays.n_persons
    return PersonPosterior(*(np.asarray(a).reshape(-1, *a.shape[2:])[:n] for a in found))


@partial(jit, static_argnums=(0, 1))
def _resampled(
    n_draws: int, n: int, proposal: Proposal, model: LatentVariableModel, params: Params, guide: Any, rows: Rows,
    key: jax.Array,
) -> jax.Array:  # fmt: skip
    def one(given: tuple[Rows, jax.Array]) -> jax.Array:
        each, own = given
        ours, theirs = jax.random.split(own)
        q = _double(proposal.distribution(guide, each.arrays, each.rows))
        x = q.sample(ours, (n_draws,))
        log_w = log_weights(model, params, each.arrays, q, x)
        chosen = jax.random.categorical(theirs, log_w, axis=0, shape=(n, log_w.shape[1]))
        return jnp.swapaxes(jnp.take_along_axis(x, chosen[..., None], 0), 0, 1)

    return jax.lax.map(one, (rows, jax.random.split(key, rows.rows.shape[0])))


def resampled(
    model: LatentVariableModel, params: Params, proposal: Proposal, guide: Any, arrays: Arrays, n_draws: int, n: int,
    key: int, *, known: bool = True,
) -> np.ndarray:  # fmt: skip
    """n draws of every person [person, draw, D] from the posterior: draws from the proposal, taken by their weights."""
    rows = rows_of(arrays, n_draws, known=known)
    found = _resampled(n_draws, n, *fresh((proposal, model, params, guide, rows)), jax.random.key(key))
    return np.asarray(found).reshape(-1, *found.shape[2:])[: arrays.n_persons]


def total(found: PersonPosterior, weight: np.ndarray, n_draws: int) -> LogLikelihoodEstimate:
    """The log-likelihood of all persons with its Monte Carlo standard error (delta method)."""
    weight = np.asarray(weight, float)
    value, variance = float(weight @ found.log_marginal), float(weight**2 @ np.maximum(found.variance, 0))
    return LogLikelihoodEstimate(value, math.sqrt(variance), n_draws)


def poorly_approximated(found: PersonPosterior, there: np.ndarray) -> int:
    """Persons of those there whose weights have so heavy a tail (Pareto k > 0.7) that sums cannot be trusted."""
    return int((np.asarray(found.shape)[there] > POOR).sum())


@partial(jit, static_argnums=(0, 1))
def _curvature(
    n_draws: int, second: bool, proposal: Proposal, model: LatentVariableModel, networks: Params, free: jax.Array,
    guide: Any, rows: Rows, weight: jax.Array, key: jax.Array,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    q = free.shape[0]

    def add(carry: tuple, given: tuple) -> tuple[tuple, None]:
        each, own_weight, own = given
        found = proposal.distribution(guide, each.arrays, each.rows)
        x = found.sample(own, (n_draws,))
        log_q = found.log_prob(x)

        def log_marginal(at: jax.Array, arrays: Arrays, x: jax.Array, log_q: jax.Array) -> jax.Array:
            params = {**_single(model.layout.unpack(at)), **networks}
            prior = model.latent_distribution(params, arrays)
            given = model.log_prob_given_latent(params, x, arrays) + prior.log_prob(x) - log_q
            return jax.nn.logsumexp(given.astype(float), axis=0)

        def of_person(one: Arrays, x: jax.Array, log_q: jax.Array) -> jax.Array:
            alone = jax.tree.map(lambda a: a[None], one)
            return jax.grad(lambda at: log_marginal(at, alone, x[:, None], log_q[:, None])[0])(free)

        score = jax.vmap(of_person, (0, 1, 1))(each.arrays, x, log_q)
        cross = (score * own_weight[:, None]).T @ score
        if not second:
            return (carry[0] + cross, carry[1]), None
        slope = jax.grad(lambda at: (log_marginal(at, each.arrays, x, log_q) * own_weight).sum())
        bend = jax.lax.map(lambda e: jax.jvp(slope, (free,), (e,))[1], jnp.eye(q))
        return (carry[0] + cross, carry[1] - bend), None

    zero = jnp.zeros((q, q))
    keys = jax.random.split(key, rows.rows.shape[0])
    return jax.lax.scan(add, (zero, zero), (rows, weight, keys))[0]


def _double(q: Any) -> Any:
    """q(x | y) in the context's precision: where it is narrow, single precision loses (x - mean) / sd."""
    return jax.tree.map(lambda a: a.astype(float) if jnp.issubdtype(a.dtype, jnp.floating) else a, q)


def _single(tree: Any) -> Any:
    """Floating point arrays in float32: derivatives at draws are noisy by more than rounding."""
    cast = lambda a: a.astype(jnp.float32) if jnp.issubdtype(a.dtype, jnp.floating) else a  # noqa: E731
    return jax.tree.map(cast, tree)


def information(
    model: LatentVariableModel, networks: Params, free: np.ndarray, proposal: Proposal, guide: Any, arrays: Arrays,
    n_draws: int, key: int, *, observed: bool = True,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Cross-products of scores and observed information of the free vector, networks held where they are.

    Scores by Fisher's identity and second derivatives by Louis' formula are those of log sum_r w_ir at fixed draws.
    """
    rows = rows_of(_single(arrays), n_draws, DRAWS_AT_ONCE // 8)
    n, padded = arrays.n_persons, rows.rows.size
    weight = np.r_[np.asarray(arrays.weight, float), np.zeros(padded - n)].reshape(rows.rows.shape)
    found = _curvature(
        n_draws, observed, *fresh((proposal, model, networks, free, guide, rows, weight)), jax.random.key(key)
    )
    return np.asarray(found[0]), np.asarray(found[1])
