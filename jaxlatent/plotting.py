"""fit.plot: pictures of a fit, each a line that passes frames down."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxlatent.plots.parameter_plots import factor_scores, modification_indices, parameters
from jaxlatent.plots.path_diagram import PathDiagram, path_diagram
from jaxlatent.plots.residual_plots import residuals

if TYPE_CHECKING:
    from jaxlatent.fit import Fit


class Plots:
    """The plots of a fit; all but path_diagram need matplotlib and return its Axes; path= also writes the picture."""

    def __init__(self, fit: Fit) -> None:
        self._fit = fit

    def path_diagram(self, path: str | Path | None = None, **options: Any) -> PathDiagram:
        """The model as a diagram with its estimates (SVG); options of plots.path_diagram: column, group, stars, ..."""
        table = self._fit._fitted.table
        return path_diagram(self._fit.parameters, latent=table.latent, observed=table.observed, path=path, **options)

    def residuals(self, path: str | Path | None = None, *, kind: str = "cor", group: str | None = None) -> Any:
        """Heat map of the residuals of one group."""
        frame = self._fit.residuals(kind)
        labels = self._fit._fitted.group_labels
        if len(labels) > 1:
            frame = frame.loc[[group or labels[0]]].droplevel("group")
        return residuals(frame[list(self._fit._fitted.table.observed)], path=path)

    def parameters(self, path: str | Path | None = None, *, op: str | None = None, standardized: bool = False) -> Any:
        """Estimates with their confidence intervals."""
        if not standardized:
            return parameters(self._fit.parameters, op=op, path=path)
        return parameters(self._fit.standardized(), op=op, column="est_std", path=path)

    def modification_indices(self, path: str | Path | None = None, *, n: int = 20) -> Any:
        """The largest modification indices as bars."""
        return modification_indices(self._fit.modification_indices(), n=n, path=path)

    def scores(self, path: str | Path | None = None, *, data: Any = None, method: str | None = None) -> Any:
        """Distributions of the factor scores."""
        return factor_scores(self._fit.scores(data, method), path=path)
