"""Responses that stay on disk: looked through once, then read in shuffled batches of one size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxlatent.data.coding import Coding, coding_from
from jaxlatent.data.first_pass import look_through
from jaxlatent.data.margins import Margins
from jaxlatent.data.parquet import ParquetFiles, RowSource, WideRows
from jaxlatent.data.parquet_long import LongRows
from jaxlatent.data.prefetch import prefetched
from jaxlatent.data.responses import Responses
from jaxlatent.data.row_batches import Batch, Epoch

BUFFER = 64 << 20  # bytes of rows that are shuffled together; as many wait in the queue


@dataclass(frozen=True)
class ScannedResponses:
    """Responses on disk, with what one pass through them tells.

    names: items; group_labels: as in Responses; margins: counts and moments of the items; sample: every k-th person, in
    memory; block_persons [block]: persons of every row group that answered something; notes: what was done to the data.
    """

    source: Any
    names: tuple[str, ...]
    group_labels: tuple[str, ...]
    group_name: str | None
    covariate_names: tuple[str, ...]
    margins: Margins
    sample: Responses
    block_persons: np.ndarray
    weight_scale: float | None
    digest: str
    notes: tuple[str, ...] = ()

    @classmethod
    def open(
        cls,
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
        """Look through a Parquet file, or the files of a folder: see Responses.scan."""
        files = ParquetFiles.open(path)
        long = (person, item, response)
        if any(name is not None for name in long):
            if person is None or item is None or response is None:
                raise ValueError("Expected person, item and response together, for answers in rows; one is missing.")
            if variables is not None or group is not None or weights is not None or covariates:
                raise ValueError("Answers in rows have no columns for variables, group, weights or covariates.")
            return cls.of(LongRows.open(files, person, item, response))
        other = {group, weights, *covariates}
        items = [name for name in files.columns if name not in other] if variables is None else list(variables)
        if group in items:
            raise ValueError(
                f"The group variable {group!r} is also a variable of the model, and constant in each group."
            )
        if not items:
            raise ValueError(f"{path} has no columns left for items.")
        return cls.of(WideRows(files, tuple(items), group, weights, tuple(covariates)))

    @classmethod
    def of(cls, source: RowSource) -> ScannedResponses:
        """One pass through a source; raises ValueError in the words of Responses.from_frame."""
        found = look_through(source)
        return cls(
            source, source.names, found.group_labels, source.group, source.covariates, found.margins, found.sample,
            found.block_persons, found.weight_scale, found.digest, found.notes,
        )  # fmt: skip

    @property
    def n_persons(self) -> int:
        """Persons who answered something."""
        return int(self.block_persons.sum())

    @property
    def n_groups(self) -> int:
        """How many groups there are."""
        return len(self.group_labels)

    def coding(self, categorical: Sequence[bool], counts: Sequence[bool]) -> Coding:
        """Categories of the items, as coding_of finds them in memory."""
        return coding_from(self.margins.facts, self.names, categorical, counts)

    def n_batches(self, batch_size: int) -> int:
        """Batches of an epoch."""
        return -(-self.n_persons // batch_size)

    def fingerprint(self) -> dict[str, Any]:
        """What tells these data from others, as plain values."""
        return {"items": list(self.names), "groups": list(self.group_labels), "persons": self.n_persons,
                "values": self.digest}  # fmt: skip

    def batches(
        self,
        batch_size: int,
        *,
        coding: Coding | None = None,
        key: int = 0,
        epoch: int = 0,
        start: int = 0,
        shuffle: bool = True,
        buffer: int = BUFFER,
    ) -> Iterator[Batch]:
        """Batches of one epoch from batch number start on, read ahead by one background thread.

        The order depends on key, epoch, batch_size and buffer (bytes of rows that are shuffled together; about three
        times as much is held) only: row groups are read in random order and rows shuffled within buffers. With
        shuffle=False persons come as in the file. coding: codes instead of raw values.

        Raises ValueError for sizes below 1, a file that changed, or a value that coding does not have.
        """
        given = {"batch_size": batch_size, "start": start, "epoch": epoch, "key": key, "buffer": buffer}
        for name, value in given.items():
            least = int(name in ("batch_size", "buffer"))
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise ValueError(f"Expected {name} to be a whole number from {least}; got {value!r}.")
        if coding is not None and coding.names != self.names:
            raise ValueError("Expected a coding of the items of these responses; it names others.")
        row_bytes = 16 + 8 * len(self.covariate_names) + len(self.names) * (2 if _small(coding) else 9)
        per_buffer = max(1, buffer // (row_bytes * batch_size))
        rows = batch_size * min(per_buffer, self.n_batches(batch_size))
        plan = Epoch(
            self.source, self.block_persons, self.group_labels, self.weight_scale, coding, batch_size, rows, shuffle
        )
        return prefetched(lambda: plan.batches(key, epoch, start), per_buffer)


def _small(coding: Coding | None) -> bool:
    return coding is not None and coding.categorical
