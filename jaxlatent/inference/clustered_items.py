"""Item response models of persons in clusters: the maximum of the clusters' likelihood, its errors, and posteriors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.inference.deep_polish import unconstrained
from jaxlatent.inference.item_model import double_arrays, item_model
from jaxlatent.inference.item_preparation import Prepared
from jaxlatent.inference.marginal_fit import starting_values
from jaxlatent.integration.clusters import ClusterGrid, cluster_log_marginal, cluster_posteriors
from jaxlatent.latent.latent import Latent
from jaxlatent.latent.structural import StructuralNormal
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.definite import smallest_eigenvalue
from jaxlatent.spec.item_table import ItemTable, item_layout

START = 0.5  # standard deviation between clusters, where the one within them is 1
MAX_STEPS = 500
DIFFERENCE = 1e-4  # steps by which gradients are differenced, in unconstrained numbers
SINGULAR = 1e-9


@dataclass(frozen=True)
class ClusteredItems:
    """A fitted model: free [n_free], the standard deviation tau between clusters, and vcov of (free, tau)."""

    table: ItemTable
    model: LatentVariableModel
    arrays: Arrays
    grid: ClusterGrid
    free: np.ndarray
    tau: float
    vcov: np.ndarray | None
    log_likelihood: float
    converged: bool
    steps: int

    @property
    def within(self) -> float:
        """Variance of the latent variable within clusters."""
        return float(self.matrices["factor_cov"][0, 0, 0])

    @cached_property
    def matrices(self) -> dict[str, np.ndarray]:
        """Named matrices [1, ...]."""
        layout = self.model.layout
        return {n: np.where(i >= 0, self.free[np.maximum(i, 0)], layout.fixed[n]) for n, i in layout.index.items()}

    @cached_property
    def posteriors(self) -> tuple[np.ndarray, ...]:
        """Means and standard deviations of persons' x and of clusters' u."""
        with jax.enable_x64(True):
            params = {name: jnp.asarray(value) for name, value in self.matrices.items()}
            n = self.grid.n_clusters

            @jax.jit
            def found(params: Any, tau: jax.Array, data: Arrays, codes: jax.Array, nodes: jax.Array) -> tuple:
                return cluster_posteriors(self.model, params, tau, data, ClusterGrid(codes, n, nodes))

            given = (params, jnp.asarray(self.tau), self.arrays, self.grid.codes, self.grid.nodes)
            return tuple(np.asarray(a) for a in found(*given))


def fit_clustered(p: Prepared, latent: Latent | None, codes: np.ndarray, *, errors: bool = True) -> ClusteredItems:
    """Maximise the likelihood of clusters over the free vector and tau, by L-BFGS on unconstrained numbers.

    Standard errors are from the observed information, by differences of exact gradients. Raises ValueError for several
    factors, groups, covariates, constraints, or latent variables that are not normal.
    """
    from scipy.optimize import minimize

    table, layout = p.table, item_layout(p.table)
    layout = replace(layout, start=starting_values(table, layout, p.data, p.measurement))
    model = item_model(table, p.measurement, layout, latent)
    _check(table, model, codes)
    grid = ClusterGrid.of(codes)
    with jax.enable_x64(True):
        arrays = jax.tree.map(jnp.asarray, double_arrays(p.data))
        free_of, first = unconstrained(model, np.asarray(model.layout.start))
        n_free = len(first)

        @jax.jit
        def value_and_slope(u: jax.Array, data: Arrays, codes: jax.Array, nodes: jax.Array) -> tuple:
            def loss(u: jax.Array) -> jax.Array:
                params = model.layout.unpack(free_of(u[:-1]))
                at = ClusterGrid(codes, grid.n_clusters, nodes)
                return -cluster_log_marginal(model, params, jnp.exp(u[-1]), data, at).sum()

            return jax.value_and_grad(loss)(u)

        def host(u: np.ndarray) -> tuple[float, np.ndarray]:
            found = value_and_slope(jnp.asarray(u), arrays, grid.codes, grid.nodes)
            value, slope = (np.asarray(a, float) for a in found)
            fine = np.isfinite(value) and np.isfinite(slope).all()
            return (float(value), slope) if fine else (1e12, np.zeros_like(u))

        options = {"maxiter": MAX_STEPS, "maxfun": 3 * MAX_STEPS, "ftol": 1e-13, "gtol": 1e-6 * len(arrays.y)}
        options["maxcor"] = 30
        found = minimize(host, np.append(first, math.log(START)), jac=True, method="L-BFGS-B", options=options)
        natural = jax.jit(lambda u: (free_of(u), jax.jacfwd(free_of)(u)))
        free, slopes = (np.asarray(a) for a in natural(jnp.asarray(found.x[:-1])))
        tau = math.exp(found.x[-1])
        vcov = None
        if errors:
            chain = np.zeros((n_free + 1, n_free + 1))
            chain[:-1, :-1], chain[-1, -1] = slopes, tau
            vcov = _covariance(lambda u: host(u)[1], found.x, chain)
        return ClusteredItems(
            table, model, arrays, grid, free, tau, vcov, -float(found.fun), bool(found.success), int(found.nit)
        )


def _covariance(slope: Any, at: np.ndarray, chain: np.ndarray) -> np.ndarray | None:
    """chain H^-1 chain' with H by central differences of the slope; None where H is not positive definite."""
    steps = DIFFERENCE * np.eye(len(at))
    hessian = np.stack([(slope(at + d) - slope(at - d)) / (2 * DIFFERENCE) for d in steps])
    hessian = (hessian + hessian.T) / 2
    if smallest_eigenvalue(hessian) <= SINGULAR:
        return None
    return np.asarray(chain @ np.linalg.inv(hessian) @ chain.T)


def _check(table: ItemTable, model: LatentVariableModel, codes: np.ndarray) -> None:
    what = ""
    if len(table.factors) != 1:
        what = f"one factor in this version; got {len(table.factors)}"
    elif table.n_groups > 1 or table.covariates:
        what = "one group and no covariates in this version"
    elif table.linear.rank:
        what = "no linear restrictions in this version"
    elif not isinstance(model.latent, StructuralNormal):
        what = "a normal latent variable; leave latent out"
    if what:
        raise ValueError(f"Item response models with clusters take {what}.")
    size = np.bincount(codes)
    if size.max() < 2:
        raise ValueError("Every cluster has one person: the two levels cannot be told apart; leave cluster out.")
    if len(size) < 5:
        raise ValueError(f"Expected at least 5 clusters to estimate a variance between them; got {len(size)}.")
