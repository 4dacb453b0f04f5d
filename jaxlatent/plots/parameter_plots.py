"""Estimates with their intervals, factor scores and modification indices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from jaxlatent.plots import style
from jaxlatent.plots.matplotlib_figure import finish, new_axes, new_figure, require_matplotlib, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLES = {
    "=~": "Loadings",
    "<~": "Composites",
    "~": "Regressions",
    "~~": "Covariances and variances",
    "~1": "Intercepts",
    "|": "Thresholds",
    ":=": "Defined parameters",
}


def parameters(
    frame: pd.DataFrame,
    *,
    op: str | Sequence[str] | None = None,
    column: str = "est",
    ax: Axes | None = None,
    path: str | Path | None = None,
) -> Axes:
    """A forest plot: estimates with confidence intervals, one block a kind of parameter.

    Free parameters only; `op` keeps some kinds. Another column than "est" is drawn without an interval, as ci_lower and
    ci_upper belong to the estimates.
    """
    rows = _free_rows(frame, op)
    if rows.empty:
        raise ValueError(f"Expected at least one free parameter to plot; got none with op {op!r}")
    blocks = [(kind, rows[rows["op"] == kind]) for kind in dict.fromkeys([*TITLES, *rows["op"]])]
    blocks = [(kind, block) for kind, block in blocks if not block.empty]
    ax = new_axes(ax, 6.0, 0.9 + 0.24 * (len(rows) + 1.3 * len(blocks)))
    ticks: dict[float, str] = {}
    at = 0.0
    for number, (kind, block) in enumerate(blocks):
        colour = style.CYCLE[number % len(style.CYCLE)]
        ax.text(0.0, at, TITLES.get(kind, kind), transform=ax.get_yaxis_transform(), fontsize=9, va="center",
                color=colour, fontweight="bold")  # fmt: skip
        positions = at + 1.0 + np.arange(len(block))
        _intervals(ax, block, column, positions, colour)
        ticks |= dict(zip(positions.tolist(), _names(block, frame), strict=True))
        at = float(positions[-1]) + 1.3
    ax.axvline(0.0, color=style.MUTED, linewidth=0.8, zorder=0)
    ax.set_yticks(list(ticks), list(ticks.values()))
    ax.set_ylim(at - 0.6, -0.8)
    ax.set_xlabel("estimate and confidence interval" if column == "est" else column)
    tidy(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    return finish(ax, path)


def _free_rows(frame: pd.DataFrame, op: str | Sequence[str] | None) -> pd.DataFrame:
    rows = frame[(frame["se"] > 0) | (frame["op"] == ":=")]
    if op is None:
        return rows
    return rows[rows["op"].isin([op] if isinstance(op, str) else list(op))]


def _intervals(ax: Axes, block: pd.DataFrame, column: str, positions: np.ndarray, colour: str) -> None:
    values = block[column].to_numpy(dtype=float)
    if column == "est" and {"ci_lower", "ci_upper"} <= set(block):
        low, high = block["ci_lower"].to_numpy(dtype=float), block["ci_upper"].to_numpy(dtype=float)
        ax.hlines(positions, low, high, color=colour, linewidth=1.6, alpha=0.8)
    ax.plot(values, positions, "o", color=colour, markersize=4.5, markeredgecolor=style.PAPER, markeredgewidth=0.5)


def _names(block: pd.DataFrame, frame: pd.DataFrame) -> list[str]:
    """ "visual =~ x1", with the group where there are several."""
    several = "group" in frame and frame.loc[frame["op"] != ":=", "group"].nunique() > 1
    names = []
    for row in block.to_dict("records"):
        right = "" if row["op"] in ("~1", ":=") else f" {row['rhs']}"
        sign = "" if row["op"] == ":=" else f" {row['op']}"
        group = f"  [{row['group']}]" if several and row["op"] != ":=" else ""
        names.append(f"{row['lhs']}{sign}{right}{group}")
    return names


def factor_scores(frame: pd.DataFrame, *, path: str | Path | None = None, bins: int | str = "auto") -> Axes:
    """Scores person × factor: a histogram each, and a scatter for every pair. Columns ending in _se are left out.

    Returns the first axes; the others are in its figure.
    """
    names = [name for name in frame.columns if not str(name).endswith("_se")]
    if not names:
        raise ValueError("Expected a frame with a column of scores for each factor; got none")
    size = len(names)
    side = 4.2 if size == 1 else min(11.0, 2.3 * size)
    figure = new_figure(side * (1.3 if size == 1 else 1.0), side * (0.75 if size == 1 else 1.0))
    grid = figure.subplots(size, size, squeeze=False)
    values = frame[names].to_numpy(dtype=float)
    for row in range(size):
        for column in range(size):
            _score_panel(grid[row, column], values, row, column, bins)
    for i, name in enumerate(names):
        grid[size - 1, i].set_xlabel(str(name))
        if size > 1:
            grid[i, 0].set_ylabel(str(name))
    return finish(grid[0, 0], path)


def _score_panel(ax: Axes, values: np.ndarray, row: int, column: int, bins: int | str) -> None:
    if column > row:
        ax.set_visible(False)
        return
    if row == column:
        finite = values[np.isfinite(values[:, row]), row]
        ax.hist(finite, bins=bins, color=style.CYCLE[0], alpha=0.85, edgecolor=style.PAPER, linewidth=0.4)
        ax.set_yticks([])
    else:
        ax.plot(values[:, column], values[:, row], "o", color=style.CYCLE[0], markersize=2.8, alpha=0.45, mew=0)
    tidy(ax)


def modification_indices(
    frame: pd.DataFrame, *, n: int = 20, ax: Axes | None = None, path: str | Path | None = None
) -> Axes:
    """The n largest modification indices as bars, each with its expected parameter change.

    The dashed line is the 5% point of a χ² with one degree of freedom; many indices are looked at, so some pass it by
    chance.
    """
    require_matplotlib()
    top = frame.dropna(subset=["mi"]).sort_values("mi", ascending=False).head(n)
    if top.empty:
        raise ValueError("Expected at least one modification index; got none")
    ax = new_axes(ax, 6.2, 0.9 + 0.27 * len(top))
    positions = np.arange(len(top))
    values, changes = top["mi"].to_numpy(dtype=float), top["epc"].to_numpy(dtype=float)
    colours = [style.NEGATIVE if change < 0 else style.POSITIVE for change in changes]
    ax.barh(positions, values, color=colours, height=0.66)
    for at, value, change in zip(positions, values, changes, strict=True):
        ax.annotate(f"EPC {style.number(change)}", (float(value), float(at)), xytext=(4, 0), textcoords="offset points",
                    va="center", fontsize=8, color=style.INK)  # fmt: skip
    ax.axvline(3.84, color=style.MUTED, linewidth=0.9, linestyle="--")
    ax.set_yticks(positions, _names(top, frame))
    ax.set_ylim(len(top) - 0.4, -0.6)
    ax.set_xlim(0, 1.16 * float(values.max()))
    ax.set_xlabel("modification index")
    tidy(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    return finish(ax, path)
