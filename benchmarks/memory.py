"""Peak memory of FIML on a million rows, in a process of its own: ``python -m benchmarks.memory``.

Counted is the most resident memory the process ever had, interpreter, libraries and compiler included; what it had
before the data were made is reported beside it. The data are rows x columns x 8 bytes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness import SEED, Fact, Options, Result, Timing
from benchmarks.peers import ROOT

if TYPE_CHECKING:
    import pandas as pd

ROWS, COLUMNS, FACTORS, MISSING = 1_000_000, 30, 6, 0.2
MOST = 3.0  # times the data
CHUNK = 10_000  # rows drawn at a time, so that making the data does not count
MEGA = 1e6


def peak() -> float:
    """Most resident memory of this process so far, in bytes.

    Linux: the high-water mark of this program's own memory, since ru_maxrss there also counts the process that started
    it. Elsewhere ru_maxrss.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(each for each in status.read_text().splitlines() if each.startswith("VmHWM"))
        return float(line.split()[1]) * 1024
    import resource

    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def loadings(columns: int) -> np.ndarray:
    """True loadings [column, factor]: consecutive items, from 0.6 to 0.8."""
    out = np.zeros((columns, FACTORS))
    each = columns // FACTORS
    for f in range(FACTORS):
        out[f * each : (f + 1) * each, f] = np.linspace(0.6, 0.8, each)
    return out


def simulated(rows: int, columns: int, missing: float, seed: int) -> pd.DataFrame:
    """Six factors correlated 0.3, standardized items, cells missing completely at random."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    load = loadings(columns)
    root = np.linalg.cholesky(0.7 * np.eye(FACTORS) + 0.3)
    noise = np.sqrt(1 - (load**2).sum(axis=1))
    y = np.empty((rows, columns))
    for start in range(0, rows, CHUNK):
        part = y[start : start + CHUNK]
        part[:] = rng.standard_normal((len(part), FACTORS)) @ root.T @ load.T + noise * rng.standard_normal(part.shape)
        part[rng.random(part.shape) < missing] = np.nan
    return pd.DataFrame(y, columns=[f"x{j + 1}" for j in range(columns)], copy=False)


def misfit(parameters: pd.DataFrame, columns: int) -> float:
    """Largest distance of a residual variance (which the marker items don't rescale) from the truth, in s.e."""
    truth = 1 - (loadings(columns) ** 2).sum(axis=1)
    own = parameters[(parameters["op"] == "~~") & (parameters["lhs"] == parameters["rhs"])]
    own = own[own["lhs"].str.startswith("x")]
    return float(np.abs((own["est"].to_numpy() - truth) / own["se"].to_numpy()).max())


def work(rows: int, columns: int, missing: float, seed: int) -> dict[str, Any]:
    """Make the data, fit them, and say what it took, in bytes and seconds."""
    import pandas  # noqa: F401  a library too: loaded before the first look

    import jaxlatent as jl
    from benchmarks.models import six_factors

    model = jl.SEM(six_factors(columns))
    model.table()
    before = peak()
    frame = simulated(rows, columns, missing, seed)
    made = peak()
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = model.fit(frame)
    fitted, after_fit = time.perf_counter() - start, peak()
    parameters = fit.parameters
    with_errors, after_errors = time.perf_counter() - start, peak()
    chi_square = float(fit.fit_measures()["chisq"])
    everything = time.perf_counter() - start
    return {
        "data": rows * columns * 8,
        "before": before,
        "made": made,
        "after_fit": after_fit,
        "after_errors": after_errors,
        "peak": peak(),
        "seconds_fit": fitted,
        "seconds_errors": with_errors,
        "seconds": everything,
        "converged": bool(fit.converged),
        "chisq": chi_square,
        "df": int(fit.fit_measures()["df"]),
        "misfit": misfit(parameters, columns),
    }


def in_subprocess(rows: int, seed: int) -> dict[str, Any]:
    """Run this module in a fresh interpreter. Raises RuntimeError with the end of what it wrote if it failed."""
    command = [sys.executable, "-m", "benchmarks.memory", "--rows", str(rows), "--seed", str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"benchmarks.memory ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_memory(options: Options, rows: int = ROWS) -> Result:
    """The row of the table: one cold run, compilation included."""
    found = in_subprocess(rows, options.seed)
    share = found["peak"] / found["data"]
    mega = {name: f"{found[name] / MEGA:.0f} MB" for name in ("data", "before", "after_fit", "after_errors", "peak")}
    facts = (
        Fact(f"peak {mega['peak']} = {share:.2f} x the data ({mega['data']}), aim {MOST:g}", share < MOST),
        Fact(
            f"of it {mega['before']} before the data were made (interpreter and libraries);"
            f" {mega['after_fit']} after fit, {mega['after_errors']} after standard errors"
        ),
        Fact(f"fit {found['seconds_fit']:.1f} s, with standard errors {found['seconds_errors']:.1f} s, all cold"),
        Fact("converged" if found["converged"] else "NOT converged", found["converged"]),
        Fact(f"chi-square {found['chisq']:.1f} of the true model, df {found['df']}"),
        Fact(f"residual variances within {found['misfit']:.1f} s.e. of the truth", found["misfit"] < 5),
    )
    return Result(Timing(found["seconds"], found["seconds"], 1), facts)


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--columns", type=int, default=COLUMNS)
    parser.add_argument("--missing", type=float, default=MISSING)
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    print(json.dumps(work(given.rows, given.columns, given.missing, given.seed)))


if __name__ == "__main__":
    main()
