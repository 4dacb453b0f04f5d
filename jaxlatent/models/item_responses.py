"""p(x) and p(y | x) of the persons of one data set as NumPyro distributions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution, biject_to, constraints
from numpyro.distributions.transforms import AffineTransform

from jaxlatent.data.arrays import Arrays
from jaxlatent.latent.latent import LatentDistribution
from jaxlatent.models.latent_variable_model import LatentVariableModel, Params
from jaxlatent.numerics.types import Array


@runtime_checkable
class Path(Protocol):
    """A distribution whose draws are a function of its parameters and of noise that has none."""

    def path(self, value: jax.Array) -> jax.Array:
        """The value itself, with the derivatives of a draw: by the distribution's parameters, at fixed noise."""


SPREAD = 0.5


class Around(constraints.Constraint):
    """Real vectors in coordinates whose origin [person, D] is a good place to start, and whose unit is 1/2."""

    event_dim = 1

    def __init__(self, origin: Array) -> None:
        self.origin = origin

    def __call__(self, x: Any) -> Any:
        return constraints.real_vector(x)

    def feasible_like(self, prototype: Any) -> Any:
        return jnp.zeros_like(prototype)

    def tree_flatten(self) -> tuple[tuple[Array], tuple[tuple[str], dict[str, Any]]]:
        return (self.origin,), (("origin",), {})


@biject_to.register(Around)
def _from_origin(constraint: Around) -> AffineTransform:
    return AffineTransform(constraint.origin, SPREAD, domain=constraints.real_vector)


class LatentPrior(Distribution):
    """p(x) for n persons: batch shape [n], event shape [D]. origin [n, D]: where samplers start, if given."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    pytree_data_fields = ("inner", "origin")
    reparametrized_params = ["inner"]  # noqa: RUF012

    def __init__(self, inner: LatentDistribution, n: int, origin: Array | None = None) -> None:
        self.inner, self.origin = inner, origin
        super().__init__((n,), (inner.n_latent,), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.real_vector if self.origin is None else Around(self.origin)

    def log_prob(self, value: jax.Array, intermediates: Any = None) -> jax.Array:
        return jnp.broadcast_to(self.inner.log_prob(value), value.shape[:-1])

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        return self.inner.sample(key, (*sample_shape, *self.batch_shape))

    def path(self, value: jax.Array) -> jax.Array:
        still = jax.tree.map(jax.lax.stop_gradient, self.inner)
        return self.inner.transform(jax.lax.stop_gradient(still.inverse(value)))


class ItemResponses(Distribution):
    """p(y | x): batch shape [..., person] of x [..., person, D], event shape [item]; missing cells have density 1."""

    support = constraints.real_vector
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    pytree_data_fields = ("model", "params", "x", "arrays")

    def __init__(self, model: LatentVariableModel, params: Params, x: jax.Array, arrays: Arrays) -> None:
        self.model, self.params, self.x, self.arrays = model, params, x, arrays
        super().__init__(x.shape[:-1], arrays.y.shape[-1:], validate_args=False)

    def log_prob(self, value: jax.Array, intermediates: Any = None) -> jax.Array:
        return self.model.log_prob_given_latent(self.params, self.x, replace(self.arrays, y=value))

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Complete draws [*sample_shape, ..., person, item]."""
        x = jnp.broadcast_to(self.x, (*sample_shape, *self.x.shape))
        return self.model.measurement.sample(key, self.params, x, self.arrays.group)
