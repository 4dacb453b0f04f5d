"""What priors expect of each item, behind what the data are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.plots import style
from jaxlatent.plots.matplotlib_figure import finish
from jaxlatent.plots.small_multiples import common_labels, legend_outside, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 81  # of a distribution function
WIDE = 6.0  # standard deviations
BANDS = ((0.025, 0.975, 0.18), (0.25, 0.75, 0.4))  # quantiles over draws, and how dark


def prior_predictive(
    data: np.ndarray,
    observed: np.ndarray,
    items: Sequence[str],
    categorical: Sequence[bool],
    *,
    path: str | Path | None = None,
) -> Axes:
    """One panel an item: 50 and 95 % bands over draws of the share of answers in each category, or of the distribution
    function of a numeric item, and the data's. data [draw, person, item], observed [person, item], nan where missing.

    Numeric items are in standard deviations of the data from their mean.
    """
    axes = panels(items, sharey=not any(categorical) or all(categorical))
    for j, ax in enumerate(axes):
        own = observed[:, j][np.isfinite(observed[:, j])]
        if categorical[j]:
            _categories(ax, data[:, :, j], own)
        else:
            _distribution(ax, data[:, :, j], own)
    handles, labels = axes[0].get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda k: labels[k] != "data")
    whole = "share of persons" if all(categorical) else "share of persons at most there"
    common_labels(axes, "category" if all(categorical) else "standard deviations from the data's mean", whole)
    legend_outside(axes[0], [handles[k] for k in order], [labels[k] for k in order], where="upper")
    return finish(axes[0], path)


def _distribution(ax: Axes, draws: np.ndarray, own: np.ndarray) -> None:
    center, size = own.mean(), own.std() or 1.0
    own, draws = (own - center) / size, (draws - center) / size
    at = np.linspace(-WIDE, WIDE, POINTS)
    ranks = np.array([np.searchsorted(np.sort(draw), at, side="right") / len(draw) for draw in draws])
    for a, b, dark in BANDS:
        lower, upper = np.quantile(ranks, [a, b], axis=0)
        ax.fill_between(at, lower, upper, color=style.POSITIVE, alpha=dark, linewidth=0, label=_name(a, b))
    ax.plot(at, np.searchsorted(np.sort(own), at, side="right") / len(own), color=style.NEGATIVE, lw=1.6, label="data")
    ax.set_ylim(-0.02, 1.02)


def _categories(ax: Axes, draws: np.ndarray, own: np.ndarray) -> None:
    top = int(max(own.max(), draws.max())) + 1
    at = np.arange(top)
    shares = np.array([np.bincount(draw.astype(int), minlength=top) / len(draw) for draw in draws])
    for a, b, dark in BANDS:
        lower, upper = np.quantile(shares, [a, b], axis=0)
        ax.bar(at, upper - lower, 0.7, lower, color=style.POSITIVE, alpha=dark, linewidth=0, label=_name(a, b))
    ax.plot(at, np.bincount(own.astype(int), minlength=top) / len(own), "o", color=style.NEGATIVE, ms=5, label="data")
    ax.set_xticks(at)
    ax.set_ylim(-0.02, 1.02)


def _name(a: float, b: float) -> str:
    return f"{round(100 * (b - a))} % of draws"
