"""Parquet files read piece by piece; pyarrow is imported when a file is opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxlatent.data.frames import require

CELLS = 400_000  # values of a piece
READ_AHEAD = 1 << 20  # bytes of a column that are read at once


class Piece(NamedTuple):
    """Rows in their order: y [row, item] with nan for missing, group codes by first appearance in the piece with the
    values they stand for, weight [row], covariates [row, covariate]; None for what was not asked for.
    """

    y: np.ndarray
    group: tuple[np.ndarray, list[Any]] | None = None
    weight: np.ndarray | None = None
    covariates: np.ndarray | None = None


class RowSource(Protocol):
    """Rows of persons on disk, in blocks that can be read alone."""

    @property
    def names(self) -> tuple[str, ...]:
        """Items."""

    @property
    def group(self) -> str | None:
        """Column of the group."""

    @property
    def weights(self) -> str | None:
        """Column of the weights."""

    @property
    def covariates(self) -> tuple[str, ...]:
        """Columns of the covariates."""

    @property
    def n_blocks(self) -> int:
        """How many blocks there are."""

    def pieces(self, block: int) -> Iterator[Piece]:
        """Rows of a block in their order, a bounded number at a time."""


class Block(NamedTuple):
    """A row group: its file, its number there, and its rows."""

    file: int
    number: int
    n_rows: int


def require_pyarrow() -> Any:
    """pyarrow.parquet, or a sentence that says how to install it."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ImportError('Reading Parquet files needs pyarrow: pip install "jaxlatent[stream]"') from error
    return parquet


@dataclass(frozen=True)
class ParquetFiles:
    """One file, or all *.parquet files of a folder in the order of their names, with the same columns."""

    paths: tuple[Path, ...]
    columns: tuple[str, ...]
    blocks: tuple[Block, ...]

    @staticmethod
    def open(path: str | Path) -> ParquetFiles:
        """Look at the files' columns and row groups; no rows are read.

        Raises
        ------
        FileNotFoundError, ValueError
            Nothing is there, a file is no Parquet file, has no rows, or has other columns than the first one.
        """
        parquet = require_pyarrow()
        paths = _paths(Path(path))
        first: tuple[str, ...] = ()
        blocks = []
        for at, each in enumerate(paths):
            with _opened(parquet, each) as file:
                columns = _columns(file.schema_arrow)
                if at == 0:
                    first = columns
                _check_same(paths[0], first, each, columns)
                sizes = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
            blocks += [Block(at, g, n) for g, n in enumerate(sizes) if n]
        if not blocks:
            raise ValueError(f"{path} has no rows.")
        return ParquetFiles(paths, first, tuple(blocks))

    def record_batches(self, block: int, columns: Sequence[str], rows: int) -> Iterator[Any]:
        """Record batches of at most this many rows of some columns of one row group, in their order."""
        parquet = require_pyarrow()
        at = self.blocks[block]
        path = self.paths[at.file]
        with _opened(parquet, path) as file:
            groups = file.metadata.num_row_groups
            if at.number >= groups or file.metadata.row_group(at.number).num_rows != at.n_rows:
                raise ValueError(f"{path} was changed while it was in use: scan it again.")
            try:
                yield from file.iter_batches(rows, row_groups=[at.number], columns=list(columns))
            except OSError as error:
                raise ValueError(f"{path} is damaged in its row group {at.number + 1} ({error}).") from None


@dataclass(frozen=True)
class WideRows:
    """Persons in rows: items, and the columns of group, weights and covariates."""

    files: ParquetFiles
    names: tuple[str, ...]
    group: str | None = None
    weights: str | None = None
    covariates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Every column is there once."""
        for role, name in (("group", self.group), ("weights", self.weights)):
            if name is not None:
                require(self.files.columns, [name], f"{role} variable")
        require(self.files.columns, self.names)
        require(self.files.columns, self.covariates, "covariate")

    @property
    def n_blocks(self) -> int:
        """Row groups."""
        return len(self.files.blocks)

    @cached_property
    def _wanted(self) -> list[str]:
        extra = [name for name in (self.group, self.weights, *self.covariates) if name is not None]
        return list(dict.fromkeys([*self.names, *extra]))

    def pieces(self, block: int) -> Iterator[Piece]:
        """Rows of one row group."""
        rows = max(1, CELLS // max(len(self.names), 1))
        for batch in self.files.record_batches(block, self._wanted, rows):
            column = dict(zip(batch.schema.names, batch.columns, strict=True))
            number = {name: as_floats(column[name], name) for name in self._wanted if name != self.group}
            y = np.column_stack([number[name] for name in self.names])
            group = None if self.group is None else as_codes(column[self.group], "group", self.group)
            z = np.column_stack([number[name] for name in self.covariates]) if self.covariates else None
            yield Piece(y, group, None if self.weights is None else number[self.weights], z)


def as_floats(column: Any, name: str) -> np.ndarray:
    """A column as float64 with nan for missing; what holds no numbers is refused."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    number = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null)
    if not any(is_one(kind) for is_one in number):
        raise ValueError(
            f"The variable {name!r} holds values of type {kind}, not numbers: recode it, or name the columns to be read"
            " in variables."
        )
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def as_codes(column: Any, role: str, name: str) -> tuple[np.ndarray, list[Any]]:
    """Codes [row] of a column by first appearance, and the values they stand for."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    coded = column.dictionary_encode()
    values = coded.dictionary.to_pylist()
    if column.null_count or any(v != v for v in values):
        raise ValueError(f"The {role} variable {name!r} is missing in some rows: remove these rows.")
    return coded.indices.to_numpy(zero_copy_only=False), values


def _paths(path: Path) -> tuple[Path, ...]:
    if path.is_dir():
        found = tuple(sorted(each for each in path.glob("*.parquet") if each.is_file()))
        if not found:
            raise FileNotFoundError(2, "Expected *.parquet files in this folder; found none", str(path))
        return found
    if not path.is_file():
        raise FileNotFoundError(2, "No such Parquet file or folder", str(path))
    return (path,)


def _opened(parquet: Any, path: Path) -> Any:
    from pyarrow import ArrowException

    try:
        return parquet.ParquetFile(path, buffer_size=READ_AHEAD)
    except (ArrowException, OSError) as error:
        raise ValueError(f"{path} is no readable Parquet file ({' '.join(str(error).split())}).") from None


def _columns(schema: Any) -> tuple[str, ...]:
    """Names of the columns, without those that hold the row labels of a pandas frame."""
    given = (schema.pandas_metadata or {}).get("index_columns", ())
    index = {name for name in given if isinstance(name, str)}
    return tuple(name for name in schema.names if name not in index)


def _check_same(first: Path, expected: Sequence[str], path: Path, found: Sequence[str]) -> None:
    lost = [name for name in expected if name not in found]
    more = [name for name in found if name not in expected]
    if lost or more:
        what = f"lacks the column {lost[0]!r}" if lost else f"has the column {more[0]!r}"
        raise ValueError(
            f"Expected the same columns in all files; {path.name} {what}, unlike {first.name}: take the file out of the"
            " folder, or give it the same columns."
        )
