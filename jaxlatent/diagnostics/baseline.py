"""The independence model: variances (and means) only; fixed exogenous variables keep their covariances."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.fitting import exogenous_moments
from jaxlatent.inference.moment_model import MomentModel, normal_weight
from jaxlatent.inference.priors import Priors
from jaxlatent.inference.settings import LeastSquares
from jaxlatent.spec.layout import Layout, layout_of, places
from jaxlatent.spec.table import ParameterTable, Row


def baseline(fitted: Fitted) -> Fitted:
    """The independence model fitted to the same data in closed form."""
    table = baseline_table(fitted.table)
    layout = layout_of(table, exogenous=exogenous_moments(table, fitted.moments.mean, fitted.moments.cov))
    free, value, logl = _estimate(fitted, table, layout)
    estimate = Estimate(free, np.zeros((len(free),) * 2), logl, np.asarray(1), np.asarray(0), {"value": value})
    none = np.zeros((0, table.n_free))
    return replace(
        fitted,
        table=table,
        places=places(table),
        layout=layout,
        estimate=estimate,
        log_likelihood=logl,
        restrictions=none,
        equalities=0,
        priors=Priors(),
    )


def baseline_table(table: ParameterTable) -> ParameterTable:
    """Rows of the independence model, group by group."""
    rows: list[Row] = []
    fixed, count = set(table.exogenous), itertools.count(1)

    def add(group: int, lhs: str, op: str, rhs: str, exo: bool) -> None:
        number = 0 if exo else next(count)
        k = len(rows) + 1
        rows.append(Row(k, lhs, op, rhs, 0, group, 1, number, math.nan, math.nan, int(exo), "", f".p{k}.", None, ""))

    for g in range(1, table.n_groups + 1):
        for i, v in enumerate(table.observed):
            add(g, v, "~~", v, v in fixed)
            for w in table.observed[:i]:
                if v in fixed and w in fixed:
                    add(g, w, "~~", v, True)
        for v in table.observed if table.mean_structure else ():
            add(g, v, "~1", "", v in fixed)
    return replace(table, rows=tuple(rows), definitions=(), constraints=(), latent=())


def _estimate(fitted: Fitted, table: ParameterTable, layout: Layout) -> tuple[np.ndarray, np.ndarray, float]:
    if isinstance(fitted.engine, LeastSquares):
        return _least_squares(fitted, table, layout)
    moments = fitted.moments
    mean, var = moments.mean, np.array([np.diag(s) for s in moments.cov])
    if fitted.missing == "fiml":
        mean, var = _observed_moments(fitted)
    free = _fill(table, mean, var)
    if fitted.missing == "fiml":
        logl = _independent_log_likelihood(fitted, var)
        return free, np.asarray(-logl / fitted.n_total), logl
    value = 0.0
    for s, f in zip(moments.cov, fitted.group_weight, strict=True):
        d = np.diag(np.diag(s)).copy()
        at = np.ix_(fitted.exogenous, fitted.exogenous)
        d[at] = s[at]
        value += f * (np.linalg.slogdet(d)[1] - np.linalg.slogdet(s)[1]) / 2
    return free, np.asarray(value), fitted.saturated_log_likelihood - fitted.n_total * value


def _fill(table: ParameterTable, mean: np.ndarray, var: np.ndarray) -> np.ndarray:
    free = np.zeros(table.n_free)
    for row in table.rows:
        if row.free:
            j = table.observed.index(row.lhs)
            free[row.free - 1] = (var if row.op == "~~" else mean)[row.group - 1, j]
    return free


def _observed_moments(fitted: Fitted) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances of the observed values of each variable, per group; column by column, for large data."""
    shape = (fitted.rows.n_groups, len(fitted.table.observed))
    means, variances = np.empty(shape), np.empty(shape)
    for g, j, y, w in _columns(fitted):
        means[g, j] = w @ y / w.sum()
        y -= means[g, j]
        variances[g, j] = np.einsum("i,i,i", w, y, y) / w.sum()
    return means, variances


def _columns(fitted: Fitted) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Group, variable, a copy of the observed values, and their weights."""
    data = fitted.rows
    for g in range(data.n_groups):
        rows = slice(None) if data.n_groups == 1 else data.rows_of(g)
        for j in range(data.y.shape[1]):
            y = data.y[rows, j]
            seen = ~np.isnan(y)
            weight = np.broadcast_to(1.0, int(seen.sum())) if data.weight is None else data.weight[rows][seen]
            yield g, j, y[seen], weight


def _independent_log_likelihood(fitted: Fitted, var: np.ndarray) -> float:
    total = 0.0
    for g, j, _, w in _columns(fitted):
        if j not in fitted.exogenous:
            total -= w.sum() * (math.log(2 * math.pi) + np.log(var[g, j]) + 1) / 2
    return float(total)


def _least_squares(fitted: Fitted, table: ParameterTable, layout: Layout) -> tuple[np.ndarray, np.ndarray, float]:
    """Linear in its parameters, so weighted regression of the moments; the weight stays the fitted model's."""
    moments = fitted.moments
    empty = MomentModel(layout, np.zeros(table.n_free), fitted.group_weight, table.mean_structure)
    bread, right, parts = 0.0, 0.0, []
    for g, f in enumerate(fitted.group_weight):
        w = _independence_weight(moments.cov[g], table) if fitted.engine.kind == "dls" else fitted.weights[g]
        delta, r = empty.jacobian[g], empty.residual(g, moments.mean[g], moments.cov[g])
        weighted = (w[:, None] * delta if w.ndim == 1 else w @ delta).T
        bread, right = bread + f * weighted @ delta, right + f * weighted @ r
        parts.append((w, delta, r, f))
    free = np.linalg.solve(bread, right)
    value = 0.0
    for w, delta, r, f in parts:
        e = r - delta @ free
        value += f * (e @ (w * e if w.ndim == 1 else w @ e)) / 2
    return free, np.asarray(value), math.nan


def _independence_weight(cov: np.ndarray, table: ParameterTable) -> np.ndarray:
    return normal_weight(np.diag(1 / np.diag(cov)), table.mean_structure)
