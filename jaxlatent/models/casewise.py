"""The Gaussian log-likelihood of incomplete rows, its derivatives in mean and covariance, and its EM step.

For one person with observed variables o, v = P (y - mu) and P = Sigma_oo^-1 put back into p x p:

    l = -1/2 [p_o log 2 pi + log|Sigma_oo| + (y - mu)' v],   dl/dmu = v,   dl/dSigma = 1/2 (v v' - P)

The second derivatives over (mu, vech Sigma) need only sum P, sum v x vech P and one large product over cases,
sum vech(2 v v' - P) x vech P: with vv' and P as A and B, A x B + B x A - B x B is the symmetric part of (2A - B) x B.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.numerics.linalg import spd_inverse
from jaxlatent.numerics.masked import (
    Blocks,
    Cases,
    missing_blocks,
    observed_inverses,
    observed_mask,
    over_chunks,
    scatter_blocks,
    solve_observed,
)
from jaxlatent.numerics.normal_density import posterior_cov
from jaxlatent.numerics.types import Array


class Sums(NamedTuple):
    """Minus log-likelihood, its derivatives by mu [p] and (symmetric, 1/2 tr(. dSigma)) [p, p], and the EM moments."""

    value: Array
    d_mean: Array
    d_cov: Array
    mean: Array
    cov: Array


class Grams(NamedTuple):
    """sum n P [p, p], sum n v x vech P [p, m] and sum n vech(2vv' - P) x vech P [m, m], m = p(p+1)/2."""

    p: Array
    v_p: Array
    pairs: Array


class Totals(NamedTuple):
    """What Sums are made of, additive over cases.

    n, value; v [p], vv' [p, p]; the inverse missing blocks of K put back [p, p]; completed residuals and their squares.
    """

    n: Array
    value: Array
    v: Array
    vv: Array
    inner: Array
    first: Array
    second: Array


class Point(NamedTuple):
    """Where a likelihood is evaluated: mean, covariance, its inverse and log-determinant."""

    mu: Array
    sigma: Array
    inverse: Array
    log_det: Array


def point_of(mu: Array, sigma: Array) -> Point:
    """All nan in the inverse where sigma is not positive definite."""
    return Point(mu, sigma, *spd_inverse(sigma))


def log_likelihood(mu: jax.Array, sigma: jax.Array, buckets: tuple[Cases, ...]) -> Sums:
    """Sums over all cases of all buckets."""
    at = point_of(mu, sigma)
    parts = [case_totals(at, cases) for cases in buckets]
    return sums_of(at, jax.tree.map(lambda *x: sum(x), *parts))


def sums_of(at: Point, t: Totals) -> Sums:
    """From totals over all cases; NumPy in, NumPy out."""
    k, shift = at.inverse, t.first / t.n
    cov = (t.second + t.inner) / t.n - shift[:, None] * shift
    return Sums(t.value, -t.v, t.n * k - k @ t.inner @ k - t.vv, at.mu + shift, cov)


def case_totals(at: Point, cases: Cases) -> Totals:
    """Totals over one bucket."""
    p, k = len(at.mu), at.inverse

    def add(total: Totals, c: Cases) -> Totals:
        blocks = missing_blocks(k, c)
        residual, v, complete = solve_observed(k, blocks, c, at.mu)
        n = c.n[:, None]
        constant = math.log(2 * math.pi) * observed_mask(c).sum(1)
        value = (c.n * (constant + at.log_det + blocks.log_det + (residual * v).sum(1))).sum() / 2
        vv, second = (v * n).T @ v, (complete * n).T @ complete
        inner = scatter_blocks(blocks, c, p)
        new = Totals(c.n.sum(), value, (n * v).sum(0), vv, inner, (n * complete).sum(0), second)
        return jax.tree.map(jnp.add, total, new if c.scatter is None else _add_scatter(at, blocks, c, new))

    zero = jnp.zeros
    square = zero((p, p))
    return over_chunks(add, Totals(zero(()), zero(()), zero(p), square, square, zero(p), square), cases)


def _add_scatter(at: Point, blocks: Blocks, c: Cases, t: Totals) -> Totals:
    """Whole patterns: add what their within-pattern scatter contributes."""
    scatter: Any = c.scatter
    p = observed_inverses(at.inverse, blocks, c)
    fit = at.sigma @ p  # [case, p, p]: completes residuals by regression on the observed ones
    vv, second = t.vv + (p @ scatter @ p).sum(0), t.second + (fit @ scatter @ fit.mT).sum(0)
    return t._replace(value=t.value + (p * scatter).sum() / 2, vv=vv, second=second)


def gram_matrices(mu: jax.Array, sigma: jax.Array, buckets: tuple[Cases, ...]) -> Grams:
    """What the observed information over (mu, vech Sigma) is made of."""
    at = point_of(mu, sigma)
    return jax.tree.map(lambda *x: sum(x), *[case_grams(at, cases) for cases in buckets])


def case_grams(at: Point, cases: Cases, observed: Array | float = 1.0) -> Grams:
    """Gram matrices over one bucket; observed 0: those of the information expected given the patterns.

    There v is replaced by its expectation, 0, and v v' by P: sum n [P, 0; 0, D'(P kron P)D / 2].
    """

    def solve(c: Cases) -> tuple[jax.Array, jax.Array]:
        blocks = missing_blocks(at.inverse, c)
        _, v, _ = solve_observed(at.inverse, blocks, c, at.mu)
        return v, observed_inverses(at.inverse, blocks, c)

    return _grams(solve, len(at.mu), cases, observed)


def _grams(
    solve: Callable[[Cases], tuple[jax.Array, jax.Array]], p: int, cases: Cases, observed: Array | float
) -> Grams:
    """Gram matrices, given v and P of a chunk of cases."""
    lower = np.tril_indices(p)

    def add(total: Grams, c: Cases) -> Grams:
        v, inverses = solve(c)
        low = inverses[:, lower[0], lower[1]]
        n = c.n[:, None]
        vv = n * v[:, lower[0]] * v[:, lower[1]]
        if c.scatter is not None:
            vv = vv + (inverses @ c.scatter @ inverses)[:, lower[0], lower[1]]
        pull = n * low + 2 * observed * (vv - n * low)
        new = Grams(jnp.einsum("c,cij->ij", c.n, inverses), observed * (n * v).T @ low, pull.T @ low)
        return jax.tree.map(jnp.add, total, new)

    m = len(lower[0])
    return over_chunks(add, Grams(jnp.zeros((p, p)), jnp.zeros((p, m)), jnp.zeros((m, m))), cases)


# ---- by factors -----------------------------------------------------------------------------------------------------


class FactorPoint(NamedTuple):
    """Where Sigma = L Phi L' + D with D diagonal: mean [p], L [p, m], the diagonal of D [p] and Phi [m, m]."""

    mu: Array
    loadings: Array
    diag: Array
    factor_cov: Array


class FactorTotals(NamedTuple):
    """Minus log-likelihood, sum n v [p] and sum n (P - vv') [p, p]."""

    value: jax.Array
    v: jax.Array
    pull: jax.Array


def factor_totals(at: FactorPoint, cases: Cases) -> FactorTotals:
    """Totals over single persons at the cost of factors; nan where D is not positive or Phi not semidefinite."""
    p = len(at.mu)

    def add(total: FactorTotals, c: Cases) -> FactorTotals:
        f = _factor_blocks(at, c)
        n, nv = c.n[:, None], c.n[:, None] * f.v
        value = (c.n * (math.log(2 * math.pi) * observed_mask(c).sum(1) + f.log_det + (f.residual * f.v).sum(1))).sum()
        inner = jnp.einsum("cim,cjm->ij", n[:, None] * f.left, f.right)
        new = FactorTotals(value / 2, nv.sum(0), jnp.diag((n * f.precision).sum(0)) - inner - nv.T @ f.v)
        return jax.tree.map(jnp.add, total, new)

    return over_chunks(add, FactorTotals(jnp.zeros(()), jnp.zeros(p), jnp.zeros((p, p))), cases)


def factor_grams(at: FactorPoint, cases: Cases) -> Grams:
    """Gram matrices over single persons, their inverses at the cost of factors."""

    def solve(c: Cases) -> tuple[jax.Array, jax.Array]:
        f = _factor_blocks(at, c)
        return f.v, f.precision[:, :, None] * jnp.eye(len(at.mu)) - f.left @ f.right.mT

    return _grams(solve, len(at.mu), cases, 1.0)


class _FactorBlocks(NamedTuple):
    """P = diag(precision) - left right' [case, p, m], log|Sigma_oo|, residuals and P times them [case, p]."""

    precision: jax.Array
    left: jax.Array
    right: jax.Array
    log_det: jax.Array
    residual: jax.Array
    v: jax.Array


def _factor_blocks(at: FactorPoint, c: Cases) -> _FactorBlocks:
    """Woodbury: P = D_o^-1 - D_o^-1 L_o M L_o' D_o^-1 with M = (Phi^-1 + L_o' D_o^-1 L_o)^-1."""
    diag = jnp.where(at.diag > 0, at.diag, jnp.nan)
    seen = observed_mask(c)
    residual = jnp.nan_to_num(c.mean - at.mu)
    precision = seen / diag
    right = precision[:, :, None] * at.loadings
    m, log_det = posterior_cov(at.factor_cov, at.loadings.T @ right)
    left = right @ m
    weighted = residual * precision
    v = weighted - jnp.einsum("cim,cm->ci", left, weighted @ at.loadings)
    return _FactorBlocks(precision, left, right, (seen * jnp.log(diag)).sum(1) + log_det, residual, v)


# ---- over (mu, vech Sigma) ------------------------------------------------------------------------------------------


def moment_scores(mu: jax.Array, sigma: jax.Array, cases: Cases) -> jax.Array:
    """Every person's score over (mu, vech Sigma) [person, p + p(p+1)/2]; cases must be single persons."""
    lower = np.tril_indices(len(mu))
    half = np.where(lower[0] == lower[1], 0.5, 1.0)
    k, _ = spd_inverse(sigma)
    blocks = missing_blocks(k, cases)
    _, v, _ = solve_observed(k, blocks, cases, mu)
    p = observed_inverses(k, blocks, cases)
    d_cov = v[:, lower[0]] * v[:, lower[1]] - p[:, lower[0], lower[1]]
    return jnp.concatenate([v, half * d_cov], axis=1)


def saturated_information(grams: Grams) -> jax.Array:
    """Observed information of (mu, vech Sigma) [p + m, p + m], summed over cases.

    d2(-l) = dmu' P dmu + dmu' P X v + v' X P dmu + v' X P Y v - 1/2 tr(P X P Y) for directions X, Y of Sigma; the last
    two terms are 1/2 tr(X vv' Y P + X P Y vv' - X P Y P).
    """
    p = grams.p.shape[0]
    a, b = np.tril_indices(p)
    at = np.zeros((p, p), int)
    at[a, b] = at[b, a] = np.arange(len(a))
    half = np.where(a == b, 0.5, 1.0)

    even = (grams.pairs + grams.pairs.T) / 2
    full = even[at.reshape(-1)][:, at.reshape(-1)].reshape(p, p, p, p)
    both = full.transpose(0, 2, 1, 3) + full.transpose(0, 2, 3, 1)  # (i, j | k, l) = (a, c | b, d) and (a, d | b, c)
    cov = half[:, None] * half * both.reshape(p * p, p * p)[a * p + b][:, a * p + b]
    # mean j against the cell (a, b): sum P_ja v_b + P_jb v_a
    wide = grams.v_p[:, at.reshape(-1)].reshape(p, p, p)  # v_i P_jk
    both = wide.transpose(1, 2, 0) + wide.transpose(1, 0, 2)  # [j, a, b]
    cross = half * both.reshape(p, p * p)[:, a * p + b]
    return jnp.concatenate([jnp.concatenate([grams.p, cross], 1), jnp.concatenate([cross.T, cov], 1)])
