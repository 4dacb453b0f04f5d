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
from jaxlatent.models.covariance_prior import (
    Draws,
    correlation_matrix,
    correlations,
    draw_lkj,
    lkj_constant,
    log_det_correlation,
)
from jaxlatent.models.prior_distributions import bounds, inside_of, is_flat
from jaxlatent.numerics.bijections import Bijection, Covariance
from jaxlatent.numerics.small_cholesky import cholesky_cells
from jaxlatent.numerics.types import Array

SPREAD = 0.25
TRIES = 64  # draws of a prior, of which the first inside the block's set is taken


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
    """A prior on some cells of a block: mask [cell]; or on differences between groups.

    scale: what the distribution is a density of. "natural": the cell c. "logit": log(c / (1 - c)). "sd": the root of a
    variance. "cor": the correlation of a covariance. "lkj": all correlations of the covariance matrices that mask is
    about, in one. "between": each cell's deviation from the mean of its set, sets [set, group] of positions.
    """

    distribution: Any
    mask: np.ndarray
    scale: str = "natural"
    sets: tuple[tuple[int, ...], ...] = ()


class BlockPrior(Distribution):
    """The density of a block of free cells c: written priors, and normal ones where nothing is written.

    Cells without one: natural cells c ~ N(loc, scale), restricted to the block's set (half-normal loadings, decreasing
    rows); others u ~ N(loc, scale), c = bijection(u), so that dispersions are log-normal and probabilities
    logit-normal. A written prior stands in its own scale, with the Jacobian of the change to c; it is restricted to the
    block's set, up to a constant. Flat ones add nothing. origin: see ``OnBlock``.
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

    @property
    def improper(self) -> np.ndarray:
        """Which cells have a flat prior [cell]."""
        flat = [each.mask for each in self.written if each.scale != "between" and is_flat(each.distribution)]
        return np.any([np.zeros(self.bijection.size, bool), *flat], axis=0)

    def log_prob(self, value: jax.Array, intermediates: Any = None) -> jax.Array:
        """Log density [...] of c [..., n]; normalised where nothing is written."""
        return self.log_density(value, self.bijection.inverse(value))

    def log_density(self, value: jax.Array, u: jax.Array) -> jax.Array:
        """The same, for those who know u, the inverse of the bijection at c."""
        log_det = self.bijection.log_det(u)
        z = (jnp.where(self.natural, value, u) - self.loc) / self.scale
        normal = -(z**2) / 2 - jnp.log(self.scale) - math.log(2 * math.pi) / 2
        total = jnp.where(self._ours, normal - jnp.where(self.natural, 0, log_det), 0).sum(-1) + self._constant
        for each in self.written:
            if not is_flat(each.distribution):
                total = total + self._term(each, value).astype(total.dtype)
        return total

    def _term(self, each: Written, value: jax.Array) -> jax.Array:
        d, mask = each.distribution, each.mask
        if each.scale == "between":
            cells = value[..., np.array(each.sets)]
            return d.log_prob(cells - cells.mean(-1, keepdims=True)).sum((-1, -2))
        if each.scale in ("cor", "lkj"):
            return self._correlation_term(each, value)
        if each.scale == "logit":
            inside = jnp.where(mask, value, 0.5)
            odds = jnp.log(inside) - jnp.log1p(-inside)
            terms = d.log_prob(odds) - jnp.log(inside) - jnp.log1p(-inside)
        elif each.scale == "sd":
            sd = jnp.sqrt(jnp.where(mask, value, 1.0))
            terms = d.log_prob(sd) - jnp.log(2 * sd)
        else:
            terms = d.log_prob(jnp.where(mask, value, inside_of(d)))
        return jnp.where(mask, terms, 0).sum(-1)

    def _correlation_term(self, each: Written, value: jax.Array) -> jax.Array:
        total = jnp.zeros(value.shape[:-1], value.dtype)
        for pattern in self.bijection.covariances:
            found = correlations(pattern, value)
            own = [at for at in found if each.mask[at]]
            total = total - sum((found[at][1] for at in own), start=jnp.zeros_like(total))
            if each.scale == "cor":
                total = total + sum((each.distribution.log_prob(found[at][0]) for at in own), start=0.0)
            elif own:
                eta = each.distribution.concentration
                total = total + (eta - 1) * log_det_correlation(pattern, value) + lkj_constant(pattern, eta)
        return total

    # ---- draws --------------------------------------------------------------------------------------------------

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draws [*sample_shape, n]: exact, but for flat priors (draws of N(loc, scale) instead) and the last of TRIES.

        Densities restricted to a set are drawn by rejection; where none of TRIES draws is inside, the first is made to
        fit. Differences between groups are drawn where they and the cells are normal.
        """
        ours, theirs, matrices = jax.random.split(key, 3)
        z = jax.random.normal(ours, (*sample_shape, self.bijection.size), jnp.result_type(self.loc))
        drawn = self.loc + self.scale * z
        covaries = _in_covariance(self.bijection)
        natural = self.natural | covaries
        c = jnp.where(natural, drawn, self.bijection.forward(jnp.where(natural, 0, drawn)))
        for n, each in enumerate(self.written):
            cells = np.flatnonzero(each.mask & ~covaries)
            if each.scale in ("natural", "logit", "sd") and len(cells) and not is_flat(each.distribution):
                drawn = self._draws_inside(each, cells, jax.random.fold_in(theirs, n), c.shape[:-1])
                c = c.at[..., cells].set(drawn.astype(c.dtype))
        for each in self.written:
            if each.scale == "between":
                c = self._tied(each, c)
        positive = np.isin(np.arange(self.bijection.size), np.array(self.bijection.positive, int))
        c = jnp.where(positive, jnp.abs(c), c)
        for row in self.bijection.decreasing:
            c = c.at[..., np.array(row)].set(-jnp.sort(-c[..., np.array(row)], -1))
        for n, pattern in enumerate(self.bijection.covariances):
            found = self._draw_matrix(pattern, jax.random.fold_in(matrices, n), c)
            for at, cell in found.items():
                c = c.at[..., at].set(cell)
        return c

    def _tied(self, each: Written, c: jax.Array) -> jax.Array:
        """Deviations from the mean under both normal densities: their precisions add up."""
        spread = np.array(self.scale, float)
        for other in self.written:
            if other.scale == "natural" and hasattr(other.distribution, "scale"):
                spread = np.where(other.mask, np.asarray(other.distribution.scale, float), spread)
        for members in np.array(each.sets):
            cells = c[..., members]
            mean = cells.mean(-1, keepdims=True)
            small = float(np.asarray(getattr(each.distribution, "scale", np.inf)))
            share = (1 + (spread[members[0]] / small) ** 2) ** -0.5
            c = c.at[..., members].set(mean + share * (cells - mean))
        return c

    def _draw_matrix(self, pattern: Covariance, key: jax.Array, like: jax.Array) -> Draws:
        """Free cells of a covariance matrix: TRIES draws of deviations and correlations, of which one is kept."""
        shape = (TRIES, *like.shape[:-1])
        keys = iter(jax.random.split(key, 2 * len(pattern.free) + 3))
        keep = jnp.zeros(shape)
        sd: dict[int, jax.Array] = {i: jnp.full(shape, v**0.5) for i, v in pattern.variances}
        together: dict[int, jax.Array] = {}  # draws of distributions that have one for each cell
        for i, j, at in pattern.free:
            if i == j:
                each = self._writing(at)
                value = jnp.exp(jnp.asarray(self.loc)[at] + jax.random.normal(next(keys), shape))
                if each is not None and not is_flat(each.distribution):
                    if id(each) not in together or not each.distribution.batch_shape:
                        together[id(each)] = each.distribution.sample(next(keys), shape)
                    value = together[id(each)]
                    value = value[..., at] if each.distribution.batch_shape else value
                    value = jnp.sqrt(value) if each.scale == "natural" else jnp.where(value > 0, value, jnp.nan)
                sd[i] = value
        r: Draws = {}
        for i, j, at in pattern.free:
            if i == j or at in r:
                continue
            each = self._writing(at)
            if each is not None and each.scale == "lkj":
                drawn, kept = draw_lkj(pattern, each.distribution.concentration, next(keys), shape)
                r, keep = r | drawn, keep + kept
            elif each is None or is_flat(each.distribution):
                r[at] = jax.random.uniform(next(keys), shape, minval=-1.0, maxval=1.0)
            else:
                value = each.distribution.sample(next(keys), shape)
                r[at] = value if each.scale == "cor" else value / (sd[i] * sd[j])
        root = cholesky_cells(correlation_matrix(pattern, r)) if r else [[jnp.ones(shape)]]
        definite = jnp.isfinite(root[-1][-1] + sum(sd.values(), start=jnp.zeros(shape)))
        kept_now = definite & (jnp.log(jax.random.uniform(next(keys), shape)) <= keep)
        first = jnp.argmax(kept_now, 0)[None]
        shrink = jnp.where(kept_now.any(0), 1.0, 0.5 / pattern.size)  # diagonally dominant
        pick = lambda x: jnp.take_along_axis(x, first, 0)[0]  # noqa: E731
        out: Draws = {}
        for i, j, at in pattern.free:
            cell = sd[i] ** 2 if i == j else r[at] * sd[i] * sd[j]
            chosen = pick(cell) if i == j else pick(cell) * shrink
            out[at] = chosen.astype(like.dtype)
        return out

    def _writing(self, at: int) -> Written | None:
        """The prior written on a cell."""
        return next((each for each in self.written if each.scale != "between" and each.mask[at]), None)

    def _draws_inside(self, each: Written, cells: np.ndarray, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Draws [*shape, cell]: the first of TRIES that is where it has to be; of one, where all are."""
        low, high = np.full(self.bijection.size, -np.inf), np.full(self.bijection.size, np.inf)
        low[[*self.bijection.positive, *self.bijection.unit]] = 0
        high[list(self.bijection.unit)] = 1
        for at, *ends in self.bijection.bounded:
            low[at], high[at] = ends
        low, high = low[cells], high[cells]
        least, most = (0.0, 1.0) if each.scale == "logit" else bounds(each.distribution) or (-np.inf, np.inf)
        if each.scale == "sd":
            least, most = (least**2 if least >= 0 else -np.inf), most**2
        tries = 1 if (least >= low).all() and (most <= high).all() else TRIES
        d = each.distribution
        own = (
            d.sample(key, (tries, *shape))[..., cells] if d.batch_shape else d.sample(key, (tries, *shape, len(cells)))
        )
        own = jax.nn.sigmoid(own) if each.scale == "logit" else own
        own = jnp.where(own > 0, own**2, jnp.nan) if each.scale == "sd" else own
        inside = (own > low) & (own < high)
        return jnp.take_along_axis(own, jnp.argmax(inside, 0)[None], 0)[0]

    @property
    def _ours(self) -> np.ndarray:
        """Cells without a written prior."""
        masks = (each.mask for each in self.written if each.scale != "between")
        return ~np.any([np.zeros(self.bijection.size, bool), *masks], axis=0)

    @property
    def _constant(self) -> float:
        """What restriction to positive cells and decreasing rows adds: log 2 each, log K! each."""
        default = self._ours & self.natural
        halves = sum(bool(default[at]) for at in self.bijection.positive) * math.log(2)
        rows = sum(math.lgamma(len(row) + 1) for row in self.bijection.decreasing if default[list(row)].all())
        return halves + rows


def _in_covariance(bijection: Bijection) -> np.ndarray:
    out = np.zeros(bijection.size, bool)
    for pattern in bijection.covariances:
        out[[at for *_, at in pattern.free]] = True
    return out


def restricted(block: ParameterBlock, written: tuple[Written, ...]) -> Bijection:
    """The block's bijection, onto the smaller set where written priors have a density.

    Raises
    ------
    ValueError
        The support of a prior is no interval, or cells that decrease or covary can't be restricted to it.
    """
    b = block.bijection
    positive, unit, bounded = set(b.positive), set(b.unit), {at: (low, high) for at, low, high in b.bounded}
    bound = {at for row in b.decreasing for at in row} | set(np.flatnonzero(_in_covariance(b)).tolist())
    for each in written:
        cells = set(np.flatnonzero(each.mask).tolist())
        if each.scale in ("logit", "cor", "lkj", "between") or is_flat(each.distribution):
            continue
        ends = bounds(each.distribution)
        low, high = ends if ends is not None else (math.nan, math.nan)
        if each.scale == "sd":
            low, high = (0.0 if low <= 0 else low**2), high**2
        variances = each.scale == "sd" or (low == 0 and cells <= _variances(b))
        if (low, high) == (-math.inf, math.inf) or ((low, high) == (0.0, math.inf) and variances):
            positive |= cells - bound if low == 0 else set()
            continue
        if ends is None or cells & bound or (low, high) == (math.inf, math.inf):
            raise ValueError(
                f"The prior of {block.name} has the support {each.distribution.support}, to which its free cells can't"
                " be restricted: use a distribution over all real numbers."
            )
        for at in cells:
            least, most = _both((low, high), (0.0, math.inf) if at in positive else (0.0, 1.0) if at in unit else None)
            positive.discard(at)
            unit.discard(at)
            if (least, most) == (0.0, math.inf):
                positive.add(at)
            elif (least, most) == (0.0, 1.0):
                unit.add(at)
            else:
                bounded[at] = (least, most)
    fences = tuple((at, *ends) for at, ends in sorted(bounded.items()))
    return Bijection(b.size, tuple(sorted(positive)), tuple(sorted(unit)), b.decreasing, b.covariances, fences)


def _both(first: tuple[float, float], second: tuple[float, float] | None) -> tuple[float, float]:
    return first if second is None else (max(first[0], second[0]), min(first[1], second[1]))


def _variances(b: Bijection) -> set[int]:
    return {at for pattern in b.covariances for i, j, at in pattern.free if i == j}
