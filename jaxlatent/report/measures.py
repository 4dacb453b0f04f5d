"""Fit-measure tables of a summary; a measure that is missing leaves its line out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd

from jaxlatent.report.blocks import Row, Table
from jaxlatent.report.numbers import fixed, has, measure, whole

Line = tuple[str, str, str, Callable[[float], str]]
"""Label, the standard measure's name, the scaled one's, how to print them."""

USER: tuple[Line, ...] = (
    ("Test statistic", "chisq", "chisq_scaled", fixed),
    ("Degrees of freedom", "df", "df_scaled", whole),
    ("P-value (chi-square)", "pvalue", "pvalue_scaled", fixed),
    ("Scaling correction factor", "", "chisq_scaling_factor", fixed),
    ("Shift parameter", "", "chisq_shift_parameter", fixed),
    ("Browne's residual-based (ADF) statistic", "chisq_browne_residual_adf", "", fixed),
    ("P-value (Browne)", "pvalue_browne_residual_adf", "", fixed),
)
BASELINE: tuple[Line, ...] = (
    ("Test statistic", "baseline_chisq", "baseline_chisq_scaled", fixed),
    ("Degrees of freedom", "baseline_df", "baseline_df_scaled", whole),
    ("P-value", "baseline_pvalue", "baseline_pvalue_scaled", fixed),
    ("Scaling correction factor", "", "baseline_chisq_scaling_factor", fixed),
)
INCREMENTAL: tuple[Line, ...] = (
    ("Comparative Fit Index (CFI)", "cfi", "cfi_scaled", fixed),
    ("Tucker-Lewis Index (TLI)", "tli", "tli_scaled", fixed),
    ("Robust Comparative Fit Index (CFI)", "", "cfi_robust", fixed),
    ("Robust Tucker-Lewis Index (TLI)", "", "tli_robust", fixed),
)
LIKELIHOOD: tuple[Line, ...] = (
    ("Loglikelihood user model (H0)", "logl", "logl", fixed),
    ("Scaling correction factor (H0)", "", "scaling_factor_h0", fixed),
    ("Loglikelihood unrestricted model (H1)", "unrestricted_logl", "unrestricted_logl", fixed),
    ("Scaling correction factor (H1)", "", "scaling_factor_h1", fixed),
    ("Akaike (AIC)", "aic", "aic", fixed),
    ("Bayesian (BIC)", "bic", "bic", fixed),
    ("Sample-size adjusted Bayesian (SABIC)", "bic2", "bic2", fixed),
)
RMSEA: tuple[Line, ...] = (
    ("RMSEA", "rmsea", "rmsea_scaled", fixed),
    ("90% confidence interval - lower", "rmsea_ci_lower", "rmsea_ci_lower_scaled", fixed),
    ("90% confidence interval - upper", "rmsea_ci_upper", "rmsea_ci_upper_scaled", fixed),
    ("P-value H0: RMSEA <= 0.050", "rmsea_pvalue", "rmsea_pvalue_scaled", fixed),
    ("P-value H0: RMSEA >= 0.080", "rmsea_notclose_pvalue", "rmsea_notclose_pvalue_scaled", fixed),
    ("Robust RMSEA", "", "rmsea_robust", fixed),
    ("90% confidence interval - lower", "", "rmsea_ci_lower_robust", fixed),
    ("90% confidence interval - upper", "", "rmsea_ci_upper_robust", fixed),
    ("P-value H0: Robust RMSEA <= 0.050", "", "rmsea_pvalue_robust", fixed),
)
SRMR: tuple[Line, ...] = (("SRMR", "srmr", "srmr", fixed),)
LIMITED: tuple[Line, ...] = (
    ("M2 statistic", "m2", "", fixed),
    ("Degrees of freedom", "m2_df", "", whole),
    ("P-value", "m2_pvalue", "", fixed),
    ("RMSEA (M2)", "m2_rmsea", "", fixed),
    ("CFI (M2)", "m2_cfi", "", fixed),
    ("TLI (M2)", "m2_tli", "", fixed),
    ("G2 statistic", "g2", "", fixed),
    ("Degrees of freedom (G2)", "g2_df", "", whole),
    ("P-value (G2)", "g2_pvalue", "", fixed),
    ("C2 statistic", "c2", "", fixed),
    ("Degrees of freedom (C2)", "c2_df", "", whole),
    ("P-value (C2)", "c2_pvalue", "", fixed),
    ("SRMSR", "srmsr", "", fixed),
)
SECTIONS = (
    ("Model Test User Model", USER),
    ("Model Test Baseline Model", BASELINE),
    ("User Model versus Baseline Model", INCREMENTAL),
    ("Loglikelihood and Information Criteria", LIKELIHOOD),
    ("Root Mean Square Error of Approximation", RMSEA),
    ("Standardized Root Mean Square Residual", SRMR),
    ("Limited-Information Fit", LIMITED),
)


def measure_tables(measures: pd.Series) -> Iterator[Table]:
    """The tables whose measures are present, with a second column where scaled versions are."""
    scaled = has(measures, "chisq_scaled")
    for title, lines in SECTIONS:
        rows = tuple(row for line in lines if (row := _row(measures, line, scaled)) is not None)
        if rows:
            yield Table(("Standard", "Scaled") if scaled else (), rows, title)


def _row(measures: pd.Series, line: Line, scaled: bool) -> Row | None:
    label, standard, other, show = line
    names = [standard, other] if scaled else [standard]
    if not has(measures, *names):
        return None
    if scaled and standard == other and not label.startswith("SRMR"):
        return Row(label, (show(measure(measures, standard)), show(measure(measures, other))), 1)
    return Row(label, tuple(show(measure(measures, name)) for name in names), 1)
