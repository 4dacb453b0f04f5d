"""Log-likelihoods of natural free parameters as pytrees, each with its gradient: parts of a posterior density."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.models.casewise_objective import CasewiseProblem, fiml_first
from jaxlatent.models.grid_likelihood import grid_log_likelihood
from jaxlatent.models.latent_prior import moments
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.models.marginal import evaluate
from jaxlatent.models.moments_objective import MomentProblem, maximum_likelihood
from jaxlatent.models.points import Form, Problem
from jaxlatent.numerics.normal_density import psd_root
from jaxlatent.numerics.types import Array


def _padded(free: jax.Array, size: int) -> jax.Array:
    return jnp.zeros(size, free.dtype).at[: free.shape[0]].set(free)


@partial(jax.tree_util.register_dataclass, data_fields=("problem", "n", "saturated"), meta_fields=())
@dataclass(frozen=True)
class MomentLikelihood:
    """Normal model of complete data, by group from means and covariances: log L = saturated - n F_ML."""

    problem: MomentProblem
    n: Array
    saturated: Array

    def first(self, free: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Value and gradient; the cost does not depend on the number of persons."""
        at = maximum_likelihood(self.problem, _padded(free, self.problem.used.shape[0]))
        return self.saturated - self.n * at.value, -self.n * at.gradient[: free.shape[0]]


@partial(jax.tree_util.register_dataclass, data_fields=("problem", "outside"), meta_fields=())
@dataclass(frozen=True)
class CasewiseLikelihood:
    """Normal model of incomplete rows; outside: what fixed exogenous variables add."""

    problem: CasewiseProblem
    outside: Array

    def first(self, free: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Value and gradient."""
        value, gradient = fiml_first(self.problem, _padded(free, self.problem.used.shape[0]))
        return self.outside - self.problem.n * value, -self.problem.n * gradient[: free.shape[0]]


@partial(jax.tree_util.register_dataclass, data_fields=("problem",), meta_fields=("form",))
@dataclass(frozen=True)
class MarginalLikelihood:
    """Item response model whose factors are integrated out on a grid of points, over distinct patterns of answers."""

    form: Form
    problem: Problem

    def first(self, free: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Value and gradient; by Fisher's identity where the integral is done by blocks of items."""
        if self.form.reduction is None:
            return jax.value_and_grad(lambda f: grid_log_likelihood(self.form, self.problem, f))(free)
        modes = jnp.zeros((*self.problem.chunks.shape, self.problem.layout.fixed["factor_cov"].shape[-1]), free.dtype)
        at = evaluate(self.form, self.problem, free, modes, 0, crossed=False)
        return at.log_likelihood, at.score


@partial(jax.tree_util.register_dataclass, data_fields=("model", "arrays", "design"), meta_fields=())
@dataclass(frozen=True)
class JointLikelihood:
    """Item response model whose latent variables are sampled along: x = M z + root xi, xi standard normal.

    design [person, k]: a column of ones, then covariates.
    """

    model: LatentVariableModel
    arrays: Arrays
    design: Array

    @property
    def n_extra(self) -> int:
        """Coordinates xi, person by person."""
        return int(self.design.shape[0]) * self.model.n_latent

    def latent(self, params: Any, xi: jax.Array) -> jax.Array:
        """x [person, D] at matrices [group, ...] and xi [person * D]."""
        m, cov = moments(params)
        root, group = psd_root(cov), jnp.asarray(self.arrays.group)
        noise = xi.reshape(-1, self.model.n_latent)
        if m.shape[0] == 1:
            return jnp.asarray(self.design) @ m[0].T + noise @ root[0].T
        return (m[group] @ jnp.asarray(self.design)[..., None] + root[group] @ noise[..., None])[..., 0]

    def joint(self, free: jax.Array, xi: jax.Array) -> jax.Array:
        """log p(y | x) of all persons; the density of xi is not in it."""
        params = self.model.layout.unpack(free)
        terms = self.model.log_prob_given_latent(params, self.latent(params, xi), self.arrays)
        return (jnp.asarray(self.arrays.weight) * terms).sum()


def design_of(arrays: Arrays) -> np.ndarray:
    """A column of ones, then covariates [person, k]."""
    ones = np.ones((len(arrays.group), 1))
    return ones if arrays.covariates is None else np.concatenate([ones, np.asarray(arrays.covariates)], 1)
