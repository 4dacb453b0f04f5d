"""Classifier two-sample tests of whether answers simulated from a model can be told from those observed.

A classifier learns on one half of both samples and is tried on the other. Where the samples are alike its accuracy is
1/2 but for chance. The test of approximate fit allows 1/2 + tolerance:

z = (accuracy - 1/2 - tolerance) / sqrt((1/4 - tolerance^2) / n_test)

The relative fit index compares with a baseline in which items are independent: 1 - (accuracy - 1/2) / (baseline - 1/2).
Lopez-Paz and Oquab (2017); Urban and Bauer (2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from jaxlatent.data.frames import column_names, is_named, numeric_matrix, table_shape
from jaxlatent.diagnostics.classifiers import Classifier, Neighbours, Network, Predict
from jaxlatent.inference.expected_information import simulated_answers

if TYPE_CHECKING:
    from numpy.random import Generator

    from jaxlatent.inference.marginal_fit import ItemFitted

METHODS: dict[str, Classifier] = {"network": Network(), "neighbours": Neighbours()}
LEAST = 40  # rows of a sample


@dataclass(frozen=True)
class TwoSampleTest:
    """statistics: accuracy, n_test, tolerance, z, pvalue, and baseline_accuracy and rfi (nan where not asked for).

    importance: how much accuracy is lost when an item's answers are shuffled among the rows that were tried, with its
    standard error over repetitions: a row an item; None where not asked for.
    """

    statistics: pd.Series
    importance: pd.DataFrame | None = None


def two_sample_test(
    real: Any,
    simulated: Any,
    *,
    method: str | Classifier = "network",
    tolerance: float = 0.0,
    baseline: bool = True,
    repeats: int = 0,
    key: int = 0,
    given: np.ndarray | None = None,
) -> TwoSampleTest:
    """Test whether two samples of persons come from one distribution; missing answers count as an item's mean.

    method: "network", "neighbours", or a Classifier. tolerance: accuracy above 1/2 that is still called fit. baseline:
    whether to compute the relative fit index. repeats: shuffles for the importance of items. given [person, feature]:
    what is known of the persons of both samples (groups, covariates), which the classifier sees as well.

    Raises ValueError where the samples have other columns or too few rows, or an option is out of its range.
    """
    if not (isinstance(tolerance, int | float) and 0 <= tolerance < 0.5):
        raise ValueError(f"Expected tolerance to be from 0 to below 0.5; got {tolerance!r}.")
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 0:
        raise ValueError(f"Expected repeats to be a whole number from 0; got {repeats!r}.")
    classifier = METHODS.get(method) if isinstance(method, str) else method
    if not isinstance(classifier, Classifier):
        raise ValueError(f"Expected method to be {', '.join(map(repr, METHODS))} or a Classifier; got {method!r}.")
    y, other, names = _samples(real, simulated)
    rng = np.random.default_rng(key)
    n = min(len(y), len(other))  # chance is 1/2 for samples of one size
    if given is None:
        y, other = (a if len(a) == n else a[rng.permutation(len(a))[:n]] for a in (y, other))
        given = np.zeros((n, 0))
    if not len(given) == len(y) == len(other):
        raise ValueError(
            f"Expected {len(y)} rows, as in the real sample, also in the others; got {len(other)}, {len(given)}."
        )
    trial = _Trial.of(y, other, given, rng)
    predict = classifier.learn(trial.x[trial.train], trial.label[trial.train], key)
    accuracy = trial.accuracy(predict)
    n_test = len(trial.test)
    z = (accuracy - 0.5 - tolerance) / np.sqrt((0.25 - tolerance**2) / n_test)
    worst = _baseline(classifier, y, given, key, rng) if baseline else np.nan
    rfi = 1 - (accuracy - 0.5) / (worst - 0.5) if worst > 0.5 else np.nan
    values = {"accuracy": accuracy, "n_test": n_test, "tolerance": tolerance, "z": z, "pvalue": norm.sf(z),
              "baseline_accuracy": worst, "rfi": rfi}  # fmt: skip
    lost = _importance(trial, predict, names, accuracy, repeats, rng) if repeats else None
    return TwoSampleTest(pd.Series(values, dtype=float), lost)


def item_two_sample_test(fitted: ItemFitted, *, key: int = 0, **options: Any) -> TwoSampleTest:
    """Persons of a fit against as many simulated ones of their groups and covariates, with answers missing as theirs.

    Raises ValueError where the fit holds no rows, or its persons have weights.
    """
    data = fitted.data
    if not data.n_persons:
        raise ValueError("This fit holds no rows (it was saved without its data): fit it again.")
    if data.weight is not None:
        raise ValueError("The two-sample test is not for data with weights: simulated persons have none.")
    y = data.codes.astype(float)
    if data.codes.dtype == np.int8:
        y[data.codes < 0] = np.nan
    simulated = np.where(np.isnan(y), np.nan, simulated_answers(fitted, data.group, data.covariates, key))
    groups = (data.group[:, None] == np.arange(1, fitted.table.n_groups)).astype(float)
    given = groups if data.covariates is None else np.column_stack([groups, data.covariates])
    names = list(fitted.table.observed)
    frames = (pd.DataFrame(a, columns=names) for a in (y, simulated))
    return two_sample_test(*frames, given=given, key=key, **options)


@dataclass(frozen=True)
class _Trial:
    """Standardised rows x [row, feature] of both samples, label 1 for the real ones, and which rows train and test."""

    x: np.ndarray
    label: np.ndarray
    train: np.ndarray
    test: np.ndarray
    n_items: int

    @staticmethod
    def of(y: np.ndarray, other: np.ndarray, given: np.ndarray, rng: Generator) -> _Trial:
        """Half of each sample for training, in random order."""
        train, test = [], []
        for start, n in ((0, len(y)), (len(y), len(other))):
            order = start + rng.permutation(n)
            train.append(order[: n // 2])
            test.append(order[n // 2 :])
        at, tried = rng.permutation(np.concatenate(train)), rng.permutation(np.concatenate(test))
        x = np.concatenate([np.column_stack([y, given]), np.column_stack([other, given])])
        seen = ~np.isnan(x[at])
        n_seen = np.maximum(seen.sum(0), 1)
        mean = np.where(seen, x[at], 0).sum(0) / n_seen
        spread = np.sqrt((np.where(seen, x[at] - mean, 0) ** 2).sum(0) / n_seen)
        z = (x - mean) / np.where(spread > 0, spread, 1)
        label = np.concatenate([np.ones(len(y), int), np.zeros(len(other), int)])
        return _Trial(np.where(np.isnan(z), 0, z), label, at, tried, y.shape[1])

    def accuracy(self, predict: Predict, x: np.ndarray | None = None) -> float:
        """Share of the tried rows that are told right."""
        rows = self.x[self.test] if x is None else x
        return float((predict(rows) == self.label[self.test]).mean())


def _baseline(classifier: Classifier, y: np.ndarray, given: np.ndarray, key: int, rng: Generator) -> float:
    """Accuracy against the same answers with every item's shuffled among the persons who answered it."""
    independent = y.copy()
    for column in independent.T:
        seen = np.flatnonzero(~np.isnan(column))
        column[seen] = column[rng.permutation(seen)]
    trial = _Trial.of(y, independent, given, rng)
    return trial.accuracy(classifier.learn(trial.x[trial.train], trial.label[trial.train], key))


def _importance(
    trial: _Trial, predict: Predict, names: list[str], accuracy: float, repeats: int, rng: Generator
) -> pd.DataFrame:
    rows = trial.x[trial.test]
    lost = np.empty((trial.n_items, repeats))
    for j in range(trial.n_items):
        for r in range(repeats):
            shuffled = rows.copy()
            shuffled[:, j] = rng.permutation(rows[:, j])
            lost[j, r] = accuracy - trial.accuracy(predict, shuffled)
    error = lost.std(1, ddof=1) / np.sqrt(repeats) if repeats > 1 else np.full(len(lost), np.nan)
    return pd.DataFrame({"importance": lost.mean(1), "se": error}, index=names)


def _samples(real: Any, simulated: Any) -> tuple[np.ndarray, np.ndarray, list[str]]:
    if is_named(real):
        names = column_names(real, ())
        if not is_named(simulated) or set(names) != set(column_names(simulated, names)):
            raise ValueError("Expected both samples to have the same columns; they have others.")
    else:
        names = [f"item{j + 1}" for j in range(table_shape(real)[1])]
        if is_named(simulated) or table_shape(simulated)[1] != len(names):
            raise ValueError(f"Expected both samples as arrays with {len(names)} columns; got others.")
    y, other = numeric_matrix(real, names), numeric_matrix(simulated, names)
    for what, sample in (("real", y), ("simulated", other)):
        if len(sample) < LEAST:
            raise ValueError(f"Expected at least {LEAST} rows in the {what} sample; got {len(sample)}.")
        if np.isinf(sample).any():
            raise ValueError(f"The {what} sample has infinite values: recode them as missing.")
    return y, other, names
