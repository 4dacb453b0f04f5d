"""Residual correlations as a heat map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jaxlatent.plots import style
from jaxlatent.plots.matplotlib_figure import finish, new_axes, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NUMBERS = 15
"""Cells carry numbers up to this many variables."""
SMALLEST_LIMIT = 0.1
"""The colour scale reaches at least this far, so that tiny residuals look tiny."""


def residuals(
    matrix: pd.DataFrame,
    *,
    label: str = "residual correlation",
    ax: Axes | None = None,
    path: str | Path | None = None,
) -> Axes:
    """A heat map of correlation residuals; the colours are centred at zero.

    `matrix` is square, observed minus implied (or another measure of pairs, which `label` names); NaN cells are left
    white. With up to 15 variables the cells carry numbers.
    """
    require_matplotlib()
    from matplotlib.colors import LinearSegmentedColormap

    values = lower_triangle(matrix)
    size = max(3.6, 0.42 * len(matrix) + 1.8)
    ax = new_axes(ax, size + 0.8, size)
    colours = LinearSegmentedColormap.from_list("residuals", list(style.DIVERGING)).with_extremes(bad=style.PAPER)
    limit = colour_limit(values)
    image = ax.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=-limit, vmax=limit)
    _axis_names(ax, [str(name) for name in matrix.columns])
    if len(matrix) <= MOST_NUMBERS:
        _numbers(ax, values, limit)
    figure = ax.get_figure()
    if figure is not None:
        bar = figure.colorbar(image, ax=ax, shrink=0.75)
        outline: Any = bar.outline  # its declared type differs between releases of matplotlib
        outline.set_visible(False)
        bar.set_label(label, color=style.INK, fontsize=9)
        bar.ax.tick_params(labelsize=8, colors=style.MUTED, labelcolor=style.INK)
    return finish(ax, path)


def lower_triangle(matrix: pd.DataFrame) -> np.ndarray:
    """The values with everything above the diagonal NaN."""
    values = matrix.to_numpy(dtype=float).copy()
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"Expected a square matrix of residuals; got shape {values.shape}")
    values[np.triu_indices(len(values), 1)] = np.nan
    return values


def colour_limit(values: np.ndarray) -> float:
    """The value at the end of the colour scale."""
    finite = np.abs(values[np.isfinite(values)])
    return max(SMALLEST_LIMIT, float(finite.max()) if finite.size else 0.0)


def _axis_names(ax: Axes, names: list[str]) -> None:
    positions = range(len(names))
    ax.set_xticks(positions, names, rotation=90 if max(map(len, names)) > 3 else 0)
    ax.set_yticks(positions, names)
    ax.tick_params(length=0, labelsize=9, labelcolor=style.INK)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    ax.grid(which="minor", color=style.PAPER, linewidth=1.5)
    ax.tick_params(which="minor", length=0)


def _numbers(ax: Axes, values: np.ndarray, limit: float) -> None:
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = style.PAPER if abs(value) > 0.65 * limit else style.INK
            text = style.number(float(value), leading_zero=False)
            ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
