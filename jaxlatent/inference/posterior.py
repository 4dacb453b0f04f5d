"""The log posterior density of the free parameters on unconstrained numbers, the data as its leaves.

log p(v | y) = log p(y | c) + log p(c) + log |dc/dv|,   c = bijection(u(v)) block by block,   v = center + root z

Where u is the logarithm of a scale, u(v) = log(s softplus(v / s)): c is about linear in v where it is large beside s,
and log c is below, so that densities that pile up at 0 have no long tail in v. Else u = v. Samplers move in z, in which
the posterior is about standard normal. Only shapes, the blocks' sets and the families of priors are part of a compiled
program.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Distribution, constraints

from jaxlatent.models.block_prior import BlockPrior, Written
from jaxlatent.numerics.bijections import Bijection
from jaxlatent.numerics.types import Array

LOWEST = -500.0  # of v / s: densities beyond are 0 in effect


class Likelihood(Protocol):
    """A pytree that knows a log-likelihood of natural free parameters [n_free], and its gradient."""

    def first(self, free: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Value () and gradient [n_free]."""


@jax.custom_vjp
def log_likelihood(likelihood: Any, free: jax.Array) -> jax.Array:
    """The value of a likelihood, differentiated by the gradient it brings along."""
    return likelihood.first(free)[0]


def _forward(likelihood: Any, free: jax.Array) -> tuple[jax.Array, jax.Array]:
    return likelihood.first(free)


def _backward(gradient: jax.Array, cotangent: jax.Array) -> tuple[None, jax.Array]:
    return None, cotangent * gradient


log_likelihood.defvjp(_forward, _backward)


class _Held:
    """A distribution that is part of the compiled program, compared by its values."""

    def __init__(self, distribution: Any) -> None:
        self.distribution = distribution
        self._key: tuple[Any, ...] = (type(distribution), repr(distribution))
        if isinstance(distribution, Distribution):
            leaves, structure = jax.tree.flatten(distribution)
            self._key = (type(distribution), str(structure), *(np.asarray(leaf).tobytes() for leaf in leaves))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and other._key == self._key

    def __hash__(self) -> int:
        return hash(self._key)


_PLAIN = (constraints.real, constraints.positive, constraints.nonnegative, constraints.unit_interval)


def _is_leaf(distribution: Any) -> bool:
    """Whether a distribution's numbers may differ between calls of one program: its support does not depend on them."""
    return isinstance(distribution, Distribution) and any(distribution.support is each for each in _PLAIN)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("loc", "scale", "distributions"),
    meta_fields=("bijection", "natural", "written"),
)
@dataclass(frozen=True)
class BlockDensity:
    """A ``BlockPrior`` whose numbers are leaves, the rest of it part of the compiled program.

    distributions: those of its written priors that are leaves; written: every written prior as (distribution held, or
    None for the next of distributions; mask; its other fields).
    """

    bijection: Bijection
    natural: tuple[bool, ...]
    loc: Array
    scale: Array
    distributions: tuple[Any, ...]
    written: tuple[tuple[_Held | None, tuple[bool, ...], tuple[tuple[str, Any], ...]], ...]

    @staticmethod
    def of(prior: BlockPrior) -> BlockDensity:
        """The same density."""
        leaves, written = [], []
        names = [field.name for field in fields(Written) if field.name not in ("distribution", "mask")]
        for each in prior.written:
            free = _is_leaf(each.distribution)
            leaves += [each.distribution] if free else []
            rest = tuple((name, getattr(each, name)) for name in names)
            written.append((None if free else _Held(each.distribution), tuple(np.asarray(each.mask).tolist()), rest))
        natural = tuple(np.asarray(prior.natural, bool).tolist())
        loc, scale = np.asarray(prior.loc, float), np.asarray(prior.scale, float)
        return BlockDensity(prior.bijection, natural, loc, scale, tuple(leaves), tuple(written))

    def prior(self) -> BlockPrior:
        """The distribution that this was made of."""
        leaves = iter(self.distributions)
        written = tuple(
            Written(next(leaves) if held is None else held.distribution, np.array(mask), **dict(rest))
            for held, mask, rest in self.written
        )
        return BlockPrior(self.bijection, np.array(self.natural), self.loc, self.scale, written)

    def at(self, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        """c [cell] at u [cell], and log p(c) + log |dc/du| ()."""
        c = self.bijection.forward(u)
        return c, self.prior().log_density(c, u) + self.bijection.log_det(u).sum(-1)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("likelihood", "blocks", "places", "soft", "center", "root"),
    meta_fields=(),
)
@dataclass(frozen=True)
class Posterior:
    """Likelihood, priors by block, and where the sampler's coordinates lie.

    places [n_free]: where each free parameter is among the blocks' cells, one block after the other; soft [n_free]: s
    of those, 0 where u = v; center [n_free] and root [n_free, n_free] of v. A likelihood with ``n_extra`` standard
    normal coordinates of its own (latent variables that are sampled along) has ``joint(free, extra)``; they follow
    those of u.
    """

    likelihood: Any
    blocks: tuple[BlockDensity, ...]
    places: Array
    soft: Array
    center: Array
    root: Array

    @property
    def n_free(self) -> int:
        """Free parameters."""
        return int(self.center.shape[-1])

    @property
    def n_extra(self) -> int:
        """Coordinates besides."""
        return int(getattr(self.likelihood, "n_extra", 0))

    def prior(self, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Natural free parameters [n_free], and their log prior density with log |dc/dv|."""
        u, slopes = self._bent(v)
        cells, total, at = [], slopes.sum(), 0
        for block in self.blocks:
            size = block.bijection.size
            c, value = block.at(u[at : at + size])
            cells.append(c)
            total, at = total + value, at + size
        return jnp.concatenate(cells)[jnp.asarray(self.places)], total

    def unconstrained(self, free: jax.Array) -> jax.Array:
        """v of natural free parameters inside all blocks' sets."""
        cells = jnp.zeros_like(free).at[jnp.asarray(self.places)].set(free)
        parts, at = [], 0
        for block in self.blocks:
            size = block.bijection.size
            parts.append(block.bijection.inverse(cells[at : at + size]))
            at += size
        u = jnp.concatenate(parts)
        used = jnp.asarray(self.soft) > 0
        s = jnp.where(used, self.soft, 1.0)
        y = jnp.exp(jnp.where(used, u, 0.0)) / s
        return jnp.where(used, s * (y + jnp.log(-jnp.expm1(-y))), u)

    def _bent(self, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        """u at v, and log du/dv, each [n_free]."""
        used = jnp.asarray(self.soft) > 0
        s = jnp.where(used, self.soft, 1.0)
        x = jnp.maximum(jnp.where(used, v, 0.0) / s, LOWEST)
        size = jnp.logaddexp(x, 0.0)
        slope = -jnp.logaddexp(-x, 0.0) - jnp.log(size) - jnp.log(s)
        return jnp.where(used, jnp.log(s) + jnp.log(size), v), jnp.where(used, slope, 0.0)

    def log_prob(self, v: jax.Array, extra: jax.Array | None = None) -> jax.Array:
        """Log posterior density of v (and of the likelihood's own coordinates), but for the log of the evidence."""
        free, prior = self.prior(v)
        if extra is None:
            return log_likelihood(self.likelihood, free) + prior
        return self.likelihood.joint(free, extra) - (extra**2).sum() / 2 + prior

    def moved(self, z: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """v and the likelihood's own coordinates at z."""
        q = self.n_free
        return jnp.asarray(self.center) + jnp.asarray(self.root) @ z[:q], z[q:] if self.n_extra else None

    def potential(self, z: jax.Array) -> jax.Array:
        """Minus the log density of z; inf where it does not exist."""
        value = self.log_prob(*self.moved(z))
        return jnp.where(jnp.isfinite(value), -value, jnp.inf)

    def free(self, z: jax.Array) -> jax.Array:
        """Natural free parameters at z."""
        return self.prior(self.moved(z)[0])[0]
