"""A learned density of latent variables beside the normal one with the same means and covariances."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.plots import style
from jaxlatent.plots.matplotlib_figure import finish, new_axes, require_matplotlib, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHARES = (0.9, 0.7, 0.5, 0.3, 0.1)  # of the probability, within the contours


def learned_density(
    x: np.ndarray,
    learned: np.ndarray,
    normal: np.ndarray,
    *,
    factor: str = "latent variable",
    ax: Axes | None = None,
    path: str | Path | None = None,
) -> Axes:
    """Lines of both densities [point] at x [point], for one latent variable."""
    require_matplotlib()
    _check((len(x),), learned, normal)
    ax = new_axes(ax, 5.0, 3.5)
    ax.fill_between(x, 0, learned, color=style.CYCLE[0], alpha=0.15, linewidth=0)
    ax.plot(x, learned, color=style.CYCLE[0], linewidth=2, label="learned")
    ax.plot(x, normal, color=style.MUTED, linewidth=1.4, linestyle="--", label="normal")
    ax.set_xlabel(factor)
    ax.set_ylabel("Density")
    ax.set_xlim(float(x[0]), float(x[-1]))
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=9)
    tidy(ax)
    return finish(ax, path)


def learned_contours(
    x: np.ndarray,
    y: np.ndarray,
    learned: np.ndarray,
    normal: np.ndarray,
    *,
    factors: tuple[str, str] = ("first", "second"),
    ax: Axes | None = None,
    path: str | Path | None = None,
) -> Axes:
    """Contours of both densities [y, x] over evenly spaced x and y, for two latent variables.

    The lines of each hold 90, 70, 50, 30 and 10 percent of its probability.
    """
    require_matplotlib()
    from matplotlib.lines import Line2D

    _check((len(y), len(x)), learned, normal)
    ax = new_axes(ax, 4.8, 4.5)
    levels = _levels(learned)
    shades = [style.mix(style.PAPER, style.CYCLE[0], share) for share in np.linspace(0.12, 0.6, len(levels))]
    ax.contourf(x, y, learned, levels=[*levels, float(np.max(learned)) * 1.001], colors=shades)
    ax.contour(x, y, learned, levels=levels, colors=style.CYCLE[0], linewidths=1.2)
    ax.contour(x, y, normal, levels=_levels(normal), colors=style.MUTED, linewidths=1.0, linestyles="--")
    ax.set_xlabel(factors[0])
    ax.set_ylabel(factors[1])
    ax.set_aspect("equal")
    lines = [
        Line2D([], [], color=style.CYCLE[0], linewidth=2, label="learned"),
        Line2D([], [], color=style.MUTED, linewidth=1.4, linestyle="--", label="normal"),
    ]
    ax.legend(handles=lines, frameon=False, fontsize=9)
    tidy(ax)
    return finish(ax, path)


def _levels(density: np.ndarray) -> list[float]:
    """Densities whose contours hold SHARES of the probability, in increasing order."""
    ordered = np.sort(density, axis=None)[::-1]
    held = np.cumsum(ordered) / ordered.sum()
    places = np.minimum(np.searchsorted(held, SHARES), ordered.size - 1)
    return [float(level) for level in np.unique(ordered[places])]


def _check(shape: tuple[int, ...], *densities: np.ndarray) -> None:
    for each in densities:
        if np.shape(each) != shape or not np.isfinite(each).all() or np.min(each) < 0 or np.max(each) == 0:
            raise ValueError(
                f"Expected densities of shape {shape}, finite, at least 0 and not 0 everywhere; got shape"
                f" {np.shape(each)} or other values."
            )
