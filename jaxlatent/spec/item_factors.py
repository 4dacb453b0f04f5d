"""Factors of an item response model: a count, lavaan's syntax or a Q-matrix, as one syntax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jaxlatent.spec.syntax import ParsedModel, parse
from jaxlatent.spec.table import build_table


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
