"""Epochs a second against the same network in PyTorch, which runs in an environment of its own.

``python -m benchmarks.peers_deep --torch-python PATH [--epochs N1 N50] [--cpu] [--check] [--markdown FILE]``. It needs

    python -m venv torch && torch/bin/pip install torch==2.13.0 numpy

Digits as in benchmarks.deep: the rows that learn (a tenth of ours is held out), batches of 100, 8 latent variables,
encoder and decoder with two layers of 200 units, single precision, the importance-weighted bound by automatic
differentiation (estimator "iwae"). Ours: the difference between a run of many epochs and one of few, so that neither
compiling nor reading the data counts; looks at rows held out do. PyTorch: eager, the mean epoch after the first two.
--cpu: seconds of the processor over all threads in place of those of a clock on the wall, for machines that others use,
too; programs that leave a core idle then look better than they are.
Aim: at least three times as many epochs a second with one particle; 50 particles are reported.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import jaxlatent as jl
from benchmarks.deep import HIDDEN, Line, digits, table
from benchmarks.peers_irt import outside

AIM = 3.0
PARTICLES = (1, 50)
BATCH = 100
HELD_SHARE = 0.1


def our_seconds(rows: Any, particles: int, epochs: int, clock: Callable[[], float]) -> float:
    """Seconds of an epoch; nan where the longer run took no longer."""
    model = jl.VAE(8, "bernoulli", hidden=HIDDEN)
    found = []
    for count in (max(epochs // 3, 1), epochs + max(epochs // 3, 1)):
        engine = jl.AmortizedVI(particles=particles, estimator="iwae", batch_size=BATCH, max_epochs=count)
        model.fit(rows, engine)
        started = clock()
        fit = model.fit(rows, engine)
        found.append((clock() - started, fit.n_iterations))
    (short, few), (long, many) = found
    return (long - short) / (many - few) if many > few and long > short else float("nan")


def lines(python: str, epochs: Sequence[int], cpu: bool = False) -> list[Line]:
    """A line for each number of particles."""
    train, _, _, _ = digits()
    learners = train.to_numpy()[: len(train) - int(HELD_SHARE * len(train))]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.npz"
        np.savez(source, y=learners)
        theirs = outside(python, "torch_fit.py", str(source), *(str(n) for n in epochs), "cpu" if cpu else "wall")
    out = []
    for k, count, seconds in zip(PARTICLES, epochs, theirs["seconds"], strict=True):
        ours = our_seconds(train, k, count, time.process_time if cpu else time.perf_counter)
        ratio = float(seconds) / ours
        figures = (
            f"{1 / ours:.1f} epochs a second, PyTorch {theirs['version']} {1 / float(seconds):.1f}: {ratio:.1f} times"
        )
        out.append(Line(f"k = {k}", figures, bool(ratio >= AIM) if k == 1 else None))
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Both programs, one after the other; 1 where --check finds the aim missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", required=True, help="the interpreter of an environment with PyTorch")
    parser.add_argument("--epochs", type=int, nargs=2, default=(60, 12), metavar=("N1", "N50"))
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args(arguments)
    found = lines(given.torch_python, given.epochs, given.cpu)
    text = table("epochs a second" + " of the processor" * given.cpu, found)
    print(text)
    if given.markdown:
        with given.markdown.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
    return int(given.check and any(line.ok is False for line in found))


if __name__ == "__main__":
    sys.exit(main())
