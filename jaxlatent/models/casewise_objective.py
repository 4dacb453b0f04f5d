"""Objectives on incomplete rows: the structured model (FIML) and the saturated one, per person."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.models.casewise import gram_matrices, log_likelihood, saturated_information
from jaxlatent.models.cells import (
    Cells,
    basis,
    curvature_cells,
    gradient_cells,
    implied,
    information_cells,
    pairs_to_free,
    to_free,
    vech_jacobian,
)
from jaxlatent.numerics.linalg import spd_inverse
from jaxlatent.numerics.masked import Cases
from jaxlatent.numerics.types import Array
from jaxlatent.spec.layout import unpack


class CasewiseProblem(NamedTuple):
    """A structured model and its incomplete data, with leading group axes."""

    cells: Cells
    where: dict  # positions of free cells, as Layout.index
    fixed: dict
    used: Array
    cases: tuple[tuple[Cases, ...], ...]  # by group, then by number of missing variables
    n: Array  # () persons in all


def fiml_first(problem: CasewiseProblem, free: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Minus log-likelihood per person and its gradient [free]."""
    params = unpack(problem.where, problem.fixed, free)

    def group(args: tuple) -> tuple[jax.Array, jax.Array]:
        cells, matrices, cases = args
        mu, sigma = implied(matrices)
        b = basis(matrices)
        s = log_likelihood(mu, sigma, cases)
        e = b.columns
        return s.value, gradient_cells(cells, b, e.T @ s.d_cov @ e, -(e.T @ s.d_mean))

    value, gradient = _stack([group(args) for args in _groups(problem, params)])
    n_free = problem.used.shape[0]
    return value.sum() / problem.n, to_free(gradient, problem.cells.free, n_free) / problem.n


def fiml_second(problem: CasewiseProblem, free: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Hessian per person of minus log-likelihood, and the complete-data information that bounds it [free, free]."""
    params = unpack(problem.where, problem.fixed, free)

    def group(args: tuple) -> tuple[jax.Array, jax.Array]:
        cells, matrices, cases = args
        mu, sigma = implied(matrices)
        b = basis(matrices)
        e = b.columns
        s = log_likelihood(mu, sigma, cases)
        jacobian = jnp.concatenate(vech_jacobian(cells, b, np.tril_indices(len(mu))))
        moments = saturated_information(gram_matrices(mu, sigma, cases))
        curve = curvature_cells(cells, b, e.T @ s.d_cov @ e, -(e.T @ s.d_mean))
        k = spd_inverse(sigma)[0]
        return jacobian.T @ moments @ jacobian + curve, count(cases) * information_cells(cells, b, e.T @ k @ e)

    hessian, complete = _stack([group(args) for args in _groups(problem, params)])
    n_free = problem.used.shape[0]
    pad = jnp.diag(1 - problem.used)
    fold = lambda m: pairs_to_free(m, problem.cells.free, n_free) / problem.n + pad  # noqa: E731
    return fold(hessian), fold(complete)


def _groups(problem: CasewiseProblem, params: dict) -> list[tuple]:
    pick = lambda tree, g: jax.tree.map(lambda a: a[g], tree)  # noqa: E731
    return [(pick(problem.cells, g), pick(params, g), cases) for g, cases in enumerate(problem.cases)]


def _stack(parts: list[tuple]) -> tuple:
    return tuple(jnp.stack(column) for column in zip(*parts, strict=True))


def count(buckets: tuple[Cases, ...]) -> jax.Array:
    """Persons in all cases ()."""
    return sum((cases.n.sum() for cases in buckets), start=jnp.zeros(()))


def pack_moments(mu: jax.Array, sigma: jax.Array) -> jax.Array:
    """(mu, vech Sigma) [p + p(p+1)/2]."""
    return jnp.concatenate([mu, sigma[np.tril_indices(len(mu))]])


def unpack_moments(x: jax.Array, p: int) -> tuple[jax.Array, jax.Array]:
    lower = np.tril_indices(p)
    sigma = jnp.zeros((p, p), x.dtype).at[lower].set(x[p:])
    return x[:p], sigma + jnp.tril(sigma, -1).T


def saturated_first(cases: tuple[Cases, ...], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Minus log-likelihood per person of free moments, and its gradient over (mu, vech Sigma)."""
    p = cases[0].mean.shape[-1]
    s = log_likelihood(*unpack_moments(x, p), cases)
    n = count(cases)
    d = s.d_cov - jnp.diag(jnp.diagonal(s.d_cov)) / 2
    return s.value / n, pack_moments(s.d_mean, d) / n


def saturated_second(cases: tuple[Cases, ...], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Hessian per person over (mu, vech Sigma), and the complete-data information."""
    p = cases[0].mean.shape[-1]
    mu, sigma = unpack_moments(x, p)
    k = spd_inverse(sigma)[0]
    a, b = np.tril_indices(p)
    half = np.where(a == b, 0.5, 1.0)
    cov = half[:, None] * half * (k[a][:, a] * k[b][:, b] + k[a][:, b] * k[b][:, a])
    complete = jax.scipy.linalg.block_diag(k, cov)
    return saturated_information(gram_matrices(mu, sigma, cases)) / count(cases), complete


def pattern_information(mu: jax.Array, sigma: jax.Array, cases: tuple[Cases, ...]) -> jax.Array:
    """Expected information of (mu, vech Sigma) given the patterns of missing values, summed over persons.

    Observed information with v v' replaced by its expectation P: sum n [P, 0; 0, D'(P kron P)D / 2].
    """
    grams = gram_matrices(mu, sigma, cases)
    centred = grams._replace(v_p=jnp.zeros_like(grams.v_p), vv_p=grams.p_p)
    return saturated_information(centred)


def em_step(cases: tuple[Cases, ...], mu: jax.Array, sigma: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One EM step of the saturated model."""
    s = log_likelihood(mu, sigma, cases)
    return s.mean, s.cov
