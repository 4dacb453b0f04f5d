"""Score tests of item response models: what freeing a fixed loading, or letting equal parameters differ, would gain.

mi = s_k^2 / V,  V = I_kk - I_kf I_ff^-1 I_fk,  epc = s_k / V: score s and information I of the extended model at the
estimate (Rao 1948); I observed, or the sum of s_i s_i' over persons where that would take too long.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.inference.marginal_fit import (
    AFFORDABLE,
    ItemFitted,
    default_rule,
    form_of,
    pattern_data,
    problem_of,
)
from jaxlatent.models.marginal import evaluate
from jaxlatent.models.observed import observed_information
from jaxlatent.models.points import Form, Problem
from jaxlatent.numerics.program import jit
from jaxlatent.numerics.special import chdtrc
from jaxlatent.results.item_tables import row_name
from jaxlatent.spec.layout import Layout
from jaxlatent.spec.restrictions_matrix import null_space
from jaxlatent.spec.two_tier import reduction_of

if TYPE_CHECKING:
    import pandas as pd

STEPS = 12
SINGULAR = 1e-8  # share of a parameter's information that must be left, given the free ones


@dataclass(frozen=True)
class Candidate:
    """A cell that could be a free parameter: lhs op rhs in a group (from 1), its matrix and cell."""

    lhs: str
    op: str
    rhs: str
    group: int
    matrix: str
    cell: tuple[int, ...]


@partial(jit, static_argnums=(0, 1))
def _derivatives(
    form: Form, observed: bool, problem: Problem, free: jax.Array, modes: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    at = evaluate(form, problem, free, modes, STEPS)
    matrix = observed_information(form, problem, free, modes, STEPS)[0] if observed else at.cross
    return at.score, matrix, at.cross


def _extended(fitted: ItemFitted, layout: Layout, free: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score [q'], information [q', q'] and sum of s_i s_i' of the model with this layout, priors counted."""
    used, _ = pattern_data(fitted.data)
    rule, form = fitted.rule, fitted.form
    if form.reduction is not None:  # a cell that is freed may join what could be integrated apart
        split = reduction_of(layout)
        rule = rule if split == form.reduction else default_rule(len(fitted.table.factors))
        form = form_of(fitted.measurement, fitted.coding, rule, split)
    with jax.enable_x64(True):
        problem, modes, _ = problem_of(form, layout, used, fitted.table.n_groups, rule, fitted.key)
        cost = used.n_persons * problem.n_points * len(free) ** 2
        at = jnp.asarray(free)
        found = _derivatives(form, cost < AFFORDABLE, problem, at, modes)
        _, gradient, hessian = fitted.priors.second_order(fitted.layout, jnp.asarray(fitted.free))
        score, matrix, cross = (np.array(a, float) for a in found)
    q = len(fitted.free)
    score[:q] += np.asarray(gradient)
    for each in (matrix, cross):
        each[:q, :q] -= np.asarray(hessian)
    return score, matrix, cross


def candidates(fitted: ItemFitted) -> list[Candidate]:
    """Loadings and covariances of factors that are fixed, group by group."""
    table, index = fitted.table, fitted.layout.index
    simple = {
        j
        for family, items in fitted.measurement.groups
        for j in items
        if type(family).__name__ in ("GradedRatingScale", "RatingScale")
    }
    out = []
    for g in range(table.n_groups):
        for j, item in enumerate(table.observed):
            for k, factor in enumerate(table.factors):
                if index["loadings"][g, j, k] < 0 and j not in simple:
                    out.append(Candidate(factor, "=~", item, g + 1, "loadings", (j, k)))
        for a in range(len(table.factors)):
            for b in range(a):
                if index["factor_cov"][g, a, b] < 0:
                    out.append(Candidate(table.factors[a], "~~", table.factors[b], g + 1, "factor_cov", (a, b)))
    return out


def item_modification_indices(fitted: ItemFitted) -> pd.DataFrame:
    """lhs, op, rhs, group, mi, epc for every fixed loading and covariance of factors, largest first.

    nan where freeing it would not be identified.
    """
    import pandas as pd

    given = candidates(fitted)
    index = {name: np.array(i) for name, i in fitted.layout.index.items()}
    q = len(fitted.free)
    for n, c in enumerate(given):
        for cell in {c.cell, c.cell[::-1]} if c.matrix == "factor_cov" else {c.cell}:
            index[c.matrix][(c.group - 1, *cell)] = q + n
    values = [float(fitted.params[c.matrix][(c.group - 1, *c.cell)]) for c in given]
    labels = fitted.table.groups
    frame = pd.DataFrame(
        {
            "lhs": [c.lhs for c in given],
            "op": [c.op for c in given],
            "rhs": [c.rhs for c in given],
            "group": [labels[c.group - 1] if len(labels) > 1 else 1 for c in given],
        }
    )
    if not given:
        return frame.assign(mi=pd.Series(dtype=float), epc=pd.Series(dtype=float))
    free = np.concatenate([fitted.free, values])
    score, matrix, cross = _extended(fitted, replace(fitted.layout, index=index, start=free), free)
    z = fitted.basis

    def left(a: np.ndarray) -> np.ndarray:
        """I_kk - I_kf I_ff^-1 I_fk of every candidate."""
        between = z.T @ a[:q, q:]
        return np.diag(a)[q:] - (between * (np.linalg.pinv(z.T @ a[:q, :q] @ z, hermitian=True) @ between)).sum(0)

    with np.errstate(divide="ignore", invalid="ignore"):
        identified = left(cross) > SINGULAR * np.diag(cross)[q:]  # else no person's likelihood changes
        v = np.where(identified & (left(matrix) > 0), left(matrix), np.nan)
        frame["mi"], frame["epc"] = score[q:] ** 2 / v, score[q:] / v
    return frame.sort_values("mi", ascending=False, ignore_index=True)


def item_score_tests(fitted: ItemFitted) -> pd.DataFrame:
    """constraint, stat, df, pvalue: what 2 log-likelihood would gain without each equality, and ("total") without all.

    Directions in which no person's likelihood changes are left out, and not counted in df.
    """
    import pandas as pd

    index = {name: np.array(i) for name, i in fitted.layout.index.items()}
    values = list(fitted.free)
    first: dict[int, str] = {}
    ties: list[tuple[int, int]] = []
    texts: list[str] = []
    for row in fitted.table.rows:
        if not row.free:
            continue
        name = row_name(row)
        if row.free not in first:
            first[row.free] = name
            continue
        for cell in {row.cell, row.cell[::-1]} if row.matrix == "factor_cov" else {row.cell}:
            index[row.matrix][(row.group - 1, *cell)] = len(values)
        ties.append((row.free - 1, len(values)))
        texts.append(f"{first[row.free]} == {name}")
        values.append(fitted.free[row.free - 1])
    linear = fitted.table.linear.matrix
    texts += [f"linear restriction {k + 1}" for k in range(len(linear))]
    if not texts:
        return pd.DataFrame({"constraint": [], "stat": [], "df": [], "pvalue": []})
    matrix = np.zeros((len(texts), len(values)))
    for k, (a, b) in enumerate(ties):
        matrix[k, a], matrix[k, b] = 1.0, -1.0
    matrix[len(ties) :, : linear.shape[1]] = linear
    free = np.array(values)
    score, info, cross = _extended(fitted, replace(fitted.layout, index=index, start=free), free)

    def statistic(kept: np.ndarray) -> tuple[float, int]:
        """s' I^-1 s where only these restrictions are kept, over identified directions, and their number."""
        z = null_space(kept) if len(kept) else np.eye(len(score))
        c = z.T @ cross @ z
        scale = np.sqrt(np.maximum(np.diag(c), 1e-300))
        size, vectors = np.linalg.eigh(c / np.outer(scale, scale))
        z = (z / scale) @ vectors[:, size > SINGULAR * size.max()]
        s = z.T @ score
        return float(s @ np.linalg.solve(z.T @ info @ z, s)), z.shape[1]

    base = statistic(matrix)[1]
    found = [statistic(np.delete(matrix, k, axis=0)) for k in range(len(texts))] + [statistic(matrix[:0])]
    stats, df = np.array([value for value, _ in found]), np.array([count - base for _, count in found])
    pvalue = np.where(df > 0, chdtrc(np.maximum(df, 1), np.maximum(stats, 0)), np.nan)
    return pd.DataFrame({"constraint": [*texts, "total"], "stat": stats, "df": df, "pvalue": pvalue})
