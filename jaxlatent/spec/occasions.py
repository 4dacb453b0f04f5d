"""Items answered on several occasions: the table of one occasion, repeated, and what links the occasions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from jaxlatent.spec.item_table import ItemRow, ItemTable
from jaxlatent.spec.restrictions_matrix import Linear

START = {"carried": 0.6, "innovation": 0.6}  # autoregression and innovation variance at the start


@dataclass(frozen=True)
class Occasions:
    """The columns that say who and when, and what one occasion has; a model has len(labels) of them.

    person: a column or level of the index, None where persons are the row labels; occasion: its column or level.
    labels: the occasions in order; items, factors: those of one occasion.
    """

    person: str | None
    occasion: str
    labels: tuple[str, ...]
    items: tuple[str, ...]
    factors: tuple[str, ...]

    @property
    def n(self) -> int:
        """Number of occasions."""
        return len(self.labels)

    def repeated(self, names: Sequence[str]) -> tuple[str, ...]:
        """Names of all occasions, one occasion after the other: name.label."""
        return tuple(f"{name}.{label}" for label in self.labels for name in names)


@dataclass(frozen=True)
class Transition:
    """x_t = alpha_t + Phi_t x_{t-1} + xi_t, xi_t ~ N(0, Psi_t), t = 2, ..., T.

    cross_lagged: Phi is full, else diagonal. equal: "regressions" (Phi and effects of covariates) and "innovations"
    (Psi) are the same for all t. means: alpha is free, else 0.
    """

    cross_lagged: bool = True
    equal: tuple[str, ...] = ("regressions", "innovations")
    means: bool = True


def over_occasions(
    table: ItemTable, occasions: Occasions, transition: Transition, group_equal: Sequence[str] = ()
) -> ItemTable:
    """The table of all occasions: item parameters equal over occasions, the first occasion's factors as they were.

    Raises ValueError where factors regress on each other within an occasion, or names of two occasions coincide.
    """
    items = occasions.repeated(occasions.items)
    twice = [name for name in items if items.count(name) > 1]
    if twice:
        raise ValueError(f"Two columns would be named {twice[0]!r} once their occasion is added: rename an item.")
    inside = [row for row in table.rows if row.matrix == "regressions"]
    if inside:
        raise ValueError(
            f"'{inside[0].lhs} {inside[0].op} {inside[0].rhs}' relates factors of one occasion: with occasions expected"
            " factors measured by items, which covary; their regressions are those on the occasion before."
        )
    maker = _Repeater(table, occasions, transition, set(group_equal))
    rows = [row for g in range(1, table.n_groups + 1) for row in maker.group(g)]
    size = table.n_free + len(maker.numbers)
    matrix = np.pad(table.linear.matrix, ((0, 0), (0, size - table.n_free)))
    return replace(
        table, rows=tuple(rows), items=tuple(
            replace(item, name=f"{item.name}.{label}") for label in occasions.labels for item in table.items
        ),
        factors=occasions.repeated(occasions.factors), linear=Linear(matrix, table.linear.value),
        labels={**table.labels, **maker.labels}, occasions=occasions,
    )  # fmt: skip


class _Repeater:
    """Makes the rows of one group; a key is the identity of a new free parameter."""

    def __init__(self, table: ItemTable, occasions: Occasions, transition: Transition, tied: set[str]) -> None:
        self.table, self.occasions, self.transition, self.tied = table, occasions, transition, tied
        self.numbers: dict[tuple, int] = {}
        self.labels: dict[str, int] = {}
        self.factors = occasions.factors

    def group(self, g: int) -> list[ItemRow]:
        own = [row for row in self.table.rows if row.group == g]
        latent = [r for r in own if r.matrix in ("factor_cov", "factor_means", "covariate_effects")]
        measured = [r for r in own if r not in latent]
        rows = [self._item_row(row, t) for t in range(self.occasions.n) for row in measured]
        rows += [replace(row, lhs=self._name(row.lhs, 0), rhs=self._right(row, 0)) for row in latent]
        for t in range(1, self.occasions.n):
            rows += [self._latent_row(row, t) for row in latent]
            rows += self._carried(g, t)
        return rows

    def _item_row(self, row: ItemRow, t: int) -> ItemRow:
        """The same parameter at occasion t."""
        j = row.cell[0] + t * len(self.table.items)
        if row.matrix == "loadings":
            cell = (j, row.cell[1] + t * len(self.factors))
            return replace(row, lhs=self._name(row.lhs, t), rhs=self._name(row.rhs, t), cell=cell)
        return replace(row, lhs=self._name(row.lhs, t), cell=(j, *row.cell[1:]))

    def _latent_row(self, row: ItemRow, t: int) -> ItemRow:
        """Innovations, intercepts and effects of covariates given the occasion before."""
        step, shift = self.transition, t * len(self.factors)
        when = {"factor_cov": "innovations", "covariate_effects": "regressions"}.get(row.matrix, "")
        at = 0 if when in step.equal else t
        cell = tuple(k + shift for k in row.cell)
        if row.matrix == "covariate_effects":
            cell = (row.cell[0] + shift, row.cell[1])
        out = replace(row, lhs=self._name(row.lhs, t), rhs=self._right(row, t), cell=cell, label="")
        same = row.matrix == "factor_cov" and row.cell[0] == row.cell[1]
        fixed = not (row.free or same) if row.matrix != "factor_means" else not step.means
        if fixed:
            return replace(out, free=0, fixed=0.0 if math.isnan(row.fixed) else row.fixed, start=math.nan)
        ties = {"factor_cov": "lv_variances" if same else "lv_covariances", "factor_means": "means"}
        group = 0 if ties.get(row.matrix, "regressions") in self.tied else row.group
        start = START["innovation"] if same else 0.0
        label = ""
        if row.matrix == "factor_cov" and not at:
            label = self._label("innovation", row.cell, group)
        return self._free(out, (row.matrix, row.cell, at, group), start, label)

    def _carried(self, g: int, t: int) -> list[ItemRow]:
        """Regressions on the occasion before."""
        rows = []
        d = len(self.factors)
        group = 0 if "regressions" in self.tied else g
        at = 0 if "regressions" in self.transition.equal else t
        for a in range(d):
            for b in range(d):
                if a != b and not self.transition.cross_lagged:
                    continue
                row = ItemRow(
                    self._name(self.factors[a], t), "~", self._name(self.factors[b], t - 1), g, 0, math.nan, math.nan,
                    "", "regressions", (a + t * d, b + (t - 1) * d),
                )  # fmt: skip
                label = "" if at else self._label("autoregression", (a, b), group)
                rows.append(self._free(row, ("carried", (a, b), at, group), START["carried"] * (a == b), label))
        return rows

    def _free(self, row: ItemRow, key: tuple, start: float, label: str) -> ItemRow:
        number = self.numbers.setdefault(key, self.table.n_free + len(self.numbers) + 1)
        if label:
            self.labels.setdefault(label, number)
        return replace(row, free=number, fixed=math.nan, start=start, label=label)

    def _label(self, what: str, cell: tuple[int, ...], group: int) -> str:
        """autoregression, innovation; with the names of factors where there are several, and the group's number."""
        if what == "autoregression" and cell[0] != cell[1]:
            what = "cross_lagged"
        names = [self.factors[k] for k in (cell[:1] if cell[0] == cell[1] else cell)] if len(self.factors) > 1 else []
        several = [str(group)] if group and self.table.n_groups > 1 else []
        return "_".join([what, *names, *several])

    def _name(self, name: str, t: int) -> str:
        return f"{name}.{self.occasions.labels[t]}"

    def _right(self, row: ItemRow, t: int) -> str:
        return self._name(row.rhs, t) if row.matrix == "factor_cov" else row.rhs
