"""The log-density of written priors at a free vector: what turns a maximum into a posterior mode."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.numerics.bijections import Covariance
from jaxlatent.numerics.program import jit
from jaxlatent.spec.layout import Layout

EVERYTHING = "everything"  # the class of all parameters


@dataclass(frozen=True)
class Parameter:
    """A row of a table as priors see it: free is its position in the free vector, or -1 where it is fixed.

    classes: (name, scale) of the classes it belongs to, the narrower ones first; kind: a key of SETS.
    """

    free: int
    text: str
    label: str
    group: int
    classes: tuple[tuple[str, str], ...]
    kind: str
    written: str | None = None
    fixed: float = math.nan


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
    def proper(self) -> tuple[CellPrior, ...]:
        """Those that are not flat."""
        if not self.cells:
            return ()
        from jaxlatent.models.prior_distributions import is_flat  # NumPyro, only where there are priors

        return tuple(each for each in self.cells if not is_flat(each.distribution))

    @property
    def active(self) -> bool:
        """Whether any of them is not flat."""
        return bool(self.proper)

    @property
    def informed(self) -> int:
        """How many directions of the free vector have a proper prior, at most."""
        proper = self.proper
        own = {p for each in proper for p in each.positions or () if each.scale != "between"}
        return len(own) + sum(len(members) - 1 for each in proper for members in each.sets)

    def log_prob(self, layout: Layout, free: jax.Array) -> jax.Array:
        """Sum of log-densities; -inf outside their supports, flat ones 0. Each free parameter counts once."""
        total = jnp.zeros((), free.dtype)
        if not self.proper:
            return total
        from jaxlatent.inference.prior_density import log_density

        for prior in self.proper:
            total = total + log_density(prior, layout, free).astype(free.dtype)
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
