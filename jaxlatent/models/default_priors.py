"""Proper default priors for inference that samples parameters, on the scale of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.measurement.counts import NegativeBinomial, Poisson
from jaxlatent.measurement.lognormal import LogNormal
from jaxlatent.models.block_prior import BlockPrior, Written, restricted
from jaxlatent.models.blocks import ParameterBlock, feasible
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.bijections import Bijection
from jaxlatent.spec.layout import SYMMETRIC, Layout

LOADING, INTERCEPT, OTHER, LOG_VARIANCE, LOGIT = 3.0, 5.0, 3.0, 1.5, 1.5


class CellPrior(Protocol):
    """A user's prior on free cells of a matrix: of all items, or of those at positions; "natural" or "logit" scale."""

    @property
    def matrix(self) -> str: ...
    @property
    def distribution(self) -> Any: ...
    @property
    def scale(self) -> str: ...
    @property
    def items(self) -> tuple[int, ...] | None: ...


def block_prior(
    block: ParameterBlock, model: LatentVariableModel, arrays: Arrays, written: Sequence[CellPrior] = ()
) -> BlockPrior:
    """The prior of one block, the user's where there is one. Host side; s is an item's standard deviation, 1 if coded.

    loadings N(0, (3 s)²), those that fix a factor's sign half-normal; intercepts N(m, (5 s)²), m the mean of a numeric
    item and 0 else, decreasing rows ordered; variances and dispersions log-normal around the starting value, sd 1.5;
    guessing and upper logit-normal around it, sd 1.5; cells of Cholesky factors below the diagonal N(0, 1), in units of
    the factor; factor_means, regressions, covariate_effects, scoring, spacing and shift N(start, 3²).
    """
    own, bijection = bijection_under(block, model.layout, written)
    n = len(block.positions)
    natural, loc, scale = np.ones(n, bool), np.zeros(n), np.full(n, OTHER)
    if block.name in ("loadings", "intercepts"):
        item = _items(block, model.layout)
        mean, sd = _item_scales(model, arrays)
        loc = np.where(block.name == "intercepts", mean[item], 0.0)
        scale = sd[item] * (INTERCEPT if block.name == "intercepts" else LOADING)
    elif block.name in SYMMETRIC or block.name == "dispersion":
        natural[:] = False
        loc, scale = np.log(np.maximum(np.abs(block.start), 1e-8)), np.full(n, LOG_VARIANCE)
        for pattern in bijection.covariances:
            size = {i: block.start[at] ** 0.5 for i, j, at in pattern.free if i == j}
            for i, j, at in pattern.free:
                loc[at] = np.log(size[i]) if i == j else 0.0
                scale[at] = LOG_VARIANCE / 2 if i == j else size.get(i, 1.0)
    elif bijection.unit:
        natural[list(bijection.unit)] = False
        loc = np.where(natural, block.start, np.log(block.start) - np.log1p(-np.clip(block.start, 0, 0.999)))
        scale = np.where(natural, OTHER, LOGIT)
    elif not bijection.decreasing:
        loc = block.start
    with jax.enable_x64(True):
        origin = np.asarray(jax.jit(bijection.inverse)(jnp.asarray(feasible(bijection, block.start))))
    return BlockPrior(bijection, natural, loc, scale, own, tuple(origin.tolist()))


def bijection_under(
    block: ParameterBlock, layout: Layout, written: Sequence[CellPrior]
) -> tuple[tuple[Written, ...], Bijection]:
    """The user's priors on this block, and the bijection onto where they have a density."""
    own = tuple(_written(block, layout, each) for each in written if each.matrix == block.name)
    return own, restricted(block, own)


def _written(block: ParameterBlock, layout: Layout, prior: CellPrior) -> Written:
    index = np.asarray(layout.index[block.name])
    rows = index if prior.items is None else index[:, list(prior.items)]
    return Written(prior.distribution, np.isin(block.positions, rows), prior.scale == "logit")


def _items(block: ParameterBlock, layout: Layout) -> np.ndarray:
    """The first item of each free cell."""
    index = np.asarray(layout.index[block.name])
    return np.array([np.argwhere(index == p)[0][1] for p in block.positions])


def _item_scales(model: LatentVariableModel, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [item] of what a linear predictor predicts: 0 and 1 for coded items."""
    y, observed = np.asarray(arrays.y, float), np.asarray(arrays.observed)
    mean, sd = np.zeros(y.shape[1]), np.ones(y.shape[1])
    for family, items in model.measurement.groups:
        if family.categorical:
            continue
        for j in items:
            values = y[observed[:, j], j]
            if isinstance(family, Poisson | NegativeBinomial):
                mean[j] = np.log(max(values.mean(), 0.05))
                continue
            values = np.log(values) if isinstance(family, LogNormal) else values
            mean[j], sd[j] = values.mean(), values.std() or 1.0
    return mean, sd
