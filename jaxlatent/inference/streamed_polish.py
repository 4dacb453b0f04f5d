"""Second-order steps on data that stream by: likelihood, score and information as sums over batches of a file.

What ``marginal_engine`` does with all persons at hand. Every pass takes the same points of every person, those of its
batch's number, so that the sum is one smooth function; modes are found anew in every pass, and nothing of a person is
kept. Steps are Newton's, by the observed information (that of the complete data where it is not positive definite),
which is kept as long as a step with it brings the maximum much nearer: information costs several times the score. Where
it costs very much, cross-products of scores take its place until they no longer do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.item_data import ItemData, ItemRows
from jaxlatent.inference.marginal_engine import feasible_step
from jaxlatent.inference.marginal_fit import AFFORDABLE, form_of, problem_of, reduction
from jaxlatent.inference.priors import Priors
from jaxlatent.models.louis import information
from jaxlatent.models.marginal import evaluate
from jaxlatent.models.points import Form, Problem
from jaxlatent.numerics.newton import CONVERGED, RUNNING, STEP_LIMIT, STUCK
from jaxlatent.numerics.program import jit
from jaxlatent.spec.item_table import ItemTable
from jaxlatent.spec.layout import Layout
from jaxlatent.spec.two_tier import reduction_of

BATCH = 8192  # persons of a part
MODE_STEPS = 8  # of Newton's method towards every person's mode, from 0
MOST_STEPS, SHORTER = 20, 5
NEARER = 0.1  # share of the decrement before a step that is left by a good one
TOLERANCE = {True: 1e-5, False: 1e-8}  # of the decrement, squared standard errors: points of persons, or of all
SLACK = 1e-6


class PersonBatches(Protocol):
    """A source of persons in batches of one size."""

    def batches(self, size: int, key: int, epoch: int, *, shuffle: bool = True) -> Iterator[tuple[Arrays, Any]]:
        """Arrays and persons of each batch; padding has weight 0."""


class Passed(NamedTuple):
    """Of one pass, in reduced coordinates: minus the log of likelihood times prior, gradient, sum of S S' (zeros where
    it is not wanted), information and that of the complete data (None where not wanted).
    """

    value: float
    gradient: np.ndarray
    cross: np.ndarray
    information: np.ndarray | None
    complete: np.ndarray | None


@partial(jit, static_argnums=(0, 1))
def _sums(
    form: Form, second: bool, problem: Problem, free: jax.Array, modes: jax.Array, crossed: jax.Array
) -> tuple[jax.Array, ...]:
    at = evaluate(form, problem, free, modes, MODE_STEPS, crossed)
    more = information(form, problem, free, at.modes, 0) if second else ()
    return at.log_likelihood, at.score, at.cross, *more


@dataclass(frozen=True)
class StreamedLikelihood:
    """The marginal likelihood of a file by a rule; sample: some of its persons, in memory."""

    source: PersonBatches
    table: ItemTable
    layout: Layout
    form: Form
    rule: Any
    priors: Priors
    sample: ItemRows
    n_persons: int
    key: int

    def passed(self, x: np.ndarray, *, second: bool, crossed: bool) -> Passed:
        """Sums over all persons at reduced coordinates x."""
        offset, z = reduction(self.table)
        free = jnp.asarray(offset + z @ x)
        total: tuple[np.ndarray, ...] = ()
        for problem, modes in self._problems():
            found = _sums(self.form, second, problem, free, modes, jnp.asarray(crossed))
            own = tuple(np.asarray(a, float) for a in found)
            total = tuple(a + b for a, b in zip(total, own, strict=True)) if total else own
        prior, slope, bend = (np.asarray(a) for a in self.priors.second_order(self.layout, free))
        value, score, cross, *more = total
        both = [z.T @ (a - bend) @ z for a in more] or [None, None]
        return Passed(-float(value) - float(prior), -z.T @ (score + slope), z.T @ cross @ z, *both)

    @cached_property
    def _some(self) -> Problem:
        """The likelihood's arrays of the sample."""
        return problem_of(self.form, self.layout, self.sample, self.table.n_groups, self.rule, self.key)[0]

    @property
    def is_costly(self) -> bool:
        """Whether cross-products of scores have to do as a guide, as in memory."""
        return self.n_persons * self._some.n_points * self.table.n_free**2 > AFFORDABLE

    def _problems(self) -> Iterator[tuple[Problem, np.ndarray]]:
        """The likelihood's arrays of one part after the other, all of one shape."""
        groups, d, some = self.table.n_groups, len(self.table.factors), self._some
        size = min(BATCH, 1 << max(self.n_persons - 1, 7).bit_length())
        for k, (arrays, _) in enumerate(self.source.batches(size, 0, 0, shuffle=False)):
            data = _rows(arrays)
            problem, modes, _ = problem_of(self.form, self.layout, data, groups, self.rule, self.key + 7919 * k)
            persons = problem.chunks.shape[1]
            short = -(-size // persons) + groups - 1 - len(modes)
            more = lambda a, n=short: np.pad(np.asarray(a), [(0, n)] + [(0, 0)] * (np.ndim(a) - 1))  # noqa: E731
            points = problem.points
            if self.form.personal and points.z.shape[0] == len(modes):
                points = points._replace(z=more(points.z))
            design = {"design_mean": some.design_mean, "design_cov": some.design_cov}
            yield (
                problem._replace(chunks=jax.tree.map(more, problem.chunks), points=points, **design),
                np.zeros((len(modes) + short, persons, d), modes.dtype),
            )


def _rows(arrays: Arrays) -> ItemData:
    """Codes with missing answers marked."""
    y, seen = np.asarray(arrays.y), np.asarray(arrays.observed)
    codes = np.where(seen, y, -1) if y.dtype == np.int8 else np.where(seen, y.astype(float), np.nan)
    z = None if arrays.covariates is None else np.asarray(arrays.covariates, float)
    return ItemData(codes.astype(y.dtype if y.dtype == np.int8 else float), np.asarray(arrays.group),
                    np.asarray(arrays.weight, float), z)  # fmt: skip


def likelihood_of(
    source: PersonBatches, table: ItemTable, layout: Layout, measurement: Any, coding: Any, rule: Any, priors: Priors,
    sample: ItemRows, n_persons: int, key: int,
) -> StreamedLikelihood:  # fmt: skip
    """The likelihood of a source under a rule."""
    form = form_of(measurement, coding, rule, reduction_of(layout))
    return StreamedLikelihood(source, table, layout, form, rule, priors, sample, n_persons, key)


def polish_streamed(likelihood: StreamedLikelihood, start: np.ndarray, se: str, say: Callable[[str], None]) -> Estimate:
    """The maximum near a free vector [n_free]; Ctrl-C gives the last good point, as not converged.

    se: "observed", "crossprod" or "none", which decides what is computed there.
    """
    offset, z = reduction(likelihood.table)
    tolerance, crossed = TOLERANCE[likelihood.form.personal], se == "crossprod"
    x = z.T @ (start - offset)
    code, steps, decrement, before = RUNNING, 0, np.inf, np.inf
    costly = likelihood.is_costly
    at = likelihood.passed(x, second=not costly, crossed=crossed or costly)
    matrix, exact = at.cross if costly else _positive(at), not costly
    try:
        while code == RUNNING:
            direction = -np.linalg.solve(matrix, at.gradient)
            decrement = float(-at.gradient @ direction)
            say(f"log-likelihood {-at.value:.3f}")
            if decrement < tolerance and (exact or se != "observed"):
                code = CONVERGED
                continue
            if not exact and (decrement < tolerance or decrement > NEARER * before):
                at = likelihood.passed(x, second=True, crossed=crossed)
                matrix, exact = _positive(at), True
                continue
            direction = np.asarray(
                feasible_step(likelihood.form, likelihood.layout, offset, z, jnp.asarray(x), jnp.asarray(direction))
            )
            found = _nearer(likelihood, x, at, direction, crossed, matrix)
            steps += 1
            if found is None:
                code = STUCK
                continue
            moved, new = found
            x, at, exact, before = moved, new, False, decrement
            code = STEP_LIMIT if steps >= MOST_STEPS else RUNNING
    except KeyboardInterrupt:
        code = RUNNING
    free = offset + z @ x
    prior = float(likelihood.priors.second_order(likelihood.layout, jnp.asarray(free))[0])
    nothing = np.full((len(x), len(x)), np.nan)
    statistics = {
        "value": at.value, "decrement": decrement, "information": nothing if at.information is None else at.information,
        "cross": at.cross if crossed else nothing, "gradient": at.gradient, "log_prior": prior,
    }  # fmt: skip
    return Estimate(free, np.full((len(free),) * 2, np.nan), -at.value - prior, code, steps, statistics)


def _nearer(
    likelihood: StreamedLikelihood, x: np.ndarray, at: Passed, direction: np.ndarray, crossed: bool, matrix: np.ndarray
) -> tuple[np.ndarray, Passed] | None:
    """A point along a direction whose value is no higher, with its sums; None where there is none.

    Jackknifed scores are 0 where few points put no maximum of the value: there a step with smaller scores will do.
    """
    most = at.value + SLACK * (1 + abs(at.value))
    decrement = at.gradient @ np.linalg.solve(matrix, at.gradient)
    for _ in range(SHORTER):
        new = likelihood.passed(x + direction, second=False, crossed=crossed)
        smaller = likelihood.form.jackknife and new.gradient @ np.linalg.solve(matrix, new.gradient) < decrement
        if np.isfinite(new.gradient).all() and np.isfinite(new.value) and (new.value <= most or smaller):
            return x + direction, new
        direction = direction / 4
    return None


def _positive(at: Passed) -> np.ndarray:
    """The observed information, or where it is not positive definite that of the complete data."""
    assert at.information is not None and at.complete is not None
    size = np.linalg.eigvalsh(at.information) if np.isfinite(at.information).all() else np.array([-1.0])
    return at.information if size.min() > 0 else at.complete
