"""NumPyro model functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro import handlers

from jaxlatent.data.arrays import Arrays
from jaxlatent.measurement.normal import Normal, factorises
from jaxlatent.models.block_prior import BlockPrior, OnBlock
from jaxlatent.models.blocks import ParameterBlock
from jaxlatent.models.gaussian_distribution import SHAPES, StructuredNormal
from jaxlatent.models.item_responses import ItemResponses, LatentPrior
from jaxlatent.models.latent_variable_model import LatentVariableModel, Params
from jaxlatent.models.person_plate import person_plate
from jaxlatent.models.restricted import Restriction
from jaxlatent.numerics.bijections import Bijection
from jaxlatent.numerics.log_probability import NEVER
from jaxlatent.spec.layout import Layout


@dataclass(frozen=True)
class Sites:
    """What the parameter sites of a model need: its blocks, each with the set it lives in.

    priors: of the blocks, where parameters are sampled, else none; log_prior: where they are not, the log density of
    the free vector under priors that a user has written, or None. restriction: what linear restrictions make of the
    free vector, or None.
    """

    model: LatentVariableModel
    blocks: tuple[ParameterBlock, ...]
    bijections: tuple[Bijection, ...]
    priors: tuple[BlockPrior, ...] = ()
    log_prior: Callable[[jax.Array], jax.Array] | None = None
    restriction: Restriction | None = None

    def __post_init__(self) -> None:
        layout = self.model.layout
        normal = any(isinstance(family, Normal) for family, _ in self.model.measurement.groups)
        if normal and not factorises(layout):
            raise ValueError(
                "Expected residuals that are independent given the latent variables, each with a variance; this model"
                " has residual covariances or observed variables in regressions. StructuredNormal has its marginal"
                " density, in which x is integrated out."
            )

    def free(self, values: Mapping[str, Any], dtype: Any) -> jax.Array:
        """The free vector [n_free] of the values of the sites ``<name>_free``."""
        free = jnp.asarray(self.model.layout.start, dtype)
        for block in self.blocks:
            free = free.at[block.positions].set(values[f"{block.name}_free"])
        return free if self.restriction is None else self.restriction(free)


def parameter_sites(sites: Sites, dtype: Any) -> dict[str, Any]:
    """Matrices [group, ...] and networks, from one site for each block.

    ``<name>_free`` is a numpyro.param, and priors that a user has written are the factor ``priors``; or, if there are
    priors of blocks, it is a sample site. Both have the same constraint. ``<name>`` is deterministic: the whole matrix,
    without a group axis where there is one group, nan in cells of categories that an item lacks. Where there are linear
    restrictions the matrices keep them, and ``<name>_free`` are what is moved to the nearest cells that do.

    Raises ValueError for networks that would have to be sampled.
    """
    layout = sites.model.layout
    values = {}
    for n, block in enumerate(sites.blocks):
        name = f"{block.name}_free"
        if sites.priors:
            values[name] = numpyro.sample(name, sites.priors[n].astype(dtype))
        else:
            start, constraint = jnp.asarray(block.start, dtype), OnBlock(sites.bijections[n])
            values[name] = numpyro.param(name, start, constraint=constraint)
    free = sites.free(values, dtype)
    if sites.log_prior is not None:
        numpyro.factor("priors", sites.log_prior(free))
    params: dict[str, Any] = {}
    for name, index in layout.index.items():
        fixed = jnp.asarray(layout.fixed[name], dtype)
        params[name] = jnp.where(index >= 0, free[np.maximum(index, 0)], fixed)
        if (np.asarray(index) >= 0).any():
            shown = jnp.where(params[name] > NEVER / 2, params[name], jnp.nan)
            numpyro.deterministic(name, shown[0] if layout.n_groups == 1 else shown)
    return params | networks(sites.model, sampled=bool(sites.priors))


def networks(model: LatentVariableModel, *, sampled: bool) -> dict[str, Any]:
    """Networks of the model, each a numpyro.param of its name that starts as the site's key says."""
    names = list(jax.eval_shape(lambda: model.networks(jax.random.key(0))))
    if names and sampled:
        raise ValueError(
            f"Expected parameters='param': the weights of the network {names[0]!r} have no prior and can't be sampled."
        )
    return {name: numpyro.param(name, lambda key, name=name: model.networks(key)[name]) for name in names}


def person_sites(
    model: LatentVariableModel,
    params: Params,
    arrays: Arrays,
    persons: jax.Array | None = None,
    size: int | None = None,
    batch_size: int | None = None,
    origin: np.ndarray | None = None,
) -> None:
    """``latent`` and ``responses`` in the plate ``person``, whose scale is the weight of persons.

    origin [person, D]: where samplers start, for these rows.
    """
    with person_plate(arrays, persons, size, batch_size) as (rows, _):
        here = None if origin is None or origin.shape[0] != rows.n_persons else jnp.asarray(origin, rows.y.dtype)
        prior = LatentPrior(model.latent_distribution(params, rows), rows.n_persons, here)
        x = numpyro.sample("latent", prior)
        blank = replace(rows, y=jnp.zeros_like(rows.y))
        numpyro.sample("responses", ItemResponses(model, params, x, blank), obs=rows.y)


def gaussian_model(layout: Layout) -> Callable[[Arrays], None]:
    """A model function of the marginal normal model of one group, for SVI and for ``handlers``.

    Sites: ``<name>_free``, a param with the free cells of each matrix that has any, from layout.start (no nan there);
    ``<name>``, deterministic, the matrices; ``y`` in the plate ``person``, weights of persons as its scale. Cells are
    natural and unconstrained: a step that leaves the positive definite matrices gives nan (``SVI.stable_update``).

    Raises
    ------
    ValueError
        More than one group.
    """
    if layout.n_groups != 1:
        raise ValueError(f"Expected one group; got {layout.n_groups}.")
    independent = factorises(layout)

    def model(arrays: Arrays) -> None:
        params = _matrices(layout)
        if independent:
            params["residual_cov"] = jnp.diagonal(params["residual_cov"])  # the form whose cost is factors
        y = jnp.where(arrays.observed, arrays.y, jnp.nan)
        with numpyro.plate("person", arrays.n_persons), handlers.scale(scale=arrays.weight):
            numpyro.sample("y", StructuredNormal(*(params[name] for name in SHAPES)), obs=y)

    return model


def _matrices(layout: Layout) -> dict[str, jax.Array]:
    """Matrices of the only group from the param sites of the blocks."""
    free = jnp.asarray(layout.start)
    for block in layout.blocks:
        at = jnp.array(block.positions)
        free = free.at[at].set(numpyro.param(f"{block.name}_free", free[at]))
    matrices = {name: matrix[0] for name, matrix in layout.unpack(free).items()}
    return {name: numpyro.deterministic(name, matrix) for name, matrix in matrices.items()}
