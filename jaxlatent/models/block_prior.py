"""The set a block of free cells lives in as a NumPyro constraint, and proper priors on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Distribution, biject_to, constraints
from numpyro.distributions.transforms import Transform

from jaxlatent.models.blocks import ParameterBlock
from jaxlatent.numerics.bijections import Bijection
from jaxlatent.numerics.types import Array

_POSITIVE = (
    constraints.positive, constraints.nonnegative, constraints.greater_than(0.0), constraints.greater_than_eq(0.0),
)  # fmt: skip
_UNIT = (constraints.unit_interval, constraints.interval(0.0, 1.0))
SPREAD = 0.25
TRIES = 64  # draws of a user's prior, of which the first inside the block's set is taken


class OnBlock(constraints.Constraint):
    """Vectors in the image of a bijection. origin: the unconstrained vector at 0 of the coordinates, spread their unit.

    Samplers start within 2 of 0 in every coordinate, so that an origin at good starting values starts them there.
    """

    event_dim = 1

    def __init__(self, bijection: Bijection, origin: tuple[float, ...] | None = None, spread: float = 1.0) -> None:
        self.bijection, self.origin, self.spread = bijection, origin, spread

    def __call__(self, x: Any) -> Any:
        return self.bijection.holds(jnp.asarray(x))

    def feasible_like(self, prototype: Any) -> Any:
        return self.bijection.forward(jnp.zeros_like(prototype))

    def tree_flatten(self) -> tuple[tuple[()], tuple[tuple[()], dict[str, Any]]]:
        return (), ((), self.__dict__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OnBlock) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash((self.bijection, self.origin, self.spread))


class BlockTransform(Transform):
    """A bijection as a NumPyro transform."""

    domain = constraints.real_vector

    def __init__(self, block: OnBlock) -> None:
        self.block = block

    @property
    def codomain(self) -> OnBlock:
        return self.block

    def __call__(self, x: Any) -> jax.Array:
        return self.block.bijection.forward(self._moved(x))

    def _inverse(self, y: Any) -> jax.Array:
        u = self.block.bijection.inverse(jnp.asarray(y))
        return u if self.block.origin is None else (u - jnp.asarray(self.block.origin, u.dtype)) / self.block.spread

    def log_abs_det_jacobian(self, x: Any, y: Any, intermediates: Any = None) -> jax.Array:
        inner = self.block.bijection.log_det(self._moved(x)).sum(-1)
        return inner if self.block.origin is None else inner + self.block.bijection.size * math.log(self.block.spread)

    def tree_flatten(self) -> tuple[tuple[()], tuple[tuple[()], dict[str, Any]]]:
        return (), ((), self.__dict__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BlockTransform) and other.block == self.block

    def __hash__(self) -> int:
        return hash(self.block)

    def _moved(self, x: Any) -> jax.Array:
        x = jnp.asarray(x)
        origin = self.block.origin
        return x if origin is None else jnp.asarray(origin, x.dtype) + self.block.spread * x


@biject_to.register(OnBlock)
def _block_transform(constraint: OnBlock) -> BlockTransform:
    return BlockTransform(constraint)


@dataclass(frozen=True)
class Written:
    """A user's prior on some cells of a block: mask [cell]; logit: the distribution is that of log(c / (1 - c))."""

    distribution: Any
    mask: np.ndarray
    logit: bool = False


class BlockPrior(Distribution):
    """Independent normal priors on cells, or on what the bijection makes of them, or what the user has written.

    natural cells: c ~ N(loc, scale), restricted to the block's set (half-normal loadings, decreasing rows); others:
    u ~ N(loc, scale), c = bijection(u), so that variances are log-normal and probabilities logit-normal. Where the
    user has written a prior, its density of c stands instead, restricted to the set and up to a constant. origin: see
    ``OnBlock``.
    """

    pytree_data_fields = ("loc", "scale")
    pytree_aux_fields = ("bijection", "natural", "written", "origin")
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(
        self,
        bijection: Bijection,
        natural: np.ndarray,
        loc: Array,
        scale: Array,
        written: tuple[Written, ...] = (),
        origin: tuple[float, ...] | None = None,
    ) -> None:
        self.bijection, self.natural, self.loc, self.scale, self.written = bijection, natural, loc, scale, written
        self.origin = origin
        super().__init__((), (bijection.size,), validate_args=False)

    @property
    def support(self) -> OnBlock:
        return OnBlock(self.bijection, self.origin, SPREAD)

    def astype(self, dtype: Any) -> BlockPrior:
        """The same in another precision."""
        loc, scale = jnp.asarray(self.loc, dtype), jnp.asarray(self.scale, dtype)
        return BlockPrior(self.bijection, self.natural, loc, scale, self.written, self.origin)

    def log_prob(self, value: jax.Array, intermediates: Any = None) -> jax.Array:
        """Log density [...] of c [..., n]; that of natural default cells is normalised."""
        u = self.bijection.inverse(value)
        log_det = self.bijection.log_det(u)
        z = (jnp.where(self.natural, value, u) - self.loc) / self.scale
        normal = -(z**2) / 2 - jnp.log(self.scale) - math.log(2 * math.pi) / 2
        total = jnp.where(self._ours, normal - jnp.where(self.natural, 0, log_det), 0).sum(-1) + self._constant
        for each in self.written:
            if each.logit:
                inside = jnp.where(each.mask, value, 0.5)
                odds = jnp.log(inside) - jnp.log1p(-inside)
                terms = each.distribution.log_prob(odds) - jnp.log(inside) - jnp.log1p(-inside)
            else:
                terms = each.distribution.log_prob(jnp.where(each.mask, value, _inside(each.distribution)))
            total = total + jnp.where(each.mask, terms, 0).sum(-1)
        return total

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draws [*sample_shape, n]; of a covariance matrix with a written prior, draws of the default one."""
        ours, theirs = jax.random.split(key)
        z = jax.random.normal(ours, (*sample_shape, self.bijection.size), jnp.result_type(self.loc))
        drawn = self.loc + self.scale * z
        in_covariance = np.zeros(self.bijection.size, bool)
        for pattern in self.bijection.covariances:
            in_covariance[[at for *_, at in pattern.free]] = True
        natural = np.where(in_covariance, False, self.natural)
        c = jnp.where(natural, drawn, self.bijection.forward(jnp.where(natural, 0, drawn)))
        for n, each in enumerate(self.written):
            own = each.distribution.sample(jax.random.fold_in(theirs, n), (TRIES, *c.shape))
            own = jax.nn.sigmoid(own) if each.logit else own
            c = jnp.where(each.mask & ~in_covariance, self._first_inside(own), c)
        positive = np.isin(np.arange(self.bijection.size), np.array(self.bijection.positive, int))
        c = jnp.where(positive, jnp.abs(c), c)
        for row in self.bijection.decreasing:
            c = c.at[..., np.array(row)].set(-jnp.sort(-c[..., np.array(row)], -1))
        return c

    def _first_inside(self, draws: jax.Array) -> jax.Array:
        """The first of draws [try, ..., n] that is positive or a probability where it has to be."""
        at = np.arange(self.bijection.size)
        low = np.isin(at, np.array((*self.bijection.positive, *self.bijection.unit), int))
        high = np.isin(at, np.array(self.bijection.unit, int))
        inside = (~low | (draws > 0)) & (~high | (draws < 1))
        return jnp.take_along_axis(draws, jnp.argmax(inside, 0)[None], 0)[0]

    @property
    def _ours(self) -> np.ndarray:
        """Cells without a prior of the user's."""
        return ~np.any([np.zeros(self.bijection.size, bool), *(each.mask for each in self.written)], axis=0)

    @property
    def _constant(self) -> float:
        """What restriction to positive cells and decreasing rows adds: log 2 each, log K! each."""
        default = self._ours & self.natural
        halves = sum(bool(default[at]) for at in self.bijection.positive) * math.log(2)
        rows = sum(math.lgamma(len(row) + 1) for row in self.bijection.decreasing if default[list(row)].all())
        return halves + rows


def _inside(distribution: Any) -> float:
    """A number at which the density of a distribution is finite, for cells that it is not about."""
    return 0.5 if distribution.support in (*_POSITIVE, *_UNIT) else 0.0


def restricted(block: ParameterBlock, written: tuple[Written, ...]) -> Bijection:
    """The block's bijection, onto the smaller set where the user's priors have a density.

    Raises
    ------
    ValueError
        The support of a prior is none of: real numbers, positive numbers, the unit interval; or cells that decrease or
        are covariances can't be restricted to it.
    """
    b = block.bijection
    positive, unit = set(b.positive), set(b.unit)
    bound = {at for row in b.decreasing for at in row} | {at for p in b.covariances for *_, at in p.free}
    for each in written:
        support, cells = each.distribution.support, set(np.flatnonzero(each.mask).tolist())
        if each.logit or support == constraints.real:
            continue
        if support in _POSITIVE and not cells & (bound | unit):
            positive |= cells
        elif support in _UNIT and not cells & bound:
            positive, unit = positive - cells, unit | cells
        else:
            raise ValueError(
                f"The prior of {block.name} has the support {support}, to which its free cells can't be restricted:"
                " use a distribution over all real numbers."
            )
    return Bijection(b.size, tuple(sorted(positive)), tuple(sorted(unit)), b.decreasing, b.covariances)
