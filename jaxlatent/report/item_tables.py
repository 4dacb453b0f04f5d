"""Item tables of a summary: slopes by factor, intercepts and other item parameters, with standard errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from jaxlatent.report.blocks import Block, Row, Table
from jaxlatent.report.numbers import fixed, probability
from jaxlatent.report.tables import is_fixed

MOST_COLUMNS = 8
"""Beyond, standard errors stand in parentheses under the estimates."""
SLOPES = "Slopes"
TITLES = {
    "~1": "Intercepts",
    "guessing": "Lower Asymptotes (Guessing)",
    "upper": "Upper Asymptotes",
    "scoring": "Scoring of Categories",
    "dispersion": "Dispersions",
    "spacing": "Spacing of Categories",
    "shift": "Shifts",
}
STEMS = {"~1": "d", "guessing": "g", "upper": "u", "scoring": "s", "dispersion": "phi", "spacing": "b", "shift": "c"}


def item_blocks(
    parameters: pd.DataFrame, items: Sequence[str], factors: Sequence[str], h2: pd.Series | None = None
) -> Iterator[Block]:
    """The tables of one group.

    parameters: the group's rows of the parameter table; h2: communalities of the items.
    """
    slopes = parameters[(parameters["op"] == "=~") & parameters["rhs"].isin(items)]
    if len(factors) == 1:
        yield _one_factor(slopes, items, h2)
    else:
        cells = {(row["rhs"], row["lhs"]): row for _, row in slopes.iterrows()}
        yield from _matrix(SLOPES, cells, items, factors)
        yield _loadings(cells, items, factors, h2)
    own = parameters[parameters["lhs"].isin(items) & (parameters["op"] != "=~")]
    for op, title in TITLES.items():
        rows = own[own["op"] == op]
        if rows.empty or bool(rows.apply(is_fixed, axis=1).all() and op in ("upper", "scoring", "dispersion")):
            continue
        several = bool((rows["rhs"] != "").any())
        cells = {(row["lhs"], f"{STEMS[op]}{row['rhs']}"): row for _, row in rows.iterrows()}
        if several:  # an item with one intercept beside others with more: its is the first
            cells = {(item, f"{STEMS[op]}1" if name == STEMS[op] else name): row for (item, name), row in cells.items()}
        names = sorted({name for _, name in cells}, key=lambda name: (len(name), name))
        there = [item for item in items if any((item, name) in cells for name in names)]
        yield from _matrix(title, cells, there, names)


def _one_factor(slopes: pd.DataFrame, items: Sequence[str], h2: pd.Series | None) -> Table:
    rows = []
    by_item = {row["rhs"]: row for _, row in slopes.iterrows()}
    for item in items:
        if item not in by_item:
            continue
        row = by_item[item]
        tests = ("", "", "") if is_fixed(row) else (fixed(row["se"]), fixed(row["z"]), _p(row["pvalue"]))
        share = "" if h2 is None else fixed(h2[item])
        rows.append(Row(item, (fixed(row["est"]), *tests, fixed(row["std_all"]), share), 2, _tag(row)))
    columns = ("Slope", "Std.Err", "z-value", "P(>|z|)", "Loading", "h2")
    return Table(columns, tuple(rows), SLOPES, "parameters")


def _p(value: float) -> str:
    text = probability(value)
    return "" if text == "n/a" else text


def _tag(row: pd.Series) -> str:
    label = row.get("label", "")
    return f"({label})" if isinstance(label, str) and label else ""


def _matrix(
    title: str, cells: dict[tuple[str, str], pd.Series], items: Sequence[str], names: Sequence[str]
) -> Iterator[Table]:
    """Items by named columns, standard errors beside the estimates where there is room, else under them."""
    beside = 2 * len(names) <= MOST_COLUMNS
    rows: list[Row] = []
    for item in items:
        found = [cells.get((item, name)) for name in names]
        estimates = [_slope(row) if title == SLOPES else "" if row is None else fixed(row["est"]) for row in found]
        errors = ["" if row is None or is_fixed(row) else fixed(row["se"]) for row in found]
        if beside:
            rows.append(Row(item, tuple(text for pair in zip(estimates, errors, strict=True) for text in pair), 2))
            continue
        rows.append(Row(item, tuple(estimates), 2))
        if any(errors):
            rows.append(Row("", tuple(f"({text})" if text else "" for text in errors), 2))
    columns = tuple(text for name in names for text in (str(name), "Std.Err")) if beside else tuple(map(str, names))
    hint = "" if beside else " (standard errors in parentheses)"
    yield Table(columns, tuple(rows), title + hint, "parameters")


def _slope(row: pd.Series | None) -> str:
    """The number; nothing where a fixed zero says that there is no path."""
    if row is None or (is_fixed(row) and float(row["est"]) == 0):
        return ""
    return fixed(row["est"])


def _loadings(
    cells: dict[tuple[str, str], pd.Series], items: Sequence[str], factors: Sequence[str], h2: pd.Series | None
) -> Table:
    rows = []
    for item in items:
        found = [cells.get((item, factor)) for factor in factors]
        values = ["" if _slope(row) == "" or row is None else fixed(row["std_all"]) for row in found]
        share = "" if h2 is None else fixed(h2[item])
        rows.append(Row(item, (*values, share), 2))
    return Table((*map(str, factors), "h2"), tuple(rows), "Standardized Loadings and Communalities", "parameters")
