"""Incomplete rows of persons in clusters, sorted and grouped by which of their variables are observed."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from jaxlatent.data.cluster_moments import clusters_of
from jaxlatent.data.responses import Responses


class ClusterCases(NamedTuple):
    """Persons of J clusters, sorted by cluster; p variables, of persons (within) or of clusters alone.

    y [person, p]: observed values of persons, 0 elsewhere. seen [pattern, p], pattern [person]: which are observed.
    first [cluster]: the first person of each. counts [cluster, pattern]. z [cluster, p], z_seen [z pattern, p] and
    z_pattern [cluster]: values of the cluster's own variables. order [person]: positions in the data.
    """

    y: np.ndarray
    seen: np.ndarray
    pattern: np.ndarray
    codes: np.ndarray
    first: np.ndarray
    counts: np.ndarray
    z: np.ndarray
    z_seen: np.ndarray
    z_pattern: np.ndarray
    order: np.ndarray


def cluster_cases(data: Responses, within: np.ndarray) -> ClusterCases:
    """Patterns of persons and of clusters; within [p]: variables of persons."""
    codes = clusters_of(data)
    order = np.argsort(codes, kind="stable")
    y, codes = data.y[order], codes[order]
    observed = ~np.isnan(y)
    filled = np.where(observed, y, 0.0)
    first = np.searchsorted(codes, np.arange(codes[-1] + 1))
    seen, pattern = np.unique(observed & within, axis=0, return_inverse=True)
    number = np.add.reduceat(observed, first, axis=0, dtype=int)
    total = np.add.reduceat(filled, first, axis=0)
    z = np.where((number > 0) & ~within, total / np.maximum(number, 1), 0.0)
    z_seen, z_pattern = np.unique((number > 0) & ~within, axis=0, return_inverse=True)
    count = np.zeros((len(first), len(seen)))
    np.add.at(count, (codes, pattern.reshape(-1)), 1.0)
    return ClusterCases(
        np.where(seen[pattern.reshape(-1)], filled, 0.0), seen, pattern.reshape(-1), codes, first, count, z, z_seen,
        z_pattern.reshape(-1), order,
    )  # fmt: skip


def filled_in(data: Responses) -> Responses:
    """Missing cells at the mean of their cluster, or of all: for starting values only."""
    codes = clusters_of(data)
    observed = ~np.isnan(data.y)
    total, number = np.zeros((2, codes.max() + 1, data.y.shape[1]))
    np.add.at(total, codes, np.where(observed, data.y, 0.0))
    np.add.at(number, codes, observed)
    overall = total.sum(0) / np.maximum(number.sum(0), 1)
    means = np.where(number > 0, total / np.maximum(number, 1), overall)
    return replace(data, y=np.where(observed, data.y, means[codes]))
