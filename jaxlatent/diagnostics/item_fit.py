"""S-X2: whether the proportions of each category at every sum score follow the model (Orlando and Thissen 2000)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jaxlatent.diagnostics.category_tables import CategoryTables, complete_rows
from jaxlatent.diagnostics.sum_scores import leave_one_out, lord_wingersky
from jaxlatent.numerics.special import chdtrc

Table = tuple[np.ndarray, np.ndarray]  # observed and expected counts of one shape
Row = tuple[list[float], list[float]]  # observed and expected counts of one score, categories merged


@dataclass(frozen=True)
class ItemFit:
    """S-X2 of every item [J]; pvalue and rmsea are nan where df is not positive."""

    statistic: np.ndarray
    df: np.ndarray
    pvalue: np.ndarray
    rmsea: np.ndarray


def s_x2(
    model: CategoryTables,
    y: np.ndarray,
    n_parameters: np.ndarray,
    person_weights: np.ndarray | None = None,
    minimum: float = 1.0,
) -> ItemFit:
    """sum_s sum_k (O_sk - E_sk)^2 / E_sk over sum scores s, sparse cells merged until every E_sk is at least minimum.

    y [N, J], persons with a missing response left out; n_parameters [J] is taken off the cells' degrees of freedom
    (Orlando and Thissen 2000; polytomous items: Kang and Chen 2008). See `merged` for the merging.
    """
    observed, expected = score_tables(model, y, person_weights)
    n = float(observed[0].sum())
    statistic, df = np.zeros(len(observed)), np.zeros(len(observed), dtype=int)
    for j, (o, e, categories) in enumerate(zip(observed, expected, model.n_categories, strict=True)):
        rows = merged((o, e), int(categories), minimum)
        statistic[j] = sum((a - b) ** 2 / b for row in rows for a, b in zip(*row, strict=True) if b > 0)
        df[j] = sum(len(row[0]) - 1 for row in rows) - n_parameters[j]
    positive = np.where(df > 0, df, math.nan)
    rmsea = np.sqrt(np.maximum(statistic - positive, 0.0) / (positive * (n - 1)))
    return ItemFit(statistic, df, np.where(df > 0, chdtrc(np.maximum(df, 1), statistic), math.nan), rmsea)


def free_parameters(jacobian: np.ndarray, weight_jacobian: np.ndarray | None = None) -> np.ndarray:
    """How many free parameters every item's table depends on, and the latent distribution with it [J], as mirt counts.

    jacobian [R, J, K, q], weight_jacobian [R, q].
    """
    used = (jacobian != 0).any((0, 2))
    if weight_jacobian is not None:
        used |= (weight_jacobian != 0).any(0)
    return used.sum(1)


def score_tables(
    model: CategoryTables, y: np.ndarray, person_weights: np.ndarray | None = None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Observed and expected counts [S, K_j] of every item's categories at every sum score.

    E_sk = N_s sum_r w_r P_jk S_-j(s - k) / sum_r w_r S(s), S the distribution of the sum, S_-j without item j.
    """
    code, weights = complete_rows(y, person_weights)
    total = model.weights @ lord_wingersky(model.tables, model.n_categories)
    score = code.sum(1)
    rate = np.bincount(score, weights, minlength=len(total)) / total
    observed = [np.zeros((len(total), k)) for k in model.n_categories]
    expected = [np.zeros((len(total), k)) for k in model.n_categories]
    for j, rest in leave_one_out(model.tables, model.n_categories):
        np.add.at(observed[j], (score, code[:, j]), weights)
        joint = (model.weights[:, None] * model.tables[:, j]).T @ rest
        for k in range(model.n_categories[j]):
            at = slice(k, k + rest.shape[1])
            expected[j][at, k] = joint[k] * rate[at]
    return observed, expected


def merged(table: Table, categories: int, minimum: float) -> list[Row]:
    """Rows of the table [S, K] with all expected counts at least minimum; the two extreme scores are left out.

    1. Scores at which some category can't occur (the first and the last K - 1) are added up.
    2. In a row, from the last category down, a cell that is too small joins the one below it, the first joins the one
       above it; two cells always remain.
    3. A row that still has a small cell is added to the next one, cell by cell: low scores to higher ones, high
       scores to lower ones, up to the score with most persons.
    """
    rows = [_joined(row, minimum) for row in _scores(table, categories)]
    if not rows:
        return []
    centre = int(np.argmax([sum(e) for _, e in rows]))
    low = _pooled(rows[:centre], minimum)
    high = _pooled(rows[:centre:-1], minimum)
    ends = [low.pop()] if low and _sparse(low[-1], minimum) else []
    ends += [high.pop()] if high and _sparse(high[-1], minimum) else []
    middle = rows[centre]
    for row in ends:
        middle = _joined(_sum(row, middle), minimum)
    out = [*low, middle, *high[::-1]]
    while len(out) > 1 and (at := [i for i, row in enumerate(out) if _sparse(row, minimum)]):
        i = at[0]
        beside = i - 1 if i else 1
        out[beside] = _joined(_sum(out[i], out[beside]), minimum)
        del out[i]
    return out


def _scores(table: Table, categories: int) -> list[Row]:
    """Rows from the lowest score but one to the highest but one, those with impossible categories added up."""
    last, edge = len(table[0]) - 2, categories - 1
    if last < 1:
        return []
    blocks = [range(1, last + 1)]
    if edge < last + 1 - edge:
        inner = range(edge + 1, last + 1 - edge)
        blocks = [range(1, edge + 1), *(range(s, s + 1) for s in inner), range(last + 1 - edge, last + 1)]
    return [(table[0][list(b)].sum(0).tolist(), table[1][list(b)].sum(0).tolist()) for b in blocks]


def _joined(row: Row, minimum: float) -> Row:
    """A row whose small cells have joined their neighbours; at least two cells."""
    o, e = list(row[0]), list(row[1])
    k = len(e) - 1
    while k >= 0 and len(e) > 2:
        if e[k] < minimum:
            to = k - 1 if k else 1
            o[to], e[to] = o[to] + o[k], e[to] + e[k]
            del o[k], e[k]
        k -= 1
    return o, e


def _pooled(rows: list[Row], minimum: float) -> list[Row]:
    """Rows in their order, each that is sparse added to the next; only the last one may still be sparse."""
    out: list[Row] = []
    for row in rows:
        if out and _sparse(out[-1], minimum):
            out[-1] = _joined(_sum(out[-1], row), minimum)
        else:
            out.append(row)
    return out


def _sparse(row: Row, minimum: float) -> bool:
    return min(row[1]) < minimum


def _sum(a: Row, b: Row) -> Row:
    """Cell by cell from the first; the longer row keeps its last cells."""
    size = max(len(a[0]), len(b[0]))
    x, y = ([np.pad(v, (0, size - len(v))) for v in row] for row in (a, b))
    return (x[0] + y[0]).tolist(), (x[1] + y[1]).tolist()
