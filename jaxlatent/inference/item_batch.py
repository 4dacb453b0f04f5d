"""Many data sets of one item response model in one compiled call."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.coding import Coding
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.marginal_engine import Marginal, MarginalProblem, run_marginal
from jaxlatent.inference.marginal_fit import (
    ItemData,
    choose_rule,
    form_of,
    problem_of,
    reduction,
    solver_options,
    starting_values,
)
from jaxlatent.inference.priors import Priors
from jaxlatent.inference.settings import MarginalML
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.numerics.linalg import spd_inverse
from jaxlatent.numerics.program import jit
from jaxlatent.spec.item_table import ItemTable, item_layout
from jaxlatent.spec.two_tier import reduction_of


@partial(jit, static_argnums=0)
def _run_all(engine: Marginal, problem: MarginalProblem, y: jax.Array, seen: jax.Array, start: jax.Array) -> Estimate:
    """One data set after the other: y, seen [data set, chunk, person, item], start [data set, reduced]."""

    def one(given: tuple) -> Estimate:
        own_y, own_seen, own_start = given
        chunks = problem.inner.chunks._replace(y=own_y, seen=own_seen)
        estimate = run_marginal(engine, problem._replace(inner=problem.inner._replace(chunks=chunks), start=own_start))[
            0
        ]
        inverse = spd_inverse(estimate.statistics["information"])[0]
        return estimate._replace(vcov=problem.basis @ inverse @ problem.basis.T)

    return jax.lax.map(one, (y, seen, start))


def fit_item_stack(
    table: ItemTable, measurement: Measurement, coding: Coding, stack: np.ndarray, engine: MarginalML, priors: Priors,
    key: int = 0,
) -> Estimate:  # fmt: skip
    """Estimates of all data sets [data set, person, item] (nan where missing), with observed information.

    Raises ValueError where a data set has a category that the first pass over all of them did not find.
    """
    layout = item_layout(table)
    split = reduction_of(layout)
    rule, _ = choose_rule(engine, len(table.factors), split)
    form = form_of(measurement, coding, rule, split)
    offset, basis = reduction(table)
    engine = MarginalML(rule, "observed", engine.tolerance)
    ys, seens, starts = [], [], []
    with jax.enable_x64(True):
        for y in stack:
            data = ItemData(coding.encode(y), np.zeros(len(y), np.int32), None, None)
            problem, modes, _ = problem_of(form, layout, data, 1, rule, key)
            start = starting_values(table, layout, data, measurement)
            ys.append(problem.chunks.y)
            seens.append(np.asarray(problem.chunks.seen))
            starts.append(basis.T @ (start - offset))
        options = solver_options(form, problem, basis.shape[1], stack.shape[1], engine)
        whole = MarginalProblem(problem, offset, basis, starts[0], modes, options)
        found = _run_all(Marginal(form, priors), whole, jnp.asarray(np.stack(ys)), np.stack(seens), np.stack(starts))
        return jax.tree.map(np.asarray, found)
