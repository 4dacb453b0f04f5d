"""Rows on disk in shuffled batches of one size: an epoch that can begin at any batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np

from jaxlatent.data.coding import Coding
from jaxlatent.data.parquet import Piece, RowSource
from jaxlatent.data.responses import label_of


class Batch(NamedTuple):
    """Rows of persons; the last ones of the last batch may be padding, with weight 0 and person -1.

    y [row, item], 0 where missing: int8 codes where all items are categorical, else floats; observed [row, item]; group
    [row]; weight [row]; covariates [row, covariate] or None; person [row]: place among the persons in file order.
    """

    y: np.ndarray
    observed: np.ndarray
    group: np.ndarray
    weight: np.ndarray
    covariates: np.ndarray | None
    person: np.ndarray


@dataclass(frozen=True)
class Epoch:
    """Rows of blocks in some order, cut into buffers of one size, these into batches.

    block_persons [block]: persons of every block; group_labels and weight_scale as in ScannedResponses.
    """

    source: RowSource
    block_persons: np.ndarray
    group_labels: tuple[str, ...]
    weight_scale: float | None
    coding: Coding | None
    batch_size: int
    buffer_rows: int
    shuffle: bool

    def batches(self, key: int, epoch: int, start: int) -> Iterator[Batch]:
        """Batches from number start on."""
        skip = start * self.batch_size
        number = skip // self.buffer_rows
        order = np.arange(len(self.block_persons))
        if self.shuffle:
            order = np.random.default_rng((key, epoch)).permutation(order)
        left = int(self.block_persons.sum()) - number * self.buffer_rows
        rows = self._rows(order, number * self.buffer_rows)
        rest: Batch | None = None
        while left > 0:
            n = min(self.buffer_rows, left)
            parts, have = [] if rest is None else [rest], 0 if rest is None else len(rest.person)
            while have < n:
                parts.append(next(rows))
                have += len(parts[-1].person)
            held = _joined(parts)
            rest = jax.tree.map(lambda a, n=n: a[n:].copy(), held)
            places = np.arange(n)
            if self.shuffle:
                places = np.random.default_rng((key, epoch, number)).permutation(places)
            done = max(skip - number * self.buffer_rows, 0)
            for first in range(done, n, self.batch_size):
                yield self._padded(_at(held, places[first : first + self.batch_size]))
            del held
            number, left = number + 1, left - n

    def _rows(self, order: np.ndarray, skip: int) -> Iterator[Batch]:
        """Coded rows of the blocks in this order, without the first ones."""
        begins = np.cumsum(self.block_persons) - self.block_persons
        labels = {label: g for g, label in enumerate(self.group_labels)}
        for block in order.tolist():
            if skip >= self.block_persons[block]:
                skip -= int(self.block_persons[block])
                continue
            at = 0
            for piece in self.source.pieces(block):
                group = _group_codes(piece, labels)
                keep = ~np.isnan(piece.y).all(1)
                person = begins[block] + at + np.arange(int(keep.sum()))
                at += len(person)
                drop = min(skip, len(person))
                skip -= drop
                kept = np.flatnonzero(keep)[drop:]
                if len(kept):
                    yield self._coded(piece, group, kept, person[drop:])
            if at != self.block_persons[block]:
                raise ValueError("The Parquet files were changed while they were in use: scan them again.")

    def _coded(self, piece: Piece, group: np.ndarray, kept: np.ndarray, person: np.ndarray) -> Batch:
        y = piece.y[kept]
        if self.coding is not None:
            y = self.coding.encode(y, int(person[0]))
        observed = y >= 0 if y.dtype == np.int8 else ~np.isnan(y)
        weight = np.ones(len(kept)) if piece.weight is None else piece.weight[kept] * self.weight_scale
        z = None if piece.covariates is None else piece.covariates[kept]
        return Batch(np.where(observed, y, np.zeros((), y.dtype)), observed, group[kept], weight, z, person)

    def _padded(self, batch: Batch) -> Batch:
        more = self.batch_size - len(batch.person)
        if not more:
            return batch
        pad = lambda a: np.concatenate([a, np.zeros((more, *a.shape[1:]), a.dtype)])  # noqa: E731
        out = jax.tree.map(pad, batch)
        out.person[-more:] = -1
        return out


def _joined(parts: list[Batch]) -> Batch:
    return parts[0] if len(parts) == 1 else jax.tree.map(lambda *a: np.concatenate(a), *parts)


def _at(batch: Batch, rows: np.ndarray) -> Batch:
    return jax.tree.map(lambda a: a[rows], batch)


def _group_codes(piece: Piece, labels: dict[str, int]) -> np.ndarray:
    if piece.group is None:
        return np.zeros(len(piece.y), np.int32)
    codes, values = piece.group
    new = [v for v in values if label_of(v) not in labels]
    if new:
        raise ValueError(f"The group {new[0]!r} is none of {', '.join(labels)}: scan the changed files again.")
    return np.array([labels[label_of(v)] for v in values], np.int32)[codes]
