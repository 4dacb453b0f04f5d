"""How fast and how exact amortized inference is: ``python -m benchmarks.amortized [--check] [--large]``.

Every row's parameters are scored by one evaluator (``benchmarks.evaluator``). Distance: root mean square of (estimate -
maximum) / standard error over all free parameters, from maxima that long runs found once (benchmarks/maxima). Cold: a
whole process that imports, loads and fits, with nothing on disk; for rows with an aim also with the compiled programs
of an earlier one on disk.

Instead of these rows: --large, those that take many minutes (a million persons from Parquet); --guides [SET ...], free,
semi-amortized and amortized guides of every family at the same parameters; --picture FILE, accuracy against time.
--markdown FILE puts each table in its place of docs/benchmarks_amortized.md, or in a file of its own.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import amortized_picture, guide_table, harness, irt_sets, overhead, pages
from benchmarks.amortized_cold import cold
from benchmarks.amortized_sets import engine_of, load
from benchmarks.evaluator import log_likelihood
from benchmarks.harness import Benchmark, Fact, Options, Peer, Result, measure, seconds
from benchmarks.streaming import measure_streaming

CLOSE = 0.1  # standard errors
COLD = 10.0  # seconds of the whole process
OVERHEAD = 1.1
STEPS = 300
DEEP = {
    "m2pl_N10000_J50_D5": (Peer("DeepIRTools, 10 importance samples", 55.9, True),),
    "grm_N10000_J50_D5": (Peer("DeepIRTools, 10 importance samples", 54.3, True),),
}


def fitted(
    options: Options, name: str, engine: str, aim: float | None = None, cold_aim: float | None = None,
    with_cold: bool = False,
) -> Result:  # fmt: skip
    """model.fit of a set, warm; its parameters scored; cold processes where asked for."""
    case = load(name)
    timing, fit = measure(lambda _: case.model.fit(case.data, engine_of(engine)), min(options.repeat, 3))
    free = fit._fitted.free
    facts = [Fact("converged" if fit.converged else "NOT converged", None if engine == "training" else fit.converged)]
    facts.append(Fact(str(log_likelihood(case.model, case.data, free))))
    far = irt_sets.distance(name, free)
    if far is not None:
        judged = None if engine == "training" else far < CLOSE
        facts.append(Fact(f"{far:.3f} standard errors from the maximum", judged))
    if case.truth is not None:
        gap = np.abs(fit.loadings.to_numpy()) - np.abs(case.truth)
        facts.append(Fact(f"loadings RMSE from the truth {np.sqrt(np.mean(gap[case.truth != 0] ** 2)):.4f}"))
    if aim is not None:
        facts.append(Fact(f"{timing.median / aim:.2f} x the aim"))
    if with_cold:
        found = cold(name, engine, on_disk=cold_aim is not None)
        fine = None if cold_aim is None else found.first <= cold_aim
        ratio = "" if cold_aim is None else f" = {found.first / cold_aim:.2f} x the aim of {seconds(cold_aim)}"
        again = "" if math.isnan(found.again) else f", with programs on disk {seconds(found.again)}"
        facts.append(Fact(f"cold {seconds(found.first)}{ratio}{again}", fine))
    return Result(timing, tuple(facts), DEEP.get(name, ()))


def layer(options: Options, name: str) -> Result:
    """The NumPyro pair under our loop against the same bound by hand."""
    case = load(name)
    found = overhead.overhead(overhead.task(case.model, case.data), STEPS, min(options.repeat, 7))
    facts = (
        Fact(f"{found.ratio:.3f} x the loss by hand ({seconds(found.written)} a step)", found.ratio <= OVERHEAD),
        Fact(f"losses after {STEPS} steps {found.losses[0]:.4f} and {found.losses[1]:.4f}"),
    )
    return Result(harness.Timing(found.pair, found.pair, min(options.repeat, 7)), facts)


def _rows(short: str, name: str, what: str, aim: float | None = None) -> tuple[Benchmark, ...]:
    """The four engines on one set."""
    own = partial(fitted, name=name)
    return (
        Benchmark(short, f"{what}: AmortizedVI(se='none')", aim,
                  partial(own, engine="amortized", aim=aim, cold_aim=COLD if aim else None, with_cold=True)),
        Benchmark(f"{short}_se", "AmortizedVI(): with standard errors", None,
                  partial(own, engine="amortized_se")),
        Benchmark(f"{short}_training", "AmortizedVI(polish=False, se='none'): training alone", None,
                  partial(own, engine="training")),
        Benchmark(f"{short}_marginal", "MarginalML(se='none')", None, partial(own, engine="marginal", with_cold=True)),
    )  # fmt: skip


ROWS = (
    *_rows("m2pl", "m2pl_N10000_J50_D5", "m2pl_N10000_J50_D5: 2PL, five factors", 1.5),
    *_rows("grm", "grm_N10000_J50_D5", "grm_N10000_J50_D5: graded, five factors"),
    *_rows("bfi", "bfi", "bfi, 2800 x 25, missing values, five factors"),
    Benchmark("overhead", "a step of the NumPyro pair, m2pl_N10000_J50_D5", None,
              partial(layer, name="m2pl_N10000_J50_D5")),
)  # fmt: skip
LARGE = (Benchmark("stream", "an epoch of 1,000,000 x 50 graded, five factors, from Parquet", None, measure_streaming),)


def guides(names: Sequence[str], steps: int) -> tuple[str, bool]:
    """The tables of guides as Markdown, one set after the other, and whether all is in order."""
    tables, missed = [], []
    for name in names:
        at, exact = guide_table.held(name)
        rows = guide_table.guide_rows(at, exact, steps=steps)
        tables.append(guide_table.as_markdown(name, at, exact, rows, steps))
        missed += [f"- {name}: {text}" for text in guide_table.misses(rows)]
    head = [f"- {name}: {value}" for name, value in harness.header(Options(1)).items() if name != "times"]
    more = [] if steps == guide_table.STEPS else ["--steps", str(steps)]
    words = " ".join(["python -m benchmarks.amortized --guides", *names, *more])
    said = ["A free bound below another's, or a bound above log p:", "", *missed] if missed else []
    return "\n".join(["Made by:", "", "```sh", words, "```", "", *head, "", "\n\n".join(tables), "", *said]), not missed


def rows(chosen: Sequence[Benchmark], words: str, rest: list[str], page: Path | None, place: str) -> int:
    """The harness, whose page goes to its place without a title of its own."""
    more = [] if page is None else ["--markdown", str(page)]
    return pages.command(f"benchmarks.amortized{words}", __doc__ or "", chosen, [*rest, *more], place)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--guides", nargs="*", metavar="SET")
    parser.add_argument("--steps", type=int, default=guide_table.STEPS)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--markdown", type=Path)
    given, rest = parser.parse_known_args(sys.argv[1:] if argv is None else list(argv))
    if given.picture is not None:
        name = "m2pl_N10000_J50_D5"
        found = amortized_picture.places(name, 2)
        amortized_picture.draw(found, name, given.picture)
        print("\n".join(f"{p.curve} {p.label}: {seconds(p.seconds)}, {p.distance:.3f} s.e." for p in found))
        return 0
    if given.guides is not None:
        text, fine = guides(given.guides or ["bfi_NE"], given.steps)
        print(text)
        if given.markdown:
            pages.put(given.markdown, "guides", text)
        return int("--check" in rest and not fine)
    if given.large:
        return rows(LARGE, " --large", rest, given.markdown, "large")
    return rows(ROWS, "", rest, given.markdown, "rows")


if __name__ == "__main__":
    sys.exit(main())
