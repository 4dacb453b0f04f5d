"""Free, semi-amortized and amortized guides of every family against each other: only the guide differs.

Parameters are held at the maximum (``MarginalML``). Each guide is trained on the ELBO of everybody at each step,

    1/K sum_k [log p(y, x_k) - log q(x_k | y)],   x_k ~ q,

without the score of q in its gradient (Roeder et al. 2017), at a rate that falls to zero. The bound of a trained guide
is a mean over many draws, with its Monte Carlo error; log p(y) is quadrature's. Their gap is that of the family where
the guide is free, and amortization adds the rest (Cremer, Li and Duvenaud 2018).
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxlatent as jl
from benchmarks.amortized_sets import load
from benchmarks.evaluator import log_likelihood
from jaxlatent.data.arrays import Arrays
from jaxlatent.guides.guide import BoundGuide
from jaxlatent.inference.item_model import in_precision, item_arrays, item_model
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.program import OPTIONS
from jaxlatent.results.item_scores import posterior_moments

KINDS = {"free": jl.guides.Free, "semi-amortized": jl.guides.SemiAmortized, "amortized": jl.guides.Amortized}
FAMILIES = ("isotropic", "diagonal", "full", "flow")
STEPS, TRAINING_DRAWS, RATE = 2000, 5, 2e-2
DRAWS, AT_ONCE = 1000, 50


class Held(NamedTuple):
    """A model at its maximum: matrices and data in float32."""

    model: LatentVariableModel
    params: dict[str, jax.Array]
    arrays: Arrays


class Exact(NamedTuple):
    """log p(y) per person at that maximum, and how it was found."""

    log_p: float
    how: str


class GuideRow(NamedTuple):
    """One guide: bound per person, its Monte Carlo error, gap to log p per person, and processor seconds (of all
    threads) of training, compilation left out.
    """

    kind: str
    family: str
    bound: float
    error: float
    gap: float
    seconds: float


def held(name: str) -> tuple[Held, Exact]:
    """The maximum of a set by MarginalML, and log p(y) there: by its grid, or by sampling above three factors."""
    case = load(name)
    fitted = case.model.fit(case.data, jl.MarginalML(se="none"))._fitted
    arrays = item_arrays(fitted.data)
    n = arrays.n_persons
    if len(fitted.table.factors) <= 3:
        log_p, how = float(posterior_moments(fitted, fitted.data)[0].mean()), f"{fitted.rule}"
    else:
        found = log_likelihood(case.model, case.data, fitted.free)
        log_p, how = found.value / n, f"importance sampling, {found}"
    params = {name: jnp.asarray(a, jnp.float32) for name, a in fitted.params.items()}
    model = item_model(fitted.table, fitted.measurement, fitted.layout)
    return Held(model, params, in_precision(arrays, jnp.float32)), Exact(log_p, how)


def log_ratio(at: Held, q: Any, x: jax.Array) -> jax.Array:
    """log p(y, x) - log q(x | y) [draw, person]."""
    prior = at.model.latent_distribution(at.params, at.arrays)
    return at.model.log_prob_given_latent(at.params, x, at.arrays) + prior.log_prob(x) - q.log_prob(x)


def elbo_loss(at: Held, guide: BoundGuide, params: Any, key: jax.Array, n_draws: int) -> jax.Array:
    """Minus the ELBO per person; its gradient leaves out the score of q, whose expectation is zero."""
    q = guide.distribution(params, at.arrays)
    x = q.rsample(key, (n_draws,))
    return -log_ratio(at, jax.tree.map(jax.lax.stop_gradient, q), x).mean()


@partial(jax.jit, static_argnums=(0, 1), compiler_options=OPTIONS)
def _train(steps: int, optimizer: Any, at: Held, guide: BoundGuide, params: Any, key: jax.Array) -> Any:
    def one(carry: tuple, own: jax.Array) -> tuple[tuple, None]:
        params, state = carry
        gradient = jax.grad(lambda p: elbo_loss(at, guide, p, own, TRAINING_DRAWS))(params)
        move, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, move), state), None

    return jax.lax.scan(one, (params, optimizer.init(params)), jax.random.split(key, steps))[0][0]


@partial(jax.jit, compiler_options=OPTIONS)
def _looks(at: Held, guide: BoundGuide, params: Any, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sums over draws of log-ratios and of their squares around the first draws' mean, by person."""

    def one(key: jax.Array) -> jax.Array:
        q = guide.distribution(params, at.arrays)
        return log_ratio(at, q, q.sample(key, (AT_ONCE,))).mean(0)

    means = jax.lax.map(one, keys)  # [portion, person]
    return means.mean(0), means.var(0, ddof=1) / len(keys)


def bound_of(at: Held, guide: BoundGuide, params: Any, draws: int, key: int = 1) -> tuple[float, float]:
    """The ELBO per person and its Monte Carlo error. Needs at least two portions of AT_ONCE draws."""
    keys = jax.random.split(jax.random.key(key), max(draws // AT_ONCE, 2))
    mean, variance = (np.asarray(a, float) for a in _looks(at, guide, params, keys))
    return float(mean.mean()), math.sqrt(float(variance.sum())) / len(mean)


def guide_rows(
    at: Held, exact: Exact, kinds: Sequence[str] = tuple(KINDS), families: Sequence[str] = FAMILIES, steps: int = STEPS,
    draws: int = DRAWS,
) -> list[GuideRow]:  # fmt: skip
    """Train each guide and measure its bound."""
    optimizer = optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(optax.cosine_decay_schedule(-RATE, steps)))
    rows = []
    for kind in kinds:
        for family in families:
            guide = KINDS[kind](family=family).bind(at.model, at.arrays)
            given = (at, guide, guide.init(jax.random.key(0)), jax.random.key(1))
            train = _train.lower(steps, optimizer, *given).compile()
            started = time.process_time()
            params = jax.block_until_ready(train(*given))
            took = time.process_time() - started
            value, error = bound_of(at, guide, params, draws)
            rows.append(GuideRow(kind, family, value, error, exact.log_p - value, took))
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def misses(rows: Sequence[GuideRow]) -> list[str]:
    """Where the free bound is more than two Monte Carlo errors below another's, or a bound above log p."""
    free = {row.family: row for row in rows if row.kind == "free"}
    out = []
    for row in rows:
        best = free.get(row.family)
        if best and best.bound < row.bound - 2 * math.hypot(best.error, row.error):
            out.append(f"{row.kind} {row.family}: bound {row.bound:.5f} above the free one {best.bound:.5f}")
        if row.gap < -4 * row.error:
            out.append(f"{row.kind} {row.family}: bound {row.bound:.5f} above log p")
    return out


def as_markdown(name: str, at: Held, exact: Exact, rows: Sequence[GuideRow], steps: int = STEPS) -> str:
    """The table of one set."""
    free = {row.family: row for row in rows if row.kind == "free"}
    n, d = at.arrays.n_persons, at.params["factor_cov"].shape[-1]
    head = ("guide", "family", "bound per person", "Monte Carlo error", "gap to log p", "of it amortization",
            "CPU seconds")  # fmt: skip
    lines = [
        f"{name}: {n} persons, {d} factor(s); log p(y) per person {exact.log_p:.5f} by {exact.how}; {steps} steps on"
        " all persons; processor seconds of training, all threads, compilation left out.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for row in rows:
        more = f"{free[row.family].bound - row.bound:+.5f}" if row.family in free and row.kind != "free" else ""
        cells = (row.kind, row.family, f"{row.bound:.5f}", f"{row.error:.5f}", f"{row.gap:+.5f}", more,
                 f"{row.seconds:.1f}")  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
