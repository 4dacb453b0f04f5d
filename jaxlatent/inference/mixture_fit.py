"""Mixtures of factor analysers: scaling, starts by k-means, the best of several runs of EM."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from jaxlatent.numerics.factor_em import Rows
from jaxlatent.numerics.factor_extraction import LEAST
from jaxlatent.numerics.mixture_em import Mixture, assign, climb_mixture, flat, unflat

ROUGH_STEPS, LLOYD_STEPS = 15, 30


@dataclass(frozen=True)
class MixtureEstimate:
    """Parameters of variables divided by sd after mean is taken off; components by falling probability.

    weights [k]; loadings [k, item, m]; uniquenesses, means [k, item]; values [start]: log-likelihoods of the starts
    after the rough steps.
    """

    weights: np.ndarray
    loadings: np.ndarray
    uniquenesses: np.ndarray
    means: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    log_likelihood: float
    steps: int
    converged: bool
    values: np.ndarray

    def persons(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log-likelihoods [person], probabilities [person, k], means of the factors [k, person, m] of rows."""
        k, _, m = self.loadings.shape
        rows = standard_rows(y, self.centre, self.scale)
        parts = Mixture(np.log(self.weights), self.loadings, np.log(self.uniquenesses), self.means)
        with jax.enable_x64(True):
            value, share, x = (np.asarray(part) for part in assign(flat(parts), rows, k=k, m=m))
        return value - rows.seen @ np.log(self.scale), share, x


def standard_rows(y: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> Rows:
    """Standardised rows and which cells are seen."""
    seen = ~np.isnan(y)
    return Rows(np.where(seen, (y - centre) / scale, 0.0), seen.astype(float), np.ones(len(y)))


def fit_mixture(
    y: np.ndarray, k: int, m: int, *, shared: bool, starts: int, key: int, tolerance: float, max_steps: int
) -> MixtureEstimate:
    """The best of several starts, each begun by k-means++ and improved by a few steps of EM."""
    centre, scale = np.nanmean(y, axis=0), np.nanstd(y, axis=0)
    rows = standard_rows(y, centre, scale)
    least, rng = np.full(y.shape[1], LEAST), np.random.default_rng(key)
    with jax.enable_x64(True):

        def run(begin: np.ndarray, steps: int) -> tuple[np.ndarray, float, int, bool]:
            found = climb_mixture(begin, rows, least, tolerance, steps, k=k, m=m, shared=shared)
            return np.asarray(found.u), float(found.value), int(found.steps), bool(found.converged)

        tried = [run(np.asarray(flat(_start(rows.y, k, m, rng))), ROUGH_STEPS) for _ in range(starts)]
        values = np.array([value for _, value, _, _ in tried])
        best = int(np.nanargmax(values))
        u, value, steps, converged = run(tried[best][0], max_steps)
        parts = jax.tree.map(np.asarray, unflat(u, k, y.shape[1], m))
    weights = np.exp(parts.log_weight - np.logaddexp.reduce(parts.log_weight))
    order = np.argsort(-weights, kind="stable")
    shift = float((rows.seen @ np.log(scale)).sum())
    return MixtureEstimate(
        weights[order], parts.loadings[order], np.exp(parts.log_theta[order]), parts.mean[order], centre, scale,
        value * len(y) - shift, tried[best][2] + steps, converged, values * len(y) - shift,
    )  # fmt: skip


def _start(z: np.ndarray, k: int, m: int, rng: np.random.Generator) -> Mixture:
    """Clusters of k-means (missing cells at the mean), their means and principal axes."""
    label = _k_means(z, k, rng)
    p = z.shape[1]
    weight, loadings, theta, mean = np.empty(k), np.empty((k, p, m)), np.empty((k, p)), np.empty((k, p))
    whole = np.cov(z.T, bias=True) + 1e-6 * np.eye(p)
    for c in range(k):
        own = z[label == c]
        weight[c] = max(len(own), 1) / len(z)
        mean[c] = own.mean(0) if len(own) else z[rng.integers(len(z))]
        share = len(own) / (len(own) + p + 1)
        within = (own - mean[c]).T @ (own - mean[c]) / max(len(own), 1)
        cov = share * within + (1 - share) * np.diag(np.diag(whole))
        value, vector = np.linalg.eigh(cov)
        rest = max(value[:-m].mean(), 0.01)
        loadings[c] = vector[:, -m:] * np.sqrt(np.maximum(value[-m:] - rest, 0.01))
        theta[c] = np.maximum(np.diag(cov) - (loadings[c] ** 2).sum(1), 0.05)
    return Mixture(np.log(weight), loadings, np.log(theta), mean)


def _k_means(z: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Labels after Lloyd's steps from k-means++ (Arthur and Vassilvitskii 2007)."""
    centres = z[rng.integers(len(z))][None]
    for _ in range(1, k):
        near = ((z[:, None] - centres) ** 2).sum(2).min(1)
        total = near.sum()
        pick = rng.choice(len(z), p=near / total) if total > 0 else rng.integers(len(z))
        centres = np.concatenate([centres, z[pick][None]])
    label = np.zeros(len(z), int)
    for _ in range(LLOYD_STEPS):
        new = ((z**2).sum(1)[:, None] - 2 * z @ centres.T + (centres**2).sum(1)).argmin(1)
        if (new == label).all():
            break
        label = new
        for c in range(k):
            if (label == c).any():
                centres[c] = z[label == c].mean(0)
    return label
