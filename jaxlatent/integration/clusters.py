"""One latent variable of persons in clusters, x_ij = u_j + e_ij: the likelihood of clusters for items of any family.

    log p(y_j) = log int N(u; 0, tau^2) prod_i [ int p(y_ij | x) N(x; u + alpha, psi) dx ] du

Both integrals are rectangle rules on equal steps, which for smooth integrands that vanish at both ends converge as fast
as any. p(y_ij | x) is looked up at one grid of x for all u, so that its cost does not grow with that of the clusters.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.integration.rule import PointModel

REACH, STEPS = 6.0, 121  # of x, in its standard deviations over all clusters
BETWEEN_REACH, BETWEEN_MOST = 6.0, 241  # of u, in those between clusters


class ClusterGrid(NamedTuple):
    """Codes of clusters [person], their number, and nodes of u / tau [node]."""

    codes: Any
    n_clusters: int
    nodes: Any

    @classmethod
    def of(cls, codes: np.ndarray) -> ClusterGrid:
        """Nodes as close as the posterior of u in the largest cluster is narrow, were its persons' x known."""
        largest = int(np.bincount(codes).max())
        n = int(np.ceil(2 * BETWEEN_REACH * math.sqrt(1 + largest) / 0.9))
        return cls(
            codes, int(codes.max()) + 1, np.linspace(-BETWEEN_REACH, BETWEEN_REACH, min(max(n | 1, 21), BETWEEN_MOST))
        )


class Joint(NamedTuple):
    """What the two rules are made of: see ``cluster_joint``."""

    log_joint: jax.Array
    given: jax.Array
    kernel: jax.Array
    at: jax.Array


def cluster_joint(model: PointModel, params: Any, tau: jax.Array, data: Arrays, grid: ClusterGrid) -> Joint:
    """Everything at the nodes: log_joint [node, cluster], p(y | x) by person scaled to a maximum of 1 [person, x], the
    weights N(x; u_s, psi) dx [x, node], and x [x].
    """
    mean, psi = params["factor_means"][0, 0], params["factor_cov"][0, 0, 0]
    total = jnp.sqrt(psi + tau**2)
    z = jnp.linspace(-REACH, REACH, STEPS)
    x = mean + total * z
    log_y = model.log_prob_given_latent(params, x[:, None, None], data).T  # [person, x]
    top = jax.lax.stop_gradient(log_y.max(1, keepdims=True))
    given = jnp.exp(log_y - top)
    step = total * (z[1] - z[0])
    away = (x[:, None] - mean - tau * jnp.asarray(grid.nodes)) ** 2 / psi
    kernel = jnp.exp(-away / 2) * step / jnp.sqrt(2 * jnp.pi * psi)
    each = jnp.log(given @ kernel) + top  # [person, node]
    joint = jax.ops.segment_sum(each, jnp.asarray(grid.codes), grid.n_clusters).T
    nodes = jnp.asarray(grid.nodes)
    log_weight = -(nodes**2) / 2 - jax.nn.logsumexp(-(nodes**2) / 2)
    return Joint(joint + log_weight[:, None], given, kernel, x)


def cluster_log_marginal(model: PointModel, params: Any, tau: jax.Array, data: Arrays, grid: ClusterGrid) -> jax.Array:
    """log p(y_j) [cluster]."""
    return jax.nn.logsumexp(cluster_joint(model, params, tau, data, grid).log_joint, axis=0)


def cluster_posteriors(
    model: PointModel, params: Any, tau: jax.Array, data: Arrays, grid: ClusterGrid
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Posterior means and standard deviations of x [person] and of u [cluster]."""
    joint = cluster_joint(model, params, tau, data, grid)
    weight = jax.nn.softmax(joint.log_joint, axis=0)  # [node, cluster]
    u = tau * jnp.asarray(grid.nodes)
    by_u = joint.given @ joint.kernel
    first = (joint.given * joint.at) @ joint.kernel / by_u  # E(x | y_i, u) [person, node]
    second = (joint.given * joint.at**2) @ joint.kernel / by_u
    own = weight.T[jnp.asarray(grid.codes)]
    mean, square = (own * first).sum(1), (own * second).sum(1)
    u_mean, u_square = u @ weight, u**2 @ weight
    return mean, jnp.sqrt(jnp.maximum(square - mean**2, 0)), u_mean, jnp.sqrt(jnp.maximum(u_square - u_mean**2, 0))
