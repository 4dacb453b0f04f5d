"""Starting values from observed proportions. Host side."""

from __future__ import annotations

import numpy as np


def logit(proportions: np.ndarray) -> np.ndarray:
    """log p / (1 - p), of proportions kept away from 0 and 1."""
    p = np.clip(proportions, 0.005, 0.995)
    return np.log(p) - np.log1p(-p)


def reached(proportions: np.ndarray) -> np.ndarray:
    """P(y >= k), k = 1, ..., K - 1, strictly decreasing also where categories are empty."""
    kept = np.maximum(proportions, 0.005)
    return np.cumsum((kept / kept.sum())[:0:-1])[::-1]


def log_odds(proportions: np.ndarray) -> np.ndarray:
    """log p_k / p_0, k = 1, ..., K - 1."""
    kept = np.log(np.maximum(proportions, 0.005))
    return kept[1:] - kept[0]
