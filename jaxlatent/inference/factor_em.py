"""EM for factor analysis and probabilistic PCA: start, scaling and what the compiled loops return."""

from __future__ import annotations

import jax
import numpy as np

from jaxlatent.inference.exploratory_settings import EM
from jaxlatent.numerics.factor_em import Rows, climb_moments, climb_rows
from jaxlatent.numerics.factor_extraction import LEAST, Extraction, canonical_columns
from jaxlatent.numerics.squarem import Climb


def em_from_cov(cov: np.ndarray, m: int, engine: EM) -> Extraction:
    """The maximum from a covariance matrix, complete rows."""
    isotropic = engine.noise == "isotropic"
    scale = _scale(cov, isotropic)
    r = cov / np.outer(scale, scale)
    loadings, theta = _start(r, m, isotropic)
    with jax.enable_x64(True):
        found = climb_moments(
            np.concatenate([loadings.ravel(), np.log(theta)]), r, _least(r, isotropic), engine.tolerance,
            engine.max_steps, isotropic=isotropic, accelerate=bool(engine.accelerate),
        )  # fmt: skip
        found = jax.tree.map(np.asarray, found)
    return _extraction(found, m, scale, isotropic, cov)


def em_from_rows(
    y: np.ndarray, weight: np.ndarray | None, mean: np.ndarray, cov: np.ndarray, m: int, engine: EM
) -> tuple[np.ndarray, Extraction]:
    """Means and the maximum from rows with missing cells; mean, cov: where to start and how to scale.

    The value is minus the log-likelihood per person.
    """
    isotropic = engine.noise == "isotropic"
    scale, p = _scale(cov, isotropic), len(mean)
    r = cov / np.outer(scale, scale)
    loadings, theta = _start(r, m, isotropic)
    z, seen = (y - mean) / scale, ~np.isnan(y)
    rows = Rows(np.where(seen, z, 0.0), seen.astype(float), np.ones(len(y)) if weight is None else weight)
    with jax.enable_x64(True):
        found = climb_rows(
            np.concatenate([loadings.ravel(), np.log(theta), np.zeros(p)]), rows, _least(r, isotropic),
            engine.tolerance, engine.max_steps, isotropic=isotropic, accelerate=bool(engine.accelerate),
        )  # fmt: skip
        found = jax.tree.map(np.asarray, found)
    out = _extraction(found._replace(u=found.u[:-p]), m, scale, isotropic, cov)
    share = rows.weight / rows.weight.sum()
    value = -float(found.value) + float(share @ (seen @ np.log(scale)))
    return mean + scale * found.u[-p:], out._replace(value=value)


def _scale(cov: np.ndarray, isotropic: bool) -> np.ndarray:
    """Standard deviations; one number for all where the noise is one number for all."""
    d = np.diag(cov)
    return np.sqrt(np.full(len(d), d.mean()) if isotropic else d)


def _least(r: np.ndarray, isotropic: bool) -> np.ndarray:
    """The least uniqueness allowed, as for ML; of isotropic noise none that would be felt."""
    return np.full(len(r), 1e-8 if isotropic else LEAST)


def _start(r: np.ndarray, m: int, isotropic: bool) -> tuple[np.ndarray, np.ndarray]:
    """Principal components, and what they leave."""
    value, vector = np.linalg.eigh(r)
    rest = max(value[:-m].mean(), 1e-4)
    loadings = vector[:, -m:][:, ::-1] * np.sqrt(np.maximum(value[-m:][::-1] - rest, 1e-4))
    left = np.clip(np.diag(r) - (loadings**2).sum(1), 0.05, None)
    return loadings, np.full(len(r), rest) if isotropic else left


def _extraction(found: Climb, m: int, scale: np.ndarray, isotropic: bool, cov: np.ndarray) -> Extraction:
    p = len(scale)
    u = np.asarray(found.u)
    a, theta = u[:-p].reshape(p, m), np.exp(u[-p:])
    metric = np.ones(p) if isotropic else theta
    vectors = np.linalg.eigh(a.T @ (a / metric[:, None]))[1]
    sd = np.sqrt((a**2).sum(1) + theta)
    loadings = canonical_columns(a @ vectors / sd[:, None]) * sd[:, None]
    at = np.zeros(p, bool) if isotropic else theta <= LEAST * (1 + 1e-9)
    return Extraction(
        loadings * scale[:, None], theta * scale**2, float(found.value), bool(found.converged), int(found.steps), at
    )
