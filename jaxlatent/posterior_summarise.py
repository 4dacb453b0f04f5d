"""The summary of posterior draws, put together from the fit's tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.fit import Fit
from jaxlatent.report.item_html import Picture
from jaxlatent.report.posterior_html import posterior_report_html
from jaxlatent.report.posterior_summary import build_posterior_summary
from jaxlatent.report.summary import Summary, SummaryInfo

if TYPE_CHECKING:
    import pandas as pd

    from jaxlatent.posterior_fit import PosteriorFit

NO_MATPLOTLIB = 'Pictures of draws are left out, because they need matplotlib: pip install "jaxlatent[plots]".'
MOST_INTERVALS = 80  # parameters above which the picture of intervals is left out


def summary(fit: PosteriorFit) -> Summary:
    """What was sampled, how the chains look, how well the model fits, and every parameter."""
    r_squared = fit._inner.r_squared() if isinstance(fit._inner, Fit) else None
    return build_posterior_summary(_info(fit), fit.parameters, _chains(fit), _measures(fit), r_squared)


MEASURES = {
    "logl": "Log-likelihood at the posterior mean",
    "ppp": "Posterior predictive p-value",
    "ppp_sum_scores": "Posterior predictive p: sum scores",
    "ppp_odds_ratios": "Posterior predictive p: odds ratios",
    "brmsea": "Bayesian RMSEA",
    "bcfi": "Bayesian CFI",
    "elpd_loo": "Expected log predictive density (LOO)",
    "elpd_loo_se": "Its standard error",
    "p_loo": "Effective number of parameters (LOO)",
    "pareto_k_max": "Largest Pareto k",
}


def _measures(fit: PosteriorFit) -> list[tuple[str, float]]:
    found = fit.fit_measures()
    return [(text, float(found[name])) for name, text in MEASURES.items() if name in found]


def _info(fit: PosteriorFit) -> SummaryInfo:
    from jaxlatent.item_summarise import _info as item_info
    from jaxlatent.summarise import _info as normal_info

    inner = normal_info(fit._inner) if isinstance(fit._inner, Fit) else item_info(fit._inner)
    return replace(
        inner, estimator="NUTS", optimizer="", n_iterations=None, information="", se="", test="",
        converged=fit.converged, message=fit.message, warnings=fit.warnings, notes=fit.notes,
    )  # fmt: skip


def _chains(fit: PosteriorFit) -> list[tuple[str, str]]:
    check, (chains, draws, _) = fit._check, fit.draws.free.shape
    return [
        ("Chains", str(chains)),
        ("Draws of each chain, after warm-up", f"{draws} ({fit.engine.num_warmup})"),
        ("Largest R-hat", f"{check.rhat:.3f}"),
        ("Smallest effective sample size", f"{min(check.ess_bulk, check.ess_tail):.0f}"),
        ("Divergent draws", str(check.n_divergent)),
        ("Gradients of a draw, on average", f"{np.mean(fit.draws.stats['n_steps']):.1f}"),
    ]


def write_report(fit: PosteriorFit, path: Path) -> Path:
    """One self-contained HTML page."""
    from jaxlatent import __version__

    pictures, notes = _pictures(fit)
    frames = {"Posterior predictive checks": _checks(fit)}
    page = posterior_report_html(path.stem.replace("_", " "), fit.summary(), pictures, frames, notes, __version__)
    path.write_text(page, encoding="utf-8")
    return path


def _checks(fit: PosteriorFit) -> pd.DataFrame | None:
    """The checks of a fit that has something to be checked against."""
    found = fit.fit_measures()
    return fit.predictive_checks() if any(name.startswith("ppp") for name in found.index) else None


def _pictures(fit: PosteriorFit) -> tuple[list[Picture], list[str]]:
    """The diagram, and, where matplotlib is there, intervals and chains."""
    hint = "Posterior means unless the picture says otherwise. Dashed: fixed."
    out = [Picture("Path diagram", hint, fit.plot.path_diagram().svg)]
    try:
        from jaxlatent.plots.inline_svg import inline_svg
        from jaxlatent.plots.matplotlib_figure import require_matplotlib

        require_matplotlib()
    except ImportError:
        return out, [NO_MATPLOTLIB]

    def add(title: str, hint: str, ax: Any, name: str) -> None:
        out.append(Picture(title, hint, inline_svg(ax, name, title)))

    if fit.parameters["free"].max() <= MOST_INTERVALS:
        add("Posterior intervals", "Posterior means and 95 % intervals.", fit.plot.forest(), "forest")
    add("Chains", "Draws of every chain, of the parameters with the largest R-hat: all chains should look alike.",
        fit.plot.trace(), "chains")  # fmt: skip
    return out, []
