"""Fit measures of item response models, and what to say about a solution that should not be trusted."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np

from jaxlatent.diagnostics.full_information import g2_of
from jaxlatent.diagnostics.item_nodes import ItemDiagnosis
from jaxlatent.diagnostics.limited_information import LimitedInformation, m2_and_c2, srmsr
from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.inference.nominal_turns import far_out, has_nominal

INDICES = ("", "_df", "_pvalue", "_rmsea", "_rmsea_ci_lower", "_rmsea_ci_upper", "_cfi", "_tli")
FIELDS = ("statistic", "df", "pvalue", "rmsea", "rmsea_ci_lower", "rmsea_ci_upper", "cfi", "tli")


def item_fit_measures(diagnosis: ItemDiagnosis) -> dict[str, float]:
    """npar, ntotal, logl, aic, bic, sabic; g2, m2, c2 with df, p-value and RMSEA; CFI and TLI of m2 and c2; srmsr.

    nan where a statistic is not defined; the fit's notes say why.
    """
    f = diagnosis.fitted
    n, q, logl = f.n_total, f.n_parameters, f.log_likelihood
    out = {
        "npar": float(q),
        "ntotal": n,
        "logl": logl,
        "aic": 2 * q - 2 * logl,
        "bic": math.log(n) * q - 2 * logl,
        "sabic": math.log((n + 2) / 24) * q - 2 * logl,
    }
    out |= _full_information(diagnosis)
    return out | _limited_information(diagnosis)


def _full_information(diagnosis: ItemDiagnosis) -> dict[str, float]:
    names = ("g2", "g2_df", "g2_pvalue", "g2_rmsea")
    f = diagnosis.fitted
    if not diagnosis.categorical.all() or diagnosis.has_covariates or not f.data.n_persons:
        return dict.fromkeys(names, math.nan)
    patterns = math.prod(f.coding.n_categories)
    df = sum(patterns - 1 for _ in f.table.groups) - f.n_parameters
    groups = range(f.table.n_groups)
    ys = [diagnosis.y(g) for g in groups]
    weights = [diagnosis.person_weights(g) for g in groups]
    given = [np.ones(len(y)) if w is None else w for y, w in zip(ys, weights, strict=True)]
    found = g2_of(f.log_likelihood, df, ys, given)
    df_shown = float(df) if df < 10**300 else math.inf
    return dict(zip(names, (found.statistic, df_shown, found.pvalue, found.rmsea), strict=True))


def _limited_information(diagnosis: ItemDiagnosis) -> dict[str, float]:
    keys = [f"{test}{index}" for test in ("m2", "c2") for index in INDICES] + ["srmsr"]
    if not diagnosis.categorical.all() or diagnosis.has_covariates or not diagnosis.enough_complete:
        return dict.fromkeys(keys, math.nan)
    if diagnosis.too_many_moments or diagnosis.fitted.is_learned:
        parts = [diagnosis.group_part(g) for g in range(diagnosis.fitted.table.n_groups)]
        return dict.fromkeys(keys, math.nan) | {"srmsr": srmsr(parts)}
    fits = diagnosis.group_fits()
    values = [v for found in m2_and_c2(fits) for v in _values(found)]
    return dict(zip(keys, [*values, srmsr(fits)], strict=True))


def _values(found: LimitedInformation) -> list[float]:
    given = asdict(found)
    return [float(given[name]) for name in FIELDS]


def item_warnings(fitted: ItemFitted) -> tuple[str, ...]:
    """Sentences about a solution that should not be trusted as it is."""
    out = []
    if int(fitted.estimate.code) != 1:
        out.append("The optimiser did not converge: do not interpret the estimates.")
        if has_nominal(fitted.measurement, fitted.layout) and (far := far_out(fitted.layout, fitted.free)):
            names = ", ".join(sorted({fitted.table.items[j].name for _, j in far}))
            out.append(
                f"Scores of the nominal item(s) {names} ran off: their first and last categories have nearly one slope,"
                " and only products of scores and loading are determined. Recode these items so that first and last"
                " category differ most, or give priors={'scoring': 'normal(2, 2)'}."
            )
    elif fitted.engine.se != "none" and fitted.vcov is None:
        out.append(
            "The information matrix is singular or not positive definite: the model is probably not identified, and"
            " there are no standard errors."
        )
    if fitted.responses is not None and fitted.data.n_persons < fitted.table.n_parameters:
        out.append(
            f"There are {fitted.data.n_persons} persons for {fitted.table.n_parameters} parameters: expect large"
            " errors, and do not trust tests that rest on many persons."
        )
    return tuple(out)
