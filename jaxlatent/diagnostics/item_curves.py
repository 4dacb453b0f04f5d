"""Curves of items over the latent variables: category probabilities, information, expected scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.diagnostics.item_nodes import ItemDiagnosis, by_groups
from jaxlatent.results.item_curves import ItemCurves, curves_at, raw_expected

if TYPE_CHECKING:
    import pandas as pd

ROWS = 4096


def _parts(diagnosis: ItemDiagnosis, x: np.ndarray, g: int) -> Iterator[ItemCurves]:
    """Curves of group g at x [R, D], so many points at once."""
    f = diagnosis.fitted
    for start in range(0, len(x), ROWS):
        yield curves_at(f.measurement, f.coding, f.params, x[start : start + ROWS], g, f.networks)


def information_matrices(diagnosis: ItemDiagnosis, x: np.ndarray, g: int) -> np.ndarray:
    """Test information sum_j I_j(eta) s_j s_j' [R, D, D] at x [R, D], s_j the slope of the predictor: lambda_j."""
    loadings = diagnosis.fitted.params["loadings"][g]
    out = []
    for found in _parts(diagnosis, x, g):
        rows = found.slopes(loadings)
        outer = (rows[..., :, None] * rows[..., None, :]).reshape(*rows.shape[:2], -1)
        out.append((found.information[:, None, :] @ outer).reshape(-1, *(loadings.shape[1],) * 2))
    return np.concatenate(out)


def points_of(x: Any, n_factors: int) -> np.ndarray:
    """Points [R, D] as a user gives them: a number, [R] for one factor, or [R, D].

    Raises
    ------
    ValueError
        The shape does not fit.
    """
    given = np.asarray(x, dtype=float)
    if given.ndim == 0:
        given = given[None]
    if given.ndim == 1:
        given = given[:, None] if n_factors == 1 else given[None]
    if given.ndim != 2 or given.shape[1] != n_factors or not len(given):
        raise ValueError(f"Expected x as points [point, {n_factors}]; got an array of shape {np.shape(x)}.")
    if not np.isfinite(given).all():
        raise ValueError("Expected finite points x; got missing or infinite ones.")
    return given


def _index(points: np.ndarray, names: tuple[str, ...]) -> Any:
    import pandas as pd

    if len(names) == 1:
        return pd.Index(points[:, 0], name=names[0])
    return pd.MultiIndex.from_arrays(list(points.T), names=list(names))


def probability_frame(diagnosis: ItemDiagnosis, x: Any, back: np.ndarray | None = None) -> pd.DataFrame:
    """P(y = k | x): index item and point, a column each category in its raw value, nan where an item lacks it.

    back [D, D]: x back is the point before rotation. Items without categories are left out.
    """
    import pandas as pd

    f = diagnosis.fitted
    points = points_of(x, len(f.table.factors))
    plain = points if back is None else points @ back
    values = f.coding.values
    labels = sorted({v for each in values if each is not None for v in each})
    columns = [int(v) if float(v).is_integer() else v for v in labels]
    index = _index(points, f.table.factors)
    parts = []
    for g in range(f.table.n_groups):
        tables = diagnosis.tables_at(plain, g)
        frames, names = [], []
        for j, given in enumerate(values):
            if given is None:
                continue
            out = np.full((len(points), len(labels)), np.nan)
            out[:, [labels.index(v) for v in given]] = tables[:, j, : len(given)]
            frames.append(pd.DataFrame(out, index, columns))
            names.append(diagnosis.names[j])
        if not frames:
            raise ValueError("No item of this model has categories: use expected_score(x).")
        parts.append(pd.concat(frames, keys=names, names=["item"]))
    return by_groups(parts, f.table.groups)


def information_frame(
    diagnosis: ItemDiagnosis, x: Any, back: np.ndarray | None = None, direction: Any = None
) -> pd.DataFrame:
    """Fisher information of every item at points x: points by items; that of the test is the sum of a row.

    I_j(x) = (s_j'u)^2 I(eta), s_j the slope of the predictor, lambda_j where no network bends it, u a direction of
    length one [D]; without it every item's own steepest one, so that s_j'u = |s_j| (Reckase and McKinley 1991).
    """
    import pandas as pd

    f = diagnosis.fitted
    points = points_of(x, len(f.table.factors))
    plain = points if back is None else points @ back
    parts = []
    for g in range(f.table.n_groups):
        values = np.concatenate([_along(found, f.params["loadings"][g], back, direction)
                                 for found in _parts(diagnosis, plain, g)])  # fmt: skip
        parts.append(pd.DataFrame(values, _index(points, f.table.factors), diagnosis.names))
    return by_groups(parts, f.table.groups)


def _along(found: ItemCurves, loadings: np.ndarray, back: np.ndarray | None, direction: Any) -> np.ndarray:
    """Information [R, item] in a direction, or each item's steepest."""
    rows = found.slopes(loadings)
    if back is not None:
        rows = rows @ back.T  # slopes of the rotated factors
    if direction is None:
        return found.information * (rows**2).sum(-1)
    u = np.asarray(direction, dtype=float)
    if u.shape != (rows.shape[-1],) or not np.linalg.norm(u) > 0:
        raise ValueError(f"Expected direction with {rows.shape[-1]} values, not all zero; got {direction!r}.")
    return found.information * (rows @ (u / np.linalg.norm(u))) ** 2


def expected_frame(diagnosis: ItemDiagnosis, x: Any, back: np.ndarray | None = None) -> pd.DataFrame:
    """E(y | x) of every item in its raw values: points by items; that of the test is the sum of a row."""
    import pandas as pd

    f = diagnosis.fitted
    points = points_of(x, len(f.table.factors))
    plain = points if back is None else points @ back
    parts = []
    for g in range(f.table.n_groups):
        out = np.concatenate([raw_expected(found, f.coding) for found in _parts(diagnosis, plain, g)])
        parts.append(pd.DataFrame(out, _index(points, f.table.factors), diagnosis.names))
    return by_groups(parts, f.table.groups)
