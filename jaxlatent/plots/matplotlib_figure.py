"""matplotlib, imported when a plot is asked for, and the look that all plots share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jaxlatent.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The given axes, or those of a new figure of this size in inches."""
    if ax is not None:
        return ax
    return new_figure(width, height).add_subplot()


def new_figure(width: float, height: float) -> Figure:
    """A figure that belongs to no window, so that nothing needs closing."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    return figure


def require_matplotlib() -> None:
    """Raise a sentence that says how to install it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError('This plot needs matplotlib: pip install "jaxlatent[plots]"') from error


def tidy(ax: Axes, *, grid: str = "") -> None:
    """Few lines: no upper and right spine, and a light grid along one axis."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(style.MUTED)
    ax.tick_params(colors=style.MUTED, labelcolor=style.INK, labelsize=9)
    ax.xaxis.label.set_color(style.INK)
    ax.yaxis.label.set_color(style.INK)
    if grid == "x":
        ax.grid(axis="x", color=style.GRID, linewidth=0.7)
    elif grid == "y":
        ax.grid(axis="y", color=style.GRID, linewidth=0.7)
    ax.set_axisbelow(True)


def finish(ax: Axes, path: str | Path | None) -> Axes:
    """Write the figure if a path was given; the suffix chooses the format."""
    if path is not None:
        figure = ax.get_figure(root=True)
        if figure is not None:
            figure.savefig(path, bbox_inches="tight")
    return ax
