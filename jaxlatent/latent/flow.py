"""A normalising flow as the distribution of the latent variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.latent.latent import Latent
from jaxlatent.latent.standardized import Standardized, standardized
from jaxlatent.numerics.couplings import Couplings, Kind
from jaxlatent.numerics.normal_density import LOG_2_PI, inverse_and_log_det, psd_root
from jaxlatent.numerics.sobol import normal_sobol

GRID = {1: (8.0, 513), 2: (6.5, 53)}  # reach and nodes of each axis of the rule for so many variables
POINTS = 2048  # of the rule for more, with as many mirror images


@dataclass(frozen=True)
class Flow(Latent):
    """x = mean + R zeta, zeta = C^-1 (T(xi) - m), xi ~ N(0, I): T a chain of coupling layers, learned.

    m and C C' are the mean and covariance of T(xi), so that zeta has mean 0 and covariance I and the matrices of the
    model keep their meaning: factor_means, factor_cov and regressions give mean and R R' (lower Cholesky factors), by
    group and covariates; the shape is the same for all. m and C come from a fixed rule: for one and two variables the
    trapezoid rule, for more 2048 Sobol points and their mirror images, both exact for linear T. At the start T is
    close to the identity, x close to normal.

    kind: "affine" or "spline" couplings. layers: how many; by default 4, and 1 for one variable. hidden: widths of the
    network of each layer. bins, bound: of the splines. Learned: params["flow"].

    Raises
    ------
    ValueError
        An option out of range; "affine" for one variable, which would be normal again (at init).

    Source: Dinh et al. (2017); Durkan et al. (2019).
    """

    kind: Kind = "spline"
    layers: int | None = None
    hidden: int | tuple[int, ...] = (32,)
    bins: int = 8
    bound: float = 4.0

    def __post_init__(self) -> None:
        self.couplings(2)  # raises where an option is out of range

    def couplings(self, n_latent: int) -> Couplings:
        """T for so many latent variables."""
        layers = self.layers if self.layers is not None else (4 if n_latent > 1 else 1)
        hidden = (self.hidden,) if isinstance(self.hidden, int) else tuple(self.hidden)
        return Couplings(self.kind, n_latent, layers, hidden, bins=self.bins, bound=self.bound)

    def init(self, key: jax.Array, n_latent: int) -> dict[str, Any]:
        if self.kind == "affine" and n_latent == 1:
            raise ValueError("An affine flow of one latent variable is normal again: use Flow('spline').")
        return {"flow": self.couplings(n_latent).init(key)}

    def distribution(self, params: Mapping[str, Any], data: Arrays) -> Standardized:
        if "flow" not in params:
            raise ValueError(
                "Expected params['flow'], what the flow has learned: take it from Flow.init(key, n_latent)."
            )
        n_latent = params["factor_cov"].shape[-1]
        dtype = params["factor_cov"].dtype
        return standardized(params, data, standard_flow(self.couplings(n_latent), params["flow"], dtype))


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("params", "mean", "root", "inverse_root", "log_det"),
    meta_fields=("couplings",),
)
@dataclass(frozen=True)
class StandardFlow:
    """zeta = C^-1 (T(xi) - m): params of T, mean m [D], root C [D, D], its inverse, log_det = log |C|."""

    couplings: Couplings
    params: Any
    mean: jax.Array
    root: jax.Array
    inverse_root: jax.Array
    log_det: jax.Array

    def log_prob(self, zeta: jax.Array) -> jax.Array:
        """log N(xi; 0, I) + log |d xi / d zeta| [...]."""
        xi, log_det = self._xi(zeta)
        normal = -(xi**2).sum(-1) / 2 - xi.shape[-1] * LOG_2_PI / 2
        return (normal + log_det + self.log_det).reshape(zeta.shape[:-1])

    def inverse(self, zeta: jax.Array) -> jax.Array:
        """xi [..., D]."""
        return self._xi(zeta)[0].reshape(zeta.shape)

    def transform(self, z: jax.Array) -> jax.Array:
        """zeta [..., D] from xi = z."""
        t, _ = self.couplings.forward(self.params, z.reshape(-1, z.shape[-1]))
        return ((t - self.mean) @ self.inverse_root.T).reshape(z.shape)

    def _xi(self, zeta: jax.Array) -> tuple[jax.Array, jax.Array]:
        """xi and log |d xi / dt|, all leading axes as one."""
        flat = zeta.reshape(-1, zeta.shape[-1])
        return self.couplings.inverse(self.params, self.mean + flat @ self.root.T)


def standard_flow(couplings: Couplings, params: Any, dtype: Any) -> StandardFlow:
    """T with the moments of T(xi) by a fixed rule."""
    z, weight = (jnp.asarray(a, dtype) for a in moment_rule(couplings.n))
    t, _ = couplings.forward(params, z)
    mean = weight @ t
    away = t - mean
    cov = (away * weight[:, None]).T @ away
    root = psd_root(cov)
    precision, log_det = inverse_and_log_det(cov[None])  # a batch of one: never LAPACK, so safe under vmap in loops
    return StandardFlow(couplings, params, mean, root, root.T @ precision[0], log_det[0] / 2)


@lru_cache(maxsize=16)
def moment_rule(n_latent: int) -> tuple[np.ndarray, np.ndarray]:
    """Points z [point, D] and weights [point] for expectations under N(0, I); mean 0 and covariance I exactly.

    One variable: 513 nodes on [-8, 8]. Two: those of a grid with step 1/4 within 6.5 of the origin, 2121 in all.
    """
    if n_latent > 2:
        half = normal_sobol(POINTS, n_latent)
        z, weight = np.concatenate([half, -half]), np.full(2 * POINTS, 0.5 / POINTS)
    else:
        reach, nodes = GRID[n_latent]
        axis = np.linspace(-reach, reach, nodes)
        z = np.stack(np.meshgrid(*[axis] * n_latent, indexing="ij"), -1).reshape(-1, n_latent)
        z = z[(z**2).sum(1) <= reach**2]
        weight = np.exp(-(z**2).sum(1) / 2)
        weight /= weight.sum()
    cov = (z * weight[:, None]).T @ z
    return z @ np.linalg.inv(np.linalg.cholesky(cov)).T, weight
