"""The empirical histogram of a latent variable, estimated along with the items.

E: n_r = sum_i w_i P(x_r | y_i).   M: items by maximum likelihood given the weights; weights w maximise
sum_r n_r log w_r with sum w = 1, sum w z = 0, sum w z^2 = 1, that is

    w_r = (n_r / n) / (1 + l_1 z_r + l_2 (z_r^2 - 1))      (l: the dual problem, two numbers)

so that the likelihood never falls. Woods (2007) moves and interpolates nodes instead, which it can. Cycles stop where
one gains less than GAIN: run for ever, the weights would gather in a few points (Lindsay 1983), and items would hardly
change.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.marginal_engine import Marginal, MarginalProblem, run_steps
from jaxlatent.integration.histogram import EmpiricalHistogram
from jaxlatent.latent.histogram import Histogram
from jaxlatent.models.marginal import point_counts
from jaxlatent.models.points import Form, Problem
from jaxlatent.numerics.program import jit
from jaxlatent.spec.item_table import ItemTable

GAIN, CYCLES = 1e-2, 500
EMPTY = 1e-10  # share of persons below which a node is given up


def check_histogram(table: ItemTable) -> None:
    """Raise ValueError where the model's latent distribution is not one factor with mean 0 and variance 1."""
    instead = "use normal latent variables (leave latent out)"
    if len(table.factors) != 1:
        raise ValueError(f"An empirical histogram is of one factor; the model has {len(table.factors)}: {instead}.")
    if table.n_groups > 1:
        raise ValueError(f"An empirical histogram is of one group; the data have {table.n_groups}: {instead}.")
    if table.covariates:
        raise ValueError(f"An empirical histogram does not go with covariates: {instead}.")
    for row in table.rows:
        wanted = {"factor_means": 0.0, "factor_cov": 1.0}.get(row.matrix)
        if wanted is not None and (row.free or row.fixed != wanted):
            what = "mean" if row.matrix == "factor_means" else "variance"
            raise ValueError(
                f"An empirical histogram has mean 0 and variance 1, but the {what} of {row.lhs!r} is"
                f" {'free' if row.free else f'{row.fixed:g}'}: fix it, for 'rasch' by taking '1pl', the same model."
            )


def normal_histogram(given: Histogram) -> EmpiricalHistogram:
    """The standard normal density at the nodes, where estimation starts."""
    z = given.nodes()
    return _rule(z, standardised(z, np.exp(-(z**2) / 2)))


def _rule(z: np.ndarray, w: np.ndarray) -> EmpiricalHistogram:
    return EmpiricalHistogram(tuple(z.tolist()), tuple(w.tolist()))


def standardised(z: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Weights [R] closest to the counts in likelihood, with mean 0 and variance 1 over the nodes z [R]."""
    p = np.where(counts > EMPTY * counts.sum(), counts, 0)
    p = p / p.sum()
    at = p > 0
    q, h = p[at], np.stack([z, z**2 - 1])[:, at]
    dual = np.zeros(2)

    def value(dual: np.ndarray) -> float:
        gap = 1 + dual @ h
        return float((q * np.log(gap)).sum()) if gap.min() > 0 else -np.inf

    for _ in range(100):
        gap = 1 + dual @ h
        slope = (q * h / gap).sum(1)
        step = np.linalg.lstsq((q * h / gap**2) @ h.T, slope, rcond=None)[0]
        while not value(dual + step) >= value(dual) - 1e-15 and np.abs(step).max() > 1e-15:
            step = step / 2
        dual = dual + step
        if np.abs(step).max() < 1e-14:
            break
    w = np.zeros_like(p)
    w[at] = q / (1 + dual @ h)
    return w / w.sum()


@partial(jit, static_argnums=0)
def _counts(form: Form, problem: Problem, free: jax.Array, modes: jax.Array) -> jax.Array:
    return point_counts(form, problem, free, modes)


def fit_histogram(
    run: Marginal, whole: MarginalProblem, first: Estimate, given: Histogram
) -> tuple[Estimate, EmpiricalHistogram, str]:
    """Items and weights from the estimate with normal weights: the estimate, the histogram, and a sentence about it."""
    z, problem, estimate = given.nodes(), whole.inner, first
    rule, value, cycles = normal_histogram(given), float(first.statistics["value"]), 0
    quick = whole.options._replace(finish=False)
    for cycles in range(1, CYCLES + 1):  # noqa: B007
        counts = np.asarray(_counts(run.form, problem, jnp.asarray(estimate.free), whole.modes))
        rule = _rule(z, standardised(z, counts))
        points = problem.points._replace(log_weight=rule.standard(1, (1, 1), "float64", 0).log_weight)
        problem = problem._replace(points=points)
        start = whole.basis.T @ (np.asarray(estimate.free) - whole.offset)
        estimate = run_steps(run, whole._replace(inner=problem, start=start, options=quick))
        before, value = value, float(estimate.statistics["value"])
        if not before - value > GAIN:
            break
    start = whole.basis.T @ (np.asarray(estimate.free) - whole.offset)
    estimate = run_steps(run, whole._replace(inner=problem, start=start))
    ended = f"after {cycles} cycles" if cycles < CYCLES else f"after {CYCLES} cycles, the most there are"
    said = (
        f"The distribution of the factor is an empirical histogram, {ended}: standard errors take it as known, and npar"
        " does not count its weights."
    )
    return jax.tree.map(np.asarray, estimate), rule, said
