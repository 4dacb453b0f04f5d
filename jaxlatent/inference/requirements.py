"""What a fit needs before and after it runs, told in one sentence where it is not there."""

from __future__ import annotations

import numpy as np

from jaxlatent.data.incomplete import Buckets
from jaxlatent.data.moments import GroupMoments, check_positive_definite
from jaxlatent.data.responses import Responses
from jaxlatent.inference.estimate import MESSAGES, Estimate
from jaxlatent.inference.saturated import saturated_moments
from jaxlatent.models.cells import implied
from jaxlatent.spec.expressions import Binary, evaluate, names
from jaxlatent.spec.layout import Layout
from jaxlatent.spec.restrictions_matrix import split
from jaxlatent.spec.table import Constraint, ParameterTable

CONVERGED, STUCK, BAD_START = 1, 3, 4  # of MESSAGES


def check_size(table: ParameterTable, informed: int = 0) -> None:
    """Refuse a model without free parameters, or with more of them than sample moments; informed: by a prior."""
    if table.n_free == 0:
        raise ValueError("The model has no free parameters: nothing is left to estimate; free at least one.")
    linear, nonlinear, _ = split(table)
    equalities = linear.rank + len(nonlinear)
    p, x = len(table.observed), len(table.exogenous)
    count = table.n_groups * (p * (p + 1) // 2 - x * (x + 1) // 2 + (p - x) * table.mean_structure)
    excess = table.n_free - equalities - count - informed
    if excess > 0:
        what = "means, variances and covariances" if table.mean_structure else "variances and covariances"
        tied = f" less {equalities} constraint(s)" if equalities else ""
        raise ValueError(
            f"The model has {table.n_free} free parameters{tied} ({_free_parameters(table)}) but only {count} sample"
            f" moments ({what} of {p} observed variables) to estimate them from: its degrees of freedom are -{excess},"
            f" so it is not identified; fix or equate at least {excess} parameter(s), or add indicators."
        )


def _free_parameters(table: ParameterTable, most: int = 8) -> str:
    first = {row.free: f"{row.lhs} {row.op} {row.rhs}".strip() for row in reversed(table.rows) if row.free}
    shown = [first[k] for k in sorted(first)]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def saturated_or_refuse(data: Responses, made: tuple[Buckets, ...] | None = None) -> tuple[GroupMoments, float]:
    """Maximum likelihood moments of incomplete rows and their log-likelihood; a sentence where there is no maximum."""
    p = len(data.names)
    for g in range(data.n_groups):
        if len(data.rows_of(g)) <= p:
            n = len(data.rows_of(g))
            raise ValueError(f"Expected more rows than variables; got {n} rows and {p} variables{_in(data, g)}.")
        count = np.array([(~np.isnan(column[data.group == g])).sum() for column in data.y.T])
        least = int(count.argmin())
        if count[least] <= p:
            raise ValueError(
                f"The variable {data.names[least]!r} is observed in {count[least]} rows only{_in(data, g)}, too few for"
                f" its covariances with {p - 1} others: leave it out."
            )
    moments, value = saturated_moments(data, made)
    for g, cov in enumerate(moments.cov):
        if not np.isfinite(cov).all():
            raise ValueError(_no_maximum(data, g))
        check_positive_definite(cov, data.names, f"The covariance matrix of the incomplete rows{_in(data, g)}")
    return moments, value


def _in(data: Responses, g: int) -> str:
    return f" in group {data.group_labels[g]!r}" if data.n_groups > 1 else ""


def _no_maximum(data: Responses, g: int) -> str:
    """Why a covariance matrix cannot be estimated from incomplete rows: two equal variables, or something rarer."""
    y = data.y[data.rows_of(g)]
    p = y.shape[1]
    for j in range(p):
        for k in range(j):
            pair = y[~np.isnan(y[:, [j, k]]).any(axis=1)][:, [j, k]]
            spread = pair.std(axis=0)
            if len(pair) > 2 and (spread > 0).all() and abs(np.corrcoef(pair.T)[0, 1]) > 1 - 1e-10:
                first, second = data.names[k], data.names[j]
                return f"The variables {first!r} and {second!r} are the same up to scale{_in(data, g)}: drop one."
    return (
        f"The covariance matrix of the incomplete rows{_in(data, g)} is not positive definite: a variable is a sum of"
        " others, or too few rows are observed together; leave a variable out or use missing='listwise'."
    )


def check_start(table: ParameterTable, layout: Layout, estimate: Estimate, restrictions: tuple) -> Estimate:
    """Refuse a fit that could not start, and say at which parameter or constraint.

    Where nothing is wrong with the starting values the information matrix was singular there: the code becomes "stuck".
    """
    if int(estimate.code) == CONVERGED:
        return estimate
    if not _positive_definite(layout, estimate.free):
        raise ValueError(_absent_variance(table) or _negative_variance(table) or MESSAGES[BAD_START])
    if int(estimate.code) != BAD_START:
        return estimate
    for constraint in (*restrictions[1], *restrictions[2]):
        if not _computable(table, estimate.free, constraint):
            raise ValueError(
                f"The constraint {constraint.text.strip()!r} is not a number at the starting values, or has no"
                " derivative there: give start() values that it allows, or remove it."
            )
    return estimate._replace(code=np.asarray(STUCK, np.int32))


def _computable(table: ParameterTable, free: np.ndarray, constraint: Constraint) -> bool:
    difference = Binary("-", constraint.lhs, constraint.rhs)
    values = {name: complex(free[table.free_labels[name] - 1], 1e-100) for name in names(difference)}
    with np.errstate(all="ignore"):
        found = evaluate(difference, values)
        plain = evaluate(difference, {name: value.real for name, value in values.items()})
    return bool(np.isfinite(found) and np.isfinite(plain))


def _positive_definite(layout: Layout, free: np.ndarray) -> bool:
    full = np.append(free, 0.0)
    for g in range(layout.index["loadings"].shape[0]):
        one = {name: np.where(i[g] >= 0, full[i[g]], layout.fixed[name][g]) for name, i in layout.index.items()}
        cov = implied(one)[1]
        d = np.diag(cov)
        if not np.isfinite(cov).all() or (d <= 0).any():
            return False
        if np.linalg.eigvalsh(cov / np.sqrt(np.outer(d, d)))[0] < 1e-14:
            return False
    return True


def _absent_variance(table: ParameterTable) -> str | None:
    with_variance = {row.lhs for row in table.rows if row.op == "~~" and row.lhs == row.rhs}
    absent = [v for v in table.observed if v not in with_variance]
    if not absent:
        return None
    shown = ", ".join(f"{v} ~~ {v}" for v in absent)
    return (
        "The implied covariance matrix at the starting values is not positive definite, and the model has no (residual)"
        f" variance for {', '.join(absent)}: add {shown}, or use auto=True."
    )


def _negative_variance(table: ParameterTable) -> str | None:
    for row in table.rows:
        value = row.start if row.free else row.fixed
        if row.op == "~~" and row.lhs == row.rhs and value < 0:
            how = "starts at" if row.free else "is fixed at"
            return (
                f"The variance {row.lhs} ~~ {row.rhs} {how} {value:g}, and the implied covariance matrix is not"
                " positive definite: expected a variance above 0."
            )
    return None
