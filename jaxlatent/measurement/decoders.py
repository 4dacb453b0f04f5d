"""Items whose predictor a small network bends: eta = lambda'x + m(x), a block of items with one network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

if TYPE_CHECKING:
    from jaxlatent.numerics.networks import Network, Weights


@dataclass(frozen=True)
class Decoder:
    """A network of the latent variables for a block of items, beside their loadings and intercepts.

    eta_j = lambda_j'x + m_j(x),   E m_j(x) = 0 and E m_j(x) x = 0 for x ~ N(0, I)

    m = (m_j) has common hidden layers and takes the factors that the block's items load on. Loadings and intercepts
    keep their meaning, the linear part, and the item type turns eta into probabilities; at the start m is nearly 0.
    items: names, None for all. hidden: widths of layers. network: in place of these layers, an object with init(key,
    rows) and apply(variables, rows), such as a Flax module, of rows [row, factor], a linear layer of our own on top.

    Raises ValueError for other widths or no items.
    """

    items: Sequence[str] | None = None
    hidden: tuple[int, ...] = (16,)
    network: Any = None

    def __post_init__(self) -> None:
        sizes = tuple(self.hidden) if isinstance(self.hidden, list | tuple) else (self.hidden,)
        if not sizes or not all(isinstance(s, int) and not isinstance(s, bool) and s > 0 for s in sizes):
            raise ValueError(f"Expected widths of layers as whole numbers from 1 in hidden; got {self.hidden!r}.")
        object.__setattr__(self, "hidden", sizes)
        if isinstance(self.items, str):
            object.__setattr__(self, "items", (self.items,))
        if self.items is not None:
            object.__setattr__(self, "items", tuple(self.items))
            if not self.items:
                raise ValueError("Expected names of items in Decoder(items=...), or None for all; got none.")
        if self.network is not None and not (hasattr(self.network, "init") and hasattr(self.network, "apply")):
            raise ValueError(f"Expected a network with init and apply, such as a Flax module; got {self.network!r}.")


@dataclass(frozen=True)
class DecodedBlock:
    """m of a block: the network, the places of its items, and of the factors it takes. Static."""

    network: Network
    items: tuple[int, ...]
    factors: tuple[int, ...]

    def apply(self, weights: Weights, x: jax.Array) -> jax.Array:
        """m(x) [..., block item] at x [..., factor]."""
        return self.network.apply(weights, x[..., np.array(self.factors)])


def decoders_of(given: Any) -> tuple[Decoder, ...]:
    """One decoder or several as a tuple; raises ValueError for anything else."""
    several = tuple(given) if isinstance(given, list | tuple) else () if given is None else (given,)
    for each in several:
        if not isinstance(each, Decoder):
            raise ValueError(f"Expected decoder as jl.Decoder(...), or several of them; got {each!r}.")
    return several


def blocks_of(decoders: Sequence[Decoder], names: Sequence[str], pattern: np.ndarray) -> tuple[DecodedBlock, ...]:
    """The blocks of a model whose items load on factors by a pattern [item, factor].

    Raises ValueError for items that are not there, have two networks, or load on no factor.
    """
    from jaxlatent.numerics.networks import MLP, Departure, Given

    out, taken = [], set[int]()
    for decoder in decoders:
        wanted = tuple(names) if decoder.items is None else decoder.items
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise ValueError(f"The decoder names {unknown[0]!r}, which is no item of the model.")
        items = tuple(sorted({list(names).index(name) for name in wanted}))
        twice = taken & set(items)
        if twice:
            raise ValueError(f"The item {names[min(twice)]!r} is in two decoders: give every item one at most.")
        taken |= set(items)
        factors = tuple(np.flatnonzero(pattern[list(items)].any(0)).tolist())
        if not factors:
            raise ValueError(f"The item {names[items[0]]!r} of a decoder loads on no factor.")
        n_in, n_out = len(factors), len(items)
        inner: Network = MLP(n_in, decoder.hidden, n_out, bias=False)
        if decoder.network is not None:
            inner = Given(decoder.network, n_in, n_out)
        out.append(DecodedBlock(Departure(inner), items, factors))
    return tuple(out)
