"""The summary of exploratory fits, put together from their tables."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.report.factor_summary import build_factor_summary
from jaxlatent.report.summary import Summary, SummaryInfo
from jaxlatent.results.factor_tables import complexity, sorted_items

if TYPE_CHECKING:
    from jaxlatent.efa_fit import ExploratoryFit

OPTIMIZER = {"EM": "EM", "MINRES": "Newton in the uniquenesses", "Principal axis": "fixed point"}


def check_layout(sort: Any, cut: Any) -> None:
    """Refuse options of the loadings table that are not what they should be."""
    if not isinstance(sort, bool | np.bool_):
        raise ValueError(f"Expected sort to be True or False; got {sort!r}.")
    if isinstance(cut, bool) or not isinstance(cut, int | float | np.number) or not 0 <= cut < 1:
        raise ValueError(f"Expected cut, the smallest loading to print, from 0 to below 1; got {cut!r}.")


def exploratory_summary(fit: ExploratoryFit, info: SummaryInfo, *, sort: bool = False, cut: float = 0.0) -> Summary:
    """Loadings, shares of variance, correlations of factors, tests of fit."""
    check_layout(sort, cut)
    items = fit.standardized_loadings
    order = sorted_items(items.to_numpy()) if sort else np.arange(len(items))
    items["h2"], items["u2"] = fit.communalities, fit.uniquenesses
    items["com"] = complexity(fit.standardized_loadings.to_numpy())
    name = fit.engine.name
    by_rows = fit._fitted.missing == "fiml" and name == "ML"
    details = (
        ("Number of factors", str(len(info.latent))),
        *((("Rotation", fit.rotation + _rotated_how(fit)),) if len(info.latent) > 1 else ()),
        *info.details,
    )
    noise = getattr(fit.engine, "noise", "diagonal")
    told = replace(
        info,
        title="jaxlatent: probabilistic PCA" if noise == "isotropic" else "jaxlatent: exploratory factor analysis",
        optimizer="damped Newton" if by_rows else OPTIMIZER.get(name, "Newton in the uniquenesses"),
        n_parameters=fit._fitted.n_parameters,
        n_equality_constraints=0,
        details=details,
    )
    return build_factor_summary(
        told, items.iloc[order], fit.explained_variance(), fit.factor_cov, fit.fit_measures(), cut=cut
    )


def _rotated_how(fit: ExploratoryFit) -> str:
    if fit.rotation == "none":
        return ""
    s = fit._rotation.settings
    kind = "oblique" if s.oblique or s.power is not None else "orthogonal"
    return f" ({kind}{', rows normalised' if s.normalize else ''})"
