"""Simulation from a model and its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.models.cells import implied, round_up
from jaxlatent.sem import SEM
from jaxlatent.spec.layout import layout_of, places
from jaxlatent.spec.start import starting_values

if TYPE_CHECKING:
    import pandas as pd

    from jaxlatent.irt import IRT


def simulate(
    model: SEM | IRT,
    params: Mapping[str, Any],
    n: int,
    key: int = 0,
    *,
    items: Sequence[str] | None = None,
    categories: int | Mapping[str, int] | None = None,
    groups: Sequence[str] | None = None,
    covariates: Any = None,
) -> pd.DataFrame:
    """n persons from a model with given parameters: a frame of its observed variables.

    params: values by label, or by row ("visual =~ x2", "x1 ~~ x1"); every free parameter that is not given takes the
    value a fit would start from with unit variances.

    Of an item response model also by matrix: "loadings" [item x factor], "intercepts" [item x category - 1],
    "guessing", "upper", "scoring", "factor_cov", "factor_means", ..., with a leading axis for groups; frames may be
    labelled; nan: not given. Loadings and variances of factors are 1 unless given. items: names, where factors and
    loadings don't have them. categories: a number, or a dict by item, where intercepts don't say. groups: labels, n
    persons each. covariates: their values [n x covariate].

    Raises ValueError for a name the model does not have, a value out of range or of a fixed cell, or a covariance
    matrix that is not positive definite.
    """
    import pandas as pd

    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"Expected n, the number of persons, to be a positive whole number; got {n!r}.")
    if not isinstance(params, Mapping):
        raise ValueError(f"Expected params to map names to values; got {params!r}.")
    if not isinstance(model, SEM):
        from jaxlatent.simulate_items import IRT, simulate_items

        if not isinstance(model, IRT):
            raise ValueError(f"Expected jl.SEM(...) or jl.IRT(...) as the model; got {model!r}.")
        return simulate_items(
            model, params, int(n), key, items=items, categories=categories, groups=groups, covariates=covariates
        )
    if any(given is not None for given in (items, categories, groups, covariates)):
        raise ValueError("items, categories, groups and covariates are for item response models: leave them out.")
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
