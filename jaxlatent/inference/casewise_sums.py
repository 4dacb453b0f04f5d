"""Casewise sums at a point, block by block: the few compiled programs that every caller shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxlatent.data.incomplete import Buckets
from jaxlatent.models.casewise import (
    Grams,
    Point,
    Sums,
    case_grams,
    case_totals,
    expected_grams,
    point_of,
    saturated_information,
    sums_of,
)
from jaxlatent.numerics.masked import Cases

_point = jax.jit(point_of)
_totals = jax.jit(case_totals)
_grams = jax.jit(case_grams)
_information = jax.jit(saturated_information)


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
    grams: Grams = _over_blocks(_grams, inverse_of(mu, sigma), cases)
    with jax.enable_x64(True):
        return np.asarray(_information(expected_grams(grams) if expected else grams))


def _over_blocks(program: Callable[[Point, Cases], Any], at: Point, cases: Buckets) -> Any:
    """The program's sums over all blocks of all buckets, on the host."""
    total = None
    for bucket in cases:
        for block in bucket.blocks():
            with jax.enable_x64(True):
                part = jax.tree.map(np.asarray, program(at, Cases(*block)))
            total = part if total is None else jax.tree.map(np.add, total, part)
    return total


def persons(cases: Buckets) -> float:
    """How many persons there are, weighted."""
    return float(sum(bucket.n.sum() for bucket in cases))
