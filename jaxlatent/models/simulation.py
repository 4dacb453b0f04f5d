"""Draws from the normal model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import jax

from jaxlatent.numerics.linalg import structural_inverse
from jaxlatent.numerics.normal_density import psd_root


@partial(jax.jit, static_argnames="n")
def simulate(params: Mapping[str, jax.Array], n: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """y = nu + Lambda x + e [n, p] and x = (I - B)^-1 (alpha + xi) [n, m] for n persons of one group.

    params are the matrices of that group, without a group axis; residuals may covary, and variances may be zero.
    nan where a covariance matrix is not positive semidefinite. For groups of one size: ``vmap`` over params and keys.
    """
    loadings = params["loadings"]
    p, m = loadings.shape
    key_latent, key_residual = jax.random.split(key)
    xi = jax.random.normal(key_latent, (n, m), loadings.dtype) @ psd_root(params["factor_cov"]).T
    e = jax.random.normal(key_residual, (n, p), loadings.dtype) @ psd_root(params["residual_cov"]).T
    x = (params["factor_means"] + xi) @ structural_inverse(params["regressions"]).T
    return params["intercepts"] + x @ loadings.T + e, x
