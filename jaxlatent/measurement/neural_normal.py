"""Normal and Student-t items of decoders, on standardised columns: variances are constants or come from the network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from jaxlatent.measurement.family import Family, ItemParameter, ItemParams, free, rows_of
from jaxlatent.numerics.normal_density import inverse_and_log_det, psd_root
from jaxlatent.numerics.small_cholesky import cholesky_cells, forward, log_diagonal

FLOOR = 1e-4  # the least variance given x, as a share of the column's variance
STEEPEST = 12.0  # the most that a network adds to the logarithm of a variance, either way


@dataclass(frozen=True)
class DecodedNormal(Family):
    """y ~ N(d + m(x), v), v = dispersion + FLOOR, or (dispersion e^{s(x)}) + FLOOR where the network gives s, too.

    Outputs: m, and s if by_network. The floor keeps densities bounded where a column is constant or can be predicted
    without error.
    """

    by_network: bool = False
    categorical: ClassVar[bool] = False

    @property
    def outputs(self) -> int:
        return 2 if self.by_network else 1

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return (ItemParameter("intercepts", free(1)), ItemParameter("dispersion", free(1), support="positive"))

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        return {"intercepts": observed[:1].astype(float), "dispersion": np.maximum(observed[1:] / 2, 0.01)}

    def item_params(self, params: Mapping[str, jax.Array]) -> ItemParams:
        return rows_of(self.item_parameters(0), params)

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        mean, variance = self._moments(eta, params)
        return -((y - mean) ** 2 / variance + jnp.log(variance) + math.log(2 * math.pi)) / 2

    def sample(self, key: jax.Array, eta: jax.Array, params: ItemParams) -> jax.Array:
        mean, variance = self._moments(eta, params)
        return mean + jnp.sqrt(variance) * jax.random.normal(key, mean.shape, mean.dtype)

    def expected(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        return self._moments(eta, params)[0]

    def variance(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        """v [..., person, item]."""
        mean, variance = self._moments(eta, params)
        return jnp.broadcast_to(variance, mean.shape)

    def information(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        return 1 / self.variance(eta, params)

    def _moments(self, eta: jax.Array, params: ItemParams) -> tuple[jax.Array, jax.Array]:
        intercept, dispersion = params["intercepts"][..., 0], params["dispersion"][..., 0]
        if not self.by_network:
            return eta + intercept, dispersion + FLOOR
        return eta[..., 0] + intercept, dispersion * jnp.exp(jnp.clip(eta[..., 1], -STEEPEST, STEEPEST)) + FLOOR


@dataclass(frozen=True)
class StudentT(Family):
    """y = d + m(x) + sqrt(dispersion + FLOOR) t, t with 1 + degrees degrees of freedom: outliers move little."""

    categorical: ClassVar[bool] = False

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return (
            ItemParameter("intercepts", free(1)),
            ItemParameter("dispersion", free(1), support="positive"),
            ItemParameter("degrees", free(1), support="positive"),
        )

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        half = np.maximum(observed[1:] / 2, 0.01)
        return {"intercepts": observed[:1].astype(float), "dispersion": half, "degrees": np.array([5.0])}

    def item_params(self, params: Mapping[str, jax.Array]) -> ItemParams:
        return rows_of(self.item_parameters(0), params)

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        mean, square, df = self._parts(eta, params)
        constant = gammaln((df + 1) / 2) - gammaln(df / 2) - jnp.log(df * math.pi * square) / 2
        return constant - (df + 1) / 2 * jnp.log1p((y - mean) ** 2 / (df * square))

    def sample(self, key: jax.Array, eta: jax.Array, params: ItemParams) -> jax.Array:
        mean, square, df = self._parts(eta, params)
        noise = jax.random.t(key, jnp.broadcast_to(df, mean.shape), mean.shape, mean.dtype)
        return mean + jnp.sqrt(square) * noise

    def expected(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        return self._parts(eta, params)[0]

    def information(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        """(df + 1) / ((df + 3) scale²)."""
        mean, square, df = self._parts(eta, params)
        return jnp.broadcast_to((df + 1) / ((df + 3) * square), mean.shape)

    def _parts(self, eta: jax.Array, params: ItemParams) -> tuple[jax.Array, jax.Array, jax.Array]:
        square, df = params["dispersion"][..., 0] + FLOOR, 1 + params["degrees"][..., 0]
        return eta + params["intercepts"][..., 0], square, df


@dataclass(frozen=True)
class JointNormal(Family):
    """y ~ N(d + m(x), C), C constant: C = V + W W' (rank columns of W, V diagonal), or any matrix (rank None).

    V = dispersion + FLOOR. Any C: the inverse of C is K K' with K lower triangular, its rows below the diagonal are
    ``residual_factors`` and its diagonal (dispersion + FLOOR)^(-1/2): dispersion is a variable's variance given those
    after it. Missing cells are integrated out of the first form; the second takes complete rows.
    """

    n_items: int
    rank: int | None = None
    categorical: ClassVar[bool] = False

    @property
    def width(self) -> int:
        """Columns of residual_factors."""
        return self.n_items if self.rank is None else self.rank

    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        return (
            ItemParameter("intercepts", free(1)),
            ItemParameter("dispersion", free(1), support="positive"),
            ItemParameter("residual_factors", free(self.width)),
        )

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        half = np.maximum(observed[1:] / 2, 0.01)
        return {"intercepts": observed[:1].astype(float), "dispersion": half, "residual_factors": np.zeros(self.width)}

    def item_params(self, params: Mapping[str, jax.Array]) -> ItemParams:
        return rows_of(self.item_parameters(0), params)

    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        raise TypeError("A density with residual covariances does not factorise over items: see log_density.")

    def log_density(self, eta: jax.Array, params: ItemParams, y: jax.Array, observed: jax.Array) -> jax.Array:
        """log p(y | x) [..., person] of the observed cells."""
        e = jnp.where(observed, y - eta - params["intercepts"][..., 0], 0)
        variance, factors = (params["dispersion"][..., 0] + FLOOR)[0], params["residual_factors"][0]
        if self.rank is None:
            k = jnp.tril(factors, -1) + jnp.diag(1 / jnp.sqrt(variance))
            z = (e.reshape(-1, e.shape[-1]) @ k).reshape(e.shape)
            return -((z**2).sum(-1) + jnp.log(variance).sum() + self.n_items * math.log(2 * math.pi)) / 2
        precision = observed / variance  # [person, item]
        gram = [[(precision * factors[:, i] * factors[:, j]).sum(-1) + float(i == j) for j in range(self.width)]
                for i in range(self.width)]  # fmt: skip
        lower = cholesky_cells(gram)
        along = [((e * precision) * factors[:, i]).sum(-1) for i in range(self.width)]
        explained = sum((z**2 for z in forward(lower, along)), start=jnp.zeros(()))
        log_det = jnp.where(observed, jnp.log(variance), 0).sum(-1) + 2 * log_diagonal(lower)
        count = observed.sum(-1) * math.log(2 * math.pi)
        return -((e**2 * precision).sum(-1) - explained + log_det + count) / 2

    def variance(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        """The diagonal of C [..., person, item]."""
        return jnp.broadcast_to(jnp.diagonal(self.covariance(params)), eta.shape)

    def covariance(self, params: ItemParams) -> jax.Array:
        """C [item, item]."""
        variance, factors = (params["dispersion"][..., 0] + FLOOR)[0], params["residual_factors"][0]
        if self.rank is not None:
            return jnp.diag(variance) + factors @ factors.T
        k = jnp.tril(factors, -1) + jnp.diag(1 / jnp.sqrt(variance))
        return inverse_and_log_det((k @ k.T)[None])[0][0]

    def sample(self, key: jax.Array, eta: jax.Array, params: ItemParams) -> jax.Array:
        noise = jax.random.normal(key, eta.shape, eta.dtype)
        return eta + params["intercepts"][..., 0] + noise @ psd_root(self.covariance(params)).T

    def expected(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        return eta + params["intercepts"][..., 0]
