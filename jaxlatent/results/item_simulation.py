"""New answers from a fitted item response model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.inference.importance import fresh
from jaxlatent.inference.latent_draws import draw_latent
from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.models.latent_prior import moments
from jaxlatent.spec.occasions import Occasions

if TYPE_CHECKING:
    import pandas as pd


def simulate_items(fitted: ItemFitted, n: int, key: int = 0) -> pd.DataFrame:
    """n persons per group with raw category values; with groups a last column holds the labels.

    With occasions a row for each person and occasion, whose columns come first.

    Raises ValueError where n is not a positive number, or the model has covariates, whose values are not known.
    """
    import pandas as pd

    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"Expected n, the number of persons, to be a positive whole number; got {n!r}.")
    if fitted.table.covariates:
        raise ValueError("The model has covariates, and their values for new persons are not known.")
    frames = []
    for g, label in enumerate(fitted.table.groups):
        y = draw(fitted, g, int(n), key)
        frame = pd.DataFrame(raw_values(fitted, y), columns=list(fitted.table.observed))
        if fitted.table.occasions is not None:
            frame = lengthened(frame, fitted.table.occasions, g * int(n))
        if fitted.table.n_groups > 1:
            frame[fitted.group_name or "group"] = label
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def lengthened(frame: pd.DataFrame, occasions: Occasions, first: int) -> pd.DataFrame:
    """A row for each person (numbered from first) and occasion."""
    import pandas as pd

    n = len(frame)
    out = pd.DataFrame(frame.to_numpy().reshape(n * occasions.n, -1), columns=list(occasions.items))
    labels = [int(v) for v in occasions.labels] if all(v.isdecimal() for v in occasions.labels) else occasions.labels
    out.insert(0, occasions.occasion, np.tile(np.asarray(labels), n))
    out.insert(0, occasions.person or "person", np.repeat(np.arange(first, first + n), occasions.n))
    return out


def draw(fitted: ItemFitted, g: int, n: int, key: int) -> np.ndarray:
    """Coded answers [person, item] of n persons of a group."""
    rng = np.random.default_rng((key, g))
    with jax.enable_x64(True):
        params = {name: jnp.asarray(value[g : g + 1]) for name, value in fitted.params.items()}
        mean, cov = (np.asarray(a[0]) for a in moments(params))
        x = jnp.asarray(draw_latent(fitted, mean, cov, np.ones((n, 1)), rng))
        seed = jax.random.fold_in(jax.random.key(key), g)
        group = jnp.zeros(n, jnp.int32)
        return np.asarray(fitted.measurement.sample(seed, params | fresh(fitted.networks), x, group))


def raw_values(fitted: ItemFitted, y: np.ndarray) -> np.ndarray:
    """Codes as the values that were read; whole numbers where all are."""
    out = np.array(y, float)
    for j, values in enumerate(fitted.coding.values):
        if values is not None:
            out[:, j] = np.asarray(values)[y[:, j].astype(int)]
    return out.astype(int) if (out == np.round(out)).all() else out
