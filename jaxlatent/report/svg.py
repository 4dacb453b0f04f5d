"""Small pictures for the report, written as SVG by hand: a heat map and a forest plot."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd

from jaxlatent.report import palette
from jaxlatent.report.markup import FONT

CELL = 34.0
MOST_NUMBERS = 20
SMALLEST_LIMIT = 0.1


def heat_map(matrix: pd.DataFrame) -> str:
    """The lower triangle of residual correlations; colours are centred at zero."""
    names = [str(name) for name in matrix.columns]
    values = matrix.to_numpy(dtype=float)
    finite = np.abs(values[np.isfinite(values)])
    limit = max(SMALLEST_LIMIT, float(finite.max()) if finite.size else 0.0)
    cell = CELL if len(names) <= MOST_NUMBERS else max(12.0, 680.0 / len(names))
    left = max([palette.text_width(name, 11.0) for name in names], default=0.0) + 12.0
    parts = []
    for row, name in enumerate(names):
        y = row * cell
        parts.append(_text(left - 6, y + cell / 2 + 4, name, "end", 11.0 if cell > 14 else 9.0))
        parts += [_cell(left, row, column, cell, values[row, column], limit, names) for column in range(row + 1)]
    parts += [_column_name(left + (i + 0.5) * cell, len(names) * cell + 8, name) for i, name in enumerate(names)]
    width = left + len(names) * cell + 90
    height = len(names) * cell + left
    parts.append(_scale(left + len(names) * cell + 18, limit))
    return _document(width, max(height, 130.0), "Residual correlations", parts)


def _cell(left: float, row: int, column: int, size: float, value: float, limit: float, names: Sequence[str]) -> str:
    x, y = left + column * size, row * size
    shown = palette.signed(value, 3)
    title = escape(f"{names[row]}, {names[column]}: {shown or 'missing'}")
    box = (
        f'<rect x="{x + 0.75:.1f}" y="{y + 0.75:.1f}" width="{size - 1.5:.1f}" height="{size - 1.5:.1f}" '
        f'fill="{palette.shade(value, limit)}"/>'
    )
    number = ""
    if len(names) <= MOST_NUMBERS and value == value:
        colour = palette.PAPER if abs(value) > 0.65 * limit else palette.INK
        text = palette.correlation(value)
        number = _text(x + size / 2, y + size / 2 + 3.5, text, "middle", 9.5, colour)
    return f"<g><title>{title}</title>{box}{number}</g>"


def _column_name(x: float, y: float, name: str) -> str:
    size = 10.0
    return (
        f'<text transform="translate({x + 3.5:.1f} {y:.1f}) rotate(-90)" font-size="{size}" text-anchor="end" '
        f'fill="{palette.INK}">{escape(name)}</text>'
    )


def _scale(x: float, limit: float) -> str:
    steps = 21
    shades = [
        f'<rect x="{x:.1f}" y="{6 + i * 5}" width="12" height="5.3" '
        f'fill="{palette.shade(limit * (1 - 2 * i / (steps - 1)), limit)}"/>'
        for i in range(steps)
    ]
    ends = ((12.0, limit), (6 + steps * 2.5 + 3.5, 0.0), (6 + steps * 5.0, -limit))
    return "".join(shades) + "".join(_text(x + 17, y, palette.signed(v), "start", 9.5, palette.MUTED) for y, v in ends)


def forest(names: Sequence[str], values: Sequence[float], low: Sequence[float], high: Sequence[float]) -> str:
    """Points with intervals, one a line; NaN limits draw the point alone."""
    left = max([palette.text_width(name, 11.0) for name in names], default=0.0) + 16.0
    numbers = [v for v in (*values, *low, *high) if v == v]
    start, end = min(0.0, *numbers), max(1.0, *numbers)
    width, row = 420.0, 19.0

    def at(value: float) -> float:
        return left + (value - start) / (end - start) * width

    height = row * len(names) + 12
    parts = [_tick(at(tick), height, tick) for tick in np.arange(np.ceil(start * 4) / 4, end + 1e-9, 0.25)]
    for i, (name, value, lower, upper) in enumerate(zip(names, values, low, high, strict=True)):
        parts.append(_interval(name, left, (i + 0.5) * row + 6, value, lower, upper, at))
    return _document(left + width + 130, height + 22, "Standardized loadings", parts)


def _tick(x: float, height: float, value: float) -> str:
    dash = "" if abs(value) < 1e-9 else ' stroke-dasharray="2 3"'
    line = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{height:.1f}" stroke="{palette.GRID}"{dash}/>'
    return line + _text(x, height + 14, palette.signed(float(value)), "middle", 9.5, palette.MUTED)


def _interval(name: str, left: float, y: float, value: float, low: float, high: float, at: object) -> str:
    place = at if callable(at) else float
    colour = palette.NEGATIVE if value < 0 else palette.POSITIVE
    line, text = "", palette.signed(value)
    if low == low and high == high:
        line = (
            f'<line x1="{place(low):.1f}" x2="{place(high):.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" '
            'stroke-width="2" stroke-opacity="0.55"/>'
        )
        text += f"  [{palette.signed(low)}, {palette.signed(high)}]"
    dot = f'<circle cx="{place(value):.1f}" cy="{y:.1f}" r="3.6" fill="{colour}"/>'
    label = _text(left - 10, y + 4, name, "end", 11.0)
    return f"<g>{label}{line}{dot}{_text(left + 432, y + 3.5, text, 'start', 9.5, palette.MUTED)}</g>"


def _text(x: float, y: float, text: str, anchor: str, size: float, colour: str = palette.INK) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:.1f}" text-anchor="{anchor}" fill="{colour}" '
        f'xml:space="preserve">{escape(text)}</text>'
    )


def _document(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" font-family="{FONT}"><title>{escape(title)}</title>\n{body}\n</svg>'
    )
