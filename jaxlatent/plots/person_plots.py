"""Persons and items on one scale, and the distribution of the latent variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.plots import style
from jaxlatent.plots.matplotlib_figure import finish, new_figure, require_matplotlib, tidy
from jaxlatent.plots.small_multiples import distinct_names, legend_outside, ordered_colours

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
REACH = 6.0  # thresholds farther out are marked at the edge


def wright_map(
    scores: np.ndarray,
    thresholds: pd.DataFrame,
    *,
    factor: str,
    path: str | Path | None = None,
    bins: int = 30,
) -> Axes:
    """Scores of persons (left) beside the difficulties of items (right) on one scale.

    scores [person]; thresholds: items in rows, a column each threshold, named as its legend says; nan where an item
    has none. Thresholds beyond the picture are drawn at its edge as arrows. Returns the axes of the items; that of the
    persons is the first of its figure.
    """
    require_matplotlib()
    values = thresholds.to_numpy(dtype=float)
    if not np.isfinite(values).any():
        raise ValueError("Expected at least one item with a difficulty; these items have none.")
    finite = scores[np.isfinite(scores)]
    low, high = _limits(finite, values)
    count, several = len(thresholds), thresholds.shape[1] > 1
    figure = new_figure(min(3.6 + 0.36 * count, 14.0), 4.8)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.5, max(1.9, 0.24 * count + 1.0)))
    left.hist(finite, bins=np.linspace(low, high, bins + 1).tolist(), orientation="horizontal", color=style.CYCLE[0],
              alpha=0.8, edgecolor=style.PAPER, linewidth=0.4)  # fmt: skip
    left.invert_xaxis()
    tidy(left)
    left.set_xlabel("Persons")
    left.set_ylabel(factor)
    colours = ordered_colours(values.shape[1]) if several else [style.NEGATIVE]
    for k, (name, colour) in enumerate(zip(thresholds.columns, colours, strict=True)):
        _thresholds(right, values[:, k], (low, high), colour, MARKERS[k % len(MARKERS)], str(name))
    right.set_ylim(low, high)
    names = distinct_names(thresholds.index, 18)
    right.set_xticks(range(count), names, rotation=90 if count > 6 or max(map(len, names)) > 5 else 0)
    right.set_xlim(-0.6, count - 0.4)
    tidy(right, grid="x")
    right.grid(axis="y", color=style.GRID, linewidth=0.7)
    left.grid(axis="y", color=style.GRID, linewidth=0.7)
    left.set_axisbelow(True)
    right.tick_params(axis="y", length=0)
    right.spines["left"].set_visible(False)
    right.set_xlabel("Items")
    if several:
        legend_outside(right, *right.get_legend_handles_labels(), title="Threshold between answers")
    return finish(right, path)


def _limits(scores: np.ndarray, thresholds: np.ndarray) -> tuple[float, float]:
    """A scale that holds all scores and the thresholds within reach."""
    near = thresholds[np.isfinite(thresholds) & (np.abs(thresholds) <= REACH)]
    ends = np.concatenate([near, scores, [-1.0, 1.0]])
    room = 0.06 * float(np.ptp(ends))
    return float(ends.min()) - room, float(ends.max()) + room


def _thresholds(ax: Axes, values: np.ndarray, limits: tuple[float, float], colour: str, marker: str, name: str) -> None:
    low, high = limits
    at = np.arange(len(values))
    inside = (values >= low) & (values <= high)
    ax.plot(at[inside], values[inside], linestyle="none", marker=marker, markersize=6, color=colour, label=name,
            markeredgecolor=style.PAPER, markeredgewidth=0.6)  # fmt: skip
    for arrow, there, edge in (("$\u2193$", values < low, low), ("$\u2191$", values > high, high)):
        if there.any():
            shift = 0.02 * (high - low) * (1 if edge == low else -1)
            ax.plot(at[there], np.full(there.sum(), edge + shift), linestyle="none", marker=arrow, markersize=8,
                    color=colour)  # fmt: skip


def latent_density(
    x: np.ndarray,
    densities: Mapping[str, Mapping[str, np.ndarray]],
    *,
    persons: Mapping[str, np.ndarray] | None = None,
    path: str | Path | None = None,
) -> Axes:
    """The estimated distribution of each latent variable, a panel a factor and a line a group.

    densities: factor -> group -> density [point] at x [point]; persons: factor -> mean of the persons' posterior
    densities [point], shaded, which follows the line where the assumed distribution holds. Returns the first axes; the
    others are in its figure.
    """
    require_matplotlib()
    factors = list(densities)
    count = len(factors)
    wide = min(count, 3)
    high = -(-count // wide)
    figure = new_figure(4.6 if count == 1 else 3.2 * wide, (3.3 if count == 1 else 2.5 * high) + 0.3)
    found = figure.subplots(high, wide, squeeze=False, sharex=True, sharey=True)
    axes: Sequence[Axes] = [ax for row in found for ax in row]
    for ax in axes[count:]:
        ax.remove()
    for place, (ax, factor) in enumerate(zip(axes, factors, strict=False)):
        if persons is not None:
            ax.fill_between(x, 0, persons[factor], color=style.GRID, linewidth=0, label="persons")
        for k, (group, density) in enumerate(densities[factor].items()):
            label = group if len(densities[factor]) > 1 else "model"
            ax.plot(x, density, color=style.CYCLE[k % len(style.CYCLE)], linewidth=2, label=label,
                    linestyle="-" if k == 0 else (0, (4 + k, 2)))  # fmt: skip
        ax.set_xlabel(factor)
        ax.set_ylim(bottom=0)
        ax.set_xlim(float(x[0]), float(x[-1]))
        tidy(ax)
        ax.tick_params(labelbottom=True)
        if place % wide == 0:
            ax.set_ylabel("Density")
    legend_outside(axes[0], *axes[0].get_legend_handles_labels(), columns=4)
    return finish(axes[0], path)
