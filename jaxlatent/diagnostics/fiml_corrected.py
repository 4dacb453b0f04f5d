"""Fit under missing data as it would be with complete data (Zhang and Savalei 2023, FIML-C).

The complete-data discrepancy between the saturated and the structured estimates is evaluated at its bias: with J the
information of the saturated model and Gamma the covariance of its estimates, M = I - Delta (Delta'J Delta)^-1 Delta'J,

    E[N F] = N F_0 + tr(W M Gamma M')           W: complete-data normal-theory weight

which is tr(W Gamma) - tr((Delta'J Delta)^-1 Delta'W Delta) for normal data, Gamma being J^-1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxlatent.inference.casewise_host import casewise_information, casewise_scores
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.information import Inference, kept_moments
from jaxlatent.inference.moment_model import normal_weight
from jaxlatent.numerics.blas_threads import one_thread

ROBUST = ("robust", "cluster")


class Corrected(NamedTuple):
    """Complete-data chi-square, degrees of freedom and the correction per degree of freedom."""

    stat: float
    df: float
    factor: float


@one_thread()
def corrected(inference: Inference) -> Corrected:
    """The FIML-C chi-square of a model (or baseline) fitted to incomplete rows."""
    f = inference.fitted
    keep = kept_moments(f)
    deltas, infos, gammas, weights = [], [], [], []
    stat = 0.0
    for g, share in enumerate(f.group_weight):
        mean, cov = f.moments.mean[g], f.moments.cov[g]
        n = f.moments.n[g]
        j, gamma = _saturated(inference, g, keep)
        deltas.append(inference.model.jacobian[g][keep])
        infos.append(j)
        gammas.append(gamma / share)
        if ("weight", g) not in f.saturated_cache:
            f.saturated_cache["weight", g] = normal_weight(np.linalg.inv(cov), True)[np.ix_(keep, keep)]
        weights.append(share * f.saturated_cache["weight", g])
        stat += n * _discrepancy(mean, cov, *inference.model.implied[g])
    delta, j, gamma, w = np.concatenate(deltas), *map(_block, (infos, gammas, weights))
    j = j * np.repeat(f.group_weight, len(keep))[:, None]
    bread = inference.invert(delta.T @ j @ delta)
    if f.engine.se in ROBUST:
        m = np.eye(len(j)) - delta @ bread @ delta.T @ j
        trace = ((w @ m) * (m @ gamma)).sum()
    else:
        trace = (w * gamma).sum() - (bread * (delta.T @ w @ delta)).sum()
    return Corrected(stat, f.df, float(trace) / f.df)


def saturated_pieces(f: Fitted, g: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Of the saturated model, per person: observed information, that of the engine's kind, and the meat if robust."""
    if g not in f.saturated_cache:
        mean, cov, n = f.moments.mean[g], f.moments.cov[g], f.moments.n[g]
        if ("observed", g) not in f.saturated_cache:
            f.saturated_cache["observed", g] = casewise_information(f, g, mean, cov) / n
        observed = chosen = f.saturated_cache["observed", g]
        if f.engine.information == "expected":
            chosen = casewise_information(f, g, mean, cov, expected=True) / n
        meat = None
        if f.engine.se in ROBUST:
            s = casewise_scores(f, g, mean, cov)
            meat = s.T @ s / n
        f.saturated_cache[g] = (observed, chosen, meat)
    return f.saturated_cache[g]


def _saturated(inference: Inference, g: int, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Information per person of the saturated model, of the engine's kind, and n times the covariance of its estimates.

    The covariance rests on the observed information, or on the sandwich where standard errors are robust.
    """
    at, cache = np.ix_(keep, keep), inference.fitted.saturated_cache
    observed, chosen, meat = saturated_pieces(inference.fitted, g)
    if ("gamma", g) not in cache:
        inverse = np.linalg.inv(observed[at])
        cache["gamma", g] = inverse if meat is None else inverse @ meat[at] @ inverse
    return chosen[at], cache["gamma", g]


def _discrepancy(mean: np.ndarray, cov: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> float:
    """log|Sigma| - log|S| + tr(S Sigma^-1) - p + (m - mu)' Sigma^-1 (m - mu)."""
    k = np.linalg.inv(sigma)
    r = mean - mu
    return float(np.linalg.slogdet(sigma)[1] - np.linalg.slogdet(cov)[1] + (cov * k).sum() - len(mean) + r @ k @ r)


def _block(parts: list[np.ndarray]) -> np.ndarray:
    if len(parts) == 1:
        return parts[0]
    sizes = [len(p) for p in parts]
    out = np.zeros((sum(sizes),) * 2)
    at = 0
    for part, size in zip(parts, sizes, strict=True):
        out[at : at + size, at : at + size] = part
        at += size
    return out
