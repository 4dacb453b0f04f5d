"""Many draws of loadings rotated by one criterion, each to the minimum nearest to a reference, factors matched to it.

A rotation leaves signs and order of the factors open, and draws of one posterior would take them differently; each
draw's factors take the order and the signs in which they are most like the reference's (Tucker's congruence).
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
from scipy.optimize import linear_sum_assignment

from jaxlatent.numerics.program import jit
from jaxlatent.numerics.rotation import Rotation
from jaxlatent.numerics.rotation_search import outcome, search, unit_rows

BATCH = 64  # draws that are rotated side by side


def rotate_alike(loadings: np.ndarray, like: Rotation) -> np.ndarray:
    """T [draw, factor, factor] of unrotated loadings A [draw, item, factor]: Λ = A (T')^-1, Φ = T'T.

    The search starts where the reference's ended, so that draws stay at its minimum.

    Source: Papastamoulis and Ntzoufras (2022), Statistics and Computing 32 (matching signs and order of draws).
    """
    s = like.settings
    if loadings.shape[2] == 1 or s.name == "none":
        found = np.broadcast_to(np.eye(loadings.shape[2]), (len(loadings), *like.rotation.shape))
    else:
        power = 1.0 if s.power is None else s.power
        with jax.enable_x64(True):
            found = np.asarray(_rotations(
                np.asarray(loadings, float), like.stationary[None], s.options, power, s.method.criterion, s.oblique,
                s.normalize, s.power is not None,
            ))  # fmt: skip
    rotated = loadings @ np.linalg.inv(np.swapaxes(found, 1, 2))
    alike = np.einsum("njk,jl->nkl", _unit(rotated), _unit(like.loadings))
    out = np.empty_like(rotated, shape=found.shape)
    for n, each in enumerate(alike):
        rows, columns = linear_sum_assignment(-np.abs(each))
        order = rows[np.argsort(columns)]
        sign = np.where(each[order, np.arange(len(order))] < 0, -1.0, 1.0)
        out[n] = found[n][:, order] * sign
    return out


def _unit(loadings: np.ndarray) -> np.ndarray:
    """Columns of length one."""
    return np.asarray(loadings / np.sqrt((loadings**2).sum(-2, keepdims=True)))


@functools.partial(jit, static_argnames=("criterion", "oblique", "normalize", "promax"))
def _rotations(
    loadings: Any, start: Any, options: Any, power: Any, criterion: Any, oblique: bool, normalize: bool, promax: bool
) -> jax.Array:
    def one(a: jax.Array) -> jax.Array:
        t = search(unit_rows(a) if normalize else a, start, options, criterion, oblique)[0]
        return outcome(a, t, power, oblique, promax)[1]

    return jax.lax.map(one, loadings, batch_size=min(BATCH, len(loadings)))
