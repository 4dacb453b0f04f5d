"""One thread for NumPy's and SciPy's linear algebra, for a while."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple


class Pool(NamedTuple):
    """The thread pool of one copy of OpenBLAS: how many threads it uses, and how to set that."""

    get: Callable[[], int]
    set: Callable[[int], None]


_lock = Lock()
_before: list[int] = []  # threads of each pool before the first who asked for one
_asking = [0]


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenBLAS without threads of its own inside; where it is not found (other systems, other libraries), nothing.

    XLA's matrices are factored by SciPy's OpenBLAS. Its threads, and those of NumPy's, spin for some 25 ms after each
    call, beside compiled programs that want the cores; for the sizes here they save less than they take. It is a
    setting of the process: what other Python threads compute meanwhile is right, on one thread.
    """
    pools = _pools()
    with _lock:
        _asking[0] += 1
        if _asking[0] == 1:
            _before[:] = [pool.get() for pool in pools]
            for pool in pools:
                pool.set(1)
    try:
        yield
    finally:
        with _lock:
            _asking[0] -= 1
            if _asking[0] == 0:
                for pool, n in zip(pools, _before, strict=True):
                    pool.set(n)


@cache
def _pools() -> tuple[Pool, ...]:
    """Those of the libraries this process has loaded."""
    import scipy.linalg  # noqa: F401  XLA would load it later

    maps = Path("/proc/self/maps")
    if not maps.exists():
        return ()
    paths = {line.split(maxsplit=5)[-1] for line in maps.read_text().splitlines() if "openblas" in line}
    return tuple(pool for path in sorted(paths) for pool in _pools_of(path))


def _pools_of(path: str) -> Iterator[Pool]:
    """The pool behind the names OpenBLAS is built with, if there is one."""
    try:
        library = ctypes.CDLL(path)
    except OSError:
        return
    for prefix in ("scipy_", ""):
        for suffix in ("64_", "_64", ""):
            get, put = (f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set"))
            if hasattr(library, get) and hasattr(library, put):
                yield Pool(getattr(library, get), getattr(library, put))
                return
