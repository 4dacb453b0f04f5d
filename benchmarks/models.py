"""Models and data that several rows share."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.peers import shared

if TYPE_CHECKING:
    import pandas as pd

    import jaxlatent as jl

THREE_FACTORS = "visual =~ x1 + x2 + x3\ntextual =~ x4 + x5 + x6\nspeed =~ x7 + x8 + x9"
N_FACTORS = 6


def six_factors(p: int) -> str:
    """Six factors of p / 6 consecutive items x1, x2, ..."""
    each = p // N_FACTORS
    items = [[f"x{f * each + j + 1}" for j in range(each)] for f in range(N_FACTORS)]
    return "\n".join(f"f{f + 1} =~ {' + '.join(names)}" for f, names in enumerate(items))


@cache
def holzinger_swineford() -> pd.DataFrame:
    """The nine tests of 301 children."""
    import jaxlatent as jl

    return jl.datasets.load("holzinger_swineford")


@cache
def bench_data(name: str) -> pd.DataFrame:
    """A set of the shared folder bench/."""
    import pandas as pd

    return pd.read_csv(shared("bench", f"{name}.csv.gz"))


def with_parameters(fit: jl.Fit) -> jl.Fit:
    """The fit, after its table of parameters (standard errors, standardized values) has been made."""
    if not len(fit.parameters):
        raise ValueError("The fit has no parameters.")
    return fit


def everything(model: jl.SEM, data: Any) -> jl.Fit:
    """A fit with its table of parameters and its fit measures."""
    fit = with_parameters(model.fit(data))
    fit.fit_measures()
    return fit


def simulated_sets(fit: jl.Fit, count: int, rows: int, seed: int) -> np.ndarray:
    """Data sets drawn from a fitted model [set, row, variable]."""
    mean, cov = fit.implied()
    root = np.linalg.cholesky(np.asarray(cov))
    z = np.random.default_rng(seed).standard_normal((count, rows, len(root)))
    return np.asarray(mean).reshape(-1) + z @ root.T
