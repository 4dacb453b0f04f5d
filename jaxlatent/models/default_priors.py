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
from jaxlatent.models.prior_distributions import LKJ, GammaOfTwo, stretched_beta
from jaxlatent.numerics.bijections import Bijection
from jaxlatent.spec.layout import SYMMETRIC, Layout

LOADING, INTERCEPT, REGRESSION, OTHER, LOG_VARIANCE, LOGIT = 3.0, 5.0, 3.0, 3.0, 1.5, 1.5
CONCENTRATION = 2.0


class CellPrior(Protocol):
    """A prior on free cells of a matrix, at positions in the free vector or on all; scale, sets: see ``Written``."""

    @property
    def matrix(self) -> str: ...
    @property
    def distribution(self) -> Any: ...
    @property
    def scale(self) -> str: ...
    @property
    def positions(self) -> tuple[int, ...] | None: ...
    @property
    def sets(self) -> tuple[tuple[int, ...], ...]: ...


def block_prior(
    block: ParameterBlock, model: LatentVariableModel, arrays: Arrays, written: Sequence[CellPrior] = ()
) -> BlockPrior:
    """The prior of one block, the user's where there is one. Host side; docs/priors.md has the table and the reasons.

    s_j: an item's standard deviation, 1 if coded; s_k: a factor's scale, 1 where its variance is fixed at 1, else that
    of its marker. loadings N(0, (3 s_j / s_k)²), those that fix a factor's sign half-normal; intercepts
    N(m_j, (5 s_j)²), m the mean of a numeric item and 0 else, decreasing rows ordered; regressions
    N(0, (3 s_outcome / s_predictor)²); factor_means N(0, (5 s_k)²); standard deviations Gamma(2, 2 / s); correlations
    LKJ(2); dispersions log-normal around the starting value, sd 1.5; guessing and upper logit-normal around it, sd 1.5;
    covariate_effects N(0, (3 s_k / s_covariate)²); scoring, spacing and shift N(start, 3²).
    """
    own, bijection = bijection_under(block, model.layout, written)
    n = len(block.positions)
    natural, loc, scale = np.ones(n, bool), np.zeros(n), np.full(n, OTHER)
    places = [np.argwhere(np.asarray(model.layout.index[block.name]) == p)[0] for p in block.positions]
    items = item_scales(model, arrays)
    factors = factor_scales(model.layout, items[1])
    if block.name in ("loadings", "intercepts"):
        j = np.array([place[1] for place in places])
        loc = np.where(block.name == "intercepts", items[0][j], 0.0)
        scale = items[1][j] * INTERCEPT
        if block.name == "loadings":
            scale = LOADING * items[1][j] / np.array([factors[place[0], place[2]] for place in places])
    elif block.name == "regressions":
        scale = REGRESSION * np.array([factors[g, i] / factors[g, k] for g, i, k in places])
    elif block.name == "factor_means":
        loc, scale = _mean_scales(model.layout, places, items, factors)
    elif block.name == "covariate_effects":
        z = np.asarray(arrays.covariates, float)
        spread = np.where(z.std(0) > 0, z.std(0), 1.0)
        scale = OTHER * np.array([factors[g, k] / spread[c] for g, k, c in places])
    elif block.name in SYMMETRIC:
        sizes = items[1][None, :].repeat(model.layout.n_groups, 0) if block.name == "residual_cov" else factors
        sd = np.array([sizes[g, i] for g, i, _ in places])
        own += _default_covariances(bijection, sd, own)
        loc, scale = np.log(sd), np.full(n, LOG_VARIANCE / 2)
    elif block.name == "dispersion":
        natural[:] = False
        loc, scale = np.log(np.maximum(np.abs(block.start), 1e-8)), np.full(n, LOG_VARIANCE)
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
    own = tuple(each for each in own if each.mask.any())
    return own, restricted(block, own)


def _written(block: ParameterBlock, layout: Layout, prior: CellPrior) -> Written:
    where = np.asarray(layout.index[block.name]) if prior.positions is None else np.array(prior.positions, int)
    at = {int(p): k for k, p in enumerate(block.positions)}
    sets = tuple(tuple(at[p] for p in members) for members in prior.sets if all(p in at for p in members))
    return Written(prior.distribution, np.isin(block.positions, where), prior.scale, sets)


def _default_covariances(bijection: Bijection, sd: np.ndarray, own: tuple[Written, ...]) -> tuple[Written, ...]:
    """Gamma(2, 2 / s) on deviations and LKJ(2) on correlations that have no prior yet."""
    taken = np.any([np.zeros(bijection.size, bool), *(each.mask for each in own)], axis=0)
    correlated = _mask([at for p in bijection.covariances for i, j, at in p.free if i != j], bijection.size)
    variances = ~taken & ~correlated
    out: list[Written] = []
    if variances.any():
        out.append(Written(GammaOfTwo(2 / sd), variances, "sd"))
    for pattern in bijection.covariances:
        cells = [at for i, j, at in pattern.free if i != j]
        left = [at for at in cells if not taken[at]]
        if left and len(left) == len(cells):
            out.append(Written(LKJ(CONCENTRATION), _mask(left, bijection.size), "lkj"))
        elif left:  # beside a correlation with its own prior: LKJ's margin
            a = CONCENTRATION - 1 + pattern.size / 2
            out.append(Written(stretched_beta(a, a), _mask(left, bijection.size), "cor"))
    return tuple(out)


def _mask(at: Sequence[int], size: int) -> np.ndarray:
    return np.isin(np.arange(size), np.array(at, int))


# ---- scales ---------------------------------------------------------------------------------------------------------


def item_scales(model: LatentVariableModel, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
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


def factor_scales(layout: Layout, sd: np.ndarray) -> np.ndarray:
    """A factor's scale [group, factor]: the root of a fixed variance, else that of its marker over its fixed loading.

    The marker of a factor without indicators is a factor that it predicts with a fixed coefficient.
    """
    out = np.ones((layout.n_groups, np.shape(layout.fixed["factor_cov"])[-1]))
    if "loadings" not in layout.index:
        return out
    for g in range(layout.n_groups):
        m = out.shape[1]
        known: dict[int, float] = {}
        for _ in range(m):
            for k in set(range(m)) - known.keys():
                found = _factor_scale(layout, g, k, sd, known)
                if found is not None:
                    known[k] = found
        out[g] = [known.get(k, 1.0) for k in range(m)]
    return out


def _factor_scale(layout: Layout, g: int, k: int, sd: np.ndarray, known: dict[int, float]) -> float | None:
    index = {name: np.asarray(layout.index[name])[g] for name in ("loadings", "regressions", "factor_cov")}
    fixed = {name: np.asarray(layout.fixed[name])[g] for name in index}
    loading = np.where(index["loadings"][:, k] < 0, fixed["loadings"][:, k], 0.0)
    predicted = (index["regressions"][k] >= 0) | (fixed["regressions"][k] != 0)
    if index["factor_cov"][k, k] < 0 and fixed["factor_cov"][k, k] > 0 and not predicted.any():
        return float(np.sqrt(fixed["factor_cov"][k, k]))
    if loading.any():
        j = int(np.flatnonzero(loading)[0])
        return float(sd[j] / abs(loading[j]))
    below = np.where(index["regressions"][:, k] < 0, fixed["regressions"][:, k], 0.0)
    for i in np.flatnonzero(below).tolist():
        if i in known:
            return known[i] / abs(float(below[i]))
    return float(np.sqrt(fixed["factor_cov"][k, k])) if fixed["factor_cov"][k, k] > 0 else None


def _mean_scales(
    layout: Layout, places: Sequence[np.ndarray], items: tuple[np.ndarray, np.ndarray], factors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Observed variables carried as latent keep their mean; a factor's is on the scale of means its marker has to have.

    Where the marker's intercept is fixed, as in growth models, that is the item's mean itself.
    """
    loc, scale = np.zeros(len(places)), np.zeros(len(places))
    mean, _ = items
    for n, (g, k) in enumerate(places):
        scale[n] = INTERCEPT * factors[g, k]
        if "intercepts" not in layout.index:
            continue
        loadings = np.asarray(layout.fixed["loadings"])[g, :, k]
        own = np.flatnonzero((np.asarray(layout.index["loadings"])[g, :, k] < 0) & (loadings != 0))
        kept = [j for j in own if (np.asarray(layout.index["intercepts"])[g, j] < 0).all()]
        if len(own) == 1 and kept and not (np.asarray(layout.index["loadings"])[g, :, k] >= 0).any():
            loc[n] = mean[own[0]] / loadings[own[0]]
        elif kept:
            size = np.hypot(factors[g, k], mean[kept[0]] / loadings[kept[0]])
            scale[n] = INTERCEPT * size
    return loc, scale
