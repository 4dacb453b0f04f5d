"""Factor analysis by EM and ML beside scikit-learn's: ``python -m benchmarks.factor_analysis [--check]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import jaxlatent as jl
from benchmarks import harness
from benchmarks.harness import Benchmark, Fact, Options, Peer, Result, measure
from benchmarks.models import holzinger_swineford

SAME = 1e-4  # of log-likelihood: as high as scikit-learn's
TOLERANCES = (1e-2, 1e-8)  # scikit-learn's default, and one at which it ends near the maximum


def _data(name: str, seed: int) -> tuple[np.ndarray, int]:
    """Rows and the number of factors."""
    if name == "hs":
        return holzinger_swineford().filter(regex="^x").to_numpy(float), 3
    if name == "digits":
        y = jl.datasets.load("digits").to_numpy(float)
        return y[:, y.std(0) > 0.3], 8
    n, p, m = {"wide": (5000, 50, 5), "large": (10_000, 100, 10)}[name]
    rng = np.random.default_rng(seed)
    loadings = 0.6 * rng.standard_normal((p, m))
    noise = rng.standard_normal((n, p)) * rng.uniform(0.5, 1.5, p)
    return rng.standard_normal((n, m)) @ loadings.T + noise, m


def _fitted(estimator: Any, y: np.ndarray, _: Any) -> Any:
    return estimator.fit(y)


def against_scikit_learn(options: Options, name: str, engine: Any) -> Result:
    """Array to finished fit, without standard errors."""
    from sklearn.decomposition import FactorAnalysis

    y, m = _data(name, options.seed)
    model = jl.EFA(m, rotation="none")
    timing, fit = measure(lambda _: model.fit(y, engine), options.repeat)
    facts, peers = [Fact(f"{fit.n_iterations} steps", fit.converged)], []
    for tolerance in TOLERANCES:
        other = FactorAnalysis(m, tol=tolerance, max_iter=20_000, svd_method="lapack")
        theirs, found = measure(partial(_fitted, other, y), min(options.repeat, 5))
        gain = fit.log_likelihood - float(found.score(y)) * len(y)
        facts.append(Fact(f"log-likelihood minus scikit-learn's (tol {tolerance:g}) {gain:+.2g}", gain > -SAME))
        peers.append(Peer(f"scikit-learn, tol {tolerance:g}", theirs.median, False))
    return Result(timing, tuple(facts), tuple(peers))


WHAT = {
    "hs": "Holzinger-Swineford, 9 variables, 3 factors",
    "digits": "digits, N = 1797, varying pixels, 8 factors",
    "wide": "simulated, N = 5000, 50 variables, 5 factors",
    "large": "simulated, N = 10,000, 100 variables, 10 factors",
}
ENGINES = {"em": jl.EM(se="none"), "ml": jl.ML(se="none")}
ROWS = tuple(
    Benchmark(f"{engine}_{name}", f"{what}: {engine.upper()}, array to finished fit", None,
              partial(against_scikit_learn, name=name, engine=ENGINES[engine]))
    for engine in ENGINES
    for name, what in WHAT.items()
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    return harness.command("benchmarks.factor_analysis", __doc__ or "", ROWS, argv)


if __name__ == "__main__":
    sys.exit(main())
