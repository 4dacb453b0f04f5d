"""Is a symmetric matrix positive definite, and by what margin? Cheaply where it clearly is."""

from __future__ import annotations

import numpy as np

CLEAR = 1e-5  # squared pivots of a correlation-scaled matrix above this leave no doubt


def smallest_eigenvalue(matrix: np.ndarray) -> float:
    """A lower bound away from zero for well-conditioned matrices, else the smallest eigenvalue, at unit diagonal.

    One Cholesky factorisation decides the usual case; eigenvalues are computed only in doubt. -inf for a diagonal that
    is not positive or values that are not finite.
    """
    d = np.diag(matrix)
    if not np.isfinite(matrix).all() or (d <= 0).any():
        return -np.inf
    scaled = matrix / np.sqrt(np.outer(d, d))
    try:
        pivot = float(np.diag(np.linalg.cholesky(scaled)).min() ** 2)
    except np.linalg.LinAlgError:
        pivot = 0.0
    return pivot if pivot > CLEAR else float(np.linalg.eigvalsh(scaled)[0])
