"""Score tests: what the fit would gain if fixed parameters were freed or equal ones let apart (Soerbom 1989).

mi = s^2 / V,  V = I_kk - I_kf I_ff^-1 I_fk,  epc = s / V: gradient and expected information of the extended model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.information import SINGULAR, Inference
from jaxlatent.inference.moment_model import MomentModel
from jaxlatent.inference.posterior_mode import refuse_mode
from jaxlatent.numerics.definite import smallest_eigenvalue
from jaxlatent.results.values import matrices, scale_factors
from jaxlatent.spec.layout import SYMMETRIC, Layout
from jaxlatent.spec.table import Row

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 300  # candidates examined together
Parts = Callable[[MomentModel], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Extended:
    """The fitted model with candidate cells added as free parameters at their present values."""

    model: MomentModel
    n_free: int


def candidates(fitted: Fitted) -> list[Row]:
    """Rows that are not free: every loading, covariance and regression the model could have, then fixed rows."""
    table, seen = fitted.table, set()
    for row in table.rows:
        seen.add((row.lhs, row.op, row.rhs, row.group))
        if row.op == "~~":
            seen.add((row.rhs, row.op, row.lhs, row.group))
    out = [r for r in table.rows if not r.free and not r.exo]
    for group in range(1, table.n_groups + 1):
        for lhs, op, rhs in _possible(fitted):
            if (lhs, op, rhs, group) not in seen:
                out.append(_row(lhs, op, rhs, group))
    return out


def _possible(fitted: Fitted) -> list[tuple[str, str, str]]:
    table = fitted.table
    exogenous, latent = set(table.exogenous), table.latent
    measured = [v for v in table.observed if v not in exogenous]
    indicators = {r.rhs for r in table.rows if r.op == "=~"}
    regressed = {r.lhs for r in table.rows if r.op == "~"}
    pure = [v for v in measured if v not in regressed or v in indicators]
    out = [(f, "=~", v) for f in latent for v in pure if v in indicators]
    out += [(v, "~~", w) for i, v in enumerate(measured) for w in measured[i + 1 :]]
    out += [(v, "~~", w) for i, v in enumerate(latent) for w in latent[i + 1 :]]
    if any(r.op == "~" for r in table.rows):
        used = {v for r in table.rows if r.op == "~" for v in (r.lhs, r.rhs)}
        nodes = [v for v in (*latent, *table.observed) if v in used]
        out += [(v, "~", w) for v in nodes for w in nodes if v != w and v not in exogenous]
    return out


def _row(lhs: str, op: str, rhs: str, group: int) -> Row:
    return Row(0, lhs, op, rhs, 0, group, 1, 0, 0.0, math.nan, 0, "", "", None, "")


def _placeable(fitted: Fitted, row: Row) -> bool:
    """Whether the candidate has a cell in this model's matrices."""
    carried, latent = set(fitted.places.carried), set(fitted.table.latent)
    inner = carried | latent
    if row.op == "~~":
        return (row.lhs in inner) == (row.rhs in inner)
    return row.op != "~" or (row.lhs in inner and row.rhs in inner)


def _one_per_cell(fitted: Fitted, rows: list[Row]) -> list[Row]:
    """Without rows that stand for the cell of an earlier one (f =~ y and y ~ f where y is carried as latent)."""
    taken = {(r.group, *fitted.places.of(r)) for r in fitted.table.rows if r.free}
    out = []
    for row in rows:
        name, cell = fitted.places.of(row)
        key = (row.group, name, cell)
        if key not in taken:
            taken |= {key, (row.group, name, cell[::-1])} if name in SYMMETRIC else {key}
            out.append(row)
    return out


def extend(fitted: Fitted, rows: list[Row]) -> Extended:
    """Layout with one more free parameter for every candidate, the free vector filled up with present values."""
    layout, n = fitted.layout, fitted.table.n_free
    index = {name: np.array(i) for name, i in layout.index.items()}
    values = list(fitted.free)
    for k, row in enumerate(rows):
        name, cell = fitted.places.of(row)
        where = (row.group - 1, *cell)
        values.append(layout.fixed[name][where])
        for c in {where, (where[0], *cell[::-1])} if name in SYMMETRIC else {where}:
            index[name][c] = n + k
    free = np.array(values, dtype=float)
    wide = Layout(index, layout.fixed, free)
    return Extended(MomentModel(wide, free, fitted.group_weight, fitted.table.mean_structure), n)


def gradient(inference: Inference, model: MomentModel) -> np.ndarray:
    """Minus the derivative of the objective per person by every parameter of an extended model."""
    f = inference.fitted
    total = np.zeros(model.layout.n_free)
    for g, share in enumerate(f.group_weight):
        total += share * model.jacobian[g].T @ inference.moment_pull(g)
    return total


def expected(inference: Inference, model: MomentModel) -> np.ndarray:
    """Expected information per person of an extended model."""
    f = inference.fitted
    total = np.zeros((model.layout.n_free,) * 2)
    for g, share in enumerate(f.group_weight):
        total += share * inference.expected_of(model, g)
    return total


def modification_indices(inference: Inference, *, minimum: float = 0.0, sort: bool = True) -> pd.DataFrame:
    """Modification indices with expected parameter changes, raw (epc) and standardized (sepc_lv, sepc_all).

    Candidates whose release is not identified (a marker's loading, say) are left out.
    """
    fitted = inference.fitted
    refuse_mode(fitted.priors, "Modification indices are")
    rows = candidates(fitted)
    if smallest_eigenvalue(fitted.tangent(inference.expected)) < SINGULAR:
        rows = []  # nothing can be said about a model that is not identified

    def parts(model: MomentModel) -> tuple[np.ndarray, np.ndarray]:
        return gradient(inference, model) * _rescale(fitted), expected(inference, model)

    frame = index_table(inference, rows, parts, fitted.n_total)
    frame = frame[frame["mi"] >= minimum]
    return frame.sort_values("mi", ascending=False, ignore_index=True) if sort else frame.reset_index(drop=True)


def index_table(inference: Inference, rows: list[Row], parts: Parts, n: float) -> pd.DataFrame:
    """A row for every candidate that has a cell of its own and is identified.

    parts: score and expected information, per person of n, of a model with candidates as its last parameters.
    """
    import pandas as pd

    fitted = inference.fitted
    rows = _one_per_cell(fitted, [r for r in rows if _placeable(fitted, r)])
    found = []
    for start in range(0, len(rows), CHUNK):
        found += _examine(inference, rows[start : start + CHUNK], parts, n)
    several = fitted.table.n_groups > 1
    data = {
        "lhs": [r.lhs for r, *_ in found],
        "op": [r.op for r, *_ in found],
        "rhs": [r.rhs for r, *_ in found],
        "group": [fitted.group_labels[r.group - 1] if several else 1 for r, *_ in found],
        "mi": [v[0] for _, v in found],
        "epc": [v[1] for _, v in found],
        "sepc_lv": [v[2] for _, v in found],
        "sepc_all": [v[3] for _, v in found],
    }
    return pd.DataFrame(data)


def _rescale(fitted: Fitted) -> float:
    """lavaan takes the score of least squares, not its information, from moments divided by n."""
    return fitted.n_effective / fitted.n_total if fitted.engine.name in ("GLS", "ULS", "WLS", "DWLS") else 1.0


def _examine(
    inference: Inference, rows: list[Row], parts: Parts, n: float
) -> list[tuple[Row, tuple[float, float, float, float]]]:
    fitted = inference.fitted
    extended = extend(fitted, rows)
    n_free = extended.n_free
    score, information = parts(extended.model)
    score = score[n_free:]
    cross = information[:n_free, n_free:]
    own = np.diag(information)[n_free:]
    bread = inference.invert(information[:n_free, :n_free])
    variance = own - (cross * (bread @ cross)).sum(axis=0)
    params = matrices(fitted, fitted.free)
    lv, every = (scale_factors(fitted, params, rows, everything) for everything in (False, True))
    out = []
    for k, row in enumerate(rows):
        if not variance[k] > 1e-9 * own[k]:
            continue
        change = score[k] / variance[k]
        out.append((row, (n * score[k] ** 2 / variance[k], change, change * lv[k], change * every[k])))
    return out
