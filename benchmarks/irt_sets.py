"""The sets of the item response benchmarks, their models, and the maxima that were computed once by long runs.

``python -m benchmarks.irt_sets NAME [--points R] [--runs K]`` computes a maximum again: the mean of K runs of
importance sampling, with R points for each person and other random numbers in each run, and writes it to
benchmarks/maxima/NAME.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import jaxlatent as jl
from benchmarks import peers
from jaxlatent.inference.marginal_fit import fit_items

FOLDER = Path(__file__).resolve().parent / "maxima"


class Set(NamedTuple):
    """A model and its data."""

    model: Any
    data: Any
    truth: np.ndarray | None  # loadings


def load(name: str) -> Set:
    """A set by name: a file of the shared benchmark data, or "bfi".

    Raises ValueError for other names.
    """
    if name == "bfi":
        q = np.kron(np.eye(5, dtype=int), np.ones((5, 1), int))
        return Set(jl.IRT("graded", factors=q), jl.datasets.load("bfi").iloc[:, :25], None)
    if name in ("irt2pl_n10000_j50", "grm_n5000_j30_k5"):
        import pandas as pd

        kind = "2pl" if name.startswith("irt") else "graded"
        return Set(jl.IRT(kind), pd.read_csv(peers.shared("bench", f"{name}.csv.gz")), None)
    if name.startswith(("m2pl_", "grm_")):
        with np.load(peers.shared("bench", f"{name}.npz")) as found:
            y, q, loadings = found["Y"].astype(float), found["Q"].astype(int), found["loadings"]
        return Set(jl.IRT("2pl" if name.startswith("m2pl") else "graded", factors=q), y, loadings)
    raise ValueError(f"Expected the name of a benchmark set; got {name!r}.")


class Maximum(NamedTuple):
    """A maximum: the free vector, its standard errors, and how far single runs are from it in standard errors."""

    free: np.ndarray
    se: np.ndarray
    log_likelihood: float
    spread: float
    command: str


def maximum(name: str) -> Maximum | None:
    """The stored maximum of a set, or None."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return Maximum(
        np.array(found["free"]), np.array(found["se"]), found["log_likelihood"], found["spread"], found["command"]
    )


def distance(name: str, free: np.ndarray) -> float | None:
    """Root mean square distance from the stored maximum in standard errors."""
    best = maximum(name)
    return None if best is None else float(np.sqrt(np.mean(((free - best.free) / best.se) ** 2)))


def compute(name: str, points: int, runs: int) -> Maximum:
    """The mean of long runs, each begun where a short one ended."""
    case = load(name)
    first = case.model.fit(case.data, jl.MarginalML(integration=jl.ImportanceSampling(128)))._fitted
    found, values = [], []
    for run in range(runs):
        engine = jl.MarginalML(integration=jl.ImportanceSampling(points), se="none", tolerance=1e-6)
        fitted = fit_items(
            first.table,
            first.measurement,
            first.coding,
            first.data,
            first.responses,
            engine,
            key=1 + run,
            start=first.free,
        )
        found.append(fitted.free)
        values.append(fitted.log_likelihood)
        print(f"... run {run + 1} of {runs}: log-likelihood {fitted.log_likelihood:.3f}", file=sys.stderr, flush=True)
    mean = np.mean(found, axis=0)
    vcov = replace(first).vcov
    assert vcov is not None
    se = np.sqrt(np.diag(vcov))
    spread = float(np.sqrt(np.mean([((f - mean) / se) ** 2 for f in found]) / max(runs - 1, 1)))
    command = f"python -m benchmarks.irt_sets {name} --points {points} --runs {runs}"
    return Maximum(mean, se, float(np.mean(values)), spread, command)


def main(argv: Sequence[str] | None = None) -> int:
    """Compute and store one maximum."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.irt_sets", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--points", type=int, default=1024, metavar="R")
    parser.add_argument("--runs", type=int, default=3, metavar="K")
    given = parser.parse_args(argv)
    found = compute(given.name, given.points, given.runs)
    FOLDER.mkdir(exist_ok=True)
    stored = found._asdict() | {name: np.round(getattr(found, name), 6).tolist() for name in ("free", "se")}
    (FOLDER / f"{given.name}.json").write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(f"{given.name}: log-likelihood {found.log_likelihood:.3f}, known to {found.spread:.4f} standard errors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
