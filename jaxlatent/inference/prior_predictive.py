"""Draws of parameters from their priors, and of data from these, as arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from jaxlatent.data.arrays import Arrays
from jaxlatent.inference.moment_model import MomentModel
from jaxlatent.inference.priors import Priors
from jaxlatent.inference.proper import Bound, flat_positions, parameter_names
from jaxlatent.models.block_prior import BlockPrior
from jaxlatent.models.blocks import parameter_blocks
from jaxlatent.models.default_priors import block_prior
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.program import jit
from jaxlatent.spec.table import ParameterTable


def draw_parameters(bound: Bound, n_draws: int, key: jax.Array) -> np.ndarray:
    """Free vectors [draw, n_free] from the priors of a bound model, written and default ones.

    Raises
    ------
    ValueError
        A flat prior, which has no draws; differences between groups whose density is not normal; a pattern that no
        bijection covers.
    """
    flat = flat_positions(bound.priors)
    if flat:
        name = parameter_names(bound.table)[flat[0]]
        raise ValueError(f"The prior of {name!r} is flat, so that nothing can be drawn from it: give it a proper one.")
    _check_differences(bound.priors)
    with jax.enable_x64(True):
        free = np.tile(np.asarray(bound.model.layout.start, float), (n_draws, 1))
        for n, block in enumerate(parameter_blocks(bound.model)):
            prior = block_prior(block, bound.model, bound.arrays, bound.priors.cells).astype(float)
            free[:, block.positions] = np.asarray(_draw(prior, n_draws, jax.random.fold_in(key, n)))
    return free


def _draw(prior: BlockPrior, n_draws: int, key: jax.Array) -> jax.Array:
    return jit(lambda k: prior.sample(k, (n_draws,)))(key)


def _check_differences(priors: Priors) -> None:
    for each in priors.cells:
        if each.scale == "between" and not (isinstance(each.distribution, dist.Normal) and each.distribution.loc == 0):
            raise ValueError(
                f"Draws of differences between groups need a normal density around 0; got {each.text}: change it."
            )


def draw_data(bound: Bound, free: np.ndarray, key: jax.Array) -> np.ndarray:
    """Data [draw, person, item] in the groups and with the covariates of the data at hand, complete."""
    model, arrays = bound.model, bound.arrays
    with jax.enable_x64(True):
        if isinstance(bound.table, ParameterTable):
            noise = np.asarray(jax.random.normal(key, (len(free), *arrays.y.shape), float))
            return _normal_data(bound, free, noise)
        params = jax.vmap(model.layout.unpack)(jnp.asarray(free))
        keys = jax.random.split(key, len(free))
        return np.asarray(jax.lax.map(lambda each: _answers(model, each[0], arrays, each[1]), (params, keys)))


def _normal_data(bound: Bound, free: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """mu + Sigma^1/2 noise [draw, person, item] by group, on the host."""
    layout, group = bound.model.layout, np.asarray(bound.arrays.group)
    out = np.empty_like(noise)
    for n, at in enumerate(free):
        for g, (mean, cov) in enumerate(MomentModel(layout, at, np.ones(layout.n_groups), True).implied):
            value, vector = np.linalg.eigh(cov)
            rows = group == g
            out[n, rows] = mean + noise[n, rows] @ (vector * np.sqrt(np.maximum(value, 0))).T
    return out


def _answers(model: LatentVariableModel, params: dict, arrays: Arrays, key: jax.Array) -> jax.Array:
    first, second = jax.random.split(key)
    x = model.latent_distribution(params, arrays).sample(first, (arrays.n_persons,))
    return model.measurement.sample(second, params, x, arrays.group)
