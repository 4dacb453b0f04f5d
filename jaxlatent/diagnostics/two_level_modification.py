"""Modification indices of two-level models, by the score and the expected information (Soerbom 1989).

Of incomplete rows by the observed information.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.diagnostics.modification import candidates, index_table
from jaxlatent.inference.information import SINGULAR, Inference
from jaxlatent.inference.moment_model import MomentModel
from jaxlatent.inference.two_level_fit import TwoLevelFitted
from jaxlatent.inference.two_level_model import TwoLevelProblem, two_level
from jaxlatent.numerics.definite import smallest_eigenvalue
from jaxlatent.spec.levels import LEVELS

if TYPE_CHECKING:
    import pandas as pd


def two_level_indices(fit: TwoLevelFitted) -> pd.DataFrame:
    """lhs, op, rhs, group, level, mi, epc, sepc_lv, sepc_all of what either level leaves out, largest first."""

    def parts(model: MomentModel) -> tuple[np.ndarray, np.ndarray]:
        found = two_level(TwoLevelProblem(model.layout, fit.moments, fit.cases), model.free)
        return -found.gradient, found.expected if fit.cases is None else found.hessian

    table, n_free = fit.fitted.table, fit.fitted.table.n_free
    information = parts(fit.fitted.model)[1][:n_free, :n_free]
    identified = smallest_eigenvalue(fit.fitted.tangent(information)) >= SINGULAR
    here = [{name for r in table.rows if r.group == g for name in (r.lhs, r.rhs)} for g in (1, 2)]
    rows = [r for r in candidates(fit.fitted) if {r.lhs, r.rhs} - {""} <= here[r.group - 1]] if identified else []
    frame = index_table(Inference(fit.fitted), rows, parts, fit.moments.persons)
    frame.insert(4, "level", [LEVELS.index(label) + 1 for label in frame["group"]])
    frame["group"] = 1
    return frame.sort_values("mi", ascending=False, ignore_index=True)
