"""What training compiles, kept for models of one form: another data set of the same shapes compiles nothing.

The pattern of the free cells decides which bijections there are and is part of the form; starting values, the guide's
constants and data are arguments.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.guides.guide import BoundGuide
from jaxlatent.inference.amortized_loop import Trainer, TrainState, default_optimizer
from jaxlatent.inference.amortized_settings import AmortizedVI
from jaxlatent.inference.importance import log_weights
from jaxlatent.inference.item_model import in_precision
from jaxlatent.inference.priors import Priors
from jaxlatent.models.blocks import ParameterBlock, parameter_blocks
from jaxlatent.models.latent_variable_model import LatentVariableModel

HELD_DRAWS = 50  # of each person held out, at a look
KEPT = 16  # forms whose programs are kept

SiteParams = Mapping[str, Any]  # unconstrained: "free" block by block, "networks" of the model, "guide"


@dataclass(frozen=True, eq=False)
class Programs:
    """Loss, start and reading of one form of model under one engine."""

    model: LatentVariableModel
    settings: AmortizedVI
    priors: Priors

    @cached_property
    def blocks(self) -> tuple[ParameterBlock, ...]:
        return parameter_blocks(self.model)

    @cached_property
    def trainer(self) -> Trainer:
        return Trainer(self.loss, self.settings.optimizer or default_optimizer())

    def unconstrained(self, start: np.ndarray) -> dict[str, np.ndarray]:
        """Blocks of a free vector [n_free] in unconstrained coordinates (host)."""
        out = {}
        for block in self.blocks:
            own = np.asarray(start, float)[block.positions]
            own[list(block.anchors)] = np.maximum(own[list(block.anchors)], block.start[list(block.anchors)])
            out[block.name] = np.asarray(block.bijection.inverse(jnp.asarray(own)), np.float32)
        return out

    def free(self, params: SiteParams) -> jax.Array:
        """The free vector [n_free]."""
        free = jnp.zeros(self.model.layout.n_free, jnp.float32)
        for block in self.blocks:
            free = free.at[block.positions].set(block.bijection.forward(params["free"][block.name]))
        return free

    def named(self, params: SiteParams) -> dict[str, Any]:
        """Named matrices [group, ...] and networks, float32."""
        matrices = self.model.layout.unpack(self.free(params))
        return {**{name: jnp.asarray(a, jnp.float32) for name, a in matrices.items()}, **params["networks"]}

    @partial(jax.jit, static_argnums=0)
    def start(self, guide: BoundGuide, free: SiteParams, key: jax.Array) -> tuple[TrainState, jax.Array]:
        """The state before the first step, and a key for watching."""
        ours, networks, theirs, watching = jax.random.split(key, 4)
        d = self.model.layout.fixed["factor_cov"].shape[-1]
        params = {"free": free, "networks": self.model.latent.init(networks, d), "guide": guide.init(ours)}
        return self.trainer.start(params, theirs), watching

    def loss(
        self, guide: BoundGuide, params: SiteParams, arrays: Arrays, rows: jax.Array, key: jax.Array
    ) -> jax.Array:
        """Minus the bound a person."""
        raise NotImplementedError

    @partial(jax.jit, static_argnums=0)
    def watch(
        self, guide: BoundGuide, params: SiteParams, arrays: Arrays, rows: jax.Array, key: jax.Array
    ) -> jax.Array:
        """log 1/R sum_r w_ir [person] of persons held out."""
        arrays = in_precision(arrays, jnp.float32)
        q = guide.distribution(params["guide"], arrays, rows)
        x = q.sample(key, (HELD_DRAWS,))
        log_w = log_weights(self.model, self.named(params), arrays, q, x)
        return jax.nn.logsumexp(log_w, axis=0) - math.log(HELD_DRAWS)


_kept: OrderedDict[Hashable, Programs] = OrderedDict()


def programs_for(model: LatentVariableModel, settings: AmortizedVI, priors: Priors) -> Programs:
    """Programs of this form, those of an earlier fit where there was one."""
    layout = model.layout
    pattern = tuple(
        (name, layout.index[name].shape, np.asarray(layout.index[name]).tobytes(), np.asarray(layout.fixed[name]).tobytes())
        for name in sorted(layout.index)
    )  # fmt: skip
    signs = tuple(block.anchors for block in parameter_blocks(model))
    optimizer = None if settings.optimizer is None else id(settings.optimizer)
    key = (model.measurement, model.latent, pattern, signs, settings.particles, settings.estimator, optimizer, priors)
    if key not in _kept:
        _kept[key] = Programs(model, settings, priors)
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]
