"""Probabilities, expected answers and information of items at given latent values, in NumPy.

All take named matrices [group, ...] as a fit holds them (also rotated ones), points x [point, factor] and one group's
place, and return [point, item, ...] in the model's order of items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.coding import Coding
from jaxlatent.inference.importance import fresh
from jaxlatent.measurement.family import Family, ItemParams
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.numerics.program import jit


@dataclass(frozen=True)
class ItemCurves:
    """What items do at points.

    Parameters
    ----------
    probabilities
        P(y = k | x) [point, item, category]; nan for categories an item does not have and for items without any.
    expected
        E(y | x) [point, item] of the coded answers 0, 1, ... or of the numbers themselves.
    information
        Fisher information [point, item] of the item's predictor; times slopes' slopes it is that of x.
    bends
        What networks add to loadings in the slopes of predictors [point, item, factor]; None where there are none.
    """

    probabilities: np.ndarray
    expected: np.ndarray
    information: np.ndarray
    bends: np.ndarray | None = None

    def slopes(self, loadings: np.ndarray) -> np.ndarray:
        """Derivatives of predictors by x [1 or point, item, factor]."""
        return loadings[None] if self.bends is None else loadings + self.bends


@partial(jit, static_argnums=0)
def _curves(family: Family, eta: jax.Array, own: ItemParams) -> tuple[jax.Array, jax.Array, jax.Array]:
    each = family.probabilities(eta, own) if family.categorical else jnp.zeros((*eta.shape, 0))
    return each, family.expected(eta, own), family.information(eta, own)


@partial(jit, static_argnums=0)
def _departures(measurement: Measurement, networks: Mapping[str, Any], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What networks add to predictors [point, item], and its derivatives by x [point, item, factor]."""

    def one(at: jax.Array) -> jax.Array:
        return measurement.bent(jnp.zeros(measurement.n_items, at.dtype), networks, at)

    return jax.vmap(one)(x), jax.vmap(jax.jacfwd(one))(x)


def curves_at(
    measurement: Measurement, coding: Coding, params: Mapping[str, np.ndarray], x: np.ndarray, group: int = 0,
    networks: Mapping[str, Any] | None = None,
) -> ItemCurves:  # fmt: skip
    """Curves of all items at x [point, factor] in one group. networks: of the model, where items have some."""
    n = len(x)
    x = np.concatenate([x, np.zeros(((1 << max(n - 1, 0).bit_length()) - n, np.shape(x)[1]))])  # few compiled shapes
    eta = x @ params["loadings"][group].T
    width = max((k for k in coding.n_categories), default=0)
    probabilities = np.full((*eta.shape, width), np.nan)
    expected, information = np.empty_like(eta), np.empty_like(eta)
    bends = None
    with jax.enable_x64(True):
        if measurement.blocks:
            away, bends = (np.asarray(a) for a in _departures(measurement, *fresh((networks, x))))
            eta, bends = eta + away, bends[:n]
        for family, items in measurement.groups:
            at = list(items)
            params_of = family.item_params({name: jnp.asarray(v) for name, v in params.items()})
            own = {name: value[group, jnp.array(at)][None] for name, value in params_of.items()}
            found = [np.asarray(part) for part in _curves(family, jnp.asarray(eta[:, at]), own)]
            for place, j in enumerate(at):
                k = coding.n_categories[j]
                probabilities[:, j, :k] = found[0][:, place, :k]
            expected[:, at], information[:, at] = found[1], found[2]
    return ItemCurves(probabilities[:n], expected[:n], information[:n], bends)


def raw_expected(curves: ItemCurves, coding: Coding) -> np.ndarray:
    """E(y | x) [point, item] in the raw values of the categories."""
    out = curves.expected.copy()
    for j, values in enumerate(coding.values):
        if values is not None:
            out[:, j] = curves.probabilities[:, j, : len(values)] @ np.array(values)
    return out


def item_information(curves: ItemCurves, loadings: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Information [point, item] of every item about a move of x along a unit direction [factor].

    loadings [item, factor]. I_j(x) (d eta_j / dx' u)²; their sum is the test's, when the other directions are known.
    """
    return curves.information * (curves.slopes(loadings) @ direction) ** 2


def points_along(factor: int, n_factors: int, values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Points [point, factor] on the axis of one factor; the others are 0."""
    x = np.zeros((len(values), n_factors))
    x[:, factor] = values
    return x


def latent_moments(params: Mapping[str, np.ndarray], group: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Mean [factor] (where covariates are 0) and covariance [factor, factor] of the latent variables of a group."""
    d = params["factor_cov"].shape[-1]
    a = np.linalg.inv(np.eye(d) - params["regressions"][group])
    return a @ params["factor_means"][group], a @ params["factor_cov"][group] @ a.T


def person_means(
    params: Mapping[str, np.ndarray], covariates: np.ndarray | None, group: int = 0, most: int = 2000
) -> np.ndarray:
    """Means of the latent variables [person, factor], given covariates; of at most so many persons, evenly spaced."""
    mean, _ = latent_moments(params, group)
    if covariates is None or "covariate_effects" not in params:
        return mean[None]
    a = np.linalg.inv(np.eye(len(mean)) - params["regressions"][group])
    chosen = covariates[:: max(1, len(covariates) // most)]
    return mean + chosen @ (a @ params["covariate_effects"][group]).T


def mean_density(x: np.ndarray, means: Any, errors: Any) -> np.ndarray:
    """Mean of normal densities N(means, errors²) at x [point]; those that are not finite are left out."""
    means, errors = np.asarray(means, float), np.asarray(errors, float)
    good = np.isfinite(means) & (errors > 0)
    pairs, counts = np.unique(np.stack([means[good], errors[good]], -1), axis=0, return_counts=True)
    total = np.zeros(len(x))
    for start in range(0, len(pairs), 4096):
        mean, error = pairs[start : start + 4096].T
        each = np.exp(-(((x[:, None] - mean) / error) ** 2) / 2) / (error * np.sqrt(2 * np.pi))
        total += each @ counts[start : start + 4096]
    return total / counts.sum()
