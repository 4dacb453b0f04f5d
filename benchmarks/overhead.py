"""What the NumPyro layer costs: the pair under our loop against the same bound written by hand.

With x_ir = the guide's draws, log w_ir = log p(y_i | x_ir) + log p(x_ir) - log q(x_ir | y_i), q without derivatives by
its parameters, and v_ir the normalised weights of a person, both take the gradients (Tucker et al. 2018)

    model: sum_r v_ir dlog w_ir,   guide: sum_r v_ir^2 dlog w_ir/dx dx_ir
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient

import jaxlatent as jl
from benchmarks.harness import timed
from jaxlatent.data.arrays import Arrays
from jaxlatent.guides.guide import BoundGuide
from jaxlatent.inference.amortized_loop import Pace, Trainer, default_optimizer
from jaxlatent.inference.amortized_programs import Programs, programs_for
from jaxlatent.inference.item_model import in_precision, item_arrays, item_model
from jaxlatent.inference.marginal_fit import starting_values
from jaxlatent.inference.priors import Priors
from jaxlatent.spec.item_table import item_layout


class Written(NamedTuple):
    """The loss by hand of one form of model."""

    programs: Programs
    particles: int

    def loss(self, guide: BoundGuide, params: Mapping[str, Any], arrays: Arrays, rows: Any, key: Any) -> jax.Array:
        """Minus the bound of all persons from these rows, for each person."""
        model, given = self.programs.model, in_precision(arrays, jnp.float32)
        scale = given.weight / given.n_persons

        def matrices(params: Mapping[str, Any]) -> dict[str, jax.Array]:
            values = self.programs.constrained(params)
            free = jnp.zeros(model.layout.n_free, jnp.float32)
            for block in self.programs.sites.blocks:
                free = free.at[block.positions].set(values[f"{block.name}_free"])
            fixed = {name: jnp.asarray(a, jnp.float32) for name, a in model.layout.fixed.items()}
            index = model.layout.index
            return {n: jnp.where(i >= 0, free[np.maximum(i, 0)], fixed[n]) for n, i in index.items()}

        q = guide.distribution(params["guide"], given, rows)
        x = q.rsample(key, (self.particles,))
        still = jax.tree.map(stop_gradient, q)

        def log_w(params: Mapping[str, Any], x: jax.Array) -> jax.Array:
            named = matrices(params)
            prior = model.latent_distribution(named, given)
            return model.log_prob_given_latent(named, x, given) + prior.log_prob(x) - still.log_prob(x)

        own = {name: value for name, value in params.items() if name != "guide"}
        value, pull = jax.vjp(log_w, stop_gradient(own), stop_gradient(x))
        v = jax.nn.softmax(value, 0)
        by_own, by_x = pull(v * scale)
        by_x = by_x * v[..., None]
        surrogate = (stop_gradient(by_x) * x).sum()
        for name, gradient in by_own.items():
            surrogate = surrogate + (stop_gradient(gradient) * own[name]).sum()
        bound = ((jax.nn.logsumexp(value, 0) - math.log(self.particles)) * scale).sum()
        return -(stop_gradient(bound) + surrogate - stop_gradient(surrogate))


class Task(NamedTuple):
    """Both losses on one model and data set, and where they start."""

    pair: Trainer
    written: Trainer
    guide: BoundGuide
    params: Any
    arrays: Arrays
    batch_size: int


def task(model: Any, data: Any, engine: jl.AmortizedVI | None = None) -> Task:
    """The two losses as trainers with the default optimizer and guide."""
    p = model._prepare(data, None, None)
    layout = item_layout(p.table)
    layout = replace(layout, start=starting_values(p.table, layout, p.data, p.measurement))
    settings = (engine or jl.AmortizedVI()).resolve(p.data.n_persons)
    arrays = item_arrays(p.data)
    programs = programs_for(item_model(p.table, p.measurement, layout), settings, Priors(), p.data.n_persons)
    guide = (settings.guide or jl.guides.Amortized()).bind(item_model(p.table, p.measurement, layout), arrays)
    state, _ = programs.start(guide, programs.unconstrained(layout.start), jax.random.key(0))
    by_hand = Written(programs, settings.particles or 1)
    return Task(
        Trainer(programs.loss, default_optimizer()), Trainer(by_hand.loss, default_optimizer()), guide, state.params,
        jax.tree.map(jnp.asarray, arrays), settings.batch_size or 1,
    )  # fmt: skip


class Overhead(NamedTuple):
    """Seconds a step of the pair and of the loss by hand (medians), their ratio, and both last losses."""

    pair: float
    written: float
    ratio: float
    losses: tuple[float, float]


def overhead(given: Task, steps: int, repeat: int, seed: int = 0) -> Overhead:
    """The same steps by both, in turn; the ratio is the median of those of neighbours in time."""
    n = given.arrays.n_persons
    rows = np.random.default_rng(seed).integers(0, n, (steps, given.batch_size)).astype(np.int32)
    pace = Pace(np.full(steps, 1e-2, np.float32))

    def run(trainer: Trainer) -> tuple[float, float]:
        state = trainer.start(given.params, jax.random.key(seed))
        took, (_, losses) = timed(
            lambda: jax.block_until_ready(trainer.stretch(given.guide, state, given.arrays, rows, pace))
        )
        return took, float(np.mean(losses[-max(steps // 4, 1) :]))

    ends = [run(trainer) for trainer in (given.pair, given.written)]  # compilation
    times = [(run(given.pair)[0], run(given.written)[0]) for _ in range(repeat)]
    pair, written = (statistics.median(t) / steps for t in zip(*times, strict=True))
    ratio = statistics.median(a / b for a, b in times)
    return Overhead(pair, written, ratio, (ends[0][1], ends[1][1]))
