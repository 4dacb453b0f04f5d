"""Casewise information and scores of incomplete rows, out of the compiled kernels."""

from __future__ import annotations

import jax
import numpy as np

from jaxlatent.data.incomplete import missing_positions
from jaxlatent.inference.casewise_sums import casewise_sums, saturated_information_of
from jaxlatent.inference.fitted import Fitted
from jaxlatent.models.casewise import moment_scores
from jaxlatent.numerics.masked import Cases

ROWS = 20_000  # persons whose scores are held at a time


_scores = jax.jit(moment_scores)


def casewise_information(
    fitted: Fitted, g: int, mu: np.ndarray, sigma: np.ndarray, *, expected: bool = False
) -> np.ndarray:
    """Information of (mu, vech Sigma) summed over the rows of group g, observed or expected given the patterns."""
    return saturated_information_of(fitted.cases[g], mu, sigma, expected=expected)


def casewise_gradient(fitted: Fitted, g: int, mu: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(d mu [p], d Sigma [p, p]) of minus the log-likelihood of group g; d Sigma acts as 1/2 tr(. dSigma)."""
    sums = casewise_sums(mu, sigma, fitted.cases[g])
    return sums.d_mean, sums.d_cov


def casewise_scores(fitted: Fitted, g: int, mu: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Scores over (mu, vech Sigma) of the rows of group g [person, moments], times the sampling weight."""
    rows = fitted.rows.rows_of(g)
    parts = []
    for start in range(0, len(rows), ROWS):
        y = fitted.rows.y[rows[start : start + ROWS]]
        with jax.enable_x64(True):
            parts.append(np.asarray(_scores(mu, sigma, Cases(np.ones(len(y)), y, None, missing_positions(y)))))
    scores = np.concatenate(parts)
    return scores if fitted.rows.weight is None else scores * fitted.rows.weight[rows][:, None]
