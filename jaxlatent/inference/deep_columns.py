"""Columns of a deep model: the likelihood of each, and how its raw values become numbers that networks can take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from jaxlatent.data.coding import coding_of
from jaxlatent.measurement.counts import NegativeBinomial, Poisson
from jaxlatent.measurement.family import Family
from jaxlatent.measurement.item_types import ITEM_TYPES, family_of
from jaxlatent.measurement.logistic import Logistic
from jaxlatent.measurement.lognormal import LogNormal
from jaxlatent.measurement.neural_counts import Binomial, Categorical
from jaxlatent.measurement.neural_normal import DecodedNormal, JointNormal, StudentT

COVARIANCES = ("diagonal", "low_rank", "full", "network")
OWN = ("bernoulli", "binomial", "categorical", "counts", "normal", "student_t")
LIKELIHOODS = (*OWN, *(name for name, kind in ITEM_TYPES.items() if name not in OWN and kind.slopes == "free"))
STANDARDISED = (DecodedNormal, JointNormal, StudentT)
MOST_RANK = 5  # of the residual covariance "low_rank"

Range = tuple[Callable[[np.ndarray], np.ndarray], str]  # which values are right, and what they are called


@dataclass(frozen=True)
class Columns:
    """Names, likelihoods (one family each), raw values of categories (None for numbers), centers and scales."""

    names: tuple[str, ...]
    families: tuple[Family, ...]
    values: tuple[tuple[float, ...] | None, ...]
    center: np.ndarray
    scale: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def n_categories(self) -> tuple[int, ...]:
        """Categories of each column, 0 of numbers."""
        return tuple(0 if v is None else len(v) for v in self.values)

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Codes of categories and standardised numbers [person, column], float64, nan where missing.

        Raises ValueError for a value outside a likelihood's range, with its column and row.
        """
        out = (y - self.center) / self.scale
        for j, (name, family, values) in enumerate(zip(self.names, self.families, self.values, strict=True)):
            column = y[:, j]
            if values is None:
                check_range(name, column, *range_of(family))
                continue
            there = f"one of {', '.join(f'{v:g}' for v in values[:12])}{', ...' if len(values) > 12 else ''}"
            check_range(name, column, partial(np.isin, test_elements=values), there)
            out[:, j] = np.where(np.isnan(column), np.nan, np.searchsorted(values, column))
        return out

    def decode(self, y: np.ndarray) -> np.ndarray:
        """Raw values of coded ones; between two categories, what lies as far between their values."""
        out = y * self.scale + self.center
        for j, values in enumerate(self.values):
            if values is not None:
                out[..., j] = np.interp(y[..., j], np.arange(len(values)), values)
        return out

    def log_scale(self, observed: np.ndarray) -> np.ndarray:
        """What a log density of standardised numbers exceeds that of raw ones by [person]."""
        return np.asarray(observed) @ np.log(self.scale)

    def margins(self, codes: np.ndarray) -> list[np.ndarray]:
        """Of every column the shares of its categories, or mean and variance."""
        out = []
        for column, k in zip(codes.T, self.n_categories, strict=True):
            seen = column[~np.isnan(column)]
            share = np.bincount(seen.astype(int), minlength=k) / max(len(seen), 1) if k else None
            out.append(np.array([seen.mean(), seen.var()]) if share is None else share)
        return out


def columns_of(
    y: np.ndarray, names: Sequence[str], likelihood: str | Family | Mapping[str, Any], covariance: str
) -> Columns:
    """The columns of a data set [person, column] under a likelihood, or one for each column.

    Raises ValueError for an unknown likelihood, a column without one, or values outside its range.
    """
    given = [likelihood_of(likelihood, name) for name in names]
    empty = [name for name, column in zip(names, y.T, strict=True) if np.isnan(column).all()]
    if empty:
        raise ValueError(f"The column {empty[0]!r} has no values: remove it.")
    families, values = [], []
    notes: list[str] = []
    normal = [j for j, each in enumerate(given) if each == "normal"]
    for j, (name, each) in enumerate(zip(names, given, strict=True)):
        family, kept, said = _one(name, each, y[:, j], y, [k for k, g in enumerate(given) if g == each])
        families.append(_normal(covariance, len(normal)) if each == "normal" else family)
        values.append(kept)
        notes += [note for note in said if note not in notes]
    center, scale = np.zeros(len(names)), np.ones(len(names))
    for j, family in enumerate(families):
        if isinstance(family, STANDARDISED):
            sd = float(np.nanstd(y[:, j]))
            center[j], scale[j] = float(np.nanmean(y[:, j])), sd if sd > 0 else 1.0
    notes += [*constant_note(y, names), *missing_note(y)]
    return Columns(tuple(names), tuple(families), tuple(values), center, scale, tuple(notes))


def likelihood_of(given: str | Family | Mapping[str, Any], name: str) -> str | Family:
    """The likelihood of one column; raises ValueError where there is none or it is unknown."""
    if isinstance(given, Mapping):
        if name not in given:
            raise ValueError(f"likelihood has no entry for the column {name!r}: give one for every column.")
        given = given[name]
    if isinstance(given, Family):
        return given
    if not isinstance(given, str) or given not in LIKELIHOODS:
        raise ValueError(f"Expected a likelihood among {', '.join(LIKELIHOODS)}, or a Family; got {given!r}.")
    return given


def check_range(name: str, column: np.ndarray, right: Callable[[np.ndarray], np.ndarray], what: str) -> None:
    """Raises ValueError at the first value that is not right."""
    seen = ~np.isnan(column)
    wrong = np.flatnonzero(seen)[~right(column[seen])]
    if len(wrong):
        raise ValueError(
            f"The column {name!r} has the value {column[wrong[0]]:g} in row {wrong[0] + 1}; expected {what}: recode it,"
            " or take another likelihood."
        )


def range_of(family: Family) -> Range:
    """Which numbers a family that is not categorical takes."""
    whole: Callable[[np.ndarray], np.ndarray] = lambda v: (v >= 0) & (v == np.round(v))  # noqa: E731
    if isinstance(family, Binomial):
        return lambda v: whole(v) & (v <= family.trials), f"a whole number from 0 to {family.trials} ('binomial')"
    if isinstance(family, Poisson | NegativeBinomial):
        return whole, "a whole number from 0, a count"
    if isinstance(family, LogNormal):
        return lambda v: v > 0, "a positive number ('lognormal')"
    return np.isfinite, "a finite number"


def _one(
    name: str, given: str | Family, column: np.ndarray, y: np.ndarray, alike: list[int]
) -> tuple[Family, tuple[float, ...] | None, tuple[str, ...]]:
    """Family, raw values of categories, and notes of one column. alike: columns with the same likelihood."""
    if isinstance(given, Family):
        values = _categories(name, column) if given.categorical else None
        return given, values, ()
    if given == "bernoulli":
        check_range(name, column, lambda v: (v == 0) | (v == 1), "0 or 1 ('bernoulli')")
        return Logistic(), (0.0, 1.0), ()
    if given == "binomial":
        check_range(name, column, lambda v: (v >= 0) & (v == np.round(v)), "a whole number from 0 ('binomial')")
        trials = max(int(np.nanmax(y[:, alike])), 1)
        return Binomial(trials), None, (f"Binomial columns have {trials} trials, their largest value.",)
    if given == "categorical":
        values = _categories(name, column)
        return Categorical(len(values)), values, ()
    if given in ("normal", "student_t"):
        check_range(name, column, np.isfinite, "a finite number")
        return (StudentT() if given == "student_t" else DecodedNormal()), None, ()
    kind = "poisson" if given == "counts" else given
    if not family_of(kind, 2).categorical:
        family = family_of(kind, 2)
        check_range(name, column, *range_of(family))
        return family, None, ()
    values = _categories(name, column)
    try:
        return family_of(kind, len(values)), values, ()
    except ValueError as error:
        raise ValueError(f"The column {name!r}: {error}") from None


def _categories(name: str, column: np.ndarray) -> tuple[float, ...]:
    found = coding_of(column[:, None], [name], [True], [False]).values[0]
    assert found is not None
    return found


def _normal(covariance: str, n: int) -> Family:
    if covariance in ("low_rank", "full"):
        return JointNormal(n, min(MOST_RANK, max(n // 4, 1)) if covariance == "low_rank" else None)
    return DecodedNormal(by_network=covariance == "network")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def constant_note(y: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """A sentence about columns that do not vary, if there are any."""
    constant = [name for name, column in zip(names, y.T, strict=True) if np.nanmin(column) == np.nanmax(column)]
    if not constant:
        return ()
    return (f"{len(constant)} column(s) are constant ({_some(constant)}): kept, they say nothing about x.",)


def missing_note(y: np.ndarray) -> tuple[str, ...]:
    """A sentence about missing cells, if there are any."""
    count = int(np.isnan(y).sum())
    return (f"{count} of {y.size} cells are missing: they are left out of the fit.",) if count else ()
