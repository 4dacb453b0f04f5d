"""The integral in closed form: normal items, linear in normal latent variables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
from jax import lax

from jaxlatent.data.arrays import Arrays
from jaxlatent.integration.rule import Integration, Params
from jaxlatent.measurement.normal import factorises
from jaxlatent.numerics.normal_density import dense_log_prob, factor_log_prob
from jaxlatent.numerics.program import jit
from jaxlatent.spec.layout import Layout


class NormalModel(Protocol):
    """What the closed form asks of a model."""

    def implied(self, params: Params) -> tuple[jax.Array, jax.Array]:
        """Mean [group, p] and covariance [group, p, p] of y."""

    def factor_form(self, params: Params) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Mean [group, p], loadings [group, p, D], residual variances [group, p] and Cov(x) [group, D, D]."""


@partial(jax.tree_util.register_dataclass, data_fields=(), meta_fields=("by_factors",))
@dataclass(frozen=True)
class ClosedForm(Integration):
    """log N(y_o; mu_o, Sigma_oo) of the observed cells of every person: exact.

    by_factors=False inverts p x p matrices and takes any residual covariance and any positive definite Sigma, also
    where a latent covariance matrix is not positive definite. by_factors=True inverts m x m matrices, leaves residual
    covariances out, and is nan where a residual variance is not positive or the covariance of x not positive
    semidefinite; ``ClosedForm.of`` chooses. Every group's density is computed for all rows, so time grows with groups.
    """

    by_factors: bool = False

    @staticmethod
    def of(layout: Layout) -> ClosedForm:
        """By factors where the residuals are independent with variances that are free or positive (host side)."""
        return ClosedForm(by_factors=factorises(layout))

    def log_marginal(self, model: NormalModel, params: Params, data: Arrays) -> jax.Array:
        moments = model.factor_form(params) if self.by_factors else model.implied(params)
        return _log_marginal(self.by_factors, moments, data.y, data.observed, data.group)


@partial(jit, static_argnums=0)
def _log_marginal(by_factors: bool, moments: tuple, y: jax.Array, observed: jax.Array, group: jax.Array) -> jax.Array:
    """Densities of all rows by the moments [group, ...] of their group, one group after the other."""
    density = factor_log_prob if by_factors else dense_log_prob
    n_groups = moments[0].shape[0]
    if n_groups == 1:
        return density(y, observed, *(a[0] for a in moments))

    def add(total: jax.Array, at: tuple[jax.Array, tuple]) -> tuple[jax.Array, None]:
        g, (mean, *rest) = at
        mine = group == g  # other rows stand in as complete rows at the mean
        rows, seen = jnp.where(mine[:, None], y, mean), observed | ~mine[:, None]
        return jnp.where(mine, density(rows, seen, mean, *rest), total), None

    start = jnp.zeros(y.shape[0], jnp.result_type(y, moments[0]))
    return lax.scan(add, start, (jnp.arange(n_groups), moments))[0]
