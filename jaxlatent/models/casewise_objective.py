"""The structured model on incomplete rows (FIML), per person, as one compiled objective: for loops inside programs."""

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
