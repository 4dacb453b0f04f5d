"""Rotation of factor loadings, and derivatives of the rotated solution for its standard errors.

Orthogonal: Λ = A T with T'T = I. Oblique: Λ = A (T')^-1 with diag(T'T) = 1 and Φ = T'T. This file is the host's half:
what was asked for, the canonical form and the implicit function theorem. rotation_search.py minimises, and
rotation_criteria.py says what.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from jaxlatent.numerics.rotation_criteria import Method, bigeomin, biquartimin, find_method
from jaxlatent.numerics.rotation_search import derivatives, outcome, search, unit_rows


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
            rows = unit_rows(a) if settings.normalize else a
            found = search(rows, begin, settings.options, settings.method.criterion, settings.oblique)
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
        parts = derivatives(
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
    if method.criterion in (biquartimin, bigeomin) and shape[1] == 2:
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


def _canonical(a: np.ndarray, t: np.ndarray, s: Settings) -> np.ndarray:
    """The columns of T with signs and order that the criterion leaves open chosen by the loadings."""
    if s.name == "none":
        return t
    rotated = _finished(a, t, s)[0]
    free = ~(s.options[0] * s.options[1]).any(0) if s.name == "target" else np.ones(t.shape[0], bool)
    t = t * np.where(free & (rotated.sum(0) < 0), -1.0, 1.0)
    kept = t.shape[0] if s.name == "target" else int(s.method.criterion in (biquartimin, bigeomin))
    rest = kept + np.argsort(-(rotated**2).sum(0)[kept:], kind="stable")
    return t[:, [*range(kept), *rest]]


def _finished(a: np.ndarray, t: np.ndarray, s: Settings) -> tuple[np.ndarray, np.ndarray]:
    with jax.enable_x64(True):
        rotated, turn = outcome(a, t, s.power, s.oblique, s.power is not None)
    return np.asarray(rotated), np.asarray(turn)
