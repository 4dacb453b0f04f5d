"""Densities of learned latent distributions, for pictures and for fit statistics."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.inference.importance import fresh
from jaxlatent.inference.marginal_fit import ItemFitted

DRAWS = 8192  # of a marginal density where there are several factors
KEY = 0
ROWS = 4096  # points at once


def log_density(fitted: ItemFitted, x: np.ndarray, group: int = 0) -> np.ndarray:
    """log p(x) [point] of a group at x [point, D], for models without covariates."""
    with jax.enable_x64(True):
        parts = [
            _distribution(fitted, len(part), group).log_prob(jnp.asarray(part))
            for part in np.array_split(np.asarray(x, float), max(len(x) // ROWS, 1))
        ]
        return np.concatenate([np.asarray(part) for part in parts])


def marginal_density(fitted: ItemFitted, x: np.ndarray, factor: int, group: int = 0) -> np.ndarray:
    """Density [point] of one factor at x [point]: exact for one factor, else a kernel estimate from draws."""
    if len(fitted.table.factors) == 1:
        return np.exp(log_density(fitted, np.asarray(x)[:, None], group))
    with jax.enable_x64(True):
        drawn = np.asarray(_distribution(fitted, DRAWS, group).sample(jax.random.key(KEY), (DRAWS,)))[:, factor]
    width = 0.9 * min(drawn.std(), np.subtract(*np.percentile(drawn, [75, 25])) / 1.34) * DRAWS**-0.2  # Silverman
    z = (np.asarray(x)[:, None] - drawn) / width
    return np.exp(-(z**2) / 2).mean(1) / (width * np.sqrt(2 * np.pi))


def _distribution(fitted: ItemFitted, n: int, group: int):  # type: ignore[no-untyped-def]
    """p(x) for n persons of a group."""
    if fitted.table.covariates:
        raise ValueError("The density of the factors differs between persons: the model has covariates.")
    trained = fitted.amortized
    params = fresh(trained.params(fitted.free))
    rows = Arrays.of(np.zeros((n, 1)), group=np.full(n, group))
    return trained.model.latent.distribution(params, rows)
