"""Ranks of simulation-based calibration: distribution functions less the diagonal, with a simultaneous band."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.numerics.uniformity import Band
from jaxlatent.plots import style
from jaxlatent.plots.matplotlib_figure import finish, new_axes, require_matplotlib, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = len(style.CYCLE) - 1  # lines that are named if so many leave the band


def ecdf_differences(
    found: np.ndarray, band: Band, names: Sequence[str], *, ax: Axes | None = None, path: str | Path | None = None
) -> Axes:
    """A line for every parameter: empirical distribution function [point, parameter] less z; the band is grey.

    Lines that leave the band are coloured and named, the others are thin.
    """
    require_matplotlib()
    ax = new_axes(ax, 5.2, 3.4)
    z = np.concatenate([[0.0], band.z, [1.0]])
    low, high = (np.concatenate([[0.0], edge - band.z, [0.0]]) for edge in (band.lower, band.upper))
    ax.fill_between(z, low, high, color=style.GRID, alpha=0.75, linewidth=0, label="95 % band of uniform ranks")
    ax.axhline(0, color=style.MUTED, linewidth=0.8)
    outside = np.asarray(((found < band.lower[:, None]) | (found > band.upper[:, None])).any(0))
    coloured = 0
    for k in np.argsort(outside, kind="stable"):
        line = np.concatenate([[0.0], found[:, k] - band.z, [0.0]])
        if outside[k] and coloured < NAMED:
            ax.plot(z, line, color=style.CYCLE[1 + coloured % NAMED], linewidth=1.6, label=names[k])
            coloured += 1
        else:
            ax.plot(z, line, color=style.CYCLE[0], linewidth=0.9, alpha=0.7)
    ax.set_xlim(0, 1)
    ax.set_xlabel("Rank of the true value, as a share of the draws")
    ax.set_ylabel("Share of data sets below, less expected")
    ax.legend(frameon=False, fontsize=8, labelcolor=style.INK, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    tidy(ax, grid="y")
    return finish(ax, path)
