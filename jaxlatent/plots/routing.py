"""The lines of a path diagram: arrows and the arcs of covariances."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jaxlatent.plots.geometry import Curve, Point, Rect, bent, border, line
from jaxlatent.plots.graph import Edge, Graph
from jaxlatent.plots.layout import DiagramLayout

BENDS = (0.0, 0.12, -0.12, 0.22, -0.22, 0.34, -0.34, 0.5, -0.5, 0.7, -0.7)


@dataclass(frozen=True)
class Route:
    """A drawn line; `double` has a head at both ends."""

    edge: Edge
    curve: Curve
    double: bool


def route(graph: Graph, layout: DiagramLayout) -> list[Route]:
    """Curves for all arrows, then for all covariances."""
    ports = _arrow_ports(graph, layout)
    routes = [Route(edge, _arrow(graph, layout, edge, ports), False) for edge in graph.arrows]
    outer = {edge: side for edge in graph.covariances if (side := outer_side(layout, edge)) is not None}
    ends = _arc_ports(graph, layout, outer)
    for edge in graph.covariances:
        if edge in outer:
            curve = _outer_arc(layout, edge, outer[edge], ends)
        else:
            curve = _inner_arc(graph, layout, edge, [r.curve for r in routes])
        routes.append(Route(edge, curve, True))
    return routes


def along(layout: DiagramLayout, sign: float) -> Point:
    """The unit vector of the flow (sign 1) or against it (sign -1)."""
    return (0.0, sign) if layout.flow == "down" else (sign, 0.0)


def outer_side(layout: DiagramLayout, edge: Edge) -> float | None:
    """-1 or 1 where both ends stand in the first or last rank, whose outer side is free; otherwise None."""
    first, second = layout.ranks[edge.source], layout.ranks[edge.target]
    if first != second:
        return None
    if first == min(layout.ranks.values()):
        return -1.0
    return 1.0 if first == max(layout.ranks.values()) else None


def _both_ways(graph: Graph, edge: Edge) -> bool:
    return any(other.source == edge.target and other.target == edge.source for other in graph.arrows)


def _arrow_ports(graph: Graph, layout: DiagramLayout) -> dict[tuple[Edge, str], Point]:
    """Where arrows meet rectangles: spread along the side that faces the other rank, in the order of the far ends."""
    sides: dict[tuple[str, float], list[Edge]] = {}
    for edge in graph.arrows:
        step = layout.ranks[edge.target] - layout.ranks[edge.source]
        if step and not _both_ways(graph, edge):
            for name, sign in ((edge.source, math.copysign(1, step)), (edge.target, -math.copysign(1, step))):
                if name in graph.observed:
                    sides.setdefault((name, sign), []).append(edge)
    ports: dict[tuple[Edge, str], Point] = {}
    for (name, sign), edges in sides.items():
        edges.sort(key=lambda edge, own=name: _far(layout, edge, own))  # type: ignore[misc]
        for edge, point in zip(edges, _side_points(layout, name, sign, len(edges)), strict=True):
            ports[edge, name] = point
    return ports


def _far(layout: DiagramLayout, edge: Edge, own: str) -> float:
    """The slope at which an edge leaves its own end: what orders the ports of one side."""
    other = edge.target if edge.source == own else edge.source
    distance = abs(layout.ranks[other] - layout.ranks[own])
    return (layout.cross(other) - layout.cross(own)) / distance


def _side_points(layout: DiagramLayout, name: str, sign: float, count: int) -> list[Point]:
    box = layout.boxes[name]
    length = box.width if layout.flow == "down" else box.height
    step = min(11.0, 0.72 * length / max(count - 1, 1))
    shifts = [(i - (count - 1) / 2) * step for i in range(count)]
    if layout.flow == "down":
        return [(box.x + shift, box.y + sign * box.height / 2) for shift in shifts]
    return [(box.x + sign * box.width / 2, box.y + shift) for shift in shifts]


def _arrow(graph: Graph, layout: DiagramLayout, edge: Edge, ports: dict[tuple[Edge, str], Point]) -> Curve:
    source, target = layout.boxes[edge.source], layout.boxes[edge.target]
    if edge.source == edge.target:
        return _self_arrow(source)
    if _both_ways(graph, edge):
        return _joined(graph, layout, edge, 16.0)
    end = ports.get((edge, edge.target))
    start = ports.get((edge, edge.source))
    start_angle = _direction((source.x, source.y), end or (target.x, target.y))
    begin = start or border(source, start_angle, edge.source in graph.latent)
    finish = end or border(target, _direction((target.x, target.y), begin), edge.target in graph.latent)
    straight = line(begin, finish)
    others = _other_boxes(layout, edge)
    if _hits(straight, others) == 0:
        return straight
    length = math.dist(begin, finish)
    curves = [_joined(graph, layout, edge, bend * length) for bend in BENDS]
    return min(curves, key=lambda curve: 1000 * _hits(curve, others) + abs(_bulge(curve)))


def _self_arrow(box: Rect) -> Curve:
    """A variable that predicts itself: a loop over its upper right corner."""
    return Curve((box.x + 8, box.top), (box.x + 10, box.top - 46), (box.right + 46, box.y - 10), (box.right, box.y - 4))


def _direction(source: Point, target: Point) -> float:
    return math.atan2(target[1] - source[1], target[0] - source[0])


def _joined(graph: Graph, layout: DiagramLayout, edge: Edge, bend: float) -> Curve:
    """A bent curve from border to border, which leaves each box in its own direction."""
    source, target = layout.boxes[edge.source], layout.boxes[edge.target]
    middle = bent((source.x, source.y), (target.x, target.y), bend)
    start = border(source, _direction((source.x, source.y), middle.first), edge.source in graph.latent)
    end = border(target, _direction((target.x, target.y), middle.second), edge.target in graph.latent)
    return bent(start, end, bend)


def _bulge(curve: Curve) -> float:
    middle = curve.at(0.5)
    return math.dist(middle, ((curve.start[0] + curve.end[0]) / 2, (curve.start[1] + curve.end[1]) / 2))


def _other_boxes(layout: DiagramLayout, edge: Edge) -> list[Rect]:
    return [box.grown(5.0) for name, box in layout.boxes.items() if name not in (edge.source, edge.target)]


def _hits(curve: Curve, boxes: list[Rect]) -> int:
    points = curve.sample()
    return sum(box.count_inside(points) > 0 for box in boxes)


def _arc_ports(graph: Graph, layout: DiagramLayout, outer: dict[Edge, float]) -> dict[tuple[Edge, str], Point]:
    """Ends of the outer arcs: on each side of the middle, the shorter arcs stand farther out, so that they nest."""
    ports: dict[tuple[Edge, str], Point] = {}
    names = {name for edge in outer for name in (edge.source, edge.target)}
    for name in names:
        for side in (-1.0, 1.0):
            mine = [e for e in outer if name in (e.source, e.target) and _toward(layout, e, name) == side]
            mine.sort(key=lambda e: _span(layout, e), reverse=True)
            for i, edge in enumerate(mine):
                share = (i + 0.5) / len(mine)
                ports[edge, name] = _arc_port(graph, layout, name, outer[edge], side, share)
    return ports


def _span(layout: DiagramLayout, edge: Edge) -> float:
    return abs(layout.cross(edge.source) - layout.cross(edge.target))


def _toward(layout: DiagramLayout, edge: Edge, name: str) -> float:
    other = edge.target if edge.source == name else edge.source
    return math.copysign(1.0, layout.cross(other) - layout.cross(name))


def _arc_port(graph: Graph, layout: DiagramLayout, name: str, sign: float, side: float, share: float) -> Point:
    """A point on the outer side, `share` of the way from its middle to its end on the given side."""
    box = layout.boxes[name]
    down = layout.flow == "down"
    if name in graph.latent:
        normal = math.atan2(*reversed(along(layout, sign)))
        tilt = side * math.radians(14 + 42 * share)
        point = (normal - sign * tilt) if down else (normal + sign * tilt)
        return border(box, point, True)
    half = (box.width if down else box.height) / 2
    shift = side * (0.5 + 0.42 * share) * half
    return (box.x + shift, box.y + sign * box.height / 2) if down else (box.x + sign * box.width / 2, box.y + shift)


def _outer_arc(layout: DiagramLayout, edge: Edge, sign: float, ports: dict[tuple[Edge, str], Point]) -> Curve:
    start, end = ports[edge, edge.source], ports[edge, edge.target]
    order = layout.order(layout.ranks[edge.source])
    steps = abs(order.index(edge.source) - order.index(edge.target))
    dx, dy = along(layout, sign)
    depth = _depth(layout, edge, steps)
    return Curve(
        start,
        (start[0] + dx * depth, start[1] + dy * depth),
        (end[0] + dx * depth, end[1] + dy * depth),
        end,
    )


def _depth(layout: DiagramLayout, edge: Edge, steps: int) -> float:
    """How far the control points stand out; indicators leave room for their residuals."""
    box = layout.boxes[edge.source]
    across = box.height if layout.flow == "down" else box.width
    small = (across <= 60 and layout.flow == "down") or (across < 110 and box.height < 45)
    step = 24.0 if small else 58.0
    sideways = 12.0 if layout.flow == "right" else 0.0
    return 58.0 + sideways + (step + sideways / 3) * float(steps) ** 0.92


def _inner_arc(graph: Graph, layout: DiagramLayout, edge: Edge, drawn: list[Curve]) -> Curve:
    """Between ranks, or in a middle rank: of many arcs the one that meets the fewest boxes and lines."""
    source, target = layout.boxes[edge.source], layout.boxes[edge.target]
    length = math.dist((source.x, source.y), (target.x, target.y))
    others = _other_boxes(layout, edge)
    curves = [_joined(graph, layout, edge, bend * length) for bend in BENDS[1:]]
    lines = np.concatenate([curve.sample(25) for curve in drawn]) if drawn else np.zeros((0, 2))
    return min(curves, key=lambda c: 1000 * _hits(c, others) + 6 * _near(c, lines) + 0.4 * _bulge(c) + _side(layout, c))


def _side(layout: DiagramLayout, curve: Curve) -> float:
    """A small price for bending with the flow, so that neighbours bend alike."""
    (x, y), axis = curve.at(0.5), along(layout, 1.0)
    chord = ((curve.start[0] + curve.end[0]) / 2, (curve.start[1] + curve.end[1]) / 2)
    return 10.0 if (x - chord[0]) * axis[0] + (y - chord[1]) * axis[1] > 0 else 0.0


def _near(curve: Curve, lines: np.ndarray) -> int:
    """How many points of the other lines come close to the curve, away from its ends."""
    points = curve.sample(25)[4:-4]
    if not len(lines):
        return 0
    squared = ((points[:, None, :] - lines[None, :, :]) ** 2).sum(axis=-1)
    return int((squared.min(axis=1) < 49.0).sum())
