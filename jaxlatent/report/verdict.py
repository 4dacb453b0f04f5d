"""The headline of a report: four measures of fit beside their conventional cut-offs.

L. Hu and P. M. Bentler (1999), Structural Equation Modeling 6, 1-55, for CFI, RMSEA and SRMR. The cut-offs come from
simulations of particular models; the wording says "meets" or "misses" and no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import pandas as pd

from jaxlatent.report.numbers import equals_probability, fixed, has, measure, whole

SOURCE = (
    "Cut-offs of CFI, RMSEA and SRMR: Hu and Bentler (1999), Structural Equation Modeling, 6(1), 1-55, "
    "doi:10.1080/10705519909540118. They come from simulations of confirmatory factor models with continuous "
    "variables; they are conventions, not tests, and do not carry over to every model, sample size or estimator. "
    "A model that meets them can still be wrong: look at the residuals."
)


@dataclass(frozen=True)
class Check:
    """One measure: its value in words, the convention, and whether the convention is met (None: no answer)."""

    name: str
    value: str
    detail: str
    convention: str
    met: bool | None


def checks(measures: pd.Series) -> list[Check]:
    """The measures that are there; scaled and robust versions take precedence where they exist."""
    found = [_chi_square(measures), _cfi(measures), _rmsea(measures), _srmr(measures)]
    return [check for check in found if check is not None]


def _chi_square(measures: pd.Series) -> Check | None:
    suffix = "_scaled" if has(measures, "chisq_scaled") else ""
    if not has(measures, f"chisq{suffix}"):
        return None
    df, p = measure(measures, f"df{suffix}"), measure(measures, f"pvalue{suffix}")
    name = "Chi-square (scaled)" if suffix else "Chi-square"
    value = f"χ²({whole(df)}) = {fixed(measure(measures, f'chisq{suffix}'), 2)}"
    if not df > 0:
        return Check(name, value, "no degrees of freedom: nothing is tested", "", None)
    met = None if p != p else p >= 0.05
    return Check(name, value, equals_probability(p), "exact fit not rejected: p ≥ .05", met)


def _best(measures: pd.Series, name: str) -> tuple[str, str]:
    """The name's most trustworthy version that is there, and how to call it."""
    for suffix, word in (("_robust", " (robust)"), ("_scaled", " (scaled)")):
        if has(measures, name + suffix):
            return name + suffix, word
    return name, ""


def _cfi(measures: pd.Series) -> Check | None:
    name, word = _best(measures, "cfi")
    if not has(measures, name):
        return None
    value = measure(measures, name)
    return Check(f"CFI{word}", fixed(value), "comparative fit index", "close to .95 or above", value >= 0.95)


def _rmsea(measures: pd.Series) -> Check | None:
    name, word = _best(measures, "rmsea")
    if not has(measures, name):
        return None
    value, suffix = measure(measures, name), name.removeprefix("rmsea")
    low, high = (measure(measures, f"rmsea_ci_{end}{suffix}") for end in ("lower", "upper"))
    interval = f"90% CI [{fixed(low)}, {fixed(high)}]" if low == low and high == high else "no interval"
    return Check(f"RMSEA{word}", fixed(value), interval, "close to .06 or below", value <= 0.06)


def _srmr(measures: pd.Series) -> Check | None:
    if not has(measures, "srmr"):
        return None
    value = measure(measures, "srmr")
    return Check("SRMR", fixed(value), "standardized root mean square residual", "close to .08 or below", value <= 0.08)


def headline(found: list[Check]) -> str:
    """One sentence that counts, and claims no more."""
    judged = [check for check in found if check.met is not None]
    if not judged:
        return "No measure of fit is available for this model."
    met = sum(bool(check.met) for check in judged)
    return f"{met} of {len(judged)} conventional criteria are met."


def verdict_html(measures: pd.Series) -> str:
    """The box of tiles."""
    found = checks(measures)
    tiles = "\n".join(_tile(check) for check in found)
    source = f'<p class="source">{escape(SOURCE)}</p>' if found else ""
    head = f"<h2>{escape(headline(found))}</h2>"
    return f'<section class="verdict">{head}<div class="tiles">\n{tiles}\n</div>{source}</section>'


def _tile(check: Check) -> str:
    state = {True: ("met", "meets"), False: ("missed", "misses"), None: ("open", "")}[check.met]
    words = f"{state[1]} the convention: {check.convention}" if state[1] else check.convention
    return (
        f'<div class="tile {state[0]}"><div class="name">{escape(check.name)}</div>'
        f'<div class="value">{escape(check.value)}</div><div class="detail">{escape(check.detail)}</div>'
        f'<div class="convention">{escape(words)}</div></div>'
    )
