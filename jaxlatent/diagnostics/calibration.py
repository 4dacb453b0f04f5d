"""Simulation-based calibration: does a sampler draw from the posterior? All data sets in one batched, compiled call.

For theta from the prior, y from p(y | theta) and L draws from p(theta | y), the rank of theta among the draws is uniform
on 0, ..., L; any other distribution is a fault of prior, model or sampler.

Source: Talts, Betancourt, Simpson, Vehtari and Gelman (2018), arXiv 1804.06788.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.numerics.uniformity import chi_square_ranks, ecdf, ecdf_band, uniform_scores

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Calibration:
    """Ranks [data set, parameter] of what data were simulated with, among n_draws draws; names of the parameters.

    n_failed: data sets that were left out, because their draws were not finite.
    """

    ranks: np.ndarray
    n_draws: int
    names: tuple[str, ...]
    n_failed: int = 0

    def table(self, level: float = 0.95) -> pd.DataFrame:
        """A row a parameter: chisq, df, pvalue of uniform ranks; the largest ecdf_difference; within_band, whether the
        distribution function stays within the simultaneous band of uniform ranks.
        """
        import pandas as pd

        statistic, df, pvalue = chi_square_ranks(self.ranks, self.n_draws)
        band = ecdf_band(len(self.ranks), level)
        found = self.ecdf()
        inside = ((found >= band.lower[:, None]) & (found <= band.upper[:, None])).all(0)
        columns = {"chisq": statistic, "df": df, "pvalue": pvalue,
                   "ecdf_difference": np.abs(found - band.z[:, None]).max(0), "within_band": inside}  # fmt: skip
        return pd.DataFrame(columns, list(self.names))

    def ecdf(self) -> np.ndarray:
        """Empirical distribution functions of the ranks [point, parameter] at the points of ``ecdf_band``."""
        return ecdf(uniform_scores(self.ranks, self.n_draws), ecdf_band(len(self.ranks)).z)


def calibrate(
    prior: Callable[[jax.Array], jax.Array],
    simulate: Callable[[jax.Array, jax.Array], Any],
    sampler: Callable[[Any, jax.Array], jax.Array],
    *,
    n: int = 200,
    thin: int = 1,
    names: Sequence[str] | None = None,
    key: int = 0,
    at_once: int | None = None,
) -> Calibration:
    """n data sets, each simulated from the prior, fitted and ranked; everything in one compiled call, in float64.

    prior(key) -> parameters [q]; simulate(parameters, key) -> data, any pytree; sampler(data, key) -> draws [draw, q].
    All are traced. thin: every thin-th draw counts, so that draws are about independent. at_once: data sets in one
    batch; None: one after the other.

    Raises
    ------
    ValueError
        n below 20, thin below 1, draws of another number of parameters than the prior's, or no finite draws at all.
    """
    for name, value, least in (("n", n, 20), ("thin", thin, 1)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"Expected {name} as a whole number from {least}; got {value!r}.")

    def one(own: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        first, second, third = jax.random.split(own, 3)
        theta = prior(first)
        draws = sampler(simulate(theta, second), third)
        if draws.ndim != 2 or draws.shape[1:] != theta.shape:
            raise ValueError(f"Expected draws [draw, {theta.shape[0]}], as the prior's; got shape {draws.shape}.")
        used = draws[thin - 1 :: thin]
        rank = (used < theta).sum(0)
        return rank, jnp.isfinite(draws).all() & jnp.isfinite(theta).all(), jnp.asarray(used.shape[0])

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(key), int(n))
        found = jax.jit(lambda k: jax.lax.map(one, k, batch_size=at_once))(keys)
        ranks, fine, size = (np.asarray(a) for a in found)
    if not fine.any():
        raise ValueError("None of the data sets has finite draws: look at one of them first.")
    q = ranks.shape[1]
    called = tuple(names) if names is not None else tuple(f"parameter {k + 1}" for k in range(q))
    if len(called) != q:
        raise ValueError(f"Expected {q} names, one for each parameter; got {len(called)}.")
    return Calibration(ranks[fine], int(size[0]), called, int((~fine).sum()))
