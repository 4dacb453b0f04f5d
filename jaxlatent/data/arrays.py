"""What compiled code sees of the data: arrays only, no names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

FIELDS = ("y", "observed", "group", "weight", "covariates")


@partial(jax.tree_util.register_dataclass, data_fields=FIELDS, meta_fields=())
@dataclass(frozen=True)
class Arrays:
    """Rows of observed variables as a pytree of arrays, persons first.

    y [person, item]: values, 0 where missing; observed [person, item]: whether the cell was observed; group [person]:
    0, 1, ...; weight [person]; covariates [person, covariate], or None.
    """

    y: jax.Array
    observed: jax.Array
    group: jax.Array
    weight: jax.Array
    covariates: jax.Array | None = None

    @staticmethod
    def of(
        y: ArrayLike,
        group: ArrayLike | None = None,
        weight: ArrayLike | None = None,
        covariates: ArrayLike | None = None,
    ) -> Arrays:
        """Arrays from values [person, item] with nan where missing; one group and weights of one unless given.

        Floating point precision is that of y, as far as the caller's setting of JAX allows it.

        Raises
        ------
        ValueError
            A shape does not fit, a value or covariate is not finite, a group is no count from 0, a weight is negative.
        """
        values = _floats("y", y, 2)
        n = len(values)
        observed = ~np.isnan(values)
        if np.isinf(values).any():
            raise ValueError("Expected finite values in y, nan where missing; got an infinite one.")
        groups = np.zeros(n, np.int32) if group is None else _groups(group)
        weights = np.ones(n, values.dtype) if weight is None else _floats("weight", weight, 1).astype(values.dtype)
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError("Expected finite weights of at least 0; got others.")
        more = None if covariates is None else _floats("covariates", covariates, 2).astype(values.dtype)
        if more is not None and not np.isfinite(more).all():
            raise ValueError("Expected finite covariates; got missing or infinite ones.")
        for name, each in (("group", groups), ("weight", weights), ("covariates", more)):
            if each is not None and len(each) != n:
                raise ValueError(f"Expected {n} rows in {name}, as in y; got {len(each)}.")
        filled = jnp.asarray(np.where(observed, values, 0))
        further = None if more is None else jnp.asarray(more)
        return Arrays(filled, jnp.asarray(observed), jnp.asarray(groups), jnp.asarray(weights), further)

    @property
    def n_persons(self) -> int:
        """Number of rows."""
        return self.y.shape[0]


def of_person(tree: Any, group: jax.Array) -> Any:
    """Leaves [group, ...] -> [person, ...], or [1, ...] as they are where there is one group."""
    return jax.tree.map(lambda a: a if a.shape[0] == 1 else a[group], tree)


def _floats(name: str, value: ArrayLike, ndim: int) -> np.ndarray:
    array = np.asarray(value)
    if array.ndim != ndim:
        raise ValueError(f"Expected {name} with {ndim} dimension(s); got shape {array.shape}.")
    return array if np.issubdtype(array.dtype, np.floating) else array.astype(float)


def _groups(value: ArrayLike) -> np.ndarray:
    array = np.asarray(value)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer) or (array < 0).any():
        raise ValueError("Expected group as integers 0, 1, ... [person]; got something else.")
    return array.astype(np.int32)
