"""Likelihood-ratio tests between nested models, corrected where their chi-squares are."""

from __future__ import annotations

import math

import numpy as np

from jaxlatent.diagnostics.fit_measures import SECOND_MOMENT, Diagnosis
from jaxlatent.inference.information import Inference
from jaxlatent.numerics.special import chdtrc
from jaxlatent.spec.restrictions_matrix import null_space


def difference(small: Diagnosis, large: Diagnosis) -> dict[str, float]:
    """Chi-square difference of a restricted model (small) against a freer one (large): stat, df, pvalue.

    Mean-corrected tests by Satorra and Bentler (2001), shifted and adjusted ones by Satorra (2000).
    """
    df: float = small.fitted.df - large.fitted.df
    raw = small.standard.stat - large.standard.stat
    if df == 0:
        return {"stat": math.nan, "df": 0, "pvalue": math.nan}
    stat: float = raw
    if small.scaled is not None and large.fitted.engine.test == small.fitted.engine.test:
        if small.scaled.name in SECOND_MOMENT:
            stat, df = _satorra_2000(small.inference, large.inference, raw, df, small.scaled.name)
        else:
            stat = raw / _mean_factor(small, large, df)
    if small.scaled is None and math.isnan(small.standard.pvalue):  # plain ULS: not a chi-square
        return {"stat": stat, "df": df, "pvalue": math.nan}
    return {"stat": stat, "df": df, "pvalue": float(chdtrc(df, stat)) if stat > 0 else 1.0}


def _mean_factor(small: Diagnosis, large: Diagnosis, df: float) -> float:
    """(d0 c0 - d1 c1) / (d0 - d1)."""
    c1 = large.scaled.scaling_factor if large.scaled is not None and large.fitted.df > 0 else 0.0
    factor = (small.fitted.df * small.scaled.scaling_factor - large.fitted.df * c1) / df if small.scaled else math.nan
    if factor <= 0:
        raise ValueError(
            "The scaled difference test has a negative factor for these models: compare them by AIC or BIC."
        )
    return factor


def _satorra_2000(small: Inference, large: Inference, raw: float, df: float, name: str) -> tuple[float, float]:
    """Moments of U Gamma for the difference, tangents of the small model projected on those of the large one."""
    weight = [
        (f, large.model.jacobian[g], small.model.jacobian[g], large.contributions[g], large.fitted.moments.n[g], g)
        for g, f in enumerate(large.weight)
    ]
    bread = large.invert(sum(f * d1.T @ large._weigh_columns(g, d1) for f, d1, _, _, _, g in weight))
    cross = sum(f * d1.T @ large._weigh_columns(g, d0) for f, d1, d0, _, _, g in weight)
    h = bread @ cross @ small.fitted.basis
    a = null_space((large.fitted.basis.T @ h).T).T @ large.fitted.basis.T
    inner = bread @ a.T @ np.linalg.inv(a @ bread @ a.T) @ a @ bread
    meat = sum(f * np.cov((z @ large._weigh_columns(g, d1)).T, bias=True) for f, d1, _, z, _, g in weight)
    ug = inner @ meat
    one, two = float(np.trace(ug)), float((ug * ug.T).sum())
    if name == "mean_var_adjusted":
        return raw * one / two, one**2 / two
    return raw * math.sqrt(df / two) + df - math.sqrt(df * one**2 / two), float(df)
