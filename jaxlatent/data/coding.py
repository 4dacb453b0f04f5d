"""Answers as categories 0, 1, ...: how raw values were recoded, and what can't be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MOST_CATEGORIES = 100
NOTHING = np.empty(0)


@dataclass(frozen=True)
class Coding:
    """Raw values of every item's categories, in order; None for items that are numbers or counts."""

    names: tuple[str, ...]
    values: tuple[tuple[float, ...] | None, ...]
    notes: tuple[str, ...] = ()

    @property
    def n_categories(self) -> tuple[int, ...]:
        """Categories of every item, 0 where it has none."""
        return tuple(0 if v is None else len(v) for v in self.values)

    @property
    def categorical(self) -> bool:
        """Whether every item is."""
        return all(v is not None for v in self.values)

    def encode(self, y: np.ndarray, first_row: int = 0) -> np.ndarray:
        """Codes [person, item]: int8 with -1 for missing if all items are categorical, else floats with nan.

        first_row: where y begins in the data, for the error.

        Raises
        ------
        ValueError
            A value is none of the categories that were fitted.
        """
        out = np.full(y.shape, -1, np.int8) if self.categorical else np.full(y.shape, np.nan)
        for j, (name, values) in enumerate(zip(self.names, self.values, strict=True)):
            column = y[:, j]
            seen = column == column
            if values is None:
                out[:, j] = column
                continue
            known = np.asarray(values)
            at = np.clip(np.searchsorted(known, column[seen]), 0, len(known) - 1)
            wrong = known[at] != column[seen]
            if wrong.any():
                row, value = first_row + int(np.flatnonzero(seen)[wrong][0]) + 1, column[seen][wrong][0]
                there = ", ".join(f"{v:g}" for v in values)
                raise ValueError(
                    f"The item {name!r} has the value {value:g} in row {row}, none of its categories ({there})."
                )
            out[seen, j] = at
        return out


class ColumnFacts(NamedTuple):
    """What decides how an item is coded: its distinct values in order (the first of them, where they are not complete),
    and the first value that is negative and the first that is no whole number, each with its row.
    """

    distinct: np.ndarray
    complete: bool = True
    negative: tuple[int, float] | None = None
    fraction: tuple[int, float] | None = None


def column_facts(column: np.ndarray) -> ColumnFacts:
    """Facts of one column with nan for missing."""
    flags = (column < 0, (column != np.round(column)) & (column == column))
    first = [(int(np.flatnonzero(bad)[0]), float(column[bad][0])) if bad.any() else None for bad in flags]
    return ColumnFacts(np.unique(column[column == column]), True, first[0], first[1])


def coding_of(y: np.ndarray, names: Sequence[str], categorical: Sequence[bool], counts: Sequence[bool]) -> Coding:
    """Categories of the items of a data set [person, item].

    Raises
    ------
    ValueError
        A categorical item or a count has a value that is negative or no whole number, or far too many values.
    """
    whole = [a or b for a, b in zip(categorical, counts, strict=True)]
    facts = [column_facts(column) if each else ColumnFacts(NOTHING) for column, each in zip(y.T, whole, strict=True)]
    return coding_from(facts, names, categorical, counts)


def coding_from(
    facts: Sequence[ColumnFacts], names: Sequence[str], categorical: Sequence[bool], counts: Sequence[bool]
) -> Coding:
    """Categories of items of which only these facts are known: see coding_of."""
    values: list[tuple[float, ...] | None] = []
    moved: list[str] = []
    gaps: list[str] = []
    for name, each, is_categorical, is_count in zip(names, facts, categorical, counts, strict=True):
        if is_categorical or is_count:
            _check_whole(name, each)
        if not is_categorical:
            values.append(None)
            continue
        found = each.distinct
        if len(found) > MOST_CATEGORIES:
            count = f"{'' if each.complete else 'at least '}{len(found)}"
            raise ValueError(
                f"The item {name!r} has {count} different values, too many for categories: give it the item type"
                " 'normal' or a count."
            )
        if len(found) == 1:
            raise ValueError(f"The item {name!r} was answered alike by everybody (always {found[0]:g}): remove it.")
        if found[0] != 0:
            moved.append(name)
        if len(found) != found[-1] - found[0] + 1:
            gaps.append(name)
        values.append(tuple(float(v) for v in found))
    notes = []
    if moved:
        lowest = sorted({int(v[0]) for v, name in zip(values, names, strict=True) if v and name in moved})
        start = ", ".join(str(v) for v in lowest)
        notes.append(f"Categories start at {start} in {_some(moved)}: recoded to start at 0.")
    if gaps:
        notes.append(f"Categories nobody used lie between those used in {_some(gaps)}: recoded without gaps.")
    return Coding(tuple(names), tuple(values), tuple(notes))


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{len(names)} item(s) ({shown}{', ...' if len(names) > 5 else ''})"


def _check_whole(name: str, facts: ColumnFacts) -> None:
    for wrong, what in ((facts.negative, "negative"), (facts.fraction, "not a whole number")):
        if wrong is not None:
            row, value = wrong
            raise ValueError(
                f"The item {name!r} has the response {value:g} in row {row + 1}, which is {what}: recode it (a"
                " missing answer is nan), or use an item type for numbers such as 'normal'."
            )
