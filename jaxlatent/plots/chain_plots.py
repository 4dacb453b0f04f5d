"""Chains of draws: their course and their distribution."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.plots import style
from jaxlatent.plots.matplotlib_figure import finish, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 40


def trace(draws: np.ndarray, names: Sequence[str], *, path: str | Path | None = None) -> Axes:
    """draws [chain, draw, parameter]: a row a parameter, its distribution on the left, its course on the right."""
    if draws.shape[2] != len(names) or not len(names):
        raise ValueError(f"Expected a name for each of {draws.shape[2]} parameters; got {len(names)} names.")
    figure = new_figure(8.0, 0.4 + 1.25 * len(names))
    grid: Any = figure.subplots(len(names), 2, squeeze=False, width_ratios=(1, 2.4))
    for k, name in enumerate(names):
        left, right = grid[k]
        ends = np.linspace(draws[:, :, k].min(), draws[:, :, k].max(), BINS + 1)
        for c, chain in enumerate(draws[:, :, k]):
            colour = style.CYCLE[c % len(style.CYCLE)]
            share, _ = np.histogram(chain, ends, density=True)
            left.plot((ends[1:] + ends[:-1]) / 2, share, color=colour, linewidth=1.1)
            right.plot(chain, color=colour, linewidth=0.5, alpha=0.8)
        left.set_ylabel(name, fontsize=9)
        left.set_yticks([])
        right.set_xlim(0, draws.shape[1])
        for ax in (left, right):
            tidy(ax)
    grid[-1][0].set_xlabel("value")
    grid[-1][1].set_xlabel("draw")
    return finish(grid[0][0], path)
