"""The variational posterior of a factor model as an ArviZ DataTree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.responses import Responses
from jaxlatent.diagnostics.datatree import as_tree, attributes
from jaxlatent.inference.variational_fit import VariationalPosterior
from jaxlatent.numerics.normal_density import pattern_log_prob
from jaxlatent.numerics.program import jit

if TYPE_CHECKING:
    from xarray import DataTree


@jit
def _log_likelihoods(y: Any, which: Any, patterns: Any, mean: jax.Array, cov: jax.Array) -> jax.Array:
    return jax.lax.map(lambda at: pattern_log_prob(y, which, patterns, *at), (mean, cov))


def variational_datatree(
    q: VariationalPosterior, factors: tuple[str, ...], back: np.ndarray, factor_cov: np.ndarray, data: Responses | None,
    *, draws: int, predictive: int, key: int = 0,
) -> DataTree:  # fmt: skip
    """Draws from q(loadings, means) q(residual variances) with the groups that ``diagnostics.datatree`` has.

    factors: names of the active ones; back [m, m]: what unrotated loadings are multiplied by, from the right;
    factor_cov [m, m]: correlations of the rotated factors, which are not drawn. Raises ValueError for fewer than 4
    draws.
    """
    if isinstance(draws, bool) or not isinstance(draws, int | np.integer) or draws < 4:
        raise ValueError(f"Expected the number of draws as a whole number from 4; got {draws!r}.")
    rng = np.random.default_rng(key)
    p, width = q.q.slope.shape
    root = np.linalg.cholesky(np.asarray(q.q.slope_cov))
    slope = q.q.slope + np.einsum("jab,sjb->sja", root, rng.standard_normal((draws, p, width)))
    noise = 1 / (rng.standard_gamma(q.q.tau_shape, (draws, p)) / q.q.tau_rate)
    inner = q.sd[:, None] * slope[:, :, q.active]
    loadings, means, variances = inner @ back, q.mean + q.sd * slope[:, :, -1], q.sd**2 * noise
    cov = inner @ np.swapaxes(inner, 1, 2) + variances[:, :, None] * np.eye(p)
    named = {f"{f}=~{v}": loadings[:, j, k] for k, f in enumerate(factors) for j, v in enumerate(q.names)}
    named |= {f"{v}~~{v}": variances[:, j] for j, v in enumerate(q.names)}
    named |= {f"{v}~1": means[:, j] for j, v in enumerate(q.names)}
    groups: dict[str, dict[str, Any]] = {
        "posterior": {name: value[None] for name, value in named.items()},
        "matrices": {
            "loadings": loadings[None], "intercepts": means[None],
            "residual_cov": (variances[:, :, None] * np.eye(p))[None],
            "factor_cov": np.broadcast_to(factor_cov, (1, draws, *factor_cov.shape)),
        },
    }  # fmt: skip
    dims = {"loadings": ("item", "factor"), "intercepts": ("item",), "residual_cov": ("item", "item2"),
            "factor_cov": ("factor", "factor2")}  # fmt: skip
    items = list(q.names)
    coords: dict[str, Any] = {"item": items, "item2": items, "factor": list(factors), "factor2": list(factors)}
    if data is not None:
        patterns, which = np.unique(~np.isnan(data.y), axis=0, return_inverse=True)
        with jax.enable_x64(True):
            rows = np.nan_to_num(data.y), which.reshape(-1).astype(np.int32), patterns
            values = np.asarray(_log_likelihoods(*rows, jnp.asarray(means), jnp.asarray(cov)))
        groups["log_likelihood"] = {"responses": values[None]}
        used = np.linspace(0, draws - 1, min(predictive, draws)).round().astype(int)
        if len(used):
            z = rng.standard_normal((len(used), *data.y.shape))
            y = means[used][:, None] + z @ np.swapaxes(np.linalg.cholesky(cov[used]), 1, 2)
            groups["posterior_predictive"] = {"responses": np.where(np.isnan(data.y), np.nan, y)[None]}
        groups["observed_data"] = {"responses": data.y}
        coords["person"] = [i if isinstance(i, int) else str(i) for i in data.index.tolist()]
    attrs = attributes("approximate")
    return as_tree(groups, dims, coords, {name: attrs for name in ("/", "posterior", "matrices")})
