"""Long frames, a row a person and occasion, as wide tables: a row a person, a column an item and occasion."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxlatent.data.frames import column_names, is_missing, is_named, raw_column, require
from jaxlatent.data.responses import Responses, label_of

PERSON = "person"


@dataclass(frozen=True)
class LongRows:
    """Rows as the user gave them: the label, person (a row of the wide table) and occasion (0, 1, ...) of each."""

    index: Any
    person: np.ndarray
    occasion: np.ndarray

    def of_each(self, values: np.ndarray, n: int) -> np.ndarray:
        """[person, T n] -> [row, n]: what belongs to the occasion of each row."""
        return values.reshape(len(values), -1, n)[self.person, self.occasion]

    def of(self, persons: np.ndarray) -> LongRows:
        """The rows of these persons (true, or at these positions), who then are persons 0, 1, ..."""
        chosen = np.arange(self.person.max(initial=-1) + 1)[persons]
        place = np.full(self.person.max(initial=-1) + 1, -1)
        place[chosen] = np.arange(len(chosen))
        kept = place[self.person] >= 0
        return LongRows(self.index[kept], place[self.person[kept]], self.occasion[kept])


def person_column(data: Any, given: str | None, occasion: str) -> tuple[np.ndarray, str | None]:
    """Who every row is of, and the column or level that says so (None: the row labels).

    given None: the column "person", or else the row labels without the level of the occasion.

    Raises ValueError where there is no such column, it has missing cells, or no row label comes twice.
    """
    if given is None and PERSON in column_names(data, ()):
        given = PERSON
    if given is not None:
        return _key(data, given, "person"), given
    index = getattr(data, "index", None)
    labels = None if index is None or callable(index) else index
    if labels is not None and labels.nlevels > 1 and occasion in labels.names:
        labels = labels.droplevel(occasion)
    if labels is None or labels.is_unique:
        raise ValueError(
            f"Expected the persons of the rows in a column {PERSON!r} or in repeated row labels; found neither: name"
            f" their column, as in occasions=('id', {occasion!r})."
        )
    return labels.to_numpy(), None


def occasion_column(data: Any, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels of every row's occasion, and all labels in order.

    Numbers, times and ordered categories have an order; so have texts that differ in a number at their end.

    Raises ValueError where there is one occasion only, a cell is missing, or the order is not known.
    """
    column = _key(data, name, "occasion")
    values = _ordered(data, name, column)
    labels = [label_of(v) for v in values]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise ValueError(f"The occasion variable {name!r} has values that read the same ({twice[0]!r}): recode one.")
    if len(labels) < 2:
        raise ValueError(
            f"The occasion variable {name!r} has one value only ({labels[0] if labels else 'none'!r}): leave occasions"
            " out."
        )
    if len(labels) > max(len(column) // 10, 2):
        raise ValueError(
            f"The occasion variable {name!r} has {len(labels)} different values in {len(column)} rows: expected a few"
            " occasions that many persons share."
        )
    return occasions_of_rows(data, name), tuple(labels)


def occasions_of_rows(data: Any, name: str) -> np.ndarray:
    """Labels of every row's occasion."""
    return np.array([label_of(v) for v in _key(data, name, "occasion").tolist()], object)


def labels_of(data: Any, kept: np.ndarray) -> Any:
    """Labels of these rows: a pandas index, or positions."""
    index = getattr(data, "index", None)
    return index[kept] if index is not None and not callable(index) else np.flatnonzero(kept)


def rows_of(index: Any, persons: np.ndarray, when: np.ndarray, labels: Sequence[str], name: str) -> LongRows:
    """Rows by person, in order of first appearance, and occasion.

    Raises ValueError where a person has two rows of one occasion, or an occasion is not among the labels.
    """
    place = {label: t for t, label in enumerate(labels)}
    unknown = next((v for v in when.tolist() if v not in place), None)
    if unknown is not None:
        raise ValueError(f"The occasion {unknown!r} of {name!r} was not fitted; those are {', '.join(labels)}.")
    seen: dict[Any, int] = {}
    person = np.array([seen.setdefault(v, len(seen)) for v in persons.tolist()], np.int64)
    occasion = np.array([place[v] for v in when.tolist()], np.int64)
    cells = person * len(labels) + occasion
    first: dict[int, int] = {}
    for row, cell in enumerate(cells.tolist()):
        if cell in first:
            raise ValueError(
                f"The person {persons.tolist()[row]!r} has two rows of the occasion {when[row]!r} (rows"
                f" {first[cell] + 1} and {row + 1}): keep one."
            )
        first[cell] = row
    return LongRows(index, person, occasion)


def widened(data: Responses, rows: LongRows, persons: np.ndarray, n: int, names: tuple[str, ...]) -> Responses:
    """One row for each person: the items of the first occasion, then of the second, ...; nan where there is no row.

    persons: labels of the rows' persons; n: number of occasions.

    Raises ValueError where a person's group, weight or covariates differ between rows.
    """
    n_persons, j = int(rows.person.max(initial=-1)) + 1, data.y.shape[1]
    y = np.full((n_persons, n, j), np.nan)
    y[rows.person, rows.occasion] = data.y
    _, first = np.unique(rows.person, return_index=True)

    def of_persons(values: np.ndarray, what: str) -> np.ndarray:
        differs = values != values[first][rows.person]
        if differs.any():
            row = int(np.flatnonzero(differs)[0])
            raise ValueError(
                f"The {what} of the person {persons.tolist()[row]!r} is not the same in all rows (see row {row + 1}):"
                f" with occasions expected one {what} for each person."
            )
        return values[first]

    weight, z = data.weight, data.covariates
    if weight is not None:
        weight = of_persons(weight, "weight")
        weight = weight * (n_persons / weight.sum())
    if z is not None:
        columns = enumerate(data.covariate_names)
        z = np.column_stack([of_persons(z[:, k], f"covariate {name!r}") for k, name in columns])
    return replace(
        data, y=y.reshape(n_persons, n * j), names=names, group=of_persons(data.group, f"group {data.group_name!r}"),
        weight=weight, covariates=z, index=persons[first], long=rows,
    )  # fmt: skip


def check_links(
    y: np.ndarray, names: Sequence[str], factors: Sequence[Sequence[int]], labels: Sequence[str]
) -> tuple[str, ...]:
    """Sentences about items that nobody answered at an occasion. y [person, occasion, item]; factors: their items.

    Raises ValueError where a factor's items don't link an occasion to the others, so that its scale there is not known.
    """
    seen = (~np.isnan(y)).any(axis=0)
    for items in factors:
        own = seen[:, list(items)]
        reached, before = own[:1].any(axis=0), None
        while before is None or (reached != before).any():
            before, linked = reached, (own & reached).any(axis=1)
            reached = own[linked].any(axis=0)
        if not linked.all():
            t, shown = int(np.flatnonzero(~linked)[0]), ", ".join(names[j] for j in items)
            raise ValueError(
                f"No item among {shown} was answered both at the occasion {labels[t]!r} and at one linked to"
                f" {labels[0]!r}: expected common items, or leave out the rows of that occasion."
            )
    unseen = np.argwhere(~seen)
    if not len(unseen):
        return ()
    t, j = unseen[0]
    more = f", nor {len(unseen) - 1} other item(s) at some occasion" if len(unseen) > 1 else ""
    return (f"Nobody answered {names[j]!r} at the occasion {labels[t]!r}{more}: missing by design.",)


def _key(data: Any, name: str, role: str) -> np.ndarray:
    """A column or a level of the index, without missing cells."""
    if not is_named(data):
        raise ValueError("An array has no column names for occasions: pass a frame with a row a person and occasion.")
    names = column_names(data, ())
    index = getattr(data, "index", None)
    if name not in names and index is not None and not callable(index) and name in index.names:
        column = index.get_level_values(name).to_numpy()
    else:
        require(names, [name], f"{role} variable")
        column = raw_column(data, name, names)
    missing = np.array([is_missing(v) for v in column.tolist()], bool)
    if missing.any():
        raise ValueError(
            f"The {role} variable {name!r} is missing in {missing.sum()} row(s), first in row"
            f" {int(np.flatnonzero(missing)[0]) + 1}: remove these rows or give them a value."
        )
    if column.dtype.kind == "M":  # days where all are midnights
        days = column.astype("datetime64[D]")
        return days if (days == column).all() else column.astype("datetime64[s]")
    return column


def _ordered(data: Any, name: str, column: np.ndarray) -> list[Any]:
    """Distinct values in order."""
    distinct = list(dict.fromkeys(column.tolist()))
    dtype: Any = getattr(data[name], "dtype", None) if name in column_names(data, ()) else None
    if getattr(dtype, "ordered", False):
        return [v for v in dtype.categories.tolist() if v in set(distinct)]
    if any(isinstance(v, str) for v in distinct):
        parts = [re.fullmatch(r"(.*?)(\d+)", v) if isinstance(v, str) else None for v in distinct]
        if any(p is None for p in parts) or len({p.group(1) for p in parts if p}) > 1:
            raise ValueError(
                f"The occasions {', '.join(repr(v) for v in distinct[:4])} of {name!r} are texts whose order is not"
                " known: recode them as numbers, or as an ordered pandas Categorical."
            )
        return [v for _, v in sorted((int(p.group(2)), v) for p, v in zip(parts, distinct, strict=True) if p)]
    try:
        return sorted(distinct)
    except TypeError:
        raise ValueError(
            f"The occasions of {name!r} can't be ordered ({distinct[0]!r} and {distinct[1]!r}): recode them as numbers."
        ) from None
