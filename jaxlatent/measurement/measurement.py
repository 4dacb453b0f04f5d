"""p(y | x) of all items: one linear predictor, then one family after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays, of_person
from jaxlatent.measurement.family import Family, ItemParams
from jaxlatent.measurement.normal import Normal

Items = range | tuple[int, ...]  # a range is sliced, positions are gathered; both are static


@dataclass(frozen=True)
class Measurement:
    """Which family has which items. Static: part of the compiled program, not of its data.

    Parameters carry a leading group axis; x is [..., person or 1, factor]; results are [..., person, item] and, with
    one group and one person's x for all, [..., 1, item].

    Raises
    ------
    ValueError
        The families do not share out items 0, 1, ... between them.
    """

    groups: tuple[tuple[Family, Items], ...]

    def __post_init__(self) -> None:
        positions = sorted(j for _, items in self.groups for j in items)
        if positions != list(range(len(positions))):
            raise ValueError(f"Expected every item 0, 1, ... in one family; got positions {positions}.")

    @staticmethod
    def normal(n_items: int) -> Measurement:
        """All items normal with independent residuals."""
        return Measurement(((Normal(), range(n_items)),))

    def log_prob(self, params: Mapping[str, jax.Array], x: jax.Array, data: Arrays) -> jax.Array:
        """log p(y | x) [..., person] of the observed cells."""
        eta = linear_predictor(params["loadings"], x, data.group)
        total = jnp.zeros((), eta.dtype)
        for family, at, own in self._families(params, data.group):
            each = family.log_prob(eta[..., at], own, data.y[..., at])
            total = total + jnp.where(data.observed[..., at], each, 0).sum(-1)
        return total

    def sample(self, key: jax.Array, params: Mapping[str, jax.Array], x: jax.Array, group: jax.Array) -> jax.Array:
        """A draw of y [..., person, item] given x."""
        eta = linear_predictor(params["loadings"], x, group)
        y = jnp.zeros_like(eta)
        for n, (family, at, own) in enumerate(self._families(params, group)):
            y = y.at[..., at].set(family.sample(jax.random.fold_in(key, n), eta[..., at], own))
        return y

    def expected(self, params: Mapping[str, jax.Array], x: jax.Array, group: jax.Array) -> jax.Array:
        """E(y | x) [..., person, item]."""
        eta = linear_predictor(params["loadings"], x, group)
        y = jnp.zeros_like(eta)
        for family, at, own in self._families(params, group):
            y = y.at[..., at].set(family.expected(eta[..., at], own))
        return y

    def _families(
        self, params: Mapping[str, jax.Array], group: jax.Array
    ) -> Iterator[tuple[Family, slice | np.ndarray, ItemParams]]:
        """Each family, where its items are, and their parameters [person or 1, item, ...]."""
        for family, items in self.groups:
            at = slice(items.start, items.stop, items.step) if isinstance(items, range) else np.array(items)
            own = {name: value[:, at] for name, value in family.item_params(params).items()}
            yield family, at, of_person(own, group)


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
