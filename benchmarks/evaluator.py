"""One log-likelihood for the parameters of every engine and program: importance sampling around each person's mode.

    log p(y_i) ~ log 1/R sum_r p(y_i | x_ir) p(x_ir) / q_i(x_ir),   q_i = N(mode, curvature^-1)

x_ir are Sobol points, shifted at random for every person, the same for all parameters that are compared. They come in
two independent halves, whose difference gives the Monte Carlo error.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxlatent as jl
from jaxlatent.inference.item_data import ItemData
from jaxlatent.inference.marginal_fit import form_of, problem_of
from jaxlatent.models.marginal import person_moments
from jaxlatent.models.points import Form, Problem
from jaxlatent.spec.item_table import ItemTable, item_layout

SAMPLES = 5000  # of each person, where that is affordable
CELLS = 1_000_000_000  # persons x samples x items that are
PERSONS = 2048  # at a time: points of more are never held
MODE_STEPS = 20


class LogLikelihood(NamedTuple):
    """Sum over persons, its Monte Carlo standard error, and the samples of each person."""

    value: float
    error: float
    samples: int

    def __str__(self) -> str:
        return f"log-likelihood {self.value:.2f} +- {self.error:.2f} ({self.samples} samples a person)"


def affordable(persons: int, items: int) -> int:
    """Samples of each person: SAMPLES, or as many hundreds as CELLS allow."""
    return min(SAMPLES, max(CELLS // (persons * items) // 100 * 100, 100))


@partial(jax.jit, static_argnums=0)
def _log_marginal(form: Form, problem: Problem, free: jax.Array, modes: jax.Array) -> jax.Array:
    return person_moments(form, problem, free, modes, MODE_STEPS).log_marginal


def log_likelihood(model: Any, data: Any, free: np.ndarray, samples: int | None = None, key: int = 0) -> LogLikelihood:
    """log p(y) of a face's model at this free vector, for the persons of these data. Raises ValueError for a vector
    of another length.
    """
    p = model._prepare(data, None, None)
    n, items = p.data.codes.shape
    samples = samples or affordable(n, items)
    value, variance = 0.0, 0.0
    for start in range(0, n, PERSONS):
        part = ItemData(p.data.codes[start : start + PERSONS], p.data.group[start : start + PERSONS], None, None)
        halves = [_persons(p, part, free, samples // 2, 2 * (key + start) + k) for k in range(2)]
        value += float((np.logaddexp(*halves) - math.log(2)).sum())
        variance += float(((halves[0] - halves[1]) ** 2).sum()) / 4
    return LogLikelihood(value, math.sqrt(variance), samples // 2 * 2)


def _persons(p: Any, part: ItemData, free: np.ndarray, n_points: int, key: int) -> np.ndarray:
    """log p(y_i) [person]."""
    rule = jl.ImportanceSampling(n_points)
    form = replace(form_of(p.measurement, p.coding, rule), jackknife=False)
    layout = item_layout(p.table)
    if np.shape(free) != (layout.n_free,):
        raise ValueError(f"Expected {layout.n_free} free parameters; got shape {np.shape(free)}.")
    with jax.enable_x64(True):
        problem, modes, places = problem_of(form, layout, part, p.table.n_groups, rule, key)
        found = _log_marginal(form, problem, jnp.asarray(free, float), modes)
        return np.asarray(found, float).ravel()[places]


def free_vector(table: ItemTable, matrices: dict[str, np.ndarray]) -> np.ndarray:
    """The free vector of a table of one group from named matrices: loadings [item, D], intercepts [item, k],
    factor_cov [D, D]. Raises ValueError where a free cell has no value.
    """
    free = np.full(table.n_free, np.nan)
    for row in table.rows:
        if row.free and row.matrix in matrices:
            free[row.free - 1] = matrices[row.matrix][row.cell]
    if not np.isfinite(free).all():
        raise ValueError(f"Expected a finite value for each free cell; {int(np.isnan(free).sum())} have none.")
    return free
