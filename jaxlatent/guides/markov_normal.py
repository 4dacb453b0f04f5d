"""Normal distributions of a person's latent variables over occasions, each given the occasion before."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution, constraints

from jaxlatent.guides.normals import LOG_2_PI
from jaxlatent.numerics.small_cholesky import forward


class MarkovNormal(Distribution):
    """x_t = m_t + A_t (x_{t-1} - m_{t-1}) + L_t e_t, e_t ~ N(0, I), A_1 = 0: a block-bidiagonal root of the precision.

    L_t is lower triangular with diagonal e^{log_diagonal_t}. mean, log_diagonal [person, T, D]; below [person, T,
    D (D - 1) / 2], row by row; carried: A_2, ..., A_T [person, T - 1, D, D]. Events are [T D], occasion by occasion.
    """

    support = constraints.real_vector
    arg_constraints = dict.fromkeys(("_mean", "log_diagonal", "below", "carried"), constraints.real)
    reparametrized_params = ["_mean", "log_diagonal", "below", "carried"]  # noqa: RUF012
    pytree_data_fields = ("_mean", "log_diagonal", "below", "carried")

    def __init__(self, mean: jax.Array, log_diagonal: jax.Array, below: jax.Array, carried: jax.Array) -> None:
        self._mean, self.log_diagonal, self.below, self.carried = mean, log_diagonal, below, carried
        super().__init__(mean.shape[:-2], (mean.shape[-2] * mean.shape[-1],), validate_args=False)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        z = jax.random.normal(key, (*sample_shape, *self._mean.shape), self._mean.dtype)
        away: list[jax.Array] = []
        for t in range(self._mean.shape[-2]):
            cells = self._cells(t)
            own = jnp.stack([sum(c * z[..., t, k] for k, c in enumerate(row)) for row in cells], -1)
            away.append(own if not t else own + self._onward(t, away[-1]))
        return self._flat(self._mean + jnp.stack(away, -2))

    def log_prob(self, value: jax.Array, intermediates: Any = None) -> jax.Array:
        away = value.reshape(*value.shape[:-1], *self._mean.shape[-2:]) - self._mean
        total = -self.log_diagonal.sum((-2, -1)) - self.event_shape[0] * LOG_2_PI / 2
        for t in range(self._mean.shape[-2]):
            own = away[..., t, :] if not t else away[..., t, :] - self._onward(t, away[..., t - 1, :])
            z = forward(self._cells(t), [own[..., k] for k in range(own.shape[-1])])
            total = total - sum(each**2 for each in z) / 2
        return total

    @property
    def mean(self) -> jax.Array:
        """[person, T D]."""
        return self._flat(self._mean)

    @property
    def covariance_matrix(self) -> jax.Array:
        """[person, T D, T D]."""
        n, d = self._mean.shape[-2:]
        blocks: list[list[jax.Array]] = []
        for t in range(n):
            cells = self._cells(t)
            zero = jnp.zeros_like(cells[0][0])
            lower = jnp.stack([jnp.stack([*row, *[zero] * (d - len(row))], -1) for row in cells], -2)
            own = lower @ lower.mT
            row = []
            if t:
                a = self.carried[..., t - 1, :, :]
                row = [a @ blocks[t - 1][s] for s in range(t)]
                own = own + row[-1] @ a.mT
            blocks.append([*row, own])
        whole = [[blocks[t][s] if s <= t else blocks[s][t].mT for s in range(n)] for t in range(n)]
        return jnp.concatenate([jnp.concatenate(row, -1) for row in whole], -2)

    @property
    def variance(self) -> jax.Array:
        """[person, T D]."""
        return jnp.diagonal(self.covariance_matrix, axis1=-2, axis2=-1)

    def _onward(self, t: int, before: jax.Array) -> jax.Array:
        """A_t (x_{t-1} - m_{t-1}) [..., person, D], written out."""
        a = self.carried[..., t - 1, :, :]
        d = before.shape[-1]
        return jnp.stack([sum(a[..., i, j] * before[..., j] for j in range(d)) for i in range(d)], -1)

    def _cells(self, t: int) -> list[list[jax.Array]]:
        diagonal = jnp.exp(self.log_diagonal[..., t, :])
        out, at = [], 0
        for i in range(diagonal.shape[-1]):
            out.append([self.below[..., t, at + k] for k in range(i)] + [diagonal[..., i]])
            at += i
        return out

    def _flat(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-2], -1)
