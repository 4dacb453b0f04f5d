"""Columns out of pandas, polars, NumPy and mappings: the only place that knows what a frame is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np


def is_named(data: Any) -> bool:
    """Whether the columns have names: frames and mappings, not arrays."""
    return isinstance(data, Mapping) or hasattr(type(data), "columns") or hasattr(data, "columns")


LARGE = 2_000_000  # cells from which a second copy would be felt


def column_names(data: Any, expected: Sequence[str]) -> list[str]:
    """Names of the columns; an unnamed array must have one column for each expected variable, in that order."""
    if is_named(data):
        _check_frame(data)
        return [str(name) for name in _labels(data)]
    array = _array(data)
    if array.shape[1] != len(expected):
        raise ValueError(
            f"Expected an array with the {len(expected)} columns {', '.join(expected)}, in this order; got"
            f" {array.shape[1]} columns: pass a pandas or polars frame to select columns by name."
        )
    return list(expected)


def _labels(data: Any) -> list[Any]:
    return list(data) if isinstance(data, Mapping) else list(data.columns)


def _check_frame(data: Any) -> None:
    """Refuse frames whose columns cannot be read one by one, or that are something else in the shape of a frame."""
    if isinstance(data, Mapping):
        _check_mapping(data)
        return
    if hasattr(data, "collect"):
        raise ValueError("The data are a lazy frame, which holds no values yet: pass data.collect().")
    if getattr(data.columns, "nlevels", 1) > 1:
        raise ValueError(
            f"The columns of the data have names in {data.columns.nlevels} levels, such as {data.columns[0]!r}:"
            " expected one level; join or drop the others."
        )
    index = getattr(data, "index", None)
    if index is not None and len(index) == len(data.columns) > 1 and list(index) == list(data.columns):
        raise ValueError(
            "The rows of the data have the names of its columns, as in a covariance matrix: pass jl.Moments(cov, n) to"
            " fit one, or data.reset_index(drop=True) if these are persons."
        )


def _check_mapping(data: Mapping) -> None:
    """Every column has the same rows."""
    first: tuple[Any, Any] | None = None
    for name, column in data.items():
        if isinstance(column, str | bytes) or not hasattr(column, "__len__"):
            raise ValueError(f"Expected a column of values for {name!r}; got {column!r}.")
        if first is None:
            first = name, column
        if len(column) != len(first[1]):
            raise ValueError(f"The column {first[0]!r} has {len(first[1])} rows, but {name!r} has {len(column)}.")
        index, other = getattr(column, "index", None), getattr(first[1], "index", None)
        if index is not None and other is not None and hasattr(other, "equals") and not other.equals(index):
            raise ValueError(
                f"The columns {first[0]!r} and {name!r} have different row labels: put them in a DataFrame first."
            )


def _array(data: Any) -> np.ndarray:
    """An unnamed table [row, column]."""
    wanted = "Expected a pandas or polars frame, a mapping of columns, or an array with persons in rows"
    if data is None or isinstance(data, str | bytes | PurePath):
        raise ValueError(
            f"{wanted}; got {data!r}" + (": read the file first, as with pandas.read_csv." if data else ".")
        )
    try:
        array = np.asarray(data)
    except ValueError:
        raise ValueError(f"{wanted}; got {type(data).__name__} with rows of different lengths.") from None
    if array.ndim != 2:
        raise ValueError(
            f"{wanted} and variables in columns; got {type(data).__name__} with {array.ndim} dimension(s)."
        )
    return array


def table_shape(data: Any) -> tuple[int, int]:
    """Rows and columns of an unnamed table."""
    if hasattr(data, "cov") and hasattr(data, "n"):
        raise ValueError("This model needs the answers of persons: pass the data themselves, not their moments.")
    n, p = _array(data).shape
    return n, p


def require(names: Sequence[str], wanted: Sequence[str], role: str = "variable") -> None:
    """Every wanted name exists exactly once."""
    for name in wanted:
        count = names.count(name)
        if count == 0:
            there = f"whose columns are: {_shorten(names)}" if names else "which have no columns"
            raise ValueError(f"The {role} {name!r} is not in the data, {there}.")
        if count > 1:
            raise ValueError(f"The {role} {name!r} is the name of {count} columns of the data: rename all but one.")


def _shorten(names: Sequence[str], most: int = 20) -> str:
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def raw_column(data: Any, name: str, names: Sequence[str]) -> np.ndarray:
    """One column as it is."""
    if is_named(data):
        column = data[_labels(data)[names.index(name)]]
        return column.to_numpy() if hasattr(column, "to_numpy") else np.asarray(column)
    return np.asarray(data)[:, names.index(name)]


def numeric_matrix(data: Any, wanted: Sequence[str]) -> np.ndarray:
    """The wanted columns [row, variable] as float64 with nan for missing; strings are refused by name and row."""
    names = column_names(data, wanted)
    require(names, wanted)
    if type(data).__module__.startswith("pandas"):
        at = [names.index(name) for name in wanted]
        if all(data.dtypes.iloc[j].kind in "fiub" for j in at):
            return data.iloc[:, at].to_numpy(dtype=float) if len(data) * len(at) < LARGE else _large(data, at)
    if isinstance(data, np.ma.MaskedArray) and data.dtype.kind in "fiub":
        data = np.ma.filled(data.astype(float), np.nan)
    if isinstance(data, np.ndarray) and data.dtype.kind in "fiub":
        return np.array(data[:, [names.index(name) for name in wanted]], dtype=float)
    return np.column_stack([_as_float(raw_column(data, name, names), name) for name in wanted])


class _Kept:
    """A frame's own memory as an array: who holds the array holds the frame, so that writes elsewhere copy first."""

    def __init__(self, frame: Any) -> None:
        self.frame = frame
        self.__array_interface__ = frame.to_numpy().__array_interface__


def _large(data: Any, at: list[int]) -> np.ndarray:
    """Many numeric columns: where they are, if pandas copies on write and they are the whole of one array."""
    columns = [data.iloc[:, j].to_numpy() for j in at]  # views
    whole = at == list(range(data.shape[1])) and all(c.dtype == float for c in columns)
    if whole and columns[0].base is not None and all(c.base is columns[0].base for c in columns):
        shared = data.copy(deep=False)
        if _copies_on_write(data) and np.may_share_memory(shared.to_numpy(), columns[0]):
            return np.asarray(_Kept(shared))
    out = np.empty((len(data), len(at)))
    for j, column in enumerate(columns):
        out[:, j] = column
    return out


def _copies_on_write(data: Any) -> bool:
    """Whether a write to the frame leaves its shallow copies as they are: always from pandas 3 on."""
    import pandas

    return type(data) is pandas.DataFrame and int(pandas.__version__.split(".")[0]) >= 3


def _as_float(column: np.ndarray, name: str) -> np.ndarray:
    if column.dtype.kind in "fiub":
        return column.astype(float)
    if column.dtype.kind in "mM":
        what = "dates" if column.dtype.kind == "M" else "time differences"
        raise ValueError(f"The variable {name!r} holds {what}, which are not numbers: recode it.")
    out = np.empty(len(column))
    for row, value in enumerate(column.tolist()):
        out[row] = np.nan if is_missing(value) else _number(value, name, row)
    return out


def is_missing(value: Any) -> bool:
    """Whether a cell is None, nan, or the missing value of a library."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(np.all(value != value))


def _number(value: Any, name: str, row: int) -> float:
    if not isinstance(value, str | bytes | complex) and np.ndim(value) == 0:
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"The variable {name!r} is too large a number in row {row + 1}: rescale it.") from None
        except (TypeError, ValueError):
            pass
    raise ValueError(f"The variable {name!r} holds {value!r} in row {row + 1}, which is not a number: recode it.")


def row_index(data: Any, n: int) -> np.ndarray:
    """Row labels: a pandas index, or 0, 1, 2, ..."""
    index = getattr(data, "index", None)
    return np.asarray(index) if index is not None and not callable(index) and len(index) == n else np.arange(n)


def without_column(data: Any, name: str, role: str) -> tuple[Any, np.ndarray]:
    """A frame or mapping without one of its columns, and that column; raises ValueError where there is none."""
    if not is_named(data):
        raise ValueError(f"An array has no column names, so none is the {role} {name!r}: pass a frame.")
    names = column_names(data, ())
    require(names, [name], role)
    column = raw_column(data, name, names)
    if isinstance(data, Mapping):
        return {key: value for key, value in data.items() if str(key) != name}, column
    return (data.drop(columns=[name]) if hasattr(data, "iloc") else data.drop(name)), column
