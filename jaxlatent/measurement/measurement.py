"""p(y | x) of all items: one predictor, linear or a neural network, then one family after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays, of_person
from jaxlatent.measurement.family import Family, ItemParams
from jaxlatent.measurement.normal import Normal

if TYPE_CHECKING:
    from jaxlatent.measurement.decoders import DecodedBlock
    from jaxlatent.numerics.networks import Network

Items = range | tuple[int, ...]  # a range is sliced, positions are gathered; both are static


@dataclass(frozen=True)
class Measurement:
    """Which family has which items. Static: part of the compiled program, not of its data.

    Parameters carry a leading group axis; x is [..., person or 1, factor]; results are [..., person, item] and, with
    one group and one person's x for all, [..., 1, item].

    decoder: a network of x in place of loadings, with weights params["decoder"]. Its outputs are those of the first
    family's items, then of the second's, ...; an item of a family with k outputs takes k that follow one another. Where
    it takes fewer latent variables than there are, these are the first ones.

    blocks: networks of x that are added to the linear predictor of some items, weights params["departures"].

    Raises
    ------
    ValueError
        The families do not share out items 0, 1, ... between them.
    """

    groups: tuple[tuple[Family, Items], ...]
    decoder: Network | None = None
    blocks: tuple[DecodedBlock, ...] = ()

    def __post_init__(self) -> None:
        positions = sorted(j for _, items in self.groups for j in items)
        if positions != list(range(len(positions))):
            raise ValueError(f"Expected every item 0, 1, ... in one family; got positions {positions}.")

    @staticmethod
    def normal(n_items: int) -> Measurement:
        """All items normal with independent residuals."""
        return Measurement(((Normal(), range(n_items)),))

    @property
    def n_items(self) -> int:
        """Number of items."""
        return sum(len(items) for _, items in self.groups)

    @property
    def n_outputs(self) -> int:
        """Numbers that a decoder must give for each x."""
        return sum(family.outputs * len(items) for family, items in self.groups)

    @property
    def n_block_weights(self) -> int:
        """How many weights the networks of blocks have."""
        shapes = jax.eval_shape(lambda: [block.network.init(jax.random.key(0)) for block in self.blocks])
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Starting weights of networks, by name among the parameters; nothing where there are none."""
        out = {} if self.decoder is None else {"decoder": self.decoder.init(key)}
        if not self.blocks:
            return out
        keys = jax.random.split(key, len(self.blocks))
        return out | {"departures": [b.network.init(own) for b, own in zip(self.blocks, keys, strict=True)]}

    def log_prob(self, params: Mapping[str, Any], x: jax.Array, data: Arrays) -> jax.Array:
        """log p(y | x) [..., person] of the observed cells."""
        total: jax.Array | None = None
        for family, at, own, eta in self._families(params, x, data.group):
            one = family.log_density(eta, own, data.y[..., at], data.observed[..., at])
            total = one if total is None else total + one
        return jnp.zeros(()) if total is None else total

    def sample(self, key: jax.Array, params: Mapping[str, Any], x: jax.Array, group: jax.Array) -> jax.Array:
        """A draw of y [..., person, item] given x."""
        parts = [
            (at, family.sample(jax.random.fold_in(key, n), eta, own))
            for n, (family, at, own, eta) in enumerate(self._families(params, x, group))
        ]
        return self._together(parts)

    def expected(self, params: Mapping[str, Any], x: jax.Array, group: jax.Array) -> jax.Array:
        """E(y | x) [..., person, item]."""
        return self._together([(at, family.expected(eta, own)) for family, at, own, eta in
                               self._families(params, x, group)])  # fmt: skip

    def variance(self, params: Mapping[str, Any], x: jax.Array, group: jax.Array) -> jax.Array:
        """Var(y | x) [..., person, item] of items whose family has a variance, nan of others."""
        parts = []
        for family, at, own, eta in self._families(params, x, group):
            given = getattr(family, "variance", None)
            parts.append((at, jnp.full_like(family.expected(eta, own), jnp.nan) if given is None else given(eta, own)))
        return self._together(parts)

    def bent(self, eta: jax.Array, params: Mapping[str, Any], x: jax.Array) -> jax.Array:
        """The linear predictor [..., person or 1, item] with what the blocks' networks add."""
        if self.blocks and "departures" not in params:
            raise ValueError("Expected params['departures'], the weights of items' networks: begin with init(key).")
        for block, weights in zip(self.blocks, params["departures"] if self.blocks else (), strict=True):
            eta = eta.at[..., np.array(block.items)].add(block.apply(weights, x))
        return eta

    def _together(self, parts: list[tuple[slice | np.ndarray, jax.Array]]) -> jax.Array:
        """Items of all families in their places."""
        shape = (*parts[0][1].shape[:-1], self.n_items)
        y = jnp.zeros(shape, parts[0][1].dtype)
        for at, each in parts:
            y = y.at[..., at].set(each)
        return y

    def _families(
        self, params: Mapping[str, Any], x: jax.Array, group: jax.Array
    ) -> Iterator[tuple[Family, slice | np.ndarray, ItemParams, jax.Array]]:
        """Each family, where its items are, their parameters [person or 1, item, ...] and their predictor."""
        decoder, begin = self.decoder, 0
        if decoder is None:
            eta = self.bent(linear_predictor(params["loadings"], x, group), params, x)
        else:
            eta = decoder.apply(params["decoder"], x[..., : decoder.n_in])
        for family, items in self.groups:
            at = slice(items.start, items.stop, items.step) if isinstance(items, range) else np.array(items)
            own = {name: value[:, at] for name, value in family.item_params(params).items()}
            if decoder is None:
                mine = eta[..., at]
            else:
                end = begin + len(items) * family.outputs
                mine = eta[..., begin:end]
                if family.outputs > 1:
                    mine = mine.reshape(*mine.shape[:-1], len(items), family.outputs)
                begin = end
            yield family, at, of_person(own, group), mine


def linear_predictor(loadings: jax.Array, x: jax.Array, group: jax.Array) -> jax.Array:
    """eta = Lambda_g x [..., person or 1, item] as one flat matrix product.

    loadings [group, item, factor], x [..., person or 1, factor], group [person].
    """
    n_groups, n_items, _ = loadings.shape
    if x.shape[-2] == 1 and n_groups > 1:  # one x for all persons: every group's predictor, then each person's
        every = _flat(x, loadings.reshape(n_groups * n_items, -1))
        return every.reshape(*x.shape[:-2], n_groups, n_items)[..., group, :]
    if n_groups == 1:
        return _flat(x, loadings[0])
    member = group[:, None] == jnp.arange(n_groups)  # x in its group's columns, zeros in the others'
    wide = (x[..., None, :] * member[:, :, None].astype(x.dtype)).reshape(*x.shape[:-1], -1)
    return _flat(wide, jnp.moveaxis(loadings, 1, 0).reshape(n_items, -1))


def _flat(x: jax.Array, rows: jax.Array) -> jax.Array:
    """x @ rows' with all leading axes of x in one: several times faster than a contraction of higher rank."""
    return (x.reshape(-1, x.shape[-1]) @ rows.T).reshape(*x.shape[:-1], rows.shape[0])
