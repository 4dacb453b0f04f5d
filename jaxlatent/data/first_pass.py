"""The first look at rows on disk: every row checked, margins counted, a sample kept."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from jaxlatent.data.margins import MarginCounter, Margins
from jaxlatent.data.parquet import Piece, RowSource
from jaxlatent.data.responses import Responses, group_labels

SAMPLE = 20_000  # rows kept in memory, for starting values
MOST_GROUPS = 10_000


class Found(NamedTuple):
    """What one pass tells: see ScannedResponses."""

    group_labels: tuple[str, ...]
    margins: Margins
    sample: Responses
    block_persons: np.ndarray
    weight_scale: float | None
    digest: str
    notes: tuple[str, ...]


def look_through(source: RowSource) -> Found:
    """One pass through all blocks; raises ValueError in the words of Responses.from_frame."""
    look = _Pass(source)
    for block in range(source.n_blocks):
        for piece in source.pieces(block):
            look.add(block, piece)
    return look.result()


class _Pass:
    """The first pass: checks every row and adds up."""

    def __init__(self, source: RowSource) -> None:
        self.source = source
        self.counter = MarginCounter(len(source.names))
        self.seen: dict[Any, int] = {}
        self.rows = 0  # read so far, with empty ones
        self.persons: list[int] = []
        self.weight_sum = 0.0
        self.low = np.full(len(source.covariates), np.inf)
        self.high = np.full(len(source.covariates), -np.inf)
        self.held: list[tuple[np.ndarray, ...]] = []
        self.step, self.n_held = 1, 0
        self.block_persons = np.zeros(source.n_blocks, np.int64)
        self.first_empty: int | None = None
        self.extra = blake2b(digest_size=16)

    def add(self, block: int, piece: Piece) -> None:
        """Check and count a piece."""
        infinite = np.isinf(piece.y)
        if infinite.any():
            row, j = np.argwhere(infinite)[0]
            raise ValueError(
                f"The variable {self.source.names[j]!r} is infinite in row {self.rows + row + 1}: recode it as missing."
            )
        group = self._groups(piece)
        self._weights(piece)
        self._covariates(piece)
        keep = ~np.isnan(piece.y).all(1)
        if not keep.all() and self.first_empty is None:
            self.first_empty = self.rows + int(np.flatnonzero(~keep)[0]) + 1
        self.counter.add(piece.y[keep], group[keep], self.rows)
        self._hold(piece, group, np.flatnonzero(keep))
        self.block_persons[block] += int(keep.sum())
        self.rows += len(piece.y)
        for part in (piece.weight, piece.covariates):
            if part is not None:
                self.extra.update(np.ascontiguousarray(part[keep]).data)

    def result(self) -> Found:
        """What was found, or a sentence."""
        source = self.source
        n = int(self.block_persons.sum())
        if not self.rows:
            raise ValueError("The data have no rows.")
        if not n:
            raise ValueError("Every row of the data is entirely missing on the variables of the model.")
        labels = ("1",) if source.group is None else group_labels(tuple(self.seen), self.rows, source.group)
        for name, low, high in zip(source.covariates, self.low, self.high, strict=True):
            if low == high:
                raise ValueError(f"The covariate {name!r} is constant (always {low:g}): remove it.")
        margins = self.counter.result(len(labels))
        y, group, weight, covariates, index = (np.concatenate(part) for part in zip(*self.held, strict=True))
        scale = None if source.weights is None else self.rows / self.weight_sum
        sample = Responses(
            y, source.names, group, labels, None if scale is None else weight * scale, None, index, source.group, (),
            covariates if source.covariates else None, source.covariates,
        )  # fmt: skip
        persons = np.array(self.persons + [0] * (len(labels) - len(self.persons)))
        margins.check_columns(source.names, labels, persons)
        lost = self.rows - n
        notes = (f"{lost} row(s) with nothing observed were dropped (first: row {self.first_empty}).",) if lost else ()
        shape = blake2b(self.block_persons.tobytes(), digest_size=8).hexdigest()
        digest = self.counter.digest() + self.extra.hexdigest() + shape
        return Found(labels, margins, sample, self.block_persons, scale, digest, notes)

    def _groups(self, piece: Piece) -> np.ndarray:
        if piece.group is None:
            codes = np.zeros(len(piece.y), np.int32)
        else:
            local, values = piece.group
            codes = np.array([self.seen.setdefault(v, len(self.seen)) for v in values], np.int32)[local]
            if len(self.seen) > MOST_GROUPS:
                raise ValueError(
                    f"The group variable {self.source.group!r} has more than {MOST_GROUPS} different values: expected a"
                    " few groups with many rows each."
                )
        keep = ~np.isnan(piece.y).all(1)
        counts = np.bincount(codes[keep], minlength=len(self.persons))
        self.persons += [0] * (len(counts) - len(self.persons))
        self.persons = [a + int(b) for a, b in zip(self.persons, counts, strict=True)]
        return codes

    def _weights(self, piece: Piece) -> None:
        if piece.weight is None:
            return
        bad = ~(piece.weight > 0) | ~np.isfinite(piece.weight)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"Expected the weights {self.source.weights!r} to be positive numbers; got {piece.weight[row]:g} in row"
                f" {self.rows + row + 1}: remove that row or correct its weight."
            )
        self.weight_sum += float(piece.weight.sum())

    def _covariates(self, piece: Piece) -> None:
        if piece.covariates is None:
            return
        for k, name in enumerate(self.source.covariates):
            bad = ~np.isfinite(piece.covariates[:, k])
            if bad.any():
                row = self.rows + int(np.flatnonzero(bad)[0]) + 1
                raise ValueError(
                    f"The covariate {name!r} is missing or infinite, first in row {row}: remove these rows."
                )
        self.low = np.minimum(self.low, piece.covariates.min(0, initial=np.inf))
        self.high = np.maximum(self.high, piece.covariates.max(0, initial=-np.inf))

    def _hold(self, piece: Piece, group: np.ndarray, kept: np.ndarray) -> None:
        """Keep every step-th person; when too many are held, every second of them, and the step doubles."""
        place = int(self.block_persons.sum()) + np.arange(len(kept))
        rows = kept[place % self.step == 0]
        weight = np.ones(len(rows)) if piece.weight is None else piece.weight[rows]
        z = np.zeros((len(rows), 0)) if piece.covariates is None else piece.covariates[rows]
        self.held.append((piece.y[rows], group[rows], weight, z, place[place % self.step == 0]))
        self.n_held += len(rows)
        while self.n_held > SAMPLE:
            self.step *= 2
            whole = [np.concatenate(part) for part in zip(*self.held, strict=True)]
            keep = whole[-1] % self.step == 0
            self.held = [tuple(a[keep] for a in whole)]
            self.n_held = int(keep.sum())
