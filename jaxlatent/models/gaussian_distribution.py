"""The marginal of the normal model as a NumPyro distribution, to compose with other people's inference."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, biject_to, constraints
from numpyro.distributions.transforms import IdentityTransform
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key

from jaxlatent.latent.structural import total_effects
from jaxlatent.models.simulation import simulate
from jaxlatent.numerics.normal_density import dense_log_prob, factor_log_prob

SHAPES = {
    "loadings": "p x m",
    "intercepts": "p",
    "residual_cov": "p (variances) or p x p",
    "factor_cov": "m x m",
    "regressions": "m x m",
    "factor_means": "m",
}


class _RealOrMissing(constraints.ParameterFreeConstraint):
    """Vectors of finite numbers and nan, nan being a missing cell."""

    event_dim = 1

    def __call__(self, x: Any) -> Any:
        return (abs(x) != float("inf")).all(-1)

    def feasible_like(self, prototype: Any) -> Any:
        return jnp.zeros_like(prototype)


@biject_to.register(_RealOrMissing)
def _identity(constraint: _RealOrMissing) -> IdentityTransform:
    return IdentityTransform()


class StructuredNormal(Distribution):
    """y = nu + Lambda x + e, x = (I - B)^-1 (alpha + xi), with x integrated out.

        y ~ N(nu + Lambda A alpha, Lambda A Psi A' Lambda' + Theta),   A = (I - B)^-1, xi ~ N(0, Psi), e ~ N(0, Theta)

    A cell of the value that is nan is missing and integrated out too; a row of nothing but nan has log density 0.

    Parameters
    ----------
    loadings : Lambda [p, m].
    intercepts : nu [p].
    residual_cov : Theta. Variances [p], all positive: the density costs m x m systems (Woodbury) and Psi must be
        positive semidefinite. A matrix [p, p], diagonal or not: p x p systems. It is the shape that decides, never the
        values: a matrix that happens to be diagonal still has derivatives by its other cells.
    factor_cov : Psi [m, m].
    regressions : B [m, m], none if left out.
    factor_means : alpha [m], zero if left out.

    The batch shape is (): put it in a plate of persons, or ``vmap`` over parameters. The density is nan where a
    covariance matrix is not positive definite.

    Raises
    ------
    ValueError
        Shapes do not fit together.

    References
    ----------
    Bollen (1989), Structural Equations with Latent Variables, ch. 8; Rubin and Thayer (1982), Psychometrika 47.
    """

    arg_constraints = {  # noqa: RUF012
        "loadings": constraints.real_matrix,
        "intercepts": constraints.real_vector,
        "residual_cov": constraints.dependent,
        "factor_cov": constraints.dependent,
        "regressions": constraints.real_matrix,
        "factor_means": constraints.real_vector,
    }
    support = _RealOrMissing()
    reparametrized_params = list(arg_constraints)  # noqa: RUF012

    def __init__(
        self,
        loadings: ArrayLike,
        intercepts: ArrayLike,
        residual_cov: ArrayLike,
        factor_cov: ArrayLike,
        regressions: ArrayLike | None = None,
        factor_means: ArrayLike | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        given = (loadings, intercepts, residual_cov, factor_cov, regressions, factor_means)
        arrays = _checked(dict(zip(SHAPES, given, strict=True)))
        self.loadings = arrays["loadings"]
        self.intercepts = arrays["intercepts"]
        self.residual_cov = arrays["residual_cov"]
        self.factor_cov = arrays["factor_cov"]
        self.regressions = arrays["regressions"]
        self.factor_means = arrays["factor_means"]
        super().__init__((), self.intercepts.shape[-1:], validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: jax.Array, intermediates: Any = None) -> jax.Array:
        """log p of the observed cells of each row [...]; value [..., p]."""
        p = self.event_shape[0]
        y = jnp.asarray(value).reshape(-1, p)
        observed = ~jnp.isnan(y)
        y = jnp.where(observed, y, 0)  # before any arithmetic: nan times a zero cotangent is nan
        total = self._total
        mean = self.intercepts + total @ self.factor_means
        if self.residual_cov.ndim == 1:
            rows = factor_log_prob(y, observed, mean, total, self.residual_cov, self.factor_cov)
        else:
            rows = dense_log_prob(y, observed, mean, total @ self.factor_cov @ total.T + self.residual_cov)
        return rows.reshape(jnp.shape(value)[:-1])

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Complete draws [*sample_shape, p], reparametrised."""
        if not is_prng_key(key):
            raise ValueError(f"Expected a PRNG key; got {key!r}.")
        params = {name: getattr(self, name) for name in SHAPES}
        params["residual_cov"] = self._residual_matrix
        return simulate(params, math.prod(sample_shape), key)[0].reshape(*sample_shape, *self.event_shape)

    @property
    def mean(self) -> jax.Array:
        return self.intercepts + self._total @ self.factor_means

    @property
    def covariance_matrix(self) -> jax.Array:
        total = self._total
        return total @ self.factor_cov @ total.T + self._residual_matrix

    @property
    def variance(self) -> jax.Array:
        return jnp.diagonal(self.covariance_matrix)

    @property
    def _total(self) -> jax.Array:
        """Lambda (I - B)^-1 [p, m]."""
        return self.loadings @ total_effects(self.regressions[None])[0]

    @property
    def _residual_matrix(self) -> jax.Array:
        return jnp.diag(self.residual_cov) if self.residual_cov.ndim == 1 else self.residual_cov


def _checked(given: dict[str, ArrayLike | None]) -> dict[str, jax.Array]:
    """Arrays of one floating type with B and alpha filled in; raises where a shape does not fit."""
    loadings = jnp.asarray(given["loadings"])
    if loadings.ndim != 2:
        raise ValueError(f"Expected loadings p x m; got shape {loadings.shape}.")
    p, m = loadings.shape
    zeros = {"regressions": jnp.zeros((m, m), loadings.dtype), "factor_means": jnp.zeros(m, loadings.dtype)}
    filled = {name: zeros[name] if value is None else jnp.asarray(value) for name, value in given.items()}
    allowed: dict[str, list[tuple[int, ...]]] = {
        "intercepts": [(p,)],
        "residual_cov": [(p,), (p, p)],
        "factor_cov": [(m, m)],
        "regressions": [(m, m)],
        "factor_means": [(m,)],
    }
    for name, shapes in allowed.items():
        if filled[name].shape not in shapes:
            raise ValueError(f"Expected {name} {SHAPES[name]} with p = {p}, m = {m}; got shape {filled[name].shape}.")
    dtype = jnp.result_type(*filled.values())
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    return {name: value.astype(dtype) for name, value in filled.items()}
