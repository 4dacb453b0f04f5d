"""Weight matrices of least squares, and the distribution-free covariance of sample moments."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxlatent.data.moments import GroupMoments
from jaxlatent.data.responses import Responses
from jaxlatent.inference.moment_model import moment_contributions, normal_weight
from jaxlatent.inference.settings import LeastSquares
from jaxlatent.spec.table import ParameterTable


def centred_contributions(data: Responses, g: int, mean_structure: bool) -> np.ndarray:
    """Rows z_i - z [person, moments] of group g, each person's part in the sample moments, times sqrt(weight)."""
    rows = data.rows_of(g)
    y = data.y[rows]
    w = np.ones(len(y)) if data.weight is None else data.weight[rows]
    w = w * (len(w) / w.sum())
    mean = w @ y / len(y)
    z = moment_contributions(y, mean, mean_structure)
    return (z - w @ z / len(y)) * np.sqrt(w)[:, None]


def distribution_free_covariance(data: Responses, g: int, mean_structure: bool) -> np.ndarray:
    """Gamma: n times the asymptotic covariance of the sample moments (Browne 1984, eq. 3.5)."""
    z = centred_contributions(data, g, mean_structure)
    return z.T @ z / len(z)


def weight_matrices(
    engine: LeastSquares, table: ParameterTable, moments: GroupMoments, data: Responses | None
) -> tuple[np.ndarray, ...]:
    """W per group: [moments] where diagonal, else [moments, moments]; "dls" starts at normal theory of S."""
    return tuple(_weight(engine, table, moments, data, g) for g in range(len(moments.n)))


def _weight(
    engine: LeastSquares, table: ParameterTable, moments: GroupMoments, data: Responses | None, g: int
) -> np.ndarray:
    p = len(moments.names)
    size = p * (p + 1) // 2 + (p if table.mean_structure else 0)
    match engine.kind:
        case "uls":
            return np.ones(size)
        case "gls" | "dls":
            return normal_weight(np.linalg.inv(moments.cov[g]), table.mean_structure)
        case "matrix":
            return _own(engine.weight, size)
        case "dwls":
            return 1 / np.diag(_gamma(engine, data, g, table.mean_structure))
    gamma = _gamma(engine, data, g, table.mean_structure)
    n = int(moments.n[g])
    if n <= size:
        raise ValueError(
            f"WLS inverts the covariance of {size} sample moments and needs more rows than that; got {n}:"
            " use 'dwls', 'uls', 'gls' or ML."
        )
    return np.linalg.inv(gamma)


def _gamma(engine: LeastSquares, data: Responses | None, g: int, mean_structure: bool) -> np.ndarray:
    if data is None:
        raise ValueError(f"{engine.name} needs the rows: a covariance matrix does not hold fourth moments.")
    return distribution_free_covariance(data, g, mean_structure)


def _own(weight: Any, size: int) -> np.ndarray:
    w = np.asarray(weight, dtype=float)
    if w.shape != (size, size):
        raise ValueError(f"Expected a weight matrix of {size} sample moments; got shape {w.shape}.")
    return w
