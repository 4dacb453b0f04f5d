"""Named matrices of item response models as users see them, with any leading axes before that of groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.results.item_tables import PADDED, Shown, item_intercepts
from jaxlatent.results.matrices import Labelled, total_moments
from jaxlatent.spec.item_start import exploratory_anchors

ITEM_ROWS = ("scoring", "guessing", "upper", "dispersion", "spacing", "shift")


def is_exploratory(fitted: ItemFitted) -> bool:
    """Whether every item may load on every factor but for the triangle that identifies the solution."""
    free = fitted.layout.index["loadings"][0] >= 0
    cov = fitted.layout.index["factor_cov"][0]
    return exploratory_anchors(free) is not None and bool((cov < 0).all())


def item_matrix_names(shown: Shown) -> tuple[str, ...]:
    """Matrices that this model has."""
    layout = shown.fitted.layout
    there = [name for name in ITEM_ROWS if name in layout.index]
    means = bool((layout.index["factor_means"] >= 0).any() or (layout.fixed["factor_means"] != 0).any())
    regressions = bool((layout.index["regressions"] >= 0).any() or (layout.fixed["regressions"] != 0).any())
    more = (("factor_means", means), ("regressions", regressions),
            ("covariate_effects", bool(shown.fitted.table.covariates)))  # fmt: skip
    return ("loadings", "intercepts", *there, "factor_cov", *(name for name, has in more if has))


def item_matrix(shown: Shown, params: Mapping[str, np.ndarray], name: str) -> Labelled:
    """One matrix [..., group, row, column] of matrices [..., group, ...]; nan in cells that an item does not have."""
    table = shown.fitted.table
    items, factors = ("item", table.observed), ("factor", table.factors)
    match name:
        case "loadings":
            turn = None if shown.rotation is None else np.linalg.inv(shown.rotation.rotation.T)
            return Labelled(params[name] if turn is None else params[name] @ turn, (items, factors))
        case "factor_cov":
            cov = total_moments(params)[1]
            if shown.rotation is not None:
                cov = np.broadcast_to(shown.rotation.factor_cov, cov.shape)
            return Labelled(cov, (factors, ("factor2", table.factors)))
        case "factor_means":
            return Labelled(total_moments(params)[0], (factors,))
        case "regressions":
            return Labelled(params[name], (("outcome", table.factors), ("predictor", table.factors)))
        case "covariate_effects":
            return Labelled(params[name], (factors, ("covariate", table.covariates)))
        case "intercepts":
            return _by_category(_all_intercepts(shown, params), items)
        case "scoring" | "spacing":
            return _by_category(params[name], items)
    return Labelled(params[name][..., 0], (items,))


def _by_category(values: np.ndarray, items: tuple[str, tuple[Any, ...]]) -> Labelled:
    """Category k holds the k-th intercept: that of answering k or more (graded), or k (others)."""
    shown = np.where(values > PADDED, values, np.nan)
    return Labelled(shown, (items, ("category", tuple(range(1, values.shape[-1] + 1)))))


def _all_intercepts(shown: Shown, params: Mapping[str, np.ndarray]) -> np.ndarray:
    """Intercepts [..., group, item, category]: leading axes are taken as so many more groups."""
    lead = params["loadings"].shape[:-2]
    flat = {name: value.reshape(-1, *value.shape[len(lead) :]) for name, value in params.items()}
    found = item_intercepts(shown.fitted, flat)
    return found.reshape(*lead, *found.shape[1:])
