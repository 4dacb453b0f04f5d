"""One pass over rows that do not fit into memory: what a data set must tell before a model can meet it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from jaxlatent.data.coding import MOST_CATEGORIES, ColumnFacts

MOST_DISTINCT = MOST_CATEGORIES + 1  # values of an item that are counted; further ones are only noticed


@dataclass(frozen=True)
class Margins:
    """Margins of items: facts of their values, counts [group, value] of these, and by group how many answered
    [group, item], mean, variance, lowest and highest value [group, item] (nan where nobody answered).
    """

    facts: tuple[ColumnFacts, ...]
    counts: tuple[np.ndarray, ...]
    n: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def check_columns(self, names: tuple[str, ...], labels: tuple[str, ...], persons: np.ndarray) -> None:
        """Every variable has values and varies, in every group; persons [group].

        Raises ValueError naming the variable and the group, in the words of Responses.check_columns.
        """
        for g, label in enumerate(labels):
            here = f" in group {label!r}" if len(labels) > 1 else ""
            if persons[g] < 2:
                raise ValueError(f"Expected at least 2 rows{here}; got {persons[g]}.")
            for j, name in enumerate(names):
                if not self.n[g, j]:
                    raise ValueError(f"The variable {name!r} has no values{here}: remove it from the model.")
                if self.low[g, j] == self.high[g, j]:
                    raise ValueError(
                        f"The variable {name!r} is constant{here} (always {self.low[g, j]:g} in {self.n[g, j]}"
                        " row(s)): remove it" + (", or leave the group out." if here else ".")
                    )


class MarginCounter:
    """Adds up margins over pieces of rows; memory does not grow with the number of rows."""

    def __init__(self, n_items: int) -> None:
        self._known = [np.empty(0)] * n_items
        self._complete = [True] * n_items
        self._counts = [np.zeros((0, 0), np.int64) for _ in range(n_items)]
        self._odd: list[list[tuple[int, float] | None]] = [[None, None] for _ in range(n_items)]
        self._n = np.zeros((0, n_items), np.int64)
        self._mean, self._square = np.zeros((0, n_items)), np.zeros((0, n_items))
        self._low, self._high = np.zeros((0, n_items)), np.zeros((0, n_items))
        self._hash = blake2b(digest_size=16), blake2b(digest_size=16)

    def add(self, y: np.ndarray, group: np.ndarray, first_row: int) -> None:
        """Rows y [row, item] with nan for missing, their groups [row], and the place of the first in the data."""
        if not len(y):
            return
        for g in range(int(group.max()) + 1):
            rows = y if (group == g).all() else y[group == g]
            self._add_moments(g, rows)
        for j, column in enumerate(np.ascontiguousarray(y.T)):
            self._add_values(j, column, group, first_row)
        for digest, part in zip(self._hash, (y, group.astype(np.int32)), strict=True):
            digest.update(np.ascontiguousarray(part).data)

    def result(self, n_groups: int) -> Margins:
        """What was found."""
        self._grow(n_groups)
        facts = [
            ColumnFacts(known, complete, *odd)
            for known, complete, odd in zip(self._known, self._complete, self._odd, strict=True)
        ]
        counts = [np.pad(c, ((0, n_groups - len(c)), (0, 0))) for c in self._counts]
        empty = self._n == 0
        nan = lambda a: np.where(empty, np.nan, a)  # noqa: E731
        variance = self._square / np.maximum(self._n, 1)
        return Margins(
            tuple(facts), tuple(counts), self._n, nan(self._mean), nan(variance), nan(self._low), nan(self._high)
        )

    def digest(self) -> str:
        """A fingerprint of all rows in their order, however they were cut into pieces of whole rows."""
        return "".join(digest.hexdigest() for digest in self._hash)

    def _grow(self, n_groups: int) -> None:
        more = ((0, max(n_groups - len(self._n), 0)), (0, 0))
        self._n, self._mean, self._square = np.pad(self._n, more), np.pad(self._mean, more), np.pad(self._square, more)
        self._low = np.pad(self._low, more, constant_values=np.inf)
        self._high = np.pad(self._high, more, constant_values=-np.inf)

    def _add_moments(self, g: int, y: np.ndarray) -> None:
        """Means and sums of squares joined with those before (Chan, Golub and LeVeque 1983)."""
        self._grow(g + 1)
        seen = ~np.isnan(y)
        n = seen.sum(0)
        mean = np.where(seen, y, 0).sum(0) / np.maximum(n, 1)
        square = (np.where(seen, y - mean, 0) ** 2).sum(0)
        total = np.maximum(self._n[g] + n, 1)
        away = mean - self._mean[g]
        self._square[g] += square + away**2 * self._n[g] * n / total
        self._mean[g] += away * n / total
        self._n[g] += n
        self._low[g] = np.minimum(self._low[g], np.where(seen, y, np.inf).min(0, initial=np.inf))
        self._high[g] = np.maximum(self._high[g], np.where(seen, y, -np.inf).max(0, initial=-np.inf))

    def _add_values(self, j: int, column: np.ndarray, group: np.ndarray, first_row: int) -> None:
        for which, wrong in enumerate((column < 0, (column != np.round(column)) & (column == column))):
            if self._odd[j][which] is None and wrong.any():
                at = int(np.flatnonzero(wrong)[0])
                self._odd[j][which] = first_row + at, float(column[at])
        if not self._complete[j]:
            return
        seen = column == column
        values, known = column[seen], self._known[j]
        at = np.minimum(np.searchsorted(known, values), max(len(known) - 1, 0))
        new = values if not len(known) else values[known[at] != values]
        if len(new):
            self._widen(j, np.unique(new))
            if not self._complete[j]:
                return
            known = self._known[j]
            at = np.searchsorted(known, values)
        n_groups = max(int(group.max()) + 1, len(self._counts[j]))
        found = np.bincount(group[seen] * len(known) + at, minlength=n_groups * len(known))
        self._counts[j] = np.pad(self._counts[j], ((0, n_groups - len(self._counts[j])), (0, 0)))
        self._counts[j] += found.reshape(n_groups, len(known))

    def _widen(self, j: int, new: np.ndarray) -> None:
        """Make room for values not met before, unless there are too many to be categories."""
        known = np.union1d(self._known[j], new)
        self._complete[j] = len(known) <= MOST_DISTINCT
        counts = np.zeros((len(self._counts[j]), len(known)), np.int64)
        counts[:, np.searchsorted(known, self._known[j])] = self._counts[j]
        keep = slice(None) if self._complete[j] else slice(MOST_DISTINCT)
        self._known[j], self._counts[j] = known[keep], counts[:, keep]
