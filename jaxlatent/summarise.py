"""The summary and the report of a fit, put together from its tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.report.html import report_html
from jaxlatent.report.summary import Summary, SummaryInfo, build_summary

if TYPE_CHECKING:
    from jaxlatent.fit import Fit
    from jaxlatent.two_level_fit import TwoLevelFit


def summary(fit: Fit, **options: Any) -> Summary:
    """What was fitted, how well it fits, every parameter; an exploratory fit's as factor analysts lay it out."""
    from jaxlatent.efa_fit import ExploratoryFit
    from jaxlatent.efa_summarise import exploratory_summary

    if isinstance(fit, ExploratoryFit):
        return exploratory_summary(fit, _info(fit), **options)
    if options:
        raise ValueError(f"The option {next(iter(options))} is for summaries of exploratory fits: leave it out.")
    return build_summary(_info(fit), fit.parameters, fit.fit_measures(), fit.r_squared())


def two_level_summary(fit: TwoLevelFit) -> Summary:
    """The summary of a two-level model, with a section for each level."""
    f = fit._fit
    info = SummaryInfo(
        title="jaxlatent",
        estimator=fit.engine.name,
        optimizer="damped Newton",
        n_iterations=fit.n_iterations,
        n_parameters=f.fitted.table.n_free,
        n_equality_constraints=f.fitted.equalities,
        n_observations=f.moments.persons,
        information=fit.engine.information,
        se=fit.engine.se,
        test=fit.engine.test,
        converged=fit.converged,
        message=fit.message,
        warnings=fit.warnings,
        latent=f.fitted.table.latent,
        observed=f.fitted.table.observed,
        notes=fit.notes,
        details=((f"Number of clusters [{fit.cluster}]", str(f.moments.clusters)),),
    )
    return build_summary(info, fit.parameters, fit.fit_measures())


def _info(fit: Fit) -> SummaryInfo:
    f = fit._fitted
    several = f.table.n_groups > 1
    counts = dict(zip(f.group_labels, (int(n) for n in f.moments.n), strict=True))
    patterns = None
    if f.data is not None and f.missing != "complete":
        found = {
            label: len(np.unique(np.isnan(f.data.y[f.data.rows_of(g)]), axis=0))
            for g, label in enumerate(f.group_labels)
        }
        patterns = found if several else found[f.group_labels[0]]
    return SummaryInfo(
        title="jaxlatent",
        estimator=f.engine.name,
        optimizer="damped Newton",
        n_iterations=fit.n_iterations,
        n_parameters=f.table.n_free,
        n_equality_constraints=f.equalities,
        n_observations=counts if several else f.n_total,
        n_patterns=patterns,
        missing="" if f.missing == "complete" else f.missing,
        information=f.engine.information,
        se=f.engine.se,
        test=f.engine.test,
        converged=fit.converged,
        message=fit.message,
        warnings=fit.warnings,
        latent=f.table.latent,
        observed=f.table.observed,
        notes=fit.notes,
    )


def write_report(fit: Fit, path: Path) -> Path:
    """One self-contained HTML page."""
    from jaxlatent import __version__

    f = fit._fitted
    names = list(f.table.observed)
    frame = fit.residuals("cor")
    several = {g: frame.loc[[g]].droplevel("group")[names] for g in f.group_labels if f.table.n_groups > 1}
    matrices = several or frame[names]
    parameters = fit.parameters.copy()
    if fit._vcov is not None:
        standardized = fit.standardized()
        parameters["std_all_ci_lower"], parameters["std_all_ci_upper"] = (
            standardized["ci_lower"],
            standardized["ci_upper"],
        )
    page = report_html(
        title=path.stem.replace("_", " "),
        summary=fit.summary(),
        diagram=fit.plot.path_diagram(),
        parameters=parameters,
        measures=fit.fit_measures(),
        residuals=matrices,
        modification_indices=fit.modification_indices().head(15),
        reliability=fit.reliability(),
        r_squared=fit.r_squared(),
        notes=fit.notes,
        version=__version__,
    )
    path.write_text(page, encoding="utf-8")
    return path
