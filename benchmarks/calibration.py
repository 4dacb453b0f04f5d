"""Are NUTS's draws right? Simulation-based calibration: ``python -m benchmarks.calibration [--check] [--n N]``.

Two models, data sets of several keys together. What decides was fixed before anything was run: the joint F-test of all
parameters and the log-likelihood (below .01 is a failure), and Holm's correction of the chi-square tests of single
ones (below .05 is a failure); no data set may be left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpyro.distributions as dist

import jaxlatent as jl
from benchmarks import harness, pages
from benchmarks.harness import Options
from jaxlatent.diagnostics.calibration import Calibration
from jaxlatent.numerics.uniformity import ecdf_band
from jaxlatent.plots.calibration_plots import ecdf_differences

JOINT, SINGLE = 0.01, 0.05
DRAWS = jl.NUTS(num_warmup=200, num_samples=200, num_chains=1)
THREE = "visual =~ x1 + x2 + x3\n textual =~ x4 + x5 + x6\n speed =~ x7 + x8 + x9"
KEYS = (11, 12)
COLUMNS = ("model", "data sets", "left out", "joint test", "smallest p, Holm", "outside their 95 % band",
           "autocorrelation of the draws used")  # fmt: skip


def models() -> dict[str, tuple[str, Any, Any]]:
    """What is calibrated: a description, the model, the data that set its size."""
    items = {"loadings": dist.LogNormal(0, 0.4), "intercepts": dist.Normal(0, 1)}
    return {
        "cfa": ("three-factor model, N = 301, 21 parameters; loadings N(0.8, 0.25²), default others",
                jl.SEM(THREE, std_lv=True, priors={"loadings": dist.Normal(0.8, 0.25)}),
                jl.datasets.load("holzinger_swineford")),
        "2pl": ("2PL of five items, N = 250, 10 parameters; slopes log-normal(0, 0.4), intercepts N(0, 1)",
                jl.IRT("2pl", priors=items), jl.datasets.load("lsat7").iloc[::4]),
    }  # fmt: skip


def calibrated(name: str, n: int, keys: Sequence[int]) -> Calibration:
    """Ranks of n data sets of every key, one key after the other."""
    _, model, data = models()[name]
    found = [jl.calibrate(model, data, DRAWS, n=n, key=key) for key in keys]
    return joined([(each.ranks.to_numpy(), each.n_failed, each.table()["autocorrelation"].to_numpy())
                   for each in found], found[0].n_draws, tuple(found[0].ranks.columns))  # fmt: skip


def joined(parts: Sequence[tuple[np.ndarray, int, np.ndarray]], n_draws: int, names: tuple[str, ...]) -> Calibration:
    """Ranks, data sets left out and autocorrelations of several runs as one."""
    ranks, failed, related = zip(*parts, strict=True)
    weight = np.array([len(each) for each in ranks], float)
    mean = np.average(np.array(related), axis=0, weights=weight)
    return Calibration(np.concatenate(ranks), n_draws, names, sum(failed), mean)


def holm(pvalues: np.ndarray) -> float:
    """The smallest p-value after Holm's correction, which at the smallest is Bonferroni's."""
    return float(min(1.0, len(pvalues) * pvalues.min()))


def cells(name: str, found: Calibration) -> tuple[tuple[str, ...], bool]:
    """A row of the table, and whether all is in order."""
    table, joint = found.table(), found.joint_test()
    single = holm(table["pvalue"].to_numpy())
    outside = [str(each) for each in table.index[~table["within_band"]]]
    fine = joint.pvalue >= JOINT and single >= SINGLE and found.n_failed == 0
    named = f": {', '.join(outside)}" if outside else ""
    row = (
        models()[name][0], str(len(found.ranks)), str(found.n_failed),
        f"F({joint.df}, {joint.df_residual}) = {joint.statistic:.2f}, p = {joint.pvalue:.2f}", f"{single:.2f}",
        f"{len(outside)} of {len(table)} ({0.05 * len(table):.1f} expected){named}",
        f"{table['autocorrelation'].min():.3f} to {table['autocorrelation'].max():.3f}",
    )  # fmt: skip
    return row, fine


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, fit, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("--check", action="store_true", help="end with 1 where ranks are not uniform")
    parser.add_argument("--n", type=int, default=500, help="data sets of every key")
    parser.add_argument("--keys", type=int, nargs="+", default=list(KEYS))
    parser.add_argument("--only", nargs="+", choices=list(models()), default=list(models()))
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="also draw the ranks there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table to its place there")
    given = parser.parse_args(argv)
    lines, fine = [COLUMNS, ("---",) * len(COLUMNS)], True
    for name in given.only:
        found = calibrated(name, given.n, given.keys)
        row, good = cells(name, found)
        lines.append(row)
        fine &= good
        print(f"{name}\n{found.table().round(4).to_string()}\n{' | '.join(row[3:])}", flush=True)
        if given.pictures:
            where = given.pictures / f"calibration_{name}.png"
            ecdf_differences(found.ecdf(), ecdf_band(len(found.ranks)), found.names, path=where)
    if given.markdown:
        head = [f"- {k}: {v}" for k, v in harness.header(Options(1)).items() if k not in ("times", "seed")]
        words = f"python -m benchmarks.calibration --n {given.n} --keys {' '.join(map(str, given.keys))}"
        body = ["| " + " | ".join(line) + " |" for line in lines]
        pages.put(given.markdown, "calibration",
                  "\n".join(["Made by:", "", "```sh", words, "```", "", *head, "", *body]))  # fmt: skip
    return int(given.check and not fine)


if __name__ == "__main__":
    sys.exit(main())
