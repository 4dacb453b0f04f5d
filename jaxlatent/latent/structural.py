"""A normal structural model: x = B x + alpha + xi, xi ~ N(0, Psi)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from jaxlatent.data.arrays import Arrays, of_person
from jaxlatent.latent.latent import Latent
from jaxlatent.numerics.linalg import structural_inverse
from jaxlatent.numerics.normal_density import inverse_and_log_det, psd_root
from jaxlatent.numerics.small_cholesky import cells_of, forward


@partial(jax.tree_util.register_dataclass, data_fields=("mean", "cov", "group"), meta_fields=())
@dataclass(frozen=True)
class NormalByGroup:
    """x of person i ~ N(mean_g, cov_g), g = group_i. mean [group, D], cov [group, D, D], group [person]."""

    mean: jax.Array
    cov: jax.Array
    group: jax.Array

    @property
    def n_latent(self) -> int:
        return self.mean.shape[-1]

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log p(x) [..., person or 1], by one product with the precision matrix; nan where cov is singular."""
        precision, log_det = jax.vmap(inverse_and_log_det)(self.cov)
        mean, precision, log_det = of_person((self.mean, precision, log_det), self.group)
        e = x - mean
        constants = log_det + self.n_latent * math.log(2 * math.pi)
        return -((times(e, precision) * e).sum(-1) + constants) / 2

    def transform(self, z: jax.Array) -> jax.Array:
        """x = mean + R z with R R' = cov; a variance of zero is allowed."""
        mean, root = of_person((self.mean, psd_root(self.cov)), self.group)
        return mean + times(z, root.mT)

    def inverse(self, x: jax.Array) -> jax.Array:
        """R^-1 (x - mean); not finite where cov is singular."""
        mean, root = of_person((self.mean, psd_root(self.cov)), self.group)
        return solve_lower(root, x - mean)

    def sample(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return self.transform(jax.random.normal(key, (*shape, self.n_latent), self.mean.dtype))


def times(x: jax.Array, matrices: jax.Array) -> jax.Array:
    """x' M [..., person or 1, D] for x [..., person or 1, D], M [person or 1, D, D]; flat where one M serves all."""
    if matrices.shape[0] == 1:
        return (x.reshape(-1, x.shape[-1]) @ matrices[0]).reshape(x.shape)
    return (x[..., None, :] @ matrices)[..., 0, :]


def solve_lower(lower: jax.Array, b: jax.Array) -> jax.Array:
    """L^-1 b for L [..., D, D] and b [..., D], written out."""
    return jnp.stack(forward(cells_of(lower), [b[..., i] for i in range(b.shape[-1])]), -1)


@jax.jit
def total_effects(regressions: jax.Array) -> jax.Array:
    """(I - B)^-1 of every group [group, D, D]."""
    return jax.vmap(structural_inverse)(regressions)


@dataclass(frozen=True)
class StructuralNormal(Latent):
    """x = (I - B)^-1 (alpha + xi), xi ~ N(0, Psi): regressions B, factor_means alpha, factor_cov Psi, by group."""

    def moments(self, params: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Mean A alpha [group, D] and covariance A Psi A' [group, D, D] of x, A = (I - B)^-1."""
        a = total_effects(params["regressions"])
        return (a @ params["factor_means"][..., None])[..., 0], a @ params["factor_cov"] @ a.mT

    def distribution(self, params: Mapping[str, jax.Array], data: Arrays) -> NormalByGroup:
        return NormalByGroup(*self.moments(params), data.group)
