"""The free cells of each named matrix as one block with one bijection, for inference on unconstrained numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from jaxlatent.measurement.family import Support
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.measurement.normal import Normal
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.bijections import Bijection, Covariance
from jaxlatent.numerics.log_probability import NEVER
from jaxlatent.spec.layout import SYMMETRIC, Layout

SMALLEST_START, SMALLEST_GAP = 0.1, 0.05  # of what has to be positive, and of what has to decrease


@dataclass(frozen=True)
class ParameterBlock:
    """Free cells of one matrix: their positions in the free vector, the set they live in, where they start.

    anchors: positions in the block of loadings that are kept positive, one for each factor without a fixed loading, so
    that the signs of factors are determined.
    """

    name: str
    positions: np.ndarray
    bijection: Bijection
    start: np.ndarray
    anchors: tuple[int, ...]


def parameter_blocks(model: LatentVariableModel, restricted: Collection[int] = ()) -> tuple[ParameterBlock, ...]:
    """All blocks of a model. Host side: needs a layout of NumPy arrays.

    restricted: positions that linear restrictions are about; such loadings are not what fixes a factor's sign.

    Raises
    ------
    ValueError
        A pattern that no bijection covers: the sentence names matrix and reason.
    """
    layout = model.layout
    anchors = [p for p in _anchors(layout) if p not in restricted]
    blocks = []
    for block in layout.blocks:
        positions = np.array(block.positions)
        at = {int(p): k for k, p in enumerate(positions)}
        kept = tuple(at[p] for p in anchors if p in at) if block.name == "loadings" else ()
        if block.name in SYMMETRIC:
            bijection = _covariances(layout, block.name, at)
        else:
            bijection = _rows(layout, model.measurement, block.name, at, kept)
        start = feasible(bijection, np.asarray(layout.start, float)[positions])
        blocks.append(ParameterBlock(block.name, positions, bijection, start, kept))
    _check_shared(layout, blocks)
    return tuple(blocks)


def feasible(bijection: Bijection, start: np.ndarray) -> np.ndarray:
    """A point of the bijection's image near to start: gaps are opened, covariances shrunk."""
    out = np.array(start, float)
    positive, unit = list(bijection.positive), list(bijection.unit)
    out[positive] = np.where(out[positive] > 0, out[positive], SMALLEST_START)
    out[unit] = np.clip(out[unit], 0.01, 0.99)
    for at, low, high in bijection.bounded:
        out[at] = _inside(out[at], low, high)
    for row in bijection.decreasing:
        for before, after in pairwise(row):
            out[after] = min(out[after], out[before] - SMALLEST_GAP)
    for pattern in bijection.covariances:
        own = np.diag([dict(pattern.variances).get(i, 0.0) for i in range(pattern.size)])
        for i, j, at in pattern.free:
            own[i, j] = own[j, i] = out[at]
        variances = np.where(np.diagonal(own) > 0, np.diagonal(own), 1.0)
        while np.linalg.eigvalsh(own / np.sqrt(np.outer(variances, variances))).min() < 1e-3:
            own = (own + np.diag(variances)) / 2
            np.fill_diagonal(own, variances)
        for i, j, at in pattern.free:
            out[at] = own[i, j]
    return out


def _inside(value: float, low: float, high: float) -> float:
    """The value, or one near to it between the bounds."""
    if low > -np.inf and high < np.inf:
        return float(np.clip(value, low + 0.01 * (high - low), high - 0.01 * (high - low)))
    if low < value < high:
        return value
    return low + SMALLEST_START if low > -np.inf else high - SMALLEST_START


def _refuse(name: str, reason: str) -> ValueError:
    return ValueError(f"No bijection covers the free cells of {name}: {reason}; MarginalML and ML fit such models.")


def _matrix(layout: Layout, name: str) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(layout.index[name]), np.asarray(layout.fixed[name])


# ---- rows of items --------------------------------------------------------------------------------------------------


def _rows(
    layout: Layout, measurement: Measurement, name: str, at: dict[int, int], positive: Sequence[int]
) -> Bijection:
    index, fixed = _matrix(layout, name)
    supports = _supports(measurement, name)
    kinds: dict[int, Support] = dict.fromkeys(positive, "positive")
    decreasing: dict[tuple[int, ...], None] = {}
    for j, support in supports.items():
        for cells, values in zip(index[:, j], fixed[:, j], strict=True):
            own = [at[int(p)] for p in cells if p >= 0]
            if support == "decreasing" and len(own) > 1:
                if (values[cells < 0] > NEVER / 2).any():
                    raise _refuse(name, f"item {j + 1} has fixed cells between free ones that have to decrease")
                decreasing[tuple(own)] = None
            elif support in ("unit", "positive"):
                for p in own:
                    if kinds.setdefault(p, support) != support:
                        raise _refuse(name, "one parameter has to be positive in one place and in [0, 1] in another")
            elif own and support == "decreasing" and (values[cells < 0] > NEVER / 2).any():
                raise _refuse(name, f"item {j + 1} has fixed cells beside a free one, and they have to decrease")
    used = [p for row in decreasing for p in row]
    if len(set(used)) < len(used):
        raise _refuse(name, "a parameter has a place in several rows that have to decrease")
    return Bijection(
        len(at),
        positive=tuple(sorted(p for p, kind in kinds.items() if kind == "positive")),
        unit=tuple(sorted(p for p, kind in kinds.items() if kind == "unit")),
        decreasing=tuple(decreasing),
    )


def _supports(measurement: Measurement, name: str) -> dict[int, Support]:
    """Where each item's row of a matrix lives; items without such a row are left out."""
    out: dict[int, Support] = {}
    for family, items in measurement.groups:
        if isinstance(family, Normal):
            continue
        for row in family.item_parameters(family.fixed_categories or 2):
            if row.matrix == name:
                out |= dict.fromkeys(items, row.support)
    return out


# ---- signs ----------------------------------------------------------------------------------------------------------


def _anchors(layout: Layout) -> list[int]:
    """The free loading of each factor with the largest starting value, where no fixed loading gives it a direction."""
    if "loadings" not in layout.index:
        return []
    index, fixed = _matrix(layout, "loadings")
    start = np.asarray(layout.start, float)
    out: list[int] = []
    for g in range(index.shape[0]):
        for k in range(index.shape[2]):
            own = index[g, :, k]
            free = own[own >= 0]
            if len(free) and not (fixed[g, :, k][own < 0] != 0).any():
                out.append(int(free[np.argmax(np.nan_to_num(start[free], nan=0.0))]))
    return sorted(set(out))


# ---- covariance matrices --------------------------------------------------------------------------------------------


def _covariances(layout: Layout, name: str, at: dict[int, int]) -> Bijection:
    positive: set[int] = set()
    patterns: dict[Covariance, None] = {}
    for pattern, foreign in covariance_patterns(layout, name, at):
        if foreign:
            raise _refuse(name, "a parameter of another matrix has a place in it")
        if pattern.size == 1:
            positive.add(pattern.free[0][2])
            continue
        if any(value <= 0 for _, value in pattern.variances):
            raise _refuse(name, "a variance is fixed at 0 beside free covariances")
        patterns[pattern] = None
    used = [p for pattern in patterns for _, _, p in pattern.free]
    if len(set(used)) < len(used) or positive & set(used):
        raise _refuse(name, "one parameter has several places in it")
    return Bijection(len(at), positive=tuple(sorted(positive)), covariances=tuple(patterns))


def covariance_patterns(layout: Layout, name: str, at: dict[int, int]) -> list[tuple[Covariance, bool]]:
    """Covariance matrices of variables that covary, in all groups, of those with a free cell in at.

    at: position in the free vector -> position in the patterns. The second says whether other parameters have a place
    in it. Raises ValueError where a covariance beside free cells is fixed at another value than 0.
    """
    index, fixed = _matrix(layout, name)
    out = []
    for i, f in zip(index, fixed, strict=True):
        for members in _components((i >= 0) | (f != 0)):
            cells = [(a, b, int(i[members[a], members[b]])) for a in range(len(members)) for b in range(a + 1)]
            free = tuple((a, b, at[p]) for a, b, p in cells if p in at)
            if not free and not any(p >= 0 for _, _, p in cells):
                continue
            foreign = any(p >= 0 and p not in at for _, _, p in cells)
            if not foreign and any(p < 0 and a != b and f[members[a], members[b]] != 0 for a, b, p in cells):
                raise _refuse(name, "a covariance is fixed at another value than 0")
            variances = tuple((a, float(f[members[a], members[a]])) for a, b, p in cells if p < 0 and a == b)
            out.append((Covariance(len(members), free, variances), foreign))
    return out


def _components(linked: np.ndarray) -> list[list[int]]:
    """Sets of variables that cells outside the diagonal connect."""
    left, out = set(range(len(linked))), []
    while left:
        reach = {min(left)}
        while True:
            more = {j for i in reach for j in np.flatnonzero(linked[i]).tolist()} | reach
            if more == reach:
                break
            reach = more
        left -= reach
        out.append(sorted(reach))
    return out


def _check_shared(layout: Layout, blocks: Sequence[ParameterBlock]) -> None:
    """A parameter with places in several matrices is any real number in all but the first."""
    for block in blocks:
        mine = set(block.positions.tolist())
        for other in blocks:
            if other.name == block.name:
                continue
            index = np.asarray(layout.index[other.name])
            shared = mine & set(index[index >= 0].tolist())
            bounded = other.bijection.positive or other.bijection.unit or other.bijection.decreasing
            if shared and (bounded or other.name in SYMMETRIC):
                raise _refuse(other.name, f"it shares a parameter with {block.name}")
