"""The parameter table: every parameter of a model, what is free, fixed or equal, in lavaan's order."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from .automatic import Draft, Options, block_rows
from .grouping import assign, check_names, release_later_groups, tie_groups
from .restrictions import Names, bounds, check_consistent, effect_coding, link_equal, numbers, spread_fixed
from .syntax import Constraint, Definition, ParsedModel, parse
from .variables import Variables, classify, unique

if TYPE_CHECKING:
    import pandas

__all__ = ["Constraint", "Definition", "ParameterTable", "Row", "build_table", "unsupported"]


@dataclass(frozen=True)
class Row:
    """One parameter. op is =~ ~ ~~ ~1 | ~*~ or <~, and rhs is "" for ~1.

    user is 1 for what the user wrote and 0 for what was added; group and level count from 1.
    free is 0 for a fixed row, else the parameter's number from 1; rows that are equal share it.
    fixed is the value of a fixed row, nan if it is free or a sample statistic (exo = 1: moments of fixed predictors).
    start is the user's start value, else nan; plabel is .p<id>.
    """

    id: int
    lhs: str
    op: str
    rhs: str
    user: int
    group: int
    level: int
    free: int
    fixed: float
    start: float
    exo: int
    label: str
    plabel: str
    prior: str | None
    efa: str


@dataclass(frozen=True)
class ParameterTable:
    """All rows, definitions and constraints of a model, and its variables in lavaan's order.

    Constraints are in terms of `free_labels` only; definitions may also name earlier definitions.
    exogenous are the observed variables whose moments are taken from the sample (fixed_x).
    """

    rows: tuple[Row, ...]
    definitions: tuple[Definition, ...]
    constraints: tuple[Constraint, ...]
    observed: tuple[str, ...]
    latent: tuple[str, ...]
    exogenous: tuple[str, ...]
    n_groups: int
    mean_structure: bool
    groups: tuple[str, ...] = ("1",)
    ordered: tuple[str, ...] = ()

    @property
    def n_free(self) -> int:
        """How many free parameters there are before equality constraints; equal rows count once."""
        return max((row.free for row in self.rows), default=0)

    @property
    def free_labels(self) -> dict[str, int]:
        """The number of the free parameter behind each label and each plabel."""
        free = [row for row in self.rows if row.free]
        return {row.plabel: row.free for row in free} | {row.label: row.free for row in free if row.label}

    def to_frame(self) -> "pandas.DataFrame":
        """The table as a DataFrame; definitions and constraints follow as rows of group 0."""
        import pandas

        rows = [asdict(row) for row in self.rows]
        extra = [(d.name, ":=", d.text, d.name) for d in self.definitions]
        for constraint in self.constraints:
            lhs, op, rhs = constraint.text.partition(constraint.op)
            extra.append((lhs.strip(), op, rhs.strip(), ""))
        blank = {"user": 1, "group": 0, "level": 0, "free": 0, "fixed": math.nan, "start": math.nan, "exo": 0}
        for number, (lhs, op, rhs, label) in enumerate(extra, len(rows) + 1):
            texts = {"label": label, "plabel": "", "prior": None, "efa": ""}
            rows.append({"id": number, "lhs": lhs, "op": op, "rhs": rhs, **blank, **texts})
        return pandas.DataFrame(rows)


def build_table(
    text_or_parsed: str | ParsedModel,
    *,
    groups: Sequence[str] = ("1",),
    std_lv: bool = False,
    orthogonal: bool = False,
    effect_coding: bool = False,
    mean_structure: bool = False,
    fixed_x: bool = True,
    growth: bool = False,
    auto: bool = True,
    group_equal: Sequence[str] = (),
    group_partial: Sequence[str] = (),
    ordered: Sequence[str] | Mapping[str, int] = (),
    parameterization: str = "delta",
) -> ParameterTable:
    """The parameter table of a model, completed as in lavaan's cfa() and sem(), growth(), or not at all (auto=False).

    groups are the labels of the groups in the data. A mean structure is added where the model needs one: growth,
    intercepts in the text, ordered variables, levels, or equal intercepts or means. group_equal says nothing about one
    group. ordered may map each variable to its number of categories, which adds its thresholds. start() on a first
    loading that is fixed to 1 is passed over: free it with NA. A ValueError says what is impossible or contradictory.
    """
    parsed = parse(text_or_parsed) if isinstance(text_or_parsed, str) else text_or_parsed
    equal = check_names(group_equal) if len(groups) > 1 else ()
    needs_means = growth or _has_means(parsed) or bool({"intercepts", "means", "thresholds"} & set(equal))
    options = Options(
        std_lv=std_lv,
        orthogonal=orthogonal,
        effect_coding=effect_coding,
        mean_structure=mean_structure or needs_means or bool(ordered),
        fixed_x=fixed_x,
        growth=growth,
        auto=auto,
        group_equal=equal,
        group_partial=tuple(group_partial) if not isinstance(group_partial, str) else (group_partial,),
        ordered=dict(ordered) if isinstance(ordered, Mapping) else dict.fromkeys(ordered, 0),
        parameterization=parameterization,
    )
    return _complete(parsed, tuple(str(group) for group in groups), options)


def _has_means(parsed: ParsedModel) -> bool:
    levels = any(block.level is not None for block in parsed.blocks)
    return levels or any(term.op in ("~1", "|") for term in parsed.terms)


def _check_options(options: Options, groups: Sequence[str]) -> None:
    if options.std_lv and options.effect_coding:
        raise ValueError("std_lv and effect_coding are two ways to set the scale of latent variables; choose one.")
    if options.parameterization not in ("delta", "theta"):
        raise ValueError(f"Expected parameterization 'delta' or 'theta'; got '{options.parameterization}'.")
    if not groups or len(set(groups)) < len(groups):
        raise ValueError(f"Expected the labels of the groups, each once; got {list(groups)}.")


def _complete(parsed: ParsedModel, groups: tuple[str, ...], options: Options) -> ParameterTable:
    _check_options(options, groups)
    rows: list[Draft] = []
    parts: list[Variables] = []
    for group, level, terms in assign(parsed, groups):
        parts.append(classify([term for term, _ in terms]))
        rows += block_rows(terms, parts[-1], options, group, level)
    latent = unique(name for part in parts for name in part.latent)
    observed = unique(name for part in parts for name in part.observed)
    exogenous = unique(name for part in parts for name in part.predictors) if options.fixed_x else ()
    _check_variables(observed, latent, options)
    _decide(rows, set(latent), options)
    free = numbers(rows)
    names = Names(rows, parsed.definitions)
    given = (*parsed.constraints, *_implied(rows, free, options))
    resolved = tuple(found for found in map(names.constraint, given) if found is not None)
    table = ParameterTable(
        rows=tuple(_row(number, row, index) for number, (row, index) in enumerate(zip(rows, free, strict=True), 1)),
        definitions=names.definitions,
        constraints=resolved,
        observed=observed,
        latent=latent,
        exogenous=exogenous,
        n_groups=len(groups),
        mean_structure=options.mean_structure,
        groups=groups,
        ordered=tuple(name for name in observed if name in options.ordered),
    )
    check_consistent(resolved, table.free_labels)
    return table


def _decide(rows: list[Draft], latent: set[str], options: Options) -> None:
    """Default values, then the user's modifiers, then equality; the order is lavaan's."""
    for number, row in enumerate(rows, 1):
        row.plabel = f".p{number}."
    _fix_within_means(rows)
    release_later_groups(rows, latent, options)
    for row in rows:
        _modify(row)
    tie_groups(rows, latent, options)
    link_equal(rows)
    spread_fixed(rows)


def _fix_within_means(rows: Sequence[Draft]) -> None:
    """In two-level models the mean of a variable at both levels belongs to the second."""
    between = {(row.group, row.lhs) for row in rows if row.op == "~1" and row.level > 1}
    for row in rows:
        if row.op == "~1" and row.level == 1 and not row.user and not row.exo and (row.group, row.lhs) in between:
            row.fix(0.0)


def _modify(row: Draft) -> None:
    """Apply the user's fixed value or NA, and label."""
    value = row.chosen.fixed
    if value is not None and math.isnan(value):
        row.release()
    elif value is not None:
        row.fix(value)
    row.label = row.chosen.label or ""


def _implied(rows: Sequence[Draft], free: Sequence[int], options: Options) -> list[Constraint]:
    coded = effect_coding(rows, free, options.mean_structure) if options.effect_coding else ()
    return [*coded, *bounds(rows)]


def _check_variables(observed: tuple[str, ...], latent: tuple[str, ...], options: Options) -> None:
    for name in options.ordered:
        if name in latent:
            raise ValueError(f"'{name}' is a latent variable of the model; ordered takes observed variables.")
        if name not in observed:
            raise ValueError(f"ordered names '{name}', which is no variable of the model.")


def _row(number: int, row: Draft, free: int) -> Row:
    start = row.chosen.start if row.free and row.chosen.start is not None else math.nan
    return Row(
        number, *row.key, row.user, row.group, row.level, free, row.value, start, row.exo,
        row.label, row.plabel, row.chosen.prior, row.efa,
    )  # fmt: skip


def unsupported(table: ParameterTable) -> str | None:
    """One sentence on the first thing in the table that no engine of this version takes, else None."""
    for row in table.rows:
        if row.op == "<~":
            return f"'{row.lhs}' is a composite (<~); ML will take composites, but not in this version."
        if row.op in ("|", "~*~") or row.lhs in table.ordered:
            return f"'{row.lhs}' is ordered; LeastSquares('dwls') will take thresholds, but not in this version."
        if row.level > 1:
            return "The model has two levels; ML will take two-level models, but not in this version."
        if ":" in row.rhs:
            return (
                f"'{row.rhs}' is an interaction; MarginalML will take latent interactions, but not in this version "
                "(for observed variables, add the product to the data as a column)."
            )
    return None
