"""Item response models of several occasions: from a row a person and occasion to a row a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxlatent.data.coding import Coding
from jaxlatent.data.frames import column_names, is_named, numeric_matrix
from jaxlatent.data.occasions import (
    LongRows,
    check_links,
    labels_of,
    occasion_column,
    occasions_of_rows,
    person_column,
    rows_of,
    widened,
)
from jaxlatent.data.responses import Responses
from jaxlatent.inference.item_checks import check_counts, check_covariates, check_groups, check_rows
from jaxlatent.inference.item_data import ItemData
from jaxlatent.inference.item_preparation import (
    ItemSpec,
    Prepared,
    assemble,
    cell_priors,
    coding_for,
    margins_of,
    type_of,
)
from jaxlatent.spec.item_factors import factors_of
from jaxlatent.spec.item_table import ItemTable
from jaxlatent.spec.occasions import Occasions


def prepare_occasions(spec: ItemSpec, data: Any, group: str | None, weights: str | None, listwise: bool) -> Prepared:
    """What IRT does with a frame, for a frame with a row a person and occasion."""
    assert spec.occasions is not None
    if not is_named(data):
        raise ValueError("With occasions expected a frame with a row for each person and occasion, which names both.")
    given, occasion = spec.occasions
    who, person = person_column(data, given, occasion)
    when, labels = occasion_column(data, occasion)
    used = {group, weights, person, occasion, *spec.covariates}
    items = tuple(name for name in column_names(data, ()) if name not in used)
    factors = spec.syntax or factors_of(spec.factors, items, spec.covariates)
    for name in (*factors.items, *factors.covariates):
        if name in (person, occasion):
            raise ValueError(
                f"The variable {name!r} says who or when, and is also in the model: it can be one of them."
            )
    if isinstance(spec.item_type, Mapping):
        for name in spec.item_type:
            if name not in factors.items:
                raise ValueError(f"item_type names {name!r}, which is no item of the model.")
    long = Responses.from_frame(data, factors.items, group=group, weights=weights, covariates=factors.covariates)
    y = numeric_matrix(data, factors.items)
    kept = ~np.isnan(y).all(axis=1)  # rows that from_frame keeps
    if listwise:
        long, kept = long.listwise(), kept & ~np.isnan(y).any(axis=1)
    coding = coding_for(long, [type_of(spec, name) for name in factors.items])
    codes = coding.encode(long.y)
    check_groups(codes, long, coding, spec.group_equal)
    rows = rows_of(labels_of(data, kept), who[kept], when[kept], labels, occasion)
    occasions = Occasions(person, occasion, labels, factors.items, factors.factors)
    wide = widened(long, rows, who[kept], occasions.n, occasions.repeated(factors.items))
    n = len(wide.y)
    check_rows(n, len(factors.items))
    check_covariates(wide, spec.group_equal)
    table, measurement = assemble(spec, coding, wide.group_labels, (), margins_of(codes, coding), occasions)
    said = check_links(wide.y.reshape(n, occasions.n, -1), factors.items, _items_by_factor(table), labels)
    everywhere = repeated_coding(coding, occasions)
    if not spec.priors:
        check_counts(table, everywhere)
    data_ = ItemData(everywhere.encode(wide.y), wide.group, wide.weight, wide.covariates)
    notes = (*wide.notes, *coding.notes, _counted(occasions, rows, n), *said)
    return Prepared(table, measurement, everywhere, data_, wide, cell_priors(spec.priors, table), notes, ())


def read_occasions(table: ItemTable, coding: Coding, group: str | None, data: Any) -> tuple[ItemData, LongRows, Any]:
    """New persons of a fitted model: their coded answers, their rows, and labels of persons."""
    occasions = table.occasions
    assert occasions is not None
    long = Responses.for_scoring(data, occasions.items, group=group, labels=table.groups, covariates=table.covariates)
    who, _ = person_column(data, occasions.person, occasions.occasion)
    when = occasions_of_rows(data, occasions.occasion)
    rows = rows_of(labels_of(data, np.ones(len(who), bool)), who, when, occasions.labels, occasions.occasion)
    wide = widened(long, rows, who, occasions.n, coding.names)
    return ItemData(coding.encode(wide.y), wide.group, None, wide.covariates), rows, wide.index


def repeated_coding(coding: Coding, occasions: Occasions) -> Coding:
    """The coding of the items of all occasions."""
    return Coding(occasions.repeated(coding.names), coding.values * occasions.n, coding.notes)


def _items_by_factor(table: ItemTable) -> list[list[int]]:
    """Items of every factor of one occasion."""
    assert table.occasions is not None
    d, j = len(table.occasions.factors), len(table.occasions.items)
    found: list[list[int]] = [[] for _ in range(d)]
    for row in table.rows:
        if row.matrix == "loadings" and row.group == 1 and row.cell[0] < j and (row.free or row.fixed):
            found[row.cell[1]].append(row.cell[0])
    return found


def _counted(occasions: Occasions, rows: LongRows, n: int) -> str:
    who = "the row labels" if occasions.person is None else repr(occasions.person)
    return (
        f"{len(rows.person)} rows of {n} persons (by {who}) at {occasions.n} occasions (of {occasions.occasion!r}):"
        f" {', '.join(occasions.labels)}."
    )
