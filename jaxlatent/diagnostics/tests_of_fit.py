"""Chi-square tests of the model against the saturated one, corrected where data are not normal."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from jaxlatent.inference.casewise_host import casewise_information
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.information import Inference, cross_product, kept_moments
from jaxlatent.inference.moment_model import normal_weight
from jaxlatent.inference.settings import LeastSquares
from jaxlatent.inference.weights import distribution_free_covariance
from jaxlatent.numerics.special import chdtrc


@dataclass(frozen=True)
class TestResult:
    """A chi-square statistic; scaled ones carry the factor (and shift) that made them of the standard one.

    reference: whether its distribution is chi-square at all; that of plain ULS is not, and has no p-value.
    """

    name: str
    stat: float
    df: float
    scaling_factor: float = math.nan
    shift: float = 0.0
    scaling_h1: float = math.nan
    scaling_h0: float = math.nan
    reference: bool = True

    @property
    def pvalue(self) -> float:
        return float(chdtrc(self.df, self.stat)) if self.df > 0 and self.reference else math.nan


def standard(fitted: Fitted) -> TestResult:
    """N times twice the discrepancy; for FIML twice the distance to the saturated log-likelihood."""
    if isinstance(fitted.engine, LeastSquares) or fitted.missing != "fiml":
        stat = 2 * fitted.n_effective * float(fitted.estimate.statistics["value"])
    else:
        stat = 2 * (fitted.saturated_log_likelihood - fitted.log_likelihood)
    return TestResult("standard", max(stat, 0.0), fitted.df, reference=fitted.engine.name != "ULS")


def scaled(inference: Inference, name: str) -> TestResult:
    """The test of a name, of the fitted model or of its baseline."""
    fitted = inference.fitted
    base = standard(fitted)
    df = base.df
    if df == 0:
        return TestResult(name, base.stat, df, math.nan)
    match name:
        case "satorra_bentler":
            return _by_factor(name, base, inference.ugamma_trace / df)
        case "yuan_bentler":
            result = _by_factor(name, base, _yuan_bentler_trace(inference) / df)
            h1, n1 = saturated_trace(inference)
            h0 = (
                float(np.trace(inference.invert(inference.expected) @ inference.sem_meat))
                if fitted.missing != "fiml"
                else h1
            )
            return replace(result, scaling_h1=h1 / n1, scaling_h0=h0 / fitted.n_parameters)
        case "yuan_bentler_mplus":
            h1, n1 = saturated_trace(inference)
            h0 = float(np.trace(inference.bread @ inference.first_order))
            result = _by_factor(name, base, (h1 - h0) / df)
            return replace(result, scaling_h1=h1 / n1, scaling_h0=h0 / fitted.n_parameters)
        case "mean_var_adjusted":
            one, two = inference.ugamma_trace, inference.ugamma_square_trace
            return TestResult(name, base.stat * one / two, one**2 / two, two / one)
        case "scaled_shifted":
            one, two = inference.ugamma_trace, inference.ugamma_square_trace
            a = math.sqrt(df / two)
            shift = df - math.sqrt(df * one**2 / two)
            return TestResult(name, base.stat * a + shift, df, 1 / a, shift)
        case "browne_residual_adf":
            return browne_residual(inference)
    raise ValueError(f"Expected the name of a test; got {name!r}.")


def _by_factor(name: str, base: TestResult, factor: float) -> TestResult:
    return TestResult(name, base.stat / factor, base.df, factor)


def saturated_trace(inference: Inference) -> tuple[float, int]:
    """tr(A1^-1 B1) of the unrestricted model at its estimate, and its number of parameters."""
    fitted = inference.fitted
    keep = kept_moments(fitted)
    n = fitted.moments.n
    scores, information = [], []
    for g in inference.groups:
        mean, cov = fitted.moments.mean[g], fitted.moments.cov[g]
        information.append(_saturated_information(fitted, g, mean, cov)[np.ix_(keep, keep)])
        scores.append(inference.moment_scores(g, mean, cov)[:, keep])
    if fitted.rows.cluster is None:
        meat = [s.T @ s / m for s, m in zip(scores, n, strict=True)]
        total = sum(np.trace(np.linalg.solve(a, b)) for a, b in zip(information, meat, strict=True))
        return float(total), len(keep) * len(n)
    wide = np.zeros((fitted.n_total, len(keep) * len(n)))
    for g, s in enumerate(scores):
        wide[fitted.rows.rows_of(g)[:, None], g * len(keep) + np.arange(len(keep))] = s
    meat_all = cross_product(wide, fitted.rows.cluster)
    total = 0.0
    for g, a in enumerate(information):
        block = slice(g * len(keep), (g + 1) * len(keep))
        total += np.trace(np.linalg.solve(a, meat_all[block, block] / n[g]))
    return float(total), len(keep) * len(n)


def _saturated_information(fitted: Fitted, g: int, mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
    if fitted.missing == "fiml":
        expected = fitted.engine.information == "expected"
        return casewise_information(fitted, g, mean, cov, expected=expected) / fitted.moments.n[g]
    return normal_weight(np.linalg.inv(cov), fitted.table.mean_structure)


def _yuan_bentler_trace(inference: Inference) -> float:
    """tr(B1 A1^-1) - tr(Delta (Delta'A1 Delta)^-1 Delta' B1) at the implied moments (Yuan and Bentler 2000)."""
    fitted = inference.fitted
    if fitted.missing != "fiml":
        return inference.ugamma_trace
    keep = kept_moments(fitted)
    total = 0.0
    for g in inference.groups:
        mu, sigma = inference.model.implied[g]
        a = casewise_information(fitted, g, mu, sigma, expected=fitted.engine.information == "expected")
        s = inference.moment_scores(g, mu, sigma)[:, keep]
        total += np.trace(np.linalg.solve(a[np.ix_(keep, keep)], s.T @ s))
    return float(total - np.trace(inference.bread @ inference.first_order))


def browne_residual(inference: Inference) -> TestResult:
    """N e'[G^-1 - G^-1 D (D'G^-1 D)^-1 D'G^-1] e (Browne 1984).

    e: residuals, G: distribution-free covariance of the moments, D: Jacobian.
    """
    fitted = inference.fitted
    q = fitted.table.n_free
    stat, bread, pulled = 0.0, np.zeros((q, q)), np.zeros(q)
    for g, f in enumerate(fitted.group_weight):
        gamma = distribution_free_covariance(fitted.rows, g, fitted.table.mean_structure)
        delta = inference.model.jacobian[g]
        e = inference.model.residual(g, fitted.moments.mean[g], fitted.moments.cov[g])
        w = np.linalg.inv(gamma)
        stat += f * e @ w @ e
        bread, pulled = bread + f * delta.T @ w @ delta, pulled + f * delta.T @ w @ e
    stat -= pulled @ inference.invert(bread) @ pulled
    return TestResult("browne_residual_adf", float(fitted.n_total * stat), fitted.df)
