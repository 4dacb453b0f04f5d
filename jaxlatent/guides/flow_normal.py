"""A conditional flow on top of a normal distribution, as a NumPyro distribution."""

from __future__ import annotations

from typing import Any

import jax
from numpyro.distributions import Distribution, constraints

from jaxlatent.guides.normals import LOG_2_PI, CholeskyNormal
from jaxlatent.numerics.couplings import Couplings


class FlowNormal(Distribution):
    """x = mean + L T(z; c), z standard normal: base N(mean, L L') [person, D], context c [person, size].

    log q(x) = log N(z; 0, I) + log |dz/dt| - log |L|, t = L^-1 (x - mean), z = T^-1(t; c). couplings: T, static;
    flow: its parameters.
    """

    support = constraints.real_vector
    arg_constraints = {"context": constraints.real_vector}  # noqa: RUF012
    reparametrized_params = ["context"]  # noqa: RUF012
    pytree_data_fields = ("base", "context", "flow")
    pytree_aux_fields = ("couplings",)

    def __init__(self, base: CholeskyNormal, context: jax.Array, flow: Any, couplings: Couplings) -> None:
        self.base, self.context, self.flow, self.couplings = base, context, flow, couplings
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        shape = (*sample_shape, *self.batch_shape, *self.event_shape)
        z = jax.random.normal(key, shape, self.context.dtype)
        t, _ = self.couplings.forward(self.flow, z, self.context)
        return self.base.moved(t)

    def log_prob(self, value: jax.Array, intermediates: Any = None) -> jax.Array:
        z, log_det = self.couplings.inverse(self.flow, self.base.standard(value), self.context)
        normal = -(z**2).sum(-1) / 2 - self.event_shape[0] * LOG_2_PI / 2
        return normal + log_det - self.base.log_diagonal.sum(-1)
