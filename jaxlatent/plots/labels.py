"""Places for the numbers on the lines, so that they meet neither boxes nor one another."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jaxlatent.plots.geometry import Rect
from jaxlatent.plots.routing import Route
from jaxlatent.plots.style import VALUE_SIZE, text_width

POSITIONS = np.linspace(0.2, 0.8, 37)
ROUNDS = 3


def label_rects(
    routes: Sequence[Route], texts: Sequence[str], wishes: Sequence[float], obstacles: Sequence[Rect]
) -> list[Rect]:
    """A rectangle for each text, centred on its line, near the wished place t on it.

    Short lines choose first, as they have the least freedom; a few rounds let earlier choices make room.
    """
    points = [route.curve.sample() for route in routes]
    owner = np.concatenate([np.full(len(p), i) for i, p in enumerate(points)]) if points else np.zeros(0)
    every = np.concatenate(points) if points else np.zeros((0, 2))
    placed: dict[int, Rect] = {}
    order = sorted(range(len(routes)), key=lambda i: math.dist(routes[i].curve.start, routes[i].curve.end))
    for _ in range(ROUNDS):
        for i in order:
            others = [rect for j, rect in placed.items() if j != i]
            placed[i] = _best(routes[i], texts[i], wishes[i], [*obstacles], others, every[owner != i])
    return [placed[i] for i in range(len(routes))]


def _best(route: Route, text: str, wish: float, obstacles: list[Rect], others: list[Rect], lines: np.ndarray) -> Rect:
    width, height = text_width(text, VALUE_SIZE) + 4.0, VALUE_SIZE + 4.0
    best, lowest = Rect(0.0, 0.0, width, height), math.inf
    for t, (x, y) in zip(POSITIONS, route.curve.points(POSITIONS), strict=True):
        rect = Rect(float(x), float(y), width, height)
        cost = _cost(rect, obstacles, others, lines) + 30.0 * abs(float(t) - wish)
        if cost < lowest:
            best, lowest = rect, cost
    return best


def _cost(rect: Rect, obstacles: list[Rect], others: list[Rect], lines: np.ndarray) -> float:
    wide = rect.grown(1.5)
    hit = sum(40.0 + wide.overlap(box) for box in obstacles if wide.overlap(box) > 0)
    hit += sum(60.0 + 2 * wide.overlap(box) for box in others if wide.overlap(box) > 0)
    return hit + 4.0 * wide.count_inside(lines)
