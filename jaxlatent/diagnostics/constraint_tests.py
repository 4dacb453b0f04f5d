"""Tests of constraints: score tests for letting equalities go, Wald tests for imposing new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.diagnostics.modification import expected, gradient
from jaxlatent.inference.information import Inference
from jaxlatent.inference.moment_model import MomentModel
from jaxlatent.inference.posterior_mode import refuse_mode
from jaxlatent.numerics.special import chdtrc
from jaxlatent.results.values import STEP, estimates
from jaxlatent.spec.expressions import evaluate, names, parse_expression
from jaxlatent.spec.layout import SYMMETRIC, Layout
from jaxlatent.spec.restrictions_matrix import null_space

if TYPE_CHECKING:
    import pandas as pd


def score_tests(inference: Inference) -> pd.DataFrame:
    """For every equality between parameters what chi-square would lose without it, and for all of them together.

    Columns constraint, stat, df, pvalue; the last row, "total", releases all (Bentler and Chou 1993; expected
    information).
    """
    import pandas as pd

    fitted = inference.fitted
    refuse_mode(fitted.priors, "Score tests are")
    model, restrictions, texts = _untied(inference)
    if not texts:
        return pd.DataFrame({"constraint": [], "stat": [], "df": [], "pvalue": []})
    score, information = gradient(inference, model), expected(inference, model)

    def statistic(kept: np.ndarray) -> float:
        z = null_space(kept) if len(kept) else np.eye(len(score))
        s = z.T @ score
        return float(fitted.n_total * s @ np.linalg.pinv(z.T @ information @ z, hermitian=True) @ s)

    stats = [statistic(np.delete(restrictions, k, axis=0)) for k in range(len(texts))]
    stats.append(statistic(restrictions[:0]))
    df = np.array([1] * len(texts) + [np.linalg.matrix_rank(restrictions)])
    return pd.DataFrame({"constraint": [*texts, "total"], "stat": stats, "df": df, "pvalue": chdtrc(df, stats)})


def _untied(inference: Inference) -> tuple[MomentModel, np.ndarray, list[str]]:
    """Every row with a parameter of its own, and the equalities that tied them."""
    fitted = inference.fitted
    index = {name: np.array(i) for name, i in fitted.layout.index.items()}
    values, first, rows, texts = list(fitted.free), {}, [], []
    for row in fitted.table.rows:
        if not row.free:
            continue
        if row.free not in first:
            first[row.free] = row
            continue
        name, cell = fitted.places.of(row)
        for c in {cell, cell[::-1]} if name in SYMMETRIC else {cell}:
            index[name][(row.group - 1, *c)] = len(values)
        rows.append({row.free - 1: 1.0, len(values): -1.0})
        texts.append(f"{first[row.free].plabel} == {row.plabel}")
        values.append(fitted.free[row.free - 1])
    for k, given in enumerate(fitted.restrictions[: fitted.equalities]):
        rows.append(dict(enumerate(given)))
        texts.append([c.text for c in fitted.table.constraints if c.op == "=="][k].strip())
    matrix = np.zeros((len(rows), len(values)))
    for k, entries in enumerate(rows):
        for j, value in entries.items():
            matrix[k, j] = value
    free = np.array(values)
    wide = Layout(index, fitted.layout.fixed, free)
    return MomentModel(wide, free, fitted.group_weight, fitted.table.mean_structure), matrix, texts


def wald_test(inference: Inference, vcov: np.ndarray, text: str) -> dict[str, float]:
    """(h' (H V H')^-1 h) for constraints such as "a == b; c == 0" on labels or defined parameters (Wald 1943).

    Raises ValueError for an unknown name, or constraints that repeat each other.
    """
    fitted = inference.fitted
    pairs = [_sides(line) for line in text.replace("\n", ";").split(";") if line.strip()]
    labels = [r.label for r in fitted.table.rows] + [d.name for d in fitted.table.definitions]
    plabels = [r.plabel for r in fitted.table.rows]
    known = {name for name in (*labels, *plabels) if name}
    for pair in pairs:
        for name in (n for side in pair for n in names(side)):
            if name not in known:
                shown = ", ".join(sorted(n for n in set(labels) if n)) or "none"
                raise ValueError(f"The name {name!r} is not a label of the model; its labels are: {shown}.")

    def h(free: np.ndarray) -> np.ndarray:
        values = estimates(fitted, free)
        at = dict(zip(plabels, values[: len(plabels)], strict=True))
        at |= {name: value for name, value in zip(labels, values, strict=True) if name}
        return np.array([evaluate(a, at) - evaluate(b, at) for a, b in pairs])

    jacobian = np.array([h(fitted.free + 1j * STEP * e).imag / STEP for e in np.eye(len(fitted.free))]).T
    spread = jacobian @ vcov @ jacobian.T
    if np.linalg.matrix_rank(spread) < len(pairs):
        raise ValueError("The constraints of the Wald test repeat each other or involve fixed parameters only.")
    value = h(fitted.free).real
    stat = float(value @ np.linalg.solve(spread, value))
    return {"stat": stat, "df": len(pairs), "pvalue": float(chdtrc(len(pairs), stat))}


def _sides(line: str) -> tuple:
    left, sign, right = line.partition("==")
    if not sign:
        raise ValueError(f"Expected constraints such as 'a == b'; got {line.strip()!r}.")
    return parse_expression(left), parse_expression(right)
