"""Draws of free parameters, however they were made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Kind = Literal["posterior", "sampling", "bootstrap", "approximate", "prior"]


@dataclass(frozen=True)
class Draws:
    """Draws of the free vector of a layout, natural cells.

    free [chain, draw, parameter]; stats: what the sampler says of each draw, [chain, draw] each, under the names that
    ArviZ knows (diverging, lp, acceptance_rate, step_size, n_steps, tree_depth, energy). kind: "posterior" (exact up to
    simulation), "approximate" (a guide, Laplace), "sampling" (normal, around a maximum), "bootstrap", "prior".
    """

    free: np.ndarray
    kind: Kind
    stats: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if np.ndim(self.free) != 3:
            raise ValueError(f"Expected free as [chain, draw, parameter]; got shape {np.shape(self.free)}.")
        for name, values in self.stats.items():
            if np.shape(values) != np.shape(self.free)[:2]:
                raise ValueError(
                    f"Expected {name} as [chain, draw] = {np.shape(self.free)[:2]}; got shape {np.shape(values)}."
                )

    @property
    def n_chains(self) -> int:
        """Number of chains."""
        return int(self.free.shape[0])

    @property
    def flat(self) -> np.ndarray:
        """[chain * draw, parameter], one chain after the other."""
        return self.free.reshape(-1, self.free.shape[-1])
