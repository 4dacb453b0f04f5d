"""The bootstrap of rotated solutions: each sample of rows is extracted and rotated anew, then its factors matched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from jaxlatent.data.moments import weighted_moments
from jaxlatent.inference.exploratory import Unrotated, free_vector, standard_deviations
from jaxlatent.inference.exploratory_settings import LeastSquaresExtraction
from jaxlatent.inference.progress import track
from jaxlatent.numerics.factor_extraction import Extraction, extract
from jaxlatent.numerics.rotation import Rotation, Settings, rotate

CONVERGED, STOPPED = 1, 2
SINGULAR = 1e12  # condition number from which the covariances of a sample have no factors


def exploratory_draws(
    plain: Unrotated, rotation: Rotation, n: int, key: int, progress: bool | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """n bootstrap estimates [n, n_free] in the order of the rotated table, and their codes.

    Factors take the order and the signs in which they are most like those of all rows. Raises ValueError for fits
    without rows, of incomplete or clustered rows, and of isotropic noise.
    """
    data, how = plain.common["data"], plain.common["missing"]
    if data is None:
        raise ValueError("The bootstrap resamples rows: fit the data themselves, not their moments.")
    if how != "complete" or data.cluster is not None or plain.isotropic:
        what = "isotropic noise" if plain.isotropic else "clusters" if how == "complete" else f"missing={how!r}"
        raise ValueError(f"The bootstrap of rotated solutions takes complete rows without clusters; got {what}.")
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 2:
        raise ValueError(f"Expected n, the number of bootstrap draws, to be a whole number above 1; got {n!r}.")
    rng, options = np.random.default_rng(key), options_of(rotation.settings)
    engine = plain.common["engine"]
    method = engine.method if isinstance(engine, LeastSquaresExtraction) else "ml"
    width = len(free_vector(plain, rotation.loadings, rotation.factor_cov, rotation))
    draws, codes = np.full((int(n), width), np.nan), np.full(int(n), STOPPED)
    for k in track(range(int(n)), int(n), "bootstrap", progress):
        at = rng.integers(len(data.y), size=len(data.y))
        mean, cov = weighted_moments(data.y[at], None if data.weight is None else data.weight[at])
        if engine.unbiased:
            cov = cov * len(at) / (len(at) - 1)
        if np.linalg.cond(cov) > SINGULAR:
            continue
        found = extract(cov, plain.loadings.shape[1], method)
        draws[k] = _turned_alike(plain, rotation, found, mean, options)
        codes[k] = CONVERGED if found.converged else STOPPED
    return draws, codes


def _turned_alike(
    plain: Unrotated, rotation: Rotation, found: Extraction, mean: np.ndarray, options: dict[str, Any]
) -> np.ndarray:
    """The free vector of one sample, its factors matched to those of all rows by congruence."""
    sd = standard_deviations(found.loadings, found.uniquenesses)
    turned = rotate(found.loadings / sd[:, None], rotation.settings.name, **options)
    a, b = turned.loadings, rotation.loadings
    alike = (a / np.sqrt((a**2).sum(0))).T @ (b / np.sqrt((b**2).sum(0)))
    rows, columns = linear_sum_assignment(-np.abs(alike))
    order = rows[np.argsort(columns)]
    sign = np.where(alike[order, np.arange(len(order))] < 0, -1.0, 1.0)
    phi = turned.factor_cov[np.ix_(order, order)] * np.outer(sign, sign)
    means = None if plain.intercepts is None else mean
    same = replace(plain, loadings=found.loadings, uniquenesses=found.uniquenesses, intercepts=means)
    return free_vector(same, a[:, order] * sign * sd[:, None], phi, rotation)


def options_of(s: Settings) -> dict[str, Any]:
    """What to pass to rotate() for the same rotation."""
    if s.power is not None:
        return {"power": s.power, "normalize": s.normalize}
    chosen: dict[str, Any] = {"normalize": s.normalize, "orthogonal": not s.oblique}
    if s.name == "target":
        aim, weights = s.options
        return chosen | {"target": np.where(weights > 0, aim, np.nan), "weights": weights}
    return chosen if s.method.fixed else chosen | dict(zip(s.method.options, map(float, s.options), strict=True))
