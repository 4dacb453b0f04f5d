"""fit.plot of posterior draws: each a line that passes frames and arrays down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.plots.chain_plots import trace
from jaxlatent.plots.parameter_plots import factor_scores, parameters

if TYPE_CHECKING:
    from jaxlatent.posterior_fit import PosteriorFit

SHOWN = 6  # parameters of a trace plot, unless named


class PosteriorPlots:
    """The plots of posterior draws; path= also writes the picture. ArviZ's plots take ``fit.to_datatree()``."""

    def __init__(self, fit: PosteriorFit) -> None:
        self._fit = fit

    def trace(self, parameters: str | Sequence[str] | None = None, path: str | Path | None = None) -> Any:
        """Draws of every chain in order, and their distribution; the parameters with the largest R-hat unless named."""
        names = list(self._fit.vcov().index)
        if parameters is None:
            rhat = self._fit.parameters.query("free > 0").groupby("free")["rhat"].max()
            worst = np.argsort(-np.nan_to_num(rhat.to_numpy()), kind="stable")[:SHOWN]
            chosen = [names[k] for k in sorted(worst)]
        else:
            chosen = [parameters] if isinstance(parameters, str) else list(parameters)
        unknown = [name for name in chosen if name not in names]
        if unknown:
            raise ValueError(f"Expected names of parameters such as {names[0]!r}; got {unknown[0]!r}.")
        at = [names.index(name) for name in chosen]
        return trace(self._fit.draws.free[:, :, at], chosen, path=path)

    def forest(self, path: str | Path | None = None, *, op: str | None = None) -> Any:
        """Posterior means with their intervals."""
        return parameters(self._fit.parameters, op=op, path=path)

    def scores(self, path: str | Path | None = None, *, data: Any = None) -> Any:
        """Distributions of the factor scores."""
        return factor_scores(self._fit.scores(data), path=path)

    def path_diagram(self, path: str | Path | None = None, **options: Any) -> Any:
        """The model as a diagram with posterior means (SVG)."""
        return self._fit._inner.plot.path_diagram(path, **options)
