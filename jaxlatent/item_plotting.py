"""fit.plot of item response models: pictures that pass a fit's numbers down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jaxlatent.inference.item_model import is_normal
from jaxlatent.integration.histogram import EmpiricalHistogram
from jaxlatent.plots import information_plots, item_plots, person_plots
from jaxlatent.plots.item_plots import ItemTrace, Kind
from jaxlatent.plots.learned_density import learned_contours, learned_density
from jaxlatent.plots.loss_trace import loss_trace
from jaxlatent.plots.matplotlib_figure import finish
from jaxlatent.plots.parameter_plots import factor_scores, parameters
from jaxlatent.plots.path_diagram import PathDiagram, path_diagram
from jaxlatent.plots.residual_plots import residuals
from jaxlatent.plots.scree_plot import scree
from jaxlatent.results import item_curves as curves
from jaxlatent.results.item_difficulties import difficulties_along, items_of_factor
from jaxlatent.results.item_persons import persons_of
from jaxlatent.results.learned_latent import log_density, marginal_density

if TYPE_CHECKING:
    from jaxlatent.irt_fit import ItemResponseFit

POINTS = 161
REACH = 4.0  # standard deviations of a factor that axes cover
WEAK = 0.2  # standardised loadings below are left out of diagrams of exploratory solutions


class ItemPlots:
    """The plots of an item response fit: all return matplotlib Axes (path_diagram an SVG); path= also writes the file.

    items: names of items, all by default. factor: the axis, the first by default; the other factors are held at 0.
    group: the label of a group, the first by default.
    """

    def __init__(self, fit: ItemResponseFit) -> None:
        self._fit = fit
        self._fitted = fit._fitted
        self._params = fit._shown.params

    # ---- items ------------------------------------------------------------------------------------------------

    def item_curves(
        self,
        items: str | Sequence[str] | None = None,
        path: str | Path | None = None,
        factor: str | None = None,
        *,
        kind: Kind = "auto",
        group: str | None = None,
    ) -> Any:
        """Response curves, a panel an item: every category of items with several, P(y = 1) of binary items.

        kind="category" shows all categories of binary items too, "expected" the expected answer. Items that don't load
        on the factor are left out unless they are named.
        """
        g, f = self._group(group), self._factor(factor)
        chosen = self._items(items, f, g)
        x = self._axis(f)
        found = self._curves(self._points(f, x), g)
        traces = {self._names[j]: self._trace(found, j) for j in chosen}
        return item_plots.item_curves(x, traces, factor=self._label(f), kind=kind, path=path)

    def category_curves(
        self,
        items: str | Sequence[str] | None = None,
        path: str | Path | None = None,
        factor: str | None = None,
        *,
        group: str | None = None,
    ) -> Any:
        """The probability of every category, a panel an item."""
        return self.item_curves(items, path, factor, kind="category", group=group)

    def information(
        self,
        path: str | Path | None = None,
        items: str | Sequence[str] | None = None,
        factor: str | None = None,
        *,
        group: str | None = None,
    ) -> Any:
        """Test information along a factor with that of every item, and the standard error on a second axis.

        With items, the test is these items.
        """
        g, f = self._group(group), self._factor(factor)
        x = self._axis(f)
        each = self._information(x, f, g)
        shown = {self._names[j]: each[:, j] for j in self._items(items, f, g)}
        return information_plots.information(x, shown, factor=self._label(f), path=path)

    def standard_error(
        self, path: str | Path | None = None, factor: str | None = None, *, group: str | None = None
    ) -> Any:
        """Standard errors of scores along a factor, with the distribution of persons."""
        g, f = self._group(group), self._factor(factor)
        x = self._axis(f)
        _, cov = curves.latent_moments(self._params, g)
        return information_plots.standard_error(
            x, self._information(x, f, g).sum(1), factor=self._label(f), variance=float(cov[f, f]),
            density=self._density(x, f, g), path=path,
        )  # fmt: skip

    # ---- persons ----------------------------------------------------------------------------------------------

    def wright_map(
        self, path: str | Path | None = None, factor: str | None = None, *, data: Any = None, group: str | None = None
    ) -> Any:
        """Scores of persons beside the difficulties of items on the scale of a factor."""
        g, f = self._group(group), self._factor(factor)
        table = self._fit.irt_parameters()
        if len(self._fitted.table.groups) > 1:
            table = table.loc[[self._fitted.table.groups[g]]]
        slopes = self._params["loadings"][g]
        keep = items_of_factor(slopes, f, self._standardized(g))
        thresholds = difficulties_along(table, slopes, f, self._fitted.coding, keep).dropna(how="all")
        if thresholds.empty:
            raise ValueError(f"No item of the factor {self._label(f)!r} has a difficulty: there is nothing to map.")
        values = self._scores(data)[self._label(f)].to_numpy()
        if data is None and group is not None:
            values = values[self._fitted.data.group == g]
        return person_plots.wright_map(values, thresholds, factor=self._label(f), path=path)

    def scores(self, path: str | Path | None = None, *, data: Any = None, method: str | None = None) -> Any:
        """Distributions of scores, and of every pair of factors."""
        return factor_scores(self._scores(data, method), path=path)

    def _scores(self, data: Any, method: str | None = None, return_se: bool = False) -> pd.DataFrame:
        """A row a person, also where there are several occasions."""
        persons = persons_of(self._fitted, data).apart(self._fitted.table.factors)
        return self._fit._scores(persons, method, return_se)

    def latent(self, path: str | Path | None = None, factor: str | None = None, *, persons: bool = True) -> Any:
        """The estimated distribution of the factors (or of one), by group, over the mean of the persons' posteriors."""
        chosen = range(len(self._fitted.table.factors)) if factor is None else [self._factor(factor)]
        ends = [self._axis(f)[[0, -1]] for f in chosen]
        x = np.linspace(min(e[0] for e in ends), max(e[1] for e in ends), POINTS)
        labels = self._fitted.table.groups
        shown = {self._label(f): {label: self._density(x, f, g) for g, label in enumerate(labels)} for f in chosen}
        found = None
        if persons and self._fitted.responses is not None:
            frame = self._scores(None, return_se=True)
            found = {name: curves.mean_density(x, frame[name], frame[f"{name}_se"]) for name in shown}
        return person_plots.latent_density(x, shown, persons=found, path=path)

    def latent_density(
        self, path: str | Path | None = None, factors: Sequence[str] | None = None, *, group: str | None = None
    ) -> Any:
        """A learned density beside the normal one of the same means and variances: a line for one factor.

        Two factors, in a model of two, are drawn as contours.
        """
        g, names = self._group(group), list(self._fitted.table.factors)
        chosen = [self._factor(name) for name in factors or names[:2]]
        axes = [self._axis(f) for f in chosen]
        if len(chosen) == 1 or len(names) != 2:
            f, x = chosen[0], axes[0]
            learned, normal = self._density(x, f, g), self._normal_density(x, f, g)
            return learned_density(x, learned, normal, factor=self._label(f), path=path)
        grid = np.stack(np.meshgrid(*axes), -1)
        flat = grid.reshape(-1, 2)[:, np.argsort(chosen)]
        mean, cov = curves.latent_moments(self._params, g)
        away = flat - np.ravel(mean)[: flat.shape[1]]
        normal = np.exp(-((away @ np.linalg.inv(cov)) * away).sum(1) / 2) / (2 * np.pi * np.sqrt(np.linalg.det(cov)))
        learned = normal if is_normal(self._fitted.latent) else np.exp(log_density(self._fitted, flat, g))
        shape = grid.shape[:2]
        labels = (self._label(chosen[0]), self._label(chosen[1]))
        return learned_contours(
            axes[0], axes[1], learned.reshape(shape), normal.reshape(shape), factors=labels, path=path
        )

    def loss(self, path: str | Path | None = None) -> Any:
        """Minus the bound a person by epoch of training, for fits by AmortizedVI; held out: of persons held out."""
        if self._fitted.amortized is None:
            raise ValueError("plot.loss shows the training of a guide: fit with AmortizedVI().")
        epoch, loss, held, _ = np.array(self._fitted.amortized.looks, float).T
        watched = (epoch, -held) if np.isfinite(held).any() else None
        ax = loss_trace(epoch, loss, held_out=watched)
        ax.set_xlabel("epoch")
        return finish(ax, path)

    # ---- the model --------------------------------------------------------------------------------------------

    def path_diagram(
        self, path: str | Path | None = None, *, column: str = "est", cut: float | None = None, **options: Any
    ) -> PathDiagram:
        """The model as a diagram (SVG): slopes and correlations of factors; column="std_all" for loadings.

        cut: standardised loadings below it are left out; by default .2 for exploratory solutions, else none. Other
        options are those of plots.path_diagram: group, stars, digits, ...
        """
        frame, table = self._fit.parameters, self._fitted.table
        cut = (WEAK if self._fit._rotation is not None else 0.0) if cut is None else cut
        weak = (frame["op"] == "=~") & (frame["std_all"].abs() < cut)
        several = (frame["op"] == "~1") & (frame["rhs"] != "")
        return path_diagram(
            frame[~weak & ~several], latent=table.latent, observed=(*table.observed, *table.covariates), path=path,
            column=column, **options,
        )  # fmt: skip

    def parameters(self, path: str | Path | None = None, *, op: str | Sequence[str] | None = None) -> Any:
        """Estimates with their confidence intervals."""
        frame = self._fit.parameters
        named = (frame["op"] == "~1") & (frame["rhs"] != "")
        frame.loc[named, "lhs"] = frame["lhs"][named] + " d" + frame["rhs"][named].astype(str)
        return parameters(frame, op=op, path=path)

    def residuals(
        self, frame: pd.DataFrame | None = None, path: str | Path | None = None, *, label: str | None = None
    ) -> Any:
        """Heat map of a square frame of items by items; Q3 where none is given."""
        if frame is None:
            return residuals(self._fit.local_dependence("q3"), label=label or "Q3", path=path)
        return residuals(frame, label=label or "residual correlation", path=path)

    def scree(self, frame: pd.DataFrame | pd.Series, path: str | Path | None = None) -> Any:
        """Eigenvalues, or held-out log-likelihoods, by the number of factors (the index of the frame)."""
        return scree(frame, path=path)

    # ---- what they share --------------------------------------------------------------------------------------

    @property
    def _names(self) -> tuple[str, ...]:
        return self._fitted.table.observed

    def _label(self, factor: int) -> str:
        return self._fitted.table.factors[factor]

    def _factor(self, name: str | None) -> int:
        return 0 if name is None else _place(name, self._fitted.table.factors, "factor")

    def _group(self, label: str | None) -> int:
        return 0 if label is None else _place(label, self._fitted.table.groups, "group")

    def _items(self, items: str | Sequence[str] | None, factor: int, group: int) -> list[int]:
        """Places of items: those named, else those that load on the factor."""
        if items is None:
            return [int(j) for j in np.flatnonzero(self._params["loadings"][group][:, factor] != 0)]
        named = [items] if isinstance(items, str) else list(items)
        if not named:
            raise ValueError("Expected the name of at least one item; got none.")
        return [_place(name, self._names, "item") for name in named]

    def _axis(self, factor: int) -> np.ndarray:
        """Values of a factor that cover its distribution in all groups."""
        ends = []
        for g in range(len(self._fitted.table.groups)):
            means = curves.person_means(self._params, self._covariates(g), g)[:, factor]
            sd = np.sqrt(curves.latent_moments(self._params, g)[1][factor, factor])
            ends += [means.min() - REACH * sd, means.max() + REACH * sd]
        return np.linspace(min(ends), max(ends), POINTS)

    def _points(self, factor: int, x: np.ndarray) -> np.ndarray:
        return curves.points_along(factor, len(self._fitted.table.factors), x)

    def _curves(self, x: np.ndarray, group: int) -> curves.ItemCurves:
        f = self._fitted
        return curves.curves_at(f.measurement, f.coding, self._params, x, group, f.networks)

    def _information(self, x: np.ndarray, factor: int, group: int) -> np.ndarray:
        """Item information [point, item] along a factor."""
        found = self._curves(self._points(factor, x), group)
        direction = np.eye(len(self._fitted.table.factors))[factor]
        return curves.item_information(found, self._params["loadings"][group], direction)

    def _trace(self, found: curves.ItemCurves, j: int) -> ItemTrace:
        coding = self._fitted.coding
        values = coding.values[j] or ()
        expected = curves.raw_expected(found, coding)[:, j]
        ordered = self._fitted.table.items[j].type != "nominal"
        return ItemTrace(tuple(f"{v:g}" for v in values), found.probabilities[:, j, : len(values)], expected, ordered)

    def _density(self, x: np.ndarray, factor: int, group: int) -> np.ndarray:
        """Density [point] of a factor in a group: normal, over the covariates of its persons, or learned."""
        if isinstance(self._fitted.rule, EmpiricalHistogram):
            nodes, weights = self._fitted.rule.arrays()
            return np.interp(x, nodes, weights / (nodes[1] - nodes[0]), left=0.0, right=0.0)
        if not is_normal(self._fitted.latent):
            return marginal_density(self._fitted, x, factor, group)
        return self._normal_density(x, factor, group)

    def _normal_density(self, x: np.ndarray, factor: int, group: int) -> np.ndarray:
        means = curves.person_means(self._params, self._covariates(group), group)[:, factor]
        variance = curves.latent_moments(self._params, group)[1][factor, factor]
        return curves.mean_density(x, means, np.full(len(means), np.sqrt(variance)))

    def _covariates(self, group: int) -> np.ndarray | None:
        data = self._fitted.data
        return None if data.covariates is None else data.covariates[data.group == group]

    def _standardized(self, group: int) -> np.ndarray:
        """Standardised loadings [item, factor] of a group."""
        from jaxlatent.results.communalities import loading_matrix

        frame, table = self._fit.parameters, self._fitted.table
        rows = frame[frame["group"] == table.groups[group]] if len(table.groups) > 1 else frame
        return loading_matrix(rows, list(table.observed), list(table.factors)).to_numpy()


def _place(name: str, names: Sequence[str], what: str) -> int:
    if name not in names:
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise ValueError(f"There is no {what} {name!r}; the {what}s of this model are {shown}.")
    return list(names).index(name)
