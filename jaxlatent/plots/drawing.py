"""The SVG of a path diagram, element by element."""

from __future__ import annotations

import math
from html import escape

from jaxlatent.plots import style
from jaxlatent.plots.geometry import Curve, Point, Rect
from jaxlatent.plots.names import LATENT_MAX, OBSERVED_MAX, fit_name


def coordinates(*values: float) -> str:
    """Numbers with at most one decimal, separated by spaces."""
    return " ".join(f"{value:.1f}".removesuffix(".0") for value in values)


def box(name: str, rect: Rect, is_latent: bool, detail: str) -> str:
    """A variable: an ellipse or a rectangle with its name, and its intercept below."""
    if is_latent:
        shape = (
            f'<ellipse cx="{rect.x:.1f}" cy="{rect.y:.1f}" rx="{rect.width / 2:.1f}" ry="{rect.height / 2:.1f}" '
            f'fill="{style.LATENT_FILL}" stroke="{style.LATENT_EDGE}" stroke-width="1.4"/>'
        )
    else:
        shape = (
            f'<rect x="{rect.left:.1f}" y="{rect.top:.1f}" width="{rect.width:.1f}" height="{rect.height:.1f}" rx="2" '
            f'fill="{style.OBSERVED_FILL}" stroke="{style.OBSERVED_EDGE}" stroke-width="1.2"/>'
        )
    kind = "latent" if is_latent else "observed"
    return (
        f'<g class="{kind}" data-name="{escape(name)}"><title>{escape(name)}</title>{shape}'
        f"{_name(name, rect, is_latent, bool(detail))}{detail}</g>"
    )


def _name(name: str, rect: Rect, is_latent: bool, has_detail: bool) -> str:
    fitted = fit_name(name, LATENT_MAX if is_latent else OBSERVED_MAX)
    step = fitted.size * 1.15
    top = rect.y - step * (len(fitted.lines) - 1) / 2 - (7.0 if has_detail else 0.0)
    slant = ' font-style="italic"' if is_latent else ""
    return "".join(
        f'<text x="{rect.x:.1f}" y="{top + i * step + 0.35 * fitted.size:.1f}" font-size="{fitted.size:.1f}" '
        f'fill="{style.INK}" text-anchor="middle"{slant}>{escape(line)}</text>'
        for i, line in enumerate(fitted.lines)
    )


def intercept(name: str, rect: Rect, text: str, fixed: bool) -> str:
    """The intercept's line inside a box."""
    y = rect.y + 0.5 * style.NAME_SIZE + 6.0
    note = " (fixed)" if fixed else ""
    return (
        f'<g class="parameter" data-parameter="{escape(name)}"><title>{escape(f"{name}: {text}{note}")}</title>'
        f'<text x="{rect.x:.1f}" y="{y:.1f}" font-size="{style.VALUE_SIZE - 1:.1f}" fill="{style.MUTED}" '
        f'text-anchor="middle">\N{GREEK SMALL LETTER MU} {escape(text)}</text></g>'
    )


def stroke(curve: Curve, *, double: bool, colour: str, width: float, dashed: bool) -> str:
    """A line with its heads; the line stops short so that the heads have sharp points."""
    head = 6.2 + 1.3 * width
    heads = [_head(curve.end, curve.end_angle(), head, colour)]
    if double:
        heads.append(_head(curve.start, curve.start_angle(), head, colour))
    shortened = _shorten(curve, head * 0.75, double)
    dash = ' stroke-dasharray="5 3.5"' if dashed else ""
    return f'<path d="{_path(shortened)}" fill="none" stroke="{colour}" stroke-width="{width:.2f}"{dash}/>' + "".join(
        heads
    )


def _path(curve: Curve) -> str:
    points = (curve.first, curve.second, curve.end)
    return f"M {coordinates(*curve.start)} C " + ", ".join(coordinates(*point) for point in points)


def _shorten(curve: Curve, length: float, both: bool) -> Curve:
    start, end = curve.start, curve.end
    if both:
        start = _step(start, curve.start_angle(), length)
    return Curve(start, curve.first, curve.second, _step(end, curve.end_angle(), length))


def _step(point: Point, angle: float, length: float) -> Point:
    return point[0] + length * math.cos(angle), point[1] + length * math.sin(angle)


def _head(tip: Point, angle: float, length: float, colour: str) -> str:
    """A filled head whose point is the tip; `angle` points back along the line."""
    left, right = _step(tip, angle + 0.36, length), _step(tip, angle - 0.36, length)
    back = _step(tip, angle, length * 0.78)
    corners = " ".join(coordinates(*point).replace(" ", ",") for point in (tip, left, back, right))
    return f'<polygon points="{corners}" fill="{colour}"/>'


def value(rect: Rect, text: str, colour: str) -> str:
    """A number on a patch of paper, centred in its rectangle."""
    common = f'x="{rect.x:.1f}" y="{rect.y + 0.36 * style.VALUE_SIZE:.1f}" text-anchor="middle"'
    size = f'font-size="{style.VALUE_SIZE:.1f}"'
    halo = (
        f'<rect x="{rect.left + 1:.1f}" y="{rect.top + 1:.1f}" width="{rect.width - 2:.1f}" '
        f'height="{rect.height - 2:.1f}" rx="4" fill="{style.PAPER}"/>'
    )
    return f'{halo}<text class="value" {common} {size} fill="{colour}">{escape(text)}</text>'


def heading(text: str, x: float, y: float, size: float) -> str:
    """A title above a picture or a panel."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:.1f}" font-weight="600" fill="{style.INK}" '
        f'text-anchor="middle">{escape(text)}</text>'
    )
