"""A latent distribution without a shape of its own: weights at fixed nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.latent.latent import Latent, LatentDistribution

FEWEST, MOST, NARROW, WIDE = 11, 1001, 3.0, 10.0


@dataclass(frozen=True)
class Histogram(Latent):
    """The empirical histogram of one factor: weights at n equally spaced nodes from -limit to limit, estimated.

    Mean 0 and variance 1, so that item parameters keep their scale. The weights come from the data, hence standard
    errors of item parameters take them as known, and they are not counted among the parameters.

    Raises ValueError where n or limit is out of range. Bock and Aitkin (1981), Psychometrika 46; Woods (2007).
    """

    n: int = 81
    limit: float = 5.0

    def __post_init__(self) -> None:
        if isinstance(self.n, bool) or not isinstance(self.n, int | np.integer) or not FEWEST <= self.n <= MOST:
            raise ValueError(f"Expected n, the number of nodes, from {FEWEST} to {MOST}; got {self.n!r}.")
        number = isinstance(self.limit, int | float | np.number) and not isinstance(self.limit, bool)
        if not number or not NARROW <= self.limit <= WIDE:
            raise ValueError(f"Expected limit, where the nodes end, from {NARROW:g} to {WIDE:g}; got {self.limit!r}.")

    def nodes(self) -> np.ndarray:
        """Where the weights are [n]."""
        return np.linspace(-self.limit, self.limit, self.n)

    def distribution(self, params: Mapping[str, Any], data: Arrays) -> LatentDistribution:
        """Not given: weights are estimated along with the items, by MarginalML."""
        raise ValueError("An empirical histogram has no density: use it in IRT(..., latent=) with MarginalML.")
