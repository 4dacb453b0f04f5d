"""Peak memory of an item response model with five factors on a million persons: ``python -m benchmarks.memory_irt``.

2PL, fifty items, ten for each of five factors correlated 0.3, by the default rule (importance sampling). Counted is the
most resident memory the process ever had; the table of answers as numbers is persons x items x 8 bytes, and the shifted
points of all persons are persons x points x factors x 2 bytes. Times are cold.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness import SEED
from benchmarks.memory import CHUNK, MEGA, peak

if TYPE_CHECKING:
    import pandas as pd

ROWS, ITEMS, FACTORS = 1_000_000, 50, 5
MOST = 8e9  # bytes


def truth(items: int, factors: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Loadings [item, factor], simple structure, U(0.7, 2), and intercepts [item], N(0, 1)."""
    rng = np.random.default_rng(seed)
    pattern = np.kron(np.eye(factors), np.ones((items // factors, 1)))
    return pattern * rng.uniform(0.7, 2, (items, 1)), rng.standard_normal(items)


def simulated(rows: int, loadings: np.ndarray, intercepts: np.ndarray, seed: int) -> pd.DataFrame:
    """Answers 0 and 1, as small as they can be held, made a chunk at a time."""
    import pandas as pd

    rng = np.random.default_rng(seed + 1)
    items, factors = loadings.shape
    root = np.linalg.cholesky(0.7 * np.eye(factors) + 0.3)
    y = np.empty((rows, items), np.int8)
    for start in range(0, rows, CHUNK):
        part = y[start : start + CHUNK]
        x = rng.standard_normal((len(part), factors)) @ root.T
        part[:] = x @ loadings.T + intercepts + rng.logistic(size=part.shape) > 0
    return pd.DataFrame(y, columns=[f"y{j + 1}" for j in range(items)], copy=False)


def work(rows: int, items: int, factors: int, errors: bool, seed: int) -> dict[str, Any]:
    """Make the data, fit them, and say what it took, in bytes and seconds."""
    import pandas  # noqa: F401  a library too: loaded before the first look

    import jaxlatent as jl

    loadings, intercepts = truth(items, factors, seed)
    model = jl.IRT("2pl", factors=(loadings != 0).astype(int))
    before = peak()
    frame = simulated(rows, loadings, intercepts, seed)
    made = peak()
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = model.fit(frame, jl.MarginalML(se="observed" if errors else "none"))
    took = time.perf_counter() - start
    gap = fit.loadings.to_numpy() - loadings
    return {
        "rows": rows,
        "table": rows * items * 8,
        "before": before,
        "made": made,
        "peak": peak(),
        "seconds": took,
        "converged": bool(fit.converged),
        "rule": str(fit._fitted.rule),
        "steps": int(fit._fitted.estimate.steps),
        "log_likelihood": fit.log_likelihood,
        "rmse": float(np.sqrt(np.mean(gap[loadings != 0] ** 2))),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line of JSON and one sentence; 1 where the peak is above the aim."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory_irt", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--factors", type=int, default=FACTORS)
    parser.add_argument("--errors", action="store_true", help="with standard errors")
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args(argv)
    found = work(given.rows, given.items, given.factors, given.errors, given.seed)
    print(json.dumps(found))
    print(f"peak {found['peak'] / MEGA:.0f} MB, aim {MOST / MEGA:.0f} MB; {found['rule']}, {found['steps']} steps,"
          f" loadings within {found['rmse']:.4f} of the truth")  # fmt: skip
    return int(found["peak"] >= MOST or not found["converged"])


if __name__ == "__main__":
    sys.exit(main())
