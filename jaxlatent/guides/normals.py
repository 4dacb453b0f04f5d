"""Normal distributions of persons' latent variables, written out: no batched LAPACK, in whatever precision comes in."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution, constraints

from jaxlatent.data.arrays import of_person
from jaxlatent.latent.structural import NormalByGroup, times
from jaxlatent.models.item_responses import LatentPrior
from jaxlatent.numerics.normal_density import inverse_and_log_det
from jaxlatent.numerics.small_cholesky import forward

LOG_2_PI = math.log(2 * math.pi)


def standard_divergences(mean: jax.Array, variance: jax.Array) -> jax.Array:
    """KL(N(m, v) || N(0, 1)) = (v + m² - 1 - log v) / 2, elementwise."""
    return (variance + mean**2 - 1 - jnp.log(variance)) / 2


def normal_divergence(q: Distribution, prior: Any) -> jax.Array | None:
    """KL(q || p(x)) [person] where both are normal and written out here, else None.

    (tr P S + e'P e - D - log|S| - log|P|) / 2, q = N(m, S), p = N(mu, P^-1), e = m - mu
    """
    p = prior.inner if isinstance(prior, LatentPrior) else None
    if not isinstance(q, DiagonalNormal | CholeskyNormal) or not isinstance(p, NormalByGroup):
        return None
    precision, log_det = jax.vmap(inverse_and_log_det)(p.cov)
    mean, precision, log_det = of_person((p.mean, precision, log_det), p.group)
    e = q.mean - mean
    if isinstance(q, DiagonalNormal):
        trace = (jnp.diagonal(precision, axis1=-2, axis2=-1) * q.variance).sum(-1)
    else:
        trace = (precision * q.covariance_matrix).sum((-2, -1))
    return (trace + (times(e, precision) * e).sum(-1) - p.n_latent + log_det) / 2 - q.log_root_det


class DiagonalNormal(Distribution):
    """x ~ N(mean, diag(e^{2 log_scale})): mean [person, D], log_scale [person, D], or [person, 1] for equal ones."""

    support = constraints.real_vector
    arg_constraints = {"mean": constraints.real_vector, "log_scale": constraints.real_vector}  # noqa: RUF012
    reparametrized_params = ["mean", "log_scale"]  # noqa: RUF012
    pytree_data_fields = ("_mean", "log_scale")

    def __init__(self, mean: jax.Array, log_scale: jax.Array) -> None:
        self._mean, self.log_scale = mean, log_scale
        super().__init__(mean.shape[:-1], mean.shape[-1:], validate_args=False)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        noise = jax.random.normal(key, (*sample_shape, *self._mean.shape), self._mean.dtype)
        return self._mean + jnp.exp(self.log_scale) * noise

    def log_prob(self, value: jax.Array, intermediates: Any = None) -> jax.Array:
        z = (value - self._mean) * jnp.exp(-self.log_scale)
        d = self.event_shape[0]
        return -(z**2).sum(-1) / 2 - self.log_root_det - d * LOG_2_PI / 2

    @property
    def log_root_det(self) -> jax.Array:
        """Half the log-determinant of the covariance matrix [person]."""
        return jnp.broadcast_to(self.log_scale, self._mean.shape).sum(-1)

    def divergence(self) -> jax.Array:
        """KL(q || N(0, I)) [person]: sum of (variance + mean² - 1) / 2 - log sd."""
        return standard_divergences(self._mean, self.variance).sum(-1)

    @property
    def mean(self) -> jax.Array:
        return self._mean

    @property
    def variance(self) -> jax.Array:
        return jnp.broadcast_to(jnp.exp(2 * self.log_scale), self._mean.shape)


class CholeskyNormal(Distribution):
    """x ~ N(mean, L L'), L lower triangular with diagonal e^{log_diagonal}.

    mean, log_diagonal [person, D]; below [person, D (D - 1) / 2]: the cells below the diagonal, row by row.
    """

    support = constraints.real_vector
    arg_constraints = dict.fromkeys(("mean", "log_diagonal", "below"), constraints.real_vector)
    reparametrized_params = ["mean", "log_diagonal", "below"]  # noqa: RUF012
    pytree_data_fields = ("_mean", "log_diagonal", "below")

    def __init__(self, mean: jax.Array, log_diagonal: jax.Array, below: jax.Array) -> None:
        self._mean, self.log_diagonal, self.below = mean, log_diagonal, below
        super().__init__(mean.shape[:-1], mean.shape[-1:], validate_args=False)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        return self.moved(jax.random.normal(key, (*sample_shape, *self._mean.shape), self._mean.dtype))

    def log_prob(self, value: jax.Array, intermediates: Any = None) -> jax.Array:
        z = self._solved(value)
        square = sum((each**2 for each in z[1:]), start=z[0] ** 2)
        return -square / 2 - self.log_root_det - len(z) * LOG_2_PI / 2

    @property
    def log_root_det(self) -> jax.Array:
        """log|L| [person]."""
        return self.log_diagonal.sum(-1)

    def divergence(self) -> jax.Array:
        """KL(q || N(0, I)) [person]: (tr L L' + mean'mean - D) / 2 - log |L|."""
        square = jnp.exp(2 * self.log_diagonal).sum(-1) + (self.below**2).sum(-1) + (self._mean**2).sum(-1)
        return (square - self.event_shape[0]) / 2 - self.log_root_det

    def moved(self, z: jax.Array) -> jax.Array:
        """mean + L z [..., person, D]."""
        rows = [sum(cell * z[..., k] for k, cell in enumerate(row)) for row in self._cells()]
        return self._mean + jnp.stack(rows, -1)

    def standard(self, value: jax.Array) -> jax.Array:
        """L^-1 (value - mean) [..., person, D]."""
        return jnp.stack(self._solved(value), -1)

    @property
    def mean(self) -> jax.Array:
        return self._mean

    @property
    def covariance_matrix(self) -> jax.Array:
        """L L' [person, D, D]."""
        cells = self._cells()
        d = len(cells)
        rows = [[sum(cells[i][k] * cells[j][k] for k in range(min(i, j) + 1)) for j in range(d)] for i in range(d)]
        return jnp.stack([jnp.stack(row, -1) for row in rows], -2)

    @property
    def variance(self) -> jax.Array:
        return jnp.diagonal(self.covariance_matrix, axis1=-2, axis2=-1)

    def _solved(self, value: jax.Array) -> list[jax.Array]:
        away = value - self._mean
        return forward(self._cells(), [away[..., i] for i in range(self.event_shape[0])])

    def _cells(self) -> list[list[jax.Array]]:
        diagonal = jnp.exp(self.log_diagonal)
        out, at = [], 0
        for i in range(self.event_shape[0]):
            out.append([self.below[..., at + k] for k in range(i)] + [diagonal[..., i]])
            at += i
        return out
