"""Reliability of latent scores: expected from the model, and of the scores at hand."""

from __future__ import annotations

import numpy as np


def marginal_reliability(information: np.ndarray, weights: np.ndarray, prior_precision: float = 1.0) -> float:
    """sum_r w_r I_r / (I_r + 1 / psi), I_r [R] the test information at the nodes, psi the latent variance.

    One latent variable (Green, Bock, Humphreys, Linn and Reckase 1984, with the prior counted as information).
    """
    return float(weights @ (information / (information + prior_precision)))


def empirical_reliability(
    scores: np.ndarray, standard_errors: np.ndarray, person_weights: np.ndarray | None = None
) -> np.ndarray:
    """var(x) / (var(x) + mean(se^2)) of EAP scores, one a factor [D]; scores and standard_errors [N, D]."""
    weights = np.ones(len(scores)) if person_weights is None else person_weights
    share = weights / weights.sum()
    spread = share @ (scores - share @ scores) ** 2 * weights.sum() / (weights.sum() - 1)
    return np.asarray(spread / (spread + share @ standard_errors**2))
