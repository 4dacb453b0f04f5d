"""Draws of free vectors as what users know: named parameters, defined ones, matrices with labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxlatent.inference.draws import Draws
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.results.item_matrices import item_matrix, item_matrix_names
from jaxlatent.results.item_tables import PADDED, Shown, ShownRow, row_name
from jaxlatent.results.matrices import Labelled, normal_matrix, total_moments
from jaxlatent.results.tables import free_names
from jaxlatent.results.values import definitions, row_cells

CANDIDATES = 50  # for each draw that is wanted, before a normal sampling distribution is given up


def matrices_of(fitted: Fitted | ItemFitted, free: np.ndarray) -> dict[str, np.ndarray]:
    """Matrices [draw, group, ...] of free vectors [draw, parameter]."""
    layout, full = fitted.layout, np.concatenate([free, np.zeros((len(free), 1))], 1)
    return {name: np.where(index >= 0, full[:, index], layout.fixed[name]) for name, index in layout.index.items()}


def parameter_draws(shown: Fitted | Shown, free: np.ndarray) -> dict[str, np.ndarray]:
    """Free and defined parameters by name, [draw] each, of free vectors [draw, parameter].

    Loadings of a rotated solution are rotated. An item's k-th intercept is item~1[k] where it has several.
    """
    if isinstance(shown, Shown):
        return _item_parameters(shown, free)
    fitted = shown
    named = dict(zip(free_names(fitted), free.T, strict=True))
    if not fitted.table.definitions:
        return named
    params, table = matrices_of(fitted, free), fitted.table
    rows = np.zeros((len(table.rows), len(free)))
    for name, (at, cells) in row_cells(table, fitted.places).items():
        where: Any = (slice(None), *cells)
        rows[at] = params[name][where].T
    defined = definitions(fitted, rows)
    return named | {d.name: values for d, values in zip(table.definitions, defined, strict=True)}


def _item_parameters(shown: Shown, free: np.ndarray) -> dict[str, np.ndarray]:
    params = matrices_of(shown.fitted, free)
    if shown.rotation is not None:
        params["loadings"] = item_matrix(shown, params, "loadings").values
    named: dict[int, tuple[str, np.ndarray]] = {}
    for k, row in enumerate(shown.rows):
        if row.free and not (shown.rotation is not None and row.matrix == "factor_cov"):
            rotated = shown.rotation is not None and row.matrix == "loadings"
            place = -k if rotated else row.free  # parameters that are equal are one; rotated loadings are their own
            where: Any = (slice(None), row.group - 1, *row.cell)
            named.setdefault(place, (row.label or _name(row), params[row.matrix][where]))
    return dict(named.values())


def _name(row: ShownRow) -> str:
    plain = row_name(row)
    return plain.replace(f"~1{row.rhs}", f"~1[{row.rhs}]", 1) if row.op == "~1" and row.rhs else plain


def matrix_draws(shown: Fitted | Shown, free: np.ndarray) -> dict[str, Labelled]:
    """Named matrices [draw, group, ...] as the tables of a fit show them, of free vectors [draw, parameter]."""
    if isinstance(shown, Shown):
        params = matrices_of(shown.fitted, free)
        return {name: item_matrix(shown, params, name) for name in item_matrix_names(shown)}
    params, table = matrices_of(shown, free), shown.table
    names = ["loadings", "factor_cov"] if table.latent else []
    names += ["residual_cov", *(["intercepts", "factor_means"] if table.mean_structure else [])]
    has_regressions = (shown.layout.index["regressions"] >= 0).any() or shown.layout.fixed["regressions"].any()
    names += ["regressions"] if has_regressions else []
    return {name: normal_matrix(shown, params, name) for name in names}


def sampling_draws(fitted: Fitted | ItemFitted, vcov: np.ndarray | None, n: int, key: int = 0) -> Draws:
    """n draws from N(estimate, vcov), the sampling distribution of the estimates, within the parameter space.

    Draws outside (covariance matrices that are not positive definite, disordered intercepts, probabilities out of
    [0, 1]) are drawn anew.

    Raises
    ------
    ValueError
        There is no covariance matrix of the estimates, n is no whole number from 4, or hardly a draw is admissible.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 4:
        raise ValueError(f"Expected the number of draws as a whole number from 4; got {n!r}.")
    if vcov is None or not np.isfinite(vcov).all():
        raise ValueError(
            "This fit has no covariance matrix of its estimates, so that there is nothing to draw from: see fit.message"
            " and the engine's se."
        )
    rng = np.random.default_rng(key)
    size, vectors = np.linalg.eigh((vcov + vcov.T) / 2)
    root = vectors * np.sqrt(np.maximum(size, 0))
    kept: list[np.ndarray] = []
    for _ in range(CANDIDATES):
        free = fitted.free + rng.standard_normal((int(n), len(size))) @ root.T
        kept.append(free[admissible(fitted, free)])
        if sum(map(len, kept)) >= n:
            return Draws(np.concatenate(kept)[:n][None], "sampling")
    raise ValueError(
        f"Expected a sampling distribution within the parameter space; only {sum(map(len, kept))} of {CANDIDATES * n}"
        " draws from N(estimate, vcov) are admissible: the estimates lie at its border, use the bootstrap or NUTS()."
    )


def admissible(fitted: Fitted | ItemFitted, free: np.ndarray) -> np.ndarray:
    """Whether the likelihood exists at free vectors [draw, parameter] -> [draw]."""
    params = matrices_of(fitted, free)
    if isinstance(fitted, Fitted):
        return np.asarray(_positive(implied_draws(params)[1]).all(1))
    good: np.ndarray = np.asarray(_positive(params["factor_cov"]).all(1))
    for family, items in fitted.measurement.groups:
        for row in family.item_parameters(family.fixed_categories or 2):
            test = _SUPPORTS.get(row.support)
            if test is not None:
                good &= test(params[row.matrix][:, :, list(items)]).all((1, 2))
    return good


def implied_draws(params: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Means [..., p] and covariances [..., p, p] of observed variables that matrices [..., row, column] imply."""
    mean, cov = total_moments(params)
    loadings = params["loadings"]
    sigma = loadings @ cov @ np.swapaxes(loadings, -1, -2) + params["residual_cov"]
    return params["intercepts"] + (loadings @ mean[..., None])[..., 0], sigma


_SUPPORTS: dict[str, Callable[[np.ndarray], Any]] = {
    "decreasing": lambda rows: ((np.diff(rows, axis=-1) < 0) | (rows[..., 1:] < PADDED)).all(-1),
    "unit": lambda rows: ((rows >= 0) & (rows <= 1)).all(-1),
    "positive": lambda rows: (rows > 0).all(-1),
}


def _positive(cov: np.ndarray) -> np.ndarray:
    """Whether matrices [..., m, m] are positive definite."""
    return np.asarray(np.linalg.eigvalsh(cov).min(-1) > 0)
