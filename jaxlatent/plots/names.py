"""Names and sizes of the boxes: long names shrink, then break, then lose their middle."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from jaxlatent.plots.style import NAME_SIZE, text_width

SMALLEST = 9.5
OBSERVED_MAX = 104.0
LATENT_MAX = 118.0


@dataclass(frozen=True)
class FittedName:
    """A name as it is drawn."""

    lines: tuple[str, ...]
    size: float

    @property
    def width(self) -> float:
        return max(text_width(line, self.size) for line in self.lines)

    @property
    def height(self) -> float:
        return len(self.lines) * self.size * 1.15


def fit_name(name: str, room: float) -> FittedName:
    """The name in at most `room` units of width."""
    size = NAME_SIZE
    while size > SMALLEST + 1.5 and text_width(name, size) > room:
        size -= 0.5
    if text_width(name, size) <= room:
        return FittedName((name,), size)
    lines = _break(name)
    if len(lines) == 1:
        lines = (name,)
    widest = max(lines, key=lambda line: text_width(line, 1.0))
    size = max(SMALLEST, min(NAME_SIZE - 1.5, room / text_width(widest, 1.0)))
    return FittedName(tuple(_shorten(line, size, room) for line in lines), size)


def _break(name: str) -> tuple[str, ...]:
    """Two lines of similar length, broken after a separator or before a capital."""
    places = [
        i + 1
        for i, (left, right) in enumerate(pairwise(name))
        if left in "_-. :/" or (left.islower() and right.isupper())
    ]
    if not places:
        return (name,)
    middle = min(places, key=lambda i: abs(i - len(name) / 2))
    return name[:middle].rstrip(), name[middle:].lstrip()


def _shorten(line: str, size: float, room: float) -> str:
    """The line with an ellipsis in its middle if it does not fit."""
    if text_width(line, size) <= room:
        return line
    kept = len(line) - 1
    while kept > 2 and text_width(_elided(line, kept), size) > room:
        kept -= 1
    return _elided(line, kept)


def _elided(line: str, kept: int) -> str:
    head = (kept + 1) // 2
    return line[:head] + "\N{HORIZONTAL ELLIPSIS}" + line[len(line) - (kept - head) :]


def box_size(name: str, is_latent: bool, detail: bool) -> tuple[float, float]:
    """Width and height of a variable's box; `detail` leaves room for a line with its intercept."""
    fitted = fit_name(name, LATENT_MAX if is_latent else OBSERVED_MAX)
    extra = 13.0 if detail else 0.0
    if is_latent:
        return max(78.0, fitted.width + 32.0), max(46.0, fitted.height + 26.0 + extra)
    return max(46.0, fitted.width + 18.0), max(28.0, fitted.height + 12.0 + extra)
