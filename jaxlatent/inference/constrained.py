"""Fits under nonlinear equalities (sequential quadratic programming) and inequalities (an active set).

Inequalities are written g(free) >= 0. Those that hold with equality at the optimum are "active": they cost no degrees
of freedom. Which of them are active is data, so that one compiled program serves all rounds of the active set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.inference.active_constraints import derivatives, slack_of
from jaxlatent.inference.chord_engine import Chord
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.fitting import newton_problem, to_host
from jaxlatent.inference.newton_engine import MAX_STEPS, TOLERANCE, Newton, run
from jaxlatent.numerics.newton import CONVERGED, RUNNING, STUCK
from jaxlatent.numerics.sqp import Smooth, SqpState, frame_of, sqp_init, sqp_step
from jaxlatent.spec.expressions import Binary, Expression, affine, evaluate, names
from jaxlatent.spec.table import Constraint, ParameterTable

VIOLATED = 1e-6  # standard errors beyond the boundary
WRONG_SIGN = 3e-7  # of a multiplier, per person's standard deviation: its square is a Newton decrement
FEASIBLE_START = 1e-8


class SqpProblem(NamedTuple):
    """An inner problem, its affine rows (matrix @ free + constant), and which rows hold as equalities now."""

    inner: Any
    matrix: jax.Array  # [affine, free]
    constant: jax.Array  # [affine]
    positions: jax.Array  # [name] of the names in the other expressions
    active: jax.Array  # [affine + expression]
    start: jax.Array
    n: jax.Array | float
    saturated: jax.Array | float
    tolerance: jax.Array | float = TOLERANCE
    max_steps: jax.Array | int = MAX_STEPS


@dataclass(frozen=True)
class Sqp:
    """Sequential quadratic programming on the objective of another engine; expressions are rows after the affine."""

    engine: Newton | Chord
    expressions: tuple[Expression, ...]
    names: tuple[str, ...]

    def init(self, problem: SqpProblem, key: jax.Array | None = None) -> SqpState:
        return sqp_init(self._smooth(problem), problem.start)

    def done(self, state: SqpState) -> jax.Array:
        return state.code != RUNNING

    def step(self, problem: SqpProblem, state: SqpState) -> SqpState:
        return sqp_step(self._smooth(problem), state, problem.tolerance, problem.max_steps)

    def finish(self, problem: SqpProblem, state: SqpState) -> Estimate:
        """vcov is the inverse information within the tangent space; gradient = Jacobian' multipliers."""
        expected = isinstance(self.engine, Newton)
        frame = frame_of(state.at.jacobian, state.expected)
        inverse = frame.reduced_inverse(state.expected if expected else state.hessian)
        statistics = {
            "value": state.at.value,
            "decrement": state.decrement,
            "multipliers": -frame.multipliers(state.at.gradient),
            "row_size": jnp.sqrt(((state.at.jacobian * frame.scale) ** 2).sum(-1)),
        }
        vcov = frame.scale[:, None] * inverse * frame.scale / problem.n
        logl = (problem.saturated if expected else 0.0) - problem.n * state.at.value
        return Estimate(state.at.x, vcov, logl, state.code, state.steps, statistics)

    def _smooth(self, problem: SqpProblem) -> Smooth:
        first, second = _derivatives(self.engine, problem.inner)
        return Smooth(first, second, partial(self._constraints, problem), partial(self._curvature, problem))

    def _values(self, v: jax.Array) -> jax.Array:
        """The expressions [row] at the values of their names."""
        values = dict(zip(self.names, v, strict=True))
        rows = [jnp.asarray(evaluate(e, values, jnp), v.dtype) for e in self.expressions]
        return jnp.stack(rows) if rows else jnp.zeros(0, v.dtype)

    def _constraints(self, problem: SqpProblem, free: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Residuals [row] and their Jacobian [row, free]; zero where a row is not active."""
        v, on = free[problem.positions], problem.active
        wide = jnp.zeros((len(self.expressions), len(free)), free.dtype)
        wide = wide.at[:, problem.positions].add(jax.jacfwd(self._values)(v))
        residual = jnp.concatenate([problem.matrix @ free + problem.constant, self._values(v)])
        jacobian = jnp.concatenate([problem.matrix, wide])
        return jnp.where(on, residual, 0), jnp.where(on[:, None], jacobian, 0)

    def _curvature(self, problem: SqpProblem, free: jax.Array, multipliers: jax.Array) -> jax.Array:
        """Sum of multipliers times Hessians [free, free]; affine rows have none."""
        at, count = problem.positions, len(self.expressions)
        on = problem.active[len(problem.active) - count :]
        hessians = jnp.where(on[:, None, None], jax.hessian(self._values)(free[at]), 0)
        total = jnp.tensordot(multipliers[len(multipliers) - count :], hessians, 1)
        return jnp.zeros((len(free), len(free)), free.dtype).at[at[:, None], at].add(total)


def _derivatives(engine: Newton | Chord, inner: Any) -> tuple[Callable, Callable]:
    """free -> (value, gradient) and free -> (Hessian, positive definite stand-in)."""
    if isinstance(engine, Chord):
        return partial(engine.first, inner), partial(engine.second, inner)
    objective = partial(engine.objective, inner)
    return (lambda free: objective(free)[:2]), (lambda free: objective(free)[2:])


@dataclass(frozen=True)
class Rows:
    """All constraints as rows: linear equalities, affine inequalities, then nonlinear equalities and inequalities.

    order[i] is the row of constraint i, counted as (linear, nonlinear, inequalities).
    """

    matrix: np.ndarray
    constant: np.ndarray
    expressions: tuple[Expression, ...]
    names: tuple[str, ...]
    positions: np.ndarray
    order: np.ndarray
    equalities: int

    def mask(self, active: np.ndarray) -> np.ndarray:
        """Which rows hold as equalities, given the active inequalities."""
        on = np.zeros(len(self.order), bool)
        on[self.order] = np.concatenate([np.ones(self.equalities, bool), active])
        return on


def _rows_of(table: ParameterTable, restrictions: tuple, width: int) -> Rows:
    linear, nonlinear, inequalities = restrictions
    sides = [slack_of(c) for c in inequalities]
    forms = [affine(side) for side in sides]
    straight = [i for i, form in enumerate(forms) if form is not None]
    bent = [i for i, form in enumerate(forms) if form is None]
    matrix = np.zeros((linear.rank + len(straight), width))
    matrix[: linear.rank, : table.n_free] = linear.matrix
    constants = [_affine_row(table, forms[i], row) for i, row in zip(straight, matrix[linear.rank :], strict=True)]
    constant = np.concatenate([-linear.value, constants])
    expressions = (*(Binary("-", c.lhs, c.rhs) for c in nonlinear), *(sides[i] for i in bent))
    used = tuple(dict.fromkeys(name for e in expressions for name in names(e)))
    positions = np.array([table.free_labels[name] - 1 for name in used], int)
    place = np.argsort(np.array([*straight, *bent], int))
    later = np.where(place < len(straight), linear.rank + place, linear.rank + len(nonlinear) + place)
    first = [*range(linear.rank), *(len(matrix) + k for k in range(len(nonlinear)))]
    order = np.concatenate([np.array(first, int), later])
    return Rows(matrix, constant, expressions, used, positions, order, linear.rank + len(nonlinear))


def _affine_row(table: ParameterTable, form: tuple[dict[str, float], float] | None, row: np.ndarray) -> float:
    """Fill a row with the coefficients of an affine form and return its constant."""
    coefficients, constant = form or ({}, 0.0)
    for name, coefficient in coefficients.items():
        row[table.free_labels[name] - 1] += coefficient
    return constant


@dataclass(frozen=True)
class HostProblem:
    """One constrained fit as the host sees it: solved for any set of active inequalities."""

    engine: Newton | Chord
    inner: Any
    restrictions: tuple
    table: ParameterTable
    n: float
    saturated: float
    rows: Rows

    @property
    def nonlinear(self) -> tuple[Constraint, ...]:
        return self.restrictions[1]

    @property
    def inequalities(self) -> tuple[Constraint, ...]:
        return self.restrictions[2]

    def unconstrained(self, start: np.ndarray) -> Estimate:
        """The fit under the linear equalities alone."""
        problem = newton_problem(self.inner, start, self.restrictions[0], self.n, self.saturated)
        return to_host(run(self.engine, problem), self.table.n_free)

    def solve(self, start: np.ndarray, active: np.ndarray) -> Estimate:
        """The fit under all equalities and the active inequalities."""
        r = self.rows
        matrix, constant, positions = jnp.asarray(r.matrix), jnp.asarray(r.constant), jnp.asarray(r.positions)
        begin, on = jnp.asarray(start), jnp.asarray(r.mask(active))
        problem = SqpProblem(self.inner, matrix, constant, positions, on, begin, float(self.n), float(self.saturated))
        sqp = Sqp(self.engine, r.expressions, r.names)
        estimate = to_host(run(sqp, problem), self.table.n_free)
        found = {k: v[r.order] if np.ndim(v) else v for k, v in estimate.statistics.items()}
        return estimate._replace(statistics=found)

    def padded(self, estimate: Estimate) -> np.ndarray:
        """A free vector to start from."""
        out = np.zeros(self.rows.matrix.shape[1])
        out[: self.table.n_free] = estimate.free
        return out

    def slacks(self, estimate: Estimate) -> np.ndarray:
        """How far each inequality is from its boundary, in standard errors; negative where it is violated."""
        value, jacobian, _ = derivatives(self.table, estimate.free, [slack_of(c) for c in self.inequalities])
        variance = np.einsum("ij,jk,ik->i", jacobian, np.nan_to_num(estimate.vcov), jacobian)
        return value / np.sqrt(np.maximum(variance, 1e-300))


def solve_constrained(
    engine: Any, inner: Any, start: np.ndarray, restrictions: tuple, table: ParameterTable, n: float, saturated: float
) -> Estimate:
    """Minimise the engine's objective under linear and nonlinear equalities and inequalities; NumPy out.

    statistics: "multipliers" of the (linear, nonlinear, inequality) constraints, with gradient = Jacobian' multipliers
    and nonnegative for inequalities; "active" says which inequalities hold with equality. A fit that needs nothing but
    linear equalities is the unconstrained fit itself and has no multipliers.
    """
    with jax.enable_x64(True), np.errstate(all="ignore"):
        rows = _rows_of(table, restrictions, len(start))
        problem = HostProblem(engine, inner, restrictions, table, n, saturated, rows)
        estimate = _equality_fit(problem, start)
        if problem.inequalities:
            estimate = _active_set(problem, start, estimate)
    estimate.statistics.pop("row_size", None)
    return estimate


def _equality_fit(problem: HostProblem, start: np.ndarray) -> Estimate:
    """The fit without the inequalities, begun at the unconstrained optimum if the start breaks an equality.

    The other of these two points is tried where the first does not lead to an optimum.
    """
    if not problem.nonlinear:
        return problem.unconstrained(start)
    none = np.zeros(len(problem.inequalities), bool)
    first = problem.solve(start, none) if _feasible(problem, start) else None
    if first is not None and first.code == CONVERGED:
        return first
    nearby = problem.unconstrained(start)
    second = problem.solve(problem.padded(nearby), none) if nearby.code == CONVERGED else None
    if second is not None and (second.code == CONVERGED or first is not None):
        return second
    return problem.solve(start, none) if first is None else first


def _feasible(problem: HostProblem, start: np.ndarray) -> bool:
    linear, free = problem.restrictions[0], start[: problem.table.n_free]
    bent = derivatives(problem.table, free, [Binary("-", c.lhs, c.rhs) for c in problem.nonlinear])[0]
    straight = linear.matrix @ free - linear.value
    return bool((np.abs(np.concatenate([bent, straight])) < FEASIBLE_START).all())


def _active_set(problem: HostProblem, start: np.ndarray, base: Estimate) -> Estimate:
    """Find the active inequalities by quadratic programs around the fit without them; else one at a time."""
    slack, none = problem.slacks(base), np.zeros(len(problem.inequalities), bool)
    if (slack >= -VIOLATED).all():
        return base._replace(statistics=base.statistics | {"active": none})
    estimate = base
    if base.code == CONVERGED:
        begin, guess = problem.padded(base), partial(_change_by_program, problem, base)
        estimate = _rounds(problem, begin, guess(none, base, np.zeros(len(none))), guess)
    if base.code != CONVERGED or estimate.code != CONVERGED:
        guess = partial(_change_one, problem)
        estimate = _rounds(problem, start, guess(none, base, np.zeros(len(none))), guess)
    return estimate._replace(steps=estimate.steps + base.steps)


def _rounds(problem: HostProblem, start: np.ndarray, active: np.ndarray, change: Callable) -> Estimate:
    """Solve and change the active set until nothing is violated or holds the fit back; STUCK where a set comes back."""
    seen: set[bytes] = set()
    steps = 0
    while True:
        seen.add(active.tobytes())
        estimate = problem.solve(start, active)
        steps += estimate.steps
        estimate = estimate._replace(steps=steps, statistics=estimate.statistics | {"active": active})
        if estimate.code != CONVERGED:
            return estimate
        pull = _pull(problem, estimate)
        if np.where(active, pull >= -WRONG_SIGN, problem.slacks(estimate) >= -VIOLATED).all():
            return estimate
        after = change(active, estimate, pull)
        if after.tobytes() in seen or len(seen) > 20 * len(active):
            return estimate._replace(code=np.asarray(STUCK, np.int32))
        start, active = problem.padded(estimate), after


def _pull(problem: HostProblem, estimate: Estimate) -> np.ndarray:
    """Multipliers of the inequalities in the optimiser's scale; negative where one keeps the fit from improving."""
    s = estimate.statistics
    return (s["multipliers"] * s["row_size"])[problem.rows.equalities :]


def _change_one(problem: HostProblem, active: np.ndarray, estimate: Estimate, pull: np.ndarray) -> np.ndarray:
    """Drop the worst inequality with a multiplier of the wrong sign, else add the one violated most."""
    slack = np.nan_to_num(problem.slacks(estimate), nan=-np.inf)
    pull, slack = np.where(active, pull, np.inf), np.where(active, np.inf, slack)
    out = active.copy()
    if pull.min() < -WRONG_SIGN:
        out[pull.argmin()] = False
    else:
        out[slack.argmin()] = True
    return out


def _change_by_program(
    problem: HostProblem, base: Estimate, active: np.ndarray, estimate: Estimate, pull: np.ndarray
) -> np.ndarray:
    """The active set of a quadratic program at the estimate, with the inverse Hessian of the fit without inequalities.

    min g'd + d'H d / 2 with G d + slack >= 0 becomes, with H^-1 = L L' and d = -H^-1 g + L z, the least distance
    program min |z| with E z >= f, which nonnegative least squares solves (Lawson and Hanson 1974, chapter 23).
    """
    slack, rows, _ = derivatives(problem.table, estimate.free, [slack_of(c) for c in problem.inequalities])
    inverse = np.nan_to_num(base.vcov) * problem.n
    size, vectors = np.linalg.eigh((inverse + inverse.T) / 2)
    half = vectors * np.sqrt(np.maximum(size, 0))
    multipliers = estimate.statistics.get("multipliers", np.zeros(0))[problem.rows.equalities :]
    ahead = slack - (rows @ inverse @ rows[active].T @ multipliers[active] if active.any() else 0)
    unit = np.maximum(np.linalg.norm(rows @ half, axis=1), 1e-150)
    program = np.column_stack([rows @ half, -ahead]) / unit[:, None]
    try:
        from scipy.optimize import nnls  # not where all who import would pay for it

        return nnls(program.T, np.append(np.zeros(len(half)), 1.0))[0] > 0
    except (ValueError, RuntimeError):  # not finite; too many iterations
        return _change_one(problem, active, estimate, pull)
