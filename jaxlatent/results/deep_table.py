"""The parameter table of a deep latent factor model, before any fitting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np

from jaxlatent.models.latent_variable_model import LatentVariableModel

if TYPE_CHECKING:
    import pandas as pd

NETWORK = "network"


def deep_table(model: LatentVariableModel, observed: Sequence[str], factors: Sequence[str]) -> pd.DataFrame:
    """lhs, op, rhs, group, label, free, fixed, start and size: a row for every parameter, and one for every network.

    op is =~ for loadings, else the name of the matrix (intercepts, residual_cov, ...) with the cell in rhs where a
    column has several; equal cells share their number in free. A network's row has its number of weights in size.
    """
    import pandas as pd

    rows: list[dict[str, object]] = []

    def add(lhs: str, op: str, rhs: str, free: int, fixed: float, start: float, size: int = 1) -> None:
        rows.append({
            "lhs": lhs, "op": op, "rhs": rhs, "group": 1, "label": "", "free": free, "fixed": fixed, "start": start,
            "size": size,
        })  # fmt: skip

    layout = model.layout
    for name, index in layout.index.items():
        if index.shape[1] != len(observed) or index.ndim != 3:
            continue  # of the distribution of x, which is standard normal
        for j, column in enumerate(observed):
            free = np.flatnonzero(index[0, j] >= 0).tolist()
            for c in free:
                k = int(index[0, j, c])
                cell = str(c + 1) if index.shape[2] > 1 else ""
                lhs, rhs = (factors[c], column) if name == "loadings" else (column, cell)
                add(lhs, "=~" if name == "loadings" else name, rhs, k + 1, math.nan, float(layout.start[k]))
    count = layout.n_free
    for name, weights in jax.eval_shape(model.networks, jax.random.key(0)).items():
        size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(weights))
        add(name, NETWORK, "", count + 1, math.nan, math.nan, size)
        count += size
    return pd.DataFrame(rows)
