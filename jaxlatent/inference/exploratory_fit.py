"""From data to extracted factors: which rows and moments are used, and who finds the maximum."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from jaxlatent.data.incomplete import cases_of
from jaxlatent.data.moments import GroupMoments, Moments, from_cov, sample_moments
from jaxlatent.data.responses import Responses
from jaxlatent.inference.casewise_sums import saturated_information_of
from jaxlatent.inference.exploratory import Unrotated
from jaxlatent.inference.exploratory_settings import EM, LeastSquaresExtraction
from jaxlatent.inference.factor_em import em_from_cov, em_from_rows
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.fitting import fit_table, route, saturated_log_likelihood
from jaxlatent.inference.requirements import CONVERGED, saturated_or_refuse
from jaxlatent.inference.settings import ML
from jaxlatent.numerics.blas_threads import one_thread
from jaxlatent.numerics.factor_extraction import LEAST, Extraction, canonical_columns, extract
from jaxlatent.spec.efa_table import exploratory_table
from jaxlatent.spec.table import ParameterTable

MISSING = ("fiml", "listwise", "two_stage", "robust_two_stage")


def check_count(m: int, p: int, *, isotropic: bool = False) -> None:
    """Refuse as many factors as there are variables, or more than the covariances can tell apart."""
    if m >= p:
        raise ValueError(f"Expected fewer factors than variables; got {m} factors and {p} variables.")
    df = p * (p + 1) // 2 - (p * m - m * (m - 1) // 2 + (1 if isotropic else p))
    if df < 0:
        most = max((k for k in range(p) if (p - k) ** 2 >= p + k), default=0)
        raise ValueError(
            f"{m} factors of {p} variables have more parameters than there are variances and covariances (degrees of"
            f" freedom {df}): expected at most {most} factors, or more variables."
        )


def extract_factors(
    source: Responses | Moments, factors: tuple[str, ...], engine: ML | EM, missing: str | None, extraction: str
) -> Unrotated:
    """Factors before rotation; raises ValueError where data, engine and options don't go together."""
    if missing is not None and missing not in MISSING:
        raise ValueError(f"Expected missing to be None or one of {', '.join(MISSING)}; got {missing!r}.")
    names = source.names
    table = exploratory_table(names, factors)
    check_count(len(factors), len(names), isotropic=isinstance(engine, EM) and engine.noise == "isotropic")
    unbiased = engine.likelihood == "wishart"
    if isinstance(source, Moments):
        resolved = _resolved_for_moments(engine, missing)
        return _from_moments(
            from_cov(source, names, unbiased=unbiased), None, "complete", resolved, factors, extraction
        )
    data, how = route(table, source, engine, missing)
    if how == "fiml" and extraction != "ml":
        how = "two_stage"
    two_stage = how if "two_stage" in how else None
    resolved = engine.resolve(
        missing=how == "fiml", weights=data.weight is not None, cluster=data.cluster is not None, two_stage=two_stage
    )
    if how == "fiml":
        return _from_rows(data, resolved, factors)
    moments = saturated_or_refuse(data)[0] if two_stage else sample_moments(data, unbiased=unbiased)
    return _from_moments(moments, data, how, resolved, factors, extraction)


def _resolved_for_moments(engine: ML | EM, missing: str | None) -> ML | EM:
    resolved = engine.resolve(missing=False, weights=False, cluster=False, two_stage=None)
    if resolved.se not in ("standard", "none") or resolved.test not in ("standard", "none"):
        raise ValueError(f"Moments cannot give se={resolved.se!r}, test={resolved.test!r}: pass the rows instead.")
    if missing not in (None, "listwise"):
        raise ValueError(f"Moments hold no rows, so nothing can be missing: leave out missing={missing!r}.")
    return resolved


def _from_moments(
    moments: GroupMoments,
    data: Responses | None,
    how: str,
    engine: ML | EM,
    factors: tuple[str, ...],
    extraction: str,
) -> Unrotated:
    cov, m = moments.cov[0], len(factors)
    isotropic = isinstance(engine, EM) and engine.noise == "isotropic"
    found = em_from_cov(cov, m, engine) if isinstance(engine, EM) else extract(cov, m, extraction)
    value = discrepancy(cov, found.loadings, found.uniquenesses) / 2
    saturated = saturated_log_likelihood(moments, ())
    used = engine if extraction == "ml" else LeastSquaresExtraction(extraction)
    logl = float(saturated - moments.n.sum() * value)
    clustered = data is not None and data.cluster is not None
    means = moments.mean[0] if clustered or "two_stage" in how else None
    common = _common(moments, used, how, data, saturated, logl)
    canonical = "axes" if isotropic or extraction != "ml" else "ml"
    return _unrotated(factors, found, means, value, canonical, isotropic, common)


def discrepancy(cov: np.ndarray, loadings: np.ndarray, uniquenesses: np.ndarray) -> float:
    """F_ML = log|Σ| - log|S| + tr(S Σ^-1) - p at Σ = ΛΛ' + Θ."""
    sigma = loadings @ loadings.T + np.diag(uniquenesses)
    ratio = np.linalg.solve(sigma, cov)
    return float(np.trace(ratio) - np.linalg.slogdet(ratio)[1] - len(cov))


def _common(
    moments: GroupMoments, engine: Any, how: str, data: Responses | None, saturated: float, logl: float
) -> dict[str, Any]:
    return {
        "moments": moments,
        "engine": engine,
        "missing": how,
        "data": data,
        "group_labels": ("1",) if data is None else data.group_labels,
        "saturated_log_likelihood": float(saturated),
        "log_likelihood": logl,
        "notes": () if data is None else data.notes,
    }


def _unrotated(
    factors: tuple[str, ...],
    found: Extraction,
    means: np.ndarray | None,
    value: float,
    canonical: str,
    isotropic: bool,
    common: dict[str, Any],
) -> Unrotated:
    return Unrotated(
        factors, found.loadings, found.uniquenesses, found.at_bound, means, value, found.converged, found.steps,
        canonical, isotropic, common,
    )  # fmt: skip


# ---- incomplete rows ------------------------------------------------------------------------------------------------


@one_thread()
def _from_rows(data: Responses, engine: ML | EM, factors: tuple[str, ...]) -> Unrotated:
    """Full information: EM over rows, or the casewise Newton method of structural equation models."""
    if isinstance(engine, EM):
        return _by_em(data, engine, factors)
    moments, _ = saturated_or_refuse(data)
    near = extract(moments.cov[0], len(factors))
    if near.at_bound.any():
        return _within_bounds(data, engine, factors)
    fitted = fit_table(_anchored(data.names, factors, near), data, engine, "fiml")
    params = fitted.model.group(0)
    m = len(factors)
    theta = np.diag(params["residual_cov"]).copy()
    bounded = theta < LEAST * np.diag(fitted.model.implied[0][1])
    if bounded.any() or int(fitted.estimate.code) != CONVERGED:  # EM keeps to the bounds
        return _within_bounds(data, engine, factors)
    turned = canonical_loadings(params["loadings"][:, :m], theta)
    found = Extraction(turned, theta, math.nan, True, int(fitted.estimate.steps), np.zeros(len(theta), bool))
    value = float(fitted.estimate.statistics["value"])
    return _unrotated(factors, found, params["intercepts"].copy(), value, "ml", False, _common_of(fitted))


def _within_bounds(data: Responses, engine: ML, factors: tuple[str, ...]) -> Unrotated:
    """The maximum under the least residual variances, which EM keeps to."""
    found = _by_em(data, EM(), factors)
    return replace(found, common=found.common | {"engine": engine})


def _common_of(fitted: Fitted) -> dict[str, Any]:
    common = _common(
        fitted.moments, fitted.engine, fitted.missing, fitted.data, fitted.saturated_log_likelihood,
        fitted.log_likelihood,
    )  # fmt: skip
    return common | {"made_cases": fitted.made_cases, "saturated_cache": fitted.saturated_cache}


def _anchored(
    names: tuple[str, ...], factors: tuple[str, ...], near: Extraction, *, means: bool = True
) -> ParameterTable:
    """The table with a triangle of zeros in the rows of the variables that span the factors best."""
    scaled = near.loadings / np.sqrt(near.uniquenesses)[:, None]
    from scipy.linalg import qr  # not where all who import would pay for it

    anchors = qr(scaled.T, pivoting=True)[2][: len(factors)]
    q = np.linalg.qr(near.loadings[anchors].T)[0]
    loadings = near.loadings @ q
    loadings[loadings == 0] = 1e-6
    for k, j in enumerate(anchors):
        loadings[j, k + 1 :] = 0
    return exploratory_table(names, factors, mean_structure=means, start=(loadings, near.uniquenesses))


def anchored_table(data: Responses, factors: tuple[str, ...]) -> ParameterTable:
    """The table of an identified unrotated model with starting values for these rows."""
    moments = saturated_or_refuse(data)[0] if data.has_missing else sample_moments(data)
    return _anchored(data.names, factors, extract(moments.cov[0], len(factors)), means=data.has_missing)


def canonical_loadings(loadings: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """The rotation in which Λ'Θ^-1 Λ is diagonal; of standardised variables where a variance is not positive."""
    sd = np.sqrt(np.maximum((loadings**2).sum(1) + theta, np.finfo(float).tiny))
    scale = theta if (theta > 0).all() else sd**2
    vectors = np.linalg.eigh(loadings.T @ (loadings / scale[:, None]))[1]
    return canonical_columns(loadings @ vectors / sd[:, None]) * sd[:, None]


def _by_em(data: Responses, engine: EM, factors: tuple[str, ...]) -> Unrotated:
    made = (cases_of(data, 0),)
    moments, saturated = saturated_or_refuse(data, made)
    isotropic = engine.noise == "isotropic"
    mean, found = em_from_rows(data.y, data.weight, moments.mean[0], moments.cov[0], len(factors), engine)
    n = float(moments.n.sum())
    common = _common(moments, engine, "fiml", data, saturated, -n * found.value)
    informed = saturated_information_of(made[0], moments.mean[0], moments.cov[0]) / moments.n[0]
    common |= {"made_cases": made, "saturated_cache": {("observed", 0): informed}}
    return _unrotated(factors, found, mean, found.value, "axes" if isotropic else "ml", isotropic, common)
