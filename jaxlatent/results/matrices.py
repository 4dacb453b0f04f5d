"""Named matrices as users see them, at one point or at many: any leading axes, such as draws and groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxlatent.inference.fitted import Fitted

NORMAL_MATRICES = ("loadings", "intercepts", "residual_cov", "factor_cov", "factor_means", "regressions")


class Labelled(NamedTuple):
    """Values [..., axis, axis] and of every named axis its name and its labels."""

    values: np.ndarray
    axes: tuple[tuple[str, tuple[Any, ...]], ...]


def total_moments(params: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Means A alpha [..., m] and covariances A Psi A' [..., m, m] of all latent variables, A = (I - B)^-1."""
    b = params["regressions"]
    a = np.linalg.inv(np.eye(b.shape[-1]) - b)
    mean = (a @ params["factor_means"][..., None])[..., 0]
    return mean, a @ params["factor_cov"] @ np.swapaxes(a, -1, -2)


def normal_matrix(fitted: Fitted, params: Mapping[str, np.ndarray], name: str) -> Labelled:
    """One matrix of a structural equation model from matrices [..., row, column].

    Observed variables that the layout carries as latent are shown among the observed ones. Raises ValueError for a name
    that is none of NORMAL_MATRICES.
    """
    observed, latent, every = fitted.table.observed, fitted.table.latent, fitted.places.latent
    items, factors = ("item", observed), ("factor", latent)
    at = np.array([every.index(v) for v in latent], int)
    carried = np.array([every.index(v) for v in fitted.places.carried], int)
    there = np.array([observed.index(v) for v in fitted.places.carried], int)
    match name:
        case "loadings":
            values = params["loadings"][..., at].copy()
            values[..., there, :] = params["regressions"][..., carried[:, None], at]
            return Labelled(values, (items, factors))
        case "intercepts":
            values = params["intercepts"].copy()
            values[..., there] = params["factor_means"][..., carried]
            return Labelled(values, (items,))
        case "residual_cov":
            values = params["residual_cov"].copy()
            values[..., there, :] = values[..., :, there] = 0.0
            values[..., there[:, None], there] = params["factor_cov"][..., carried[:, None], carried]
            return Labelled(values, (items, ("item2", observed)))
        case "factor_cov":
            return Labelled(total_moments(params)[1][..., at[:, None], at], (factors, ("factor2", latent)))
        case "factor_means":
            return Labelled(total_moments(params)[0][..., at], (factors,))
        case "regressions":
            m = len(every)
            return Labelled(params["regressions"][..., :m, :m], (("outcome", every), ("predictor", every)))
    raise ValueError(f"Expected the name of a matrix; got {name!r}.")
