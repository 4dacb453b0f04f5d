"""Draws of latent variables from the fitted distribution of a group."""

from __future__ import annotations

import numpy as np

from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.integration.histogram import EmpiricalHistogram


def draw_latent(
    fitted: ItemFitted, mean: np.ndarray, cov: np.ndarray, design: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """x [person, D]: normal about M z with mean M [D, k] and covariance [D, D], or from the nodes of a histogram."""
    if isinstance(fitted.rule, EmpiricalHistogram):
        nodes, weights = fitted.rule.arrays()
        return rng.choice(nodes, (len(design), 1), p=weights)
    size, vectors = np.linalg.eigh(cov)
    root = vectors * np.sqrt(np.maximum(size, 0))
    return design @ mean.T + rng.standard_normal((len(design), len(cov))) @ root.T
