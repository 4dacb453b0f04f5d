"""Settings of full Bayesian inference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

CHAIN_METHODS = ("vectorized", "sequential")
DEEPEST = 15


@dataclass(frozen=True)
class NUTS:
    """Draws from the posterior distribution by the no-U-turn sampler (Hoffman and Gelman 2014), in NumPyro's kernel.

    num_warmup: steps of every chain in which step size and scales are adapted, thrown away; num_samples: draws kept of
    every chain. target_accept_prob: nearer to 1 makes smaller steps, against divergences. max_tree_depth: at most
    2**max_tree_depth - 1 gradients a draw. chain_method: "vectorized" (all chains in one batch), "sequential", or None
    for what was faster for the kind of likelihood.

    Raises ValueError naming the option where a value is not possible.
    """

    num_warmup: int = 500
    num_samples: int = 1000
    num_chains: int = 4
    target_accept_prob: float = 0.8
    max_tree_depth: int = 10
    chain_method: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("num_warmup", 0), ("num_samples", 1), ("num_chains", 1), ("max_tree_depth", 1)):
            _whole(name, getattr(self, name), least)
        if self.max_tree_depth > DEEPEST:
            raise ValueError(f"Expected max_tree_depth to be at most {DEEPEST}; got {self.max_tree_depth}.")
        p: Any = self.target_accept_prob
        if isinstance(p, bool) or not isinstance(p, int | float | np.number) or not 0 < p < 1 or math.isnan(p):
            raise ValueError(f"Expected target_accept_prob to be a number between 0 and 1; got {p!r}.")
        if self.chain_method is not None and self.chain_method not in CHAIN_METHODS:
            raise ValueError(
                f"Expected chain_method to be one of {', '.join(CHAIN_METHODS)}, or None; got {self.chain_method!r}."
            )

    @property
    def name(self) -> str:
        """What tables call it."""
        return "NUTS"


def _whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"Expected {name} to be a whole number from {least}; got {value!r}.")
