"""Every loading that a model leaves out, as a free row of its table: for priors that keep them small."""

from __future__ import annotations

import math
from dataclasses import replace

from .table import ParameterTable, Row


def with_cross_loadings(table: ParameterTable, equal: bool = False) -> ParameterTable:
    """The table with a free loading of every indicator on every factor with indicators, where it has none yet.

    They start at 0 and are marked as added (user = 0); equal: the same in all groups. Muthén and Asparouhov (2012),
    Psychological Methods 17.

    Raises ValueError where no loading is left out.
    """
    rows, number = list(table.rows), table.n_free
    latent = set(table.latent)
    measured = [r for r in table.rows if r.op == "=~" and r.rhs not in latent]
    factors = [f for f in table.latent if any(r.lhs == f for r in measured)]
    items = [v for v in table.observed if any(r.rhs == v for r in measured)]
    shared: dict[tuple[str, str], int] = {}
    for group in range(1, table.n_groups + 1):
        own = {(r.lhs, r.rhs) for r in measured if r.group == group}
        for f in factors:
            for item in items:
                if (f, item) in own:
                    continue
                if not equal or (f, item) not in shared:
                    number += 1
                    shared[f, item] = number
                k = len(rows) + 1
                free = shared[f, item] if equal else number
                rows.append(Row(k, f, "=~", item, 0, group, 1, free, math.nan, 0.0, 0, "", f".p{k}.", None, ""))
    if len(rows) == len(table.rows):
        raise ValueError("The model has no cross-loadings to free: every indicator loads on every factor already.")
    return replace(table, rows=tuple(rows))
