"""Simulation-based calibration: does a sampler draw from the posterior? All data sets in one batched, compiled call.

For theta from the prior, y from p(y | theta) and L draws from p(theta | y), the rank of theta among the draws is
uniform on 0, ..., L; any other distribution is a fault of prior, model or sampler.

Functions of parameters and data are ranked likewise: the log-likelihood of the data sees samplers that parameters alone
don't give away, such as one that draws from the prior.

Sources: Talts, Betancourt, Simpson, Vehtari and Gelman (2018), arXiv 1804.06788; Modrák, Moon, Kim, Bürkner, Huurre,
Faltejsková, Gelman and Vehtari (2023), Bayesian Analysis (quantities that depend on the data).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.numerics.uniformity import (
    JointTest,
    chi_square_ranks,
    ecdf,
    ecdf_band,
    joint_test,
    uniform_scores,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Calibration:
    """Ranks [data set, quantity] of what data were simulated with, among n_draws draws; names of the quantities.

    n_failed: data sets that were left out, because their draws were not finite. autocorrelation [quantity]: of
    neighbouring draws, the mean over data sets.
    """

    ranks: np.ndarray
    n_draws: int
    names: tuple[str, ...]
    n_failed: int = 0
    autocorrelation: np.ndarray | None = None

    def table(self, level: float = 0.95) -> pd.DataFrame:
        """A row a quantity: chisq, df, pvalue of uniform ranks; the largest ecdf_difference; within_band, whether the
        distribution function stays within the simultaneous band of uniform ranks; autocorrelation of the draws that
        are used, about −1 / n_draws where they are thinned enough.
        """
        import pandas as pd

        statistic, df, pvalue = chi_square_ranks(self.ranks, self.n_draws)
        band = ecdf_band(len(self.ranks), level)
        found = self.ecdf()
        inside = ((found >= band.lower[:, None]) & (found <= band.upper[:, None])).all(0)
        columns = {"chisq": statistic, "df": df, "pvalue": pvalue,
                   "ecdf_difference": np.abs(found - band.z[:, None]).max(0), "within_band": inside}  # fmt: skip
        if self.autocorrelation is not None:
            columns["autocorrelation"] = self.autocorrelation
        return pd.DataFrame(columns, list(self.names))

    def joint_test(self) -> JointTest:
        """One test of all quantities at once, whatever their dependence."""
        return joint_test(uniform_scores(self.ranks, self.n_draws))

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
    quantities: Callable[[jax.Array, Any], jax.Array] | None = None,
) -> Calibration:
    """n data sets, each simulated from the prior, fitted and ranked; everything in one compiled call, in float64.

    prior(key) -> parameters [q]; simulate(parameters, key) -> data, any pytree; sampler(data, key) -> draws [draw, q].
    All are traced. thin: every thin-th draw counts, so that draws are about independent. at_once: data sets in one
    batch; None: one after the other. quantities(parameters, data) -> [k]: what is ranked besides the parameters, after
    them.

    Raises
    ------
    ValueError
        n below 20, thin below 1, draws of another number of parameters than the prior's, or no finite draws at all.
    """
    for name, value, least in (("n", n, 20), ("thin", thin, 1)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"Expected {name} as a whole number from {least}; got {value!r}.")

    def one(own: jax.Array) -> tuple[jax.Array, ...]:
        first, second, third = jax.random.split(own, 3)
        theta = prior(first)
        data = simulate(theta, second)
        draws = sampler(data, third)
        if draws.ndim != 2 or draws.shape[1:] != theta.shape:
            raise ValueError(f"Expected draws [draw, {theta.shape[0]}], as the prior's; got shape {draws.shape}.")
        used = draws[thin - 1 :: thin]
        fine = jnp.isfinite(draws).all() & jnp.isfinite(theta).all()
        if quantities is not None:
            theta = jnp.concatenate([theta, quantities(theta, data)])
            used = jnp.concatenate([used, jax.lax.map(lambda each: quantities(each, data), used)], 1)
        centred = used - used.mean(0)
        related = (centred[1:] * centred[:-1]).sum(0) / (centred**2).sum(0)
        return (used < theta).sum(0), fine, jnp.asarray(used.shape[0]), related

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(key), int(n))
        found = jax.jit(lambda k: jax.lax.map(one, k, batch_size=at_once))(keys)
        ranks, fine, size, related = (np.asarray(a) for a in found)
    if not fine.any():
        raise ValueError("None of the data sets has finite draws: look at one of them first.")
    q = ranks.shape[1]
    called = tuple(names) if names is not None else tuple(f"parameter {k + 1}" for k in range(q))
    if len(called) != q:
        raise ValueError(f"Expected {q} names, one for each quantity; got {len(called)}.")
    return Calibration(ranks[fine], int(size[0]), called, int((~fine).sum()), related[fine].mean(0))
