"""Extraction of factors from a covariance matrix: loadings A and uniquenesses of S ≈ A A' + Θ, on the host.

Given Θ the best A comes from eigenvectors, so that only the p uniquenesses are searched for, by Newton's method with
the exact Hessian. With γ, ω eigenvalues and eigenvectors, those after the first m being left over:

    ml      of Θ^-1/2 S Θ^-1/2:   F = Σ_left (γ - log γ - 1)        (Jöreskog 1967; Clarke 1970)
    minres  of S - Θ:             F = Σ_left γ² / 2                 (Harman and Jones 1966)
    pa      Θ = diag(S - A A') in turn with A, until neither moves  (principal axis factoring)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

LEAST = 0.005  # smallest uniqueness as a share of the variance: what Jöreskog's and R's programs take
STEPS, TOLERANCE = 200, 1e-10
PA_STEPS = 5000

METHODS = ("ml", "minres", "pa")


class Extraction(NamedTuple):
    """Loadings [item, factor] with orthogonal columns, uniquenesses [item], the discrepancy, whether and how it ended.

    at_bound [item]: uniquenesses that would be smaller, were it allowed (Heywood cases).
    """

    loadings: np.ndarray
    uniquenesses: np.ndarray
    value: float
    converged: bool
    steps: int
    at_bound: np.ndarray


class _Point(NamedTuple):
    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    safe: np.ndarray  # a positive semidefinite part of the Hessian


def extract(cov: np.ndarray, m: int, method: str = "ml") -> Extraction:
    """Factors of a covariance matrix [item, item] of full rank; minres and pa work on its correlations.

    Raises ValueError for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"Expected the extraction to be one of {', '.join(METHODS)}; got {method!r}.")
    sd = np.sqrt(np.diag(cov))
    r = cov / np.outer(sd, sd)
    start = np.clip((1 - m / (2 * len(r))) / np.diag(np.linalg.inv(r)), 2 * LEAST, 1.0)
    if method == "pa":
        found = _principal_axis(r, m, start)
    elif method == "ml":
        x, point, converged, steps = _newton(lambda x: _likelihood(r, x, m), np.log(start), np.log(LEAST))
        theta = np.exp(x)
        at = (x <= np.log(LEAST)) & (point.gradient > 0)
        found = Extraction(ml_loadings(r, theta, m), theta, point.value, converged, steps, at)
    else:
        x, point, converged, steps = _newton(lambda x: _least_squares(r, x, m), start, LEAST)
        at = (x <= LEAST) & (point.gradient > 0)
        found = Extraction(_axes(r, x, m), x, point.value, converged, steps, at)
    loadings = canonical_columns(found.loadings)
    return found._replace(loadings=loadings * sd[:, None], uniquenesses=found.uniquenesses * sd**2)


def canonical_columns(loadings: np.ndarray) -> np.ndarray:
    """Columns in falling order of their sums of squares, each with a sum that is not negative."""
    order = np.argsort(-(loadings**2).sum(0), kind="stable")
    return loadings[:, order] * np.where(loadings.sum(0) < 0, -1.0, 1.0)[order]


def _left(matrix: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues and vectors: of the m largest in falling order, then of those left over."""
    value, vector = np.linalg.eigh(matrix)
    p = len(value)
    return value[p - m :][::-1], vector[:, p - m :][:, ::-1], value[: p - m], vector[:, : p - m]


def ml_loadings(cov: np.ndarray, theta: np.ndarray, m: int) -> np.ndarray:
    """Θ^1/2 Ω (Γ - I)^1/2 of the m largest eigenvalues of Θ^-1/2 S Θ^-1/2: the best loadings given Θ."""
    root = np.sqrt(theta)
    value, vector, _, _ = _left(cov / np.outer(root, root), m)
    return root[:, None] * vector * np.sqrt(np.maximum(value - 1, 0))


def _axes(cov: np.ndarray, theta: np.ndarray, m: int) -> np.ndarray:
    value, vector, _, _ = _left(cov - np.diag(theta), m)
    return vector * np.sqrt(np.maximum(value, 0))


def _likelihood(r: np.ndarray, x: np.ndarray, m: int) -> _Point:
    """F and its derivatives by x = log θ."""
    root = np.exp(-x / 2)
    top, first, rest, second = _left(r * np.outer(root, root), m)
    rest = np.maximum(rest, np.finfo(float).tiny)
    gradient = ((1 - rest) * second**2).sum(1)
    safe = (second * rest @ second.T) * (second @ second.T)
    weight = (1 - rest)[:, None] * (top + rest[:, None]) / np.maximum(top - rest[:, None], 1e-12)
    hessian = safe + _pairs(second, first, weight)
    return _Point(float((rest - np.log(rest) - 1).sum()), gradient, hessian, (second @ second.T) ** 2)


def _least_squares(r: np.ndarray, x: np.ndarray, m: int) -> _Point:
    """F and its derivatives by θ."""
    top, first, rest, second = _left(r - np.diag(x), m)
    safe = (second @ second.T) ** 2
    weight = -2 * rest[:, None] / np.maximum(top - rest[:, None], 1e-12)
    hessian = safe + _pairs(second, first, weight)
    return _Point(float((rest**2).sum() / 2), -(rest * second**2).sum(1), hessian, safe)


def _pairs(second: np.ndarray, first: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Σ_kl w_kl ω_ik ω_jk ω_il ω_jl over eigenvectors k left over and l of the first m."""
    out = np.zeros((len(second),) * 2)
    for l in range(first.shape[1]):
        out += (second * weight[:, l]) @ second.T * np.outer(first[:, l], first[:, l])
    return out


def _newton(
    evaluate: Callable[[np.ndarray], _Point], start: np.ndarray, lower: float
) -> tuple[np.ndarray, _Point, bool, int]:
    """Damped Newton steps within x >= lower; variables that press against the bound are left out of a step."""
    x, point, damping = start, evaluate(start), 0.0
    for step in range(STEPS):
        free = (x > lower) | (point.gradient < 0)
        g = point.gradient[free]
        move, decrement = _direction(point, free, damping)
        if decrement < TOLERANCE * 1e-4 or np.abs(g).max(initial=0.0) < TOLERANCE:
            return x, point, True, step
        trial = x.copy()
        trial[free] = np.maximum(x[free] + move, lower)
        new = evaluate(trial)
        if np.isfinite(new.value) and new.value <= point.value - 1e-6 * min(decrement, 1.0):
            x, point, damping = trial, new, damping / 10 if damping > 1e-6 else 0.0
        elif decrement < 1e-12 and new.value <= point.value + 1e-13:
            return x, point, True, step
        else:
            damping = max(4 * damping, 1e-3)
            if damping > 1e10:
                return x, point, bool(np.abs(g).max() < 1e-6), step
    return x, point, False, STEPS


def _direction(point: _Point, free: np.ndarray, damping: float) -> tuple[np.ndarray, float]:
    at = np.ix_(free, free)
    for hessian in (point.hessian[at], point.safe[at] + 1e-9 * np.eye(int(free.sum()))):
        damped = hessian + damping * np.diag(np.diag(point.safe[at]) + 1e-3)
        try:
            root = np.linalg.cholesky(damped)
        except np.linalg.LinAlgError:
            continue
        half = np.linalg.solve(root, point.gradient[free])
        move = -np.linalg.solve(root.T, half)
        longest = np.abs(move).max(initial=0.0)
        shorter = min(1.0, 1.5 / longest) if longest > 0 else 1.0
        return move * shorter, float(half @ half) * shorter
    g = point.gradient[free]
    return -g, float(g @ g)


def _principal_axis(r: np.ndarray, m: int, start: np.ndarray) -> Extraction:
    theta = start
    moved, step = np.inf, 0
    while moved > 1e-8 and step < PA_STEPS:
        a = _axes(r, theta, m)
        new = np.maximum(1 - (a * a).sum(1), LEAST)
        moved = np.abs(new - theta).max()
        theta, step = new, step + 1
    a = _axes(r, theta, m)
    return Extraction(a, theta, _least_squares(r, theta, m).value, bool(moved <= 1e-8), step, theta <= LEAST)
