"""One thread for NumPy's and SciPy's linear algebra, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from threading import Lock

from threadpoolctl import ThreadpoolController

_lock = Lock()
_asking = [0]
_limit = ExitStack()


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS without threads of its own inside; the first who asks sets it, the last who leaves sets it back.

    XLA's matrices are factored by SciPy's BLAS. Its threads, and those of NumPy's, spin for some 25 ms after each call,
    beside compiled programs that want the cores; for the sizes here they save less than they take. It is a setting of
    the process: what other Python threads compute meanwhile is right, on one thread.
    """
    with _lock:
        _asking[0] += 1
        if _asking[0] == 1:
            _limit.enter_context(_controller().limit(limits=1, user_api="blas"))
    try:
        yield
    finally:
        with _lock:
            _asking[0] -= 1
            if _asking[0] == 0:
                _limit.close()


@cache
def _controller() -> ThreadpoolController:
    """The thread pools of the libraries this process has loaded."""
    return ThreadpoolController()
