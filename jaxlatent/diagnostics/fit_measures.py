"""All fit measures of a Gaussian model under lavaan's names, dots as underscores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.diagnostics.baseline import baseline
from jaxlatent.diagnostics.fiml_corrected import Corrected, corrected, saturated_pieces
from jaxlatent.diagnostics.indices import comparative, hoelter, normed, residual_indices, rmsea
from jaxlatent.diagnostics.tests_of_fit import TestResult, scaled, standard
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.information import Inference, kept_moments
from jaxlatent.inference.moment_model import apply_normal_weight
from jaxlatent.inference.settings import LeastSquares

if TYPE_CHECKING:
    import pandas as pd

SECOND_MOMENT = ("scaled_shifted", "mean_var_adjusted")
UNSCALED = ("standard", "none", "browne_residual_adf")


@dataclass(frozen=True)
class Diagnosis:
    """Tests of a fitted model and of its baseline, each computed once."""

    inference: Inference

    @property
    def fitted(self) -> Fitted:
        return self.inference.fitted

    @cached_property
    def baseline(self) -> Inference:
        return Inference(baseline(self.fitted))

    @cached_property
    def standard(self) -> TestResult:
        return standard(self.fitted)

    @cached_property
    def scaled(self) -> TestResult | None:
        name = self.fitted.engine.test
        return None if name in UNSCALED else scaled(self.inference, name)

    @cached_property
    def baseline_standard(self) -> TestResult:
        return standard(self.baseline.fitted)

    @cached_property
    def baseline_scaled(self) -> TestResult | None:
        return None if self.scaled is None else scaled(self.baseline, self.fitted.engine.test)

    @cached_property
    def fiml(self) -> tuple[Corrected, Corrected]:
        """The complete-data discrepancies of a FIML fit and of its baseline, with their corrections."""
        return corrected(self.inference), corrected(self.baseline)


def fit_measures(diagnosis: Diagnosis) -> pd.Series:
    """Series of fit measures; those that do not exist for an engine are absent."""
    import pandas as pd

    f = diagnosis.fitted
    n = f.n_total if f.engine.name in ("GLS", "ULS", "WLS", "DWLS") else _n(f)  # as lavaan defines it
    out: dict[str, float] = {"npar": f.n_parameters, "fmin": diagnosis.standard.stat / (2 * n)}
    out |= _chi_squares(diagnosis)
    out |= _incremental(diagnosis)
    if not isinstance(f.engine, LeastSquares):
        out |= _information_criteria(diagnosis)
    out |= _rmsea_family(diagnosis)
    out |= _residual_family(f)
    out |= _absolute(diagnosis)
    return pd.Series(out, dtype=float)


def _n(f: Fitted) -> float:
    """The sample size indices use: N, or N - G where chi-square is multiplied by that."""
    return f.n_effective


def _chi_squares(d: Diagnosis) -> dict[str, float]:
    out: dict[str, float] = {}
    pairs = (("", d.standard, d.scaled), ("baseline_", d.baseline_standard, d.baseline_scaled))
    for prefix, plain, robust in pairs:
        out |= {f"{prefix}chisq": plain.stat, f"{prefix}df": plain.df, f"{prefix}pvalue": plain.pvalue}
        if robust is not None:
            out |= {
                f"{prefix}chisq_scaled": robust.stat,
                f"{prefix}df_scaled": robust.df,
                f"{prefix}pvalue_scaled": robust.pvalue,
                f"{prefix}chisq_scaling_factor": robust.scaling_factor,
            }
    if d.scaled is not None and d.scaled.name == "scaled_shifted":
        out["chisq_shift_parameter"] = d.scaled.shift
    if d.fitted.engine.test == "browne_residual_adf":
        test = scaled(d.inference, "browne_residual_adf")
        out |= {
            f"{name}_{test.name}": x for name, x in (("chisq", test.stat), ("df", test.df), ("pvalue", test.pvalue))
        }
    return out


def _incremental(d: Diagnosis) -> dict[str, float]:
    x, b = d.standard, d.baseline_standard
    out = _with_nnfi(comparative(x.stat, x.df, b.stat, b.df)) | normed(x.stat, x.df, b.stat, b.df)
    s, t = d.scaled, d.baseline_scaled
    if s is not None and t is not None:
        shared = _with_nnfi(comparative(s.stat, s.df, t.stat, t.df)) | normed(s.stat, s.df, t.stat, t.df)
        out |= {f"{name}_scaled": value for name, value in shared.items()}
    robust = _robust_pieces(d)
    if robust is not None:
        (x2, df, c), (bx2, bdf, bc) = robust
        out |= {f"{name}_robust": v for name, v in _with_nnfi(comparative(x2, df, bx2, bdf, c, bc)).items()}
    return out


def _with_nnfi(measures: dict[str, float]) -> dict[str, float]:
    return measures | {"nnfi": measures["tli"]}


def _robust_pieces(d: Diagnosis) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
    """(chi-square, df, correction per df) of the model and its baseline, on which robust indices rest."""
    f = d.fitted
    if f.priors.active:
        return None
    if f.missing == "fiml" and f.df > 0:
        mine, base = d.fiml
        return (mine.stat, mine.df, mine.factor), (base.stat, base.df, base.factor)
    if d.scaled is None or d.baseline_scaled is None or f.engine.test not in ROBUST_TESTS or f.df == 0:
        return None
    x, b = d.standard, d.baseline_standard
    return (x.stat, x.df, _mean_factor(d.inference, d.scaled)), (
        b.stat,
        b.df,
        _mean_factor(d.baseline, d.baseline_scaled),
    )


ROBUST_TESTS = ("satorra_bentler", "yuan_bentler", "yuan_bentler_mplus", "scaled_shifted", "mean_var_adjusted")


def _mean_factor(inference: Inference, test: TestResult) -> float:
    """tr(U Gamma) / df: for shifted and adjusted tests the mean correction that belongs to them."""
    if test.name in ("scaled_shifted", "mean_var_adjusted"):
        return inference.ugamma_trace / inference.fitted.df
    return test.scaling_factor


def _information_criteria(d: Diagnosis) -> dict[str, float]:
    f = d.fitted
    k, n, logl = f.n_parameters, f.n_total, f.log_likelihood
    out = {
        "logl": logl,
        "unrestricted_logl": f.saturated_log_likelihood,
        "aic": -2 * logl + 2 * k,
        "bic": -2 * logl + k * math.log(n),
        "ntotal": n,
        "bic2": -2 * logl + k * math.log((n + 2) / 24),
    }
    if d.scaled is not None and not math.isnan(d.scaled.scaling_h1):
        out |= {"scaling_factor_h1": d.scaled.scaling_h1, "scaling_factor_h0": d.scaled.scaling_h0}
    return out


def _rmsea_family(d: Diagnosis) -> dict[str, float]:
    f, x = d.fitted, d.standard
    n, groups = _n(f), f.table.n_groups
    out = rmsea(x.stat, x.df, n, groups) | {"rmsea_ci_level": 0.9, "rmsea_close_h0": 0.05, "rmsea_notclose_h0": 0.08}
    if d.scaled is not None:
        # by mean correction: the plain statistic against the trace of U Gamma; else the corrected one against its df
        rest = None if d.scaled.name in SECOND_MOMENT else (x.stat, d.scaled.scaling_factor * x.df, 1.0)
        values = rmsea(d.scaled.stat, d.scaled.df, n, groups, interval=rest)
        out |= {f"{name}_scaled": value for name, value in values.items()}
    robust = _robust_pieces(d)
    if robust is not None:
        x2, df, c = robust[0]
        shifted = d.scaled if d.scaled is not None and d.scaled.name in SECOND_MOMENT else None
        rest = (shifted.stat, shifted.df, shifted.scaling_factor) if shifted and f.missing != "fiml" else None
        out |= {f"{name}_robust": value for name, value in rmsea(x2, df, n, groups, c, interval=rest).items()}
    return out


def _residual_family(f: Fitted) -> dict[str, float]:
    total: dict[str, float] = {}
    for g in range(f.table.n_groups):
        mu, sigma = f.model.implied[g]
        one = residual_indices(f.moments.cov[g], f.moments.mean[g], sigma, mu, f.table.mean_structure)
        for name, value in one.items():
            total[name] = total.get(name, 0.0) + value * f.moments.n[g] / f.n_total
    return total | {"srmr": total["srmr_bentler"]}


def _absolute(d: Diagnosis) -> dict[str, float]:
    """Hoelter's N, GFI and its relatives (Joereskog and Soerbom 1981; Mulaik 1989), MFI (McDonald 1989), ECVI."""
    f, x = d.fitted, d.standard
    n, df = _n(f), f.df
    gfi = _gfi(d.inference)
    p = len(f.table.observed)
    size = f.table.n_groups * (p * (p + 1) // 2 + (p if f.table.mean_structure else 0))
    agfi = 1 - size / df * (1 - gfi) if df > 0 else 1.0
    pgfi = df / size * gfi if size else math.nan
    out = hoelter(x.stat, df, n) | {"gfi": gfi, "agfi": agfi, "pgfi": pgfi}
    return out | {"mfi": math.exp(-0.5 * (x.stat - df) / n), "ecvi": x.stat / n + 2 * f.n_parameters / n}


def _gfi(inference: Inference) -> float:
    """1 - e'We / s'Ws over all moments."""
    f = inference.fitted
    top = bottom = 0.0
    keep = kept_moments(f)
    for g, weight in enumerate(f.group_weight):
        mean, cov = f.moments.mean[g], f.moments.cov[g]
        e = inference.model.residual(g, mean, cov)
        s = cov[np.tril_indices(len(mean))]
        s = np.concatenate([mean, s]) if f.table.mean_structure else s
        both = np.zeros((len(s), 2))
        both[keep] = np.column_stack([e, s])[keep]
        if isinstance(f.engine, LeastSquares) and f.weight_matrix is not None:
            w = f.weights[g]
            weighted = w[:, None] * both if w.ndim == 1 else w @ both
        elif f.missing == "fiml":
            weighted = saturated_pieces(f, g)[1] @ both
        else:
            weighted = apply_normal_weight(inference.weight_inverse[g], both, f.table.mean_structure)
        top, bottom = top + weight * both[:, 0] @ weighted[:, 0], bottom + weight * both[:, 1] @ weighted[:, 1]
    return float(1 - top / bottom)
