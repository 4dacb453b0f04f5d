"""A normal structural model with covariates: x = B x + alpha + Gamma z + xi, xi ~ N(0, Psi)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import jax

from jaxlatent.data.arrays import Arrays, of_person
from jaxlatent.latent.latent import Latent
from jaxlatent.latent.structural import StructuralNormal, solve_lower, total_effects
from jaxlatent.numerics.normal_density import inverse_and_log_det, psd_root


@partial(jax.tree_util.register_dataclass, data_fields=("mean", "cov", "group"), meta_fields=())
@dataclass(frozen=True)
class NormalByPerson:
    """x of person i ~ N(mean_i, cov_g), g = group_i. mean [person, D], cov [group, D, D], group [person]."""

    mean: jax.Array
    cov: jax.Array
    group: jax.Array

    @property
    def n_latent(self) -> int:
        return self.mean.shape[-1]

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log p(x) [..., person]; nan where cov is singular."""
        precision, log_det = of_person(jax.vmap(inverse_and_log_det)(self.cov), self.group)
        e = x - self.mean
        quadratic = ((e[..., None, :] @ precision)[..., 0, :] * e).sum(-1)
        return -(quadratic + log_det + self.n_latent * math.log(2 * math.pi)) / 2

    def transform(self, z: jax.Array) -> jax.Array:
        """x = mean + R z with R R' = cov."""
        root = of_person(psd_root(self.cov), self.group)
        return self.mean + (z[..., None, :] @ root.mT)[..., 0, :]

    def inverse(self, x: jax.Array) -> jax.Array:
        """R^-1 (x - mean); not finite where cov is singular."""
        return solve_lower(of_person(psd_root(self.cov), self.group), x - self.mean)

    def sample(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return self.transform(jax.random.normal(key, (*shape, self.n_latent), self.mean.dtype))


@dataclass(frozen=True)
class LatentRegression(Latent):
    """x_i ~ N(A (alpha + Gamma z_i), A Psi A'), A = (I - B)^-1, z_i the covariates of person i.

    Source: Mislevy (1984), Psychometrika 49; Adams, Wilson and Wu (1997).
    """

    def distribution(self, params: Mapping[str, jax.Array], data: Arrays) -> NormalByPerson:
        if data.covariates is None:
            raise ValueError("The model has covariates, but the data have none.")
        mean, cov = StructuralNormal().moments(params)
        effects = total_effects(params["regressions"]) @ params["covariate_effects"]
        own = of_person(effects, data.group)
        shift = (own @ data.covariates[..., None])[..., 0]
        return NormalByPerson(of_person(mean, data.group) + shift, cov, data.group)
