"""Loadings as a heat map, items by factors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jaxlatent.plots import style
from jaxlatent.plots.matplotlib_figure import finish, new_axes, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NUMBERS = 60
"""Cells carry numbers up to this many items."""


def loadings(frame: pd.DataFrame, *, cut: float = 0.0, ax: Axes | None = None, path: str | Path | None = None) -> Axes:
    """Standardised loadings, items in rows as they come, blue above zero and red below; those under cut are white."""
    require_matplotlib()
    from matplotlib.colors import LinearSegmentedColormap

    values = frame.to_numpy(float)
    items, factors = [str(name) for name in frame.index], [str(name) for name in frame.columns]
    widest = max(map(len, items)) * 0.085
    ax = new_axes(ax, 0.75 * len(factors) + 2.0 + widest, 0.27 * len(items) + 1.1)
    limit = max(1.0, float(np.nanmax(np.abs(values))))
    shown = np.where(np.abs(values) >= cut, values, 0.0)
    colours = LinearSegmentedColormap.from_list("loadings", list(style.DIVERGING)).with_extremes(bad=style.GRID)
    image = ax.imshow(np.ma.masked_invalid(shown), cmap=colours, vmin=-limit, vmax=limit, aspect="auto")
    ax.set_xticks(range(len(factors)), factors)
    ax.set_yticks(range(len(items)), items)
    ax.xaxis.tick_top()
    ax.tick_params(length=0, labelsize=9, labelcolor=style.INK)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_xticks(np.arange(len(factors) + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(items) + 1) - 0.5, minor=True)
    ax.grid(which="minor", color=style.PAPER, linewidth=1.5)
    ax.tick_params(which="minor", length=0)
    if len(items) <= MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value) and abs(value) >= cut:
                colour = style.PAPER if abs(value) > 0.6 * limit else style.INK
                text = style.number(float(value), leading_zero=False)
                ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    figure = ax.get_figure()
    if figure is not None:
        bar = figure.colorbar(image, ax=ax, shrink=0.75)
        outline: Any = bar.outline
        outline.set_visible(False)
        bar.set_label("standardised loading", color=style.INK, fontsize=9)
        bar.ax.tick_params(labelsize=8, colors=style.MUTED, labelcolor=style.INK)
    return finish(ax, path)
