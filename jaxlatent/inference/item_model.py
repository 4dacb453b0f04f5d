"""The one model type of the design, made of a table of items and coded answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.inference.item_data import ItemRows
from jaxlatent.latent.autoregressive import Autoregressive
from jaxlatent.latent.latent import Latent
from jaxlatent.latent.normal import Normal
from jaxlatent.latent.regression import LatentRegression
from jaxlatent.latent.structural import StructuralNormal
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.spec.item_table import ItemTable
from jaxlatent.spec.layout import Layout


def item_model(
    table: ItemTable, measurement: Measurement, layout: Layout, latent: Latent | None = None
) -> LatentVariableModel:
    """Items given latent variables, and these: normal unless another distribution is given."""
    normal = LatentRegression() if table.covariates else StructuralNormal()
    n_occasions = 1 if table.occasions is None else table.occasions.n
    chosen = latent if latent is not None and not is_normal(latent) else normal
    return LatentVariableModel(measurement, chosen, layout, n_occasions)


def is_normal(latent: Latent | None) -> bool:
    """Whether latent variables are normal, so that points around modes and second-order steps are at hand."""
    return latent is None or isinstance(latent, Normal | Autoregressive | StructuralNormal | LatentRegression)


def item_arrays(data: ItemRows, dtype: str = "float32") -> Arrays:
    """Coded answers in NumPy arrays: y int8 where all items are categorical, else this precision; 0 where missing."""
    codes = data.codes
    whole = codes.dtype == np.int8
    observed = codes >= 0 if whole else ~np.isnan(codes)
    y: Any = np.where(observed, codes, 0).astype("int8" if whole else dtype)
    weight: Any = np.ones(len(codes), dtype) if data.weight is None else data.weight.astype(dtype)
    covariates: Any = None if data.covariates is None else data.covariates.astype(dtype)
    seen: Any = observed
    group: Any = data.group.astype(np.int32)
    return Arrays(y, seen, group, weight, covariates)


def double_arrays(data: ItemRows) -> Arrays:
    """The same in float64 throughout, for final sums."""
    arrays = item_arrays(data, "float64")
    y: Any = np.asarray(arrays.y, "float64")
    return replace(arrays, y=y)


def in_precision(arrays: Arrays, dtype: jax.typing.DTypeLike) -> Arrays:
    """The same arrays with numbers of one floating point precision, also where answers were kept as small integers."""
    covariates = None if arrays.covariates is None else jnp.asarray(arrays.covariates, dtype)
    y, weight = jnp.asarray(arrays.y, dtype), jnp.asarray(arrays.weight, dtype)
    return Arrays(y, arrays.observed, arrays.group, weight, covariates)
