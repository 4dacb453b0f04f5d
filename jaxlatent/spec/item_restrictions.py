"""Restrictions of item parameters: linear maps of loadings, and values they are fixed at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from jaxlatent.spec.item_table import ITEM_MATRICES, Item, ItemRow
from jaxlatent.spec.restrictions_matrix import Linear, null_space


def loading_map(
    given: object, rows: Sequence[ItemRow], n_items: int, n_factors: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """vec(Lambda) = A t + b as restrictions on the free loadings; vec goes item by item."""
    try:
        a, b = (np.asarray(part, dtype=float) for part in given)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise ValueError(
            "Expected constraints as a pair (A, b) with vec(loadings) = A t + b, items in rows of vec by factors."
        ) from None
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("Expected finite numbers in the constraints (A, b).")
    cells = n_items * n_factors
    if a.ndim != 2 or len(a) != cells or b.shape != (cells,):
        raise ValueError(
            f"Expected A with {cells} rows and b with {cells} values ({n_items} items x {n_factors} factors); got"
            f" shapes {a.shape} and {b.shape}."
        )
    away = null_space(a.T).T  # rows n with n'(vec - b) = 0, in every group
    n_groups = max(row.group for row in rows)
    value = np.tile(away @ b, n_groups)
    matrix = np.zeros((n_groups * len(away), size))
    for row in rows:
        if row.matrix == "loadings":
            at = row.cell[0] * n_factors + row.cell[1]
            own = slice((row.group - 1) * len(away), row.group * len(away))
            if row.free:
                matrix[own, row.free - 1] += away[:, at]
            else:
                value[own] -= away[:, at] * row.fixed
    used = np.abs(matrix).sum(axis=1) > 1e-12
    if np.abs(value[~used]).max(initial=0.0) > 1e-8:
        raise ValueError("The constraints (A, b) contradict the zeros or fixed values of the loadings.")
    return matrix[used], value[used]


def joined(first: Linear, more: tuple[np.ndarray, np.ndarray]) -> Linear:
    """Both restrictions, without rows that repeat others."""
    matrix, value = np.vstack([first.matrix, more[0]]), np.concatenate([first.value, more[1]])
    u, size, right = np.linalg.svd(matrix, full_matrices=False)
    keep = size > 1e-9 * max(size.max(initial=0.0), 1.0)
    solved = (u.T @ value)[keep] / size[keep]
    if np.abs(matrix @ (right[keep].T @ solved) - value).max(initial=0.0) > 1e-7:
        raise ValueError("The constraints (A, b) contradict the other equality constraints of the model.")
    return Linear(right[keep], solved)


def check_fixed(fixed: Mapping[str, object], items: Sequence[Item]) -> None:
    """Names are those of parameters that the items have, and values lie where such a parameter can."""
    known = ("loadings", *ITEM_MATRICES)
    has = {item.name: {"loadings", *(row.matrix for row in item.parameters)} for item in items}
    for name, given in fixed.items():
        if name not in known:
            raise ValueError(f"Expected names in fixed among {', '.join(known)}; got {name!r}.")
        wanted = list(given) if isinstance(given, Mapping) else [item for item in has if name in has[item]]
        if not wanted:
            raise ValueError(f"No item of this model has the parameter {name!r}, which fixed gives a value.")
        for item in wanted:
            if item not in has:
                raise ValueError(f"fixed[{name!r}] names {item!r}, which is no item of the model.")
            if name not in has[item]:
                raise ValueError(f"The item {item!r} has no parameter {name!r}, which fixed gives a value.")
            value = fixed_value(fixed, name, item)
            low, high = {"guessing": (0, 1), "upper": (0, 1), "dispersion": (0, math.inf)}.get(
                name, (-math.inf, math.inf)
            )
            if value is not None and not (low <= value <= high and (name != "dispersion" or value > 0)):
                where = "from 0 to 1" if high == 1 else "above 0"
                raise ValueError(f"Expected fixed[{name!r}] {where}; got {value:g} for the item {item!r}.")
    for item in has:
        if {"guessing", "upper"} <= fixed.keys():
            low_, high_ = fixed_value(fixed, "guessing", item), fixed_value(fixed, "upper", item)
            if low_ is not None and high_ is not None and low_ >= high_:
                raise ValueError(
                    f"Expected guessing below upper; fixed gives the item {item!r} {low_:g} and {high_:g}."
                )


def fixed_value(fixed: Mapping[str, object], matrix: str, item: str) -> float | None:
    """The value a matrix is fixed at for an item: one for all, or a mapping by item."""
    value = fixed.get(matrix)
    if isinstance(value, Mapping):
        value = value.get(item)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not np.isfinite(value):
        raise ValueError(
            f"Expected fixed[{matrix!r}] to be a number, or a mapping from items to numbers; got {value!r}."
        )
    return float(value)
