"""Linear decoders with an integral that is exact: its maximum from where training ended, and exact posteriors.

Normal columns have the closed form of factor analysis; for one or two latent variables quadrature takes any columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.inference.importance import PersonPosterior
from jaxlatent.integration.gauss_hermite import GaussHermite
from jaxlatent.latent.structural import StructuralNormal
from jaxlatent.measurement.neural_normal import FLOOR, DecodedNormal
from jaxlatent.models.blocks import parameter_blocks
from jaxlatent.models.default_priors import bijection_under
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.normal_density import factor_log_prob

NODES = {1: 61, 2: 31}
MOST_CELLS = 60_000_000  # nodes x persons x columns that are held at once
STEPS = 2000


class Exact(Protocol):
    """An integral without sampling."""

    def log_marginal(self, model: LatentVariableModel, params: Any, data: Arrays) -> jax.Array:
        """log p(y) [person]."""

    def posteriors(self, model: LatentVariableModel, params: Any, data: Arrays) -> PersonPosterior:
        """Of every person, in NumPy arrays."""


@dataclass(frozen=True)
class FactorForm:
    """Normal columns, linear in normal x: y ~ N(d, L L' + V), residual factors beside loadings where there are any."""

    def log_marginal(self, model: LatentVariableModel, params: Any, data: Arrays) -> jax.Array:
        mean, loadings, variance = _parts(params)
        return factor_log_prob(data.y, data.observed, mean, loadings, variance, jnp.eye(loadings.shape[1]))

    def posteriors(self, model: LatentVariableModel, params: Any, data: Arrays) -> PersonPosterior:
        """Thomson's scores and the covariance (I + L' V^-1 L)^-1 of the observed columns."""
        mean, loadings, variance = (np.asarray(a, float) for a in _parts(params))
        seen = np.asarray(data.observed)
        per_column = loadings / variance[:, None]
        gram = np.einsum("nj,jd,je->nde", seen, per_column, loadings)
        cov = np.linalg.inv(np.eye(loadings.shape[1]) + gram)
        away = np.where(seen, np.asarray(data.y) - mean, 0)
        scores = np.einsum("nde,ne->nd", cov, away @ per_column)
        value, d = np.asarray(self.log_marginal(model, params, data)), model.n_latent
        return _exact(value, scores[:, :d], cov[:, :d, :d])


@dataclass(frozen=True)
class Nodes:
    """Gauss-Hermite quadrature with n nodes for each of one or two latent variables."""

    n: int

    def log_marginal(self, model: LatentVariableModel, params: Any, data: Arrays) -> jax.Array:
        return GaussHermite(self.n).log_marginal(model, params, data)

    def posteriors(self, model: LatentVariableModel, params: Any, data: Arrays) -> PersonPosterior:
        x, log_weight = GaussHermite(self.n).points(model, params, data)
        joint = model.log_prob_given_latent(params, x, data) + log_weight
        value = jax.nn.logsumexp(joint, axis=0)
        w, at = np.exp(np.asarray(joint - value)), np.asarray(x)[:, 0]
        mean = w.T @ at
        cov = np.einsum("rn,rd,re->nde", w, at, at) - mean[:, :, None] * mean[:, None, :]
        return _exact(np.asarray(value), mean, cov)


def exact_rule(model: LatentVariableModel, n_persons: int) -> Exact | None:
    """The exact integral of a model with linear decoder and standard normal x, None where there is none."""
    if model.n_occasions > 1:
        return None
    if model.measurement.decoder is not None or not isinstance(model.latent, StructuralNormal):
        return None
    families = [family for family, _ in model.measurement.groups]
    if len(families) == 1 and (isinstance(families[0], DecodedNormal) or getattr(families[0], "rank", None)):
        return FactorForm()
    n = NODES.get(model.n_latent)
    if not all(family.categorical for family in families) or n is None:  # nodes may miss what is narrow
        return None
    if n**model.n_latent * n_persons * model.measurement.n_items > MOST_CELLS:
        return None
    return Nodes(n)


def polished(rule: Exact, model: LatentVariableModel, start: np.ndarray, data: Arrays) -> tuple[np.ndarray, bool, int]:
    """The free vector at the maximum of the exact likelihood by L-BFGS, whether it was found, and steps taken."""
    from scipy.optimize import minimize

    free_of, first = unconstrained(model, start)
    weight = jnp.asarray(np.asarray(data.weight, float))

    @jax.jit
    def value_and_slope(u: jax.Array, layout: Any, data: Arrays) -> tuple[jax.Array, jax.Array]:
        def loss(u: jax.Array) -> jax.Array:
            found = rule.log_marginal(model, layout.unpack(free_of(u)), data)
            return -(found * weight).sum() / weight.sum()

        return jax.value_and_grad(loss)(u)

    def host(u: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = (np.asarray(a, float) for a in value_and_slope(jnp.asarray(u), model.layout, data))
        fine = np.isfinite(value) and np.isfinite(slope).all()
        return (float(value), slope) if fine else (1e10, np.zeros_like(u))

    options = {"maxiter": STEPS, "maxfun": 2 * STEPS, "ftol": 1e-14, "gtol": 1e-7, "maxcor": 30}
    found = minimize(host, first, jac=True, method="L-BFGS-B", options=options)
    return np.asarray(free_of(jnp.asarray(found.x)), float), bool(found.success), int(found.nit)


def unconstrained(model: LatentVariableModel, start: np.ndarray) -> tuple[Callable[[jax.Array], jax.Array], np.ndarray]:
    """Free vectors as a function of unconstrained numbers, and the numbers of a free vector."""
    blocks = parameter_blocks(model)
    bijections = [bijection_under(block, model.layout, ())[1] for block in blocks]

    def free_of(u: jax.Array) -> jax.Array:
        free, at = jnp.zeros(model.layout.n_free), 0
        for block, bijection in zip(blocks, bijections, strict=True):
            n = len(block.positions)
            free = free.at[block.positions].set(bijection.forward(u[at : at + n]))
            at += n
        return free

    first = []
    for block, bijection in zip(blocks, bijections, strict=True):
        own = np.asarray(start, float)[block.positions]
        for k in block.anchors:
            own[k] = max(own[k], 1e-3)
        first.append(np.asarray(bijection.inverse(jnp.asarray(own))))
    return free_of, np.concatenate(first)


def _parts(params: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean [p], loadings [p, D] (with residual factors [p, D + rank]) and variances [p]."""
    loadings = params["loadings"][0]
    if "residual_factors" in params:
        loadings = jnp.concatenate([loadings, params["residual_factors"][0]], -1)
    return params["intercepts"][0, :, 0], loadings, params["dispersion"][0, :, 0] + FLOOR


def _exact(value: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> PersonPosterior:
    nothing = np.zeros(len(value))
    return PersonPosterior(value, nothing, mean, cov, np.full(len(value), np.inf), nothing)
