"""What one type of item must answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import jax

ItemParams = dict[str, jax.Array]  # name -> [group, item, ...], or [person or 1, item, ...] once groups are looked up


class Family(ABC):
    """One item type: the distribution of y given the linear predictor eta = loadings x [..., person, item].

    Subclasses are final, frozen and hashable: they are static in compiled code. All but ``item_params`` take
    parameters [person or 1, item, ...] of the family's own items.
    """

    @abstractmethod
    def item_params(self, params: Mapping[str, jax.Array]) -> ItemParams:
        """The parameters this family reads, for all items of the model [group, item, ...]."""

    @abstractmethod
    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        """log p(y | eta) [..., person, item]."""

    @abstractmethod
    def sample(self, key: jax.Array, eta: jax.Array, params: ItemParams) -> jax.Array:
        """A draw of y [..., person, item]."""

    @abstractmethod
    def expected(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        """E(y | eta) [..., person, item]."""

    @abstractmethod
    def information(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        """Fisher information of eta in y [..., person, item]."""
