"""Rotation of factor loadings by gradient projection from many starts, with derivatives of the rotated solution.

Orthogonal: Λ = A T with T'T = I. Oblique: Λ = A (T')^-1 with diag(T'T) = 1 and Φ = T'T. All starts run side by side in
one compiled program: gradient projection (Jennrich 2001, 2002, Psychometrika 66 and 67) with Barzilai-Borwein steps and
a nonmonotone test of decrease; the best one is finished by damped Newton steps. Both move on the manifold by `_move`.
The criteria are in rotation_criteria.py.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxlatent.numerics.linalg import spd_solve
from jaxlatent.numerics.rotation_criteria import Method, biquartimin, find_method, inverse
from jaxlatent.numerics.rotation_criteria import bigeomin as bigeomin_criterion

ROUGH, FINE, ENOUGH = 1e-5, 1e-12, 1e-8  # gradient norms relative to the mean one at the starts
SEARCH_STEPS, NEWTON_STEPS = 1000, 100


class Settings(NamedTuple):
    """A rotation with all its choices made; `options` are the criterion's, `power` is promax's or None."""

    name: str
    method: Method
    options: tuple[Any, ...]
    oblique: bool
    normalize: bool
    power: float | None


class Rotation(NamedTuple):
    """Rotated loadings Λ [item, factor], T and Φ = T'T [factor, factor], the criterion and how it was reached.

    Λ = A (T')^-1. `stationary` is the T at which the criterion has its minimum: T itself, but before the power for
    promax. `reached` counts the starts that ended at the same value.
    """

    loadings: np.ndarray
    rotation: np.ndarray
    factor_cov: np.ndarray
    value: float
    converged: bool
    reached: int
    stationary: np.ndarray
    settings: Settings


def rotate(
    loadings: np.ndarray,
    method: str,
    *,
    key: int = 0,
    starts: int = 30,
    normalize: bool | None = None,
    orthogonal: bool | None = None,
    **options: Any,
) -> Rotation:
    """Rotated loadings minimising a criterion f(Λ), Λ = A (T')^-1, from `starts` starts, the first being T = I.

    `loadings` is A [item, factor]. None for `normalize` (rows scaled to length one, Kaiser) and `orthogonal` means what
    goes with the method: rows are normalised for varimax and promax. Options: gamma (oblimin, orthomax), kappa
    (crawford-ferguson), epsilon (geomin, bigeomin), power (promax), zeros (simplimax), target and weights
    [item, factor] (target; a nan in the target is a free cell). The loadings of each factor sum to a positive number
    and factors are in order of their sums of squares; a general factor stays first, factors with a target stay where
    it has them, and "none" changes nothing.

    Raises ValueError for unknown methods and options and for unusable loadings or targets.
    Bernaards and Jennrich (2005), Educational and Psychological Measurement 65.
    """
    a = _checked(loadings)
    settings = _settings(method, a.shape, normalize, orthogonal, options)
    m = a.shape[1]
    if starts < 1:
        raise ValueError(f"Expected at least one start; got {starts}")
    if m == 1 or settings.name == "none":
        t, value, converged, reached = np.eye(m), 0.0, True, starts
    else:
        begin = _starts(m, starts, key)
        with jax.enable_x64(True):
            rows = _unit_rows(a) if settings.normalize else a
            found = _search(rows, begin, settings.options, settings.method.criterion, settings.oblique)
            t, value, converged, reached = np.asarray(found[0]), float(found[1]), bool(found[2]), int(found[3])
    t = _canonical(a, t, settings)
    rotated, rotation = _finished(a, t, settings)
    return Rotation(rotated, rotation, rotation.T @ rotation, value, converged, reached, t, settings)


def rotation_jacobian(loadings: np.ndarray, rotation: Rotation) -> np.ndarray:
    """d (vec Λ, vec Φ) / d vec A [item·factor + factor², item·factor] at a rotated solution, vec by rows.

    With x the coordinates of T on its manifold and f the criterion, dx = -f_xx^-1 f_xA dA along the stationary points
    (implicit function theorem); rows of Φ that are constant are zero. The covariance matrix of the rotated parameters
    is then J V J' (Jennrich 1973, Psychometrika 38). Raises ValueError where the minimum is not an isolated one.
    """
    a, s = _checked(loadings), rotation.settings
    p, m = a.shape
    if m == 1 or s.name == "none":
        signs = np.tile(np.diagonal(rotation.rotation), p)
        return np.concatenate([np.diag(signs), np.zeros((m * m, p * m))])
    with jax.enable_x64(True):
        parts = _derivatives(
            a, rotation.stationary, s.options, s.power, s.method.criterion, s.oblique, s.normalize, s.power is not None
        )
    curvature, cross, by_loadings, by_turn = (np.asarray(part) for part in parts)
    spectrum = np.linalg.eigvalsh(curvature)
    if not spectrum[0] > 1e-10 * spectrum[-1]:
        raise ValueError("The rotation is not an isolated minimum of its criterion: there are no standard errors")
    return by_loadings - by_turn @ np.linalg.solve(curvature, cross)


def _checked(loadings: np.ndarray) -> np.ndarray:
    a = np.asarray(loadings, float)
    if a.ndim != 2 or not a.size or not np.isfinite(a).all():
        raise ValueError(f"Expected finite loadings [item, factor]; got an array of shape {a.shape}")
    return a


def _settings(
    name: str, shape: tuple[int, ...], normalize: bool | None, orthogonal: bool | None, given: dict[str, Any]
) -> Settings:
    known, method = find_method(name)
    unknown = [option for option in given if option not in method.options]
    if unknown:
        raise ValueError(f"Expected options of {known} out of {list(method.options)}; got {unknown}")
    if method.criterion in (biquartimin, bigeomin_criterion) and shape[1] == 2:
        raise ValueError(f"Expected at least three factors for {known}, one of them general; got 2")
    if known == "promax" and orthogonal:
        raise ValueError("Expected oblique factors for promax; got orthogonal=True")
    chosen = tuple(np.asarray(given.get(option, default), float) for option, default in method.options.items())
    for option, value in zip(method.options, chosen, strict=True):
        if value.ndim and known != "target":
            raise ValueError(f"Expected one number for {option}; got an array of shape {value.shape}")
    fixed = tuple(np.asarray(f(*shape)) for f in method.fixed)
    power = float(chosen[0]) if known == "promax" else None
    oblique = method.oblique if orthogonal is None else not orthogonal
    options = _aim(chosen[0], chosen[1], shape) if known == "target" else fixed or chosen
    rows = method.normalize if normalize is None else normalize
    return Settings(known, method, options, oblique and power is None, rows, power)


def _aim(aim: np.ndarray, weights: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The target with zeros for free cells, and weights with zeros there."""
    weights = np.ones(shape) if weights.ndim == 0 else weights
    if aim.shape != shape or weights.shape != shape:
        raise ValueError(f"Expected a target (and weights) of shape {shape}; got {aim.shape} and {weights.shape}")
    weights = np.where(np.isnan(aim), 0, weights)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ValueError("Expected weights that are not negative and a target that is not free everywhere")
    return np.nan_to_num(aim), weights


def _starts(m: int, starts: int, key: int) -> np.ndarray:
    """The identity and random orthogonal matrices of both determinants, which a target tells apart."""
    q, r = np.linalg.qr(np.random.default_rng(key).standard_normal((starts - 1, m, m)))
    return np.concatenate([np.eye(m)[None], q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]])


def _unit_rows(a: Any) -> Any:
    length = jnp.sqrt((a * a).sum(1, keepdims=True))
    return a / jnp.where(length > 0, length, 1)


def _canonical(a: np.ndarray, t: np.ndarray, s: Settings) -> np.ndarray:
    """The columns of T with signs and order that the criterion leaves open chosen by the loadings."""
    if s.name == "none":
        return t
    rotated = _finished(a, t, s)[0]
    free = ~(s.options[0] * s.options[1]).any(0) if s.name == "target" else np.ones(t.shape[0], bool)
    t = t * np.where(free & (rotated.sum(0) < 0), -1.0, 1.0)
    kept = t.shape[0] if s.name == "target" else int(s.method.criterion in (biquartimin, bigeomin_criterion))
    rest = kept + np.argsort(-(rotated**2).sum(0)[kept:], kind="stable")
    return t[:, [*range(kept), *rest]]


def _finished(a: np.ndarray, t: np.ndarray, s: Settings) -> tuple[np.ndarray, np.ndarray]:
    with jax.enable_x64(True):
        rotated, turn = _outcome(a, t, s.power, s.oblique, s.power is not None)
    return np.asarray(rotated), np.asarray(turn)


@functools.partial(jax.jit, static_argnames=("oblique", "promax"))
def _outcome(a: Any, t: Any, power: Any, oblique: bool, promax: bool) -> tuple[jax.Array, jax.Array]:
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


@functools.partial(jax.jit, static_argnames=("criterion", "oblique"))
def _search(a: Any, starts: Any, options: Any, criterion: Any, oblique: bool) -> tuple[jax.Array, ...]:
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
    values = jnp.where(jnp.isfinite(ends.value), ends.value, jnp.inf)
    best = jax.tree.map(lambda x: x[jnp.argmin(values)], ends)

    def going(s: _State) -> jax.Array:
        return (_norm(s.gradient) > FINE * scale) & (s.steps < NEWTON_STEPS) & (s.size < 1e8)

    last = best._replace(size=jnp.zeros_like(scale), steps=jnp.zeros((), jnp.int32))
    last = lax.while_loop(going, lambda s: _newton(s, value, evaluate, oblique), last)
    reached = (values <= last.value + 1e-6 * (jnp.abs(last.value) + jnp.ptp(values))).sum()
    return last.t, last.value, _norm(last.gradient) <= ENOUGH * scale, reached


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


@functools.partial(jax.jit, static_argnames=("criterion", "oblique", "normalize", "promax"))
def _derivatives(
    a: Any, t: Any, options: Any, power: Any, criterion: Any, oblique: bool, normalize: bool, promax: bool
) -> tuple[jax.Array, ...]:
    """f_xx, f_xA and the derivatives of (vec Λ, vec Φ) with respect to A and to x, at x = 0."""

    def value(a: jax.Array, t: jax.Array) -> jax.Array:
        return criterion(_turned(_unit_rows(a) if normalize else a, t, oblique), *options)

    def outcome(a: jax.Array, t: jax.Array) -> jax.Array:
        rotated, turn = _outcome(a, t, power, oblique, promax)
        return jnp.concatenate([rotated.ravel(), (turn.T @ turn).ravel()])

    cross = jax.jacfwd(lambda a: _gradient(functools.partial(value, a), t, oblique)[1])(a)
    by_loadings, by_t = jax.jacfwd(outcome, argnums=(0, 1))(a, t)
    by_turn = by_t.reshape(-1, t.size) @ _directions(t, oblique)[1].reshape(t.size, t.size).T
    curvature = _curvature(functools.partial(value, a), t, oblique)
    return curvature, cross.reshape(t.size, a.size), by_loadings.reshape(-1, a.size), by_turn
