"""Values of parameters by name, or by matrix, as the free vector of an item response model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxlatent.spec.item_table import PADDED, ItemTable
from jaxlatent.spec.layout import Layout

CLOSE = 1e-8


def free_of(table: ItemTable, layout: Layout, params: Mapping[str, Any]) -> np.ndarray:
    """The free vector: loadings and variances of factors are 1 unless given, the rest where a fit would start.

    params: labels, rows ("F =~ a", "a ~1 2", "F ~~ G") or matrices (see ``_place``) -> values. Raises ValueError for
    what the model doesn't have, two values of one parameter, a value of a fixed cell, and values out of range.
    """
    free = np.asarray(layout.start, float).copy()
    variances = np.diagonal(np.asarray(layout.index["factor_cov"]), axis1=-2, axis2=-1)
    for index in (np.asarray(layout.index["loadings"]), variances):
        free[index[index >= 0]] = 1.0
    given = np.full(table.n_free, np.nan)
    names = _names(table)
    for name, value in params.items():
        plain = str(name).replace(" ", "")
        if name in layout.index:
            _place(table, layout, str(name), value, given)
        elif plain in names:
            for k in names[plain]:
                _set(given, k, _number(name, value), str(name))
        else:
            raise ValueError(
                f"The model has no free parameter {name!r}; it has the matrices {', '.join(layout.index)} and the rows"
                f" {', '.join(names)}."
            )
    free = np.where(np.isnan(given), free, given)
    gap = table.linear.matrix @ free - table.linear.value if table.linear.rank else np.zeros(1)
    if np.abs(gap).max() > 1e-6:
        raise ValueError("The values break the model's restrictions: give values that keep all of them.")
    _check_range(table, matrices_of(table, layout, free))
    return free


def matrices_of(table: ItemTable, layout: Layout, free: np.ndarray) -> dict[str, np.ndarray]:
    """Named matrices [group, ...]."""
    full = np.append(free, 0.0)
    return {name: np.where(i >= 0, full[i], layout.fixed[name]) for name, i in layout.index.items()}


def _names(table: ItemTable) -> dict[str, list[int]]:
    """Labels and rows -> positions in the free vector; a row without its group means all groups."""
    out: dict[str, list[int]] = {}
    for row in table.rows:
        if not row.free:
            continue
        plain = f"{row.lhs}{row.op}{row.rhs}"
        several = {plain, f"{plain}.{table.groups[row.group - 1]}"} if table.n_groups > 1 else {plain}
        for name in several | ({row.label} if row.label else set()):
            out.setdefault(name, []).append(row.free - 1)
    return {name: sorted(set(at)) for name, at in out.items()}


def _number(name: Any, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"Expected a number for {name!r}; got {value!r}.") from None


def _set(given: np.ndarray, k: int, value: float, name: str) -> None:
    if not np.isfinite(value):
        raise ValueError(f"Expected a finite number for {name!r}; got {value!r}.")
    if np.isfinite(given[k]) and abs(given[k] - value) > CLOSE:
        raise ValueError(f"Two values, {given[k]:g} and {value:g}, were given for one parameter, in {name!r}.")
    given[k] = value


def _place(table: ItemTable, layout: Layout, name: str, value: Any, given: np.ndarray) -> None:
    """A matrix [item, cell] or [group, item, cell], a vector where there is one cell, a frame with names, or one number
    for all free cells; nan: not given.
    """
    index, fixed = np.asarray(layout.index[name]), np.asarray(layout.fixed[name])
    a = np.asarray(_ordered(table, name, value), float)
    if a.ndim == 0:
        a = np.where(index >= 0, a, np.nan)
    if a.ndim == 1 and index.ndim == 3 and index.shape[-1] == 1:
        a = a[:, None]
    a = a[None] if a.ndim == index.ndim - 1 else a
    narrow = index.ndim == 3 and a.ndim == 3 and a.shape[-1] < index.shape[-1]
    if narrow and fixed[..., a.shape[-1] :].max() <= PADDED:
        a = np.pad(a, ((0, 0), (0, 0), (0, index.shape[-1] - a.shape[-1])), constant_values=np.nan)
    try:
        a = np.broadcast_to(a, index.shape)
    except ValueError:
        shape = " x ".join(str(k) for k in index.shape[1:])
        raise ValueError(
            f"Expected {name!r} with shape {shape}{', by group' if len(index) > 1 else ''}; got {np.shape(value)}."
        ) from None
    for cell in zip(*np.nonzero(~np.isnan(a)), strict=True):
        if index[cell] >= 0:
            _set(given, int(index[cell]), float(a[cell]), name)
        elif abs(a[cell] - fixed[cell]) > CLOSE:
            at = ", ".join(str(int(k) + 1) for k in cell[1:])
            here = "does not exist" if fixed[cell] <= PADDED else f"is fixed at {fixed[cell]:g}"
            raise ValueError(f"The cell ({at}) of {name!r} {here} in this model; got {a[cell]:g}.")


def _ordered(table: ItemTable, name: str, value: Any) -> Any:
    """A frame or series with rows (and columns) in the model's order."""
    if not hasattr(value, "index") or callable(value.index):
        return value
    people = {"factor_cov", "factor_means", "regressions", "covariate_effects"}
    rows = table.factors if name in people else table.observed
    columns = {"loadings": table.factors, "factor_cov": table.factors, "regressions": table.factors,
               "covariate_effects": table.covariates}.get(name)  # fmt: skip
    value = value.set_axis([str(v) for v in value.index])
    if sorted(value.index) != sorted(rows):
        raise ValueError(f"Expected rows {', '.join(rows)} in {name!r}; got {', '.join(value.index)}.")
    value = value.loc[list(rows)]
    if columns is None or not hasattr(value, "columns"):
        return value
    value = value.set_axis([str(v) for v in value.columns], axis=1)
    if sorted(value.columns) != sorted(columns):
        raise ValueError(f"Expected columns {', '.join(columns)} in {name!r}; got {', '.join(value.columns)}.")
    return value[list(columns)]


def _check_range(table: ItemTable, matrices: dict[str, np.ndarray]) -> None:
    """Raises ValueError where intercepts don't decrease, a number is out of range, or covariances are impossible."""
    for j, item in enumerate(table.items):
        for row in item.parameters:
            value = matrices[row.matrix][:, j, : len(row.cells)]
            wrong = {
                "decreasing": (np.diff(value) >= 0).any(),
                "unit": ((value < 0) | (value > 1)).any(),
                "positive": (value <= 0).any(),
            }.get(row.support, False)
            if wrong:
                expected = {"decreasing": "decrease", "unit": "lie between 0 and 1"}.get(row.support, "be positive")
                shown = ", ".join(f"{v:g}" for v in value[0])
                raise ValueError(f"Expected the {row.matrix} of the item {item.name!r} to {expected}; got {shown}.")
    for cov in matrices["factor_cov"]:
        if np.linalg.eigvalsh(cov).min() < -CLOSE:
            raise ValueError("These factor covariances are not those of any variables: not positive semidefinite.")
