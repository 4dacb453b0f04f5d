"""Coded answers of persons: a table, or triples where a table would be mostly empty."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxlatent.data.long_arrays import LongArrays


@dataclass(frozen=True)
class ItemData:
    """Coded answers [person, item] (-1 or nan where missing), groups, weights and covariates of persons."""

    codes: np.ndarray
    group: np.ndarray
    weight: np.ndarray | None
    covariates: np.ndarray | None

    @property
    def answers(self) -> np.ndarray | LongArrays:
        """The answers as they are held."""
        return self.codes

    @property
    def n_persons(self) -> int:
        """Number of persons."""
        return len(self.group)

    @property
    def shape(self) -> tuple[int, int]:
        """Persons and items."""
        return self.n_persons, self.codes.shape[1]

    @property
    def n_missing(self) -> int:
        """Cells without an answer."""
        return int((self.codes < 0).sum() if self.codes.dtype == np.int8 else np.isnan(self.codes).sum())

    def every(self, step: int) -> np.ndarray:
        """Codes of every step-th person."""
        return self.codes[::step]


@dataclass(frozen=True)
class LongItemData:
    """The same with answers as triples of codes; codes makes the table for what needs one."""

    answers: LongArrays
    group: np.ndarray
    weight: np.ndarray | None
    covariates: np.ndarray | None

    @cached_property
    def codes(self) -> np.ndarray:
        """The table [person, item]; raises ValueError where it would be too large."""
        return _table(self.answers)

    @property
    def n_persons(self) -> int:
        """Number of persons."""
        return len(self.group)

    @property
    def shape(self) -> tuple[int, int]:
        """Persons and items."""
        return self.n_persons, self.answers.n_items

    @property
    def n_missing(self) -> int:
        """Cells without an answer."""
        return self.n_persons * self.answers.n_items - len(self.answers.y)

    def every(self, step: int) -> np.ndarray:
        """Codes of every step-th person."""
        return _table(self.answers.take(np.arange(0, self.n_persons, step)))


def _table(answers: LongArrays) -> np.ndarray:
    return answers.dense(-1 if answers.y.dtype == np.int8 else np.nan)


ItemRows = ItemData | LongItemData


def some_rows(data: ItemRows, most: int) -> ItemData:
    """At most so many persons, evenly spread, as a table."""
    step = max(-(-data.n_persons // most), 1)
    weight = None if data.weight is None else data.weight[::step]
    covariates = None if data.covariates is None else data.covariates[::step]
    return ItemData(data.every(step), data.group[::step], weight, covariates)
