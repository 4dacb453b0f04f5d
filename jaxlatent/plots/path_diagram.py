"""Path diagrams as SVG, from the parameter table alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from jaxlatent.plots import drawing, style
from jaxlatent.plots.geometry import Rect
from jaxlatent.plots.graph import Graph, Parameter, build_graph
from jaxlatent.plots.labels import label_rects
from jaxlatent.plots.layout import DiagramLayout, place
from jaxlatent.plots.routing import Route, route
from jaxlatent.plots.variances import VarianceMark, mark_variances

MARGIN = 16.0
TITLE = 30.0
PANEL_GAP = 40.0


@dataclass(frozen=True)
class PathDiagram:
    """A finished picture: `.svg` is its text; a notebook shows it; `save` writes it."""

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write the SVG file."""
        Path(path).write_text(self.svg, encoding="utf-8")


@dataclass(frozen=True)
class Panel:
    """One group's picture: what stands where, and how large it is."""

    graph: Graph
    layout: DiagramLayout
    routes: tuple[Route, ...]
    labels: tuple[Rect, ...]
    texts: tuple[str, ...]
    marks: tuple[VarianceMark, ...]
    bounds: Rect


@dataclass(frozen=True)
class _Options:
    column: str
    intercepts: bool
    stars: bool
    digits: int
    exogenous: bool | None


def path_diagram(
    parameters: pd.DataFrame,
    *,
    latent: Sequence[str],
    observed: Sequence[str],
    group: object | None = None,
    column: str = "std_all",
    intercepts: bool = False,
    title: str | None = None,
    path: str | Path | None = None,
    stars: bool = False,
    digits: int = 2,
    exogenous: bool | None = None,
) -> PathDiagram:
    """Draw a model.

    Latent variables are ellipses, observed ones rectangles; regressions and loadings are arrows, covariances arcs with
    two heads, variances short arrows (residual) or loops. Fixed parameters are dashed, negative ones in a second
    colour, and lines grow a little with the standardized size. Paths fixed to zero are left out.

    `column` is the column to print. With several groups and no `group`, there is a panel for each, as
    there is for each level of a two-level model. `intercepts` prints
    them in the boxes, `stars` marks p below .05, .01 and .001. `exogenous` says whether to draw the sample moments of
    fixed exogenous variables; None draws them for up to four such variables. `path` also writes the SVG file.
    """
    if column not in parameters:
        raise ValueError(f"Expected a column of the parameter table; got {column!r}")
    options = _Options(column, intercepts, stars, digits, exogenous)
    frames = _by_group(parameters, group)
    panels = [build_panel(frame, latent, observed, options) for frame in frames.values()]
    heads = [f"{label}" if len(frames) > 1 else "" for label in frames]
    diagram = PathDiagram(_compose(panels, heads, title, options))
    if path is not None:
        diagram.save(path)
    return diagram


def _by_group(parameters: pd.DataFrame, group: object | None) -> dict[object, pd.DataFrame]:
    drawn = parameters[parameters["op"].isin(["=~", "~", "~~", "~1", "<~"])]
    labels = list(pd.unique(drawn["group"])) if "group" in drawn else [1]
    if group is not None and group not in labels:
        raise ValueError(f"Expected a group out of {labels}; got {group!r}")
    chosen = labels if group is None else [group]
    frames = {label: drawn[drawn["group"] == label] if "group" in drawn else drawn for label in chosen}
    return {name: part for label, frame in frames.items() for name, part in _by_level(label, frame, len(labels) > 1)}


def _by_level(label: object, frame: pd.DataFrame, several: bool) -> list[tuple[object, pd.DataFrame]]:
    """The levels of a two-level model, each with its name; one-level models as they are."""
    levels = list(pd.unique(frame["level"])) if "level" in frame else []
    if len(levels) < 2:
        return [(label, frame)]
    prefix = f"{label}, " if several else ""
    return [(f"{prefix}level {level}", frame[frame["level"] == level]) for level in levels]


def build_panel(parameters: pd.DataFrame, latent: Sequence[str], observed: Sequence[str], options: _Options) -> Panel:
    """Lay out one group and find a place for every line and number."""
    graph = build_graph(parameters, latent, observed, options.column, options.exogenous)
    if not graph.nodes:
        raise ValueError("Expected a parameter table with at least one variable; got none")
    layout = place(graph, detail=options.intercepts)
    routes = route(graph, layout)
    marks = mark_variances(graph, layout, routes, {n: _text(p, options) for n, p in graph.variances.items()})
    texts = [_text(route.edge.parameter, options) for route in routes]
    obstacles = [*layout.boxes.values(), *(mark.label for mark in marks)]
    labels = label_rects(routes, texts, [_wish(graph, route) for route in routes], obstacles)
    bounds = _bounds(layout, routes, labels, marks)
    return Panel(graph, layout, tuple(routes), tuple(labels), tuple(texts), tuple(marks), bounds)


def _wish(graph: Graph, route: Route) -> float:
    """Where on its line a number would like to be: beyond the middle of a fan, in the middle of everything else."""
    return 0.58 if route.edge in graph.loadings else 0.5


def _text(parameter: Parameter, options: _Options) -> str:
    text = style.number(parameter.value, options.digits, leading_zero=not options.column.startswith("std"))
    if not options.stars or math.isnan(parameter.pvalue):
        return text
    return text + "*" * sum(parameter.pvalue < level for level in (0.05, 0.01, 0.001))


def _bounds(layout: DiagramLayout, routes: list[Route], labels: list[Rect], marks: list[VarianceMark]) -> Rect:
    """The rectangle around everything that is drawn."""
    rects = [*layout.boxes.values(), *labels, *(mark.label for mark in marks)]
    corners = [(rect.left, rect.top) for rect in rects] + [(rect.right, rect.bottom) for rect in rects]
    curves = [route.curve for route in routes] + [mark.curve for mark in marks]
    points = np.concatenate([np.array(corners), *(curve.sample() for curve in curves)])
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return Rect(float(left + right) / 2, float(top + bottom) / 2, float(right - left), float(bottom - top))


def _compose(panels: list[Panel], heads: list[str], title: str | None, options: _Options) -> str:
    """Panels side by side under an optional title."""
    top = MARGIN + (TITLE if title else 0.0) + (TITLE if any(heads) else 0.0)
    width = sum(panel.bounds.width for panel in panels) + PANEL_GAP * (len(panels) - 1) + 2 * MARGIN
    width = max(width, style.text_width(title or "", 15.0) + 2 * MARGIN)
    height = max(panel.bounds.height for panel in panels) + top + MARGIN
    used = sum(panel.bounds.width for panel in panels) + PANEL_GAP * (len(panels) - 1)
    left, parts = (width - used) / 2, []
    for panel, head in zip(panels, heads, strict=True):
        if head:
            parts.append(drawing.heading(head, left + panel.bounds.width / 2, top - 12.0, 13.5))
        parts.append(_place_panel(panel, left, top, options))
        left += panel.bounds.width + PANEL_GAP
    if title:
        parts.insert(0, drawing.heading(title, width / 2, MARGIN + 12.0, 15.0))
    return _document(width, height, title or "Path diagram", parts)


def _document(width: float, height: float, title: str, parts: list[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" font-family="{style.FONT}">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="{style.PAPER}"/>\n{body}\n</svg>\n'
    )


def _place_panel(panel: Panel, left: float, top: float, options: _Options) -> str:
    shift = f"translate({left - panel.bounds.left:.1f} {top - panel.bounds.top:.1f})"
    return f'<g class="panel" transform="{shift}">\n' + "\n".join(_elements(panel, options)) + "\n</g>"


def _elements(panel: Panel, options: _Options) -> list[str]:
    """Lines first, boxes over their ends, numbers on top."""
    lines = [_line(route.edge.parameter, route, None) for route in panel.routes]
    lines += [_line(mark.parameter, None, mark) for mark in panel.marks]
    boxes = [_box(panel, name, rect, options) for name, rect in panel.layout.boxes.items()]
    numbers = [
        drawing.value(rect, text, _colour(route.edge.parameter, text=True))
        for route, rect, text in zip(panel.routes, panel.labels, panel.texts, strict=True)
    ]
    numbers += [drawing.value(mark.label, mark.text, style.MUTED) for mark in panel.marks]
    return lines + boxes + numbers


def _line(parameter: Parameter, route: Route | None, mark: VarianceMark | None) -> str:
    drawn = route or mark
    if drawn is None:
        return ""
    if mark is not None:
        colour, width = (style.NEGATIVE if parameter.value < 0 else style.MUTED), 1.0
    else:
        colour, width = _colour(parameter), _width(parameter)
    body = drawing.stroke(drawn.curve, double=drawn.double, colour=colour, width=width, dashed=parameter.fixed)
    return (
        f'<g class="parameter" data-parameter="{escape(parameter.name)}"><title>{escape(_tooltip(parameter))}</title>'
        f"{body}</g>"
    )


def _box(panel: Panel, name: str, rect: Rect, options: _Options) -> str:
    mean = panel.graph.means.get(name) if options.intercepts else None
    detail = drawing.intercept(mean.name, rect, _text(mean, options), mean.fixed) if mean else ""
    return drawing.box(name, rect, name in panel.graph.latent, detail)


def _colour(parameter: Parameter, text: bool = False) -> str:
    if parameter.value < 0:
        return style.NEGATIVE
    return style.INK if text else style.OBSERVED_EDGE


def _width(parameter: Parameter) -> float:
    size = abs(parameter.standardized)
    return 1.2 if math.isnan(size) else 0.9 + 1.3 * min(size, 1.0)


def _tooltip(parameter: Parameter) -> str:
    fixed = " (fixed)" if parameter.fixed else ""
    return f"{parameter.name}: estimate {parameter.estimate:.3f}{fixed}, standardized {parameter.standardized:.3f}"
