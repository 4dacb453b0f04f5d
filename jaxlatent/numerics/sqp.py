"""Second-order sequential quadratic programming: minimise f(x) subject to h(x) = 0.

With coordinates scaled by the diagonal of the expected Hessian, O orthonormal rows that span those of the Jacobian J
and P = I - O'O, one step is

    normal    d_n = -J^+ h
    tangent   d_t = -(P H P + O'O)^-1 P (g + H d_n)        H: Hessian of f + lambda' h, lambda by least squares

which solves the KKT system of the quadratic model. Two corrections towards the constraints follow (they cost no
evaluation of f and prevent the Maratos effect); an l1 merit function accepts or refuses the step, and refusals grow a
damping that shortens both parts. Constraints that are switched off are rows of zeros, and dependent rows are left out.
Nothing but ``spd_inverse`` factorises, so that steps are safe under vmap.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlatent.numerics.linalg import spd_inverse
from jaxlatent.numerics.newton import BAD_START, CONVERGED, RUNNING, STEP_LIMIT, STUCK

FEASIBLE = 1e-10  # of a constraint, relative to 1 + the size of its terms
CORRECTIONS = 2
DEPENDENT = 1e-8  # what is left of a row, relative to its length, where the others span it


class Smooth(NamedTuple):
    """What is minimised and on what: all functions of x [q].

    first: value (), gradient [q]; second: Hessian and a positive definite stand-in [q, q]; constraints: residual [k]
    and Jacobian [k, q]; curvature: (x, multipliers [k]) -> sum of their Hessians [q, q].
    """

    first: Callable[[jax.Array], tuple[jax.Array, jax.Array]]
    second: Callable[[jax.Array], tuple[jax.Array, jax.Array]]
    constraints: Callable[[jax.Array], tuple[jax.Array, jax.Array]]
    curvature: Callable[[jax.Array, jax.Array], jax.Array]


class Point(NamedTuple):
    """Everything known at one x."""

    x: jax.Array
    value: jax.Array
    gradient: jax.Array
    residual: jax.Array
    jacobian: jax.Array


class SqpState(NamedTuple):
    """The best point so far, and the one to look at next: every step evaluates once, so little is compiled."""

    at: Point
    hessian: jax.Array
    expected: jax.Array
    trial: jax.Array  # x to look at next
    decrement: jax.Array  # of the step to the trial; nan where there is none
    penalty: jax.Array  # [k] of the merit function
    damping: jax.Array
    steps: jax.Array
    code: jax.Array


class Frame(NamedTuple):
    """scale [q] of the coordinates, orthonormal rows O [k, q] of the scaled Jacobian J, recipe T [k, k]: O = T J."""

    scale: jax.Array
    rows: jax.Array
    recipe: jax.Array

    def normal(self, residual: jax.Array) -> jax.Array:
        """J^+ residual: the shortest scaled step that changes the constraints by this much."""
        return (self.recipe @ residual) @ self.rows

    def tangent(self, v: jax.Array) -> jax.Array:
        """P v."""
        return v - (self.rows @ v) @ self.rows

    def multipliers(self, gradient: jax.Array) -> jax.Array:
        """lambda [k] that makes gradient + J' lambda shortest; zero for dependent rows."""
        return -(self.rows @ (self.scale * gradient)) @ self.recipe

    def reduced_inverse(self, h: jax.Array, damping: jax.Array | float = 0.0) -> jax.Array:
        """Inverse of the scaled h + damping within the tangent space, zero outside it; nan where not definite."""
        h = self.scale[:, None] * h * self.scale
        outside = self.rows.T @ self.rows
        inside = jnp.eye(h.shape[0], dtype=h.dtype) - outside
        inverse = spd_inverse(inside @ h @ inside + damping * inside + outside)[0]
        return inside @ inverse @ inside


def orthonormal_rows(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """O and T with O = T a and O O' = I, by Gram-Schmidt done twice; rows that depend on earlier ones become zero."""
    k = a.shape[0]

    def add(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        rows, recipe = carry
        row, mix = a[i], jnp.zeros(k, a.dtype).at[i].set(1)
        for _ in range(2):
            part = rows @ row
            row, mix = row - part @ rows, mix - part @ recipe
        length = jnp.sqrt(row @ row)
        kept = length > DEPENDENT * jnp.sqrt(a[i] @ a[i])
        factor = jnp.where(kept, 1 / jnp.where(kept, length, 1), 0)
        return rows.at[i].set(factor * row), recipe.at[i].set(factor * mix)

    return jax.lax.fori_loop(0, k, add, (jnp.zeros_like(a), jnp.zeros((k, k), a.dtype)))


def frame_of(jacobian: jax.Array, expected: jax.Array) -> Frame:
    """The frame at a point, coordinates scaled by the expected Hessian."""
    size = jnp.diagonal(expected)
    scale = jnp.where(size > 0, jax.lax.rsqrt(jnp.where(size > 0, size, 1)), 1)
    return Frame(scale, *orthonormal_rows(jacobian * scale))


def sqp_init(smooth: Smooth, x: jax.Array) -> SqpState:
    """The state before the start has been looked at."""
    empty = lambda f: jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(f, x))  # noqa: E731
    at = empty(partial(_point, smooth))
    infinite = jnp.full_like(at.value, jnp.inf)
    before, running = jnp.full((), -1, jnp.int32), jnp.full((), RUNNING, jnp.int32)
    zero, at = jnp.zeros_like(at.value), at._replace(x=x, value=infinite)
    hessian, expected = empty(smooth.second)
    return SqpState(at, hessian, expected, x, infinite, jnp.zeros_like(at.residual), zero, before, running)


def sqp_step(smooth: Smooth, s: SqpState, tolerance: jax.Array | float, max_steps: jax.Array | int) -> SqpState:
    """Look at the trial, keep it unless the merit function rises (then the damping grows), and propose the next."""
    new, second = _point(smooth, s.trial), smooth.second(s.trial)
    finite = jnp.isfinite(jnp.concatenate([jnp.ravel(a) for a in (*new, *second)])).all()
    merit = lambda p: p.value + s.penalty @ jnp.abs(p.residual)  # noqa: E731
    slack = 1e-11 * (1 + jnp.abs(s.at.value))
    better = finite & jnp.logical_not(jnp.isnan(s.decrement)) & (merit(new) <= merit(s.at) + slack)
    keep = lambda a, b: jnp.where(better, a, b)  # noqa: E731
    at = jax.tree.map(keep, new, s.at)
    hessian, expected = keep(second[0], s.hessian), keep(second[1], s.expected)
    damping = keep(jnp.where(s.damping < 1e-5, 0, s.damping / 10), jnp.maximum(8 * s.damping, 1e-2))
    small = better & (s.decrement < tolerance) & (s.damping < 1e-5)
    code = _code(s, at, better, small, damping, max_steps)
    trial, decrement, multipliers = _proposal(smooth, at, hessian, expected, damping)
    penalty = jnp.maximum(s.penalty, 2 * multipliers)
    return SqpState(at, hessian, expected, trial, decrement, penalty, damping, s.steps + 1, code)


def _code(
    s: SqpState, at: Point, better: jax.Array, small: jax.Array, damping: jax.Array, max_steps: jax.Array | int
) -> jax.Array:
    stalled = jnp.abs(at.residual).sum() > 0.5 * jnp.abs(s.at.residual).sum()
    code = jnp.where(s.steps + 1 >= max_steps, STEP_LIMIT, RUNNING)
    code = jnp.where((damping > 1e10) | (small & stalled), STUCK, code)
    code = jnp.where(small & feasible(at), CONVERGED, code)
    return jnp.where((s.steps < 0) & jnp.logical_not(better), BAD_START, code).astype(jnp.int32)


def feasible(at: Point) -> jax.Array:
    """Whether all constraints hold, each relative to the size of its terms."""
    size = 1 + (jnp.abs(at.jacobian) * jnp.abs(at.x)).sum(-1)
    return (jnp.abs(at.residual) <= FEASIBLE * size).all()


def _proposal(
    smooth: Smooth, at: Point, hessian: jax.Array, expected: jax.Array, damping: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """x + d_n + d_t corrected, the decrement of the step, and the size of the multipliers before and after it.

    The Hessian is that of the Lagrangian, or the expected one if that is indefinite in the tangent space.
    """
    frame = frame_of(at.jacobian, expected)
    multipliers = frame.multipliers(at.gradient)
    share = 1 / (1 + damping)
    normal = -share * frame.normal(at.residual)
    observed = hessian + smooth.curvature(at.x, multipliers)
    inverse = frame.reduced_inverse(observed, damping)
    usable = jnp.isfinite(inverse).all()
    inverse = jax.lax.cond(usable, lambda: inverse, lambda: frame.reduced_inverse(expected, damping))
    model = jnp.where(usable, observed, expected)
    slope = frame.tangent(frame.scale * (at.gradient + model @ (frame.scale * normal)))
    tangent = -inverse @ slope
    step = frame.scale * (normal + tangent)
    after = frame.multipliers(at.gradient + model @ step)
    decrement = normal @ normal - slope @ tangent
    ok = jnp.isfinite(decrement)
    x = _corrected(smooth, frame, at.x + jnp.where(ok, step, 0), (1 - share) * at.residual)
    size = jnp.maximum(jnp.abs(multipliers), jnp.abs(after))
    return x, jnp.where(ok, decrement, jnp.nan), jnp.where(ok, size, 0)


def _corrected(smooth: Smooth, frame: Frame, x: jax.Array, target: jax.Array) -> jax.Array:
    """Pull x towards h(x) = target with the Jacobian of the frame, as long as that helps."""

    def correct(_: int, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        x, off = carry
        trial = x - frame.scale * frame.normal(off)
        trial_off = smooth.constraints(trial)[0] - target
        helps = jnp.abs(trial_off).sum() < jnp.abs(off).sum()
        return jnp.where(helps, trial, x), jnp.where(helps, trial_off, off)

    return jax.lax.fori_loop(0, CORRECTIONS, correct, (x, smooth.constraints(x)[0] - target))[0]


def _point(smooth: Smooth, x: jax.Array) -> Point:
    return Point(x, *smooth.first(x), *smooth.constraints(x))
