"""A mixture of normals as the distribution of the latent variables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxlatent.data.arrays import Arrays
from jaxlatent.latent.latent import Latent
from jaxlatent.latent.standardized import Standardized, standardized
from jaxlatent.numerics.couplings import check_count
from jaxlatent.numerics.mixture_quantile import mixture_quantile, normal_score
from jaxlatent.numerics.normal_density import LOG_2_PI, inverse_and_log_det, psd_root

SPREAD = 0.1  # of the components' means at the start


@dataclass(frozen=True)
class Mixture(Latent):
    """x = mean + R zeta, zeta = C^-1 (t - m), t ~ sum_k w_k N(m_k, L_k L_k').

    m = sum_k w_k m_k and C C' = sum_k w_k (L_k L_k' + m_k m_k') - m m' are exact, so that zeta has mean 0 and
    covariance I and the matrices of the model keep their meaning, as in Flow. At the start the components lie close
    together, x close to normal. n_components: k.

    Learned: params["mixture"] with logits [k], means [k, D] and lower [k, D, D], whose part below the diagonal is that
    of L_k and whose diagonal is its logarithm.

    Raises
    ------
    ValueError
        n_components is below 1.

    Source: McLachlan and Peel (2000), Finite mixture models.
    """

    n_components: int

    def __post_init__(self) -> None:
        check_count("n_components", self.n_components, 1)

    def init(self, key: jax.Array, n_latent: int) -> dict[str, Any]:
        k = self.n_components
        means = SPREAD * jax.random.normal(key, (k, n_latent), jnp.float32)
        lower = jnp.zeros((k, n_latent, n_latent), jnp.float32)
        return {"mixture": {"logits": jnp.zeros(k, jnp.float32), "means": means, "lower": lower}}

    def n_weights(self, n_latent: int) -> int:
        """k - 1 weights, k means and k covariance matrices, less one mean and one covariance matrix (standardised)."""
        moments = n_latent + n_latent * (n_latent + 1) // 2
        return (self.n_components - 1) * (1 + moments)

    def distribution(self, params: Mapping[str, Any], data: Arrays) -> Standardized:
        if "mixture" not in params:
            raise ValueError("Expected params['mixture'], what it learns: begin with Mixture.init(key, n_latent).")
        dtype = params["factor_cov"].dtype
        own = {name: value.astype(dtype) for name, value in params["mixture"].items()}
        return standardized(params, data, standard_mixture(**own))


@partial(jax.tree_util.register_dataclass, data_fields=("log_weights", "means", "lower"), meta_fields=())
@dataclass(frozen=True)
class StandardMixture:
    """sum_k w_k N(m_k, L_k L_k') with mean 0 and covariance I: log_weights [k], means [k, D], lower [k, D, D]."""

    log_weights: jax.Array
    means: jax.Array
    lower: jax.Array

    def log_prob(self, zeta: jax.Array) -> jax.Array:
        """log-sum-exp over components [...]."""
        return jax.nn.logsumexp(self.log_joint(zeta), axis=-1)

    def log_joint(self, zeta: jax.Array) -> jax.Array:
        """log w_k N(zeta; m_k, L_k L_k') [..., k]; every L_k is solved variable by variable."""
        joint = self.log_weights
        residuals: list[jax.Array] = []
        for j in range(zeta.shape[-1]):
            e = (zeta[..., j, None] - self._center(j, residuals)) / self.lower[:, j, j]
            joint = joint + self._log_density(j, e)
            residuals.append(e)
        return joint

    def transform(self, z: jax.Array) -> jax.Array:
        """zeta [..., D] with F(zeta_j | zeta_1, ..., zeta_{j-1}) = Phi(z_j): Rosenblatt's (1952) transformation.

        Every conditional distribution is a mixture of normals in one variable, whose quantile is found numerically.
        """
        joint = self.log_weights
        residuals: list[jax.Array] = []
        zeta: list[jax.Array] = []
        for j in range(z.shape[-1]):
            center, scale = self._center(j, residuals), self.lower[:, j, j]
            zeta.append(mixture_quantile(jax.nn.log_softmax(joint, axis=-1), center, scale, z[..., j]))
            e = (zeta[-1][..., None] - center) / scale
            joint = joint + self._log_density(j, e)
            residuals.append(e)
        return jnp.stack(zeta, axis=-1)

    def inverse(self, zeta: jax.Array) -> jax.Array:
        """z [..., D] with Phi(z_j) = F(zeta_j | zeta_1, ..., zeta_{j-1})."""
        joint = self.log_weights
        residuals: list[jax.Array] = []
        z: list[jax.Array] = []
        for j in range(zeta.shape[-1]):
            center, scale = self._center(j, residuals), self.lower[:, j, j]
            z.append(normal_score(jax.nn.log_softmax(joint, axis=-1), center, scale, zeta[..., j]))
            e = (zeta[..., j, None] - center) / scale
            joint = joint + self._log_density(j, e)
            residuals.append(e)
        return jnp.stack(z, axis=-1)

    def _center(self, j: int, residuals: list[jax.Array]) -> jax.Array:
        """Mean of variable j given those before it in every component [..., k]."""
        center = self.means[:, j]
        for i, e in enumerate(residuals):
            center = center + self.lower[:, j, i] * e
        return center

    def _log_density(self, j: int, e: jax.Array) -> jax.Array:
        """Log density of variable j given those before it [..., k]."""
        return -(e**2) / 2 - jnp.log(self.lower[:, j, j]) - LOG_2_PI / 2


def standard_mixture(logits: jax.Array, means: jax.Array, lower: jax.Array) -> StandardMixture:
    """The mixture moved to mean 0 and covariance I: means C^-1 (m_k - m), factors C^-1 L_k, both exact."""
    log_weights = jax.nn.log_softmax(logits)
    w = jnp.exp(log_weights)[:, None, None]
    diagonal = jnp.exp(jnp.clip(jnp.diagonal(lower, axis1=-2, axis2=-1), -math.log(100), math.log(100)))
    factors = jnp.tril(lower, -1) + diagonal[..., None] * jnp.eye(lower.shape[-1], dtype=lower.dtype)
    away = means - (w[..., 0] * means).sum(0)
    cov = (w * (factors @ factors.mT + away[:, :, None] * away[:, None, :])).sum(0)
    precision, _ = inverse_and_log_det(cov[None])  # a batch of one: never LAPACK
    back = psd_root(cov).T @ precision[0]
    return StandardMixture(log_weights, away @ back.T, back @ factors)
