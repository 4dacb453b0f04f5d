"""The compiled half of rotation.py: gradient projection from many starts, and derivatives at a stationary point.

T moves on its manifold by `_move` with coordinates x [factor, factor], in which gradients and Hessians are taken. All
starts run side by side (Jennrich 2001, 2002, Psychometrika 66 and 67), with Barzilai-Borwein steps and a nonmonotone
test of decrease; the best end is finished by damped Newton steps. No LAPACK runs in a batch: see linalg.py.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxlatent.numerics.linalg import spd_solve
from jaxlatent.numerics.program import jit
from jaxlatent.numerics.rotation_criteria import inverse

ROUGH, FINE, ENOUGH = 1e-5, 1e-12, 1e-8  # gradient norms relative to the mean one at the starts
SEARCH_STEPS, NEWTON_STEPS = 1000, 100


def unit_rows(a: Any) -> jax.Array:
    """A with rows of length one (Kaiser 1958); rows of zeros stay."""
    square = (a * a).sum(1, keepdims=True)
    return a / jnp.sqrt(jnp.where(square > 0, square, 1))


@functools.partial(jit, static_argnames=("oblique", "promax"))
def outcome(a: Any, t: Any, power: Any, oblique: bool, promax: bool) -> tuple[jax.Array, jax.Array]:
    """Λ and T. Promax regresses |Λ|^power sign(Λ) on orthogonal Λ and scales (Hendrickson and White 1964)."""
    rotated = _turned(a, t, oblique)
    if not promax:
        return rotated, t
    aim = rotated * jnp.abs(rotated) ** (power - 1)
    u = inverse(rotated.T @ rotated) @ (rotated.T @ aim)
    back = inverse(u).T
    length = jnp.sqrt((back * back).sum(0))
    return rotated @ u * length, t @ back / length


def _turned(a: Any, t: Any, oblique: bool) -> jax.Array:
    return a @ inverse(t).T if oblique else a @ t


def _move(t: jax.Array, x: jax.Array, oblique: bool) -> jax.Array:
    """T moved by x [factor, factor]: columns rescaled to length one, or the Cayley transform of the skew part of x."""
    if oblique:
        moved = t + x
        return moved / jnp.sqrt((moved * moved).sum(0))
    half, eye = (x - x.T) / 4, jnp.eye(t.shape[0], dtype=t.dtype)
    moved = t @ inverse(eye - half) @ (eye + half)
    return moved @ (3 * eye - moved.T @ moved) / 2  # keeps T orthogonal over many steps


def _project(t: jax.Array, x: jax.Array, oblique: bool) -> jax.Array:
    """The part of x [factor, factor] along which `_move` goes anywhere."""
    return x - t * (t * x).sum(0) if oblique else (x - x.T) / 2


def _gradient(value: Any, t: jax.Array, oblique: bool) -> tuple[jax.Array, jax.Array]:
    """The criterion at T and its gradient in the x of `_move`, at x = 0."""
    f, g = jax.value_and_grad(value)(t)
    return f, _project(t, g if oblique else t.T @ g, oblique)


def _directions(t: jax.Array, oblique: bool) -> tuple[jax.Array, jax.Array]:
    """The projected unit x and the T' they bring, both [factor², factor, factor]."""
    eye = jnp.eye(t.size, dtype=t.dtype).reshape(-1, *t.shape)
    x = jax.vmap(lambda e: _project(t, e, oblique))(eye)
    return x, x if oblique else t @ x


def _curvature(value: Any, t: jax.Array, oblique: bool) -> jax.Array:
    """The derivative of the gradient [factor², factor²], a Hessian at stationary points, made symmetric elsewhere.

    Along the x that change nothing it has the mean curvature, so that it can be inverted.
    """
    x, turns = _directions(t, oblique)
    flat, q = x.reshape(t.size, t.size), t.size
    change = jax.vmap(lambda d: jax.jvp(lambda t: _gradient(value, t, oblique)[1], (t,), (d,))[1])(turns)
    hessian = change.reshape(q, q) @ flat
    hessian = (hessian + hessian.T) / 2
    return hessian + jnp.abs(jnp.diagonal(hessian)).mean() * (jnp.eye(q, dtype=t.dtype) - flat)


class _State(NamedTuple):
    t: jax.Array
    value: jax.Array
    gradient: jax.Array  # in the coordinates x of _move, at x = 0
    size: jax.Array  # of the next step, or the damping of Newton's
    reference: jax.Array  # a running mean of values: what a step must stay below
    weight: jax.Array
    steps: jax.Array


@functools.partial(jit, static_argnames=("criterion", "oblique"))
def search(a: Any, starts: Any, options: Any, criterion: Any, oblique: bool) -> tuple[jax.Array, ...]:
    """The best T, its criterion, whether it is stationary, and how many starts came to it."""

    def value(t: jax.Array) -> jax.Array:
        return criterion(_turned(a, t, oblique), *options)

    def evaluate(t: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _gradient(value, t, oblique)

    values, gradients = jax.vmap(evaluate)(starts)
    scale = jnp.sqrt((gradients**2).sum((1, 2))).mean()

    def descend(t: jax.Array, f: jax.Array, g: jax.Array) -> _State:
        zero = jnp.zeros((), jnp.int32)
        first = _State(t, f, g, 0.3 / (_norm(g) + 1e-9 * scale), f, jnp.ones_like(f), zero)
        going = lambda s: (_norm(s.gradient) > ROUGH * scale) & (s.steps < SEARCH_STEPS)  # noqa: E731
        return lax.while_loop(going, lambda s: _descent(s, evaluate, oblique), first)

    ends = jax.vmap(descend)(starts, values, gradients)
    reached = jnp.where(jnp.isfinite(ends.value), ends.value, jnp.inf)
    best = jax.tree.map(lambda x: x[jnp.argmin(reached)], ends)

    def going(s: _State) -> jax.Array:
        return (_norm(s.gradient) > FINE * scale) & (s.steps < NEWTON_STEPS) & (s.size < 1e8)

    last = best._replace(size=jnp.zeros_like(scale), steps=jnp.zeros((), jnp.int32))
    last = lax.while_loop(going, lambda s: _newton(s, value, evaluate, oblique), last)
    same = reached <= last.value + 1e-6 * (jnp.abs(last.value) + jnp.ptp(values))
    return last.t, last.value, _norm(last.gradient) <= ENOUGH * scale, same.sum()


def _norm(x: jax.Array) -> jax.Array:
    return jnp.sqrt((x * x).sum())


def _descent(s: _State, evaluate: Any, oblique: bool) -> _State:
    """One projected gradient step: kept below the running mean of values (Zhang and Hager 2004), else quartered."""
    x = -s.size * s.gradient
    t = _move(s.t, x, oblique)
    f, g = evaluate(t)
    better = jnp.isfinite(f) & jnp.isfinite(g).all() & (f <= s.reference - 1e-4 * s.size * (s.gradient**2).sum())
    bend = (x * (g - s.gradient)).sum()
    longest = 1 / (_norm(g) + jnp.finfo(g.dtype).tiny)
    size = jnp.where(bend > 0, jnp.minimum((x * x).sum() / jnp.where(bend > 0, bend, 1), longest), longest)
    weight = 0.85 * s.weight + 1
    reference = (0.85 * s.weight * s.reference + f) / weight
    new = _State(t, f, g, size, reference, weight, s.steps)
    kept = jax.tree.map(lambda n, o: jnp.where(better, n, o), new, s._replace(size=s.size / 4))
    return kept._replace(steps=s.steps + 1)


def _newton(s: _State, value: Any, evaluate: Any, oblique: bool) -> _State:
    """One damped Newton step in the coordinates of `_move`; damped more where it does not help."""
    hessian = _curvature(value, s.t, oblique)
    scale = jnp.abs(jnp.diagonal(hessian)).mean()
    x = -spd_solve(hessian + s.size * scale * jnp.eye(s.t.size, dtype=s.t.dtype), s.gradient.ravel())
    t = _move(s.t, x.reshape(s.t.shape), oblique)
    f, g = evaluate(t)
    closer = (f < s.value) | (_norm(g) < _norm(s.gradient))
    better = jnp.isfinite(g).all() & closer & (f <= s.value + 1e-12 * jnp.abs(s.value))
    size = jnp.where(better, jnp.where(s.size < 1e-4, 0, s.size / 10), jnp.maximum(8 * s.size, 1e-3))
    new = s._replace(t=t, value=f, gradient=g)
    kept = jax.tree.map(lambda n, o: jnp.where(better, n, o), new, s)
    return kept._replace(size=size, steps=s.steps + 1)


@functools.partial(jit, static_argnames=("criterion", "oblique", "normalize", "promax"))
def derivatives(
    a: Any, t: Any, options: Any, power: Any, criterion: Any, oblique: bool, normalize: bool, promax: bool
) -> tuple[jax.Array, ...]:
    """f_xx, f_xA and the derivatives of (vec Λ, vec Φ) with respect to A and to x, at x = 0."""

    def value(a: jax.Array, t: jax.Array) -> jax.Array:
        return criterion(_turned(unit_rows(a) if normalize else a, t, oblique), *options)

    def both(a: jax.Array, t: jax.Array) -> jax.Array:
        rotated, turn = outcome(a, t, power, oblique, promax)
        return jnp.concatenate([rotated.ravel(), (turn.T @ turn).ravel()])

    cross = jax.jacfwd(lambda a: _gradient(functools.partial(value, a), t, oblique)[1])(a)
    by_loadings, by_t = jax.jacfwd(both, argnums=(0, 1))(a, t)
    by_turn = by_t.reshape(-1, t.size) @ _directions(t, oblique)[1].reshape(t.size, t.size).T
    curvature = _curvature(functools.partial(value, a), t, oblique)
    return curvature, cross.reshape(t.size, a.size), by_loadings.reshape(-1, a.size), by_turn
