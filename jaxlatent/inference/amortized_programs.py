"""What training compiles, kept for models of one form: another data set of the same shapes compiles nothing.

The pattern of the free cells decides which bijections there are and is part of the form; starting values, the guide's
constants and data are arguments. The loss is that of the model's NumPyro pair.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.guides.guide import BoundGuide
from jaxlatent.guides.numpyro_guide import guide_function
from jaxlatent.inference.amortized_loop import Trainer, TrainState, default_optimizer
from jaxlatent.inference.amortized_settings import AmortizedVI
from jaxlatent.inference.importance import log_weights
from jaxlatent.inference.importance_weighted_elbo import Estimator, ImportanceWeightedELBO
from jaxlatent.inference.item_model import in_precision
from jaxlatent.inference.priors import Priors
from jaxlatent.models.blocks import parameter_blocks
from jaxlatent.models.default_priors import bijection_under
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.models.numpyro_model import Sites, parameter_sites, person_sites
from jaxlatent.models.restricted import LinearRestrictions, restricted_cells, restriction_of
from jaxlatent.numerics.program import jit

HELD_DRAWS = 50  # of each person held out, at a look
KEPT = 16  # forms whose programs are kept

SiteParams = Mapping[str, Any]  # unconstrained: "<name>_free", networks of the model by name, "guide"


@dataclass(frozen=True, eq=False)
class Programs:
    """Start, loss and reading of one form of model under one engine."""

    sites: Sites
    settings: AmortizedVI
    n_persons: int

    @cached_property
    def trainer(self) -> Trainer:
        return Trainer(self.loss, self.settings.optimizer or default_optimizer())

    @property
    def model(self) -> LatentVariableModel:
        return self.sites.model

    def unconstrained(self, start: np.ndarray) -> dict[str, np.ndarray]:
        """Sites of a free vector [n_free] in unconstrained coordinates (host)."""
        out = {}
        for block, bijection in zip(self.sites.blocks, self.sites.bijections, strict=True):
            own = np.asarray(start, float)[block.positions]
            kept = list(block.anchors)
            own[kept] = np.maximum(own[kept], block.start[kept])
            out[f"{block.name}_free"] = np.asarray(bijection.inverse(jnp.asarray(own)), np.float32)
        return out

    def constrained(self, params: SiteParams) -> dict[str, Any]:
        """Values of the NumPyro sites."""
        out = dict(params)
        for block, bijection in zip(self.sites.blocks, self.sites.bijections, strict=True):
            name = f"{block.name}_free"
            out[name] = bijection.forward(params[name])
        return out

    @partial(jit, static_argnums=0)
    def free(self, params: SiteParams) -> jax.Array:
        """The free vector [n_free]."""
        return self.sites.free(self.constrained(params), jnp.float32)

    def networks(self, params: SiteParams) -> dict[str, Any]:
        """Networks of the model: all that is neither a block nor the guide."""
        own = {f"{block.name}_free" for block in self.sites.blocks} | {"guide"}
        return {name: value for name, value in params.items() if name not in own}

    @partial(jit, static_argnums=0)
    def start(self, guide: BoundGuide, free: SiteParams, key: jax.Array) -> tuple[TrainState, jax.Array]:
        """The state before the first step, and a key for watching."""
        ours, networks, theirs, watching = jax.random.split(key, 4)
        params = {**free, **self.model.networks(networks), "guide": guide.init(ours)}
        return self.trainer.start(params, theirs, averaging=self.settings.averaging > 0), watching

    def loss(
        self, guide: BoundGuide, params: SiteParams, arrays: Arrays, rows: jax.Array, key: jax.Array,
        weight: jax.Array | float = 1.0,
    ) -> jax.Array:  # fmt: skip
        """Minus the importance-weighted bound of all persons from these rows, and priors, for each person.

        weight: of log p(x) - log q(x | y), times the settings' beta.
        """

        def model(arrays: Arrays, persons: jax.Array, size: int) -> None:
            person_sites(self.model, parameter_sites(self.sites, jnp.float32), arrays, persons, size)

        settings = self.settings
        bound = ImportanceWeightedELBO(
            settings.particles or 1, cast(Estimator, settings.estimator), beta=settings.beta * weight,
            free_bits=settings.free_bits,
        )  # fmt: skip
        given = guide_function(guide, self.sites)
        own, n = in_precision(arrays, jnp.float32), self.n_persons
        return bound.loss(key, self.constrained(params), model, given, own, rows, n) / n

    @partial(jit, static_argnums=0)
    def watch(
        self, guide: BoundGuide, params: SiteParams, arrays: Arrays, rows: jax.Array, key: jax.Array
    ) -> jax.Array:
        """log 1/R sum_r w_ir [person] of persons held out."""
        arrays = in_precision(arrays, jnp.float32)
        q = guide.distribution(params["guide"], arrays, rows)
        x = q.sample(key, (HELD_DRAWS,))
        matrices = self.model.layout.unpack(self.free(params))
        named = {name: jnp.asarray(a, jnp.float32) for name, a in matrices.items()} | self.networks(params)
        log_w = log_weights(self.model, named, arrays, q, x)
        return jax.nn.logsumexp(log_w, axis=0) - math.log(HELD_DRAWS)


_kept: OrderedDict[Hashable, Programs] = OrderedDict()


def programs_for(
    model: LatentVariableModel, settings: AmortizedVI, priors: Priors, n_persons: int,
    linear: LinearRestrictions | None = None,
) -> Programs:  # fmt: skip
    """Programs of this form, those of an earlier fit where there was one. linear: restrictions of the free vector."""
    # arrays of its own: JAX would hand those that training has seen in single precision on as such
    model = replace(model, layout=jax.tree.map(np.array, model.layout))
    layout = model.layout
    blocks = parameter_blocks(model, () if linear is None else set(restricted_cells(linear).tolist()))
    pattern = tuple(
        (name, np.shape(index), np.asarray(index).tobytes(), np.asarray(layout.fixed[name]).tobytes())
        for name, index in sorted(layout.index.items())
    )
    signs = tuple(block.anchors for block in blocks)
    optimizer = None if settings.optimizer is None else id(settings.optimizer)
    key = (
        model.measurement, model.latent, pattern, signs, settings.particles, settings.estimator, optimizer, priors,
        settings.guide, n_persons, settings.beta, settings.free_bits, settings.averaging > 0,
        None if linear is None else (linear.matrix.tobytes(), linear.value.tobytes()),
    )  # fmt: skip
    if key not in _kept:
        bijections = tuple(bijection_under(block, layout, priors.cells)[1] for block in blocks)
        log_prior = partial(priors.log_prob, layout) if priors.cells else None
        kept = None if linear is None else restriction_of(linear, blocks, bijections)
        _kept[key] = Programs(Sites(model, blocks, bijections, (), log_prior, kept), settings, n_persons)
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]
