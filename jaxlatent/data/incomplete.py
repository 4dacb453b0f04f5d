"""Incomplete rows as cases for the casewise likelihood: whole patterns where few, single rows where many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxlatent.data.responses import Responses

STEP = 4  # numbers of missing variables are rounded up to a multiple of this, so that few shapes are compiled
SHARE = 0.3  # of the cases that a bucket must hold to be worth its compilation
ROWS = 50_000  # looked at together, where a copy of all rows would be felt
LARGE = 200_000  # rows from which they are left where they are, uncopied
BLOCK = 8_192  # of them that are gathered at a time


class CaseArrays(NamedTuple):
    """The fields of numerics.masked.Cases, on the host."""

    n: np.ndarray
    mean: np.ndarray
    scatter: np.ndarray | None
    missing: np.ndarray

    @property
    def width(self) -> int:
        """How many missing variables there is room for."""
        return self.missing.shape[1]

    def blocks(self) -> Iterator[CaseArrays]:
        yield self

    def gathered(self) -> CaseArrays:
        return self


class LargeCases(NamedTuple):
    """Single persons at these rows of the whole data, which stay where they are; width as that of CaseArrays."""

    n: np.ndarray
    mean: np.ndarray
    rows: np.ndarray
    width: int

    def blocks(self) -> Iterator[CaseArrays]:
        """Copies of BLOCK persons at a time; the last block overlaps, with weight zero, so that all have one shape."""
        total = len(self.rows)
        size = min(BLOCK, total)
        for start in range(0, total, size):
            at = slice(min(start, total - size), min(start + size, total))
            n = self.n[at].copy()
            n[: start - at.start] = 0
            yield self._arrays(n, self.mean[self.rows[at]])

    def gathered(self) -> CaseArrays:
        """One copy of all."""
        return self._arrays(self.n, self.mean[self.rows])

    def _arrays(self, n: np.ndarray, y: np.ndarray) -> CaseArrays:
        return CaseArrays(n, y, None, missing_positions(y, self.width))


Buckets = tuple[CaseArrays | LargeCases, ...]  # cases by number of missing variables


def cases_of(data: Responses, g: int, *, single: bool = False) -> Buckets:
    """Cases of one group, in buckets by number of missing variables.

    Patterns that at least three persons share on average are collapsed to counts, means and scatter, unless single.
    """
    rows = slice(None) if data.n_groups == 1 else data.rows_of(g)
    y = data.y[rows]
    weight = None if data.weight is None else data.weight[rows]
    if len(y) >= LARGE and not _few_patterns(y[:5000]):
        return _large(y, weight)
    weight = np.ones(len(y)) if weight is None else weight
    seen = ~np.isnan(y)
    patterns, code = np.unique(seen, axis=0, return_inverse=True)
    if not single and 3 * len(patterns) <= len(y):
        whole = _collapse(y, weight, patterns, code.reshape(-1))
        return _buckets(whole)
    return _buckets(CaseArrays(weight, y, None, missing_positions(y)))


def joined(cases: Buckets) -> Buckets:
    """One bucket of single persons without positions of missing variables, for forms that do not need them."""
    n = np.concatenate([bucket.n for bucket in cases])
    if isinstance(cases[0], LargeCases):
        rows = np.concatenate([bucket.rows for bucket in cases if isinstance(bucket, LargeCases)])
        return (LargeCases(n, cases[0].mean, rows, 0),)
    mean = np.concatenate([bucket.mean for bucket in cases])
    return (CaseArrays(n, mean, None, missing_positions(mean, 0)),)


def single_cases(data: Responses, g: int) -> tuple[tuple[CaseArrays, np.ndarray], ...]:
    """Single persons in buckets, each with the positions of its rows in the data (the number of rows for padding)."""
    rows = data.rows_of(g)
    numbered = CaseArrays(rows.astype(float), data.y[rows], None, missing_positions(data.y[rows]))
    out = []
    for bucket in _buckets(numbered):
        real = np.isfinite(bucket.mean).any(axis=1)
        out.append((bucket, np.where(real, bucket.n, len(data.y)).astype(np.int32)))
    return tuple(out)


def _large(y: np.ndarray, weight: np.ndarray | None) -> tuple[LargeCases, ...]:
    """Buckets of positions in the data, which stay where they are."""
    out = []
    for rows, k in _split(_count_missing(y), y.shape[1]):
        n = np.broadcast_to(1.0, len(rows)) if weight is None else weight[rows]
        out.append(LargeCases(n, y, rows, k))
    return tuple(out)


def _split(count: np.ndarray, p: int) -> Iterator[tuple[np.ndarray, int]]:
    """Rows by number of missing variables (4, 8, 16, ... at most) and that number, so that few pay for the most.

    A level that few cases reach joins the next: every bucket is one more program.
    """
    steps = STEP * 2 ** np.arange(16)
    level = np.zeros(len(count), np.int8)
    for step in steps:
        level += count > step
    waiting = np.zeros(len(count), bool)
    present = np.unique(level)
    for step in present:
        waiting |= level == step
        if waiting.sum() >= SHARE * len(count) or step == present[-1]:
            yield np.flatnonzero(waiting).astype(np.int32), min(int(steps[step]), _room(count, p))
            waiting[:] = False


def _few_patterns(y: np.ndarray) -> bool:
    return 3 * len(np.unique(np.isnan(y), axis=0)) <= len(y)


def _count_missing(y: np.ndarray) -> np.ndarray:
    """How many variables each row misses."""
    count = np.zeros(len(y), np.int16)
    for column in y.T:
        count += np.isnan(column)
    return count


def _room(count: np.ndarray, p: int) -> int:
    """The largest number of missing variables, rounded up."""
    return min(-(-max(int(count.max()), 1) // STEP) * STEP, p)


def missing_positions(y: np.ndarray, width: int | None = None) -> np.ndarray:
    """Positions of missing variables [row, width], filled up with p; without a width the largest number, rounded up.

    With width 0 none are listed.
    """
    n, p = y.shape
    k = _room(_count_missing(y), p) if width is None else width
    out = np.full((n, k), p, np.int32 if p > 255 else np.uint8)
    count = np.zeros(n, np.int16)
    for j in range(p) if k else ():
        rows = np.flatnonzero(np.isnan(y[:, j]))
        out[rows, count[rows]] = j
        count[rows] += 1
    return out


def _collapse(y: np.ndarray, weight: np.ndarray, patterns: np.ndarray, code: np.ndarray) -> CaseArrays:
    p = y.shape[1]
    mean, scatter = np.full(patterns.shape, np.nan), np.zeros((len(patterns), p, p))
    n = np.bincount(code, weight, len(patterns))
    order = np.argsort(code, kind="stable")
    ends = np.cumsum(np.bincount(code, minlength=len(patterns)))
    for r, (pattern, rows) in enumerate(zip(patterns, np.split(order, ends[:-1]), strict=True)):
        w = weight[rows]
        block = y[np.ix_(rows, pattern)]
        mean[r, pattern] = w @ block / n[r]
        e = block - mean[r, pattern]
        scatter[r][np.ix_(pattern, pattern)] = (e * w[:, None]).T @ e
    return CaseArrays(n, mean, scatter, missing_positions(mean))


def _buckets(cases: CaseArrays) -> tuple[CaseArrays, ...]:
    out = []
    for rows, k in _split(_count_missing(cases.mean), cases.mean.shape[1]):
        scatter = None if cases.scatter is None else cases.scatter[rows]
        out.append(_pad(CaseArrays(cases.n[rows], cases.mean[rows], scatter, cases.missing[rows, :k])))
    return tuple(out)


def _pad(cases: CaseArrays) -> CaseArrays:
    """Cases of weight zero up to a power of two or a multiple of 256: fewer sample sizes are shapes of their own."""
    n, p = cases.mean.shape
    size = -(-n // 256) * 256 if n > 256 else 1 << (n - 1).bit_length()
    more = size - n
    scatter = None if cases.scatter is None else np.concatenate([cases.scatter, np.zeros((more, p, p))])
    missing = np.concatenate([cases.missing, np.full((more, cases.missing.shape[1]), p, cases.missing.dtype)])
    mean = np.concatenate([cases.mean, np.full((more, p), np.nan)])
    return CaseArrays(np.append(cases.n, np.zeros(more)), mean, scatter, missing)


def zero_coverage(data: Responses) -> tuple[str, str, str] | None:
    """(variable, variable, group) never observed together, if there is such a pair."""
    p = len(data.names)
    together = np.zeros((data.n_groups, p, p))
    for start in range(0, len(data.y), ROWS):
        seen = (~np.isnan(data.y[start : start + ROWS])).astype(np.float32)
        group = data.group[start : start + ROWS]
        for g in range(data.n_groups):
            mine = seen if data.n_groups == 1 else seen[group == g]
            together[g] += mine.T @ mine
    if (together > 0).all():
        return None
    g, j, k = np.argwhere(together == 0)[0]
    return data.names[j], data.names[k], data.group_labels[g]
