"""Item response models of persons in clusters: the maximum of the clusters' likelihood, its errors, and posteriors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.data.coding import Coding
from jaxlatent.data.frames import without_column
from jaxlatent.data.responses import Responses, cluster_text
from jaxlatent.inference.deep_polish import unconstrained
from jaxlatent.inference.item_data import ItemData
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


class ClusteredPersons(NamedTuple):
    """Coded answers of persons in clusters, and the labels of both."""

    arrays: Arrays
    grid: ClusterGrid
    index: Any
    labels: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray, clusters: np.ndarray, index: Any) -> ClusteredPersons:
        """Of coded answers [person, item] and labels of clusters [person]."""
        labels, at = np.unique(clusters, return_inverse=True)
        data = ItemData(codes, np.zeros(len(codes), np.int32), None, None)
        return cls(double_arrays(data), ClusterGrid.of(at), index, labels)


@dataclass(frozen=True)
class ClusteredItems:
    """A fitted model: free [n_free], the standard deviation tau between clusters, and vcov of (free, tau).

    persons: the fitted ones; None where a fit was saved without them.
    """

    table: ItemTable
    model: LatentVariableModel
    coding: Coding
    persons: ClusteredPersons | None
    n_persons: int
    n_clusters: int
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

    def read(self, data: Any, cluster: str) -> ClusteredPersons:
        """New persons, whose clusters are those of these data alone; None: the fitted ones.

        Raises ValueError where the fit holds none, or what reading a frame raises.
        """
        if data is None:
            if self.persons is None:
                raise ValueError("This fit holds no rows (it was saved without its data): pass data.")
            return self.persons
        column = without_column(data, cluster, "cluster variable")[1]
        source = Responses.for_scoring(data, self.table.observed, group=None, labels=self.table.groups)
        return ClusteredPersons.of(self.coding.encode(source.y), cluster_text(column, cluster), source.index)

    @cached_property
    def posteriors(self) -> tuple[np.ndarray, ...]:
        """Those of the fitted persons: see posteriors_of."""
        return self.posteriors_of(self.read(None, ""))

    def posteriors_of(self, persons: ClusteredPersons) -> tuple[np.ndarray, ...]:
        """Means and standard deviations of persons' x and of clusters' u."""
        return self._at(persons, cluster_posteriors)

    def log_likelihoods_of(self, persons: ClusteredPersons) -> np.ndarray:
        """log p(y_j) [cluster]."""
        return self._at(persons, cluster_log_marginal)

    def _at(self, persons: ClusteredPersons, function: Any) -> Any:
        """A function of the model's likelihood at the estimates, compiled."""
        with jax.enable_x64(True):
            params = {name: jnp.asarray(value) for name, value in self.matrices.items()}
            n = persons.grid.n_clusters

            @jax.jit
            def found(params: Any, tau: jax.Array, data: Arrays, codes: jax.Array, nodes: jax.Array) -> Any:
                return function(self.model, params, tau, data, ClusterGrid(codes, n, nodes))

            given = (params, jnp.asarray(self.tau), persons.arrays, persons.grid.codes, persons.grid.nodes)
            return jax.tree.map(np.asarray, found(*given))


def fit_clustered(p: Prepared, latent: Latent | None, clusters: np.ndarray, *, errors: bool = True) -> ClusteredItems:
    """Maximise the likelihood of clusters over the free vector and tau, by L-BFGS on unconstrained numbers.

    clusters: labels [person]. Standard errors are from the observed information, by differences of exact gradients.
    Raises ValueError for several factors, groups, covariates, constraints, or latent variables that are not normal.
    """
    from scipy.optimize import minimize

    table, layout = p.table, item_layout(p.table)
    layout = replace(layout, start=starting_values(table, layout, p.data, p.measurement))
    model = item_model(table, p.measurement, layout, latent)
    persons = ClusteredPersons.of(p.data.codes, clusters, p.responses.index)
    grid = persons.grid
    _check(table, model, grid.codes)
    with jax.enable_x64(True):
        arrays = jax.tree.map(jnp.asarray, persons.arrays)
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
            table, model, p.coding, persons, len(p.data.codes), grid.n_clusters, free, tau, vcov, -float(found.fun),
            bool(found.success), int(found.nit),
        )  # fmt: skip


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
