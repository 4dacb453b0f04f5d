"""Noncentrality of a chi-square statistic by inversion of its distribution function."""

from __future__ import annotations

import math

from jaxlatent.numerics.special import chdtr, chndtr


def noncentral_cdf(x: float, df: float, ncp: float) -> float:
    """P(chi-square(df, ncp) <= x)."""
    return float(chndtr(x, df, ncp)) if ncp > 0 else float(chdtr(df, x))


def noncentrality(x: float, df: float, probability: float) -> float:
    """The ncp at which P(chi-square(df, ncp) <= x) = probability; 0 where even ncp = 0 lies below it."""
    if not (x > 0 and df > 0) or noncentral_cdf(x, df, 0.0) < probability:
        return 0.0
    upper = max(x, 1.0)
    while noncentral_cdf(x, df, upper) > probability:
        upper *= 2
        if upper > 1e12:
            return math.nan
    lower = 0.0
    while upper - lower > 1e-10 + 1e-12 * upper:
        middle = (lower + upper) / 2
        if noncentral_cdf(x, df, middle) > probability:
            lower = middle
        else:
            upper = middle
    return (lower + upper) / 2
