"""Sample minus implied moments, as they are, as correlations, or in units of their standard errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.information import Inference
from jaxlatent.inference.moment_model import normal_weight

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("raw", "cor", "normalized", "standardized")


def correlation(cov: np.ndarray) -> np.ndarray:
    d = np.sqrt(np.diag(cov))
    return cov / np.outer(d, d)


def residuals(inference: Inference, kind: str = "cor") -> pd.DataFrame:
    """Residual covariances [variable, variable] (and a column "mean" where means are modelled), by group.

    kind: "raw"; "cor", differences of correlations (Bollen 1989); "normalized", raw over the standard error of the
    sample moment; "standardized", raw over the standard error of the residual itself.
    Raises ValueError for another kind.
    """
    import pandas as pd

    if kind not in KINDS:
        raise ValueError(f"Expected kind to be one of {', '.join(KINDS)}; got {kind!r}.")
    fitted = inference.fitted
    names = list(fitted.table.observed)
    frames = []
    for g in range(fitted.table.n_groups):
        cov, mean = _residuals_of(inference, g, kind)
        frame = pd.DataFrame(cov, names, names)
        if fitted.table.mean_structure:
            frame["mean"] = mean
        frames.append(frame)
    return frames[0] if len(frames) == 1 else pd.concat(frames, keys=fitted.group_labels, names=["group"])


def _residuals_of(inference: Inference, g: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    fitted: Fitted = inference.fitted
    s, m = fitted.moments.cov[g], fitted.moments.mean[g]
    mu, sigma = fitted.model.implied[g]
    if kind == "raw":
        return s - sigma, m - mu
    if kind == "cor":
        return correlation(s) - correlation(sigma), m / np.sqrt(np.diag(s)) - mu / np.sqrt(np.diag(sigma))
    variance = _moment_variance(inference, g, residual=kind == "standardized")
    p = len(m)
    lower = np.tril_indices(p)
    se = np.sqrt(np.where(variance > 1e-12 * np.abs(variance).max(), variance, np.nan))
    root = np.full((p, p), np.nan)
    offset = p if fitted.table.mean_structure else 0
    root[lower] = se[offset:]
    root = np.where(np.isnan(root), root.T, root)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = (m - mu) / se[:p] if offset else np.zeros(p)
        return np.nan_to_num((s - sigma) / root), np.nan_to_num(means)


def _moment_variance(inference: Inference, g: int, *, residual: bool) -> np.ndarray:
    """Normal-theory variances of the sample moments, or of the residuals (less what the estimates take up)."""
    fitted = inference.fitted
    at = fitted.model.implied[g][1] if residual else fitted.moments.cov[g]
    gamma = np.linalg.inv(normal_weight(np.linalg.inv(at), fitted.table.mean_structure)) / fitted.moments.n[g]
    if not residual:
        return np.diag(gamma)
    delta = fitted.model.jacobian[g]
    vcov = inference.invert(inference.expected) / fitted.n_effective
    return np.diag(gamma) - ((delta @ vcov) * delta).sum(axis=1)
