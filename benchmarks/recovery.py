"""Recovery of known parameters: ``python -m benchmarks.recovery [--persons N ...] [--replications K]``.

Graded items with five categories, simple structure, ten items a factor, slopes U(0.7, 2), correlations of factors 0.3,
thresholds four ordered N(0, 1.2), drawn again where a category would have less than 1 % of the persons. Parameters are
drawn once, answers anew in every replication. Data sets of one size go through jl.fit_batch in portions. Bias, root
mean square error and coverage of 95 % intervals are averaged over the parameters of a class; the Monte Carlo error of
a class's coverage stands beside it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import jaxlatent as jl
from benchmarks.harness import Options, header

WIDE, NARROW = (93.5, 96.5), 92.0  # coverage of classes on average, and of any class
PORTION = 10  # data sets in one compiled call


class Truth:
    """The parameters of one design."""

    def __init__(self, n_items: int, n_factors: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.q = np.kron(np.eye(n_factors, dtype=int), np.ones((n_items // n_factors, 1), int))
        self.loadings = self.q * rng.uniform(0.7, 2.0, (n_items, 1))
        self.intercepts = -np.stack([_thresholds(rng, slope) for slope in self.loadings.sum(axis=1)])
        self.cov = np.full((n_factors, n_factors), 0.3) + 0.7 * np.eye(n_factors)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Answers [person, item]."""
        x = rng.multivariate_normal(np.zeros(len(self.cov)), self.cov, n)
        latent = x @ self.loadings.T + rng.logistic(size=(n, len(self.loadings)))
        return (latent[:, :, None] + self.intercepts > 0).sum(-1).astype(float)


def _thresholds(rng: np.random.Generator, slope: float) -> np.ndarray:
    """Four ordered thresholds whose categories all have at least 1 % of the persons."""
    x = rng.normal(size=20_000)
    while True:
        found = np.sort(rng.normal(0, 1.2, 4))
        reached = 1 / (1 + np.exp(-(slope * x[:, None] - found)))
        share = -np.diff(np.concatenate([[1.0], reached.mean(0), [0.0]]))
        if share.min() >= 0.01:
            return found


def classes(table: object, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """The true free vector and the class of each of its parameters."""
    free = [row for row in table.rows if row.free]  # type: ignore[attr-defined]
    value, kind = np.zeros(len(free)), np.empty(len(free), dtype=object)
    names = {"loadings": "slopes", "intercepts": "intercepts", "factor_cov": "factor correlations"}
    source = {"loadings": truth.loadings, "intercepts": truth.intercepts, "factor_cov": truth.cov}
    for row in free:
        value[row.free - 1], kind[row.free - 1] = source[row.matrix][row.cell], names[row.matrix]
    return value, kind


def study(n: int, n_items: int, n_factors: int, replications: int, seed: int) -> tuple[list[tuple], bool]:
    """Rows of the table for one size, and whether every aim is met."""
    truth, rng = Truth(n_items, n_factors, seed), np.random.default_rng((seed, n))
    model = jl.IRT("graded", factors=truth.q)
    started, failed = time.perf_counter(), 0
    found: list[np.ndarray] = []
    errors: list[np.ndarray] = []
    expected = None
    while len(found) + failed < replications:
        count = min(PORTION, replications - len(found) - failed)
        stack = np.stack([truth.sample(n, rng) for _ in range(count)])
        if expected is None:
            expected, kinds = classes(model._prepare(stack[0], None, None).table, truth)
        batch = jl.fit_batch(model, stack)
        for free, vcov, code in zip(batch.free, batch.vcov, batch.code, strict=True):
            se = np.sqrt(np.diag(vcov)) if np.isfinite(vcov).all() else None
            if code != 1 or se is None or not np.isfinite(se).all():
                failed += 1
                continue
            found.append(free)
            errors.append(se)
    seconds = time.perf_counter() - started
    gap, se = np.array(found) - expected, np.array(errors)
    inside = np.abs(gap) < 1.959964 * se
    rows, good = [], failed == 0
    for kind in ("slopes", "intercepts", "factor correlations"):
        at = kinds == kind
        coverage = 100 * inside[:, at].mean()
        noise = 100 * inside[:, at].mean(axis=1).std() / np.sqrt(len(found))
        rmse = float(np.sqrt((gap[:, at] ** 2).mean()))
        rows.append(
            (n, kind, gap[:, at].mean(), rmse, float(np.mean(se[:, at])), coverage, noise, len(found), failed, seconds)
        )
        good &= n < 1000 or coverage >= NARROW
    overall = 100 * inside.mean()
    good &= n < 1000 or WIDE[0] <= overall <= WIDE[1]
    rows.append(
        (
            n,
            "all",
            gap.mean(),
            float(np.sqrt((gap**2).mean())),
            float(se.mean()),
            overall,
            np.nan,
            len(found),
            failed,
            seconds,
        )
    )
    return rows, good


HEAD = ("persons", "class", "bias", "RMSE", "mean s.e.", "coverage %", "+-", "fits", "failed", "seconds")


def as_markdown(rows: Sequence[tuple]) -> str:
    """The table."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for n, kind, bias, rmse, se, coverage, noise, fits, failed, seconds in rows:
        cells = (
            n,
            kind,
            f"{bias:+.4f}",
            f"{rmse:.4f}",
            f"{se:.4f}",
            f"{coverage:.1f}",
            "" if np.isnan(noise) else f"{noise:.1f}",
            fits,
            failed,
            f"{seconds:.0f}",
        )
        lines.append("| " + " | ".join(str(c) for c in cells) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and return 1 with --check where an aim is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument("--persons", type=int, nargs="+", default=[500, 1000, 2000, 10000], metavar="N")
    parser.add_argument("--replications", type=int, default=100, metavar="K")
    parser.add_argument("--items", type=int, default=50)
    parser.add_argument("--factors", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="end with 1 where coverage misses its aim")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    given = parser.parse_args(argv)
    rows, good = [], True
    for n in given.persons:
        more, fine = study(n, given.items, given.factors, given.replications, given.seed)
        rows += more
        good &= fine
        print(as_markdown(more), file=sys.stderr, flush=True)
    head = "\n".join(f"- {name}: {value}" for name, value in header(Options(1, given.seed)).items())
    text = (
        f"J = {given.items}, D = {given.factors}, {given.replications} replications.\n\n{head}\n\n{as_markdown(rows)}\n"
    )
    print(text)
    if given.markdown:
        given.markdown.write_text(text, encoding="utf-8")
    return int(given.check and not good)


if __name__ == "__main__":
    sys.exit(main())
