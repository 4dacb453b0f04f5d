"""Bootstrap draws as tables: percentile, bias-corrected and accelerated intervals (Efron 1987)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.information import Inference
from jaxlatent.numerics.special import ndtr, ndtri
from jaxlatent.results.tables import _base
from jaxlatent.results.values import estimates, jacobian

if TYPE_CHECKING:
    import pandas as pd
    from xarray import DataTree

INTERVALS = ("percentile", "bc", "bca")


@dataclass(frozen=True)
class Bootstrap:
    """Bootstrap estimates of a fit.

    draws [draw, n_free]: the converged ones; n_failed: how many were not.
    """

    fitted: Fitted
    draws: np.ndarray
    n_failed: int

    def vcov(self) -> np.ndarray:
        """Covariance matrix of the draws [n_free, n_free]."""
        return np.cov(self.draws.T)

    def to_datatree(self, *, predictive: int = 100, key: int = 0) -> DataTree:
        """The draws as an ArviZ DataTree, in the group posterior: ``diagnostics.datatree`` says what else is in it."""
        from jaxlatent.diagnostics.datatree import datatree
        from jaxlatent.inference.draws import Draws

        return datatree(self.fitted, Draws(self.draws[None], "bootstrap"), predictive=predictive, key=key)

    def parameters(self, ci: str = "percentile", level: float = 0.95) -> pd.DataFrame:
        """Estimates, bootstrap standard errors and intervals of every row and defined parameter.

        ci: "percentile", "bc" (bias-corrected) or "bca" (and accelerated, by the infinitesimal jackknife).
        Raises ValueError for another kind of interval.
        """
        import pandas as pd

        if ci not in INTERVALS:
            raise ValueError(f"Expected ci to be one of {', '.join(INTERVALS)}; got {ci!r}.")
        if not isinstance(level, float) or not 0 < level < 1:
            raise ValueError(f"Expected level to be a number between 0 and 1, such as 0.95; got {level!r}.")
        est = estimates(self.fitted, self.fitted.free)
        values = np.array([estimates(self.fitted, draw) for draw in self.draws])
        lower, upper = self._limits(est, values, ci, level)
        frame = _base(self.fitted) | {
            "est": est,
            "se": values.std(axis=0, ddof=1),
            "ci_lower": lower,
            "ci_upper": upper,
        }
        return pd.DataFrame(frame)

    def _limits(self, est: np.ndarray, values: np.ndarray, ci: str, level: float) -> tuple[np.ndarray, np.ndarray]:
        tail = (1 - level) / 2
        z = ndtri(np.array([tail, 1 - tail]))
        if ci == "percentile":
            return tuple(np.quantile(values, [tail, 1 - tail], axis=0))
        below = (values < est).mean(axis=0) + (values == est).mean(axis=0) / 2
        bias = ndtri(np.clip(below, 1 / (2 * len(values)), 1 - 1 / (2 * len(values))))
        acceleration = self._acceleration() if ci == "bca" else np.zeros(len(est))
        shifted = bias + z[:, None]
        levels = ndtr(bias + shifted / (1 - acceleration * shifted))
        limits = np.array([np.quantile(values[:, k], levels[:, k]) for k in range(len(est))])
        return limits[:, 0], limits[:, 1]

    def _acceleration(self) -> np.ndarray:
        """sum L^3 / (6 (sum L^2)^1.5) with the empirical influence L of every person on every value."""
        inference = Inference(self.fitted)
        influence = inference.person_scores @ inference.bread
        on_values = influence @ jacobian(lambda free: estimates(self.fitted, free), self.fitted.free).T
        square = (on_values**2).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nan_to_num((on_values**3).sum(axis=0) / (6 * square**1.5))
