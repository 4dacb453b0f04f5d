"""Bridge sampling: the integral of an unnormalised density, from draws of it.

With q a normal proposal, l = p / q at N1 draws of p and at N2 of q, s1 = N1 / (N1 + N2) and s2 = N2 / (N1 + N2), r solves

    r = [1/N2 sum_q l / (s1 l + s2 r)] / [1/N1 sum_p 1 / (s1 l + s2 r)]          (Meng and Wong 1996, eq. 4.1)

The warp turns p into the equal mixture of its own reflections about the proposal's mean, which a skewed density needs.
The proposal's moments come from one half of the draws, r from the other, so that it is not too good a fit.

Source: Meng and Wong (1996), Statistica Sinica 6; Meng and Schilling (2002), JCGS 11; Gronau et al. (2017), Journal of
Mathematical Psychology 81; the error is that of Frühwirth-Schnatter (2004), The Econometrics Journal 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

LEAST, TOLERANCE, MOST_STEPS = 20, 1e-10, 1000
AT_ONCE = 64  # evaluations of the density in one batch
STREAM = 1996


class Evidence(NamedTuple):
    """Log of the integral; its relative mean squared error, (standard error / value)^2; steps that were taken."""

    log_value: float
    relative_mse: float
    steps: int

    @property
    def standard_error(self) -> float:
        """Of log_value, about the square root of the relative mean squared error."""
        return math.sqrt(self.relative_mse)


def bridge_sampling(
    log_density: Callable[[jax.Array], jax.Array], draws: Any, key: int = 0, *, warp: bool = True
) -> Evidence:
    """Log integral of exp(log_density(u)) over u [q], from draws [chain, draw, q] (or [draw, q]) of the density.

    Raises
    ------
    ValueError
        Shapes that don't fit, fewer than 20 draws of a chain or draws that do not vary in all directions, a density
        that is not finite at a draw, or an iteration that does not converge.
    """
    u = np.asarray(draws, float)
    u = u[None] if u.ndim == 2 else u
    if u.ndim != 3 or u.shape[1] < LEAST or not np.isfinite(u).all():
        raise ValueError(
            f"Expected finite draws [chain, draw, parameter] with at least {LEAST} draws a chain; got shape {u.shape}."
        )
    half, q = u.shape[1] // 2, u.shape[2]
    first, second = u[:, :half].reshape(-1, q), u[:, half:].reshape(-1, q)
    mean, cov = first.mean(0), np.atleast_2d(np.cov(first.T))
    if len(first) <= q or np.linalg.eigvalsh(cov).min() <= 0:
        raise ValueError(f"Expected draws that vary in all {q} directions; these don't: take more of them.")
    root = np.linalg.cholesky(cov)
    rng = np.random.default_rng((key, STREAM))  # not the stream of who made the draws with the same key
    z = [np.linalg.solve(root, (second - mean).T).T, rng.standard_normal(second.shape)]
    with jax.enable_x64(True):
        ratio = [_log_ratio(log_density, each, mean, root, warp) for each in z]
    if not np.isfinite(ratio[0]).all():
        raise ValueError("The density is not finite at some of its own draws: are these draws of it?")
    effective = _effective(np.linalg.norm(z[0], axis=1).reshape(u.shape[0], -1))
    return _solve(ratio[0], ratio[1], effective)


def _log_ratio(
    log_density: Callable[[jax.Array], jax.Array], z: np.ndarray, mean: np.ndarray, root: np.ndarray, warp: bool
) -> np.ndarray:
    """log p(u) - log q(u) [draw] at u = mean + root z, p averaged over z and -z where it is warped."""
    center, scale = jnp.asarray(mean), jnp.asarray(root)
    value = jax.jit(lambda at: jax.lax.map(lambda e: log_density(center + scale @ e), at, batch_size=AT_ONCE))
    found = np.asarray(value(jnp.asarray(z)), float)
    if warp:
        found = np.logaddexp(found, np.asarray(value(jnp.asarray(-z)), float)) - math.log(2)
    found = np.where(np.isnan(found), -np.inf, found)
    log_q = -(z**2).sum(1) / 2 - z.shape[1] / 2 * math.log(2 * math.pi) - np.log(np.diag(root)).sum()
    return found - log_q


def _solve(of_p: np.ndarray, of_q: np.ndarray, effective: float) -> Evidence:
    """The fixed point, in logs about the median of what the draws of p have."""
    shift = float(np.median(of_p))
    l1, l2 = np.exp(of_p - shift), np.exp(of_q - shift)
    n1, n2 = min(effective, len(l1)), float(len(l2))
    s1, s2 = n1 / (n1 + n2), n2 / (n1 + n2)
    r = 1.0
    for step in range(1, MOST_STEPS + 1):
        new = (l2 / (s1 * l2 + s2 * r)).mean() / (1 / (s1 * l1 + s2 * r)).mean()
        if not np.isfinite(new) or new <= 0:
            break
        done, r = abs(new - r) <= TOLERANCE * new, new
        if done:
            return Evidence(math.log(r) + shift, _relative_mse(l1 / r, l2 / r, s1, s2, n1), step)
    raise ValueError("Bridge sampling did not converge: the draws are too few, or too far from normal.")


def _relative_mse(l1: np.ndarray, l2: np.ndarray, s1: float, s2: float, n1: float) -> float:
    """Relative mean squared error at the solution: independent draws of q, n1 effective ones of p."""
    f1, f2 = l2 / (s1 * l2 + s2), 1 / (s1 * l1 + s2)
    return float(f1.var(ddof=1) / f1.mean() ** 2 / len(f1) + f2.var(ddof=1) / f2.mean() ** 2 / n1)


def _effective(x: np.ndarray) -> float:
    """Effective number of draws [chain, draw] by initial positive pairs of autocorrelations (Geyer 1992)."""
    m, n = x.shape
    away = x - x.mean()
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(away, size, axis=1)) ** 2
    rho = np.fft.irfft(spectrum, size, axis=1)[:, :n].mean(0)
    rho = rho / rho[0]
    pairs = rho[: n // 2 * 2].reshape(-1, 2).sum(1)
    negative = np.flatnonzero(pairs <= 0)
    kept = pairs[: negative[0]] if len(negative) else pairs
    return float(m * n / max(2 * kept.sum() - 1, 1 / math.log10(m * n)))
