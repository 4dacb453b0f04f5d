"""Fit measures of item response models, put together from the statistics on probability tables."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jaxlatent.inference.marginal_fit import ItemFitted


@dataclass(frozen=True)
class ItemDiagnosis:
    """A fit, and what several statistics share."""

    fitted: ItemFitted

    def sum_scores(self, codes: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise ValueError("not yet")


def item_fit_measures(diagnosis: ItemDiagnosis) -> dict[str, float]:
    """All measures."""
    f = diagnosis.fitted
    n, q = f.n_total, f.n_parameters
    logl = f.log_likelihood
    return {"npar": q, "logl": logl, "aic": 2 * q - 2 * logl, "bic": math.log(n) * q - 2 * logl, "ntotal": n}


def item_warnings(fitted: ItemFitted) -> tuple[str, ...]:
    """Sentences about a solution that should not be trusted as it is."""
    out = []
    if int(fitted.estimate.code) != 1:
        out.append("The optimiser did not converge: do not interpret the estimates.")
    elif fitted.engine.se != "none" and fitted.vcov is None:
        out.append(
            "The information matrix is singular or not positive definite: the model is probably not identified, and there"
            " are no standard errors."
        )
    return tuple(out)
