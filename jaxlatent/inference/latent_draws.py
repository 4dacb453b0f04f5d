"""Draws of latent variables from the fitted distribution of a group."""

from __future__ import annotations

import jax
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.inference.importance import fresh
from jaxlatent.inference.item_model import is_normal
from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.integration.histogram import EmpiricalHistogram


def draw_latent(
    fitted: ItemFitted, mean: np.ndarray, cov: np.ndarray, design: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """x [person, D] about M z, M [D, k], with covariance [D, D]: normal, of learned shape, or nodes of a histogram."""
    if isinstance(fitted.rule, EmpiricalHistogram):
        nodes, weights = fitted.rule.arrays()
        return rng.choice(nodes, (len(design), 1), p=weights)
    if not is_normal(fitted.latent):
        return design @ mean.T + _standard_draws(fitted, len(design), rng) @ np.linalg.cholesky(cov).T
    size, vectors = np.linalg.eigh(cov)
    root = vectors * np.sqrt(np.maximum(size, 0))
    return design @ mean.T + rng.standard_normal((len(design), len(cov))) @ root.T


def _standard_draws(fitted: ItemFitted, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draws [person, D] of the learned shape with mean 0 and covariance I."""
    d = len(fitted.table.factors)
    standard = {
        "factor_means": np.zeros((1, d)), "factor_cov": np.eye(d)[None], "regressions": np.zeros((1, d, d)),
        **fitted.amortized.networks,
    }  # fmt: skip
    with jax.enable_x64(True):
        latent = fitted.amortized.model.latent.distribution(fresh(standard), Arrays.of(np.zeros((n, 1))))
        return np.asarray(latent.sample(jax.random.key(int(rng.integers(2**31))), (n,)))
