"""Linear equality constraints as a matrix, and the parameters they leave free."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxlatent.spec.expressions import affine
from jaxlatent.spec.table import Constraint, ParameterTable


@dataclass(frozen=True)
class Linear:
    """R free = c over the free vector: matrix [k, n_free], value [k]; rows that repeat others are dropped."""

    matrix: np.ndarray
    value: np.ndarray

    @property
    def rank(self) -> int:
        return len(self.value)

    def reduce(self) -> tuple[np.ndarray, np.ndarray]:
        """offset [n_free] and basis [n_free, n_free - k] with free = offset + basis @ x for every solution."""
        offset = np.linalg.lstsq(self.matrix, self.value, rcond=None)[0]
        return offset, null_space(self.matrix)


def null_space(matrix: np.ndarray) -> np.ndarray:
    """Orthonormal columns that a matrix [k, n] maps to zero."""
    _, size, right = np.linalg.svd(matrix)
    rank = int((size > 1e-10 * max(size.max(initial=0.0), 1.0)).sum())
    return right[rank:].T


def split(table: ParameterTable) -> tuple[Linear, tuple[Constraint, ...], tuple[Constraint, ...]]:
    """Linear equalities as a matrix, nonlinear equalities, and inequalities.

    Raises ValueError where linear equalities contradict each other.
    """
    rows, values, nonlinear, texts = [], [], [], []
    for constraint in table.constraints:
        if constraint.op != "==":
            continue
        left, right = affine(constraint.lhs), affine(constraint.rhs)
        if left is None or right is None:
            nonlinear.append(constraint)
            continue
        row = np.zeros(table.n_free)
        for sign, (terms, _) in ((1.0, left), (-1.0, right)):
            for name, coefficient in terms.items():
                row[table.free_labels[name] - 1] += sign * coefficient
        rows.append(row)
        values.append(right[1] - left[1])
        texts.append(constraint.text)
    inequalities = tuple(c for c in table.constraints if c.op in "<>")
    return _independent(rows, values, texts, table.n_free), tuple(nonlinear), inequalities


def _independent(rows: list, values: list, texts: list[str], n_free: int) -> Linear:
    kept: list[int] = []
    for i, row in enumerate(rows):
        trial = np.array([rows[k] for k in kept] + [row]).reshape(-1, n_free)
        if np.linalg.matrix_rank(trial, tol=1e-10) > len(kept):
            kept.append(i)
            continue
        full = np.column_stack([trial, [values[k] for k in kept] + [values[i]]])
        if np.linalg.matrix_rank(full, tol=1e-10) > len(kept):
            raise ValueError(
                f"The constraint {texts[i].strip()!r} contradicts the other equality constraints: remove one."
            )
    matrix = np.array([rows[k] for k in kept]).reshape(-1, n_free)
    return Linear(matrix, np.array([values[k] for k in kept]))
