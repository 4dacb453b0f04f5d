"""Progress bars for what takes over two seconds; silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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


@contextmanager
def step_bar(what: str, shown: bool) -> Iterator[Callable[[str], None]]:
    """A function to call after every step with what to say; it draws a bar of steps where it is to be shown."""
    if not shown:
        yield lambda text: None
        return
    from tqdm.auto import tqdm

    with tqdm(desc=what, unit=" steps") as bar:

        def say(text: str) -> None:
            bar.update()
            bar.set_postfix_str(text)

        yield say
