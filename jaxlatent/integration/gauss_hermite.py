"""Gauss-Hermite quadrature on a fixed grid: for few latent variables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.integration.rule import Params, PointModel, PointRule
from jaxlatent.integration.standard_points import StandardPoints

MOST_NODES, MOST_POINTS = 200, 1_000_000
LOST = -36.0  # the logarithm of 2e-16


@partial(jax.tree_util.register_dataclass, data_fields=(), meta_fields=("n",))
@dataclass(frozen=True)
class GaussHermite(PointRule):
    """n nodes per latent variable, n^D in all, at x = mean + R z of the prior N(mean, R R').

    Misleads where a person's likelihood is narrow beside the distance of nodes: compare n with 2n.

    Raises
    ------
    ValueError
        n is less than one.
    """

    n: int

    def __post_init__(self) -> None:
        if isinstance(self.n, bool) or not isinstance(self.n, int | np.integer) or self.n < 1:
            raise ValueError(f"Expected at least 1 node; got n = {self.n!r}.")

    def standard(self, n_latent: int, shape: tuple[int, ...], dtype: str, key: int) -> StandardPoints:
        """Nodes [point, D]; those whose weight is lost in rounding are left out."""
        check_grid(self.n, n_latent)
        z, log_w = grid(self.n, n_latent)
        keep = log_w > LOST
        return StandardPoints(z[keep].astype(dtype), log_w[keep])

    def points(self, model: PointModel, params: Params, data: Arrays) -> tuple[jax.Array, jax.Array]:
        latent = model.latent_distribution(params, data)
        z, log_weight = grid(self.n, latent.n_latent)
        dtype = params["factor_cov"].dtype
        return latent.transform(jnp.asarray(z, dtype)[:, None]), jnp.asarray(log_weight, dtype)[:, None]


def check_grid(n: int, n_latent: int) -> None:
    """Raise ValueError where a grid has more nodes than can be used."""
    if n > MOST_NODES or n**n_latent > MOST_POINTS:
        raise ValueError(
            f"Expected at most {MOST_NODES} nodes per latent variable and {MOST_POINTS} points; got {n} nodes for"
            f" {n_latent} latent variable(s): use QuasiMonteCarlo(n) or ImportanceSampling(n)."
        )


def grid(n: int, n_latent: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes [n^D, D] and log-weights [n^D] for expectations under N(0, I)."""
    z, w = np.polynomial.hermite_e.hermegauss(n)
    log_w = np.log(w) - np.log(w.sum())
    nodes = np.stack(np.meshgrid(*[z] * n_latent, indexing="ij"), -1).reshape(-1, n_latent)
    weights = sum(np.meshgrid(*[log_w] * n_latent, indexing="ij"), start=np.zeros(()))
    return nodes, np.asarray(weights).reshape(-1)
