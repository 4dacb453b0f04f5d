"""Expected information of item response models: over all response patterns where they are few, else over simulated
persons.

I = sum_g N_g sum_p P_gp S_gp S_gp'      (P_gp the model's probability of pattern p in group g, S_gp its score)
"""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.inference.latent_draws import draw_latent
from jaxlatent.inference.marginal_fit import ItemData, ItemFitted, problem_of
from jaxlatent.models.latent_prior import moments
from jaxlatent.models.marginal import person_scores
from jaxlatent.models.points import Form, Problem
from jaxlatent.numerics.program import jit

PATTERNS = 20_000
SIMULATED = 20_000  # persons at least
STEPS = 12


@partial(jit, static_argnums=0)
def _scores(form: Form, problem: Problem, free: jax.Array, modes: jax.Array) -> tuple[Any, Any]:
    return person_scores(form, problem, free, modes, STEPS)


def is_enumerable(fitted: ItemFitted) -> bool:
    """Whether all patterns of a group can be gone through: complete answers in categories, few, without covariates."""
    few = fitted.coding.categorical and math.prod(fitted.coding.n_categories) <= PATTERNS
    return few and fitted.data.covariates is None and not (fitted.data.codes < 0).any()


def expected_information(fitted: ItemFitted) -> np.ndarray:
    """Expected information [free, free] of all persons, minus the curvature of priors; see `is_enumerable`.

    Simulated: the persons' own groups, covariates and missing cells, again and again, with answers drawn from the
    model at the estimate (fixed seed).
    """
    data, share = _all_patterns(fitted) if is_enumerable(fitted) else _simulated(fitted)
    with jax.enable_x64(True):
        problem, modes, places = problem_of(
            fitted.form, fitted.layout, data, fitted.table.n_groups, fitted.rule, fitted.key
        )
        log_p, scores = _scores(fitted.form, problem, jnp.asarray(fitted.free), modes)
        s = np.asarray(scores, float).reshape(-1, len(fitted.free))[places]
        if share is None:
            weight = np.exp(np.asarray(log_p, float).ravel()[places]) * group_sizes(fitted)[data.group]
        else:
            weight = share
        prior = np.asarray(fitted.priors.second_order(fitted.layout, jnp.asarray(fitted.free))[2], float)
    return (s * weight[:, None]).T @ s - prior


def group_sizes(fitted: ItemFitted) -> np.ndarray:
    """Persons of every group, or the sums of their weights [group]."""
    return np.bincount(fitted.data.group, fitted.data.weight, minlength=fitted.table.n_groups).astype(float)


def _all_patterns(fitted: ItemFitted) -> tuple[ItemData, np.ndarray | None]:
    codes = np.array(list(itertools.product(*(range(k) for k in fitted.coding.n_categories))), np.int8)
    n_groups = fitted.table.n_groups
    group = np.repeat(np.arange(n_groups), len(codes)).astype(np.int32)
    return ItemData(np.tile(codes, (n_groups, 1)), group, None, None), None


def _simulated(fitted: ItemFitted) -> tuple[ItemData, np.ndarray | None]:
    """Copies of the persons with simulated answers, and their weights."""
    data = fitted.data
    copies = -(-SIMULATED // len(data.codes))
    group = np.tile(data.group, copies)
    covariates = None if data.covariates is None else np.tile(data.covariates, (copies, 1))
    weight = np.ones(len(data.codes)) if data.weight is None else data.weight
    whole = np.issubdtype(data.codes.dtype, np.integer)
    hidden = np.tile(data.codes < 0 if whole else np.isnan(data.codes), (copies, 1))
    answers = simulated_answers(fitted, group, covariates)
    codes = np.where(hidden, -1, answers).astype(data.codes.dtype) if whole else np.where(hidden, np.nan, answers)
    return ItemData(codes, group, None, covariates), np.tile(weight, copies) / copies


def simulated_answers(fitted: ItemFitted, group: np.ndarray, covariates: np.ndarray | None, key: int = 0) -> np.ndarray:
    """Codes [person, item] of persons of these groups and covariates, drawn from the model."""
    rng = np.random.default_rng(key)
    n, d = len(group), len(fitted.table.factors)
    design = np.ones((n, 1)) if covariates is None else np.column_stack([np.ones(n), covariates])
    with jax.enable_x64(True):
        params = fitted.layout.unpack(jnp.asarray(fitted.free))
        m, cov = (np.asarray(a) for a in moments(params))
        x = np.empty((n, d))
        for g in range(fitted.table.n_groups):
            at = group == g
            x[at] = draw_latent(fitted, m[g], cov[g], design[at], rng)
        drawn = fitted.measurement.sample(jax.random.key(key), params, jnp.asarray(x), jnp.asarray(group))
        return np.asarray(drawn, float)
