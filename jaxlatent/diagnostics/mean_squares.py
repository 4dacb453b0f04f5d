"""Infit and outfit mean squares of items and persons at given latent scores, with their Wilson-Hilferty z.

With e = y - E y, W = var(y), C = E (y - E y)^4 of every response at the person's score
    outfit = mean of e^2 / W,                 var = sum (C / W^2 - 1) / n^2
    infit  = sum e^2 / sum W,                 var = sum (C - W^2) / (sum W)^2
    z      = (MS^(1/3) - 1) 3 / q + q / 3,    q^2 = var            (Wright and Masters 1982)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxlatent.diagnostics.category_tables import chosen


@dataclass(frozen=True)
class MeanSquares:
    """Outfit, infit and their z, one an item or one a person; nan where nothing is observed."""

    outfit: np.ndarray
    z_outfit: np.ndarray
    infit: np.ndarray
    z_infit: np.ndarray


def item_mean_squares(tables: np.ndarray, y: np.ndarray, person_weights: np.ndarray | None = None) -> MeanSquares:
    """Infit and outfit of items [J]; tables [N, J, K] at each person's score (EAP), y [N, J]."""
    weights = np.ones(len(y)) if person_weights is None else person_weights
    return _mean_squares(tables, y, weights[:, None], 0)


def person_mean_squares(tables: np.ndarray, y: np.ndarray) -> MeanSquares:
    """Infit and outfit of persons [N]; tables [N, J, K] at each person's score (EAP), y [N, J]."""
    return _mean_squares(tables, y, np.ones((1, 1)), 1)


def _mean_squares(tables: np.ndarray, y: np.ndarray, weights: np.ndarray, axis: int) -> MeanSquares:
    score = np.arange(tables.shape[-1], dtype=float)
    mean = tables @ score
    gap = score - mean[..., None]
    variance = chosen((tables * gap**2).sum(-1)[..., None], np.where(np.isnan(y), np.nan, 0.0))
    fourth = (tables * gap**4).sum(-1)
    square = (y - mean) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        count = (weights * ~np.isnan(y)).sum(axis)
        information = np.nansum(weights * variance, axis)
        outfit = np.nansum(weights * square / variance, axis) / count
        infit = np.nansum(weights * square, axis) / information
        spread_out = np.nansum(weights * (fourth / variance**2 - 1), axis) / count**2
        spread_in = np.nansum(weights * (fourth - variance**2), axis) / information**2
        return MeanSquares(outfit, _z(outfit, spread_out), infit, _z(infit, spread_in))


def _z(mean_square: np.ndarray, variance: np.ndarray) -> np.ndarray:
    q = np.sqrt(variance)
    return (np.cbrt(mean_square) - 1) * 3 / q + q / 3
