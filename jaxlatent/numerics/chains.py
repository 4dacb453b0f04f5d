"""How well chains of draws agree, and how many independent draws they are worth (Vehtari et al. 2021).

Ranks are replaced by normal scores, chains are halved. R-hat is the larger of that of the draws and that of their
distances from the median; ESS of the bulk is that of the normal scores, ESS of the tails the smaller of those of the
5 % and 95 % quantiles.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from jaxlatent.numerics.special import ndtri


class ChainSummary(NamedTuple):
    """R-hat, ESS of the bulk and of the tails, each [...]; nan for draws that do not vary."""

    rhat: np.ndarray
    ess_bulk: np.ndarray
    ess_tail: np.ndarray


def summarize_chains(draws: np.ndarray) -> ChainSummary:
    """Of draws [chain, draw, ...]; nan where there are fewer than four draws a chain."""
    shape = draws.shape[2:]
    flat = draws.reshape(*draws.shape[:2], -1)
    out = np.full((3, flat.shape[2]), np.nan)
    if draws.shape[1] >= 4:
        for k in range(flat.shape[2]):
            x = _halves(flat[:, :, k])
            if np.isfinite(x).all() and np.ptp(x) > 0:
                out[:, k] = _one(x)
    return ChainSummary(*(row.reshape(shape) for row in out))


def _halves(x: np.ndarray) -> np.ndarray:
    half = x.shape[1] // 2
    return np.concatenate([x[:, :half], x[:, x.shape[1] - half :]])


def _one(x: np.ndarray) -> tuple[float, float, float]:
    z = _scores(x)
    rhat = max(_split_rhat(z), _split_rhat(_scores(np.abs(x - np.median(x)))))
    tails = [_ess((x <= np.quantile(x, q)).astype(float)) for q in (0.05, 0.95)]
    return rhat, _ess(z), float(min(tails))


def _scores(x: np.ndarray) -> np.ndarray:
    """Normal scores of the ranks of all draws (Blom 1958)."""
    rank = rankdata(x).reshape(x.shape)
    return ndtri((rank - 0.375) / (x.size + 0.25))


def _split_rhat(x: np.ndarray) -> float:
    n = x.shape[1]
    within, between = x.var(1, ddof=1).mean(), n * x.mean(1).var(ddof=1)
    return float(np.sqrt((n - 1) / n + between / within / n)) if within > 0 else np.inf


def _ess(x: np.ndarray) -> float:
    """Effective sample size of [chain, draw], by Geyer's (1992) initial monotone sequence."""
    m, n = x.shape
    if np.ptp(x) == 0:
        return float("nan")
    away = x - x.mean(1, keepdims=True)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(away, size, axis=1)) ** 2
    covariance = np.fft.irfft(spectrum, size, axis=1)[:, :n].mean(0) / n
    within = covariance[0] * n / (n - 1)
    total = within * (n - 1) / n + (x.mean(1).var(ddof=1) if m > 1 else 0.0)
    rho = 1 - (within - covariance) / total
    rho[0] = 1.0
    even = rho[: n // 2 * 2 : 2]
    pairs = even + rho[1 : n // 2 * 2 : 2]
    negative = np.flatnonzero(pairs <= 0)
    end = int(negative[0]) if len(negative) else len(pairs)
    last = max(even[end], 0.0) if end < len(even) else 0.0
    time = max(-1 + 2 * np.minimum.accumulate(pairs[:end]).sum() + last, 1 / np.log10(m * n))
    return float(m * n / time)
