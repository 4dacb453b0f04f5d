"""Response curves of items: probabilities of categories, and expected answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from jaxlatent.plots import style
from jaxlatent.plots.matplotlib_figure import finish, require_matplotlib
from jaxlatent.plots.small_multiples import DASHES, common_labels, halo, legend_outside, ordered_colours, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Kind = Literal["auto", "category", "expected"]
MOST_LABELLED = 6  # panels; in more there is no room for the categories' names at their curves


@dataclass(frozen=True)
class ItemTrace:
    """One item along one axis.

    Parameters
    ----------
    categories
        Raw values of the categories as text; empty for items without categories.
    probabilities
        P(y = k) [point, category].
    expected
        Expected answer [point], in raw values.
    ordered
        Whether the categories have an order.
    """

    categories: tuple[str, ...]
    probabilities: np.ndarray
    expected: np.ndarray
    ordered: bool = True


def item_curves(
    x: np.ndarray,
    traces: Mapping[str, ItemTrace],
    *,
    factor: str,
    kind: Kind = "auto",
    path: str | Path | None = None,
) -> Axes:
    """Small multiples, one item a panel, along the values x [point] of a factor.

    kind "category": a curve each category; "expected": the expected answer; "auto": categories for items with three or
    more, P(y = highest) for binary items, the expected answer for numbers and counts. Returns the first panel's axes;
    the others are in its figure.
    """
    if not traces:
        raise ValueError("Expected at least one item to plot; got none.")
    if kind not in ("auto", "category", "expected"):
        raise ValueError(f"Expected kind to be 'auto', 'category' or 'expected'; got {kind!r}.")
    require_matplotlib()
    shown = {name: _lines(trace, kind) for name, trace in traces.items()}
    colours = _colours(list(traces.values()))
    probability = all(is_probability for _, is_probability in shown.values())
    several = any(len(lines) > 1 for lines, _ in shown.values())
    axes = panels(list(shown), sharey=probability, extra=0.45 if several else 0.0)
    single = style.INK if several else style.CYCLE[0]
    handles: dict[str, object] = {}
    for ax, (lines, is_probability), trace in zip(axes, shown.values(), traces.values(), strict=True):
        for label, values in lines:
            colour, dashes = colours.get(label, (style.CYCLE[0], ()))
            alone = len(lines) == 1
            (line,) = ax.plot(
                x, values, color=single if alone else colour, linewidth=1.7, dashes=() if alone else dashes,
                solid_capstyle="round", label=label,
            )  # fmt: skip
            if not alone:
                handles.setdefault(label, line)
        if is_probability:
            if len(lines) > 1 and len(axes) <= MOST_LABELLED:
                _label_curves(ax, x, lines, colours)
            ax.set_ylim(-0.02, 1.1 if len(lines) > 1 else 1.02)
            ax.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
        elif trace.categories and _is_number(trace.categories):
            low, high = float(trace.categories[0]), float(trace.categories[-1])
            ax.set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low))
        ax.set_xlim(float(x[0]), float(x[-1]))
    common_labels(axes, factor, _y_label(list(traces.values()), kind, probability))
    order = [label for label in colours if label in handles]
    legend_outside(axes[0], [handles[label] for label in order], order, where="upper", title="Answer")
    return finish(axes[0], path)


def _lines(trace: ItemTrace, kind: Kind) -> tuple[list[tuple[str, np.ndarray]], bool]:
    """The curves of a panel with their labels, and whether they are probabilities."""
    binary = len(trace.categories) == 2
    if kind == "expected" or not trace.categories:
        return [("expected answer", trace.expected)], False
    if kind == "auto" and binary:
        return [(trace.categories[1], trace.probabilities[:, 1])], True
    return [(label, trace.probabilities[:, k]) for k, label in enumerate(trace.categories)], True


def _label_curves(
    ax: Axes,
    x: np.ndarray,
    lines: Sequence[tuple[str, np.ndarray]],
    colours: Mapping[str, tuple[str, tuple[float, ...]]],
) -> None:
    """Each category's name above the peak of its curve."""
    span = float(x[-1] - x[0])
    for label, values in lines:
        at = float(x[int(np.argmax(values))])
        at = float(np.clip(at, x[0] + 0.06 * span, x[-1] - 0.06 * span))
        ax.annotate(label, (at, float(np.interp(at, x, values))), xytext=(0, 1.5), textcoords="offset points",
                    ha="center", va="bottom", fontsize=8, color=style.mix(colours[label][0], style.INK, 0.35),
                    path_effects=halo())  # fmt: skip


def _colours(traces: Sequence[ItemTrace]) -> dict[str, tuple[str, tuple[float, ...]]]:
    """A colour for every label that occurs, by its rank among the raw values; unordered categories also get dashes."""
    labels = sorted({label for trace in traces for label in trace.categories}, key=_as_number)
    if all(trace.ordered for trace in traces if trace.categories):
        return {label: (c, ()) for label, c in zip(labels, ordered_colours(len(labels)), strict=True)}
    size = len(style.CYCLE)
    return {label: (style.CYCLE[k % size], DASHES[k % len(DASHES)]) for k, label in enumerate(labels)}


def _is_number(labels: Sequence[str]) -> bool:
    return all(np.isfinite(_as_number(label)[0]) for label in labels)


def _as_number(label: str) -> tuple[float, str]:
    try:
        return float(label), label
    except ValueError:
        return float("inf"), label


def _y_label(traces: Sequence[ItemTrace], kind: Kind, probability: bool) -> str:
    if not probability:
        alike = kind == "expected" or not any(trace.categories for trace in traces)
        return "Expected answer" if alike else "Probability, or expected answer"
    if kind == "auto" and all(len(trace.categories) == 2 for trace in traces):
        tops = {trace.categories[1] for trace in traces}
        return f"P(answer = {tops.pop()})" if len(tops) == 1 else "P(higher answer)"
    return "Probability of the answer"
