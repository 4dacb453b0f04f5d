"""Models side by side by the predictive density of persons that are left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.diagnostics.datatree import as_tree
from jaxlatent.diagnostics.draw_likelihoods import draw_log_likelihoods
from jaxlatent.inference.draws import Draws
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.marginal_fit import ItemFitted

if TYPE_CHECKING:
    import pandas as pd


def loo_table(fits: Mapping[str, tuple[Fitted | ItemFitted, Draws]]) -> pd.DataFrame:
    """A row a model, the best first: elpd_loo, p_loo, its difference to the best and the standard error of that, weight
    by stacking, se, elpd_waic, p_waic, and how many persons have a Pareto k above what is good.

    Source: Vehtari, Gelman and Gabry (2017), Statistics and Computing 27; Yao et al. (2018); Watanabe (2010).
    """
    try:
        from arviz_stats import compare, loo
    except ImportError:
        raise ImportError("LOO needs arviz-stats: pip install 'jaxlatent[bayes]'.") from None
    import warnings

    found, waic = {}, {}
    for name, (fitted, draws) in fits.items():
        values = draw_log_likelihoods(fitted, draws.flat)
        shape = draws.free.shape[:2]
        groups = {
            "posterior": {f"p{k}": draws.free[:, :, k] for k in range(draws.free.shape[2])},
            "log_likelihood": {"responses": values.reshape(*shape, -1)},
        }
        tree = as_tree(groups, {}, {"person": list(range(values.shape[1]))}, {})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they say is a column
            found[name] = loo(tree, pointwise=True)
        waic[name] = waic_of(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = compare(found)
    columns = {
        "elpd": "elpd_loo",
        "p": "p_loo",
        "elpd_diff": "elpd_diff",
        "dse": "diff_se",
        "weight": "weight",
        "se": "se",
    }
    out = table.rename(columns=columns)[list(columns.values())].astype(float)
    out["elpd_waic"] = [waic[name][0] for name in out.index]
    out["p_waic"] = [waic[name][1] for name in out.index]
    out["bad_k"] = [int((found[name].pareto_k.values > found[name].good_k).sum()) for name in out.index]
    return out


def waic_of(values: np.ndarray) -> tuple[float, float]:
    """Expected log predictive density by WAIC, and its effective number of parameters, of log-likelihoods
    [draw, person]: sum_i log mean_s p(y_i | s) - sum_i Var_s log p(y_i | s).
    """
    effective = float(values.var(0, ddof=1).sum())
    return float((np.logaddexp.reduce(values, 0) - np.log(len(values))).sum()) - effective, effective
