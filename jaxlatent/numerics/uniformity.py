"""Are ranks uniform? Tests of one quantity and of all in one, and a band that distribution functions leave rarely."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.stats import binom

from jaxlatent.numerics.special import chdtrc, fdtrc

POINTS = 100  # at which distribution functions are compared
TRIALS = 2000  # uniform samples that the band's width is found from
FEWEST = 5  # ranks that are expected in a bin


class Band(NamedTuple):
    """Points z [point] and where an empirical distribution function of uniform numbers lies at all of them."""

    z: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def chi_square_ranks(ranks: np.ndarray, n_draws: int, bins: int | None = None) -> tuple[np.ndarray, int, np.ndarray]:
    """Chi-square statistics [q], their df and p-values [q] of ranks [sim, q] in 0, ..., n_draws.

    bins: of about equal width; None: as many as leave five ranks expected in each, at most 20.
    """
    n = len(ranks)
    count = min(bins or max(n // FEWEST, 2), n_draws + 1, bins or 20)
    where = np.minimum(ranks * count // (n_draws + 1), count - 1)
    share = np.bincount(np.minimum(np.arange(n_draws + 1) * count // (n_draws + 1), count - 1), minlength=count)
    expected = n * share / (n_draws + 1)
    found = np.array([np.bincount(column, minlength=count) for column in where.T])
    statistic = ((found - expected) ** 2 / expected).sum(1)
    return statistic, count - 1, np.asarray(chdtrc(count - 1, statistic))


class JointTest(NamedTuple):
    """A statistic that is F-distributed with df and df_residual where all quantities are uniform."""

    statistic: float
    df: int
    df_residual: int
    pvalue: float


def joint_test(u: np.ndarray) -> JointTest:
    """Are all columns of u [sim, q] uniform on (0, 1)? Columns may depend on each other in any way, rows may not.

    Hotelling's T² of the Legendre polynomials √3 (2u − 1) and √5 (6u² − 6u + 1) of every column, whose means are 0
    where it is uniform: the first sees shifted posteriors, the second too wide and too narrow ones.
    T² (n − 2q) / (2q (n − 1)) ~ F(2q, n − 2q).

    Raises ValueError for fewer than 4 q rows.

    Sources: Neyman (1937), Scandinavian Actuarial Journal 20 (smooth tests); Hotelling (1931), Annals of Mathematical
    Statistics 2.
    """
    n, q = u.shape
    if n < 4 * q:
        raise ValueError(f"Expected at least {4 * q} data sets for a joint test of {q} quantities; got {n}.")
    terms = np.concatenate([math.sqrt(3) * (2 * u - 1), math.sqrt(5) * (6 * u**2 - 6 * u + 1)], 1)
    mean = terms.mean(0)
    squared = n * mean @ np.linalg.solve(np.cov(terms.T), mean)
    statistic = squared * (n - 2 * q) / (2 * q * (n - 1))
    return JointTest(float(statistic), 2 * q, n - 2 * q, float(fdtrc(2 * q, n - 2 * q, statistic)))


def uniform_scores(ranks: np.ndarray, n_draws: int, key: int = 0) -> np.ndarray:
    """(rank + U) / (n_draws + 1), continuous uniform numbers where ranks are uniform."""
    u = np.random.default_rng((key, 2022)).uniform(size=ranks.shape)
    return (ranks + u) / (n_draws + 1)


@lru_cache(maxsize=32)
def ecdf_band(n: int, level: float = 0.95) -> Band:
    """The simultaneous band of n uniform numbers: binomial intervals, all of a coverage that makes theirs ``level``.

    Source: Säilynoja, Bürkner and Vehtari (2022), Statistics and Computing 32, algorithm 2 (coverage by simulation).
    """
    z = np.arange(1, POINTS) / POINTS
    rng = np.random.default_rng(0)
    counts = np.array([np.searchsorted(np.sort(rng.uniform(size=n)), z, side="right") for _ in range(TRIALS)])
    tail = np.minimum(binom.cdf(counts, n, z), binom.sf(counts - 1, n, z))
    gamma = 2 * np.quantile(tail.min(1), 1 - level)
    return Band(z, binom.ppf(gamma / 2, n, z) / n, binom.ppf(1 - gamma / 2, n, z) / n)


def ecdf(u: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Empirical distribution functions [point, q] of numbers [n, q]."""
    return np.array([np.searchsorted(np.sort(column), z, side="right") for column in u.T]).T / len(u)
