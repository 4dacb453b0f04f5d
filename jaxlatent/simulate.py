"""Simulation from a model and its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.models.cells import implied, round_up
from jaxlatent.spec.layout import layout_of, places
from jaxlatent.spec.start import starting_values

if TYPE_CHECKING:
    import pandas as pd

    from jaxlatent.sem import SEM


def simulate(model: SEM, params: Mapping[str, float], n: int, key: int = 0) -> pd.DataFrame:
    """n persons from a model with given parameters: a frame of its observed variables.

    params: values by label, or by row ("visual =~ x2", "x1 ~~ x1"); every free parameter that is not given takes the
    value a fit would start from with unit variances. Raises ValueError for a name the model does not have, or a
    covariance matrix that is not positive definite.
    """
    import pandas as pd

    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"Expected n, the number of persons, to be a positive whole number; got {n!r}.")
    if not isinstance(params, Mapping):
        raise ValueError(f"Expected params to map names to values; got {params!r}.")
    table = model.table()
    p = len(table.observed)
    names: dict[str, int] = {}
    for row in table.rows:
        if row.free:
            names |= {f"{row.lhs}{row.op}{row.rhs}": row.free - 1, row.plabel: row.free - 1}
            names |= {row.label: row.free - 1} if row.label else {}
    unit = [
        {(a, b): float(a == b) for a in table.exogenous for b in table.exogenous} | {(a,): 0.0 for a in table.exogenous}
    ]
    layout = layout_of(table, width=round_up(len(places(table).latent), 1), exogenous=unit)
    free = starting_values(layout, np.zeros((1, p)), np.full((1, p, p), 0.3) + 0.7 * np.eye(p))
    for name, value in params.items():
        if name.replace(" ", "") not in names:
            raise ValueError(f"The model has no free parameter {name!r}; it has: {', '.join(names)}.")
        free[names[name.replace(" ", "")]] = value
    full = np.append(free, 0.0)
    one = {k: np.where(i >= 0, full[i], layout.fixed[k])[0] for k, i in layout.index.items()}
    mean, cov = implied(one)
    try:
        root = np.linalg.cholesky(cov)
    except np.linalg.LinAlgError:
        raise ValueError("These parameters imply a covariance matrix that is not positive definite.") from None
    draws = mean + np.random.default_rng(key).standard_normal((int(n), p)) @ root.T
    return pd.DataFrame(draws, columns=list(table.observed))
