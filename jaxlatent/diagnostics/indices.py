"""Fit indices as small functions of chi-squares, degrees of freedom and sample size (lavaan's definitions)."""

from __future__ import annotations

import math

import numpy as np

from jaxlatent.numerics.noncentral import noncentral_cdf, noncentrality


def comparative(
    x2: float, df: float, base_x2: float, base_df: float, c: float = 1.0, base_c: float = 1.0
) -> dict[str, float]:
    """CFI (Bentler 1990), TLI (Tucker and Lewis 1973) and RNI.

    c scales df in robust versions (Brosseau-Liard and Savalei 2014).
    """
    t, tb = x2 - c * df, base_x2 - base_c * base_df
    top, bottom = max(t, 0.0), max(t, tb, 0.0)
    cfi = 1.0 if top == 0 or bottom == 0 else 1 - top / bottom
    tli = (
        math.nan if df == 0 and tb == 0 else 1.0 if df == 0 else 1 - (t * base_df) / (tb * df) if tb != 0 else math.nan
    )
    return {"cfi": cfi, "tli": tli, "rni": 1 - t / tb if tb != 0 else math.nan}


def normed(x2: float, df: float, base_x2: float, base_df: float) -> dict[str, float]:
    """NFI, PNFI, RFI, IFI (Bentler and Bonett 1980; James, Mulaik and Brett 1982; Bollen 1986, 1989)."""
    nfi = (base_x2 - x2) / base_x2 if base_x2 > 0 else math.nan
    rfi = (base_x2 / base_df - x2 / df) / (base_x2 / base_df) if df > 0 and base_df > 0 and base_x2 > 0 else 1.0
    ifi = (base_x2 - x2) / (base_x2 - df) if base_x2 != df else math.nan
    return {"rfi": rfi, "nfi": nfi, "pnfi": df / base_df * nfi if base_df > 0 else math.nan, "ifi": ifi}


def rmsea(
    x2: float, df: float, n: float, groups: int, c: float = 1.0, *, interval: tuple[float, float, float] | None = None
) -> dict[str, float]:
    """RMSEA with its 90 % interval and tests of close (0.05) and not-close (0.08) fit.

    Steiger (1990); Browne and Cudeck (1993).
    The point estimate is that of x2 with expectation c df. interval = (chi-square, df, factor): what the interval and
    the tests rest on, where that differs; RMSEA is sqrt(factor * noncentrality / (n df)) there.
    """
    if df == 0:
        keys = ("rmsea", "rmsea_ci_lower", "rmsea_ci_upper")
        return dict.fromkeys(keys, 0.0) | {"rmsea_pvalue": math.nan, "rmsea_notclose_pvalue": math.nan}
    stat, degrees, factor = interval or (x2 / c, df, c)
    size = n * degrees / groups / factor
    limit = lambda p: math.sqrt(noncentrality(stat, degrees, p) / size)  # noqa: E731
    return {
        "rmsea": math.sqrt(max((x2 - c * df) / (n * df), 0.0) * groups),
        "rmsea_ci_lower": limit(0.95),
        "rmsea_ci_upper": limit(0.05),
        "rmsea_pvalue": 1 - noncentral_cdf(stat, degrees, size * 0.05**2),
        "rmsea_notclose_pvalue": noncentral_cdf(stat, degrees, size * 0.08**2),
    }


def hoelter(x2: float, df: float, n: float) -> dict[str, float]:
    """The sample size at which the misfit would be significant at 5 and 1 % (Hoelter 1983)."""
    from scipy.special import chdtri

    if df == 0 or x2 <= 0:
        return {"cn_05": 1.0, "cn_01": 1.0}
    return {name: float(chdtri(df, p)) / (x2 / n) + 1 for name, p in (("cn_05", 0.05), ("cn_01", 0.01))}


def residual_indices(s: np.ndarray, m: np.ndarray, sigma: np.ndarray, mu: np.ndarray, means: bool) -> dict[str, float]:
    """RMR, SRMR (Bentler 1995), CRMR (Bollen 1989) and Mplus's SRMR of one group, with and without means."""
    p = len(m)
    low, off = np.tril_indices(p), np.tril_indices(p, -1)
    sd, sd_model = np.sqrt(np.diag(s)), np.sqrt(np.diag(sigma))
    scale, scale_model = np.outer(sd, sd), np.outer(sd_model, sd_model)
    raw = (s - sigma)[low] ** 2
    bentler = ((s - sigma) / scale)[low] ** 2
    cor = (s / scale - sigma / scale_model)[off] ** 2
    mplus = np.concatenate([cor, ((np.diag(s) - np.diag(sigma)) / np.diag(s)) ** 2])
    gap = (m - mu) ** 2
    mean_bentler, mean_cor = gap / np.diag(s), (m / sd - mu / sd_model) ** 2
    sets = {
        "rmr": (raw, gap),
        "srmr_bentler": (bentler, mean_bentler),
        "crmr": (cor, mean_bentler),
        "srmr_mplus": (mplus, mean_cor),
    }
    out = {}
    for name, (cov, mean) in sets.items():
        plain = math.sqrt(cov.mean()) if len(cov) else 0.0
        both = math.sqrt((cov.sum() + mean.sum()) / (len(cov) + p)) if means else plain
        out[name], out[f"{name}_nomean"] = both, plain
    return out
