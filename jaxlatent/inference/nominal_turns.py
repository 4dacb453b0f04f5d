"""Nominal items whose scores run off: the maximum may lie beyond infinity, which is a small step.

P(y = k) ∝ exp(s_k λ'x + d_k) with s_0 = 0 and s_{K-1} = K - 1 has no coordinates for items whose first and last
category have one slope: λ is 0 there, and s_k λ is finite. Where the sign of λ is wrong, steps drive s_k to infinity.
But slopes s_k λ go on smoothly on the other side: there λ and the free s_k have the other sign, and only the slope of
the last category, which is nearly 0, changes.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.marginal_engine import MarginalProblem
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.measurement.nominal import Nominal
from jaxlatent.numerics.newton import STEP_LIMIT, STUCK
from jaxlatent.spec.layout import Layout

FAR = 2.0  # times the highest score: middle categories beyond are far out
STRETCH = 60  # steps before the sign is looked at


def has_nominal(measurement: Measurement, layout: Layout) -> bool:
    """Whether there are scores to be estimated."""
    nominal = any(isinstance(family, Nominal) for family, _ in measurement.groups)
    return nominal and bool((np.asarray(layout.index["scoring"]) >= 0).any())


def far_out(layout: Layout, free: np.ndarray) -> list[tuple[int, int]]:
    """Group and item of nominal items with a free score beyond FAR times that of the last category."""
    index, fixed = np.asarray(layout.index["scoring"]), np.asarray(layout.fixed["scoring"])
    value = np.where(index >= 0, np.abs(free)[np.maximum(index, 0)], 0).max(-1)
    return [(int(g), int(j)) for g, j in np.argwhere(value > FAR * np.maximum(fixed.max(-1), 1))]


def turned(layout: Layout, free: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, frozenset[tuple[int, int]]]:
    """The free vector with the other sign of loadings and scores of items that are far out, and these (group, item).

    slope: derivatives of the log-likelihood. Items are turned whose last category's slope a = (K - 1) λ wants to pass
    through 0, the others' held: a'dL/da = λ'dL/dλ - s'dL/ds < 0. Items with a fixed loading, and with parameters that
    others share, stay.
    """
    out = np.array(free)
    found: set[tuple[int, int]] = set()
    index = {name: np.asarray(layout.index[name]) for name in ("loadings", "scoring")}
    uses = np.bincount(np.concatenate([i.ravel() + 1 for i in index.values()]), minlength=len(out) + 1)[1:]
    for g, j in far_out(layout, free):
        loadings, scores = index["loadings"][g, j], index["scoring"][g, j]
        fixed = np.asarray(layout.fixed["loadings"])[g, j][loadings < 0]
        loadings, scores = loadings[loadings >= 0], scores[scores >= 0]
        own = np.concatenate([loadings, scores])
        inwards = free[loadings] @ slope[loadings] - free[scores] @ slope[scores] < 0
        if not inwards or (fixed != 0).any() or (uses[own] > 1).any():
            continue
        out[own] = -out[own]
        found.add((g, j))
    return out, frozenset(found)


def in_stretches(solve: Callable[[MarginalProblem], Estimate], problem: MarginalProblem) -> Estimate:
    """Steps in stretches; between them items that are far out may be turned over, and the search goes on."""
    options, taken = problem.options, 0
    while True:
        most = min(STRETCH, int(options.max_steps) - taken)
        found = jax.tree.map(np.asarray, solve(problem._replace(options=options._replace(max_steps=most))))
        taken += int(found.steps)
        found = found._replace(steps=np.asarray(taken, np.int32))
        if int(found.code) not in (STEP_LIMIT, STUCK) or taken >= int(options.max_steps):
            return found
        slope = -np.asarray(problem.basis) @ found.statistics["gradient"]
        free, now = turned(problem.inner.layout, found.free, slope)
        if int(found.code) == STUCK and not now:
            return found
        problem = problem._replace(start=problem.basis.T @ (free - problem.offset))
