"""Casewise sums at a point, block by block: the few compiled programs that every caller shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxlatent.data.incomplete import Buckets, LargeCases
from jaxlatent.models.casewise import (
    FactorPoint,
    FactorTotals,
    Grams,
    Point,
    Sums,
    case_grams,
    case_totals,
    factor_grams,
    factor_totals,
    point_of,
    saturated_information,
    sums_of,
)
from jaxlatent.numerics.masked import Cases
from jaxlatent.numerics.program import give_back, program

_point = program(point_of)
_totals = program(case_totals)
_grams = program(case_grams)
_factor_totals = program(factor_totals)
_factor_grams = program(factor_grams)
_information = program(saturated_information)
_quadratic_form = program(lambda x, matrix: x.T @ matrix @ x)


def inverse_of(mu: np.ndarray, sigma: np.ndarray) -> Point:
    """The point with its inverse, nan where sigma is not positive definite."""
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, _point(mu, sigma))


def casewise_sums(mu: np.ndarray, sigma: np.ndarray, cases: Buckets) -> Sums:
    """Minus log-likelihood, its derivatives and the EM moments, over all cases; nan where sigma is not definite."""
    at = inverse_of(mu, sigma)
    return sums_of(at, _over_blocks(_totals, at, cases))


def saturated_information_of(
    cases: Buckets, mu: np.ndarray, sigma: np.ndarray, *, expected: bool = False
) -> np.ndarray:
    """Observed information, or that expected given the patterns [moments, moments], summed over the cases."""
    observed = np.float64(not expected)
    grams: Grams = _over_blocks(lambda at, block: _grams(at, block, observed), inverse_of(mu, sigma), cases)
    with jax.enable_x64(True):
        return np.asarray(_information(grams))


def factor_sums(at: FactorPoint, cases: Buckets) -> Sums:
    """The same sums by factors, without the EM moments; nan where this form does not exist."""
    t: FactorTotals = _over_blocks(_factor_totals, at, cases)
    return Sums(t.value, -t.v, t.pull, None, None)


def factor_information(at: FactorPoint, cases: Buckets) -> np.ndarray:
    """Observed information over (mu, vech Sigma), summed over the cases, by factors."""
    grams: Grams = _over_blocks(_factor_grams, at, cases)
    with jax.enable_x64(True):
        return np.asarray(_information(grams))


def quadratic_form(x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """x' matrix x over (mu, vech Sigma), by XLA: NumPy's threads would go on spinning beside the programs above."""
    with jax.enable_x64(True):
        return np.asarray(_quadratic_form(x, matrix))


def _over_blocks(sums: Callable[[Any, Cases], Any], at: Any, cases: Buckets) -> Any:
    """Sums over all blocks of all buckets, on the host."""
    total: Any = None
    for bucket in cases:
        for block in bucket.blocks():
            with jax.enable_x64(True):
                part = sums(at, Cases(*block))
                total = jax.tree.map(np.array, part) if total is None else jax.tree.map(_add, total, part)
        if isinstance(bucket, LargeCases):
            give_back()  # what the blocks were
    return total


def _add(total: np.ndarray, part: jax.Array) -> np.ndarray:
    total += np.asarray(part)
    return total


def persons(cases: Buckets) -> float:
    """How many persons there are, weighted."""
    return float(sum(bucket.n.sum() for bucket in cases))
