"""x = mean + R zeta: a density of mean 0 and covariance I, moved to the mean and covariance of a structural model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import jax

from jaxlatent.data.arrays import Arrays, of_person
from jaxlatent.latent.regression import LatentRegression
from jaxlatent.latent.structural import StructuralNormal, times
from jaxlatent.numerics.normal_density import inverse_and_log_det, psd_root


class StandardDensity(Protocol):
    """A density of zeta in R^D with mean 0 and covariance I; a pytree."""

    def log_prob(self, zeta: jax.Array) -> jax.Array:
        """log p(zeta) [...] of zeta [..., D]."""

    def transform(self, z: jax.Array) -> jax.Array:
        """zeta [..., D] from standard normal z [..., D]."""

    def inverse(self, zeta: jax.Array) -> jax.Array:
        """z [..., D] from zeta [..., D]."""


@partial(jax.tree_util.register_dataclass, data_fields=("mean", "cov", "group", "standard"), meta_fields=())
@dataclass(frozen=True)
class Standardized:
    """x of person i = mean_i + R_g zeta, R_g R_g' = cov_g, g = group_i, zeta from a standard density.

    R is the lower Cholesky factor of the covariance: the first latent variable is the first zeta, the second adds its
    own part to what the first predicts, and so on. mean [person or 1, D], cov [group, D, D], group [person].
    """

    mean: jax.Array
    cov: jax.Array
    group: jax.Array
    standard: StandardDensity

    @property
    def n_latent(self) -> int:
        return self.mean.shape[-1]

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log p(zeta) - log |R| [..., person]; nan where cov is singular."""
        zeta, log_det = self.standardize(x)
        return self.standard.log_prob(zeta) - log_det

    def transform(self, z: jax.Array) -> jax.Array:
        """x from standard normal z [..., person or 1, D]; a variance of zero is allowed."""
        return self.mean + times(self.standard.transform(z), of_person(psd_root(self.cov).mT, self.group))

    def inverse(self, x: jax.Array) -> jax.Array:
        """The standard normal z of x; nan where cov is singular."""
        return self.standard.inverse(self.standardize(x)[0])

    def sample(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return self.transform(jax.random.normal(key, (*shape, self.n_latent), self.mean.dtype))

    def standardize(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """R^-1 (x - mean) [..., person, D] and log |R| [person or 1]."""
        precision, log_det = jax.vmap(inverse_and_log_det)(self.cov)
        back = precision @ psd_root(self.cov)  # the transpose of R^-1, by cov^-1 = R^-1' R^-1
        return times(x - self.mean, of_person(back, self.group)), of_person(log_det, self.group) / 2


def standardized(params: Mapping[str, jax.Array], data: Arrays, standard: StandardDensity) -> Standardized:
    """The distribution with this standard density whose means and covariances are those of the normal model."""
    if "covariate_effects" in params:
        by_person = LatentRegression().distribution(params, data)
        return Standardized(by_person.mean, by_person.cov, data.group, standard)
    mean, cov = StructuralNormal().moments(params)
    return Standardized(of_person(mean, data.group), cov, data.group, standard)
