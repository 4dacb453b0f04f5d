"""fit.plot: pictures of a fit, each a line that passes frames down."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxlatent.diagnostics.factorability import eigenvalue_frame
from jaxlatent.plots.loading_plots import loadings
from jaxlatent.plots.parameter_plots import factor_scores, modification_indices, parameters
from jaxlatent.plots.path_diagram import PathDiagram, path_diagram
from jaxlatent.plots.residual_plots import residuals
from jaxlatent.plots.scree_plot import scree
from jaxlatent.results.communalities import loading_matrix
from jaxlatent.results.factor_tables import sorted_items

if TYPE_CHECKING:
    from jaxlatent.fit import Fit
    from jaxlatent.two_level_fit import TwoLevelFit

WEAK = 0.3  # standardised loadings of exploratory solutions from which diagrams draw an arrow


class Plots:
    """The plots of a fit; all but path_diagram need matplotlib and return its Axes; path= also writes the picture."""

    def __init__(self, fit: Fit) -> None:
        self._fit = fit

    def path_diagram(self, path: str | Path | None = None, *, cut: float | None = None, **options: Any) -> PathDiagram:
        """The model as a diagram with its estimates (SVG); options of plots.path_diagram: column, group, stars, ...

        cut: standardised loadings smaller than this are left out; None: 0.3 for exploratory solutions, else 0.
        """
        table, frame = self._fit._fitted.table, self._fit.parameters
        cut = (WEAK if any(row.efa for row in table.rows) else 0.0) if cut is None else cut
        frame = frame[(frame["op"] != "=~") | (frame["std_all"].abs() >= cut)]
        return path_diagram(frame, latent=table.latent, observed=table.observed, path=path, **options)

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

    def loadings(self, path: str | Path | None = None, *, cut: float = 0.0, sort: bool = False) -> Any:
        """Heat map of the standardised loadings; sort: by the factor on which an item loads most."""
        table = self._fit._fitted.table
        if table.n_groups > 1 or not table.latent:
            raise ValueError("The heat map of loadings is for models of one group with latent variables.")
        items = [v for v in table.observed if v in set(self._fit.parameters.query("op == '=~'")["rhs"])]
        frame = loading_matrix(self._fit.parameters, items, list(table.latent))
        order = sorted_items(frame.to_numpy()) if sort else slice(None)
        return loadings(frame.iloc[order], cut=cut, path=path)

    def scree(self, path: str | Path | None = None) -> Any:
        """Eigenvalues of the correlations of the variables, in decreasing order."""
        moments = self._fit._fitted.moments
        return scree(eigenvalue_frame(moments.cov[0]), path=path)

    def modification_indices(self, path: str | Path | None = None, *, n: int = 20) -> Any:
        """The largest modification indices as bars."""
        return modification_indices(self._fit.modification_indices(), n=n, path=path)

    def scores(self, path: str | Path | None = None, *, data: Any = None, method: str | None = None) -> Any:
        """Distributions of the factor scores."""
        return factor_scores(self._fit.scores(data, method), path=path)


class TwoLevelPlots:
    """The plots of a two-level fit."""

    def __init__(self, fit: TwoLevelFit) -> None:
        self._fit = fit

    def path_diagram(self, path: str | Path | None = None, **options: Any) -> PathDiagram:
        """A panel for each level (SVG); options of plots.path_diagram: column, stars, digits, ..."""
        table = self._fit._fit.fitted.table
        return path_diagram(self._fit.parameters, latent=table.latent, observed=table.observed, path=path, **options)

    def parameters(self, path: str | Path | None = None, *, level: int, op: str | None = None) -> Any:
        """Estimates of one level with their confidence intervals."""
        frame = self._fit.parameters
        return parameters(frame[frame["level"] == level].drop(columns="level"), op=op, path=path)
