"""Recurrent guides: a network that goes through a person's occasions gives q(x_1, ..., x_T | y)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.guides.amortized import n_latent
from jaxlatent.guides.encoding import Encoding, encoding_of
from jaxlatent.guides.guide import BoundGuide, Guide, GuideParams
from jaxlatent.guides.heads import NARROWEST
from jaxlatent.guides.markov_normal import MarkovNormal
from jaxlatent.guides.starting import linear_start
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.networks import Recurrent as Network
from jaxlatent.numerics.types import Array


@dataclass(frozen=True)
class Recurrent(Guide):
    """q(x | y): x_t given x_{t-1} is normal, its mean, its regression and its spread from gated recurrent units over t.

    (m, A, L)_t = c_t + W_t u + gru(u_1, ..., u_T)_t, u_t the coded responses of occasion t; W serves m only. See
    MarkovNormal. The posterior of a model in which x_t depends on x_{t-1} has this form, but for being normal. Input
    and start are those of Amortized: W from factor score weights of the model's starting values, the network near 0.
    The units have as many weights for two occasions as for twenty. Krishnan, Shalit and Sontag (2017), AAAI 31.

    hidden: widths of the layers of units; bidirectional: whether they see later occasions, too, as the posterior does.

    Raises ValueError for other widths, and where a model has one occasion only.
    """

    hidden: tuple[int, ...] = (64,)
    bidirectional: bool = True

    def __post_init__(self) -> None:
        sizes = self.hidden if isinstance(self.hidden, list | tuple) else (self.hidden,)
        if not sizes or not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ValueError(f"Expected widths of layers as whole numbers from 1 in hidden; got {self.hidden!r}.")
        if not isinstance(self.bidirectional, bool):
            raise ValueError(f"Expected bidirectional to be True or False; got {self.bidirectional!r}.")
        object.__setattr__(self, "hidden", tuple(sizes))

    def bind(self, model: LatentVariableModel, arrays: Arrays) -> BoundRecurrent:
        n = model.n_occasions
        if n < 2:
            raise ValueError(
                "guides.Recurrent goes through the occasions of a person, and this model has one: give occasions, or"
                " use guides.Amortized()."
            )
        whole = n_latent(model)
        d = whole // n
        encoding = encoding_of(model, arrays)
        weights, cov = linear_start(model, encoding, arrays, whole)
        columns = encoding.by_occasion(n)
        shared = encoding.width - encoding.n_items - len(encoding.items)
        network = Network(columns.shape[1] + shared, self.hidden, d + _size(d), self.bidirectional)
        return BoundRecurrent(network, encoding, columns, weights, markov_parts(cov, n))


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("encoding", "columns", "weights", "start"),
    meta_fields=("network",),
)
@dataclass(frozen=True)
class BoundRecurrent(BoundGuide):
    """A recurrent guide of one model: columns [T, column] of the input by occasion, weights [column, T D], start."""

    network: Network
    encoding: Encoding
    columns: Array
    weights: Array
    start: dict[str, Array]

    def init(self, key: jax.Array) -> GuideParams:
        single = lambda a: jnp.asarray(a, jnp.float32)  # noqa: E731
        return {
            "network": self.network.init(key),
            "weights": single(self.weights),
            "head": jax.tree.map(single, self.start),
        }

    def distribution(self, params: GuideParams, arrays: Arrays, persons: jax.Array | None = None) -> MarkovNormal:
        u, (n, d) = self.encoding(arrays), self.start["log_diagonal"].shape
        own = u[:, : len(self.encoding.items) + self.encoding.n_items][:, self.columns]
        shared = u[:, None, len(self.encoding.items) + self.encoding.n_items :]
        seen = jnp.concatenate([own, jnp.broadcast_to(shared, (*own.shape[:2], shared.shape[-1]))], -1)
        output = self.network.apply(params["network"], seen)
        mean = (u @ params["weights"]).reshape(len(u), n, d) + params["head"]["mean"] + output[..., :d]
        ends = np.cumsum([d, d, d * (d - 1) // 2, d * d])
        diagonal = params["head"]["log_diagonal"] + output[..., ends[0] : ends[1]]
        below = params["head"]["below"] + output[..., ends[1] : ends[2]]
        carried = params["head"]["carried"] + output[..., 1:, ends[2] : ends[3]].reshape(len(u), n - 1, d, d)
        return MarkovNormal(mean, jnp.maximum(diagonal, NARROWEST), below, carried)


def markov_parts(cov: np.ndarray, n: int) -> dict[str, np.ndarray]:
    """Means of 0, regressions of n occasions on the one before, and what these leave, of a covariance [n D, n D]."""
    d = len(cov) // n
    blocks = cov.reshape(n, d, n, d)
    carried = np.zeros((n - 1, d, d))
    roots = [np.linalg.cholesky(blocks[0, :, 0])]
    for t in range(1, n):
        carried[t - 1] = np.linalg.solve(blocks[t - 1, :, t - 1], blocks[t - 1, :, t]).T
        roots.append(np.linalg.cholesky(blocks[t, :, t] - carried[t - 1] @ blocks[t - 1, :, t]))
    lower = np.stack(roots)
    rows, columns = np.tril_indices(d, -1)
    return {
        "mean": np.zeros((n, d)), "log_diagonal": np.log(np.diagonal(lower, axis1=1, axis2=2)),
        "below": lower[:, rows, columns], "carried": carried,
    }  # fmt: skip


def _size(d: int) -> int:
    """How many numbers an occasion takes besides its mean."""
    return d * (d + 1) // 2 + d * d
