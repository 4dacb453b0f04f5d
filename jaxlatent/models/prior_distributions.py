"""Densities of priors: from text to NumPyro's distributions, shrinkage priors, flat ones, and what can be wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints

from jaxlatent.spec.prior_text import PriorText, parse_prior

NODES = 48  # of the distribution of local scales
_STRETCH = dist.transforms.AffineTransform(-1.0, 2.0, domain=constraints.unit_interval)
flat = dist.ImproperUniform(constraints.real, (), ())


@dataclass(frozen=True)
class LKJ:
    """Density of a correlation matrix R proportional to det(R)^(concentration - 1) (Lewandowski et al. 2009).

    Where correlations are fixed at 0 it is the same density of the others. 1 is uniform; 2 keeps away from singular R.
    """

    concentration: float


class GammaOfTwo(dist.Distribution):
    """Gamma(2, rate): density rate² x exp(-rate x), 0 at 0 and linear there (Chung et al. 2013, Psychometrika 78).

    NumPyro's Gamma, whose draws need loops that take long to compile; these are sums of two exponentials.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"rate": constraints.positive}
    support = constraints.positive
    pytree_data_fields = ("rate",)

    def __init__(self, rate: Any) -> None:
        self.rate = rate
        super().__init__(jnp.shape(rate), (), validate_args=False)

    def log_prob(self, value: jax.Array, intermediates: Any = None) -> jax.Array:
        return 2 * jnp.log(self.rate) + jnp.log(value) - self.rate * value

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        parts = jax.random.exponential(key, (2, *sample_shape, *self.batch_shape))
        return parts.sum(0) / self.rate


def is_flat(distribution: Any) -> bool:
    """Whether a prior is improper: constant on all real numbers."""
    return isinstance(distribution, dist.ImproperUniform)


def horseshoe(global_scale: float, slab_scale: float = 1.0) -> Any:
    """The regularised horseshoe (Piironen and Vehtari 2017) of one parameter, its local scale integrated out.

    c | λ ~ N(0, v), 1/v = 1/slab_scale² + 1/(global_scale λ)², λ ~ half-Cauchy(0, 1), as a mixture of normals at
    Gauss-Legendre nodes of the half-Cauchy's distribution function. With p0 of D coefficients expected away from 0 in n
    persons, global_scale = p0 / (D - p0) / √n for standardised variables.

    Raises ValueError for scales that are not positive.
    """
    for name, value in (("global_scale", global_scale), ("slab_scale", slab_scale)):
        if not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ValueError(f"Expected {name} of the horseshoe as a number above 0; got {value!r}.")
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    local = np.tan(np.pi / 4 * (nodes + 1))
    sd = (1 / slab_scale**2 + 1 / (global_scale * local) ** 2) ** -0.5
    return _normal_mixture(weights / 2, sd)


def spike_and_slab(spike: float, slab: float = 1.0, probability: float = 0.5) -> Any:
    """Continuous spike and slab (George and McCulloch 1993): N(0, slab²) with this probability, else N(0, spike²).

    The indicator is summed out, so that it is a density of the parameter alone. Raises ValueError unless
    0 < spike < slab and 0 < probability < 1.
    """
    if not (0 < spike < slab and 0 < probability < 1):
        raise ValueError(
            f"Expected 0 < spike < slab and 0 < probability < 1; got {spike!r}, {slab!r} and {probability!r}."
        )
    return _normal_mixture(np.array([1 - probability, probability]), np.array([spike, slab]))


def _normal_mixture(weights: np.ndarray, sd: np.ndarray) -> Any:
    return dist.MixtureSameFamily(dist.CategoricalProbs(weights / weights.sum()), dist.Normal(np.zeros(len(sd)), sd))


_MAKE: dict[str, Callable[..., Any]] = {
    "normal": dist.Normal,
    "half_normal": dist.HalfNormal,
    "student_t": dist.StudentT,
    "half_student_t": lambda df, scale: dist.LeftTruncatedDistribution(dist.StudentT(df, 0.0, scale), 0.0),
    "cauchy": dist.Cauchy,
    "half_cauchy": dist.HalfCauchy,
    "laplace": dist.Laplace,
    "lognormal": dist.LogNormal,
    "gamma": dist.Gamma,
    "inverse_gamma": dist.InverseGamma,
    "exponential": dist.Exponential,
    "beta": dist.Beta,
    "uniform": dist.Uniform,
    "lkj": LKJ,
    "horseshoe": horseshoe,
    "spike_and_slab": spike_and_slab,
    "flat": lambda: flat,
}


@lru_cache(maxsize=512)
def from_text(text: PriorText) -> Any:
    """The distribution of a text, the same object for the same text. beta(a, b)[cor] is stretched to (-1, 1)."""
    if text.name == "beta" and text.scale == "cor":
        return stretched_beta(*text.numbers)
    return _MAKE[text.name](*text.numbers)


@lru_cache(maxsize=512)
def stretched_beta(a: float, b: float) -> Any:
    """2 Beta(a, b) - 1, a density of a correlation."""
    return dist.TransformedDistribution(dist.Beta(a, b), _STRETCH)


def read_prior(given: Any, name: str, scale: str = "natural") -> tuple[Any, str, str]:
    """What a user gave as (distribution, scale, description); scale: that of a text which names none.

    Raises
    ------
    ValueError
        Neither text nor a distribution of one number, a discrete distribution, or several numbers at once.
    """
    if isinstance(given, str):
        try:
            text = parse_prior(given)
        except ValueError as error:
            sentence = str(error)
            raise ValueError(f"The prior of {name}: {sentence[0].lower()}{sentence[1:]}") from None
        text = replace(text, scale=scale) if text.scale == "natural" and scale in ("sd", "cor") else text
        return from_text(text), text.scale, str(text)
    if isinstance(given, LKJ):
        return given, "cor", describe(given)
    if isinstance(given, dist.LKJ | dist.LKJCholesky):
        return LKJ(float(given.concentration)), "cor", f"lkj({float(given.concentration):g})"
    if not hasattr(given, "log_prob") or not hasattr(given, "support"):
        raise ValueError(f"Expected a NumPyro distribution or a text such as 'normal(0, 1)' for {name}; got {given!r}.")
    if given.batch_shape or given.event_shape:
        shape = given.batch_shape + given.event_shape
        raise ValueError(f"Expected a distribution of one number for {name}; got {describe(given)} of shape {shape}.")
    if getattr(given.support, "is_discrete", False):
        raise ValueError(f"Expected a density for {name}; got the discrete {describe(given)}.")
    return given, "natural", describe(given)


def describe(distribution: Any) -> str:
    """A distribution in a few words, for tables and messages."""
    if isinstance(distribution, LKJ):
        return f"lkj({distribution.concentration:g})"
    if is_flat(distribution):
        return "flat"
    numbers = []
    for name in distribution.arg_constraints:
        value = distribution.__dict__.get(name)
        if value is not None and np.ndim(value) == 0:
            numbers.append(f"{float(value):g}")
    return f"{type(distribution).__name__}({', '.join(numbers)})"


def bounds(distribution: Any) -> tuple[float, float] | None:
    """The interval on which a distribution has a density, or None where its support is no interval."""
    support = distribution.support
    if support in (constraints.real, constraints.real_vector):
        return -math.inf, math.inf
    low, high = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    if low is None and high is None:
        return None
    return (-math.inf if low is None else float(low)), (math.inf if high is None else float(high))


def inside_of(distribution: Any) -> float:
    """A number at which the density of a distribution is finite, for cells that it is not about."""
    low, high = bounds(distribution) or (0.0, 1.0)
    if low > -math.inf and high < math.inf:
        return (low + high) / 2
    return low + 0.5 if low > -math.inf else min(high - 0.5, 0.0)


def mass_above(distribution: Any, least: float) -> float | None:
    """P(c > least), or None where the distribution function is not known."""
    try:
        return 1 - float(distribution.cdf(least))
    except (NotImplementedError, AttributeError):
        return None


_WRITTEN: dict[type, tuple[str, tuple[str, ...]]] = {
    dist.Normal: ("normal", ("loc", "scale")),
    dist.HalfNormal: ("half_normal", ("scale",)),
    dist.StudentT: ("student_t", ("df", "loc", "scale")),
    dist.Cauchy: ("cauchy", ("loc", "scale")),
    dist.HalfCauchy: ("half_cauchy", ("scale",)),
    dist.Laplace: ("laplace", ("loc", "scale")),
    dist.LogNormal: ("lognormal", ("loc", "scale")),
    dist.Gamma: ("gamma", ("concentration", "rate")),
    dist.InverseGamma: ("inverse_gamma", ("concentration", "rate")),
    dist.Exponential: ("exponential", ("rate",)),
    dist.Beta: ("beta", ("concentration1", "concentration0")),
    dist.Uniform: ("uniform", ("low", "high")),
    LKJ: ("lkj", ("concentration",)),
    dist.LKJ: ("lkj", ("concentration",)),
    dist.LKJCholesky: ("lkj", ("concentration",)),
}


def as_text(given: Any) -> str | None:
    """A prior as the text that means it, None where there is none."""
    if isinstance(given, str):
        return given
    if is_flat(given):
        return "flat"
    name, arguments = _WRITTEN.get(type(given), (None, ()))
    return None if name is None else f"{name}({', '.join(repr(float(getattr(given, a))) for a in arguments)})"
