"""Deep models of several occasions: one decoder for all, latent variables that depend on those before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from jaxlatent.data.frames import column_names, is_named, numeric_matrix
from jaxlatent.data.occasions import (
    labels_of,
    occasion_column,
    occasions_of_rows,
    person_column,
    rows_of,
    widened,
)
from jaxlatent.data.responses import Responses
from jaxlatent.inference.deep_columns import Columns
from jaxlatent.latent.structural import StructuralNormal
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.networks import Repeated
from jaxlatent.spec.layout import Layout, blocks_of
from jaxlatent.spec.occasions import START, Occasions, Transition


def read_long(
    data: Any, given: tuple[str | None, str], factors: tuple[str, ...], weights: str | None, listwise: bool
) -> tuple[Responses, Responses, Occasions]:
    """Rows as they came, and a row a person with the columns of all occasions.

    Raises ValueError where these are no rows of persons and occasions.
    """
    if not is_named(data):
        raise ValueError("With occasions expected a frame with a row for each person and occasion, which names both.")
    who, person = person_column(data, *given)
    when, labels = occasion_column(data, given[1])
    names = tuple(name for name in column_names(data, ()) if name not in (person, given[1], weights))
    long = Responses.from_frame(data, names, weights=weights, constant=True)
    y = numeric_matrix(data, names)
    kept = ~np.isnan(y).all(axis=1)  # rows that from_frame keeps
    if listwise:
        long, kept = long.listwise(), kept & ~np.isnan(y).any(axis=1)
    rows = rows_of(labels_of(data, kept), who[kept], when[kept], labels, given[1])
    occasions = Occasions(person, given[1], labels, names, factors)
    return long, widened(long, rows, who[kept], occasions.n, occasions.repeated(names)), occasions


def new_rows(data: Any, occasions: Occasions) -> Responses:
    """New persons of a fitted model, a row each."""
    long = Responses.for_scoring(data, occasions.items, group=None, labels=())
    who, _ = person_column(data, occasions.person, occasions.occasion)
    when = occasions_of_rows(data, occasions.occasion)
    rows = rows_of(labels_of(data, np.ones(len(who), bool)), who, when, occasions.labels, occasions.occasion)
    return widened(long, rows, who, occasions.n, occasions.repeated(occasions.items))


def repeated_columns(columns: Columns, occasions: Occasions) -> Columns:
    """The columns of all occasions."""
    n = occasions.n
    return Columns(
        occasions.repeated(columns.names), columns.families * n, columns.values * n, np.tile(columns.center, n),
        np.tile(columns.scale, n), columns.notes,
    )  # fmt: skip


def repeated_model(model: LatentVariableModel, n: int, step: Transition) -> LatentVariableModel:
    """The model of n occasions: the same p(y_t | x_t) at each, x_1 as it was, x_t = alpha_t + Phi_t x_{t-1} + xi_t.

    xi_t ~ N(0, Psi_t) with Psi_t diagonal, which a rotation of x makes it where the decoder is free.
    """
    old = model.measurement
    shift = old.n_items * np.arange(n)[:, None]
    groups = []
    for family, items in old.groups:
        at = tuple(int(j) for j in (shift + np.array(items)).ravel())
        groups.append((family, range(at[0], at[-1] + 1) if at == tuple(range(at[0], at[-1] + 1)) else at))
    sizes = tuple(family.outputs * len(items) for family, items in old.groups)
    decoder = None if old.decoder is None else Repeated(old.decoder, n, sizes)
    layout = _layout(model.layout, n, step)
    return LatentVariableModel(Measurement(tuple(groups), decoder), StructuralNormal(), layout, n)


def _layout(layout: Layout, n: int, step: Transition) -> Layout:
    """Cells of the columns repeated, and those of the transition."""
    d, start = layout.fixed["factor_cov"].shape[-1], list(np.asarray(layout.start, float))
    index: dict[str, np.ndarray] = {}
    fixed: dict[str, np.ndarray] = {}
    for name, cells in layout.index.items():
        values = np.asarray(layout.fixed[name])
        if name in ("factor_means", "factor_cov", "regressions"):
            continue
        if name == "loadings":
            j = cells.shape[1]
            index[name], fixed[name] = np.full((1, n * j, n * d), -1, np.int32), np.zeros((1, n * j, n * d))
            for t in range(n):
                index[name][0, t * j : (t + 1) * j, t * d : (t + 1) * d] = cells[0]
                fixed[name][0, t * j : (t + 1) * j, t * d : (t + 1) * d] = values[0]
        else:
            index[name], fixed[name] = np.tile(cells, (1, n, 1)), np.tile(values, (1, n, 1))
    index |= {"factor_means": np.full((1, n * d), -1, np.int32)}
    index |= {name: np.full((1, n * d, n * d), -1, np.int32) for name in ("factor_cov", "regressions")}
    fixed |= {"factor_means": np.zeros((1, n * d)), "factor_cov": np.zeros((1, n * d, n * d)),
              "regressions": np.zeros((1, n * d, n * d))}  # fmt: skip
    fixed["factor_cov"][0, range(d), range(d)] = 1
    numbers: dict[tuple, int] = {}

    def number(key: tuple, value: float) -> int:
        if key not in numbers:
            numbers[key] = len(start)
            start.append(value)
        return numbers[key]

    for t in range(1, n):
        carried = 0 if "regressions" in step.equal else t
        new = 0 if "innovations" in step.equal else t
        for a in range(d):
            here = t * d + a
            if step.means:
                index["factor_means"][0, here] = number(("mean", a, t), 0.0)
            index["factor_cov"][0, here, here] = number(("innovation", a, new), START["innovation"])
            for b in range(d) if step.cross_lagged else [a]:
                cell = number(("carried", a, b, carried), START["carried"] * (a == b))
                index["regressions"][0, here, (t - 1) * d + b] = cell
    return replace(layout, index=index, fixed=fixed, start=np.array(start), blocks=blocks_of(index))
