"""Parquet files with a row for every answer (person, item, response), sorted by person, as rows of persons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxlatent.data.frames import require
from jaxlatent.data.parquet import CELLS, ParquetFiles, Piece, as_codes, as_floats

ANSWERS = 1 << 17  # read at once


class Answers(NamedTuple):
    """Answers in their order: labels of persons, places of items, values with nan for missing."""

    person: np.ndarray
    item: np.ndarray
    value: np.ndarray


@dataclass(frozen=True)
class LongRows:
    """Persons made of their answers. A person belongs to the row group that holds the first of their answers."""

    files: ParquetFiles
    person: str
    item: str
    response: str
    labels: tuple[Any, ...]  # of items, in order
    ends: tuple[tuple[Any, Any], ...]  # labels of the first and last person of every row group

    group = None
    weights = None
    covariates = ()

    @staticmethod
    def open(files: ParquetFiles, person: str, item: str, response: str) -> LongRows:
        """Look through persons and items once.

        Raises ValueError where a column is not there or a label missing, or persons are not in order.
        """
        require(files.columns, (person, item, response))
        labels: set[Any] = set()
        ends: list[tuple[Any, Any]] = []
        for block in range(len(files.blocks)):
            first = last = None
            for batch in files.record_batches(block, [person, item], ANSWERS):
                people = _labels(batch.column(batch.schema.names.index(person)), "person", person)
                labels.update(as_codes(batch.column(batch.schema.names.index(item)), "item", item)[1])
                before = last if first is not None else ends[-1][1] if ends else None
                if (before is not None and people[0] < before) or (people[1:] < people[:-1]).any():
                    raise ValueError(
                        f"Expected rows sorted by the person variable {person!r}; they are not: sort the file by it."
                    )
                first = people[0] if first is None else first
                last = people[-1]
            ends.append((first, last))
        return LongRows(files, person, item, response, tuple(sorted(labels)), tuple(ends))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the items."""
        return tuple(str(label) for label in self.labels)

    @property
    def n_blocks(self) -> int:
        """Row groups."""
        return len(self.files.blocks)

    def pieces(self, block: int) -> Iterator[Piece]:
        """Rows of the persons that begin in one row group; the last of them may go on in those that follow."""
        last = self.ends[block][1]
        continued = self.ends[block - 1][1] if block else None
        rest: Answers | None = None
        for at in range(block, self.n_blocks):
            if at > block and self.ends[at][0] != last:
                break
            for new in self._answers(at):
                keep = new.person != continued if continued is not None else np.ones(len(new.person), bool)
                keep &= new.person <= last
                new = Answers(*(a[keep] for a in new))
                both = new if rest is None else Answers(*(np.concatenate(pair) for pair in zip(rest, new, strict=True)))
                if not len(both.person):
                    continue
                open_ = both.person == both.person[-1]
                yield from self._rows(Answers(*(a[~open_] for a in both)))
                rest = Answers(*(a[open_] for a in both))
        if rest is not None:
            yield from self._rows(rest)

    def _answers(self, block: int) -> Iterator[Answers]:
        place = {label: j for j, label in enumerate(self.labels)}
        for batch in self.files.record_batches(block, [self.person, self.item, self.response], ANSWERS):
            column = dict(zip(batch.schema.names, batch.columns, strict=True))
            codes, labels = as_codes(column[self.item], "item", self.item)
            at = np.array([place[label] for label in labels], np.int64)[codes]
            yield Answers(
                _labels(column[self.person], "person", self.person), at, as_floats(column[self.response], self.response)
            )

    def _rows(self, answers: Answers) -> Iterator[Piece]:
        """Whole persons as rows, a bounded number at a time."""
        if not len(answers.person):
            return
        begins = np.flatnonzero(np.r_[True, answers.person[1:] != answers.person[:-1]])
        rows = np.repeat(np.arange(len(begins)), np.diff(np.r_[begins, len(answers.person)]))
        size = max(1, CELLS // len(self.labels))
        for start in range(0, len(begins), size):
            n = min(size, len(begins) - start)
            here = slice(begins[start], begins[start + n] if start + n < len(begins) else None)
            row, item = rows[here] - start, answers.item[here]
            self._check_once(answers.person[here], row, item)
            y = np.full((n, len(self.labels)), np.nan)
            y[row, item] = answers.value[here]
            yield Piece(y)

    def _check_once(self, people: np.ndarray, row: np.ndarray, item: np.ndarray) -> None:
        cells = row * len(self.labels) + item
        order = np.argsort(cells, kind="stable")
        twice = np.flatnonzero(np.diff(cells[order]) == 0)
        if len(twice):
            at = order[twice[0]]
            who = people[at].item() if hasattr(people[at], "item") else people[at]
            raise ValueError(
                f"The person {who!r} answered the item {self.labels[item[at]]!r} more than once: keep one answer."
            )


def _labels(column: Any, role: str, name: str) -> np.ndarray:
    """Labels [row] as numbers or Python objects; none may be missing."""
    codes, values = as_codes(column, role, name)
    known = np.array(values)
    if known.dtype.kind not in "iuf":
        known = np.empty(len(values), object)
        known[:] = values
    return known[codes]
