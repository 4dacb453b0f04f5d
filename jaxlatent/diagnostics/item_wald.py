"""Wald tests of item response models on labels and on names such as F1=~A1."""

from __future__ import annotations

import re

import numpy as np

from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.numerics.special import chdtrc
from jaxlatent.results.item_tables import complex_jacobian, free_names
from jaxlatent.spec.expressions import Expression, evaluate, names, parse_expression


def item_wald_test(fitted: ItemFitted, text: str) -> dict[str, float]:
    """h' (H V H')^-1 h for constraints such as "a == b; F1=~A1 == 1" on labels or names of vcov (Wald 1943).

    Raises
    ------
    ValueError
        There is no covariance matrix, a name is unknown, or constraints repeat each other.
    """
    if fitted.vcov is None:
        raise ValueError("This fit has no covariance matrix of its estimates: see fit.message and the engine's se.")
    known = free_names(fitted)
    plain = {f"parameter{k}": k for k in range(len(fitted.free))}
    pairs = [_sides(line, known) for line in text.replace("\n", ";").split(";") if line.strip()]
    if not pairs:
        raise ValueError("Expected constraints such as 'a == b'; got none.")
    for pair in pairs:
        for name in (n for side in pair for n in names(side)):
            if name not in plain:
                shown = ", ".join(list(known)[:8])
                raise ValueError(f"The name {name!r} is not a free parameter; those are: {shown}, ... (see vcov()).")

    def h(free: np.ndarray) -> np.ndarray:
        at = {name: free[k] for name, k in plain.items()}
        return np.array([evaluate(a, at) - evaluate(b, at) for a, b in pairs])

    jacobian = complex_jacobian(h, fitted.free)
    spread = jacobian @ fitted.vcov @ jacobian.T
    if np.linalg.matrix_rank(spread) < len(pairs):
        raise ValueError("The constraints of the Wald test repeat each other or involve fixed parameters only.")
    value = h(fitted.free)
    stat = float(value @ np.linalg.solve(spread, value))
    return {"stat": stat, "df": float(len(pairs)), "pvalue": float(chdtrc(len(pairs), stat))}


def _sides(line: str, known: dict[str, int]) -> tuple[Expression, Expression]:
    """Both sides of a line, names replaced by ones that the parser of expressions reads; longer names first."""
    options = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    text = re.sub(rf"(?<![\w.])(?:{options})(?![\w.])", lambda m: f"parameter{known[m.group()]}", line)
    left, sign, right = text.partition("==")
    if not sign:
        raise ValueError(f"Expected constraints such as 'a == b'; got {line.strip()!r}.")
    return parse_expression(left), parse_expression(right)
