"""Fit measures of two-level models under lavaan's names, dots as underscores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.diagnostics.indices import comparative, normed, residual_indices, rmsea
from jaxlatent.inference.two_level_fit import TwoLevelFitted
from jaxlatent.numerics.special import chdtrc

if TYPE_CHECKING:
    import pandas as pd


def two_level_measures(fit: TwoLevelFitted) -> pd.Series:
    """Chi-square against the unrestricted model of both levels, and what follows from it and the residuals."""
    import pandas as pd

    f, n = fit.fitted, fit.moments.persons
    k, logl, top = f.n_parameters, f.log_likelihood, f.saturated_log_likelihood
    baseline, estimate = fit.baseline
    base, base_k = float(estimate.log_likelihood) - fit.exogenous, baseline.layout.n_free
    x2, df = max(2 * (top - logl), 0.0), fit.df
    base_x2, base_df = max(2 * (top - base), 0.0), fit.saturated_parameters - base_k
    out = {"npar": k, "chisq": x2, "df": df, "pvalue": _pvalue(x2, df)}
    out |= {"baseline_chisq": base_x2, "baseline_df": base_df, "baseline_pvalue": _pvalue(base_x2, base_df)}
    out |= comparative(x2, df, base_x2, base_df) | normed(x2, df, base_x2, base_df)
    out |= {"logl": logl, "unrestricted_logl": top, "aic": 2 * k - 2 * logl, "bic": k * math.log(n) - 2 * logl}
    out |= {"bic2": k * math.log((n + 2) / 24) - 2 * logl, "ntotal": n, "nclusters": fit.moments.clusters}
    if f.engine.test == "yuan_bentler_mplus" and df > 0:
        mine = (fit.saturated_trace - fit.robust_trace(fit.problem, f.free, f.basis)) / df
        theirs = (fit.saturated_trace - fit.robust_trace(baseline, estimate.free)) / base_df
        out |= _scaled(x2, df, mine, n) | _scaled(base_x2, base_df, theirs, None)
        indices = comparative(x2 / mine, df, base_x2 / theirs, base_df)
        out |= {f"{name}_scaled": value for name, value in indices.items()}
    out |= rmsea(x2, df, n, 1) | {"rmsea_ci_level": 0.9, "rmsea_close_h0": 0.05, "rmsea_notclose_h0": 0.08}
    residuals = {f"srmr_{name}": _srmr(fit, g) for g, name in enumerate(("within", "between"))}
    return pd.Series(out | {"nnfi": out["tli"], "srmr": sum(residuals.values())} | residuals, dtype=float)


def _scaled(x2: float, df: float, factor: float, n: int | None) -> dict[str, float]:
    """A mean-corrected chi-square (Yuan and Bentler 2000, as Mplus has it); n None: of the baseline, without RMSEA."""
    prefix = "baseline_" if n is None else ""
    out = {"chisq_scaled": x2 / factor, "df_scaled": df, "pvalue_scaled": _pvalue(x2 / factor, df)}
    out = {f"{prefix}{name}": value for name, value in (out | {"chisq_scaling_factor": factor}).items()}
    if n is None:
        return out
    values = rmsea(x2 / factor, df, n, 1, interval=(x2, factor * df, 1.0))
    return out | {f"{name}_scaled": value for name, value in values.items()}


def _pvalue(x2: float, df: float) -> float:
    return float(chdtrc(df, x2)) if df > 0 else math.nan


def _srmr(fit: TwoLevelFitted, g: int) -> float:
    """Of the covariances of one level, as lavaan has it."""
    here = np.flatnonzero(fit.levels[g])
    inner = np.ix_(here, here)
    saturated, at = fit.saturated, fit.at
    s, mean = ((saturated.within, saturated.within_mean), (saturated.between, saturated.between_mean))[g]
    sigma, mu = ((at.within, at.within_mean), (at.between, at.between_mean))[g]
    with np.errstate(invalid="ignore"):  # negative variances: nan
        return residual_indices(s[inner], mean[here], sigma[inner], mu[here], means=False)["srmr_bentler"]
