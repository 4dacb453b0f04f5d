"""Whether correlations have factors in them, and how many: KMO, Bartlett's test, eigenvalues, parallel analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.numerics.special import chdtrc

if TYPE_CHECKING:
    import pandas as pd


def sampling_adequacy(r: np.ndarray) -> tuple[float, np.ndarray]:
    """Σ r² / (Σ r² + Σ a²) over pairs, a partial correlations given all others; over all and by item.

    Kaiser (1970), Psychometrika 35; Kaiser and Rice (1974).
    """
    k = np.linalg.inv(r)
    d = np.sqrt(np.diag(k))
    partial = k / np.outer(d, d)
    off = ~np.eye(len(r), dtype=bool)
    plain, given = (r**2 * off).sum(0), (partial**2 * off).sum(0)
    return float(plain.sum() / (plain.sum() + given.sum())), plain / (plain + given)


def sphericity(r: np.ndarray, n: int) -> tuple[float, int, float]:
    """-(n - 1 - (2p + 5)/6) log|R|, its df and p-value: are all correlations zero? Bartlett (1951), Biometrika 38."""
    p = len(r)
    stat = -(n - 1 - (2 * p + 5) / 6) * np.linalg.slogdet(r)[1]
    df = p * (p - 1) // 2
    return float(stat), df, float(chdtrc(df, stat))


def eigenvalues(r: np.ndarray) -> np.ndarray:
    """Eigenvalues in falling order."""
    return np.linalg.eigvalsh(r)[::-1]


def reduced(r: np.ndarray) -> np.ndarray:
    """Correlations with squared multiple correlations on the diagonal."""
    out = r.copy()
    np.fill_diagonal(out, 1 - 1 / np.diag(np.linalg.inv(r)))
    return out


def eigenvalue_frame(cov: np.ndarray) -> pd.DataFrame:
    """Eigenvalues of the correlation matrix by number, in falling order."""
    import pandas as pd

    sd = np.sqrt(np.diag(cov))
    values = eigenvalues(cov / np.outer(sd, sd))
    return pd.DataFrame({"eigenvalue": values}, pd.Index(np.arange(1, len(values) + 1), name="factor"))


def random_eigenvalues(
    n: int, p: int, simulations: int, rng: np.random.Generator, y: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of full and of reduced correlations of independent variables [simulation, p] each.

    They are normal, or the columns of y [person, p], shuffled one by one.
    """
    full, less = np.empty((simulations, p)), np.empty((simulations, p))
    for s in range(simulations):
        z = rng.standard_normal((n, p)) if y is None else rng.permuted(y, axis=0)
        r = np.asarray(np.corrcoef(z.T))
        full[s], less[s] = eigenvalues(r), eigenvalues(reduced(r))
    return full, less


def leading(above: np.ndarray) -> int:
    """How many values of a sequence of truths come before the first that is not."""
    return int(np.argmin(np.append(above, False)))
