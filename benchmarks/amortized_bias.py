"""Bias of amortized fits by persons and importance samples: ``python -m benchmarks.amortized_bias --store FILE``.

The design of ``benchmarks.recovery`` (graded items with five categories, simple structure, factor correlations 0.3). On
every data set: AmortizedVI, training alone and polished, with R particles, and DeepIRTools with R samples where
--deepirtools-python names the interpreter of its environment (see ``benchmarks.peers_irt``). Bias is away from zero,

    1/J sum_j sign(truth_j) (estimate_j - truth_j),

averaged over replications, with its Monte Carlo error. Each fit goes to the store, a line of JSON, as soon as it is
done; the same command goes on from there, and makes the table of all that the store holds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import jaxlatent as jl
from benchmarks.evaluator import free_vector
from benchmarks.harness import Options, header
from benchmarks.pages import put
from benchmarks.peers_irt import outside, turned
from benchmarks.recovery import Truth, classes

PERSONS, SAMPLES = (500, 1000, 2000, 10000), (1, 5, 25)
OTHER, TRAINED, POLISHED = "DeepIRTools", "AmortizedVI, training alone", "AmortizedVI"
JUDGED = ("intercepts", "factor correlations")


class Run(NamedTuple):
    """One fit: what was done, on which data set, and the free vector; None where it failed."""

    program: str
    persons: int
    samples: int
    replication: int
    free: list[float] | None

    @property
    def place(self) -> tuple[str, int, int, int]:
        return self[:4]


class BiasRow(NamedTuple):
    """One class of parameters of one program: bias, its Monte Carlo error, root mean square error, fits, failures."""

    persons: int
    samples: int
    program: str
    kind: str
    bias: float
    error: float
    rmse: float
    fits: int
    failed: int


class Design(NamedTuple):
    """A truth, its model, the true free vector and the class of each parameter."""

    truth: Truth
    model: Any
    expected: np.ndarray
    kinds: np.ndarray

    @staticmethod
    def of(items: int, factors: int, seed: int) -> Design:
        truth = Truth(items, factors, seed)
        model = jl.IRT("graded", factors=truth.q)
        table = model._prepare(truth.sample(2000, np.random.default_rng(0)), None, None).table
        return Design(truth, model, *classes(table, truth))

    def answers(self, persons: int, replication: int, seed: int) -> np.ndarray:
        """Answers [person, item] of one replication."""
        return self.truth.sample(persons, np.random.default_rng((seed, persons, replication)))


def fitted(design: Design, program: str, y: np.ndarray, samples: int, seed: int, python: str | None) -> np.ndarray:
    """The free vector by one program."""
    if program != OTHER:
        engine = jl.AmortizedVI(particles=samples, polish=program == POLISHED, se="none")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", jl.ModelWarning)
            return np.asarray(design.model.fit(y, engine, key=seed, progress=False)._fitted.free)
    assert python is not None
    with tempfile.TemporaryDirectory() as folder:
        source = str(Path(folder) / "in.npz")
        np.savez(source, y=y, q=design.truth.q)
        found = outside(python, "deepirtools_fit.py", source, str(samples), str(seed + 1))
    return free_vector(design.model._prepare(y, None, None).table, turned(found))


def runs(
    design: Design, done: set[tuple], sizes: Sequence[int], samples: Sequence[int], replications: int, seed: int,
    python: str | None,
) -> Iterator[Run]:  # fmt: skip
    """The fits that are not done yet, replication by replication."""
    programs = (TRAINED, POLISHED, *([OTHER] if python else []))
    for k in range(replications):
        for n in sizes:
            y = design.answers(n, k, seed)
            for r in samples:
                for program in programs:
                    if (program, n, r, k) in done:
                        continue
                    try:
                        free = [float(v) for v in fitted(design, program, y, r, k, python)]
                    except (RuntimeError, ValueError) as error:
                        print(f"{program}, N = {n}, R = {r}, replication {k}: {error}", file=sys.stderr)
                        free = None
                    yield Run(program, n, r, k, free)


def bias_rows(design: Design, found: Sequence[Run]) -> list[BiasRow]:
    """The table of all runs."""
    rows = []
    sign = np.sign(design.expected)
    for n, r, program in sorted({(run.persons, run.samples, run.program) for run in found}):
        own = [run for run in found if (run.persons, run.samples, run.program) == (n, r, program)]
        free = np.array([run.free for run in own if run.free is not None])
        if not len(free):
            continue
        gap = free - design.expected
        for kind in ("slopes", *JUDGED):
            at = design.kinds == kind
            each = (gap[:, at] * sign[at]).mean(1)
            error = float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else np.nan
            rmse = float(np.sqrt((gap[:, at] ** 2).mean()))
            rows.append(BiasRow(n, r, program, kind, float(each.mean()), error, rmse, len(each), len(own) - len(each)))
    return rows


def misses(rows: Sequence[BiasRow]) -> list[str]:
    """Where polished estimates have more bias than DeepIRTools', by more than two Monte Carlo errors of both."""
    by = {(row.persons, row.samples, row.program, row.kind): row for row in rows}
    out = []
    for (n, r, program, kind), other in by.items():
        own = by.get((n, r, POLISHED, kind))
        if program != OTHER or own is None or kind not in JUDGED:
            continue
        if abs(own.bias) > abs(other.bias) + 2 * float(np.hypot(own.error, other.error)):
            out.append(f"N = {n}, R = {r}, {kind}: bias {own.bias:+.4f}, DeepIRTools' {other.bias:+.4f}")
    return out


HEAD = ("persons", "samples", "program", "class", "bias", "+-", "RMSE", "fits", "failed")


def as_markdown(rows: Sequence[BiasRow]) -> str:
    """The table."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for row in rows:
        error = "" if np.isnan(row.error) else f"{row.error:.4f}"
        cells = (*row[:4], f"{row.bias:+.4f}", error, f"{row.rmse:.4f}", row.fits, row.failed)
        lines.append("| " + " | ".join(str(c) for c in cells) + " |")
    return "\n".join(lines)


def stored(store: Path) -> list[Run]:
    """The runs of a store, the last of each place."""
    lines = store.read_text(encoding="utf-8").splitlines() if store.exists() else []
    read = [Run(**json.loads(line)) for line in lines]
    return list({run.place: run for run in read}.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the store lacks, print the table, and return 1 with --check where an aim is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.amortized_bias", description=__doc__)
    parser.add_argument("--store", type=Path, required=True, metavar="FILE", help="fits that are done, JSON lines")
    parser.add_argument("--persons", type=int, nargs="*", default=list(PERSONS), metavar="N", help="none: table only")
    parser.add_argument("--samples", type=int, nargs="+", default=list(SAMPLES), metavar="R")
    parser.add_argument("--replications", type=int, default=10, metavar="K")
    parser.add_argument("--items", type=int, default=50)
    parser.add_argument("--factors", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deepirtools-python", metavar="PATH")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    given = parser.parse_args(argv)
    design = Design.of(given.items, given.factors, given.seed)
    found = stored(given.store)
    todo = runs(design, {run.place for run in found if run.free is not None}, given.persons, given.samples,
                given.replications, given.seed, given.deepirtools_python)  # fmt: skip
    for run in todo:
        with given.store.open("a", encoding="utf-8") as file:
            file.write(json.dumps(run._asdict()) + "\n")
    rows = bias_rows(design, stored(given.store))
    missed = misses(rows)
    head = "\n".join(f"- {k}: {v}" for k, v in header(Options(1, given.seed)).items() if k != "times")
    said = "\n".join(["", "More bias than DeepIRTools:", "", *(f"- {text}" for text in missed)]) if missed else ""
    text = f"J = {given.items}, D = {given.factors}.\n\n{head}\n\n{as_markdown(rows)}\n{said}"
    print(text)
    if given.markdown:
        put(given.markdown, "bias", text)
    return int(given.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
