"""Constraints at an estimate (host side): which inequalities are active, their Jacobian, and what to say of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxlatent.inference.estimate import Estimate
from jaxlatent.spec.expressions import Binary, Expression, evaluate, names
from jaxlatent.spec.restrictions_matrix import split
from jaxlatent.spec.table import Constraint, ParameterTable

ACTIVE = 1e-7  # |g| below this, relative to the size of its terms (at least 1), is "on the boundary"


def slack_of(constraint: Constraint) -> Expression:
    """The expression that an inequality wants to be at least zero."""
    left, right = (constraint.rhs, constraint.lhs) if constraint.op == "<" else (constraint.lhs, constraint.rhs)
    return Binary("-", left, right)


def derivatives(
    table: ParameterTable, free: np.ndarray, expressions: Sequence[Expression]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values [k] and Jacobian [k, n_free] of expressions by complex steps, and the size of their terms [k]."""
    value, jacobian = np.zeros(len(expressions)), np.zeros((len(expressions), table.n_free))
    with np.errstate(all="ignore"):
        for i, expression in enumerate(expressions):
            at = {name: table.free_labels[name] - 1 for name in names(expression)}
            values: dict[str, Any] = {name: free[k] for name, k in at.items()}
            value[i] = float(np.real(evaluate(expression, values)))
            for name, k in at.items():
                stepped = evaluate(expression, values | {name: complex(free[k], 1e-100)})
                jacobian[i, k] += float(np.imag(stepped)) / 1e-100
    return value, jacobian, np.maximum(np.abs(jacobian * free).sum(1), 1.0)


def active_inequalities(table: ParameterTable, estimate: Estimate, inequalities: tuple[Constraint, ...]) -> np.ndarray:
    """Which inequalities hold with equality: as the active set left them, else those on their boundary."""
    known = estimate.statistics.get("active")
    if known is not None and np.shape(known) == (len(inequalities),):
        return np.asarray(known, bool)
    value, _, size = derivatives(table, estimate.free, [slack_of(c) for c in inequalities])
    return np.abs(value) < ACTIVE * size


def active_jacobian(
    table: ParameterTable, estimate: Estimate, nonlinear: tuple[Constraint, ...], inequalities: tuple[Constraint, ...]
) -> tuple[np.ndarray, int]:
    """Jacobian [k, n_free] of the nonlinear equalities and of the active inequalities, and how many are equalities.

    Rows that depend at the estimate on linear equalities or on rows before them are left out, and cost nothing.
    """
    on = active_inequalities(table, estimate, inequalities)
    expressions: list[Expression] = [Binary("-", c.lhs, c.rhs) for c in nonlinear]
    expressions += [slack_of(c) for c, active in zip(inequalities, on, strict=True) if active]
    rows = derivatives(table, estimate.free, expressions)[1]
    linear = split(table)[0].matrix
    kept = _independent(np.concatenate([linear, rows]))[len(linear) :]
    return rows[kept], int(kept[: len(nonlinear)].sum())


def _independent(rows: np.ndarray) -> np.ndarray:
    """Which rows the ones before them do not span."""
    kept, basis = np.zeros(len(rows), bool), np.zeros((0, rows.shape[1]))
    for i, row in enumerate(rows):
        rest = row - basis.T @ (basis @ row)
        rest -= basis.T @ (basis @ rest)
        length = np.linalg.norm(rest)
        kept[i] = length > 1e-10 * np.linalg.norm(row)
        if kept[i]:
            basis = np.concatenate([basis, rest[None] / length])
    return kept


def active_messages(table: ParameterTable, estimate: Estimate, inequalities: tuple[Constraint, ...]) -> tuple[str, ...]:
    """One sentence for each active inequality."""
    on = active_inequalities(table, estimate, inequalities)
    return tuple(
        f"The constraint {c.text.strip()!r} is active: the estimate lies on its boundary, where standard errors and"
        " chi-square treat it as an equality without a change in degrees of freedom."
        for c, active in zip(inequalities, on, strict=True)
        if active
    )
