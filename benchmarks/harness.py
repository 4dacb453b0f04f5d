"""Timing, one table in two dresses, and the verdict: nothing here knows a model."""

from __future__ import annotations

import argparse
import math
import os
import platform
import shlex
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

SEED = 20240501
REPEAT = 21
PACKAGES = ("jaxlatent", "jax", "jaxlib", "numpy", "scipy", "pandas", "semopy")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "XLA_FLAGS")


class Options(NamedTuple):
    """What a row may be asked: warm repetitions at most, and the seed of everything random."""

    repeat: int = REPEAT
    seed: int = SEED


class Timing(NamedTuple):
    """Seconds: median and least of n warm runs, and the first run, which compiles (nan where it was not taken)."""

    median: float
    least: float
    n: int
    first: float = math.nan


class Fact(NamedTuple):
    """One statement about accuracy. ok is None where nothing depends on it."""

    text: str
    ok: bool | None = None


class Peer(NamedTuple):
    """Another program at the same work; quoted where its seconds were measured elsewhere."""

    name: str
    seconds: float
    quoted: bool


@dataclass(frozen=True)
class Result:
    """What a row found; seconds that have no meaning are a Timing of nan."""

    timing: Timing
    facts: tuple[Fact, ...] = ()
    peers: tuple[Peer, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """A row of the table: its name, what is done, the aim in seconds (None: no aim), and how it is measured."""

    name: str
    what: str
    aim: float | None
    measure: Callable[[Options], Result]


@dataclass(frozen=True)
class Row:
    """A benchmark and its result, or the sentence that says why there is none."""

    benchmark: Benchmark
    result: Result | None
    error: str = ""

    @property
    def misses(self) -> tuple[str, ...]:
        """What this row fell short of, empty where all aims are met."""
        if self.result is None:
            return (f"failed: {self.error}",)
        aim, took = self.benchmark.aim, self.result.timing.median
        late = () if aim is None or took <= aim else (f"{seconds(took)} against an aim of {seconds(aim)}",)
        return late + tuple(fact.text for fact in self.result.facts if fact.ok is False)


# ---- measuring --------------------------------------------------------------------------------------------------


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds of one call, and what it returned."""
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def summarise(times: Sequence[float], first: float = math.nan) -> Timing:
    """Median and minimum of warm times."""
    return Timing(statistics.median(times), min(times), len(times), first)


def measure(work: Callable[[Any], Any], n: int, prepare: Callable[[], Any] = lambda: None) -> tuple[Timing, Any]:
    """n warm runs of work(prepare()), of which only work is timed, after a first run that compiles and one more."""
    first, value = timed(partial(work, prepare()))
    work(prepare())
    times = []
    for _ in range(n):
        took, value = timed(partial(work, prepare()))
        times.append(took)
    return summarise(times, first), value


def run(benchmarks: Iterable[Benchmark], options: Options, say: Callable[[str], None] = lambda _: None) -> list[Row]:
    """Measure one after the other; a row that raises becomes a row with an error."""
    rows = []
    for benchmark in benchmarks:
        say(benchmark.name)
        try:
            rows.append(Row(benchmark, benchmark.measure(options)))
        except Exception as error:
            say(traceback.format_exc())
            rows.append(Row(benchmark, None, f"{type(error).__name__}: {' '.join(str(error).split())}"))
    return rows


def select(benchmarks: Sequence[Benchmark], only: Sequence[str], skip: Sequence[str]) -> list[Benchmark]:
    """The benchmarks that a name or pattern (cfa_*) of only asks for, less those of skip; all where only is empty.

    Raises ValueError for a pattern that matches nothing.
    """
    names = [b.name for b in benchmarks]
    for pattern in (*only, *skip):
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"Expected the name of a row, one of {', '.join(names)}; got {pattern!r}.")
    wanted = [b for b in benchmarks if not only or any(fnmatchcase(b.name, p) for p in only)]
    return [b for b in wanted if not any(fnmatchcase(b.name, p) for p in skip)]


# ---- the machine ------------------------------------------------------------------------------------------------


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed(package: str) -> str:
    """Its version, or a dash."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"


def header(options: Options) -> dict[str, str]:
    """What the times depend on, besides the code."""
    threads = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ]
    load = f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"
    packages = ", ".join(f"{name} {installed(name)}" for name in PACKAGES)
    return {
        "versions": f"Python {platform.python_version()}, {packages}",
        "machine": f"{cores()} cores, {platform.machine()}, {platform.system()}; load when started {load}",
        "threads": ", ".join(threads) or f"not limited: XLA and BLAS may use all {cores()} cores",
        "seed": str(options.seed),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "times": f"wall time, warm; median and minimum of at most {options.repeat} runs (n); first: the first run in"
        " this process, compilation included",
    }


# ---- the table --------------------------------------------------------------------------------------------------

COLUMNS = ("row", "what is done", "median", "min", "n", "first", "aim", "peer", "peer / ours", "accuracy")


def seconds(value: float) -> str:
    """Three digits with a unit; empty for nan."""
    if math.isnan(value):
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size or unit == "us":
            scaled = value / size
            return f"{scaled:.3g} {unit}" if scaled < 999.5 else f"{scaled:.0f} {unit}"
    return ""


def cells(row: Row) -> tuple[str, ...]:
    """One row of the table as text."""
    b, found = row.benchmark, row.result
    aim = "" if b.aim is None else f"{seconds(b.aim)} {'MISSED' if row.misses and _late(row) else 'met'}"
    if found is None:
        return (b.name, b.what, "", "", "", "", aim, "", "", f"FAILED: {row.error}")
    t = found.timing
    took = (seconds(t.median), seconds(t.least), str(t.n), seconds(t.first))
    peers = "; ".join(f"{p.name} {seconds(p.seconds)}{' (quoted)' if p.quoted else ''}" for p in found.peers)
    ratios = "; ".join(f"{p.seconds / t.median:.3g}" for p in found.peers)
    facts = "; ".join(fact.text + (" (MISSED)" if fact.ok is False else "") for fact in found.facts)
    return (b.name, b.what, *took, aim, peers, ratios, facts)


def _late(row: Row) -> bool:
    aim = row.benchmark.aim
    return row.result is None or (aim is not None and row.result.timing.median > aim)


def as_text(head: dict[str, str], rows: Sequence[Row]) -> str:
    """The table for a terminal: short columns in lines, accuracy and peers below each."""
    table = [cells(row) for row in rows]
    short = [(c[0], *c[2:7]) for c in table]
    names = (COLUMNS[0], *COLUMNS[2:7])
    widths = [max(len(line[k]) for line in (names, *short)) for k in range(len(names))]
    fit = lambda line: "  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip()  # noqa: E731
    out = [f"{name}: {value}" for name, value in head.items()] + ["", fit(names), fit(["-" * w for w in widths])]
    for line, (_, what, *_, peer, ratio, accuracy) in zip(short, table, strict=True):
        out += [fit(line), f"    {what}"]
        out += [f"    peer: {peer} | peer / ours: {ratio}"] if peer else []
        out += [f"    accuracy: {accuracy}"] if accuracy else []
    return "\n".join(out)


def as_markdown(title: str, command: str, head: dict[str, str], rows: Sequence[Row]) -> str:
    """The same as a page of the documentation."""
    line = lambda texts: "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"  # noqa: E731
    out = [f"# {title}", "", "Made by:", "", "```sh", command, "```", ""]
    out += [f"- {name}: {value}" for name, value in head.items()]
    out += ["", line(COLUMNS), line(["---"] * len(COLUMNS)), *(line(cells(row)) for row in rows)]
    missed = [f"- {row.benchmark.name}: {text}" for row in rows for text in row.misses]
    out += ["", "Every aim is met.", ""] if not missed else ["", "Aims that are missed:", "", *missed, ""]
    return "\n".join(out)


# ---- the command ------------------------------------------------------------------------------------------------


def _parser(module: str, about: str, rows: Sequence[Benchmark]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("--check", action="store_true", help="end with 1 where a row misses an aim of time or accuracy")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table there, as Markdown")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help=f"of {', '.join(b.name for b in rows)}")
    parser.add_argument("--skip", nargs="+", default=[], metavar="NAME", help="rows to leave out; names may have *")
    parser.add_argument("--repeat", type=_count, default=REPEAT, metavar="N", help="warm repetitions at most")
    parser.add_argument("--seed", type=int, default=SEED, help="of everything random")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number; got {text!r}")
    return int(text)


def command(module: str, about: str, benchmarks: Sequence[Benchmark], argv: Sequence[str] | None) -> int:
    """Parse, measure, print, and return the exit code of ``python -m <module>``."""
    parser = _parser(module, about, benchmarks)
    given = parser.parse_args(argv)
    try:
        chosen = select(benchmarks, given.only, given.skip)
    except ValueError as error:
        parser.error(str(error))
    options = Options(given.repeat, given.seed)
    head = header(options)
    rows = run(chosen, options, say=lambda text: print(f"... {text}", file=sys.stderr, flush=True))
    print(as_text(head, rows))
    if given.markdown:
        words = shlex.join(["python", "-m", module, *_without_file(argv)])
        given.markdown.write_text(as_markdown("Benchmarks", words, head, rows), encoding="utf-8")
    missed = [row for row in rows if row.misses]
    for row in missed:
        print(f"\n{row.benchmark.name} misses: {'; '.join(row.misses)}")
    return int(given.check and bool(missed))


def _without_file(argv: Sequence[str] | None) -> list[str]:
    """The arguments without --markdown FILE, which says where a page lies and not how it was measured."""
    words = list(sys.argv[1:] if argv is None else argv)
    at = next((k for k, word in enumerate(words) if word == "--markdown"), None)
    return words if at is None else words[:at] + words[at + 2 :]
