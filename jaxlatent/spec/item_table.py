"""The parameter table of an item response model: factors as in lavaan's syntax, item parameters by item type."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from jaxlatent.spec.layout import Layout, blocks_of
from jaxlatent.spec.restrictions_matrix import Linear, null_space, split
from jaxlatent.spec.syntax import ParsedModel, parse
from jaxlatent.spec.table import ParameterTable, build_table
from jaxlatent.spec.table import Row as SyntaxRow

if TYPE_CHECKING:
    import pandas

PADDED = -1e30  # an intercept of a category that an item does not have
ITEM_MATRICES = ("intercepts", "scoring", "guessing", "upper", "dispersion", "spacing", "shift")
NEUTRAL = {"intercepts": PADDED, "spacing": PADDED, "upper": 1.0, "dispersion": 1.0}  # of items without; else 0
# which name of group_equal ties which matrix
TIES = {
    "loadings": ("loadings", "scoring"),
    "intercepts": ("intercepts", "spacing", "shift"),
    "guessing": ("guessing",),
    "upper": ("upper",),
    "residuals": ("dispersion",),
}
LATENT_TIES = ("means", "regressions", "lv_variances", "lv_covariances")


class ItemParameter(Protocol):
    """What a type of item has besides loadings: cells of one matrix, None where free, a number where fixed."""

    @property
    def matrix(self) -> str: ...
    @property
    def cells(self) -> tuple[float | None, ...]: ...
    @property
    def shared(self) -> bool: ...
    @property
    def first(self) -> float | None: ...


@dataclass(frozen=True)
class Item:
    """One item: its type's name, number of categories (0 for numbers and counts), parameters and starting values.

    slopes: "free", "one" (fixed at 1) or "common" (one slope for all such items of a factor); variance_free: the
    variance of the item's factors is free.
    """

    name: str
    type: str
    n_categories: int
    slopes: str
    variance_free: bool
    parameters: tuple[ItemParameter, ...]
    start: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class ItemRow:
    """One parameter. free is 0 for a fixed row, else its number from 1; equal rows share it. group counts from 1.

    op is =~ (loading), ~~ ~ ~1 among factors and covariates, ~1 for intercepts of items (rhs: which of several), or
    the name of another item parameter: guessing, upper, scoring, dispersion, spacing, shift.
    """

    lhs: str
    op: str
    rhs: str
    group: int
    free: int
    fixed: float
    start: float
    label: str
    matrix: str
    cell: tuple[int, ...]


@dataclass(frozen=True)
class ItemTable:
    """All rows of a model and what they are about. linear: restrictions over the free vector."""

    rows: tuple[ItemRow, ...]
    items: tuple[Item, ...]
    factors: tuple[str, ...]
    covariates: tuple[str, ...]
    groups: tuple[str, ...]
    linear: Linear
    labels: Mapping[str, int]
    definitions: tuple = ()

    @property
    def n_free(self) -> int:
        """How many free parameters there are before linear restrictions; equal rows count once."""
        return max((row.free for row in self.rows), default=0)

    @property
    def n_groups(self) -> int:
        return len(self.groups)

    @property
    def observed(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.items)

    @property
    def latent(self) -> tuple[str, ...]:
        return self.factors

    @property
    def n_parameters(self) -> int:
        """Free parameters less the linear restrictions."""
        return self.n_free - self.linear.rank

    def to_frame(self) -> pandas.DataFrame:
        """lhs, op, rhs, group, label, free, fixed, start: a row each."""
        import pandas

        names = ("lhs", "op", "rhs", "group", "label", "free", "fixed", "start")
        return pandas.DataFrame([{name: getattr(row, name) for name in names} for row in self.rows])


# ---- factors --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Factors:
    """The part of the model about latent variables: a syntax and the names behind its variables."""

    parsed: ParsedModel
    items: tuple[str, ...]
    factors: tuple[str, ...]
    covariates: tuple[str, ...]
    names: Mapping[str, str]  # of variables in the syntax
    exploratory: bool = False


def factors_of(
    given: int | str | object, items: Sequence[str], covariates: Sequence[str] = (), anchors: Sequence[int] = ()
) -> Factors:
    """A count, lavaan's syntax or a Q-matrix (items x factors) as one form.

    items are the columns that could be items; a syntax or a named Q-matrix chooses among them. anchors: items that
    identify an exploratory solution, the k-th of which loads on the first k factors only (the first items by default).

    Raises
    ------
    ValueError
        The count is not in 1 ... items - 1, a Q-matrix has another shape or an empty row or column, or a syntax has
        formulas that are not about factors.
    """
    if isinstance(given, str):
        return _from_syntax(given, covariates)
    if isinstance(given, int | np.integer) and not isinstance(given, bool):
        return _from_count(int(given), tuple(items), tuple(covariates), anchors)
    return _from_q(given, tuple(items), tuple(covariates))


def _from_syntax(text: str, covariates: Sequence[str]) -> Factors:
    parsed = parse(text)
    table = build_table(parsed, std_lv=True, mean_structure=True)
    indicators = {r.rhs for r in table.rows if r.op == "=~" and r.rhs not in table.latent}
    for r in table.rows:
        if r.op == "~" and r.lhs not in table.latent:
            raise ValueError(f"'{r.lhs} ~ {r.rhs}' regresses an item; expected a factor on the left side.")
        if r.op == "~" and r.rhs in indicators:
            raise ValueError(f"'{r.lhs} ~ {r.rhs}' regresses on an item; expected a factor or a covariate.")
        if r.op == "~~" and r.user and r.lhs != r.rhs and not {r.lhs, r.rhs} <= set(table.latent):
            raise ValueError(
                f"'{r.lhs} ~~ {r.rhs}' lets items covary; items are independent given the factors: use another factor."
            )
        if r.user and r.lhs in indicators and (r.op in ("~1", "|") or (r.op == "~~" and r.lhs == r.rhs)):
            raise ValueError(
                f"'{r.lhs} {r.op} {r.rhs}' is about an item: item parameters follow from the item type, and are given"
                " values by fixed= and priors=."
            )
    items = tuple(v for v in table.observed if v in indicators)
    if not items:
        raise ValueError("Expected at least one factor with items, as in 'F =~ item1 + item2'; got none.")
    predictors = tuple(v for v in table.observed if v not in indicators)
    names = {v: v for v in (*table.observed, *table.latent)}
    both = [v for v in covariates if v in items]
    if both:
        raise ValueError(f"The variable {both[0]!r} is an item and a covariate: it can be one of the two.")
    more = tuple(v for v in covariates if v not in predictors)
    return Factors(parsed, items, tuple(table.latent), predictors + more, names)


def _from_count(d: int, items: tuple[str, ...], covariates: tuple[str, ...], anchors: Sequence[int] = ()) -> Factors:
    if not items:
        raise ValueError("The data have no columns that could be items.")
    if d < 1 or d >= max(len(items), 2):
        raise ValueError(f"Expected from 1 to {max(len(items) - 1, 1)} factors for {len(items)} items; got {d}.")
    q = np.ones((len(items), d), bool)
    for k, j in enumerate(anchors or range(min(len(items), d))):  # identified by a triangle of zeros
        q[j, k + 1 :] = False
    return _generated(q, items, tuple(f"F{k + 1}" for k in range(d)), covariates, orthogonal=True, exploratory=d > 1)


def _from_q(given: object, items: tuple[str, ...], covariates: tuple[str, ...]) -> Factors:
    frame = hasattr(given, "columns") and hasattr(given, "index")
    try:
        q = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(
            f"Expected factors as a count, lavaan's syntax or a Q-matrix (items x factors); got {given!r}."
        ) from None
    if q.ndim == 0:
        raise ValueError(
            f"Expected factors as a count, lavaan's syntax or a Q-matrix (items x factors); got {given!r}."
        )
    if q.ndim != 2 or not q.size:
        raise ValueError(f"Expected a Q-matrix with a row an item and a column a factor; got shape {q.shape}.")
    rows = tuple(str(v) for v in given.index) if frame else items  # type: ignore[attr-defined]
    numbered = rows == tuple(str(k) for k in range(len(q)))
    named = frame and not (set(rows) - set(items))
    if frame and not named and not numbered:
        raise ValueError(f"The Q-matrix has a row {min(set(rows) - set(items))!r}, which is no item of the data.")
    if not named and len(q) != len(items):
        raise ValueError(f"Expected a Q-matrix with {len(items)} rows, one for each item; got {len(q)} rows.")
    rows = rows if named else items
    columns = tuple(str(v) for v in given.columns) if frame else tuple(f"F{k + 1}" for k in range(q.shape[1]))  # type: ignore[attr-defined]
    for role, names in (("item", rows), ("factor", columns)):
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"The {role} {twice[0]!r} is in the Q-matrix more than once.")
    if not np.isin(q, (0, 1)).all():
        raise ValueError("Expected zeros and ones in the Q-matrix; got other values.")
    for j, name in enumerate(rows):
        if not q[j].any():
            raise ValueError(f"The item {name!r} has an empty row in the Q-matrix: give it a factor or leave it out.")
    for k, name in enumerate(columns):
        if not q[:, k].any():
            raise ValueError(f"The factor {name!r} has an empty column in the Q-matrix: give it items or leave it out.")
    if q.shape[1] >= max(len(rows), 2):
        raise ValueError(f"Expected fewer factors than items; got {q.shape[1]} factors and {len(rows)} items.")
    return _generated(q.astype(bool), rows, columns, covariates)


def _generated(
    q: np.ndarray,
    items: tuple[str, ...],
    factors: tuple[str, ...],
    covariates: tuple[str, ...],
    orthogonal: bool = False,
    exploratory: bool = False,
) -> Factors:
    """A syntax with plain names, so that names of columns can be anything."""
    names = {f"item{j}": name for j, name in enumerate(items)} | {f"factor{k}": name for k, name in enumerate(factors)}
    lines = [f"factor{k} =~ " + " + ".join(f"item{j}" for j in np.flatnonzero(q[:, k])) for k in range(q.shape[1])]
    if orthogonal:
        lines += [f"factor{a} ~~ 0*factor{b}" for a in range(len(factors)) for b in range(a)]
    return Factors(parse("\n".join(lines)), items, factors, covariates, names, exploratory)


# ---- the table ------------------------------------------------------------------------------------------------------


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
        _check_fixed(fixed, items)

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
            forced = _fixed_value(self.fixed, "loadings", name)
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
                    forced = _fixed_value(self.fixed, parameter.matrix, item.name)
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
            linear = _joined(linear, _loading_map(constraints, self.rows, len(self.items), len(f.factors), size))
        return ItemTable(
            tuple(self.rows), self.items, f.factors, f.covariates, groups, linear, labels, self.base.definitions
        )


def _loading_map(
    given: object, rows: Sequence[ItemRow], n_items: int, n_factors: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """vec(Lambda) = A t + b as restrictions on the free loadings; vec goes item by item."""
    try:
        a, b = (np.asarray(part, dtype=float) for part in given)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise ValueError(
            "Expected constraints as a pair (A, b) with vec(loadings) = A t + b, items in rows of vec by factors."
        ) from None
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("Expected finite numbers in the constraints (A, b).")
    cells = n_items * n_factors
    if a.ndim != 2 or len(a) != cells or b.shape != (cells,):
        raise ValueError(
            f"Expected A with {cells} rows and b with {cells} values ({n_items} items x {n_factors} factors); got"
            f" shapes {a.shape} and {b.shape}."
        )
    away = null_space(a.T).T  # rows n with n'(vec - b) = 0, in every group
    n_groups = max(row.group for row in rows)
    value = np.tile(away @ b, n_groups)
    matrix = np.zeros((n_groups * len(away), size))
    for row in rows:
        if row.matrix == "loadings":
            at = row.cell[0] * n_factors + row.cell[1]
            own = slice((row.group - 1) * len(away), row.group * len(away))
            if row.free:
                matrix[own, row.free - 1] += away[:, at]
            else:
                value[own] -= away[:, at] * row.fixed
    used = np.abs(matrix).sum(axis=1) > 1e-12
    if np.abs(value[~used]).max(initial=0.0) > 1e-8:
        raise ValueError("The constraints (A, b) contradict the zeros or fixed values of the loadings.")
    return matrix[used], value[used]


def _joined(first: Linear, more: tuple[np.ndarray, np.ndarray]) -> Linear:
    """Both restrictions, without rows that repeat others."""
    matrix, value = np.vstack([first.matrix, more[0]]), np.concatenate([first.value, more[1]])
    u, size, right = np.linalg.svd(matrix, full_matrices=False)
    keep = size > 1e-9 * max(size.max(initial=0.0), 1.0)
    solved = (u.T @ value)[keep] / size[keep]
    if np.abs(matrix @ (right[keep].T @ solved) - value).max(initial=0.0) > 1e-7:
        raise ValueError("The constraints (A, b) contradict the other equality constraints of the model.")
    return Linear(right[keep], solved)


def _check_fixed(fixed: Mapping[str, object], items: Sequence[Item]) -> None:
    """Names are those of parameters that the items have, and values lie where such a parameter can."""
    known = ("loadings", *ITEM_MATRICES)
    has = {item.name: {"loadings", *(row.matrix for row in item.parameters)} for item in items}
    for name, given in fixed.items():
        if name not in known:
            raise ValueError(f"Expected names in fixed among {', '.join(known)}; got {name!r}.")
        wanted = list(given) if isinstance(given, Mapping) else [item for item in has if name in has[item]]
        if not wanted:
            raise ValueError(f"No item of this model has the parameter {name!r}, which fixed gives a value.")
        for item in wanted:
            if item not in has:
                raise ValueError(f"fixed[{name!r}] names {item!r}, which is no item of the model.")
            if name not in has[item]:
                raise ValueError(f"The item {item!r} has no parameter {name!r}, which fixed gives a value.")
            value = _fixed_value(fixed, name, item)
            low, high = {"guessing": (0, 1), "upper": (0, 1), "dispersion": (0, math.inf)}.get(
                name, (-math.inf, math.inf)
            )
            if value is not None and not (low <= value <= high and (name != "dispersion" or value > 0)):
                where = "from 0 to 1" if high == 1 else "above 0"
                raise ValueError(f"Expected fixed[{name!r}] {where}; got {value:g} for the item {item!r}.")
    for item in has:
        if {"guessing", "upper"} <= fixed.keys():
            low_, high_ = _fixed_value(fixed, "guessing", item), _fixed_value(fixed, "upper", item)
            if low_ is not None and high_ is not None and low_ >= high_:
                raise ValueError(
                    f"Expected guessing below upper; fixed gives the item {item!r} {low_:g} and {high_:g}."
                )


def _fixed_value(fixed: Mapping[str, object], matrix: str, item: str) -> float | None:
    """The value a matrix is fixed at for an item: one for all, or a mapping by item."""
    value = fixed.get(matrix)
    if isinstance(value, Mapping):
        value = value.get(item)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not np.isfinite(value):
        raise ValueError(
            f"Expected fixed[{matrix!r}] to be a number, or a mapping from items to numbers; got {value!r}."
        )
    return float(value)


# ---- matrices -------------------------------------------------------------------------------------------------------


def item_layout(table: ItemTable) -> Layout:
    """Matrices [group, ...] of index and fixed values; start holds the rows' starting values, 0 where none is given.

    loadings [group, item, factor]; item matrices [group, item, width]; factor_cov, regressions [group, factor,
    factor]; factor_means [group, factor]; covariate_effects [group, factor, covariate] where there are covariates.
    """
    n_groups, n_items, d = table.n_groups, len(table.items), len(table.factors)
    shapes: dict[str, tuple[int, ...]] = {"loadings": (n_items, d)}
    for matrix in ITEM_MATRICES:
        width = max((r.cell[1] + 1 for r in table.rows if r.matrix == matrix), default=0)
        if width:
            shapes[matrix] = (n_items, width)
    shapes |= {"factor_means": (d,), "factor_cov": (d, d), "regressions": (d, d)}
    if table.covariates:
        shapes["covariate_effects"] = (d, len(table.covariates))
    index = {name: np.full((n_groups, *shape), -1, np.int32) for name, shape in shapes.items()}
    fixed = {name: np.full((n_groups, *shape), NEUTRAL.get(name, 0.0)) for name, shape in shapes.items()}
    start = np.zeros(table.n_free)
    for row in table.rows:
        cells = [row.cell, row.cell[::-1]] if row.matrix == "factor_cov" else [row.cell]
        for cell in cells:
            if row.free:
                index[row.matrix][(row.group - 1, *cell)] = row.free - 1
            else:
                fixed[row.matrix][(row.group - 1, *cell)] = row.fixed
        if row.free and not math.isnan(row.start):
            start[row.free - 1] = row.start
    return Layout(index, fixed, start, blocks_of(index))
