"""Factor scores of the Gaussian model, for the fitted persons or new ones; missing values are marginalised.

regression   E(x | y) = mu_x + Phi Lambda' Sigma^-1 (y - mu)                       (Thurstone 1935)
bartlett     (Lambda' Theta^-1 Lambda)^-1 Lambda' Theta^-1 (y - nu)                (Bartlett 1937)
"""

from __future__ import annotations

import numpy as np

from jaxlatent.data.responses import Responses
from jaxlatent.inference.fitted import Fitted
from jaxlatent.results.tables import latent_moments

METHODS = ("regression", "bartlett")


def scores(fitted: Fitted, data: Responses, method: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Scores and their standard errors [person, factor].

    Raises ValueError for an unknown method, a model without latent variables, or Bartlett scores of a model whose
    residual covariance is singular.
    """
    method = method or "regression"
    if not fitted.table.latent:
        raise ValueError("The model has no latent variables: there are no scores.")
    if method not in METHODS:
        raise ValueError(f"Expected method to be one of {', '.join(METHODS)}; got {method!r}.")
    value = np.full((len(data.y), len(fitted.table.latent)), np.nan)
    error = value.copy()
    score = _regression if method == "regression" else _bartlett
    for g, label in enumerate(data.group_labels):
        rows = data.rows_of(g)
        group = fitted.group_labels.index(label) if fitted.table.n_groups > 1 else 0
        for pattern, members in _patterns(data.y[rows]):
            at = rows[members]
            value[at], error[at] = score(fitted, group, data.y[np.ix_(at, np.flatnonzero(pattern))], pattern)
    return value, error


def _patterns(y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    patterns, code = np.unique(~np.isnan(y), axis=0, return_inverse=True)
    code = code.reshape(-1)
    order = np.argsort(code, kind="stable")
    ends = np.cumsum(np.bincount(code, minlength=len(patterns)))[:-1]
    return list(zip(patterns, np.split(order, ends), strict=True))


def _centre(fitted: Fitted, g: int) -> np.ndarray:
    """Implied means, or the sample's where the model has no mean structure."""
    return fitted.model.implied[g][0] if fitted.table.mean_structure else fitted.moments.mean[g]


def _latent_mean(fitted: Fitted, g: int) -> np.ndarray:
    """Latent means; without a mean structure those that the sample means of fixed exogenous variables bring about."""
    params = fitted.model.group(g)
    own = params["factor_means"].copy()
    if not fitted.table.mean_structure:
        for v in fitted.table.exogenous:
            own[fitted.places.latent.index(v)] = fitted.moments.mean[g][fitted.table.observed.index(v)]
    return np.linalg.solve(np.eye(len(own)) - params["regressions"], own)


def _regression(fitted: Fitted, g: int, y: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    at = np.array([fitted.places.latent.index(v) for v in fitted.table.latent])
    mean, phi = _latent_mean(fitted, g), latent_moments(fitted, g)[1]
    sigma = fitted.model.implied[g][1][np.ix_(seen, seen)]
    cross = (phi @ fitted.model.group(g)["loadings"].T)[np.ix_(at, np.flatnonzero(seen))]
    weights = np.linalg.solve(sigma, cross.T)
    left = phi[np.ix_(at, at)] - cross @ weights
    error = np.sqrt(np.maximum(np.diag(left), 0))
    return mean[at] + (y - _centre(fitted, g)[seen]) @ weights, np.broadcast_to(error, (len(y), len(at)))


def _bartlett(fitted: Fitted, g: int, y: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Generalised least squares of y on the factors, whose own equations are taken out: y = c + T x + e, e ~ (0, V)."""
    params = fitted.model.group(g)
    at = np.array([fitted.places.latent.index(v) for v in fitted.table.latent])
    b, psi = params["regressions"].copy(), params["factor_cov"].copy()
    b[at] = 0
    psi[at], psi[:, at] = 0, 0
    effects = params["loadings"] @ np.linalg.inv(np.eye(len(b)) - b)
    total = effects[np.ix_(np.flatnonzero(seen), at)]
    spread = (effects @ psi @ effects.T + params["residual_cov"])[np.ix_(seen, seen)]
    mean = _latent_mean(fitted, g)
    try:
        weighted = np.linalg.solve(spread, total)
    except np.linalg.LinAlgError:
        raise ValueError(
            "Bartlett scores need a positive definite residual covariance matrix: use method='regression'."
        ) from None
    bread = np.linalg.pinv(total.T @ weighted, hermitian=True)
    residual = y - (_centre(fitted, g)[seen] - total @ mean[at])
    error = np.sqrt(np.maximum(np.diag(bread), 0))
    return residual @ weighted @ bread, np.broadcast_to(error, (len(y), len(at)))
