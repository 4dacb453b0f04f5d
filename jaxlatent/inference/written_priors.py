"""What a user writes about priors, and the parameters it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxlatent.inference.priors import EVERYTHING, Parameter, Priors
from jaxlatent.spec.layout import Layout, layout_of
from jaxlatent.spec.table import ParameterTable

CROSS = "cross_loadings"
SPECIAL = {"sd": "sd", "var": "natural", "cor": "cor"}  # ends of names of classes -> scale


def given_priors(priors: Any) -> dict[str, Any]:
    """The option priors of a face as a mapping; "flat" is flat for every class. Raises ValueError for anything else."""
    if priors is None:
        return {}
    if isinstance(priors, str) and priors == "flat":
        return {EVERYTHING: "flat"}
    if not isinstance(priors, Mapping) or not all(isinstance(name, str) for name in priors):
        raise ValueError(f"Expected priors as a mapping from names of parameters, or 'flat'; got {priors!r}.")
    return dict(priors)


def table_priors(table: ParameterTable, layout: Layout | None, given: Mapping[str, Any]) -> Priors:
    """Priors of a structural equation model."""
    if not given and not any(row.prior for row in table.rows):
        return Priors()
    from jaxlatent.inference.prior_choices import resolve  # NumPyro, only where there are priors

    return resolve(given, parameters_of(table), layout_of(table) if layout is None else layout)


def parameters_of(table: ParameterTable) -> list[Parameter]:
    """The rows of a table that are no moments of fixed predictors."""
    out = []
    for row in table.rows:
        if row.exo:
            continue
        of = "factor" if row.lhs in table.latent else "residual"
        kind = "cell" if row.op != "~~" else "variance" if row.lhs == row.rhs else "covariance"
        classes: tuple[tuple[str, str], ...]
        match row.op:
            case "=~":
                classes = (("loadings", "natural"),)
                classes = ((CROSS, "natural"), *classes) if not row.user else classes
            case "~":
                classes = (("regressions", "natural"),)
            case "~1":
                classes = (("factor_means" if of == "factor" else "intercepts", "natural"),)
            case _:
                ends = ("sd", "var") if kind == "variance" else ("cor",)
                classes = (*((f"{of}_{end}", SPECIAL[end]) for end in ends), (f"{of}_cov", "natural"))
        text = f"{row.lhs} {row.op} {row.rhs}".strip()
        free = row.free - 1 if row.free else -1
        out.append(Parameter(free, text, row.label, row.group, classes, kind, row.prior, row.fixed))
    return out


def prior_texts(priors: Priors, n_free: int) -> list[str]:
    """What is written about each free parameter, "" where nothing is [free]."""
    out = [""] * n_free
    for prior in priors.cells:
        for at in () if prior.positions is None else np.unique(prior.positions):
            out[at] = f"{out[at]}, {prior.text}" if out[at] else prior.text
    return out
