"""NumPyro model functions."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpyro
from numpyro import handlers

from jaxlatent.data.arrays import Arrays
from jaxlatent.measurement.normal import factorises
from jaxlatent.models.gaussian_distribution import SHAPES, StructuredNormal
from jaxlatent.spec.layout import Layout


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
