"""Answers as triples (person, item, y): for many items of which a person answers few."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxlatent.data.coding import Coding, ColumnFacts, column_facts
from jaxlatent.data.responses import Responses

MOST_BYTES = 4 << 30  # of a table made of triples


@dataclass(frozen=True)
class LongArrays:
    """Observed answers, sorted by person, then item.

    offsets [person + 1]: where a person's answers begin; item [answer]; y [answer]: values, or codes as int8.
    """

    offsets: np.ndarray
    item: np.ndarray
    y: np.ndarray
    n_items: int

    @staticmethod
    def of(person: np.ndarray, item: np.ndarray, y: np.ndarray, n_persons: int, n_items: int) -> LongArrays:
        """Triples [answer] in any order, none missing and none twice."""
        offsets = np.zeros(n_persons + 1, np.int64)
        np.cumsum(np.bincount(person, minlength=n_persons), out=offsets[1:])
        cell = person.astype(np.int64) * n_items + item
        if not (cell[1:] > cell[:-1]).all():
            order = np.argsort(cell)
            item, y = item[order], y[order]
        return LongArrays(offsets, item.astype(np.int32), y, n_items)

    @property
    def n_persons(self) -> int:
        """Number of persons, also of those without an answer."""
        return len(self.offsets) - 1

    @property
    def person(self) -> np.ndarray:
        """Person of every answer [answer]."""
        return np.repeat(np.arange(self.n_persons), np.diff(self.offsets))

    def take(self, rows: np.ndarray) -> LongArrays:
        """Some persons, by their places."""
        count = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(count)])
        at = np.repeat(self.offsets[:-1][rows] - offsets[:-1], count) + np.arange(offsets[-1])
        return LongArrays(offsets, self.item[at], self.y[at], self.n_items)

    def select(self, items: np.ndarray) -> LongArrays:
        """Some items, by their places, in this order."""
        new = np.full(self.n_items, -1)
        new[items] = np.arange(len(items))
        keep = new[self.item] >= 0
        return LongArrays.of(self.person[keep], new[self.item[keep]], self.y[keep], self.n_persons, len(items))

    def by_item(self) -> list[np.ndarray]:
        """Places of every item's answers, in the order of persons."""
        order = np.argsort(self.item, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.item, minlength=self.n_items))[:-1])

    def dense(self, fill: float = np.nan) -> np.ndarray:
        """A table [person, item] of the type of y.

        Raises ValueError where it would take more than MOST_BYTES.
        """
        size = self.n_persons * self.n_items * self.y.itemsize
        if size > MOST_BYTES:
            raise ValueError(
                f"This needs the answers as a table of {self.n_persons} persons x {self.n_items} items, {size:,} bytes,"
                f" more than the {MOST_BYTES:,} that are allowed: take a sample of the persons."
            )
        out = np.full((self.n_persons, self.n_items), fill, self.y.dtype)
        out[self.person, self.item] = self.y
        return out

    def encode(self, coding: Coding) -> LongArrays:
        """Codes of categories instead of values; as int8 where all items are categorical."""
        codes = np.empty(len(self.y), np.int8 if coding.categorical else float)
        for at, values in zip(self.by_item(), coding.values, strict=True):
            codes[at] = self.y[at] if values is None else np.searchsorted(np.asarray(values), self.y[at])
        return replace(self, y=codes)


@dataclass(frozen=True)
class LongResponses:
    """Responses held as triples; to_dense() gives the table that other engines need."""

    arrays: LongArrays
    names: tuple[str, ...]
    index: np.ndarray
    notes: tuple[str, ...] = ()

    group_labels = ("1",)
    group_name = None
    covariate_names = ()

    @property
    def n_persons(self) -> int:
        """Number of persons."""
        return self.arrays.n_persons

    def select(self, names: tuple[str, ...]) -> LongResponses:
        """Some items, by name, without the persons who answered none of them."""
        if names == self.names:
            return self
        at = np.array([self.names.index(name) for name in names])
        chosen = replace(self, arrays=self.arrays.select(at), names=names)
        return chosen.drop_empty_rows().check_columns()

    def drop_empty_rows(self) -> LongResponses:
        """Without persons who answered nothing, and a note that says so."""
        seen = np.diff(self.arrays.offsets) > 0
        if seen.all():
            return self
        if not seen.any():
            raise ValueError("Every row of the data is entirely missing on the variables of the model.")
        rows = np.flatnonzero(seen)
        first = int(np.flatnonzero(~seen)[0]) + 1
        note = f"{len(seen) - len(rows)} row(s) with nothing observed were dropped (first: row {first})."
        return replace(self, arrays=self.arrays.take(rows), index=self.index[rows], notes=(*self.notes, note))

    def check_columns(self) -> LongResponses:
        """Every item has answers, and different ones."""
        if self.n_persons < 2:
            raise ValueError(f"Expected at least 2 rows; got {self.n_persons}.")
        for name, at in zip(self.names, self.arrays.by_item(), strict=True):
            y = self.arrays.y[at]
            if not len(y):
                raise ValueError(f"The variable {name!r} has no values: remove it from the model.")
            if (y == y[0]).all():
                raise ValueError(f"The variable {name!r} is constant (always {y[0]:g} in {len(y)} row(s)): remove it.")
        return self

    def facts(self) -> list[ColumnFacts]:
        """What decides how the items are coded."""
        person = self.arrays.person
        out = []
        for at in self.arrays.by_item():
            found = column_facts(self.arrays.y[at])
            place: Any = lambda odd, at=at: None if odd is None else (int(person[at[odd[0]]]), odd[1])  # noqa: E731
            out.append(found._replace(negative=place(found.negative), fraction=place(found.fraction)))
        return out

    def to_dense(self) -> Responses:
        """Persons in rows and items in columns; raises ValueError where the table would be too large."""
        y = self.arrays.dense()
        return Responses(y, self.names, np.zeros(len(y), np.int32), ("1",), index=self.index, notes=self.notes)
