"""What one type of item must answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

ItemParams = dict[str, jax.Array]  # name -> [group, item, ...], or [person or 1, item, ...] once groups are looked up
Support = Literal["real", "decreasing", "unit", "positive"]


@dataclass(frozen=True)
class ItemParameter:
    """An item's row of one named matrix [group, item, cell].

    Parameters
    ----------
    matrix
        "intercepts", "guessing", "upper", "scoring", "dispersion", "spacing", "shift".
    cells
        None where the cell is free, else the number it is fixed at.
    shared
        Equal over all items of this type (rating scales).
    first
        The number at which the first item of this type is fixed, to identify the others; None: it is like the others.
    support
        Where the row lives: any numbers, a decreasing row, numbers in [0, 1], positive numbers.
    """

    matrix: str
    cells: tuple[float | None, ...]
    shared: bool = False
    first: float | None = None
    support: Support = "real"


def free(count: int) -> tuple[None, ...]:
    """So many free cells."""
    return (None,) * count


def rows_of(rows: tuple[ItemParameter, ...], params: Mapping[str, jax.Array]) -> ItemParams:
    """These rows of all items, without the padding that larger items of other families need."""
    return {row.matrix: params[row.matrix][..., : len(row.cells)] for row in rows}


class Family(ABC):
    """One item type: the distribution of y given the linear predictor eta = loadings x [..., person, item].

    Subclasses are frozen and hashable: they are static in compiled code. All but ``item_params`` take parameters
    [person or 1, item, ...] of the family's own items. A type of your own needs ``item_parameters`` and ``log_prob``;
    the rest follows from ``log_prob``, if y is categorical (0, 1, ..., K - 1), and may be stated where a formula is
    shorter or faster.

    Matrices of a model are as wide as its largest item needs. Rows of smaller items end in ``NEVER`` (-1e30), which
    must give the categories they lack the probability 0.
    """

    categorical: ClassVar[bool] = True
    fixed_categories: ClassVar[int | None] = None  # 2: only binary items; None: any number of categories
    reads_slope: ClassVar[bool] = False  # item_params reads loadings

    @property
    def outputs(self) -> int:
        """Numbers of a decoder that an item takes; where there are several, eta is [..., person, item, outputs]."""
        return 1

    @abstractmethod
    def item_parameters(self, n_categories: int) -> tuple[ItemParameter, ...]:
        """What an item of n_categories has besides its loadings. The matrices do not depend on n_categories."""

    def start(self, n_categories: int, observed: np.ndarray) -> dict[str, np.ndarray]:
        """Starting values of one item's rows, matrix -> [cell]. Host side.

        observed: the proportion of each category [n_categories], or (mean, variance) if the family is not categorical.
        """
        rows = self.item_parameters(n_categories)
        return {row.matrix: np.array([0.0 if cell is None else cell for cell in row.cells]) for row in rows}

    def item_params(self, params: Mapping[str, jax.Array]) -> ItemParams:
        """The parameters this family reads, for all items of the model [group, item, ...]."""
        if self.fixed_categories is None:
            return {row.matrix: params[row.matrix] for row in self.item_parameters(2)}
        return rows_of(self.item_parameters(self.fixed_categories), params)

    @abstractmethod
    def log_prob(self, eta: jax.Array, params: ItemParams, y: jax.Array) -> jax.Array:
        """log p(y | eta) [..., person, item]; y is integer or float. Missing cells hold 0 and are masked outside."""

    def log_density(self, eta: jax.Array, params: ItemParams, y: jax.Array, observed: jax.Array) -> jax.Array:
        """log p(y | eta) [..., person] of the observed cells of all items of the family together."""
        return jnp.where(observed, self.log_prob(eta, params, y), 0).sum(-1)

    def n_categories(self, params: ItemParams) -> int:
        """The number of categories of the largest item."""
        return self.fixed_categories or params["intercepts"].shape[-1] + 1

    def probabilities(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        """P(y = k | eta) [..., person, item, category]."""
        return jnp.stack([jnp.exp(self.log_prob(eta, params, y)) for y in self._each(params)], -1)

    def sample(self, key: jax.Array, eta: jax.Array, params: ItemParams) -> jax.Array:
        """A draw of y [..., person, item], of eta's type."""
        upto = jnp.cumsum(self.probabilities(eta, params), -1)
        height = jax.random.uniform(key, upto.shape[:-1], eta.dtype) * upto[..., -1]
        return (height[..., None] > upto[..., :-1]).sum(-1).astype(eta.dtype)

    def expected(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        """E(y | eta) [..., person, item]."""
        each = self.probabilities(eta, params)
        return (each * jnp.arange(each.shape[-1], dtype=each.dtype)).sum(-1)

    def information(self, eta: jax.Array, params: ItemParams) -> jax.Array:
        """Fisher information of eta in y [..., person, item]; in general Σ_k P_k (d log P_k / d eta)²."""
        total = jnp.zeros_like(eta)
        for y in self._each(params):
            log_p, score = jax.jvp(lambda at, y=y: self.log_prob(at, params, y), (eta,), (jnp.ones_like(eta),))
            total = total + (jnp.exp(log_p / 2) * score) ** 2  # in this order: a steep score may overflow, squared
        return total

    def _each(self, params: ItemParams) -> list[jax.Array]:
        """Each category as a response of everybody to every item."""
        return [jnp.full((1, 1), k) for k in range(self.n_categories(params))]
