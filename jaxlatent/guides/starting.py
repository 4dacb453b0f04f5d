"""Where amortized guides start: the regression of x on the responses, at the model's starting values."""

from __future__ import annotations

import jax
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.guides.encoding import Encoding
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.spec.item_start import coded_correlations

LOGISTIC_VARIANCE = np.pi**2 / 3
SHARE = 0.8  # of the variance of x that its mean given y has at the start, where it is decoded
MOST_ROWS = 2000  # of which principal components are taken


def linear_start(
    model: LatentVariableModel, encoding: Encoding, arrays: Arrays, d: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [column, D] of E(x | y) and the covariance [D, D] of x given y, as if responses were normal.

    With standardised responses r = C x + e, Var(e) = V, x ~ N(0, Psi): P = (Psi^-1 + C'V^-1 C)^-1 and weights
    P C'V^-1 (Thomson's factor scores). Zeros and I / 2 where the starting values give no such model; principal
    components where x is decoded by a network. Host side.
    """
    if model.measurement.decoder is not None and model.n_occasions > 1:
        return components_by_occasion(encoding, arrays, d, model.n_occasions)
    if model.measurement.decoder is not None:
        return components(encoding, arrays, d, model.measurement.decoder.n_in)
    weights, cov = np.zeros((encoding.width, d)), np.eye(d) / 2
    slopes, psi = _loadings(model, d)
    if slopes is None or psi is None:
        return weights, cov
    y, observed = np.asarray(arrays.y, float), np.asarray(arrays.observed)
    count = np.maximum(observed.sum(0), 1)
    mean = np.where(observed, y, 0).sum(0) / count
    sd = np.sqrt(np.where(observed, (y - mean) ** 2, 0).sum(0) / count)
    sd = np.where(sd > 0, sd, 1.0)
    numeric = np.zeros(len(sd), bool)
    for k, items in encoding.sizes:
        numeric[list(items)] = k == 0
    common = np.einsum("jd,de,je->j", slopes, psi, slopes)
    coarse = coded_correlations(np.where(observed, y, np.nan), ~numeric)
    total = np.where(numeric, np.maximum(sd, np.sqrt(common) / 0.95), np.sqrt(common + LOGISTIC_VARIANCE) / coarse)
    c = slopes / total[:, None]
    unique = np.maximum(1 - np.einsum("jd,de,je->j", c, psi, c), 0.05)
    cov = np.linalg.inv(np.linalg.inv(psi) + (c / unique[:, None]).T @ c)
    per_response = (c / unique[:, None]) @ cov
    at, step = encoding.items, encoding.steps
    n = len(at)
    log_scaled = np.isin(at, encoding.logarithmic)
    size = np.where(log_scaled, 1.0, step * encoding.scale[:n] / sd[at])
    weights[:n] = per_response[at] * size[:, None]
    return weights, (cov + cov.T) / 2


def components(encoding: Encoding, arrays: Arrays, d: int, n_in: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights [column, D] of the first n_in principal components of the input, each with variance SHARE, and I (1 -
    SHARE): the other latent variables, those of upper layers, start at 0 and I.
    """
    rows = np.linspace(0, arrays.n_persons - 1, min(arrays.n_persons, MOST_ROWS)).astype(int)
    u = np.asarray(encoding(jax.tree.map(lambda a: np.asarray(a)[rows], arrays)), float)
    _, size, axes = np.linalg.svd(u - u.mean(0), full_matrices=False)
    k = min(n_in, d, int((size > 1e-6 * max(size[0], 1e-12)).sum()))
    weights, cov = np.zeros((encoding.width, d)), np.eye(d)
    weights[:, :k] = np.sqrt(SHARE) * axes[:k].T * np.sqrt(len(rows)) / size[:k]
    cov[range(k), range(k)] = 1 - SHARE
    return weights, cov


def components_by_occasion(encoding: Encoding, arrays: Arrays, d: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights [column, T D] of the first D principal components of the responses of one occasion, the same at each."""
    rows = np.linspace(0, arrays.n_persons - 1, min(arrays.n_persons, MOST_ROWS)).astype(int)
    u = np.asarray(encoding(jax.tree.map(lambda a: np.asarray(a)[rows], arrays)), float)
    at = encoding.by_occasion(n)
    own = np.concatenate([u[:, columns] for columns in at])
    _, size, axes = np.linalg.svd(own - own.mean(0), full_matrices=False)
    each = d // n
    k = min(each, int((size > 1e-6 * max(size[0], 1e-12)).sum()))
    weights, cov = np.zeros((encoding.width, d)), np.eye(d)
    for t, columns in enumerate(at):
        to = t * each + np.arange(k)
        weights[np.ix_(columns, to)] = np.sqrt(SHARE) * axes[:k].T * np.sqrt(len(own)) / size[:k]
        cov[to, to] = 1 - SHARE
    return weights, cov


def _loadings(model: LatentVariableModel, d: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Loadings [item, D] and covariance [D, D] of x at the start, means over groups; None where there are none."""
    layout = model.layout
    if "loadings" not in layout.index or "factor_cov" not in layout.index:
        return None, None
    start = np.nan_to_num(np.asarray(layout.start, float), nan=0.5)

    def matrix(name: str) -> np.ndarray:
        index = np.asarray(layout.index[name])
        return np.where(index >= 0, start[np.maximum(index, 0)], layout.fixed[name]).mean(0)

    slopes, psi = matrix("loadings"), matrix("factor_cov")
    if "regressions" in layout.index:
        total = np.linalg.inv(np.eye(d) - matrix("regressions"))
        psi = total @ psi @ total.T
    if slopes.shape[1] != d or not np.isfinite(psi).all() or np.linalg.eigvalsh(psi).min() < 1e-4:
        return None, None
    return slopes, psi
