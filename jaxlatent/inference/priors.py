"""Priors on natural parameters: any log-density of cells of the named matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxlatent.spec.layout import Layout


@dataclass(frozen=True)
class CellPrior:
    """A distribution with ``log_prob`` for the free cells of a matrix (of all items, or those at positions).

    scale: "natural", or "logit" for a density of log(p / (1 - p)) taken as it stands, without the Jacobian of the
    transformation (so that the mode is that of the logit).
    """

    matrix: str
    distribution: Any
    scale: str = "natural"
    items: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Priors:
    """All priors of a model; compared by identity of their distributions."""

    cells: tuple[CellPrior, ...] = ()

    def log_prob(self, layout: Layout, free: jax.Array) -> jax.Array:
        """Sum of log-densities; each free parameter counts once for every prior of a matrix it appears in."""
        total = jnp.zeros((), free.dtype)
        for prior in self.cells:
            index = jnp.asarray(layout.index[prior.matrix])
            mask = index >= 0
            if prior.items is not None:
                wanted = jnp.zeros(index.shape[1], bool).at[jnp.array(prior.items)].set(True)
                mask = mask & wanted.reshape(1, -1, *([1] * (index.ndim - 2)))
            counted = jnp.zeros(free.shape[0], bool).at[jnp.where(mask, index, 0).ravel()].max(mask.ravel())
            inside = jnp.where(counted, free, 0.5)
            value = jnp.log(inside) - jnp.log1p(-inside) if prior.scale == "logit" else inside
            total = total + jnp.where(counted, prior.distribution.log_prob(value), 0).sum()
        return total

    def second_order(self, layout: Layout, free: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Log-density, gradient and Hessian."""
        q = free.shape[0]
        if not self.cells:
            return jnp.zeros((), free.dtype), jnp.zeros(q, free.dtype), jnp.zeros((q, q), free.dtype)
        function = lambda f: self.log_prob(layout, f)  # noqa: E731
        return function(free), jax.grad(function)(free), jax.hessian(function)(free)
