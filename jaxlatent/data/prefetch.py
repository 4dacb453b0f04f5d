"""Work of an iterator done ahead, in one background thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

T = TypeVar("T")
WAIT = 0.05  # seconds between looks at whether the other side is still there


def prefetched(make: Callable[[], Iterator[T]], ahead: int) -> Iterator[T]:
    """What make() yields, at most this many items ahead.

    An exception of the iterator is raised here, after the items before it. The thread ends, and the iterator is closed,
    when this generator is closed or forgotten.
    """
    queue: Queue[tuple[str, Any]] = Queue(ahead)
    stop = Event()
    thread = Thread(target=_fill, args=(make, queue, stop), name="jaxlatent-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = _take(queue, thread)
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stop.set()
        thread.join()


def _take(queue: Queue[tuple[str, Any]], thread: Thread) -> tuple[str, Any]:
    while True:
        try:
            return queue.get(timeout=1.0)
        except Empty:
            if not thread.is_alive() and queue.empty():
                raise RuntimeError("The thread that reads the data ended without saying why.") from None


def _fill(make: Callable[[], Iterator[Any]], queue: Queue[tuple[str, Any]], stop: Event) -> None:
    def put(kind: str, value: Any) -> bool:
        while not stop.is_set():
            try:
                queue.put((kind, value), timeout=WAIT)
                return True
            except Full:
                continue
        return False

    try:
        source = make()
        for item in source:
            if not put("item", item):
                close = getattr(source, "close", None)
                if close is not None:
                    close()
                return
        put("end", None)
    except BaseException as error:
        put("error", error)
