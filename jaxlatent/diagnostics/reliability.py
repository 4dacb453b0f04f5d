"""Reliability of the sum of each factor's indicators; of exploratory factors, the variables that load on it most.

alpha = k / (k - 1) (1 - tr S / 1'S1)                                        (Cronbach 1951), from sample covariances
omega = (1'l)^2 phi / 1'Sigma 1   with l the factor's loadings               (McDonald 1999), Sigma as implied
ave   = l'l phi / (l'l phi + tr Theta)                                       (Fornell and Larcker 1981)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.inference.fitted import Fitted
from jaxlatent.results.tables import latent_moments

if TYPE_CHECKING:
    import pandas as pd


def reliability(fitted: Fitted) -> pd.DataFrame:
    """alpha, omega and average variance extracted of every factor with observed indicators, by group."""
    import pandas as pd

    frames = [_group(fitted, g) for g in range(fitted.table.n_groups)]
    return frames[0] if len(frames) == 1 else pd.concat(frames, keys=fitted.group_labels, names=["group"])


def _group(fitted: Fitted, g: int) -> pd.DataFrame:
    import pandas as pd

    params, sigma = fitted.model.group(g), fitted.model.implied[g][1]
    phi = latent_moments(fitted, g)[1]
    exploratory = {row.lhs for row in fitted.table.rows if row.efa}
    blocks = [fitted.places.latent.index(v) for v in fitted.table.latent if v in exploratory]
    rows = {}
    for factor in fitted.table.latent:
        f = fitted.places.latent.index(factor)
        items = np.flatnonzero(params["loadings"][:, f])
        if factor in exploratory:  # there all variables load on it: those that load on it most
            size = np.abs(params["loadings"][:, blocks])
            items = np.flatnonzero((size.argmax(1) == blocks.index(f)) & (size.max(1) > 0))
        if len(items) == 0:
            continue
        load, at = params["loadings"][items, f], np.ix_(items, items)
        s, k = fitted.moments.cov[g][at], len(items)
        alpha = k / (k - 1) * (1 - np.trace(s) / s.sum()) if k > 1 else np.nan
        shared = (load @ load) * phi[f, f]
        theta = np.trace(params["residual_cov"][at])
        rows[factor] = (alpha, load.sum() ** 2 * phi[f, f] / sigma[at].sum(), shared / (shared + theta))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["alpha", "omega", "ave"])
