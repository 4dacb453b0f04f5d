"""Tables of how items, persons and pairs of items fit an item response model, and how reliable its scores are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.diagnostics.category_tables import expected_scores
from jaxlatent.diagnostics.irt_reliability import empirical_reliability
from jaxlatent.diagnostics.item_curves import information_matrices
from jaxlatent.diagnostics.item_fit import s_x2
from jaxlatent.diagnostics.item_nodes import ItemDiagnosis, by_groups
from jaxlatent.diagnostics.limited_information import residual_correlations
from jaxlatent.diagnostics.local_dependence import ld_x2, q3
from jaxlatent.diagnostics.mean_squares import item_mean_squares, person_mean_squares
from jaxlatent.diagnostics.person_fit import zh

if TYPE_CHECKING:
    import pandas as pd

SQUARES = ("infit", "z_infit", "outfit", "z_outfit")
PAIR_KINDS = ("x2", "df", "v", "q3", "cor")


def item_fit_frame(diagnosis: ItemDiagnosis) -> pd.DataFrame:
    """S-X2 with df, p-value and RMSEA, infit and outfit at the EAP scores with their z: a row an item."""
    import pandas as pd

    names = diagnosis.names
    parts = []
    for g in range(diagnosis.fitted.table.n_groups):
        columns: dict[str, np.ndarray] = dict.fromkeys(
            ("s_x2", "s_x2_df", "s_x2_pvalue", "s_x2_rmsea"), np.full(len(names), np.nan)
        )
        y, w = diagnosis.y(g), diagnosis.person_weights(g)
        if diagnosis.categorical.all() and diagnosis.enough_complete:
            found = s_x2(diagnosis.models[g], y, diagnosis.item_parameter_counts(g), w)
            columns = {
                "s_x2": found.statistic, "s_x2_df": found.df, "s_x2_pvalue": found.pvalue, "s_x2_rmsea": found.rmsea,
            }  # fmt: skip
        squares = item_mean_squares(*_categorical(diagnosis, g), w)
        for name in SQUARES:
            columns[name] = np.full(len(names), np.nan)
            columns[name][diagnosis.categorical] = getattr(squares, name)
        parts.append(pd.DataFrame(columns, names))
    return by_groups(parts, diagnosis.fitted.table.groups)


def person_fit_frame(diagnosis: ItemDiagnosis, index: np.ndarray) -> pd.DataFrame:
    """zh, infit and outfit of every person at the EAP score, with their z, over the items with categories."""
    import pandas as pd

    values = np.full((len(index), 1 + len(SQUARES)), np.nan)
    for g in range(diagnosis.fitted.table.n_groups):
        tables, y = _categorical(diagnosis, g)
        squares = person_mean_squares(tables, y)
        columns = [zh(tables, y), *(getattr(squares, name) for name in SQUARES)]
        values[diagnosis.rows(g)] = np.column_stack(columns)
    return pd.DataFrame(values, index, ["zh", *SQUARES])


def pair_frame(diagnosis: ItemDiagnosis, kind: str) -> pd.DataFrame:
    """A number for every pair of items; nan for items without categories.

    "x2": LD X2, "df": its df, "v": Cramer's V with a sign, "q3": correlation of residuals at the EAP scores, "cor":
    observed minus expected correlation.
    """
    import pandas as pd

    if kind not in PAIR_KINDS:
        raise ValueError(f"Expected kind to be one of {', '.join(PAIR_KINDS)}; got {kind!r}.")
    names, keep = diagnosis.names, diagnosis.categorical
    parts = []
    for g in range(diagnosis.fitted.table.n_groups):
        y, w = diagnosis.y(g)[:, keep], diagnosis.person_weights(g)
        if kind == "q3":
            values = q3(expected_scores(_categorical(diagnosis, g)[0]), y, w)
        elif kind == "cor":
            values = residual_correlations(diagnosis.group_part(g))
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                found = ld_x2(diagnosis.group_part(g).model, y, w)
            values = {"x2": found.x2, "df": found.df, "v": found.cramer_v}[kind]
        out = np.full((len(names),) * 2, np.nan)
        out[np.ix_(keep, keep)] = values
        parts.append(pd.DataFrame(out, names, names))
    return by_groups(parts, diagnosis.fitted.table.groups)


def _categorical(diagnosis: ItemDiagnosis, g: int) -> tuple[np.ndarray, np.ndarray]:
    """Tables [N, J', K] at the EAP scores and answers [N, J'] of the items with categories."""
    keep = diagnosis.categorical
    return diagnosis.person_tables(g)[:, keep], diagnosis.y(g)[:, keep]


def reliability_frame(diagnosis: ItemDiagnosis, turn: np.ndarray | None = None) -> pd.DataFrame:
    """Marginal reliability, expected from the model, and empirical, of the EAP scores: a row a factor.

    marginal_k = 1 - int [(I(x) + Psi^-1)^-1]_kk p(x) dx / Psi_kk, with one factor int I / (I + 1 / Psi) p(x) dx
    (Green, Bock, Humphreys, Linn and Reckase 1984). empirical_k = var(x_k) / (var(x_k) + mean(se_k^2)).
    turn [D, D]: scores are x turn (rotated solutions).
    """
    import pandas as pd

    f = diagnosis.fitted
    t = np.eye(len(f.table.factors)) if turn is None else turn
    mean, cov = diagnosis.posterior
    scores, spread = mean @ t, t.T @ cov @ t
    errors = np.sqrt(np.maximum(np.diagonal(spread, axis1=-2, axis2=-1), 0))
    parts = []
    for g in range(f.table.n_groups):
        x, weights = diagnosis.nodes[g]
        total = diagnosis.latent_moments[g][2]
        posterior = np.linalg.inv(information_matrices(diagnosis, x, g) + np.linalg.inv(total))
        marginal = 1 - np.diag(t.T @ np.tensordot(weights, posterior, 1) @ t) / np.diag(t.T @ total @ t)
        rows = diagnosis.rows(g)
        empirical = empirical_reliability(scores[rows], errors[rows], diagnosis.person_weights(g))
        parts.append(pd.DataFrame({"marginal": marginal, "empirical": empirical}, list(f.table.factors)))
    return by_groups(parts, f.table.groups)
