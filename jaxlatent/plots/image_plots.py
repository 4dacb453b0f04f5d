"""Rows of pictures, or of profiles where columns make no picture: reconstructions, traversals, manifolds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.plots import style
from jaxlatent.plots.matplotlib_figure import finish, new_axes, new_figure, require_matplotlib, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELL = 0.72  # inches of a picture
GAP = 1  # pixels between pictures
MISSING = (0.79, 0.84, 0.90)


def picture_shape(n_columns: int, given: tuple[int, int] | None = None) -> tuple[int, int] | None:
    """Rows and columns of pixels: those given, else those of a square; None where columns make no picture.

    Raises ValueError where the given shape has another number of pixels.
    """
    if given is not None:
        if len(given) != 2 or int(np.prod(given)) != n_columns:
            raise ValueError(f"Expected a shape (rows, columns) with {n_columns} pixels; got {given!r}.")
        return int(given[0]), int(given[1])
    side = math.isqrt(n_columns)
    return (side, side) if side * side == n_columns and side >= 4 else None


def mosaic(pictures: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Colours [pixel, pixel, 3] of pictures [row, column, height, width] in a grid with white lines between them."""
    rows, columns, h, w = pictures.shape
    low, high = limits
    grey = 1 - np.clip((pictures - low) / (high - low), 0, 1)[..., None] * np.ones(3)
    grey = np.where(np.isnan(pictures)[..., None], MISSING, grey)
    out = np.ones((rows * (h + GAP) - GAP, columns * (w + GAP) - GAP, 3))
    for i in range(rows):
        for j in range(columns):
            out[i * (h + GAP) : i * (h + GAP) + h, j * (w + GAP) : j * (w + GAP) + w] = grey[i, j]
    return out


def picture_grid(
    values: np.ndarray,
    shape: tuple[int, int],
    *,
    limits: tuple[float, float],
    row_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
    row_label: str = "",
    column_label: str = "",
    path: str | Path | None = None,
) -> Axes:
    """Pictures of values [row, column, pixel] in a grid, dark where values are high; nan (missing) is tinted."""
    rows, columns, _ = values.shape
    h, w = shape
    ax = new_figure(max(columns * CELL, 2.4) + 1.0, max(rows * CELL * h / w, 1.6) + 0.6).add_subplot()
    ax.imshow(mosaic(values.reshape(rows, columns, h, w), limits), interpolation="nearest")
    middle = lambda n, size: np.arange(n) * (size + GAP) + (size - 1) / 2  # noqa: E731
    ax.set_yticks(middle(rows, h) if row_names else [], list(row_names))
    ax.set_xticks(middle(columns, w) if column_names else [], list(column_names))
    ax.set_xlabel(column_label)
    ax.set_ylabel(row_label)
    tidy(ax)
    ax.tick_params(length=0)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    return finish(ax, path)


def profile_grid(
    values: np.ndarray,
    names: Sequence[str],
    *,
    row_names: Sequence[str],
    column_names: Sequence[str] = (),
    legend: Sequence[str] = (),
    path: str | Path | None = None,
) -> Axes:
    """A panel for each row of values [panel, line, column]: lines over the columns of the data."""
    require_matplotlib()
    panels, lines, p = values.shape
    across = min(panels, 3)
    down = -(-panels // across)
    figure = new_figure(3.2 * across, 2.1 * down + 0.4)
    axes = np.atleast_1d(figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)).ravel()
    colours = [style.mix(style.CYCLE[1], style.CYCLE[0], k / max(lines - 1, 1)) for k in range(lines)]
    for panel, ax in enumerate(axes):
        if panel >= panels:
            ax.set_visible(False)
            continue
        for k in range(lines):
            label = str(legend[k]) if legend else None
            ax.plot(range(p), values[panel, k], color=colours[k], marker="o", markersize=3, linewidth=1.3, label=label)
        ax.set_title(str(row_names[panel]), fontsize=9, color=style.INK)
        tidy(ax, grid="y")
        if p <= 12:
            ax.set_xticks(range(p), list(names), rotation=90 if max(map(len, names)) > 3 else 0)
        else:
            ax.set_xlabel("Column")
    if legend:
        axes[0].legend(frameon=False, fontsize=8)
    return finish(axes[0], path)


def latent_map(
    x: np.ndarray,
    names: Sequence[str],
    *,
    color: Sequence[object] | None = None,
    ax: Axes | None = None,
    path: str | Path | None = None,
) -> Axes:
    """Persons at x [person, 2 or 3] (three: a map in depth), coloured by a label (up to 12 values) or by a number."""
    require_matplotlib()
    from matplotlib import colormaps

    deep = x.shape[1] == 3
    if deep and ax is None:
        ax = new_figure(6.4, 5.2).add_subplot(projection="3d")
    ax = new_axes(ax, 5.4, 4.6)
    scatter: Any = ax.scatter  # of two dimensions or three
    if color is None:
        scatter(*x.T, s=9, color=style.CYCLE[0], alpha=0.6, linewidths=0)
    else:
        given = np.asarray(list(color), dtype=object)
        if len(given) != len(x):
            raise ValueError(f"Expected one value of color for each of {len(x)} persons; got {len(given)}.")
        labels = sorted(set(given.tolist()), key=lambda v: (str(type(v)), v))
        if len(labels) <= 12:
            own: list[Any] = list(style.CYCLE)
            if len(labels) > len(own):
                own = [colormaps["tab10" if len(labels) <= 10 else "tab20"](k) for k in range(len(labels))]
            for label, colour in zip(labels, own, strict=False):
                scatter(*x[given == label].T, s=11, color=colour, alpha=0.75, linewidths=0, label=str(label))
            beside = (1.12, 1.0) if deep else (1.0, 1.0)
            ax.legend(frameon=False, fontsize=9, bbox_to_anchor=beside, loc="upper left", markerscale=1.6)
        else:
            shown = scatter(*x.T, s=11, c=given.astype(float), cmap="viridis", linewidths=0)
            ax.get_figure(root=True).colorbar(shown, ax=ax, shrink=0.8)  # type: ignore[union-attr]
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    if deep:
        ax.set_zlabel(names[2])  # type: ignore[attr-defined]
        ax.tick_params(colors=style.MUTED, labelcolor=style.INK, labelsize=8)
    else:
        tidy(ax)
    return finish(ax, path)
