"""One look for every picture: colours, fonts and widths of text."""

from __future__ import annotations

import math

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"

INK = "#1f2933"
MUTED = "#6b7785"
PAPER = "#ffffff"
GRID = "#d9dee4"
POSITIVE = "#2b5c8a"
NEGATIVE = "#b8472a"
LATENT_FILL = "#e6eef7"
LATENT_EDGE = "#2b5c8a"
OBSERVED_FILL = "#f7f7f5"
OBSERVED_EDGE = "#4a5560"

CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b7785")
"""Okabe and Ito's colours, which stay apart for colour-blind readers."""

DIVERGING = ("#b8472a", "#ffffff", "#2b5c8a")
"""Negative, zero, positive."""

NAME_SIZE = 13.0
VALUE_SIZE = 11.0

_NARROW = set("iljI.,:;'|!()[] ft-r/")
_WIDE = set("mwMW@%ABCDEFGHKNOPQRSTUVXYZ&")


def text_width(text: str, size: float) -> float:
    """Width of text in a sans-serif face, on the generous side of the common ones (units of `size`)."""
    total = 0.0
    for character in text:
        if character in _NARROW:
            total += 0.38
        elif character in _WIDE:
            total += 0.80
        elif ord(character) > 0x2E7F:
            total += 1.0
        else:
            total += 0.61
    return total * size


def mix(first: str, second: str, share: float) -> str:
    """The colour `share` of the way from the first to the second, both "#rrggbb"."""
    a, b = (tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in (first, second))
    return "#" + "".join(f"{round(x + (y - x) * share):02x}" for x, y in zip(a, b, strict=True))


def diverging(value: float, limit: float) -> str:
    """A colour between negative, white and positive; grey where there is no number."""
    if math.isnan(value):
        return GRID
    share = min(abs(value) / limit, 1.0) if limit > 0 else 0.0
    negative, zero, positive = DIVERGING
    return mix(zero, positive if value > 0 else negative, share)


def number(value: float, digits: int = 2, *, leading_zero: bool = True) -> str:
    """Fixed decimals with a true minus sign; without the leading zero where asked ("−.45")."""
    if math.isnan(value):
        return ""
    text = f"{abs(value):.{digits}f}"
    sign = "\N{MINUS SIGN}" if value < 0 and float(text) != 0 else ""
    if not leading_zero and text.startswith("0."):
        text = text[1:]
    return sign + text
