"""Values of table rows as functions of the free vector, differentiated exactly by complex steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from jaxlatent.inference.fitted import Fitted
from jaxlatent.models.cells import implied
from jaxlatent.spec.expressions import evaluate
from jaxlatent.spec.layout import SHAPES, Layout, Places
from jaxlatent.spec.table import ParameterTable, Row

STEP = 1e-30


def matrices(fitted: Fitted, free: np.ndarray) -> dict[str, np.ndarray]:
    """Matrices [group, ...] at a real or complex free vector."""
    full = np.append(free, 0.0)
    return {n: np.where(i >= 0, full[i], fitted.layout.fixed[n]) for n, i in fitted.layout.index.items()}


def row_cells(table: ParameterTable, places: Places) -> dict[str, tuple[np.ndarray, tuple[np.ndarray, ...]]]:
    """Per matrix the rows that live in it and their cells, for reading all rows at once."""
    found: dict[str, tuple[list, list]] = {name: ([], []) for name in SHAPES}
    for k, row in enumerate(table.rows):
        name, cell = places.of(row)
        found[name][0].append(k)
        found[name][1].append((row.group - 1, *cell))
    return {name: (np.array(rows), tuple(np.array(cells).T)) for name, (rows, cells) in found.items() if rows}


def row_values(fitted: Fitted, params: dict[str, np.ndarray]) -> np.ndarray:
    """Value of every table row [row]."""
    return _read_rows(fitted.table, fitted.places, params)


def _read_rows(table: ParameterTable, places: Places, params: dict[str, np.ndarray]) -> np.ndarray:
    out = np.zeros(len(table.rows), params["loadings"].dtype)
    for name, (rows, cells) in row_cells(table, places).items():
        out[rows] = params[name][cells]
    return out


def layout_values(table: ParameterTable, places: Places, layout: Layout, free: np.ndarray) -> np.ndarray:
    """Value of every table row at a free vector, without a fit."""
    full = np.append(free, 0.0)
    params = {n: np.where(i >= 0, full[i], layout.fixed[n]) for n, i in layout.index.items()}
    return _read_rows(table, places, params)


def definitions(fitted: Fitted, values: np.ndarray) -> np.ndarray:
    """Defined parameters [definition] from the values of the rows."""
    known = {r.plabel: v for r, v in zip(fitted.table.rows, values, strict=True)}
    known |= {r.label: v for r, v in zip(fitted.table.rows, values, strict=True) if r.label}
    out = []
    for d in fitted.table.definitions:
        known[d.name] = evaluate(d.expression, known)
        out.append(known[d.name])
    return np.array(out, dtype=values.dtype)


def estimates(fitted: Fitted, free: np.ndarray) -> np.ndarray:
    """Rows, then definitions."""
    values = row_values(fitted, matrices(fitted, free))
    return np.concatenate([values, definitions(fitted, values)])


def standardize(fitted: Fitted, free: np.ndarray, *, everything: bool) -> np.ndarray:
    """Rows, then definitions, with latent variables (or, everything, all variables) scaled to variance one.

    Covariances of residuals become residual correlations, variances shares of the total variance, as in lavaan.
    """
    params = matrices(fitted, free)
    out = row_values(fitted, params) * scale_factors(fitted, params, fitted.table.rows, everything)
    return np.concatenate([out, definitions(fitted, out)])


def scale_factors(fitted: Fitted, params: dict, rows: Sequence[Row], everything: bool) -> np.ndarray:
    """What the values of rows are multiplied by to be standardized [row]."""
    scale = [_scales(fitted, params, g, everything) for g in range(fitted.table.n_groups)]
    return np.array([_factor(row, *scale[row.group - 1]) for row in rows])


def _factor(row: Row, total: dict, residual: dict) -> complex:
    match row.op:
        case "=~":
            return total[row.lhs] / total[row.rhs]
        case "~":
            return total[row.rhs] / total[row.lhs]
        case "~1":
            return 1 / total[row.lhs]
    if row.lhs == row.rhs:
        return 1 / total[row.lhs] ** 2
    return 1 / (residual[row.lhs] * residual[row.rhs])


def _scales(fitted: Fitted, params: dict, g: int, everything: bool) -> tuple[dict, dict]:
    """Total and residual standard deviations by name; 1 for variables that are not scaled."""
    one = {name: value[g] for name, value in params.items()}
    m = len(fitted.places.latent)
    a = np.linalg.inv(np.eye(one["regressions"].shape[0]) - one["regressions"])
    phi = np.diag(a @ one["factor_cov"] @ a.T)[:m]
    psi = np.diag(one["factor_cov"])[:m]
    total, residual = {}, {}
    for name, t, r in zip(fitted.places.latent, phi, psi, strict=True):
        scaled = everything or name in fitted.table.latent
        total[name], residual[name] = (_root(t), _root(r)) if scaled else (1.0, 1.0)
    _, sigma = implied(one)
    for j, name in enumerate(fitted.table.observed):
        if name not in total:
            total[name] = _root(sigma[j, j]) if everything else 1.0
            residual[name] = _root(one["residual_cov"][j, j]) if everything else 1.0
    return total, residual


def _root(x: complex) -> complex:
    """Square root of a variance; of its absolute value in a Heywood case, as lavaan does."""
    return np.sqrt(x if x.real > 0 else -x)


def jacobian(function: Callable[[np.ndarray], np.ndarray], free: np.ndarray) -> np.ndarray:
    """d function / d free [output, n_free], exact to machine precision for analytic functions."""
    columns = []
    for k in range(len(free)):
        point = free.astype(complex)
        point[k] += 1j * STEP
        columns.append(function(point).imag / STEP)
    return np.array(columns).T
