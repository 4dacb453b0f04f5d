"""One fit in a process of its own, as a user starts it: ``python -m benchmarks.amortized_cold SET ENGINE``.

Prints a line of JSON: seconds to import the library, to load the data, of the fit, and of all that together.
``python -m benchmarks.amortized`` measures the whole process from outside, without and with programs on disk.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.cold import process


class Cold(NamedTuple):
    """Wall seconds of the whole process with nothing on disk, and with compiled programs on disk (nan: not run)."""

    first: float
    again: float


def cold(name: str, engine: str, *, on_disk: bool = True) -> Cold:
    """A process without a cache; then, if asked for, one that fills a folder of programs and one that finds them."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.amortized_cold", name, engine]
        plain, _ = process(command, folder)
        if not on_disk:
            return Cold(plain, math.nan)
        cache = str(Path(folder) / "programs")
        process([*command, "--cache", cache], folder)
        again, _ = process([*command, "--cache", cache], folder)
    return Cold(plain, again)


def main(argv: Sequence[str] | None = None) -> int:
    """Import, load, fit, and say how long each took."""
    started = time.perf_counter()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.amortized_cold", description=__doc__)
    parser.add_argument("name", metavar="SET")
    parser.add_argument("engine", metavar="ENGINE")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="of compiled programs")
    given = parser.parse_args(argv)
    import jaxlatent as jl
    from benchmarks.amortized_sets import engine_of, load

    if given.cache:
        jl.enable_compilation_cache(given.cache)
    imported = time.perf_counter()
    case = load(given.name)
    loaded = time.perf_counter()
    case.model.fit(case.data, engine_of(given.engine), progress=False)
    done = time.perf_counter()
    found = {"import": imported - started, "load": loaded - imported, "fit": done - loaded, "all": done - started}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
