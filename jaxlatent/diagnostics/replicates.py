"""Replicated data: new persons like those observed, drawn from the model at draws of the parameters."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.importance import fresh
from jaxlatent.inference.item_model import item_arrays, item_model
from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.integration.histogram import EmpiricalHistogram
from jaxlatent.models import cells
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.normal_density import psd_root
from jaxlatent.numerics.program import jit
from jaxlatent.results.item_simulation import raw_values
from jaxlatent.spec.layout import unpack


def replicated(fitted: Fitted | ItemFitted, free: np.ndarray, key: int = 0) -> np.ndarray:
    """Replicated data [draw, person, item] in raw values, a data set at every free vector [draw, parameter].

    Persons are new ones: their latent variables are drawn too, in the groups and with the covariates of those observed.
    Cells that were not observed are nan. Fixed exogenous variables are drawn from their sample moments.
    """
    if isinstance(fitted, Fitted):
        out = _normal_data(fitted, free, key)
        return np.where(np.isnan(fitted.rows.y), np.nan, out)
    codes = replicated_codes(fitted, free, key)
    seen = observed_cells(fitted)
    raw = raw_values(fitted, np.where(seen, codes, 0).reshape(-1, codes.shape[-1])).reshape(codes.shape)
    return raw if seen.all() else np.where(seen, raw, np.nan)


def observed_cells(fitted: ItemFitted) -> np.ndarray:
    """Whether a cell was observed [person, item]."""
    codes = fitted.data.codes
    return codes >= 0 if codes.dtype == np.int8 else ~np.isnan(codes)


@jit
def _normal(index: dict, fixed: dict, given: Any, group: jax.Array, free: jax.Array, keys: jax.Array) -> jax.Array:
    def one(at: tuple[jax.Array, jax.Array]) -> jax.Array:
        point, key = at
        mean, cov = jax.vmap(cells.implied)(unpack(index, fixed, point))
        mean, root = mean if given is None else given, psd_root(cov)
        z = jax.random.normal(key, (group.shape[0], mean.shape[-1]), mean.dtype)
        if root.shape[0] == 1:
            return mean[0] + z @ root[0].T
        every = jnp.einsum("ni,gji->gnj", z, root)
        return mean[group] + jnp.take_along_axis(every, group[None, :, None], 0)[0]

    return jax.lax.map(one, (free, keys))


def _normal_data(fitted: Fitted, free: np.ndarray, key: int) -> np.ndarray:
    given = None if fitted.table.mean_structure else jnp.asarray(fitted.moments.mean)
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(key), len(free))
        group = jnp.asarray(fitted.rows.group, jnp.int32)
        layout = fitted.layout
        return np.asarray(_normal(layout.index, layout.fixed, given, group, jnp.asarray(free), keys))


@jit
def _items(
    model: LatentVariableModel, networks: Any, arrays: Arrays, histogram: Any, free: jax.Array, keys: jax.Array
) -> jax.Array:
    def one(at: tuple[jax.Array, jax.Array]) -> jax.Array:
        point, key = at
        ours, theirs = jax.random.split(key)
        params = {**model.layout.unpack(point), **networks}
        if histogram is None:
            x = model.latent_distribution(params, arrays).sample(ours, (arrays.n_persons,))
        else:
            nodes, log_weights = histogram
            x = nodes[jax.random.categorical(ours, log_weights, shape=(arrays.n_persons,))][:, None]
        return model.measurement.sample(theirs, params, x, arrays.group).astype(jnp.float32)

    return jax.lax.map(one, (free, keys))


def replicated_codes(fitted: ItemFitted, free: np.ndarray, key: int = 0) -> np.ndarray:
    """Replicated answers [draw, person, item] as codes 0, 1, ... (numbers where an item has no categories)."""
    if not fitted.data.n_persons:
        raise ValueError("This fit holds no rows: fit data in memory, or save with include_data=True.")
    histogram = None
    with jax.enable_x64(True):
        if isinstance(fitted.rule, EmpiricalHistogram):
            nodes, weights = fitted.rule.arrays()
            histogram = jnp.asarray(nodes), jnp.log(jnp.asarray(weights))
        model = item_model(fitted.table, fitted.measurement, fitted.layout, fitted.latent)
        keys = jax.random.split(jax.random.key(key), len(free))
        given = fresh((model, fitted.networks, item_arrays(fitted.data, "float64")))
        return np.asarray(_items(*given, histogram, jnp.asarray(free), keys), float)
