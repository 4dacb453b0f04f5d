"""How many factors: eigenvalues, or the log-likelihood of held-out answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from jaxlatent.plots import style
from jaxlatent.plots.matplotlib_figure import finish, new_axes, require_matplotlib, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def scree(frame: pd.DataFrame | pd.Series, *, ax: Axes | None = None, path: str | Path | None = None) -> Axes:
    """One value for every number of factors, the index: eigenvalues in decreasing order, or held-out log-likelihoods.

    The first column (or the series) is drawn and names the axis; a column <name>_se gives intervals of one standard
    error each way, a column simulated a dashed line. Of eigenvalues
    the line at 1 is drawn; of other columns the largest value is marked.
    """
    require_matplotlib()
    table = frame.to_frame() if isinstance(frame, pd.Series) else frame
    if table.empty:
        raise ValueError("Expected a frame with a row for every number of factors; got an empty one.")
    name = str(table.columns[0])
    values = table.iloc[:, 0].to_numpy(dtype=float)
    at = np.asarray(table.index, dtype=float)
    ax = new_axes(ax, 5.0, 3.5)
    ax.plot(at, values, color=style.CYCLE[0], linewidth=1.4, marker="o", markersize=5, markeredgecolor=style.PAPER)
    if "simulated" in table:
        ax.plot(at, table["simulated"].to_numpy(dtype=float), color=style.CYCLE[1], linewidth=1.2, linestyle="--",
                label="independent variables")  # fmt: skip
        ax.legend(frameon=False, fontsize=8, labelcolor=style.INK)
    if f"{name}_se" in table:
        ax.errorbar(at, values, table[f"{name}_se"].to_numpy(dtype=float), fmt="none", ecolor=style.CYCLE[0], capsize=2,
                    linewidth=1)  # fmt: skip
    if "eigen" in name.lower() and "simulated" not in table:
        ax.axhline(1.0, color=style.MUTED, linewidth=0.9, linestyle="--")
        ax.set_ylim(bottom=0)
    elif "simulated" not in table:
        best = int(np.nanargmax(values))
        ax.plot(at[best], values[best], marker="o", markersize=10, markerfacecolor="none",
                markeredgecolor=style.NEGATIVE, markeredgewidth=1.6)  # fmt: skip
    if len(at) <= 25:
        ax.set_xticks(at, [f"{v:g}" for v in at])
    ax.set_xlabel("Number of factors")
    ax.set_ylabel(name.replace("_", " ").capitalize())
    tidy(ax, grid="y")
    return finish(ax, path)
