"""Responses: a validated data set with its names, and the arrays that compiled code sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.data.frames import column_names, is_missing, numeric_matrix, raw_column, require, row_index

DENSE_CELLS = 20_000_000  # persons x items above which a table with few answers is not made
DENSE_SHARE = 0.25  # of the cells that are answered, from which a table is made all the same

if TYPE_CHECKING:
    from jaxlatent.data.long_arrays import LongResponses
    from jaxlatent.data.occasions import LongRows
    from jaxlatent.data.scanned import ScannedResponses


@dataclass(frozen=True)
class Responses:
    """Observed variables of persons, one group after the other.

    y [person, variable] with nan for missing; group [person] codes 0, 1, ...; weight [person] sums to the number of
    persons within the whole sample; cluster [person] codes or None; index holds the user's row labels. long: the user's
    rows, where a person has one for each occasion and columns are the variables of all occasions.
    """

    y: np.ndarray
    names: tuple[str, ...]
    group: np.ndarray
    group_labels: tuple[str, ...]
    weight: np.ndarray | None = None
    cluster: np.ndarray | None = None
    index: np.ndarray = field(default_factory=lambda: np.empty(0))
    group_name: str | None = None
    notes: tuple[str, ...] = ()
    covariates: np.ndarray | None = None
    covariate_names: tuple[str, ...] = ()
    long: LongRows | None = None

    @classmethod
    def from_frame(
        cls,
        data: Any,
        variables: Sequence[str],
        *,
        group: str | None = None,
        weights: str | None = None,
        cluster: str | None = None,
        covariates: Sequence[str] = (),
        constant: bool = False,
    ) -> Responses:
        """Read and validate the variables of a model. constant: whether columns that do not vary are allowed.

        Raises ValueError naming the variable, row and what was expected: a variable that is not there or there twice,
        text, infinities, a column without values or without variation, a missing group, weight or cluster.
        """
        names = column_names(data, variables)
        for role, name in (("group", group), ("weights", weights), ("cluster", cluster)):
            if name is not None:
                require(names, [name], f"{role} variable")
        if group in variables:
            raise ValueError(
                f"The group variable {group!r} is also a variable of the model, and constant in each group."
            )
        y = numeric_matrix(data, variables)
        index = row_index(data, len(y))
        codes, labels = _codes(data, group, names, len(y))
        w = None if weights is None else _weights(data, weights)
        clusters = None if cluster is None else _clusters(raw_column(data, cluster, names), cluster)
        _check_finite(y, variables)
        z = _covariates(data, covariates)
        out = cls(y, tuple(variables), codes, labels, w, clusters, index, group, (), z, tuple(covariates))
        out = out.drop_empty_rows()
        return out if constant else out.check_columns()

    @staticmethod
    def from_long(
        data: Any, *, person: str, item: str, response: str, dense: bool | None = None
    ) -> Responses | LongResponses:
        """Answers in rows of (person, item, response) as persons in rows and items in columns.

        Persons and items are ordered by their labels; pairs that do not occur are missing. dense: True makes a table,
        False keeps triples (LongResponses); None keeps them where the table would be large and mostly empty.

        Raises
        ------
        ValueError
            A column is not there, a person, item or response is missing, or a person answered an item twice.
        """
        from jaxlatent.data.long_arrays import LongArrays, LongResponses

        names = column_names(data, (person, item, response))
        require(names, (person, item, response))
        columns = [raw_column(data, name, names) for name in (person, item)]
        for role, name, column in zip(("person", "item"), (person, item), columns, strict=True):
            _check_present(column, role, name)
        values = numeric_matrix(data, [response])[:, 0]
        (people, rows), (items, at) = (_places(column) for column in columns)
        cells = rows.astype(np.int64) * len(items) + at
        order = np.argsort(cells)
        cells = cells[order]
        twice = cells[1:][cells[1:] == cells[:-1]]
        if len(twice):
            who, what = divmod(int(twice[0]), len(items))
            raise ValueError(
                f"The person {people.tolist()[who]!r} answered the item {items.tolist()[what]!r} more than once: keep"
                " one answer."
            )
        kept = order[~np.isnan(values[order])]
        arrays = LongArrays.of(rows[kept], at[kept], values[kept], len(people), len(items))
        long = LongResponses(arrays, tuple(str(name) for name in items), people).drop_empty_rows().check_columns()
        size = len(people) * len(items)
        wasteful = size > DENSE_CELLS and len(kept) < size * DENSE_SHARE
        return long if dense is False or (dense is None and wasteful) else long.to_dense()

    @staticmethod
    def scan(
        path: str | Path,
        variables: Sequence[str] | None = None,
        *,
        group: str | None = None,
        weights: str | None = None,
        covariates: Sequence[str] = (),
        person: str | None = None,
        item: str | None = None,
        response: str | None = None,
    ) -> ScannedResponses:
        """Responses in a Parquet file, or the *.parquet files of a folder, that need not fit into memory.

        The files are looked through once; needs pyarrow. variables: the items; None: every column not named otherwise.
        person, item, response: columns of files with a row for every answer, sorted by person.

        Raises
        ------
        FileNotFoundError, ValueError
            Nothing is there, files have different columns, or what from_frame and from_long raise.
        ImportError
            pyarrow is not installed.
        """
        from jaxlatent.data.scanned import ScannedResponses

        return ScannedResponses.open(
            path, variables, group=group, weights=weights, covariates=covariates, person=person, item=item,
            response=response,
        )  # fmt: skip

    @classmethod
    def for_scoring(
        cls,
        data: Any,
        variables: Sequence[str],
        *,
        group: str | None,
        labels: tuple[str, ...],
        covariates: Sequence[str] = (),
    ) -> Responses:
        """New persons of a fitted model: constant or missing columns are no error here, an unknown group is."""
        names = column_names(data, variables)
        y = numeric_matrix(data, variables)
        _check_finite(y, variables)
        if not len(y):
            raise ValueError("Expected at least 1 row of new data; got none.")
        codes = np.zeros(len(y), np.int32)
        if len(labels) > 1:
            if group is None:
                raise ValueError(
                    "The model has several groups and the name of the group variable is not known: refit it."
                )
            require(names, [group], "group variable")
            column = raw_column(data, group, names)
            _check_present(column, "group", group)
            given = [label_of(v) for v in column.tolist()]
            unknown = next((v for v in given if v not in labels), None)
            if unknown is not None:
                raise ValueError(
                    f"The group {unknown!r} of {group!r} was not fitted; the groups are {', '.join(labels)}."
                )
            codes = np.array([labels.index(v) for v in given], np.int32)
        z = _covariates(data, covariates, constant=True)
        rows = row_index(data, len(y))
        return cls(y, tuple(variables), codes, labels, None, None, rows, group, (), z, tuple(covariates))

    @property
    def n_groups(self) -> int:
        """How many groups there are."""
        return len(self.group_labels)

    @property
    def has_missing(self) -> bool:
        """Whether any cell is missing."""
        return any(bool(np.isnan(column).any()) for column in self.y.T)

    def rows_of(self, g: int) -> np.ndarray:
        """Positions of the rows of a group."""
        return np.flatnonzero(self.group == g)

    def take(self, keep: np.ndarray, note: str | None = None) -> Responses:
        """The rows where keep [person] is true (or at these positions), with a note for the summary."""
        pick = lambda a: None if a is None else a[keep]  # noqa: E731
        return replace(
            self,
            y=self.y[keep],
            group=self.group[keep],
            weight=pick(self.weight),
            cluster=pick(self.cluster),
            index=self.index[keep],
            covariates=pick(self.covariates),
            notes=self.notes + ((note,) if note else ()),
            long=None if self.long is None else self.long.of(keep),
        )

    def drop_empty_rows(self) -> Responses:
        """Without the rows in which nothing is observed, and a note that says so."""
        empty = np.ones(len(self.y), bool)
        for column in self.y.T:
            empty &= np.isnan(column)
        if not empty.any():
            return self
        if empty.all():
            raise ValueError("Every row of the data is entirely missing on the variables of the model.")
        return self.take(
            ~empty, f"{empty.sum()} row(s) with nothing observed were dropped (first: row {_first(empty)})."
        )

    def listwise(self) -> Responses:
        """Only complete rows."""
        missing = np.isnan(self.y).any(axis=1)
        if missing.all():
            raise ValueError("No row is complete on all variables of the model: use missing='fiml'.")
        note = f"{missing.sum()} of {len(missing)} rows with missing values were dropped (listwise deletion)."
        return self.take(~missing, note).check_columns() if missing.any() else self

    def require_observed(self, variables: Sequence[str]) -> Responses:
        """Rows where these (fixed exogenous) variables are all observed."""
        columns = [self.names.index(v) for v in variables]
        missing = np.isnan(self.y[:, columns]).any(axis=1)
        note = f"{missing.sum()} row(s) with a missing value of a fixed exogenous variable were dropped."
        return self.take(~missing, note) if missing.any() else self

    def check_columns(self) -> Responses:
        """Every variable has values and varies, in every group."""
        for g, label in enumerate(self.group_labels):
            here = f" in group {label!r}" if self.n_groups > 1 else ""
            y = self.y if self.n_groups == 1 else self.y[self.group == g]
            if len(y) < 2:
                raise ValueError(f"Expected at least 2 rows{here}; got {len(y)}.")
            for j, name in enumerate(self.names):
                column = y[:, j]
                first = column[0] if column[0] == column[0] else next((v for v in column if v == v), None)
                if first is None:
                    raise ValueError(f"The variable {name!r} has no values{here}: remove it from the model.")
                if ((column == first) | (column != column)).all():
                    count = int((column == column).sum())
                    raise ValueError(
                        f"The variable {name!r} is constant{here} (always {first:g} in {count} row(s)): remove it"
                        + (", or leave the group out." if self.n_groups > 1 else ".")
                    )
        return self


def _places(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels in order, and every row's place among them; millions of texts are hashed rather than sorted."""
    if column.dtype.kind != "O" or not all(isinstance(v, str) for v in column):
        return np.unique(column, return_inverse=True)
    import pandas as pd

    codes, labels = pd.factorize(column, sort=True)
    return np.asarray(labels, object), codes


def _first(flags: np.ndarray) -> int:
    return int(np.flatnonzero(flags)[0]) + 1


def _check_finite(y: np.ndarray, variables: Sequence[str]) -> None:
    for name, column in zip(variables, y.T, strict=True):
        infinite = np.isinf(column)
        if infinite.any():
            raise ValueError(f"The variable {name!r} is infinite in row {_first(infinite)}: recode it as missing.")


def _codes(data: Any, group: str | None, names: list[str], n: int) -> tuple[np.ndarray, tuple[str, ...]]:
    return (np.zeros(n, np.int32), ("1",)) if group is None else group_codes(raw_column(data, group, names), group)


def group_codes(column: np.ndarray, group: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Codes and labels of the groups in order of first appearance, as lavaan numbers them.

    Raises ValueError where a value is missing or there is one group only.
    """
    _check_present(column, "group", group)
    seen: dict[Any, int] = {}
    codes = np.array([seen.setdefault(v, len(seen)) for v in column.tolist()], np.int32)
    return codes, group_labels(tuple(seen), len(column), group)


def group_labels(seen: Sequence[Any], n: int, group: str) -> tuple[str, ...]:
    """Labels of the values of a group variable with n rows; raises ValueError where they make no groups."""
    if not seen:
        raise ValueError("The data have no rows.")
    if len(seen) < 2:
        raise ValueError(f"The group variable {group!r} has one value only ({seen[0]!r}): leave group out.")
    if len(seen) > n // 2:
        raise ValueError(
            f"The group variable {group!r} has {len(seen)} different values in {n} rows: expected a few"
            " groups with many rows each."
        )
    labels = [label_of(v) for v in seen]
    for label in labels:
        if labels.count(label) > 1:
            alike = " and ".join(repr(v) for v in seen if label_of(v) == label)
            raise ValueError(f"The group variable {group!r} has the values {alike}, which read the same: recode one.")
    return tuple(labels)


def _check_present(column: np.ndarray, role: str, name: str) -> None:
    if column.dtype.kind in "iufb":
        missing = column != column
    else:
        missing = np.array([is_missing(v) for v in column.tolist()], bool)
    if missing.any():
        raise ValueError(
            f"The {role} variable {name!r} is missing in {missing.sum()} row(s), first in row {_first(missing)}:"
            f" remove these rows or give them a {role}."
        )


def label_of(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _weights(data: Any, name: str) -> np.ndarray:
    w = numeric_matrix(data, [name])[:, 0]
    bad = ~(w > 0) | ~np.isfinite(w)
    if bad.any():
        raise ValueError(
            f"Expected the weights {name!r} to be positive numbers; got {w[bad][0]:g} in row {_first(bad)}: remove"
            " that row or correct its weight."
        )
    return w * (len(w) / w.sum())


def _covariates(data: Any, covariates: Sequence[str], constant: bool = False) -> np.ndarray | None:
    """Numbers [person, covariate] without missing ones."""
    if not covariates:
        return None
    z = numeric_matrix(data, covariates)
    for name, column in zip(covariates, z.T, strict=True):
        bad = ~np.isfinite(column)
        if bad.any():
            raise ValueError(
                f"The covariate {name!r} is missing or infinite in {bad.sum()} row(s), first in row {_first(bad)}:"
                " remove these rows."
            )
        if not constant and np.ptp(column) == 0:
            raise ValueError(f"The covariate {name!r} is constant (always {column[0]:g}): remove it.")
    return z


def cluster_text(column: np.ndarray, name: str) -> np.ndarray:
    """The cluster of every row as text; raises ValueError where one is missing."""
    _check_present(column, "cluster", name)
    return column.astype(str)


def _clusters(column: np.ndarray, name: str) -> np.ndarray:
    codes = np.unique(cluster_text(column, name), return_inverse=True)[1]
    if len(codes) and codes.max() < 1:
        raise ValueError(f"The cluster variable {name!r} has one value only: cluster-robust errors need at least two.")
    return codes
