"""Simulation of answers from an item response model and its parameters, before anything is fitted."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.coding import Coding
from jaxlatent.inference.item_model import is_normal
from jaxlatent.inference.item_preparation import assemble, type_of
from jaxlatent.irt import IRT
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.models.latent_prior import moments
from jaxlatent.simulate_cells import free_of, matrices_of
from jaxlatent.spec.item_factors import factors_of
from jaxlatent.spec.item_table import ItemTable, item_layout

if TYPE_CHECKING:
    import pandas as pd

COUNTED = ("intercepts", "spacing")  # rows with one cell less than there are categories


def simulate_items(
    model: IRT,
    params: Mapping[str, Any],
    n: int,
    key: int = 0,
    *,
    items: Sequence[str] | None = None,
    categories: int | Mapping[str, int] | None = None,
    groups: Sequence[str] | None = None,
    covariates: Any = None,
) -> pd.DataFrame:
    """Answers [n per group x items] as categories 0, 1, ..., counts or numbers: see ``jaxlatent.simulate``."""
    import pandas as pd

    if model.occasions is not None or not is_normal(model.latent):
        raise ValueError("simulate takes item response models with normal latent variables and without occasions.")
    model, names = _named(model, params, items)
    types = {name: type_of(model, name) for name in names}
    sizes = {name: _size(name, j, *types[name], params, categories) for j, name in enumerate(names)}
    coding = Coding(names, tuple(tuple(float(v) for v in range(sizes[j])) if sizes[j] else None for j in names))
    margins = [np.full(k, 1 / k) if k else np.ones(2) for k in coding.n_categories]
    labels = tuple(str(g) for g in groups) if groups is not None else ("1",)
    if len(set(labels)) < max(len(labels), 1):
        raise ValueError(f"Expected groups as different labels, at least one; got {groups!r}.")
    table, measurement = assemble(model, coding, labels, (), margins)
    z = _design(table, covariates, n)
    free = free_of(table, item_layout(table), params)
    matrices = matrices_of(table, item_layout(table), free)
    frames = []
    for g, label in enumerate(labels):
        y = _draw(measurement, {name: value[g : g + 1] for name, value in matrices.items()}, z, key, g)
        frame = pd.DataFrame(y, columns=list(table.observed))
        whole = [name for name in names if sizes[name] or types[name][0] in ("poisson", "negative_binomial")]
        frame = frame.astype(dict.fromkeys(whole, int))
        for k, name in enumerate(table.covariates):
            frame[name] = z[:, k + 1]
        if groups is not None:
            frame["group"] = label
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _named(model: IRT, params: Mapping[str, Any], items: Sequence[str] | None) -> tuple[IRT, tuple[str, ...]]:
    """The model with its factors as a pattern, and the items' names."""
    if model.syntax is not None:
        return model, model.syntax.items
    rows: Any = params.get("loadings") if isinstance(model.factors, int) else model.factors
    if items is None and hasattr(rows, "index") and hasattr(rows, "columns"):
        items = [str(v) for v in rows.index]
    if items is None and isinstance(model.item_type, Mapping):
        items = list(model.item_type)
    if items is None and rows is not None and np.ndim(rows) >= 1:
        items = [f"item{j + 1}" for j in range(np.shape(rows)[-2 if np.ndim(rows) > 1 else 0])]
    if items is None or isinstance(items, str) or not len(items):
        raise ValueError(
            "The items are not known before there are data: pass items, the list of their names, or loadings, or name"
            " them in factors, as in 'F =~ a + b'."
        )
    names = tuple(str(name) for name in items)
    if isinstance(model.factors, int) and model.factors > 1:  # every loading is a parameter, none a zero by convention
        model = copy.copy(model)
        model.factors, model.rotation = np.ones((len(names), int(model.factors))), None
    return model, factors_of(model.factors, names, model.covariates).items


def _size(name: str, j: int, kind: str, given: Any, params: Mapping[str, Any], categories: Any) -> int:
    """The number of categories of an item: by its type, as asked for, or as many as there are parameters for."""
    family = given.family_for(3)
    if not family.categorical:
        return 0
    if family.fixed_categories is not None:
        return int(family.fixed_categories)
    k = categories.get(name) if isinstance(categories, Mapping) else categories
    if k is None:
        k = _counted(name, j, params)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 2:
        raise ValueError(
            f"Expected the number of categories of the item {name!r} ({kind}), from 2: pass categories, a number for"
            f" all or a dict by item; got {k!r}."
        )
    return int(k)


def _counted(name: str, j: int, params: Mapping[str, Any]) -> int | None:
    """One more than there are intercepts or steps of an item among the parameters, or None."""
    for matrix in COUNTED:
        given: Any = params.get(matrix)
        if hasattr(given, "loc") and name in given.index:
            return int(np.isfinite(np.asarray(given.loc[name], dtype=float)).sum()) + 1
        plain = [str(p).replace(" ", "") for p in params]
        own = {p for p in plain if re.fullmatch(rf"{re.escape(name)}(~1|{matrix})\d+", p)}
        if own:
            return 1 + len(own)
        if given is not None and np.ndim(given) >= 2 and j < np.shape(given)[-2]:
            return int(np.isfinite(np.asarray(given, dtype=float)[..., j, :]).sum(-1).max()) + 1
    return None


def _design(table: ItemTable, covariates: Any, n: int) -> np.ndarray:
    """A column of ones, then covariates [n, 1 + k]. Raises ValueError where they don't fit the model."""
    names = table.covariates
    if not names:
        if covariates is not None:
            raise ValueError("The model has no covariates: leave covariates out.")
        return np.ones((n, 1))
    if covariates is None:
        raise ValueError(f"The model has covariates ({', '.join(names)}): pass their values, n rows, as covariates.")
    if hasattr(covariates, "columns"):
        missing = [name for name in names if name not in covariates.columns]
        if missing:
            raise ValueError(f"Expected the covariate {missing[0]!r} among the columns of covariates.")
        covariates = covariates[list(names)]
    values = np.asarray(covariates, float)
    values = values[:, None] if values.ndim == 1 else values
    if values.shape != (n, len(names)) or not np.isfinite(values).all():
        raise ValueError(f"Expected finite covariates [{n} x {len(names)}]; got shape {values.shape}.")
    return np.column_stack([np.ones(n), values])


def _draw(measurement: Measurement, params: dict[str, np.ndarray], design: np.ndarray, key: int, g: int) -> np.ndarray:
    """Coded answers [person, item] of one group, whose matrices are [1, ...]."""
    rng = np.random.default_rng((key, g))
    with jax.enable_x64(True):
        given = {name: jnp.asarray(value) for name, value in params.items()}
        m, cov = (np.asarray(a[0]) for a in moments(given))
        size, vectors = np.linalg.eigh(cov)
        root = vectors * np.sqrt(np.maximum(size, 0))
        x = design @ m.T + rng.standard_normal((len(design), len(cov))) @ root.T
        seed = jax.random.fold_in(jax.random.key(key), g)
        return np.asarray(measurement.sample(seed, given, jnp.asarray(x), jnp.zeros(len(x), jnp.int32)))
