"""Colours and number format of the report's own pictures."""

from __future__ import annotations

import math

INK = "#1f2933"
MUTED = "#5a6672"
PAPER = "#ffffff"
GRID = "#d9dee4"
POSITIVE = "#2b5c8a"
NEGATIVE = "#b8472a"


def text_width(text: str, size: float) -> float:
    """A width that text in a sans-serif face of this size will not pass."""
    return 0.66 * size * len(text)


def shade(value: float, limit: float) -> str:
    """White at zero, full colour at the limit; grey where there is no number."""
    if math.isnan(value):
        return GRID
    share = min(abs(value) / limit, 1.0)
    colour = POSITIVE if value > 0 else NEGATIVE
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 + (channel - 255) * share):02x}" for channel in channels)


def signed(value: float, digits: int = 2) -> str:
    """Fixed decimals with a true minus sign; empty for NaN."""
    if math.isnan(value):
        return ""
    text = f"{abs(value):.{digits}f}"
    return "\N{MINUS SIGN}" + text if value < 0 and float(text) != 0 else text


def correlation(value: float) -> str:
    """Two decimals without the leading zero: "−.45"."""
    text = signed(value)
    return text.replace("0.", ".", 1) if text.lstrip("\N{MINUS SIGN}").startswith("0.") else text
