"""A parameter table read as a graph: variables, arrows and variances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Parameter:
    """One row of the table: where it stands and what to print."""

    lhs: str
    op: str
    rhs: str
    estimate: float
    value: float
    standardized: float
    pvalue: float
    fixed: bool

    @property
    def name(self) -> str:
        return f"{self.lhs} {self.op} {self.rhs}".strip()


@dataclass(frozen=True)
class Edge:
    """An arrow from source to target, or a two-headed one when the parameter is a covariance."""

    source: str
    target: str
    parameter: Parameter


@dataclass(frozen=True)
class Graph:
    """The drawn part of a model in one group; names are in the order in which the model states them."""

    latent: tuple[str, ...]
    observed: tuple[str, ...]
    loadings: tuple[Edge, ...]
    regressions: tuple[Edge, ...]
    covariances: tuple[Edge, ...]
    variances: dict[str, Parameter]
    means: dict[str, Parameter]

    @property
    def nodes(self) -> tuple[str, ...]:
        return self.latent + self.observed

    @property
    def arrows(self) -> tuple[Edge, ...]:
        return self.loadings + self.regressions

    def indicators(self, factor: str) -> list[str]:
        """Targets of a factor's loadings, in order."""
        return [edge.target for edge in self.loadings if edge.source == factor]

    def measured(self) -> set[str]:
        """Observed variables that load on something."""
        return {edge.target for edge in self.loadings} & set(self.observed)


MANY_EXOGENOUS = 4
"""Sample moments of more fixed exogenous variables than this are left out unless asked for."""


def build_graph(
    parameters: pd.DataFrame,
    latent: Sequence[str],
    observed: Sequence[str],
    column: str,
    exogenous: bool | None = None,
) -> Graph:
    """Read one group's rows. What is fixed to zero is left out.

    `exogenous` says whether to keep the (co)variances and means of fixed exogenous variables, which are sample moments
    and not estimates; None keeps them for up to four such variables.
    """
    rows = [_parameter(row, column) for row in parameters.to_dict("records")]
    drawn = [row for row in rows if not _absent(row)]
    given = _given(drawn, {str(name) for name in latent})
    if exogenous is False or (exogenous is None and len(given) > MANY_EXOGENOUS):
        drawn = [row for row in drawn if not (row.fixed and {row.lhs, row.rhs or row.lhs} <= given)]
    used = {name for row in drawn for name in (row.lhs, row.rhs)}
    return Graph(
        latent=tuple(dict.fromkeys(str(name) for name in latent if str(name) in used)),
        observed=_observed(drawn, latent, observed),
        loadings=tuple(Edge(row.lhs, row.rhs, row) for row in drawn if row.op == "=~"),
        regressions=tuple(_regression(row) for row in drawn if row.op in ("~", "<~")),
        covariances=tuple(Edge(row.lhs, row.rhs, row) for row in drawn if row.op == "~~" and row.lhs != row.rhs),
        variances={row.lhs: row for row in drawn if row.op == "~~" and row.lhs == row.rhs},
        means={row.lhs: row for row in drawn if row.op == "~1"},
    )


def _given(rows: list[Parameter], latent: set[str]) -> set[str]:
    """Observed variables that nothing explains and whose variance is not estimated."""
    explained = {row.rhs for row in rows if row.op == "=~"} | {row.lhs for row in rows if row.op in ("~", "<~")}
    fixed = {row.lhs for row in rows if row.op == "~~" and row.lhs == row.rhs and row.fixed}
    return fixed - explained - latent


def _regression(row: Parameter) -> Edge:
    return Edge(row.rhs, row.lhs, row)


def _observed(rows: list[Parameter], latent: Sequence[str], observed: Sequence[str]) -> tuple[str, ...]:
    """Observed variables in the order of the model's arrows; the given order settles the rest."""
    hidden = {str(name) for name in latent}
    ordered = [row.rhs for row in rows if row.op == "=~"]
    used = {name for row in rows if row.op in ("=~", "~", "~~", "<~", "~1") for name in (row.lhs, row.rhs)}
    ordered += [str(name) for name in observed if str(name) in used]
    ordered += sorted(used)
    return tuple(dict.fromkeys(name for name in ordered if name and name not in hidden))


def _absent(row: Parameter) -> bool:
    return row.fixed and row.estimate == 0.0


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _parameter(row: dict[Any, Any], column: str) -> Parameter:
    error = _number(row.get("se"))
    estimate, value = _number(row.get("est")), _number(row[column])
    fixed = _number(row["free"]) == 0 if "free" in row else not error > 0
    return Parameter(
        lhs=str(row["lhs"]),
        op=str(row["op"]),
        rhs="" if row["op"] == "~1" else str(row["rhs"]),
        estimate=value if math.isnan(estimate) else estimate,
        value=estimate if math.isnan(value) else value,
        standardized=_number(row.get("std_all")),
        pvalue=_number(row.get("pvalue")),
        fixed=fixed,
    )
