"""Variational Bayes of factor analysis: scaling, starts, and the posterior on the scale of the variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxlatent.data.responses import Responses
from jaxlatent.inference.variational_settings import VariationalBayes
from jaxlatent.numerics.variational_factors import TRACE, Posterior, Priors, fit_factors, person_posterior

MEAN_PRECISION = 1e-3  # of the prior of the means of standardised variables
ACTIVE = 1e-3  # share of the variance from which a factor counts as one


@dataclass(frozen=True)
class VariationalPosterior:
    """q of standardised variables z = (y - mean) / sd, its bound on log p(y), and how it was reached.

    active: positions of the factors that explain something, the largest first. trace [step]: bounds.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    sd: np.ndarray
    q: Posterior
    bound: float
    steps: int
    converged: bool
    trace: np.ndarray
    active: np.ndarray

    @property
    def slopes(self) -> np.ndarray:
        """E λ of the active factors, standardised variables [item, factor]."""
        return self.q.slope[:, self.active]

    @property
    def slope_cov(self) -> np.ndarray:
        """Covariances of λ of every item [item, factor, factor]."""
        return self.q.slope_cov[:, self.active[:, None], self.active]

    @property
    def noise(self) -> np.ndarray:
        """1 / E τ [item]."""
        return self.q.tau_rate / self.q.tau_shape

    @property
    def sums(self) -> np.ndarray:
        """Sum of squared loadings of every factor, pruned ones too, in falling order."""
        return np.sort((self.q.slope[:, :-1] ** 2).sum(0))[::-1]

    def persons(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean [person, factor] and covariance of q(x) of the active factors, for rows with nan where missing."""
        seen = ~np.isnan(y)
        z = np.where(seen, (y - self.mean) / self.sd, 0.0)
        with jax.enable_x64(True):
            q = self.q
            found = person_posterior(q.slope, q.slope_cov, q.tau_shape / q.tau_rate, z, seen.astype(float))
            x, cov = (np.asarray(part) for part in found)
        return x[:, self.active], cov[:, self.active[:, None], self.active]


def fit_posterior(data: Responses, m: int, engine: VariationalBayes, key: int) -> VariationalPosterior:
    """Standardise, start at principal axes turned at random, and run the compiled loop."""
    if data.weight is not None or data.cluster is not None:
        raise ValueError("VariationalBayes takes neither weights nor clusters: leave them out, or use ML.")
    y, p = data.y, data.y.shape[1]
    mean, sd = np.nanmean(y, axis=0), np.nanstd(y, axis=0)
    seen = ~np.isnan(y)
    z = np.where(seen, (y - mean) / sd, 0.0)
    with jax.enable_x64(True):
        found: Any = fit_factors(
            z, seen.astype(float), _start(z, m, key), Priors(engine.shape, engine.rate, MEAN_PRECISION),
            engine.tolerance * len(y), engine.max_steps, ard=bool(engine.ard),
        )  # fmt: skip
        found = jax.tree.map(np.asarray, found)
    sums = (found.q.slope[:, :m] ** 2).sum(0)
    order = np.argsort(-sums, kind="stable")
    active = order[sums[order] / p > ACTIVE] if (sums / p > ACTIVE).any() else order[:1]
    steps = int(found.steps)
    bound = float(found.bound) - float((seen.sum(0) * np.log(sd)).sum())
    return VariationalPosterior(
        data.names, mean, sd, found.q, bound, steps, bool(found.converged),
        found.trace[: min(steps, TRACE)] - float((seen.sum(0) * np.log(sd)).sum()), active,
    )  # fmt: skip


def _start(z: np.ndarray, m: int, key: int) -> np.ndarray:
    """Principal components of the correlations, turned at random, and means of zero [item, m + 1]."""
    r = z.T @ z / len(z)
    value, vector = np.linalg.eigh(r)
    axes = vector[:, -m:] * np.sqrt(np.maximum(value[-m:], 0.1))
    turn = np.linalg.qr(np.random.default_rng(key).standard_normal((m, m)))[0]
    return np.concatenate([axes @ turn, np.zeros((len(r), 1))], axis=1)
