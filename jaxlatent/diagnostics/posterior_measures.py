"""How well a model fits, of its posterior draws: predictive p-values, Bayesian indices, leave-one-out."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.diagnostics.bayesian_fit import bayesian_fit_measures
from jaxlatent.diagnostics.datatree import datatree
from jaxlatent.diagnostics.item_predictive import item_predictive_checks
from jaxlatent.diagnostics.predictive_checks import predictive_checks
from jaxlatent.inference.draws import Draws
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.marginal_fit import ItemFitted, is_personal

if TYPE_CHECKING:
    import pandas as pd

LOO_DRAWS = 1000  # whose log-likelihoods of persons are computed
FEWEST, AFFORDABLE = 100, 200_000  # draws; log-likelihoods, where each is an integral over points of the person's own
INDICES = ("brmsea", "bcfi", "btli")


def posterior_checks(fitted: Fitted | ItemFitted, draws: Draws, key: int = 0) -> pd.DataFrame:
    """Posterior predictive checks: chisq and srmr, or sum_scores, odds_ratios and srmr of item response models."""
    if isinstance(fitted, Fitted):
        return predictive_checks(fitted, draws, key)
    return item_predictive_checks(fitted, draws, key)


def leave_one_out(fitted: Fitted | ItemFitted, draws: Draws, n_draws: int = LOO_DRAWS) -> Any:
    """ArviZ's expected log predictive density of a person who is left out, latent variables integrated out.

    At most n_draws draws are used, evenly spread over every chain. Raises ImportError without ArviZ.
    """
    try:
        from arviz_stats import loo
    except ImportError:
        raise ImportError("Leave-one-out needs arviz-stats: pip install 'jaxlatent[bayes]'.") from None

    step = max(-(-draws.free.shape[0] * draws.free.shape[1] // n_draws), 1)
    few = Draws(draws.free[:, ::step], draws.kind, {name: each[:, ::step] for name, each in draws.stats.items()})
    return loo(datatree(fitted, few, predictive=0))


def posterior_measures(fitted: Fitted | ItemFitted, draws: Draws, key: int = 0) -> dict[str, float]:
    """npar, logl (at the posterior mean), ppp, Bayesian indices, elpd_loo, p_loo, looic: what there is of them.

    Leave-one-out takes fewer draws where factors are too many for a grid: at least 100, and as many as are quick.
    """
    out = {"npar": float(fitted.n_parameters), "logl": float(fitted.log_likelihood)}
    has_rows = fitted.data is not None and (isinstance(fitted, Fitted) or fitted.data.n_persons > 0)
    if isinstance(fitted, Fitted):
        if fitted.df > 0 and (has_rows or fitted.missing == "complete"):
            out["ppp"] = float(predictive_checks(fitted, draws, key)["ppp"]["chisq"])
            indices = bayesian_fit_measures(fitted, draws, key=key)["mean"]
            out |= {name: float(indices[name]) for name in INDICES if name in indices}
    elif has_rows and all(family.categorical for family, _ in fitted.measurement.groups):
        checks = item_predictive_checks(fitted, draws, key)["ppp"]
        out |= {f"ppp_{name}": float(value) for name, value in checks.items()}
    if has_rows and find_spec("arviz_stats") is not None and np.prod(draws.free.shape[:2]) >= FEWEST:
        n_draws = LOO_DRAWS
        if isinstance(fitted, ItemFitted) and is_personal(fitted.rule):
            n_draws = min(max(AFFORDABLE // fitted.data.n_persons, FEWEST), LOO_DRAWS)
        found = leave_one_out(fitted, draws, n_draws)
        out |= {"elpd_loo": float(found.elpd), "elpd_loo_se": float(found.se), "p_loo": float(found.p)}
        out |= {"looic": -2 * float(found.elpd), "pareto_k_max": float(np.max(found.pareto_k))}
    return out
