"""Graded answers from Parquet, more than a step ever sees: ``python -m benchmarks.streaming [--rows N]``.

50 items of five categories, five correlated factors, simple structure, drawn to files a portion at a time; then
``IRT("graded").fit(Responses.scan(folder), AmortizedVI(...))`` in this process, whose peak memory is that of
``benchmarks.memory.peak``. Seconds are those of each pass over the data, reading included; whether cost is linear in
persons is judged by processor seconds, which a busy machine does not change.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.harness import SEED, Fact, Options, Result, Timing
from benchmarks.memory import MEGA, peak
from benchmarks.peers import ROOT

ROWS, ITEMS, FACTORS, CATEGORIES = 1_000_000, 50, 5, 5
PORTION = 50_000  # rows of a file
EPOCHS = 6
LINEAR = 1.25  # processor seconds a person of the whole over those of a quarter, at most


def truth(items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Q [item, factor], slopes [item] and descending intercepts [item, category - 1]."""
    rng = np.random.default_rng(1)
    q = np.kron(np.eye(FACTORS, dtype=int), np.ones((items // FACTORS, 1), int))
    return q, rng.uniform(0.7, 2.0, items), -np.sort(rng.normal(0, 1.2, (items, CATEGORIES - 1)), axis=1)


def write(folder: Path, rows: int, items: int, seed: int) -> int:
    """Write the files; returns their bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    q, slopes, intercepts = truth(items)
    root = np.linalg.cholesky(0.7 * np.eye(FACTORS) + 0.3).astype(np.float32)
    names = [f"item{j + 1}" for j in range(items)]
    for number, start in enumerate(range(0, rows, PORTION)):
        rng, n = np.random.default_rng((seed, number)), min(PORTION, rows - start)
        x = rng.standard_normal((n, FACTORS), np.float32) @ root.T
        u = np.maximum(rng.random((n, items), np.float32), np.float32(1e-9))
        behind = (x @ q.T) * slopes.astype(np.float32) + np.log(u / (1 - u))
        y = np.zeros((n, items), np.int8)
        for k in range(CATEGORIES - 1):
            y += behind + intercepts[:, k].astype(np.float32) > 0
        table = pa.table({name: y[:, j] for j, name in enumerate(names)})
        pq.write_table(table, folder / f"part{number:05d}.parquet")
    return sum(path.stat().st_size for path in folder.glob("*.parquet"))


def work(folder: Path, rows: int, items: int, seed: int, epochs: int) -> dict[str, Any]:
    """Fit the files of a folder and say what it took, in bytes and seconds."""
    import jaxlatent as jl
    from jaxlatent.inference import amortized_run

    q, slopes, _ = truth(items)
    before, took, busy = peak(), [], []
    started = time.perf_counter()
    source = jl.Responses.scan(folder)
    scanned, original = time.perf_counter() - started, amortized_run.from_batches

    def timed_batches(*given: Any) -> Callable[..., Any]:
        epoch = original(*given)

        def one(*state: Any) -> Any:
            began, used = time.perf_counter(), time.process_time()
            found = epoch(*state)
            took.append(time.perf_counter() - began)
            busy.append(time.process_time() - used)
            return found

        return one

    with patch.object(amortized_run, "from_batches", timed_batches), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = jl.AmortizedVI(max_epochs=epochs, se="none")
        fit = jl.IRT("graded", factors=q).fit(source, engine, key=seed, progress=False)
    everything = time.perf_counter() - started
    loadings = fit._fitted.params["loadings"][0]
    gap = (loadings * q).sum(1) - slopes
    return {
        "rows": rows, "items": items, "scan": scanned, "epochs": took, "busy": busy, "all": everything,
        "before": before, "peak": peak(), "log_likelihood": fit.log_likelihood, "rmse": float(np.sqrt(np.mean(gap**2))),
    }  # fmt: skip


def in_subprocess(folder: Path, rows: int, items: int, seed: int, epochs: int) -> dict[str, Any]:
    """Fit in a fresh interpreter. Raises RuntimeError with the end of what it wrote if it failed."""
    command = [sys.executable, "-m", "benchmarks.streaming", "--folder", str(folder), "--rows", str(rows)]
    command += ["--items", str(items), "--seed", str(seed), "--epochs", str(epochs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"benchmarks.streaming ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def study(rows: int, items: int, seed: int, epochs: int) -> dict[str, Any]:
    """Simulate to a temporary folder and fit it in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        size = write(Path(name), rows, items, seed)
        return in_subprocess(Path(name), rows, items, seed, epochs) | {"files": size}


def measure_streaming(options: Options, rows: int = ROWS, items: int = ITEMS, epochs: int = EPOCHS) -> Result:
    """Seconds an epoch of all rows, peak memory, and the same of a quarter of them."""
    part, whole = (study(n, items, options.seed, epochs) for n in (rows // 4, rows))
    used = [float(np.median(found["busy"][1:] or found["busy"])) for found in (part, whole)]
    ratio = used[1] / used[0] / (whole["rows"] / part["rows"])
    peaks = [f"{found['peak'] / MEGA:.0f} MB" for found in (part, whole)]
    facts = (
        Fact(f"peak {peaks[1]} with {rows} rows, {peaks[0]} with {part['rows']}; {whole['before'] / MEGA:.0f} MB"
             f" before; the files {whole['files'] / MEGA:.0f} MB, in float64 {rows * items * 8 / MEGA:.0f} MB"),
        Fact(f"{1e6 * used[1] / rows:.1f} processor seconds a million persons and epoch, {ratio:.2f} x those with"
             f" {part['rows']} rows", ratio < LINEAR),
        Fact(f"looked through once in {whole['scan']:.1f} s, {len(whole['epochs'])} epochs and the log-likelihood by"
             f" draws: {whole['all']:.0f} s in all, cold"),
        Fact(f"loadings RMSE from the truth {whole['rmse']:.4f}"),
    )  # fmt: skip
    times = whole["epochs"][1:] or whole["epochs"]
    return Result(Timing(float(np.median(times)), min(times), len(times), whole["epochs"][0]), facts)


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=__doc__)
    parser.add_argument("--folder", type=Path, help="of files to fit; None: simulate to a temporary folder")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    given = parser.parse_args()
    size = (given.rows, given.items, given.seed, given.epochs)
    print(json.dumps(study(*size) if given.folder is None else work(given.folder, *size)))


if __name__ == "__main__":
    main()
