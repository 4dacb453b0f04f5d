"""What is refused before an item response model is fitted: data and model that do not go together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jaxlatent.data.coding import Coding
from jaxlatent.data.responses import Responses
from jaxlatent.measurement.decoders import Decoder
from jaxlatent.measurement.family import Family
from jaxlatent.measurement.item_types import ItemType
from jaxlatent.spec.item_factors import Factors
from jaxlatent.spec.item_table import Item, ItemTable


def check_rows(n: int, j: int) -> None:
    if j > 2 * n:
        raise ValueError(
            f"Expected more persons than items; got {n} rows and {j} columns: are persons in columns? Then transpose."
        )
    if n < 10:
        raise ValueError(f"Expected at least 10 persons; got {n}, too few for an item response model.")


def check_size(responses: Responses, factors: Factors) -> None:
    n, j = responses.y.shape
    check_rows(n, j)
    if len(factors.factors) >= max(j, 2):
        raise ValueError(f"Expected fewer factors than items; got {len(factors.factors)} factors and {j} items.")


def check_covariates(responses: Responses, equal: Sequence[str]) -> None:
    """Covariates vary, and none is a sum of the others, wherever their effects are estimated."""
    z = responses.covariates
    if z is None:
        return
    groups = range(1) if "regressions" in equal else range(responses.n_groups)
    for g in groups:
        own = z if len(groups) == 1 else z[responses.group == g]
        here = f" in group {responses.group_labels[g]!r}" if len(groups) > 1 else ""
        away = own - own.mean(axis=0)
        away = away / np.maximum(np.abs(away).max(axis=0), 1e-300)
        for k, name in enumerate(responses.covariate_names):
            if np.linalg.matrix_rank(away[:, : k + 1], tol=1e-9 * np.sqrt(len(own))) <= k:
                raise ValueError(
                    f"The covariate {name!r} is constant or a sum of the other covariates{here}: remove it"
                    + (", or leave the group out." if here else ".")
                )


def check_counts(table: ItemTable, coding: Coding) -> None:
    """No more parameters than the data have proportions of patterns."""
    if table.n_free == 0:
        raise ValueError("The model has no free parameter: everything is fixed.")
    if not coding.categorical or table.covariates:
        return
    patterns = table.n_groups * (math.prod(coding.n_categories) - 1)
    if table.n_parameters > patterns:
        raise ValueError(
            f"The model has {table.n_parameters} parameters, but the answers to {len(table.items)} item(s) only"
            f" {patterns} proportions of patterns: it is not identified; use more items, or fix parameters."
        )


def check_groups(codes: np.ndarray, responses: Responses, coding: Coding, equal: Sequence[str]) -> None:
    """Every group saw every category, unless intercepts are the same in all groups."""
    if responses.n_groups == 1 or "intercepts" in equal:
        return
    for g, label in enumerate(responses.group_labels):
        here = codes[responses.group == g]
        for j, (name, k) in enumerate(zip(coding.names, coding.n_categories, strict=True)):
            for c in range(k):
                if not (here[:, j] == c).any():
                    value = coding.values[j][c]  # type: ignore[index]
                    raise ValueError(
                        f"Nobody in group {label!r} gave the answer {value:g} to the item {name!r}: join categories, or"
                        " make intercepts equal over groups."
                    )


def check_simple(table: ItemTable, types: Sequence[tuple[str, ItemType]]) -> None:
    for j, (name, given) in enumerate(types):
        loads = [
            r for r in table.rows if r.matrix == "loadings" and r.cell[0] == j and r.group == 1 and (r.free or r.fixed)
        ]
        if given.simple and len(loads) != 1:
            raise ValueError(
                f"The item {table.items[j].name!r} of type {name!r} depends on {len(loads)} factors; expected one."
            )


def check_shared(items: Sequence[Item]) -> None:
    """Items that share a row have as many categories as one another."""
    first: dict[str, Item] = {}
    for item in items:
        if any(row.shared for row in item.parameters):
            other = first.setdefault(item.type, item)
            if other.n_categories != item.n_categories:
                raise ValueError(
                    f"Items of type {item.type!r} share their spacing and need as many categories as one another; got"
                    f" {other.n_categories} of {other.name!r} and {item.n_categories} of {item.name!r}."
                )


def check_decoded(decoders: Sequence[Decoder], items: Sequence[Item], families: Sequence[Family]) -> None:
    """Items of decoders have one predictor, and a type that does not read its slope."""
    for decoder in decoders:
        for item, family in zip(items, families, strict=True):
            named = decoder.items is None or item.name in decoder.items
            if named and (family.reads_slope or family.outputs > 1):
                raise ValueError(
                    f"The item {item.name!r} of type {item.type!r} can't have a decoder: its type is a function of its"
                    " loading, not of its predictor alone."
                )
