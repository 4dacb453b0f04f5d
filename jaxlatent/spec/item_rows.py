"""Rows of the parameter table of an item response model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from jaxlatent.spec.item_factors import Factors
from jaxlatent.spec.item_restrictions import check_fixed, fixed_value, joined, loading_map
from jaxlatent.spec.item_table import Item, ItemRow, ItemTable
from jaxlatent.spec.restrictions_matrix import Linear, split
from jaxlatent.spec.table import ParameterTable, build_table
from jaxlatent.spec.table import Row as SyntaxRow

# which name of group_equal ties which matrix
TIES = {
    "loadings": ("loadings", "scoring"),
    "intercepts": ("intercepts", "spacing", "shift"),
    "guessing": ("guessing",),
    "upper": ("upper",),
    "residuals": ("dispersion",),
}
LATENT_TIES = ("means", "regressions", "lv_variances", "lv_covariances")


def build_item_table(
    factors: Factors,
    items: Sequence[Item],
    *,
    groups: Sequence[str] = ("1",),
    group_equal: Sequence[str] = (),
    fixed: Mapping[str, object] | None = None,
    constraints: object = None,
) -> ItemTable:
    """Rows of loadings, item parameters, latent moments and regressions, in this order, one group after the other."""
    equal = check_item_ties(group_equal) if len(groups) > 1 else ()
    base = build_table(
        factors.parsed,
        groups=groups,
        std_lv=True,
        mean_structure=True,
        group_equal=[name for name in equal if name in (*LATENT_TIES, "loadings", "intercepts")],
    )
    maker = _Maker(factors, tuple(items), base, equal, dict(fixed or {}))
    for g in range(1, len(groups) + 1):
        maker.loadings(g)
        maker.item_parameters(g)
        maker.latent(g)
    return maker.finish(tuple(groups), constraints)


def check_item_ties(names: Sequence[str]) -> tuple[str, ...]:
    """Names of group_equal for item response models."""
    given = (names,) if isinstance(names, str) else tuple(str(name).replace(".", "_") for name in names)
    known = (*TIES, *LATENT_TIES, "thresholds")
    for name in given:
        if name not in known:
            raise ValueError(f"Expected names in group_equal among {', '.join(known)}; got {name!r}.")
    return tuple("intercepts" if name == "thresholds" else name for name in given)


class _Maker:
    """Collects rows; a key is the identity of a free parameter, so that equal rows share one."""

    def __init__(
        self,
        factors: Factors,
        items: tuple[Item, ...],
        base: ParameterTable,
        equal: Sequence[str],
        fixed: dict[str, object],
    ) -> None:
        self.factors, self.items, self.base, self.fixed, self.equal = factors, items, base, fixed, equal
        self.tied = {matrix for name in equal for matrix in TIES.get(name, ())}
        self.rows: list[ItemRow] = []
        self.numbers: dict[tuple, int] = {}
        self.of_syntax: dict[int, int] = {}
        self.at_item = {item.name: j for j, item in enumerate(items)}
        self.at_factor = {name: k for k, name in enumerate(factors.factors)}
        self.effects = [r for r in base.rows if r.op == "~" and r.rhs not in base.latent]
        check_fixed(fixed, items)

    def add(
        self, lhs: str, op: str, rhs: str, group: int, matrix: str, cell: tuple[int, ...],
        key: tuple | None, value: float, start: float = math.nan, label: str = "",
    ) -> None:  # fmt: skip
        free = 0 if key is None else self.numbers.setdefault(key, len(self.numbers) + 1)
        self.rows.append(
            ItemRow(lhs, op, rhs, group, free, value if key is None else math.nan, start, label, matrix, cell)
        )

    def loadings(self, g: int) -> None:
        for row in self.base.rows:
            if row.group != g or row.op != "=~" or row.rhs in self.base.latent:
                continue
            name, factor = self.factors.names[row.rhs], self.factors.names[row.lhs]
            if name not in self.at_item:
                continue
            j, k = self.at_item[name], self.at_factor[factor]
            value, key = self._syntax_key(row)
            slopes = self.items[j].slopes
            if slopes == "one" and row.free:
                value, key = 1.0, None
            elif slopes == "common" and row.free and not row.label:
                key = ("common", k, 0 if "loadings" in self.tied else g)
            forced = fixed_value(self.fixed, "loadings", name)
            if forced is not None:
                value, key = forced, None
            self.add(factor, "=~", name, g, "loadings", (j, k), key, value, row.start, row.label)

    def item_parameters(self, g: int) -> None:
        first_of: set[tuple[str, str]] = set()
        for j, item in enumerate(self.items):
            for parameter in item.parameters:
                starts = item.start.get(parameter.matrix)
                lead = (item.type, parameter.matrix) not in first_of
                first_of.add((item.type, parameter.matrix))
                for c, cell in enumerate(parameter.cells):
                    given = parameter.first if lead and parameter.first is not None else cell
                    forced = fixed_value(self.fixed, parameter.matrix, item.name)
                    if forced is not None and cell is not None and forced != cell:
                        raise ValueError(
                            f"fixed gives {parameter.matrix} the value {forced:g}, but it is {cell:g} in items of type"
                            f" {item.type!r}, such as {item.name!r}: use a type in which it is free."
                        )
                    given = forced if forced is not None and cell is None else given
                    whose = item.type if parameter.shared else item.name
                    key = None
                    if given is None:
                        key = (parameter.matrix, whose, c, 0 if parameter.matrix in self.tied else g)
                    start = math.nan if starts is None else float(np.ravel(starts)[c])
                    op = "~1" if parameter.matrix == "intercepts" else parameter.matrix
                    rhs = "" if len(parameter.cells) == 1 else str(c if parameter.matrix == "scoring" else c + 1)
                    value = math.nan if given is None else given
                    self.add(item.name, op, rhs, g, parameter.matrix, (j, c), key, value, start)

    def latent(self, g: int) -> None:
        latent = self.base.latent
        free_scale = {
            self.factors.names[r.lhs]
            for r in self.base.rows
            if r.op == "=~" and r.rhs not in latent and r.free
            and self.items[self.at_item[self.factors.names[r.rhs]]].variance_free
        }  # fmt: skip
        for row in self.base.rows:
            if row.group != g:
                continue
            name = self.factors.names.get(row.lhs, row.lhs)
            other = self.factors.names.get(row.rhs, row.rhs)
            value, key = self._syntax_key(row)
            if row.op == "~~" and {row.lhs, row.rhs} <= set(latent):
                if name == other and name in free_scale and not row.user:
                    key = ("variance", name, 0 if "lv_variances" in self.equal else g)
                a, b = self.at_factor[name], self.at_factor[other]
                start = row.start if not math.isnan(row.start) else (1.0 if a == b else 0.1)
                self.add(name, "~~", other, g, "factor_cov", (a, b), key, value, start, row.label)
            elif row.op == "~1" and row.lhs in latent:
                self.add(name, "~1", "", g, "factor_means", (self.at_factor[name],), key, value, 0.0, row.label)
            elif row.op == "~" and row.rhs in latent:
                cell = (self.at_factor[name], self.at_factor[other])
                self.add(name, "~", other, g, "regressions", cell, key, value, 0.0, row.label)
            elif row.op == "=~" and row.rhs in latent:
                cell = (self.at_factor[other], self.at_factor[name])
                self.add(name, "=~", other, g, "regressions", cell, key, value, 0.5, row.label)
            elif row.op == "~":
                cell = (self.at_factor[name], self.factors.covariates.index(other))
                self.add(name, "~", other, g, "covariate_effects", cell, key, value, 0.0, row.label)
        written = {(r.lhs, r.rhs) for r in self.effects}
        named = {v for _, v in written}
        for c, covariate in enumerate(self.factors.covariates):
            if covariate in named:
                continue
            for k, name in enumerate(self.factors.factors):
                key = ("effect", name, covariate, 0 if "regressions" in self.equal else g)
                self.add(name, "~", covariate, g, "covariate_effects", (k, c), key, math.nan, 0.0)

    def _syntax_key(self, row: SyntaxRow) -> tuple[float, tuple | None]:
        return (math.nan, ("syntax", row.free)) if row.free else (row.fixed, None)

    def finish(self, groups: tuple[str, ...], constraints: object) -> ItemTable:
        f, size = self.factors, len(self.numbers)
        numbers = {key[1]: number for key, number in self.numbers.items() if key[0] == "syntax"}
        labels = {label: numbers[n] for label, n in self.base.free_labels.items() if n in numbers}
        found = split(self.base)
        if found[1] or found[2]:
            text = (*found[1], *found[2])[0].text.strip()
            raise ValueError(f"The constraint {text!r} is not a linear equality; item response models take only those.")
        matrix = np.zeros((found[0].rank, size))
        for old, new in numbers.items():
            matrix[:, new - 1] = found[0].matrix[:, old - 1]
        linear = Linear(matrix, found[0].value)
        if constraints is not None:
            linear = joined(linear, loading_map(constraints, self.rows, len(self.items), len(f.factors), size))
        return ItemTable(
            tuple(self.rows), self.items, f.factors, f.covariates, groups, linear, labels, self.base.definitions
        )
