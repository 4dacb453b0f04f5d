"""Log-likelihoods of persons at draws of the parameters, latent variables integrated out, in one compiled call."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.responses import Responses
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.importance import Rows, fresh, log_weights, rows_of
from jaxlatent.inference.item_data import ItemRows
from jaxlatent.inference.item_model import double_arrays
from jaxlatent.inference.marginal_fit import ItemFitted, pattern_data, problem_of
from jaxlatent.models import cells
from jaxlatent.models.marginal import log_marginals, person_moments
from jaxlatent.models.points import Form, Problem
from jaxlatent.numerics.normal_density import pattern_log_prob
from jaxlatent.numerics.program import jit
from jaxlatent.spec.layout import unpack

GUIDE_DRAWS = 200  # of x for every person, where the distribution of x was learned


class GroupRows(NamedTuple):
    """Rows y [person, p] of a group, their patterns of observed cells, and their mean where the model has none."""

    y: Any
    which: Any
    patterns: Any
    mean: Any


def draw_log_likelihoods(fitted: Fitted | ItemFitted, free: np.ndarray) -> np.ndarray:
    """log p(y_i) [draw, person] of the fitted persons at free vectors [draw, parameter].

    At the estimate these are ``fit.log_likelihoods()``. Raises ValueError where the fit holds no rows.
    """
    if isinstance(fitted, Fitted):
        return _normal_log_likelihoods(fitted, fitted.rows, free)
    if not fitted.data.n_persons:
        raise ValueError("This fit holds no rows: fit data in memory, or save with include_data=True.")
    if not fitted.is_learned:
        return _item_log_likelihoods(fitted, fitted.data, free)
    return _guided_log_likelihoods(fitted, free)


# ---- structural equation models -------------------------------------------------------------------------------------


def group_rows(fitted: Fitted, data: Responses) -> tuple[GroupRows, ...]:
    """The rows of every group with their patterns of observed cells (host)."""
    out = []
    for g in range(fitted.table.n_groups):
        y = data.y[data.rows_of(g)]
        patterns, which = np.unique(~np.isnan(y), axis=0, return_inverse=True)
        mean = None if fitted.table.mean_structure else fitted.moments.mean[g]
        out.append(GroupRows(np.nan_to_num(y), which.reshape(-1).astype(np.int32), patterns, mean))
    return tuple(out)


@jit
def _normal(index: dict, fixed: dict, rows: tuple[GroupRows, ...], free: jax.Array) -> tuple[jax.Array, ...]:
    def one(at: jax.Array) -> tuple[jax.Array, ...]:
        mean, cov = jax.vmap(cells.implied)(unpack(index, fixed, at))
        return tuple(
            pattern_log_prob(r.y, r.which, r.patterns, mean[g] if r.mean is None else r.mean, cov[g])
            for g, r in enumerate(rows)
        )

    return jax.lax.map(one, free)


def _normal_log_likelihoods(fitted: Fitted, data: Responses, free: np.ndarray) -> np.ndarray:
    out = np.empty((len(free), len(data.y)))
    with jax.enable_x64(True):
        found = _normal(fitted.layout.index, fitted.layout.fixed, group_rows(fitted, data), jnp.asarray(free))
        for g, values in enumerate(found):
            out[:, data.rows_of(g)] = np.asarray(values)
    return out


# ---- item response models -------------------------------------------------------------------------------------------


@partial(jit, static_argnums=0)
def _items(form: Form, problem: Problem, centre: jax.Array, free: jax.Array, modes: jax.Array) -> jax.Array:
    if form.personal:
        modes = person_moments(form, problem, centre, modes, 12).modes
    return jax.lax.map(lambda at: log_marginals(form, problem, at, modes), free)


def _item_log_likelihoods(fitted: ItemFitted, data: ItemRows, free: np.ndarray) -> np.ndarray:
    used, inverse = pattern_data(replace(data, weight=None))
    with jax.enable_x64(True):
        problem, modes, places = problem_of(
            fitted.form, fitted.layout, used, fitted.table.n_groups, fitted.rule, fitted.key
        )
        found = _items(fitted.form, problem, jnp.asarray(fitted.free), jnp.asarray(free), modes)
        return np.asarray(found, float).reshape(len(free), -1)[:, places][:, inverse]


@partial(jit, static_argnums=0)
def _guided(
    n_draws: int, proposal: Any, model: Any, networks: Any, guide: Any, rows: Rows, free: jax.Array, key: jax.Array
) -> jax.Array:
    def one(given: tuple[Rows, jax.Array]) -> jax.Array:
        each, own = given
        q = proposal.distribution(guide, each.arrays, each.rows)
        x = q.sample(own, (n_draws,))

        def at(point: jax.Array) -> jax.Array:
            params = {**model.layout.unpack(point), **networks}
            log_w = log_weights(model, params, each.arrays, q, x).astype(float)
            return jax.nn.logsumexp(log_w, axis=0) - jnp.log(float(n_draws))

        return jax.lax.map(at, free)

    return jax.lax.map(one, (rows, jax.random.split(key, rows.rows.shape[0])))


def _guided_log_likelihoods(fitted: ItemFitted, free: np.ndarray) -> np.ndarray:
    """Where the distribution of x was learned: by the same draws of x from the guide at all draws of parameters."""
    t = fitted.amortized
    with jax.enable_x64(True):
        rows = rows_of(double_arrays(fitted.data), GUIDE_DRAWS)
        given = fresh((t.guide, t.model, t.networks, t.guide_params, rows))
        found = _guided(GUIDE_DRAWS, *given, jnp.asarray(free), jax.random.key(fitted.key))
        values = np.swapaxes(np.asarray(found, float), 0, 1).reshape(len(free), -1)
    return values[:, : fitted.data.n_persons]
