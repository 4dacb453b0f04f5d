"""A guide as a NumPyro function with the signature of the model."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpyro
from numpyro.distributions import Delta

from jaxlatent.data.arrays import Arrays
from jaxlatent.guides.guide import BoundGuide, check_shape
from jaxlatent.models.block_prior import OnBlock
from jaxlatent.models.numpyro_model import Sites
from jaxlatent.models.person_plate import person_plate

GuideFunction = Callable[..., None]


def guide_function(guide: BoundGuide, sites: Sites, batch_size: int | None = None) -> GuideFunction:
    """guide(arrays, persons=None, size=None): the site ``latent`` in the plate ``person``.

    The guide's parameters are the numpyro.param ``guide``. Where the model samples its parameters each ``<name>_free``
    has a point mass at the param ``<name>_free_auto_loc``, so that the pair finds the posterior mode.
    """
    d = sites.model.layout.fixed["factor_cov"].shape[-1]
    has_params = bool(jax.tree.leaves(jax.eval_shape(guide.init, jax.random.key(0))))

    def numpyro_guide(arrays: Arrays, persons: jax.Array | None = None, size: int | None = None) -> None:
        if sites.priors:
            for block, bijection in zip(sites.blocks, sites.bijections, strict=True):
                name = f"{block.name}_free"
                start = jnp.asarray(block.start, arrays.y.dtype)
                at = numpyro.param(f"{name}_auto_loc", start, constraint=OnBlock(bijection))
                numpyro.sample(name, Delta(at, event_dim=1))
        params = numpyro.param("guide", guide.init) if has_params else {}
        with person_plate(arrays, persons, size, batch_size) as (rows, at):
            q = check_shape(guide.distribution(params, rows, at), rows.n_persons, d)
            numpyro.sample("latent", q)

    return numpyro_guide
