"""A fitted deep model as an ArviZ DataTree: latent variables of persons, and data made from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.diagnostics.datatree import CELLS, as_tree, attributes
from jaxlatent.inference.deep_fit import LIKELIHOOD_DRAWS, DeepFitted

if TYPE_CHECKING:
    from xarray import DataTree

DESCRIPTION = "draws of persons' latent variables given their data, from the guide by importance resampling"


def deep_datatree(
    fitted: DeepFitted, *, draws: int = 100, predictive: int = 100, index: np.ndarray | None = None, key: int = 0
) -> DataTree:
    """Latent variables given the data and what is made from them; the model's weights are taken as known.

    posterior: ``latent`` [person, factor]. posterior_predictive: ``responses`` [person, item], a draw at each draw of
    ``latent``: reconstructions with their noise. observed_data: ``responses``. person_data: of every person
    ``log_likelihood`` (latent variables integrated out) and its Monte Carlo ``log_likelihood_se``, ``pareto_k`` of the
    importance weights, and ``reconstruction`` [person, item], E(y | posterior mean).

    Raises ValueError where the fit holds no rows, or for a number of draws below 1.
    """
    if fitted.codes is None:
        raise ValueError("This fit holds no rows (it was saved without its data): fit data, or save with include_data.")
    for name, n in (("draws", draws), ("predictive", predictive)):
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < (name == "draws"):
            raise ValueError(f"Expected {name} as a whole number from {int(name == 'draws')}; got {n!r}.")
    x = np.swapaxes(fitted.draws(fitted.codes, int(draws), key, known=True), 0, 1)  # [draw, person, factor]
    each = fitted.posteriors(fitted.codes, LIKELIHOOD_DRAWS, known=True)
    groups: dict[str, dict[str, Any]] = {"posterior": {"latent": x[None]}}
    used = x[np.linspace(0, len(x) - 1, min(int(predictive), len(x))).round().astype(int)]
    if len(used):
        y = fitted.sample(used.shape[0] * used.shape[1], key, used.reshape(-1, used.shape[-1]))[1]
        groups["posterior_predictive"] = {"responses": y.reshape(1, *used.shape[:2], -1)}
    groups["observed_data"] = {"responses": fitted.columns.decode(fitted.codes)}
    groups["person_data"] = {
        "log_likelihood": each.log_marginal,
        "log_likelihood_se": np.sqrt(np.maximum(each.variance, 0)),
        "pareto_k": each.shape,
        "reconstruction": fitted.decode(each.mean),
    }
    one = (CELLS[0],)
    dims = {"latent": ("person", "factor"), "log_likelihood": one, "log_likelihood_se": one, "pareto_k": one,
            "reconstruction": CELLS}  # fmt: skip
    persons = list(range(fitted.n_persons)) if index is None else [str(i) if isinstance(i, str) else i for i in index]
    coords = {"person": persons, "item": list(fitted.observed), "factor": list(fitted.factors)}
    attrs = {**attributes("approximate"), "description": DESCRIPTION}
    return as_tree(groups, dims, coords, {"/": attrs, "posterior": attrs})
