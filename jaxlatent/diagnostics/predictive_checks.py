"""Posterior predictive checks of structural equation models: likelihood-ratio discrepancy and SRMR.

    D(y, theta) = 2 [log L_saturated(y) - log L(theta; y)],   ppp = P(D(y_rep, theta) >= D(y, theta) | y)

Replicated moments of complete data are drawn directly, a Wishart matrix and a mean for each draw of theta, never rows.
Source: Gelman, Meng and Stern (1996); Muthén and Asparouhov (2012), Psychological Methods 17, 313-335.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxlatent.diagnostics.draw_likelihoods import draw_log_likelihoods
from jaxlatent.diagnostics.replicates import replicated
from jaxlatent.inference.draws import Draws
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.saturated import saturated_moments
from jaxlatent.results.draws import implied_draws, matrices_of

if TYPE_CHECKING:
    import pandas as pd

INCOMPLETE = 50  # data sets that are replicated where rows are incomplete: each is fitted by a saturated model
LEVEL = 0.95


class Discrepancies(NamedTuple):
    """Of the data and of replicated ones at every draw [draw]: likelihood ratio (chisq) and srmr."""

    observed: dict[str, np.ndarray]
    replicated: dict[str, np.ndarray]


def predictive_checks(fitted: Fitted, draws: Draws, key: int = 0) -> pd.DataFrame:
    """Rows chisq and srmr: posterior means of the observed and of the replicated discrepancy, their difference with its
    95 % interval, and the posterior predictive p-value.

    A p-value near 0.5 is what a model that is right has, near 0 one that is wrong. Incomplete rows are replicated with
    their missing cells, in fewer data sets.
    """
    return checks_frame(discrepancies(fitted, draws, key))


def discrepancies(fitted: Fitted, draws: Draws, key: int = 0) -> Discrepancies:
    """Both discrepancies at all draws (at INCOMPLETE of them for incomplete rows)."""
    free = draws.flat
    if fitted.missing == "fiml":
        free = free[np.linspace(0, len(free) - 1, min(INCOMPLETE, len(free))).round().astype(int)]
        return _from_rows(fitted, free, key)
    return _from_moments(fitted, free, key)


def checks_frame(found: Discrepancies) -> pd.DataFrame:
    """Discrepancies as a table: observed, replicated, difference, ci_lower, ci_upper, ppp."""
    import pandas as pd

    tail = (1 - LEVEL) / 2
    rows = {}
    for name, observed in found.observed.items():
        made = found.replicated[name]
        gap = observed - made
        lower, upper = np.quantile(gap, [tail, 1 - tail])
        rows[name] = {
            "observed": observed.mean(), "replicated": made.mean(), "difference": gap.mean(), "ci_lower": lower,
            "ci_upper": upper, "ppp": float((made >= observed).mean()),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index")


# ---- complete data --------------------------------------------------------------------------------------------------


def likelihood_ratio(
    mean: np.ndarray, cov: np.ndarray, implied_mean: np.ndarray, implied_cov: np.ndarray
) -> np.ndarray:
    """log|Sigma| + tr(S Sigma^-1) - log|S| - p + (m - mu)' Sigma^-1 (m - mu) [...] of moments [..., p], [..., p, p]."""
    inverse = np.linalg.inv(implied_cov)
    gap = mean - implied_mean
    trace = np.einsum("...ij,...ji->...", inverse, cov)
    quadratic = (gap * (inverse @ gap[..., None])[..., 0]).sum(-1)
    log_dets = np.linalg.slogdet(implied_cov)[1] - np.linalg.slogdet(cov)[1]
    return log_dets + trace - cov.shape[-1] + quadratic


def standardized_residual(
    mean: np.ndarray, cov: np.ndarray, implied_mean: np.ndarray, implied_cov: np.ndarray, means: bool
) -> np.ndarray:
    """SRMR (Bentler 1995) [...] of moments [..., p], [..., p, p]: covariances, and means where there is a structure."""
    p = cov.shape[-1]
    low = np.tril_indices(p)
    sd = np.sqrt(np.diagonal(cov, axis1=-2, axis2=-1))
    scaled = ((cov - implied_cov) / (sd[..., :, None] * sd[..., None, :]))[..., low[0], low[1]] ** 2
    if not means:
        return np.sqrt(scaled.mean(-1))
    return np.sqrt((scaled.sum(-1) + (((mean - implied_mean) / sd) ** 2).sum(-1)) / (scaled.shape[-1] + p))


def replicated_moments(
    mean: np.ndarray, cov: np.ndarray, n: float, means: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Means and covariances (divided by n) of n rows from N(mean, cov), [draw, p] and [draw, p, p].

    n S ~ Wishart(n - 1, Sigma) by Bartlett's (1933) decomposition: n S = L A A' L', A lower triangular with
    a_ii^2 ~ chi-square(n - i) and standard normal cells below; the mean is N(mu, Sigma / n).
    """
    draws, p = mean.shape
    a = np.tril(rng.standard_normal((draws, p, p)), -1)
    a[:, range(p), range(p)] = np.sqrt(rng.chisquare(n - 1 - np.arange(p), (draws, p)))
    root = np.linalg.cholesky(cov)
    half = root @ a
    moved = mean + (root @ rng.standard_normal((draws, p, 1)))[..., 0] / np.sqrt(n) if means else mean
    return moved, half @ np.swapaxes(half, 1, 2) / n


def _from_moments(fitted: Fitted, free: np.ndarray, key: int) -> Discrepancies:
    rng, means = np.random.default_rng(key), fitted.table.mean_structure
    mu, sigma = implied_draws(matrices_of(fitted, free))
    zero = np.zeros(len(free))
    out = Discrepancies({"chisq": zero.copy(), "srmr": zero.copy()}, {"chisq": zero.copy(), "srmr": zero.copy()})
    for g, n in enumerate(fitted.moments.n):
        centre = mu[:, g] if means else np.broadcast_to(fitted.moments.mean[g], mu[:, g].shape)
        here = np.broadcast_to(fitted.moments.mean[g], centre.shape), np.broadcast_to(
            fitted.moments.cov[g], sigma[:, g].shape
        )
        made = replicated_moments(centre, sigma[:, g], float(n), means, rng)
        for where, (m, s) in zip(out, (here, made), strict=True):
            where["chisq"] += n * likelihood_ratio(m, s, centre, sigma[:, g])
            where["srmr"] += n / fitted.n_total * standardized_residual(m, s, centre, sigma[:, g], means)
    return out


# ---- incomplete rows ------------------------------------------------------------------------------------------------


def deviances(fitted: Fitted, free: np.ndarray) -> np.ndarray:
    """D(y, theta) [draw] of the data: twice the log-likelihood that a saturated model has more."""
    if fitted.missing != "fiml":
        mu, sigma = implied_draws(matrices_of(fitted, free))
        total = np.zeros(len(free))
        for g, n in enumerate(fitted.moments.n):
            centre = mu[:, g] if fitted.table.mean_structure else fitted.moments.mean[g]
            total += n * likelihood_ratio(fitted.moments.mean[g], fitted.moments.cov[g], centre, sigma[:, g])
        return total
    weight = np.ones(len(fitted.rows.y)) if fitted.rows.weight is None else fitted.rows.weight
    both = draw_log_likelihoods(fitted, np.concatenate([free, fitted.free[None]])) @ weight
    outside = fitted.log_likelihood - both[-1]  # what fixed exogenous variables take away
    return 2 * (fitted.saturated_log_likelihood - outside - both[:-1])


def _from_rows(fitted: Fitted, free: np.ndarray, key: int) -> Discrepancies:
    data, means = fitted.rows, fitted.table.mean_structure
    mu, sigma = implied_draws(matrices_of(fitted, free))
    share = fitted.moments.n / fitted.n_total

    def srmr(mean: np.ndarray, cov: np.ndarray, k: int) -> float:
        return float(share @ standardized_residual(mean, cov, mu[k], sigma[k], means))

    observed = {
        "chisq": deviances(fitted, free),
        "srmr": np.array([srmr(fitted.moments.mean, fitted.moments.cov, k) for k in range(len(free))]),
    }
    made: dict[str, list[float]] = {"chisq": [], "srmr": []}
    for k, y in enumerate(replicated(fitted, free, key)):
        own = replace(fitted, data=replace(data, y=y, weight=None), made_cases=None)
        moments, best = saturated_moments(own.rows)
        made["chisq"].append(float(2 * (best - draw_log_likelihoods(own, free[k : k + 1]).sum())))
        made["srmr"].append(srmr(moments.mean, moments.cov, k))
    return Discrepancies(observed, {name: np.array(values) for name, values in made.items()})
