"""Numbers as people print them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd


def as_float(value: Any) -> float:
    """A float, NaN for anything that is not a number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def fixed(value: Any, digits: int = 3) -> str:
    """Fixed decimals; empty for NaN; scientific when fixed decimals would be wider than a column."""
    number = as_float(value)
    if math.isnan(number):
        return ""
    if math.isinf(number):
        return "Inf" if number > 0 else "-Inf"
    text = f"{number:.{digits}f}"
    if len(text) > 11:
        return f"{number:.4g}"
    return text.removeprefix("-") if float(text) == 0 else text


def whole(value: Any) -> str:
    """An integer where the number is one (degrees of freedom of adjusted tests need not be)."""
    number = as_float(value)
    if math.isnan(number):
        return ""
    return f"{number:.0f}" if abs(number - round(number)) < 1e-8 else f"{number:.3f}"


def probability(value: Any) -> str:
    """A p value for reading in running text: "< .001" or ".012"."""
    number = as_float(value)
    if math.isnan(number):
        return "n/a"
    return "< .001" if number < 0.001 else f"{number:.3f}".lstrip("0") if number < 1 else "1.000"


def equals_probability(value: Any) -> str:
    """ "p < .001" or "p = .012"."""
    text = probability(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def measure(measures: pd.Series, name: str) -> float:
    """One fit measure; NaN where the series does not have it."""
    return as_float(measures[name]) if name in measures.index else math.nan


def has(measures: pd.Series, *names: str) -> bool:
    """Whether any of the measures is present and a number."""
    return any(not math.isnan(measure(measures, name)) for name in names)
