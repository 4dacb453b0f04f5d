"""The log-density of written priors at a free vector: what turns a maximum into a posterior mode."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.models.block_prior import inside_of
from jaxlatent.models.covariance_prior import correlations, log_det_correlation
from jaxlatent.models.prior_distributions import bounds, is_flat
from jaxlatent.numerics.bijections import Covariance
from jaxlatent.numerics.program import jit
from jaxlatent.spec.layout import Layout


@dataclass(frozen=True)
class CellPrior:
    """A distribution with ``log_prob`` for free cells of a matrix: of all, or those at positions in the free vector.

    scale: what the distribution is a density of, "natural", "logit", "sd", "cor", "lkj" or "between": see
    models.block_prior.Written. patterns: the covariance matrices that correlations are in, positions those of the free
    vector. sets [set, group]: parameters whose deviations from their mean have the density.
    """

    matrix: str
    distribution: Any
    scale: str = "natural"
    positions: tuple[int, ...] | None = None
    patterns: tuple[Covariance, ...] = ()
    sets: tuple[tuple[int, ...], ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Priors:
    """All written priors of a model; compared by identity of their distributions.

    A density of a logit, a standard deviation or a correlation is taken as it stands, without the Jacobian of the
    change to cells: the mode is that of the parameters in which the priors are written.
    """

    cells: tuple[CellPrior, ...] = ()

    @property
    def active(self) -> bool:
        """Whether any of them is not flat."""
        return any(not is_flat(each.distribution) for each in self.cells)

    @property
    def informed(self) -> int:
        """How many directions of the free vector have a proper prior, at most."""
        proper = [each for each in self.cells if not is_flat(each.distribution)]
        own = {p for each in proper for p in each.positions or () if each.scale != "between"}
        return len(own) + sum(len(members) - 1 for each in proper for members in each.sets)

    def log_prob(self, layout: Layout, free: jax.Array) -> jax.Array:
        """Sum of log-densities; -inf outside their supports, flat ones 0. Each free parameter counts once."""
        total = jnp.zeros((), free.dtype)
        for prior in self.cells:
            if not is_flat(prior.distribution):
                total = total + _term(prior, layout, free).astype(free.dtype)
        return total

    def second_order(self, layout: Layout, free: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Log-density, gradient and Hessian."""
        q = free.shape[0]
        if not self.cells:
            return jnp.zeros((), free.dtype), jnp.zeros(q, free.dtype), jnp.zeros((q, q), free.dtype)
        function = lambda f: self.log_prob(layout, f)  # noqa: E731
        return function(free), jax.grad(function)(free), jax.hessian(function)(free)

    def on_host(self, layout: Layout, free: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """The same as NumPy arrays in double precision, by one compiled program."""
        if not self.cells:
            return 0.0, np.zeros(len(free)), np.zeros((len(free),) * 2)
        with jax.enable_x64(True):
            value, gradient, hessian = _second_order(self, layout, np.asarray(free, float))
            return float(value), np.asarray(gradient), np.asarray(hessian)


@partial(jit, static_argnums=0)
def _second_order(priors: Priors, layout: Layout, free: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    return priors.second_order(layout, jnp.asarray(free))


def _term(prior: CellPrior, layout: Layout, free: jax.Array) -> jax.Array:
    d = prior.distribution
    if prior.scale == "between":
        cells = free[np.array(prior.sets)]
        return d.log_prob(cells - cells.mean(-1, keepdims=True)).sum()
    if prior.scale in ("cor", "lkj"):
        return _correlation_term(prior, free)
    if prior.positions is None:
        index = jnp.asarray(layout.index[prior.matrix])
        counted = jnp.zeros(free.shape[0], bool).at[jnp.where(index >= 0, index, 0).ravel()].max((index >= 0).ravel())
        value = free
    else:
        value = free[np.array(prior.positions, int)]
        counted = jnp.ones(value.shape, bool)
    if prior.scale == "logit":
        value = jnp.where(counted, value, 0.5)
        value = jnp.log(value) - jnp.log1p(-value)
    elif prior.scale == "sd":
        there = counted & (value > 0)
        value = jnp.where(there, jnp.sqrt(jnp.where(there, value, 1.0)), jnp.where(counted, -1.0, 1.0))
    low, high = bounds(d) or (-jnp.inf, jnp.inf)
    if prior.scale == "sd":
        low = max(low, 0.0)
    inside = (value >= low) & (value <= high)
    terms = d.log_prob(jnp.where(counted & inside, value, inside_of(d)))
    return jnp.where(counted, jnp.where(inside, terms, -jnp.inf), 0).sum()


def _correlation_term(prior: CellPrior, free: jax.Array) -> jax.Array:
    total = jnp.zeros((), free.dtype)
    for pattern in prior.patterns:
        if prior.scale == "lkj":
            total = total + (prior.distribution.concentration - 1) * log_det_correlation(pattern, free)
            continue
        found = correlations(pattern, free)
        for at in found:
            if prior.positions is None or at in prior.positions:
                total = total + prior.distribution.log_prob(found[at][0])
    return jnp.where(jnp.isnan(total), -jnp.inf, total)
