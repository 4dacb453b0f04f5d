"""Accuracy against time: distance from the maximum in standard errors, over seconds of a warm fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jaxlatent as jl
from benchmarks import irt_sets
from benchmarks.amortized_sets import load
from benchmarks.harness import timed

EPOCHS = (2, 5, 10, 20, 40, 80)
POINTS = (8, 16, 32, 64, 128)
CLOSE = 0.1


class Place(NamedTuple):
    """One fit: the curve it belongs to, its label, seconds and distance."""

    curve: str
    label: str
    seconds: float
    distance: float


def engines() -> list[tuple[str, str, Any]]:
    """Curves, labels and engines."""
    training = [
        ("AmortizedVI(polish=False), by epochs", str(k), jl.AmortizedVI(polish=False, se="none", max_epochs=k))
        for k in EPOCHS
    ]
    second = [
        ("MarginalML, by points a person", str(r), jl.MarginalML(jl.ImportanceSampling(r), se="none")) for r in POINTS
    ]
    return [*training, *second, ("AmortizedVI()", "", jl.AmortizedVI(se="none"))]


def places(name: str, repeat: int, chosen: Sequence[tuple[str, str, Any]] | None = None) -> list[Place]:
    """Every engine on one set, the least of its warm times. Raises ValueError for a set without a stored maximum."""
    case, out = load(name), []
    for curve, label, engine in engines() if chosen is None else chosen:
        fit = case.model.fit(case.data, engine)
        times = [timed(lambda engine=engine: case.model.fit(case.data, engine))[0] for _ in range(repeat)]  # type: ignore[misc]
        far = irt_sets.distance(name, fit._fitted.free)
        if far is None:
            raise ValueError(f"Expected a set with a maximum in benchmarks/maxima; got {name!r}.")
        out.append(Place(curve, label, min(times), far))
    return out


def draw(found: Sequence[Place], title: str, path: Path) -> None:
    """Both axes logarithmic, a line for each curve, its points labelled; the aim as a dashed line."""
    from jaxlatent.plots import style
    from jaxlatent.plots.matplotlib_figure import finish, new_axes, require_matplotlib, tidy

    require_matplotlib()
    ax = new_axes(None, 6.4, 4.2)
    for colour, curve in zip(style.CYCLE, dict.fromkeys(p.curve for p in found), strict=False):
        own = sorted((p for p in found if p.curve == curve), key=lambda p: p.seconds)
        ax.plot([p.seconds for p in own], [p.distance for p in own], marker="o", markersize=5, linewidth=1.2,
                color=colour, label=curve)  # fmt: skip
        for p in own:
            ax.annotate(p.label, (p.seconds, p.distance), textcoords="offset points", xytext=(4, 4), fontsize=8,
                        color=colour)  # fmt: skip
    ax.axhline(CLOSE, color=style.MUTED, linewidth=0.9, linestyle="--")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("Seconds, warm")
    ax.set_ylabel("Standard errors from the maximum")
    ax.set_title(title)
    ax.legend(frameon=False)
    tidy(ax, grid="y")
    finish(ax, path)
