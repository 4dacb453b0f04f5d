"""A grid of small panels of one size, and colours for ordered categories."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jaxlatent.plots import style
from jaxlatent.plots.matplotlib_figure import new_figure, require_matplotlib, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDEST = 5  # panels in a row
ORDERED = ("#2a1a5e", "#3b4d9b", "#2f82a6", "#3aa889", "#8fc253", "#d9b310")
"""Dark to light, purple to yellow: apart for colour-blind readers and in grey."""
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 1.6), (1.2, 1.4), (6, 1.6, 1.2, 1.6))


def columns_for(count: int) -> int:
    """How many panels a row has."""
    if count <= 3:
        return max(count, 1)
    return min(WIDEST, math.ceil(math.sqrt(count)))


def panels(names: Sequence[str], *, sharey: bool = True, extra: float = 0.0) -> list[Axes]:
    """One axes an item, with its name above; those of one row share their scale. extra: room in inches for a legend.

    Cells of the grid that stay empty are taken away, and the last panel of every column keeps its numbers.
    """
    require_matplotlib()
    from matplotlib.ticker import MaxNLocator

    count = len(names)
    wide = columns_for(count)
    high = math.ceil(count / wide)
    width, height = (5.0, 3.4) if count == 1 else (2.9, 2.35) if count <= 6 else (2.05, 1.75)
    figure = new_figure(max(wide * width, 3.6), high * height + 0.3 + extra)
    grid = figure.subplots(high, wide, squeeze=False, sharex=True, sharey=sharey)
    found = [ax for row in grid for ax in row]
    for ax in found[count:]:
        ax.remove()
    if count > 1:  # no numbers where one panel ends and the next begins
        found[0].xaxis.set_major_locator(MaxNLocator(5, prune="both"))
    heads = distinct_names(names, 28 if count <= 6 else 20)
    for place, (ax, head) in enumerate(zip(found, heads, strict=False)):
        tidy(ax, grid="y")
        ax.set_title(head, fontsize=10 if count <= 6 else 9, color=style.INK)
        ax.tick_params(labelsize=8 if count > 6 else 9, length=3, labelbottom=place + wide >= count)
    return found[:count]


def shortened(name: str, most: int) -> str:
    """The name, cut in its middle if it has more characters."""
    if len(name) <= most:
        return name
    head = (most - 1) // 2
    return name[: most - 1 - head] + "…" + name[len(name) - head :]


def distinct_names(names: Iterable[object], most: int) -> list[str]:
    """Shortened names, with their place before them where two would look alike."""
    whole = [str(name) for name in names]
    short = [shortened(name, most) for name in whole]
    if len(set(short)) == len(set(whole)):
        return short
    return [f"{k}. {shortened(name, most - 4)}" for k, name in enumerate(whole, 1)]


def common_labels(axes: Sequence[Axes], x: str, y: str) -> None:
    """One label for all x axes and one for all y axes."""
    figure = axes[0].get_figure(root=True)
    if figure is None:
        return
    if len(axes) == 1:
        axes[0].set_xlabel(x)
        axes[0].set_ylabel(y)
        return
    figure.supxlabel(x, fontsize=10, color=style.INK)
    figure.supylabel(y, fontsize=10, color=style.INK)


def legend_outside(
    ax: Axes,
    handles: Sequence[Any],
    labels: Sequence[str],
    *,
    columns: int = 8,
    where: str = "lower",
    title: str = "",
) -> None:
    """One legend for the whole figure, "lower" or "upper", filled row by row."""
    figure = ax.get_figure(root=True)
    if figure is None or not handles:
        return
    wide = min(len(labels), columns)
    order = [k for column in range(wide) for k in range(column, len(labels), wide)]
    figure.legend(
        [handles[k] for k in order], [labels[k] for k in order], loc=f"outside {where} center", ncols=wide,
        frameon=False, fontsize=9, title=title or None, title_fontsize=9, handlelength=2.2, columnspacing=1.4,
    )  # fmt: skip


def halo() -> list[object]:
    """Effects that set text apart from the lines behind it."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.5, foreground=style.PAPER)]


def ordered_colours(count: int) -> list[str]:
    """Colours of categories in their order."""
    if count == 1:
        return [ORDERED[1]]
    out = []
    for k in range(count):
        at = k / (count - 1) * (len(ORDERED) - 1)
        low = min(int(at), len(ORDERED) - 2)
        out.append(style.mix(ORDERED[low], ORDERED[low + 1], at - low))
    return out
