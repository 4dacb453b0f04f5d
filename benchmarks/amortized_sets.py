"""Sets and engines of the benchmarks of amortized inference, by name."""

from __future__ import annotations

from typing import Any

import numpy as np

import jaxlatent as jl
from benchmarks import irt_sets
from benchmarks.irt_sets import Set

TINY = "tiny"  # a simulated set of a second, to try commands on


def engine_of(name: str) -> Any:
    """An engine by its name in the tables. Raises ValueError for other names."""
    engines: dict[str, Any] = {
        "amortized": jl.AmortizedVI(se="none"),
        "amortized_se": jl.AmortizedVI(),
        "training": jl.AmortizedVI(polish=False, se="none"),
        "marginal": jl.MarginalML(se="none"),
    }
    if name not in engines:
        raise ValueError(f"Expected an engine among {', '.join(engines)}; got {name!r}.")
    return engines[name]


def load(name: str) -> Set:
    """A set of ``irt_sets``, the scales N and E of bfi ("bfi_NE"), m2pl_N1000_J20_D1, or "tiny"."""
    if name == TINY:
        rng = np.random.default_rng(0)
        q = np.kron(np.eye(2, dtype=int), np.ones((4, 1), int))
        x = rng.multivariate_normal([0, 0], [[1, 0.3], [0.3, 1]], 300)
        y = (x @ (1.3 * q.T) + rng.logistic(size=(300, 8)) > 0).astype(float)
        return Set(jl.IRT("2pl", factors=q), y, 1.3 * q)
    if name == "bfi_NE":
        items = [f"{scale}{k}" for scale in "NE" for k in range(1, 6)]
        q = np.kron(np.eye(2, dtype=int), np.ones((5, 1), int))
        return Set(jl.IRT("graded", factors=q), jl.datasets.load("bfi")[items].dropna(how="all"), None)
    return irt_sets.load(name)
