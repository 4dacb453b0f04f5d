"""Discrepancies between sample and implied moments, with exact first and second derivatives.

F_ML  = 1/2 [log|Sigma| + tr(S Sigma^-1) + (m - mu)' Sigma^-1 (m - mu) - log|S| - p]      (per group, weighted n_g / N)
F_LS  = 1/2 [s - sigma(theta)]' W [s - sigma(theta)]                                      (means first, then vech)
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.models.cells import (
    Cells,
    basis,
    curvature_cells,
    gradient_cells,
    implied,
    information_cells,
    observed_cells,
    pairs_to_free,
    to_free,
    vech_jacobian,
)
from jaxlatent.numerics.linalg import spd_inverse
from jaxlatent.numerics.newton import Evaluation
from jaxlatent.numerics.types import Array
from jaxlatent.spec.layout import unpack


class MomentProblem(NamedTuple):
    """All a moment engine needs, as arrays: nothing in it but shapes decides what is compiled."""

    cells: Cells
    where: dict  # positions of free cells, as Layout.index
    fixed: dict
    used: Array  # [free] 1 for a parameter, 0 for padding
    start: Array  # [free]
    mean: Array  # [group, p]
    cov: Array  # [group, p, p]
    weight: Array  # [group] n_g / N
    constant: Array  # [group] log|S| + p
    extra: Array = None  # least squares: W, [group, moments] (diagonal) or [group, moments, moments]


def _collect(
    problem: MomentProblem, value: jax.Array, gradient: jax.Array, hessian: jax.Array, expected: jax.Array
) -> Evaluation:
    """Weighted sums over groups, from cells to free parameters; padded parameters get a unit diagonal."""
    n, w, free = problem.used.shape[0], problem.weight, problem.cells.free
    pad = jnp.diag(1 - problem.used)
    return Evaluation(
        w @ value,
        to_free(w[:, None] * gradient, free, n),
        pairs_to_free(w[:, None, None] * hessian, free, n) + pad,
        pairs_to_free(w[:, None, None] * expected, free, n) + pad,
    )


def maximum_likelihood(problem: MomentProblem, free: jax.Array) -> Evaluation:
    """F_ML at a free vector."""

    def group(cells: Cells, params: dict, mean: jax.Array, cov: jax.Array, constant: jax.Array) -> tuple:
        mu, sigma = implied(params)
        b = basis(params)
        inverse, log_det = spd_inverse(sigma)
        residual = mean - mu
        moment = cov + residual[:, None] * residual
        ke = inverse @ b.columns
        k, r = b.columns.T @ ke, ke.T @ moment @ ke
        z = ke.T @ residual
        value = (log_det + (inverse * moment).sum() - constant) / 2
        hessian = observed_cells(cells, b, k, r, z) + curvature_cells(cells, b, k - r, z)
        return value, gradient_cells(cells, b, k - r, z), hessian, information_cells(cells, b, k)

    params = unpack(problem.where, problem.fixed, free)
    parts = jax.vmap(group)(problem.cells, params, problem.mean, problem.cov, problem.constant)
    return _collect(problem, *parts)


def least_squares(problem: MomentProblem, free: jax.Array) -> Evaluation:
    """F_LS at a free vector; the Gauss-Newton matrix stands where the expected Hessian does."""
    lower = np.tril_indices(problem.cov.shape[-1])
    diagonal = problem.extra.ndim == 2

    def group(cells: Cells, params: dict, mean: jax.Array, cov: jax.Array, w: jax.Array) -> tuple:
        p = mean.shape[0]
        mu, sigma = implied(params)
        b = basis(params)
        residual = jnp.concatenate([mean - mu, (cov - sigma)[lower]])
        jacobian = jnp.concatenate(vech_jacobian(cells, b, lower))
        weighted = w * residual if diagonal else w @ residual
        wj = w[:, None] * jacobian if diagonal else w @ jacobian
        # -weighted' d2 sigma, through the symmetric matrix whose 1/2 tr(. dSigma) is weighted' d vech(Sigma)
        pull = jnp.zeros((p, p), w.dtype).at[lower].set(weighted[p:])
        pull = -(pull + pull.T)
        e = b.columns
        curve = curvature_cells(cells, b, e.T @ pull @ e, e.T @ weighted[:p])
        expected = jacobian.T @ wj
        return residual @ weighted / 2, -(jacobian.T @ weighted), expected + curve, expected

    params = unpack(problem.where, problem.fixed, free)
    parts = jax.vmap(group)(problem.cells, params, problem.mean, problem.cov, problem.extra)
    return _collect(problem, *parts)
