"""Posteriors of simulated data as pure functions: parameters from the prior, data from the model, draws given them.

The prior, the number of persons and where chains start are those of a fitted model; only the data change, which are
leaves of the posterior density, so that one compiled program serves every data set.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.inference.batch import ExogenousCells, refresh
from jaxlatent.inference.bayes import check_covered, item_posterior, moment_posterior
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.item_data import ItemData
from jaxlatent.inference.item_model import double_arrays, item_model
from jaxlatent.inference.likelihoods import MarginalLikelihood, MomentLikelihood
from jaxlatent.inference.marginal_fit import ItemFitted, is_personal, problem_of
from jaxlatent.inference.nuts import draw_chain, locate
from jaxlatent.inference.nuts_settings import NUTS
from jaxlatent.inference.posterior import Posterior, log_likelihood
from jaxlatent.models import cells
from jaxlatent.numerics.normal_density import psd_root


@dataclass(frozen=True)
class Simulated:
    """prior(key) -> free [q]; simulate(free, key) -> data; posterior(data) -> density of u; start [q], natural."""

    prior: Callable[[jax.Array], jax.Array]
    simulate: Callable[[jax.Array, jax.Array], Any]
    posterior: Callable[[Any], Posterior]
    start: np.ndarray

    def sampler(self, settings: NUTS) -> Callable[[Any, jax.Array], jax.Array]:
        """sampler(data, key) -> draws [draw, q] of one chain, whitened at the mode of these data."""

        def draw(data: Any, key: jax.Array) -> jax.Array:
            density = self.posterior(data)
            found = locate(density, density.unconstrained(jnp.asarray(self.start)))
            there = replace(density, center=found.center, root=found.root)
            return draw_chain(settings, there, key)[1].free

        return draw

    def log_likelihood(self, free: jax.Array, data: Any) -> jax.Array:
        """Of the data [1] at free [q]; of moments up to a constant."""
        return log_likelihood(self.posterior(data).likelihood, free)[None]


def prior_sampler(posterior: Posterior) -> Callable[[jax.Array], jax.Array]:
    """prior(key) -> free [q], natural parameters from the priors of all blocks."""

    def draw(key: jax.Array) -> jax.Array:
        parts = [block.prior().sample(jax.random.fold_in(key, n)) for n, block in enumerate(posterior.blocks)]
        return jnp.concatenate(parts)[jnp.asarray(posterior.places)]

    return draw


def simulated(fitted: Fitted | ItemFitted) -> Simulated:
    """Everything that calibration needs, of a model of complete data.

    Raises ValueError for incomplete rows, fixed exogenous variables, covariates, and factors that are sampled along.
    """
    check_covered(fitted.table)
    if isinstance(fitted, ItemFitted):
        return _items(fitted)
    if fitted.missing != "complete" or len(fitted.exogenous):
        raise ValueError("Calibration takes complete data and no fixed exogenous variables: leave them out.")
    posterior, start = moment_posterior(fitted)
    n, means = np.asarray(fitted.moments.n), fitted.table.mean_structure
    inner, layout, given = posterior.likelihood.problem, fitted.layout, np.asarray(fitted.moments.mean)
    nothing = ExogenousCells(np.empty(0, int), np.empty(0, int))

    def simulate(free: jax.Array, key: jax.Array) -> tuple[jax.Array, ...]:
        mean, cov = jax.vmap(cells.implied)(layout.unpack(free))
        center, found = mean if means else jnp.asarray(given), []
        for g, size in enumerate(n):
            z = jax.random.normal(jax.random.fold_in(key, g), (int(size), cov.shape[-1]), cov.dtype)
            y = z @ psd_root(cov[g]).T
            own = y.mean(0)
            found.append((center[g] + own, y.T @ y / size - jnp.outer(own, own)))
        return tuple(jnp.stack(each) for each in zip(*found, strict=True))

    def of_data(data: Any) -> Posterior:
        return replace(posterior, likelihood=MomentLikelihood(
            refresh(inner, data[0], data[1], nothing, means), posterior.likelihood.n, jnp.zeros(()),
        ))  # fmt: skip

    return Simulated(prior_sampler(posterior), simulate, of_data, start)


def _items(fitted: ItemFitted) -> Simulated:
    if is_personal(fitted.rule) or fitted.is_learned or fitted.table.covariates:
        raise ValueError("Calibration takes item response models with up to three normal factors and no covariates.")
    posterior, start = item_posterior(fitted)
    data, strides = _patterns(fitted)
    with jax.enable_x64(True):
        problem, _, places = problem_of(fitted.form, fitted.layout, data, fitted.table.n_groups, fitted.rule)
    chunks: Any = problem.chunks
    arrays = double_arrays(replace(fitted.data, weight=None))
    model, at = item_model(fitted.table, fitted.measurement, fitted.layout, fitted.latent), np.asarray(places)
    group = jnp.asarray(arrays.group)

    def simulate(free: jax.Array, key: jax.Array) -> jax.Array:
        ours, theirs = jax.random.split(key)
        params = model.layout.unpack(free)
        x = model.latent_distribution(params, arrays).sample(ours, (arrays.n_persons,))
        return model.measurement.sample(theirs, params, x, group)

    def of_data(y: jax.Array) -> Posterior:
        if strides is None:
            flat = jnp.zeros((chunks.weight.size, y.shape[1]), jnp.asarray(chunks.y).dtype)
            there = chunks._replace(y=flat.at[at].set(y.astype(flat.dtype)).reshape(jnp.shape(chunks.y)))
        else:
            n_patterns = data.n_persons // fitted.table.n_groups
            row = y.astype(jnp.int32) @ jnp.asarray(strides) + group * n_patterns
            weight = jnp.zeros(chunks.weight.size).at[jnp.asarray(at)[row]].add(1.0)
            there = chunks._replace(weight=weight.reshape(chunks.weight.shape))
        return replace(posterior, likelihood=MarginalLikelihood(fitted.form, problem._replace(chunks=there)))

    return Simulated(prior_sampler(posterior), simulate, of_data, start)


def _patterns(fitted: ItemFitted) -> tuple[Any, np.ndarray | None]:
    """All possible patterns of every group, to be weighted, and what codes are multiplied by to number them; the
    persons themselves and None where patterns would be more.
    """
    counts = fitted.coding.n_categories
    if not fitted.coding.categorical or math.prod(counts) > fitted.data.n_persons:
        return replace(fitted.data, weight=None), None
    every = np.array(list(itertools.product(*(range(k) for k in counts))), np.int8)
    strides = np.array([math.prod(counts[j + 1 :]) for j in range(len(counts))], np.int32)
    n_groups = fitted.table.n_groups
    group = np.repeat(np.arange(n_groups), len(every)).astype(fitted.data.group.dtype)
    return ItemData(np.tile(every, (n_groups, 1)), group, None, None), strides
