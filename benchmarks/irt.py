"""How fast item response models are fitted, and how exactly: ``python -m benchmarks.irt [--check]``.

Distance: root mean square of (estimate - maximum) / standard error over all free parameters, from maxima that long runs
found once (benchmarks/maxima, each with its command).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import jaxlatent as jl
from benchmarks import harness, irt_sets
from benchmarks.harness import Benchmark, Fact, Options, Peer, Result, measure

CLOSE = 0.1  # standard errors
MIRT = {
    "irt2pl_n10000_j50": (1.49, -266176.6073),
    "grm_n5000_j30_k5": (0.84, -181628.2438),
}
MIRT_SE = Peer("mirt, with Oakes standard errors", 9.40, True)
DEEP = {
    "m2pl_N10000_J50_D5": (Peer("DeepIRTools, 10 importance samples", 55.9, True),),
    "grm_N10000_J50_D5": (Peer("DeepIRTools, 10 importance samples", 54.3, True),),
}


def _facts(name: str, fit: Any, exact: bool) -> tuple[Fact, ...]:
    state = "converged" if fit.converged else "NOT converged"
    facts = [Fact(f"{state} in {fit.n_iterations} steps, log-likelihood {fit.log_likelihood:.3f}", fit.converged)]
    if name in MIRT:
        gap = fit.log_likelihood - MIRT[name][1]
        facts.append(Fact(f"log-likelihood minus mirt's {gap:+.4f}", gap > -1e-3 if exact else None))
    far = irt_sets.distance(name, fit._fitted.free)
    if far is not None:
        facts.append(Fact(f"{far:.3f} standard errors from the maximum", far < CLOSE))
    truth = irt_sets.load(name).truth
    if truth is not None:
        gap = np.abs(fit.loadings.to_numpy()) - np.abs(truth)
        facts.append(Fact(f"loadings RMSE from the truth {np.sqrt(np.mean(gap[truth != 0] ** 2)):.4f}"))
    return tuple(facts)


def fitted(options: Options, name: str, se: str = "none", repeat: int = 3) -> Result:
    """model.fit of a set, warm."""
    case = irt_sets.load(name)
    engine = jl.MarginalML(se=se)
    timing, fit = measure(lambda _: case.model.fit(case.data, engine), min(options.repeat, repeat))
    other = (Peer("mirt, EM", MIRT[name][0], True),) if name in MIRT else DEEP.get(name, ())
    if name == "irt2pl_n10000_j50" and se != "none":
        other = (MIRT_SE,)
    return Result(timing, _facts(name, fit, True), other)


def scoring(options: Options) -> Result:
    """EAP scores and errors of 100,000 people, five factors."""
    case = irt_sets.load("m2pl_N10000_J50_D5")
    fit = case.model.fit(case.data, jl.MarginalML(se="none"))
    people = np.tile(case.data, (10, 1))
    people = np.random.default_rng(options.seed).permutation(people)
    timing, found = measure(lambda _: fit.scores(people, return_se=True), min(options.repeat, 3))
    return Result(timing, (Fact(f"{len(found)} people", bool(np.isfinite(found.to_numpy()).all())),))


ROWS = (
    Benchmark("irt2pl", "irt2pl_n10000_j50: 2PL, one factor", 0.2, partial(fitted, name="irt2pl_n10000_j50", repeat=7)),
    Benchmark(
        "irt2pl_se",
        "the same with standard errors",
        0.6,
        partial(fitted, name="irt2pl_n10000_j50", se="observed", repeat=7),
    ),
    Benchmark("grm1", "grm_n5000_j30_k5: graded, one factor", None, partial(fitted, name="grm_n5000_j30_k5", repeat=7)),
    Benchmark("m2pl", "m2pl_N10000_J50_D5: 2PL, five factors", 3.0, partial(fitted, name="m2pl_N10000_J50_D5")),
    Benchmark(
        "m2pl_se", "the same with standard errors", 5.0, partial(fitted, name="m2pl_N10000_J50_D5", se="observed")
    ),
    Benchmark("grm5", "grm_N10000_J50_D5: graded, five factors", 5.0, partial(fitted, name="grm_N10000_J50_D5")),
    Benchmark(
        "m2pl_large",
        "m2pl_N100000_J100_D10: 2PL, ten factors",
        30.0,
        partial(fitted, name="m2pl_N100000_J100_D10", repeat=1),
    ),
    Benchmark("bfi", "bfi, 2800 x 25, six categories, missing values, five factors", 5.0, partial(fitted, name="bfi")),
    Benchmark("scoring", "EAP scores of 100,000 people, five factors", 2.0, scoring),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    return harness.command("benchmarks.irt", __doc__ or "", ROWS, argv)


if __name__ == "__main__":
    sys.exit(main())
