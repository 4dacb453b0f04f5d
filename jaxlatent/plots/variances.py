"""Variances: a short arrow into what is explained, a two-headed loop on what is not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jaxlatent.plots.geometry import Curve, Point, Rect, angle_between, border, line
from jaxlatent.plots.graph import Graph, Parameter
from jaxlatent.plots.layout import DiagramLayout
from jaxlatent.plots.routing import Route, along
from jaxlatent.plots.style import VALUE_SIZE, text_width

ARROW = 20.0
LOOP = 25.0
ANGLES = tuple(math.radians(15.0 * i) for i in range(24))


@dataclass(frozen=True)
class VarianceMark:
    """The drawn variance of one variable and the place of its number."""

    name: str
    parameter: Parameter
    curve: Curve
    double: bool
    label: Rect
    text: str


def mark_variances(
    graph: Graph, layout: DiagramLayout, routes: list[Route], texts: dict[str, str]
) -> list[VarianceMark]:
    """One mark a variance, each at the freest place around its box."""
    explained = {route.edge.target for route in routes if not route.double}
    last, first = max(layout.ranks.values()), min(layout.ranks.values())
    marks: list[VarianceMark] = []
    taken = list(layout.boxes.values())
    lines = np.concatenate([route.curve.sample() for route in routes]) if routes else np.zeros((0, 2))
    for name, parameter in graph.variances.items():
        at_edge = name in explained and layout.ranks[name] in (first, last)
        angles = _leaving(name, [route for route in routes if not (at_edge and route.double)])
        candidates = [
            _mark(graph, layout, name, parameter, angle, texts[name], name not in explained) for angle in ANGLES
        ]
        wish = _wish(graph, layout, name)
        best = min(candidates, key=lambda item: _cost(item[0], item[1], angles, wish, taken, lines))[0]
        marks.append(best)
        taken += [best.label, _shape(best)]
    return marks


def _leaving(name: str, routes: list[Route]) -> list[float]:
    """Directions of the lines that meet a box."""
    angles = [route.curve.start_angle() for route in routes if route.edge.source == name]
    return angles + [route.curve.end_angle() for route in routes if route.edge.target == name]


def _wish(graph: Graph, layout: DiagramLayout, name: str) -> float:
    """The direction that is taken when nothing is in the way: away from the picture, else across the flow."""
    rank = layout.ranks[name]
    last, first = max(layout.ranks.values()), min(layout.ranks.values())
    if rank == last and last > first:
        return math.atan2(*reversed(along(layout, 1.0)))
    if rank == first:
        return math.atan2(*reversed(along(layout, -1.0)))
    order = layout.order(rank)
    if name in graph.measured():
        flow, across = along(layout, 1.0), (1.0, 0.0) if layout.flow == "down" else (0.0, 1.0)
        return math.atan2(flow[1] + across[1], flow[0] + across[0])
    sign = 1.0 if order.index(name) > (len(order) - 1) / 2 else -1.0
    return math.atan2(sign, 0.0) if layout.flow == "right" else math.atan2(0.0, sign)


def _mark(
    graph: Graph, layout: DiagramLayout, name: str, parameter: Parameter, angle: float, text: str, loop: bool
) -> tuple[VarianceMark, float]:
    box = layout.boxes[name]
    is_latent = name in graph.latent
    tip = border(box, angle, is_latent)
    width, height = text_width(text, VALUE_SIZE) + 4, VALUE_SIZE + 4
    reach = LOOP if loop else ARROW
    normal = _normal(box, tip, angle, is_latent)
    far = (tip[0] + reach * math.cos(normal), tip[1] + reach * math.sin(normal))
    curve = _loop(box, angle, is_latent) if loop else line(far, tip)
    push = _push(normal, width, height)
    label = Rect(far[0] + push * math.cos(normal), far[1] + push * math.sin(normal), width, height)
    return VarianceMark(name, parameter, curve, loop, label, text), angle


def _normal(box: Rect, tip: Point, angle: float, is_latent: bool) -> float:
    """The outward direction at a point of the border; between normal and ray at a rectangle's corner."""
    if is_latent:
        return math.atan2((tip[1] - box.y) / (box.height / 2) ** 2, (tip[0] - box.x) / (box.width / 2) ** 2)
    if abs(tip[0] - box.x) >= box.width / 2 - 1e-6:
        straight = math.atan2(0.0, tip[0] - box.x)
    else:
        straight = math.atan2(tip[1] - box.y, 0.0)
    return straight if angle_between(straight, angle) < 0.2 else _between(straight, angle)


def _between(first: float, second: float) -> float:
    return math.atan2(math.sin(first) + math.sin(second), math.cos(first) + math.cos(second))


def _push(angle: float, width: float, height: float) -> float:
    """How far the label's centre stands beyond the end of the mark."""
    return abs(math.cos(angle)) * width / 2 + abs(math.sin(angle)) * height / 2 + 2.0


def _loop(box: Rect, angle: float, is_latent: bool) -> Curve:
    """A loop that leaves and enters the border around the angle."""
    tip = border(box, angle, is_latent)
    normal = _normal(box, tip, angle, is_latent)
    tangent = (-math.sin(normal) * 7.0, math.cos(normal) * 7.0)
    ends = []
    for sign in (-1.0, 1.0):
        ray = math.atan2(tip[1] + sign * tangent[1] - box.y, tip[0] + sign * tangent[0] - box.x)
        ends.append(border(box, ray, is_latent))
    reach = LOOP / 0.75
    out = (math.cos(normal) * reach, math.sin(normal) * reach)
    controls = [
        (end[0] + out[0] + sign * tangent[0] * 1.3, end[1] + out[1] + sign * tangent[1] * 1.3)
        for sign, end in zip((-1.0, 1.0), ends, strict=True)
    ]
    return Curve(ends[0], controls[0], controls[1], ends[1])


def _shape(mark: VarianceMark) -> Rect:
    """The rectangle around a mark's line."""
    points = mark.curve.sample(15)
    low, high = points.min(axis=0), points.max(axis=0)
    x, y = (low + high) / 2
    width, height = high - low
    return Rect(float(x), float(y), max(float(width), 4.0), max(float(height), 4.0))


def _cost(
    mark: VarianceMark, angle: float, angles: list[float], wish: float, taken: list[Rect], lines: np.ndarray
) -> float:
    """Overlaps first, then lines that are crossed, then nearness of other lines, then the wish."""
    label, shape = mark.label.grown(2.0), _shape(mark)
    overlaps = sum(label.overlap(box) > 0 for box in taken)
    overlaps += sum(shape.overlap(box) > 8.0 for box in taken if box.overlap(shape) < 0.999 * _area(shape))
    crossed = label.count_inside(lines) + shape.grown(1.0).count_inside(lines)
    nearness = sum(max(0.0, math.radians(32.0) - angle_between(angle, other)) for other in angles)
    away = angle_between(angle, wish)
    return 1000.0 * overlaps + 25.0 * crossed + 40.0 * nearness + 9.0 * away


def _area(rect: Rect) -> float:
    return rect.width * rect.height
