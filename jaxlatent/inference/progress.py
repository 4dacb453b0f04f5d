"""Progress bars for what takes over two seconds; silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
DELAY = 2.0  # seconds before a bar appears


def track(items: Iterable[T], total: int, what: str, progress: bool | None) -> Iterator[T]:
    """The items, with a bar if progress is True, or None and the error stream is a terminal."""
    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield from items
        return
    from tqdm.auto import tqdm

    yield from tqdm(items, total=total, desc=what, delay=0 if progress else DELAY, leave=False)
