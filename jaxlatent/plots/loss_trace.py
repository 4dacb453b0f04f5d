"""How training went: the loss by step, and a held-out value with its error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.plots import style
from jaxlatent.plots.matplotlib_figure import finish, new_axes, require_matplotlib, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 60  # means that the smooth line is drawn through
SPAN = (0.5, 95.0)  # percentiles of the losses that the axis holds, so that the first steps don't flatten the rest


def loss_trace(
    steps: np.ndarray,
    loss: np.ndarray,
    *,
    held_out: tuple[np.ndarray, np.ndarray] | None = None,
    error: np.ndarray | None = None,
    label: str = "Negative bound per person",
    ax: Axes | None = None,
    path: str | Path | None = None,
) -> Axes:
    """Losses [step] at steps [step], with their running means; held_out: (steps, values) on the same scale.

    error: Monte Carlo standard errors of the held-out values, drawn one each way. The best held-out value is marked.
    Steps whose loss is not finite are crosses at the upper edge.
    """
    require_matplotlib()
    steps, loss = np.asarray(steps, float), np.asarray(loss, float)
    fine = np.isfinite(loss)
    if steps.shape != loss.shape or loss.ndim != 1 or not fine.any():
        raise ValueError(
            f"Expected as many steps as losses, at least one of them finite; got {steps.shape} and {loss.shape}."
        )
    ax = new_axes(ax, 5.6, 3.5)
    ax.plot(steps[fine], loss[fine], color=style.CYCLE[0], alpha=0.25, linewidth=0.8)
    parts = np.array_split(np.flatnonzero(fine), min(POINTS, int(fine.sum())))
    ax.plot([steps[p].mean() for p in parts], [loss[p].mean() for p in parts], color=style.CYCLE[0], linewidth=1.8,
            label="training")  # fmt: skip
    low, high = np.percentile(loss[fine], SPAN)
    if held_out is not None:
        at, values = (np.asarray(part, float) for part in held_out)
        low, high = _held_out(ax, at, values, error, (low, high))
    room = 0.06 * (high - low) or 1.0
    ax.set_ylim(low - room, high + room)
    if not fine.all():
        ax.plot(steps[~fine], np.full((~fine).sum(), high + room / 2), linestyle="none", marker="x", markersize=6,
                color=style.NEGATIVE, label="not finite")  # fmt: skip
    ax.set_xlabel("Step")
    ax.set_ylabel(label)
    ax.legend(frameon=False, fontsize=9)
    tidy(ax, grid="y")
    return finish(ax, path)


def _held_out(
    ax: Axes, steps: np.ndarray, values: np.ndarray, error: np.ndarray | None, span: tuple[float, float]
) -> tuple[float, float]:
    """Draw the held-out values; the span of the axis that holds them too."""
    if steps.shape != values.shape or not np.isfinite(values).any():
        raise ValueError(f"Expected as many steps as held-out values; got {steps.shape} and {values.shape}.")
    colour = style.CYCLE[1]
    ax.plot(steps, values, color=colour, linewidth=1.4, marker="o", markersize=4, markeredgecolor=style.PAPER,
            label="held-out")  # fmt: skip
    if error is not None:
        ax.errorbar(steps, values, np.asarray(error, float), fmt="none", ecolor=colour, capsize=2, linewidth=1)
    best = int(np.nanargmin(values))
    ax.plot(steps[best], values[best], marker="o", markersize=10, markerfacecolor="none", markeredgecolor=style.INK,
            markeredgewidth=1.3)  # fmt: skip
    return min(span[0], float(np.nanmin(values))), max(span[1], float(np.nanpercentile(values, 90)))
