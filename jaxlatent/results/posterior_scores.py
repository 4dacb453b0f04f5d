"""Latent variables given data, with the uncertainty of the parameters: averages over posterior draws.

E(x | y) = mean of E(x | y, θ_s),   V(x | y) = mean of V(x | y, θ_s) + variance of E(x | y, θ_s) over draws θ_s
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from jaxlatent.data.responses import Responses
from jaxlatent.inference.draws import Draws
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.item_data import ItemRows
from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.results.item_scores import posterior_moments
from jaxlatent.results.scores import scores

DRAWS = 200  # parameters that scores are averaged over


def normal_posterior_scores(
    fitted: Fitted, draws: Draws, data: Responses, method: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and their posterior standard deviations [person, factor]: exact given each draw.

    method: "regression" (default) is E(x | y); "bartlett" as it says.
    """

    def one(free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, error = scores(replace(fitted, estimate=fitted.estimate._replace(free=free)), data, method)
        return value, error**2

    return _averaged(one, draws)


def item_posterior_scores(fitted: ItemFitted, draws: Draws, data: ItemRows) -> tuple[np.ndarray, np.ndarray]:
    """The same for item response models, given each draw by the fit's rule of integration."""

    def one(free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, mean, cov = posterior_moments(replace(fitted, estimate=fitted.estimate._replace(free=free)), data)
        return mean, np.diagonal(cov, axis1=-2, axis2=-1)

    return _averaged(one, draws)


def thinned(draws: Draws, n: int) -> np.ndarray:
    """At most n draws, evenly spread over all chains [n, n_free]."""
    flat = draws.flat
    return flat[np.linspace(0, len(flat) - 1, min(n, len(flat))).round().astype(int)]


def _averaged(
    one: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], draws: Draws
) -> tuple[np.ndarray, np.ndarray]:
    total = square = within = np.zeros(())
    used = thinned(draws, DRAWS)
    for free in used:
        value, variance = one(free)
        total, square, within = total + value, square + value**2, within + variance
    n = len(used)
    mean = total / n
    return mean, np.sqrt(within / n + np.maximum(square / n - mean**2, 0))
