"""Other programs on our sets, each in an environment of its own; ours beside them, all scored by one evaluator.

``python -m benchmarks.peers_irt --deepirtools-python PATH --girth-python PATH [--markdown FILE]``; rows of a program
whose interpreter is not given are left out. Environments:

    python -m venv deep && deep/bin/pip install deepirtools matplotlib pandas "setuptools<81"
    python -m venv girth && girth/bin/pip install girth

(DeepIRTools imports matplotlib, pandas and pkg_resources, which its package does not ask for.) Times are wall seconds
of the fit alone, in the same run on the same machine; ours warm.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import jaxlatent as jl
from benchmarks import irt_sets
from benchmarks.amortized_sets import load
from benchmarks.evaluator import LogLikelihood, free_vector, log_likelihood
from benchmarks.harness import Options, header, seconds, timed
from benchmarks.irt_sets import Set
from benchmarks.pages import put

SCRIPTS = Path(__file__).resolve().parent / "outside"
OWN = "deepirtools_own"  # the set inside that package; its README prints this log-likelihood
PRINTED = -85961.69


class PeerRow(NamedTuple):
    """One program on one set: seconds of its fit, the log-likelihood of its parameters, distance from the maximum in
    standard errors, and of its loadings from the truth; nan where there is no such reference.
    """

    set: str
    program: str
    seconds: float
    found: LogLikelihood
    distance: float
    rmse: float


def outside(python: str, script: str, *words: str) -> dict[str, np.ndarray]:
    """What a script of ``outside/`` writes, run by another interpreter. Raises RuntimeError where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.npz"
        command = [python, str(SCRIPTS / script), words[0], str(target), *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode != 0:
            raise RuntimeError(f"{script} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        with np.load(target) as found:
            return dict(found)


def scored(name: str, case: Set, program: str, took: float, free: np.ndarray, loadings: np.ndarray) -> PeerRow:
    """The row of one free vector."""
    far = irt_sets.distance(name, free)
    rmse = math.nan
    if case.truth is not None:
        truth = np.asarray(case.truth).reshape(loadings.shape)
        gap = np.abs(loadings) - np.abs(truth)
        rmse = float(np.sqrt(np.mean(gap[truth != 0] ** 2)))
    found = log_likelihood(case.model, case.data, free)
    return PeerRow(name, program, took, found, math.nan if far is None else far, rmse)


def ours(name: str, case: Set, engines: dict[str, Any]) -> list[PeerRow]:
    """Our engines, warm."""
    rows = []
    for program, engine in engines.items():
        case.model.fit(case.data, engine)
        took, fit = timed(lambda engine=engine: case.model.fit(case.data, engine))  # type: ignore[misc]
        rows.append(scored(name, case, program, took, fit._fitted.free, fit._fitted.params["loadings"][0]))
    return rows


def turned(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Another program's matrices, factors turned so that each one's loadings sum to more than 0."""
    sign = np.where(found["loadings"].sum(0) < 0, -1.0, 1.0)
    cov = found["factor_cov"] * sign * sign[:, None]
    return {"loadings": found["loadings"] * sign, "intercepts": found["intercepts"], "factor_cov": cov}


def theirs(name: str, case: Set, program: str, found: dict[str, np.ndarray]) -> PeerRow:
    """Another program's parameters in our layout."""
    matrices = turned(found)
    table = case.model._prepare(case.data, None, None).table
    return scored(name, case, program, float(found["seconds"]), free_vector(table, matrices), matrices["loadings"])


def deepirtools_rows(
    python: str, names: Sequence[str], samples: Sequence[int], seed: int, epochs: int | None = None
) -> list[PeerRow]:
    """DeepIRTools beside AmortizedVI and MarginalML; epochs: at most, the package's default unless given."""
    rows = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            source, case = "own", None
            if name != OWN:
                case = load(name)
                source = str(Path(folder) / "in.npz")
                np.savez(source, y=np.asarray(case.data), q=np.asarray(case.model.factors))
            for count in samples:
                found = outside(
                    python, "deepirtools_fit.py", source, str(count), str(seed), *([str(epochs)] if epochs else [])
                )
                if case is None:
                    q = found["q"].astype(int)
                    case = Set(jl.IRT("graded", factors=q), found["y"].astype(float), None)
                rows.append(theirs(name, case, f"DeepIRTools, {count} samples", found))
        assert case is not None
        rows += ours(name, case, {"AmortizedVI": jl.AmortizedVI(se="none"), "MarginalML": jl.MarginalML(se="none")})
    return rows


def girth_rows(python: str, names: Sequence[str]) -> list[PeerRow]:
    """girth beside MarginalML."""
    rows = []
    for name in names:
        case = load(name)
        with tempfile.TemporaryDirectory() as folder:
            source = str(Path(folder) / "in.npz")
            np.savez(source, y=np.asarray(case.data))
            rows.append(theirs(name, case, "girth, MML", outside(python, "girth_fit.py", source)))
        rows += ours(name, case, {"MarginalML": jl.MarginalML(se="none")})
    return rows


HEAD = ("set", "program", "fit", "log-likelihood", "+-", "samples a person", "standard errors from the maximum",
        "loadings RMSE from the truth")  # fmt: skip


def as_markdown(rows: Sequence[PeerRow]) -> str:
    """The table."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for row in rows:
        number = lambda value, digits: "" if math.isnan(value) else f"{value:.{digits}f}"  # noqa: E731
        f = row.found
        cells = (row.set, row.program, seconds(row.seconds), f"{f.value:.2f}", f"{f.error:.2f}", str(f.samples),
                 number(row.distance, 3), number(row.rmse, 4))  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what interpreters are given for, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers_irt", description=__doc__)
    parser.add_argument("--deepirtools-python", metavar="PATH")
    parser.add_argument("--girth-python", metavar="PATH")
    parser.add_argument("--sets", nargs="+", default=["m2pl_N10000_J50_D5", OWN], metavar="SET", help="of DeepIRTools")
    parser.add_argument("--samples", type=int, nargs="+", default=[10], metavar="R", help="of DeepIRTools")
    parser.add_argument("--max-epochs", type=int, metavar="K", help="of DeepIRTools, to try the command")
    parser.add_argument("--girth-sets", nargs="+", default=["irt2pl_n10000_j50"], metavar="SET")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    given = parser.parse_args(argv)
    if not (given.deepirtools_python or given.girth_python):
        parser.error("expected --deepirtools-python or --girth-python, the interpreters of their environments")
    head = header(Options(1, given.seed)) | {"times": "wall time of the fit alone; ours warm, one run"}
    rows: list[PeerRow] = []
    if given.girth_python:
        rows += girth_rows(given.girth_python, given.girth_sets)
    if given.deepirtools_python:
        rows += deepirtools_rows(given.deepirtools_python, given.sets, given.samples, given.seed, given.max_epochs)
    said = "\n".join(f"- {name}: {value}" for name, value in head.items())
    text = f"{said}\n\n{as_markdown(rows)}\n"
    if any(row.set == OWN for row in rows):
        text += f"\nThe README of DeepIRTools prints {PRINTED} for its set, by its own sampling.\n"
    print(text)
    if given.markdown:
        put(given.markdown, "peers", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
