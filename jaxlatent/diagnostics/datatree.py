"""Draws of parameters as an ArviZ DataTree with named dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.diagnostics.draw_likelihoods import draw_log_likelihoods
from jaxlatent.diagnostics.replicates import observed_cells, replicated
from jaxlatent.inference.draws import Draws
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.numerics.rotation import Rotation
from jaxlatent.results.draws import matrix_draws, parameter_draws
from jaxlatent.results.item_simulation import raw_values
from jaxlatent.results.item_tables import Shown
from jaxlatent.results.matrices import Labelled

if TYPE_CHECKING:
    from xarray import DataTree

WHAT = {
    "posterior": "draws from the posterior distribution of the parameters",
    "approximate": "draws from an approximation of the posterior distribution of the parameters",
    "sampling": "draws from N(estimate, vcov), the sampling distribution of the estimates: not a posterior",
    "bootstrap": "bootstrap estimates, a sampling distribution: not a posterior",
}
PREDICTIVE = 100  # draws for which data are replicated
CELLS = ("person", "item")
CONSTANT = {"person_group": ("person",), "weight": ("person",), "covariates": ("person", "covariate")}
Groups = dict[str, dict[str, np.ndarray]]


def datatree(
    fitted: Fitted | ItemFitted,
    draws: Draws,
    *,
    rotation: Rotation | None = None,
    prior: Draws | None = None,
    log_likelihood: bool = True,
    predictive: int = PREDICTIVE,
    key: int = 0,
) -> DataTree:
    """Draws of the parameters of a fit in the groups that ArviZ knows.

    posterior: free and defined parameters under their names, such as visual=~x2, or their labels. matrices: named
    matrices [group, item, factor, category, ...]. sample_stats. log_likelihood: ``responses`` [person], latent
    variables integrated out, so that leave-one-out means a person that is left out. posterior_predictive: ``responses``
    [person, item] of new persons, at so many draws. observed_data: ``responses``. constant_data: groups, weights and
    covariates of persons. prior and prior_predictive, where draws from the prior are given.

    Groups that need rows are left out where the fit holds none. Raises ValueError for a number of draws that makes no
    sense.
    """
    check_counts(predictive)
    shown = Shown(fitted, rotation) if isinstance(fitted, ItemFitted) else fitted
    shape = draws.free.shape[:2]
    groups: Groups = {"posterior": _shaped(parameter_draws(shown, draws.flat), shape)}
    matrices = matrix_draws(shown, draws.flat)
    several = fitted.table.n_groups > 1
    dims, coords = _matrix_axes(matrices, fitted.group_labels, several)
    groups["matrices"] = {
        name: m.values.reshape(*shape, *m.values.shape[1:]) if several else m.values[:, 0].reshape(*shape, *_tail(m))
        for name, m in matrices.items()
    }
    if draws.stats:
        groups["sample_stats"] = dict(draws.stats)
    if prior is not None:
        groups["prior"] = _shaped(parameter_draws(shown, prior.flat), prior.free.shape[:2])
    if _has_rows(fitted):
        if log_likelihood:
            values = draw_log_likelihoods(fitted, draws.flat)
            groups["log_likelihood"] = {"responses": values.reshape(*shape, -1)}
        if predictive:
            groups["posterior_predictive"] = {"responses": _replicates(fitted, draws, predictive, key)}
            if prior is not None:
                groups["prior_predictive"] = {"responses": _replicates(fitted, prior, predictive, key + 1)}
        groups["observed_data"], index = {"responses": _observed(fitted)}, _index(fitted)
        groups["constant_data"], constant = _constant(fitted)
        coords |= {"person": index, "item": list(fitted.table.observed)} | constant
    attrs = attributes(draws.kind)
    return as_tree(groups, dims, coords, {name: attrs for name in ("/", "posterior", "matrices")})


def attributes(kind: str) -> dict[str, str]:
    """What the draws are, in words, and what made them."""
    return {
        "inference_library": "jaxlatent", "inference_library_version": version("jaxlatent"), "kind": kind,
        "description": WHAT[kind],
    }  # fmt: skip


def as_tree(
    groups: Mapping[str, Mapping[str, np.ndarray]],
    dims: Mapping[str, Sequence[str]],
    coords: Mapping[str, Any],
    attrs: Mapping[str, Any],
) -> DataTree:
    """A DataTree of arrays [chain, draw, ...] by group and name, data groups [...].

    ``responses`` has the dimensions person and item, of log-likelihoods person. Raises ImportError without ArviZ.
    """
    try:
        from arviz_base import convert_to_datatree, from_dict
    except ImportError:
        raise ImportError(
            "A DataTree needs arviz-base, arviz-stats and arviz-plots: pip install 'jaxlatent[bayes]'."
        ) from None
    from xarray import DataTree

    tree = DataTree()
    for group, variables in groups.items():
        if not variables:
            continue
        clean = {name.replace("/", "∕"): value for name, value in variables.items()}  # a path separator of DataTrees
        used = {**CONSTANT, "responses": CELLS if group != "log_likelihood" else CELLS[:1], **dims}
        named = {name: list(used.get(name, ())) for name in clean}
        there = {dim for each in named.values() for dim in each}
        own = {dim: values for dim, values in coords.items() if dim in there}
        made = from_dict(
            {group: clean}, dims=named, coords=own, attrs={group: attrs[group]} if group in attrs else None
        )
        tree[group] = made[group]
    tree.attrs.update(attrs.get("/", {}))
    return convert_to_datatree(tree)


def check_counts(predictive: Any) -> None:
    """Raises ValueError where the number of replicated data sets is none."""
    if isinstance(predictive, bool) or not isinstance(predictive, int | np.integer) or predictive < 0:
        raise ValueError(f"Expected predictive, the number of replicated data sets, from 0; got {predictive!r}.")


def thinned(draws: Draws, n: int) -> np.ndarray:
    """About n draws, evenly spread over every chain [chain, draw, parameter]; at most those there are."""
    chains, each = draws.free.shape[:2]
    wanted = min(max(-(-n // chains), 1), each)
    return draws.free[:, np.linspace(0, each - 1, wanted).round().astype(int)]


# ---- parts ----------------------------------------------------------------------------------------------------------


def _shaped(values: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: each.reshape(shape) for name, each in values.items()}


def _tail(matrix: Labelled) -> tuple[int, ...]:
    return matrix.values.shape[2:]


def _matrix_axes(
    matrices: Mapping[str, Labelled], groups: Sequence[str], several: bool
) -> tuple[dict[str, list[str]], dict[str, list[Any]]]:
    first = ["group"] if several else []
    dims = {name: first + [axis for axis, _ in m.axes] for name, m in matrices.items()}
    coords: dict[str, list[Any]] = {"group": list(groups)} if several else {}
    for m in matrices.values():
        coords |= {axis: list(labels) for axis, labels in m.axes if len(labels) >= len(coords.get(axis, ()))}
    return dims, coords


def _has_rows(fitted: Fitted | ItemFitted) -> bool:
    return fitted.data is not None if isinstance(fitted, Fitted) else fitted.data.n_persons > 0


def _replicates(fitted: Fitted | ItemFitted, draws: Draws, n: int, key: int) -> np.ndarray:
    used = thinned(draws, n)
    found = replicated(fitted, used.reshape(-1, used.shape[-1]), key)
    return found.reshape(*used.shape[:2], *found.shape[1:])


def _observed(fitted: Fitted | ItemFitted) -> np.ndarray:
    if isinstance(fitted, Fitted):
        return fitted.rows.y
    seen = observed_cells(fitted)
    raw = raw_values(fitted, np.where(seen, fitted.data.codes, 0))
    return raw if seen.all() else np.where(seen, raw, np.nan)


def _index(fitted: Fitted | ItemFitted) -> list[Any]:
    """Labels of persons: numbers or text."""
    source = fitted.data if isinstance(fitted, Fitted) else fitted.responses
    n = len(source.y) if isinstance(fitted, Fitted) else fitted.data.n_persons  # type: ignore[union-attr]
    index = np.asarray(getattr(source, "index", np.empty(0)))
    if len(index) != n:
        return list(range(n))
    return index.tolist() if index.dtype.kind in "iuf" else [str(each) for each in index]


def _constant(fitted: Fitted | ItemFitted) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Groups, weights and covariates of persons, and names of covariates."""
    data: Any = fitted.data
    out: dict[str, np.ndarray] = {}
    if fitted.table.n_groups > 1:
        out["person_group"] = np.asarray(fitted.group_labels)[data.group]
    if data.weight is not None:
        out["weight"] = data.weight
    if isinstance(fitted, ItemFitted) and data.covariates is not None:
        return out | {"covariates": data.covariates}, {"covariate": list(fitted.table.covariates)}
    return out, {}
