"""What an encoder sees of a person: responses as numbers of comparable size, what is missing, covariates, group."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.measurement.neural_counts import Binomial
from jaxlatent.measurement.neural_normal import DecodedNormal, JointNormal, StudentT
from jaxlatent.measurement.normal import Normal
from jaxlatent.measurement.normal_item import NormalItem
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.log_probability import NEVER
from jaxlatent.numerics.types import Array

Items = tuple[int, ...]
FARTHEST = 8.0  # standard deviations: a network sees values that lie farther out as if they lay there
LINEAR = (Normal, NormalItem, DecodedNormal, JointNormal, StudentT, Binomial)  # others are counts or times
_STATIC = ("sizes", "logarithmic", "n_groups", "n_covariates")


@partial(jax.tree_util.register_dataclass, data_fields=("center", "scale"), meta_fields=_STATIC)
@dataclass(frozen=True)
class Encoding:
    """Columns of the input, float32: responses, missing indicators, covariates, groups.

    An item of K categories has the K - 1 indicators of categories 1, ..., K - 1 less their proportions; a numeric item
    its standardised value (its logarithm, if it is a count or a time). A missing response is 0 and has indicator 1.

    sizes: (number of categories, items), 0 for numeric items; logarithmic: those items of which logarithms are taken;
    center, scale [column] of the responses and covariates.
    """

    sizes: tuple[tuple[int, Items], ...]
    logarithmic: Items
    n_groups: int
    n_covariates: int
    center: Array
    scale: Array

    @property
    def items(self) -> np.ndarray:
        """The item of each response column."""
        return np.concatenate([np.repeat(items, max(k - 1, 1)) for k, items in self.sizes])

    @property
    def steps(self) -> np.ndarray:
        """The category of each response column, 1 for numeric items."""
        return np.concatenate([np.tile(np.arange(1, max(k, 2)), len(items)) for k, items in self.sizes])

    @property
    def n_items(self) -> int:
        return sum(len(items) for _, items in self.sizes)

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.items) + self.n_items + self.n_covariates + self.n_groups - 1

    def by_occasion(self, n: int) -> np.ndarray:
        """Columns [T, column] of the responses of every occasion and what is missing of them, in one order for all.

        The items are those of n occasions, one occasion after the other.
        """
        per = self.n_items // n
        missing = len(self.items) + np.arange(self.n_items)  # indicators are in the order of the items
        return np.stack(
            [np.r_[np.flatnonzero(self.items // per == t), missing[t * per : (t + 1) * per]] for t in range(n)]
        )

    def __call__(self, arrays: Arrays) -> jax.Array:
        """The input [person, width] of an encoder."""
        columns, there = _columns(self, arrays), arrays.observed
        n = columns.shape[-1]
        seen = jnp.concatenate([_repeated(there[:, _at(items)], max(k - 1, 1)) for k, items in self.sizes], -1)
        standard = jnp.clip((columns - self.center[:n]) * (1 / self.scale[:n]), -FARTHEST, FARTHEST)
        parts = [jnp.where(seen, standard, 0), 1 - there.astype(jnp.float32)]
        if self.n_covariates and arrays.covariates is not None:
            parts.append((arrays.covariates.astype(jnp.float32) - self.center[n:]) * (1 / self.scale[n:]))
        if self.n_groups > 1:
            parts.append((arrays.group[:, None] == jnp.arange(1, self.n_groups)).astype(jnp.float32))
        return jnp.concatenate(parts, -1)


def encoding_of(model: LatentVariableModel, arrays: Arrays) -> Encoding:
    """Columns for the items of a model, their centers and scales from these data. Host side."""
    counts = category_counts(model, arrays)
    sizes: dict[int, list[int]] = {}
    for j, k in enumerate(counts):
        sizes.setdefault(k, []).append(j)
    logarithmic = tuple(
        j for family, items in model.measurement.groups for j in items
        if not family.categorical and not isinstance(family, LINEAR)
    )  # fmt: skip
    by_size = tuple((k, tuple(items)) for k, items in sorted(sizes.items()))
    n_covariates = 0 if arrays.covariates is None else arrays.covariates.shape[1]
    blank = np.zeros(0, np.float32)
    draft = Encoding(by_size, tuple(sorted(logarithmic)), model.layout.n_groups, n_covariates, blank, blank)
    center, scale = _standards(draft, arrays)
    return Encoding(by_size, draft.logarithmic, draft.n_groups, n_covariates, center, scale)


def category_counts(model: LatentVariableModel, arrays: Arrays) -> list[int]:
    """Number of categories of each item, 0 where it is not categorical: those with intercepts, or those that occur."""
    y = np.where(np.asarray(arrays.observed), np.asarray(arrays.y), 0)
    counts = [0] * y.shape[1]
    layout = model.layout
    for family, items in model.measurement.groups:
        if not family.categorical:
            continue
        for j in items:
            seen = int(y[:, j].max(initial=1)) + 1
            for name in ("intercepts", "spacing"):
                if name in layout.index:
                    there = (layout.index[name][0, j] >= 0) | (np.asarray(layout.fixed[name])[0, j] > NEVER / 2)
                    seen = max(seen, int(there.sum()) + 1)
            counts[j] = family.fixed_categories or seen
    return counts


def _at(items: Items) -> slice | np.ndarray:
    """Positions as a slice where they follow one another."""
    run = items == tuple(range(items[0], items[0] + len(items)))
    return slice(items[0], items[0] + len(items)) if run else np.array(items)


def _repeated(a: jax.Array, times: int) -> jax.Array:
    """[person, item] -> [person, item x times]."""
    wide = jnp.broadcast_to(a[:, :, None], (*a.shape, times))
    return wide.reshape(len(a), -1)


def _columns(encoding: Encoding, arrays: Arrays) -> jax.Array:
    """Indicators and values [person, column], before they are centered."""
    y = jnp.where(arrays.observed, arrays.y, 0)
    parts = []
    for k, items in encoding.sizes:
        own = y[:, _at(items)]
        if k:
            each = own[:, :, None] == jnp.arange(1, k).astype(own.dtype)
            parts.append(each.reshape(len(own), -1).astype(jnp.float32))
        else:
            taken = np.isin(np.array(items), np.array(encoding.logarithmic))
            values = own.astype(jnp.float32)
            parts.append(jnp.where(taken, jnp.sign(values) * jnp.log1p(jnp.abs(values)), values))
    return jnp.concatenate(parts, -1)


def _standards(draft: Encoding, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Means and scales of the columns over observed cells; 1/2 is the scale of an indicator."""
    columns = np.asarray(_columns(draft, arrays), float)
    seen = np.asarray(arrays.observed)[:, draft.items]
    count = np.maximum(seen.sum(0), 1)
    mean = np.where(seen, columns, 0).sum(0) / count
    sd = np.sqrt(np.where(seen, (columns - mean) ** 2, 0).sum(0) / count)
    numeric = np.concatenate([np.full(max(k - 1, 1) * len(items), k == 0) for k, items in draft.sizes])
    scale = np.where(numeric, np.where(sd > 0, sd, 1.0), 0.5)
    if arrays.covariates is not None:
        z = np.asarray(arrays.covariates, float)
        mean, scale = np.append(mean, z.mean(0)), np.append(scale, np.where(z.std(0) > 0, z.std(0), 1.0))
    return mean.astype(np.float32), scale.astype(np.float32)
