"""Information of items and of the test, and the standard errors that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.plots import style
from jaxlatent.plots.matplotlib_figure import finish, new_axes, require_matplotlib, tidy
from jaxlatent.plots.small_multiples import distinct_names, halo, legend_outside, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_COLOURS = 7  # more items are drawn in grey
LARGEST_ERROR = 3.0  # standard errors beyond are off the scale


def information(
    x: np.ndarray,
    items: Mapping[str, np.ndarray],
    *,
    factor: str,
    ax: Axes | None = None,
    path: str | Path | None = None,
) -> Axes:
    """Test information along a factor with the items' (thin lines), and the standard error on a second axis (dashed).

    x [point] are values of the factor, items hold the information [point] of each; a single item is drawn as the test.
    Returns the axes of the information; that of the standard error is the last of its figure.
    """
    if not items:
        raise ValueError("Expected at least one item to plot; got none.")
    require_matplotlib()
    total = np.sum(list(items.values()), axis=0)
    ax = new_axes(ax, 6.6, 4.0)
    few = len(items) <= MOST_COLOURS
    handles = []
    for k, (name, values) in enumerate(items.items() if len(items) > 1 else ()):
        colour = style.CYCLE[k] if few else style.MUTED
        (line,) = ax.plot(x, values, color=colour, linewidth=1.0, alpha=0.95 if few else 0.55, label=name)
        handles += [line] if few or k == 0 else []
    (whole,) = ax.plot(x, total, color=style.INK, linewidth=2.2, label="test", zorder=4)
    error = ax.twinx()
    shown = standard_errors(total)
    (dashed,) = error.plot(x, shown, color=style.NEGATIVE, linewidth=1.5, linestyle=(0, (4, 2)), label="standard error")
    ax.set_xlim(float(x[0]), float(x[-1]))
    ax.set_ylim(0, 1.08 * float(total.max()))
    _error_scale(error, shown)
    ax.set_xlabel(factor)
    ax.set_ylabel("Information")
    error.set_ylabel("Standard error")
    tidy(ax, grid="y")
    tidy(error)
    error.spines["right"].set_visible(True)
    error.spines["right"].set_color(style.MUTED)
    error.spines["left"].set_visible(False)
    names = distinct_names(items, 18) if few else [f"{len(items)} items"]
    lead = "test" if len(items) > 1 else names.pop()
    legend_outside(ax, [whole, dashed, *handles], [lead, "standard error", *names], columns=5)
    if not few:
        _peak_names(ax, x, items, float(total.max()))
    return finish(ax, path)


def standard_errors(total: np.ndarray) -> np.ndarray:
    """1 / sqrt(information); nan where there is none."""
    with np.errstate(divide="ignore"):
        errors = 1 / np.sqrt(total)
    return np.where(np.isfinite(errors), errors, np.nan)


def _error_scale(ax: Axes, errors: np.ndarray) -> None:
    finite = errors[np.isfinite(errors)]
    top = min(LARGEST_ERROR, 1.1 * float(finite.max())) if finite.size else 1.0
    ax.set_ylim(0, max(top, 1.3 * float(finite.min()) if finite.size else 1.0))


def _peak_names(ax: Axes, x: np.ndarray, items: Mapping[str, np.ndarray], height: float, most: int = 3) -> None:
    """The names of the most informative items beside their peaks, where they don't collide."""
    taken: list[tuple[float, float]] = []
    span = float(x[-1] - x[0])
    for name, values in sorted(items.items(), key=lambda pair: -float(pair[1].max()))[: 2 * most]:
        place = int(np.argmax(values))
        at, top = float(x[place]), float(values[place])
        if len(taken) == most or any(abs(at - a) < 0.14 * span and abs(top - b) < 0.055 * height for a, b in taken):
            continue
        taken.append((at, top))
        ax.annotate(shortened(str(name), 14), (at, top), xytext=(0, 2), textcoords="offset points", ha="center",
                    va="bottom", fontsize=8, color=style.INK, path_effects=halo())  # fmt: skip


def standard_error(
    x: np.ndarray,
    total: np.ndarray,
    *,
    factor: str,
    variance: float = 1.0,
    density: np.ndarray | None = None,
    ax: Axes | None = None,
    path: str | Path | None = None,
) -> Axes:
    """Standard errors of scores along a factor: of maximum likelihood, and of EAP given a latent variance.

    total [point] is the test information; 1 / sqrt(I) and 1 / sqrt(I + 1 / variance). density [point] of the persons
    is shaded at the bottom.
    """
    require_matplotlib()
    ax = new_axes(ax, 6.2, 3.8)
    errors = standard_errors(total)
    ax.plot(x, errors, color=style.CYCLE[0], linewidth=2, label="maximum likelihood")
    ax.plot(x, 1 / np.sqrt(total + 1 / variance), color=style.CYCLE[1], linewidth=2, linestyle=(0, (4, 2)),
            label="EAP, about")  # fmt: skip
    _error_scale(ax, errors)
    if density is not None:
        top = ax.get_ylim()[1]
        ax.fill_between(x, 0, density / density.max() * 0.22 * top, color=style.GRID, linewidth=0, zorder=0,
                        label="persons")  # fmt: skip
    ax.set_xlim(float(x[0]), float(x[-1]))
    ax.set_xlabel(factor)
    ax.set_ylabel("Standard error")
    tidy(ax, grid="y")
    legend_outside(ax, *ax.get_legend_handles_labels())
    return finish(ax, path)
