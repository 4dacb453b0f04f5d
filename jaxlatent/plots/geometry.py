"""Plane geometry of the path diagram: boxes and cubic Bézier curves."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

Point = tuple[float, float]


@dataclass(frozen=True)
class Rect:
    """A rectangle by its centre and sizes; y grows downward."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height / 2

    def moved(self, dx: float, dy: float) -> Rect:
        return replace(self, x=self.x + dx, y=self.y + dy)

    def grown(self, margin: float) -> Rect:
        return Rect(self.x, self.y, self.width + 2 * margin, self.height + 2 * margin)

    def overlap(self, other: Rect) -> float:
        """Area shared with the other rectangle."""
        dx = min(self.right, other.right) - max(self.left, other.left)
        dy = min(self.bottom, other.bottom) - max(self.top, other.top)
        return dx * dy if dx > 0 and dy > 0 else 0.0

    def count_inside(self, points: np.ndarray) -> int:
        """How many of the points [n, 2] lie inside."""
        x, y = points[:, 0], points[:, 1]
        inside = (x > self.left) & (x < self.right) & (y > self.top) & (y < self.bottom)
        return int(inside.sum())


@dataclass(frozen=True)
class Curve:
    """A cubic Bézier curve from `start` to `end`."""

    start: Point
    first: Point
    second: Point
    end: Point

    def at(self, t: float) -> Point:
        """The point at t in [0, 1]."""
        x, y = self.points(np.array([t]))[0]
        return float(x), float(y)

    def points(self, t: np.ndarray) -> np.ndarray:
        """Points [n, 2] at each t."""
        control = np.array([self.start, self.first, self.second, self.end])
        s = 1 - t
        basis = np.stack([s**3, 3 * s**2 * t, 3 * s * t**2, t**3], axis=1)
        return np.asarray(basis @ control)

    def sample(self, n: int = 41) -> np.ndarray:
        """n points [n, 2] from start to end."""
        return self.points(np.linspace(0.0, 1.0, n))

    def start_angle(self) -> float:
        """Direction in which the curve leaves its start, radians."""
        return math.atan2(self.first[1] - self.start[1], self.first[0] - self.start[0])

    def end_angle(self) -> float:
        """Direction in which the curve would leave its end, radians."""
        return math.atan2(self.second[1] - self.end[1], self.second[0] - self.end[0])


def line(start: Point, end: Point) -> Curve:
    """A straight line as a curve."""
    return bent(start, end, 0.0)


def bent(start: Point, end: Point, bend: float) -> Curve:
    """A symmetric arc whose middle lies `bend` to the left of the way from start to end."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy) or 1.0
    nx, ny = dy / length, -dx / length
    lift = bend / 0.75
    first = (start[0] + dx / 3 + nx * lift, start[1] + dy / 3 + ny * lift)
    second = (start[0] + 2 * dx / 3 + nx * lift, start[1] + 2 * dy / 3 + ny * lift)
    return Curve(start, first, second, end)


def border(rect: Rect, angle: float, ellipse: bool) -> Point:
    """Where the ray from the centre at this angle leaves the box."""
    a, b = rect.width / 2, rect.height / 2
    c, s = math.cos(angle), math.sin(angle)
    if ellipse:
        r = 1.0 / math.hypot(c / a, s / b)
    else:
        r = min(a / abs(c) if abs(c) > 1e-9 else math.inf, b / abs(s) if abs(s) > 1e-9 else math.inf)
    return rect.x + r * c, rect.y + r * s


def angle_between(first: float, second: float) -> float:
    """The smaller angle between two directions, in [0, π]."""
    difference = abs(first - second) % (2 * math.pi)
    return min(difference, 2 * math.pi - difference)
