"""Zh: whether a person's response pattern is as likely as the model expects at the person's score."""

from __future__ import annotations

import numpy as np

from jaxlatent.diagnostics.category_tables import chosen


def zh(tables: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Standardized log-likelihood of persons [N]; tables [N, J, K] at each person's score (EAP), y [N, J].

    (l - E l) / sqrt(var l), l = sum_j log P_j,y_j, E l = sum_jk P log P, var l = sum_j [sum_k P log^2 P - (sum_k P log
    P)^2] over the observed items (Drasgow, Levine and Williams 1985). Near -2 and below: an unlikely pattern.
    """
    with np.errstate(divide="ignore"):
        log = np.where(tables > 0, np.log(tables), 0.0)
    seen = ~np.isnan(y)
    each = (tables * log).sum(-1)
    spread = (tables * log**2).sum(-1) - each**2
    surplus = np.where(seen, chosen(log, y) - each, 0.0).sum(1)
    variance = (spread * seen).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 0, surplus / np.sqrt(variance), np.nan)
