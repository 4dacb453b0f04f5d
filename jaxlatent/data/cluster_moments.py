"""What a two-level Gaussian model needs of complete rows: scatter within clusters, and means of clusters by size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxlatent.data.responses import Responses


class ClusterMoments(NamedTuple):
    """Sufficient statistics of p variables of persons in clusters.

    within [p]: which variables persons have (the others belong to clusters). size, number [size]: sizes of clusters,
    and how many have each. mean [size, p], cov [size, p, p]: of the means of these clusters (divisor number). scatter
    [p, p]: sum of squares and products of persons about the mean of their cluster, zero for variables of clusters.
    """

    within: np.ndarray
    size: np.ndarray
    number: np.ndarray
    mean: np.ndarray
    cov: np.ndarray
    scatter: np.ndarray

    @property
    def persons(self) -> int:
        return int((self.size * self.number).sum())

    @property
    def clusters(self) -> int:
        return int(self.number.sum())

    def only(self, columns: np.ndarray) -> ClusterMoments:
        """Those of some of the variables."""
        at = np.ix_(columns, columns)
        cov = self.cov[:, columns][:, :, columns]
        return self._replace(within=self.within[columns], mean=self.mean[:, columns], cov=cov, scatter=self.scatter[at])


def cluster_means(data: Responses) -> tuple[np.ndarray, np.ndarray]:
    """Means [cluster, p] and sizes [cluster]."""
    codes = clusters_of(data)
    size = np.bincount(codes)
    total = np.zeros((len(size), data.y.shape[1]))
    np.add.at(total, codes, data.y)
    return total / size[:, None], size


def cluster_moments(data: Responses, within: np.ndarray, between: np.ndarray) -> ClusterMoments:
    """Sufficient statistics of complete rows; within, between [p]: at which levels of the model a variable is.

    Raises ValueError where a variable of clusters varies in one of them, a variable of persons never does, or there
    are too few clusters.
    """
    means, size = cluster_means(data)
    deviation = data.y - means[clusters_of(data)]
    spread = np.abs(deviation).max(axis=0)
    scale = np.ptp(data.y, axis=0)
    for j, name in enumerate(data.names):
        if not within[j] and spread[j] > 1e-10 * scale[j]:
            raise ValueError(
                f"The variable {name!r} is in level 2 only but differs between persons of one cluster: name it in level"
                f" 1 as well (for example {name} ~~ {name}), or take its mean by cluster."
            )
        if within[j] and spread[j] <= 1e-10 * scale[j]:
            raise ValueError(
                f"The variable {name!r} is in level 1 but is constant in every cluster: leave it to level 2."
            )
    if len(size) <= between.sum():
        raise ValueError(
            f"Expected more clusters than the {int(between.sum())} variables of level 2; got {len(size)} clusters."
        )
    deviation = deviation * within
    sizes, which = np.unique(size, return_inverse=True)
    mean = np.stack([means[which == k].mean(axis=0) for k in range(len(sizes))])
    centred = means - mean[which]
    cov = np.stack([centred[which == k].T @ centred[which == k] / (which == k).sum() for k in range(len(sizes))])
    return ClusterMoments(within, sizes, np.bincount(which), mean, cov, deviation.T @ deviation)


def clusters_of(data: Responses) -> np.ndarray:
    """Codes of clusters [person], 0, 1, ... without gaps."""
    if data.cluster is None:
        raise ValueError("A two-level model needs clusters: pass cluster= the name of a column to fit.")
    return np.unique(data.cluster, return_inverse=True)[1]
