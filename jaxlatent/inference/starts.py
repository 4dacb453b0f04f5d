"""Several starting points of maximum marginal likelihood: the best maximum wins, and how many reached it is said.

The first point is the usual one. The others add independent normal numbers to it, with standard deviations by matrix
(SPREAD) and shortened where an item parameter would leave where it lives; covariances of factors stay.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.marginal_engine import Marginal, MarginalProblem, run_marginal
from jaxlatent.numerics.newton import CONVERGED
from jaxlatent.numerics.program import jit
from jaxlatent.spec.layout import Layout

SPREAD = {
    "loadings": 1.0, "intercepts": 1.0, "scoring": 0.5, "guessing": 0.1, "upper": 0.1, "dispersion": 0.5,
    "spacing": 0.5, "shift": 0.5, "factor_means": 0.3, "regressions": 0.2, "covariate_effects": 0.2,
}  # fmt: skip
SAME = 1e-3  # log-likelihoods that differ by less are those of one maximum


@partial(jit, static_argnums=0)
def _moved(engine: Marginal, problem: MarginalProblem, directions: jax.Array) -> jax.Array:
    x = jnp.asarray(problem.start)
    return jax.lax.map(lambda d: x + engine.feasible(problem, x, problem.basis.T @ d), directions)


@partial(jit, static_argnums=0)
def _run_each(engine: Marginal, problem: MarginalProblem, starts: jax.Array) -> Estimate:
    """One start after the other in one program: under vmap every step would compute what only some need."""
    return jax.lax.map(lambda x: run_marginal(engine, problem._replace(start=x))[0], starts)


def starting_points(engine: Marginal, problem: MarginalProblem, n: int, key: int) -> jax.Array:
    """n starting points [start, reduced], the problem's own first."""
    layout: Layout = problem.inner.layout
    spread = np.zeros(layout.n_free)
    for name, index in layout.index.items():
        own = np.asarray(index)
        spread[own[own >= 0]] = SPREAD.get(name, 0.0)
    noise = np.random.default_rng([key, n]).standard_normal((n, layout.n_free)) * spread
    noise[0] = 0
    return _moved(engine, problem, jnp.asarray(noise))


def best_of(
    engine: Marginal, problem: MarginalProblem, n: int, key: int, together: bool, solve: Callable
) -> tuple[Estimate, str]:
    """The estimate with the highest log-likelihood (plus log-prior) among n starts, and a sentence about them.

    together: in one compiled call; else by solve(engine, problem), one after the other. Converged ones go first.
    """
    starts = starting_points(engine, problem, n, key)
    if together:
        stacked = _run_each(engine, problem, starts)
        found = [jax.tree.map(lambda a, b=b: np.asarray(a[b]), stacked) for b in range(n)]
    else:
        found = [jax.tree.map(np.asarray, solve(engine, problem._replace(start=x))) for x in starts]
    value = np.array([-float(each.statistics["value"]) for each in found])
    ended = np.array([int(each.code) == CONVERGED for each in found]) & np.isfinite(value)
    allowed = ended if ended.any() else np.isfinite(value)
    rank = np.where(allowed, value, -np.inf)
    best = int(rank.argmax())
    reached = int((ended & (value > value[best] - SAME)).sum())
    return found[best], _sentence(
        n, reached, value[ended & (value <= value[best] - SAME)], value[best], n - ended.sum()
    )


def _sentence(n: int, reached: int, others: np.ndarray, best: float, failed: int) -> str:
    if not reached:
        return f"None of {n} starts converged: this is where the best of them ended."
    text = f"Best of {n} starts: {reached} ended at this log-likelihood"
    if len(others):
        text += f", {len(others)} at lower ones (the next {best - others.max():.3g} below)"
    if failed:
        text += f", {failed} did not converge"
    return text + ("." if reached != 1 else ". Only one reached it: more starts may find a better one.")
