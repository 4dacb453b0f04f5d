"""The no-U-turn sampler on a posterior density: where it starts, what is compiled, and what comes out.

NumPyro's kernel, as pure functions of (posterior, key): data sets of one shape share the compiled programs, and a stack
of data sets can be mapped over. The density is first whitened at its mode, u = mode + root z with root root' the
inverse of its curvature there, so that adaptation has little left to find.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpyro.infer.hmc import hmc

from jaxlatent.inference.nuts_settings import NUTS
from jaxlatent.inference.posterior import Posterior
from jaxlatent.inference.progress import track
from jaxlatent.numerics.linalg import spd_inverse
from jaxlatent.numerics.program import jit
from jaxlatent.numerics.types import Array

STEP = 1e-4  # of the differences of gradients that make a Hessian
LANES = 8  # gradients of a Hessian at a time
MODE_STEPS, NEAR = 60, 1e-3  # Newton steps at most; squared distance from the mode, in posterior sd, that is near
LEAST, SLACK = 1e-6, 1e-9  # smallest damping; by how much a step may be worse
CHUNK = 50  # draws between two looks from the host
REWHITEN = 125  # draws of half a warm-up from which coordinates are whitened again
SHRINK = (1.0, 0.5, 0.2, 0.0)  # starting points nearer to the mode where the density does not exist farther out


class Located(NamedTuple):
    """Mode u [n_free], root [n_free, n_free], whether the curvature is that of a maximum, potential at the mode."""

    center: jax.Array
    root: jax.Array
    proper: jax.Array
    potential: jax.Array


class _Point(NamedTuple):
    """Where the search is: u, damping, and potential, gradient and Hessian there; distance left, steps done."""

    u: jax.Array
    damping: jax.Array
    value: jax.Array
    gradient: jax.Array
    hessian: jax.Array
    left: jax.Array
    steps: jax.Array


def locate(posterior: Posterior, start: jax.Array) -> Located:
    """The mode of the density of u near start, by damped Newton steps with Hessians from differences of gradients.

    Latent variables that are sampled along stay at 0: a start near enough is all that is wanted.
    """
    q = posterior.n_free
    extra = jnp.zeros(posterior.n_extra) if posterior.n_extra else None
    both = jax.value_and_grad(lambda u: -posterior.log_prob(u, extra))
    away = STEP * jnp.concatenate([jnp.zeros((1, q)), jnp.eye(q), -jnp.eye(q)])

    def at(u: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        value, gradient = lax.map(both, u + away, batch_size=min(LANES, 2 * q + 1))
        rows = (gradient[1 : q + 1] - gradient[q + 1 :]) / (2 * STEP)
        return value[0], gradient[0], (rows + rows.T) / 2

    def inverse(h: jax.Array, damping: jax.Array) -> jax.Array:
        return spd_inverse(h + jnp.diag(damping * jnp.maximum(jnp.abs(jnp.diagonal(h)), 1e-8)))[0]

    def step(now: _Point) -> _Point:
        move = inverse(now.hessian, now.damping) @ now.gradient
        u = now.u - jnp.nan_to_num(move)
        value, gradient, hessian = at(u)
        fine = jnp.isfinite(move).all() & (value <= now.value + SLACK) & jnp.isfinite(hessian).all()
        left = jnp.where(fine & (now.damping < 1e-3) & (now.steps > 0), now.gradient @ jnp.nan_to_num(move), jnp.inf)
        less = jnp.where(now.damping > LEAST, now.damping / 10, 0.0)
        more = jnp.maximum(10 * now.damping, LEAST)
        new = _Point(u, less, value, gradient, hessian, left, now.steps)
        kept = now._replace(damping=more)
        return jax.tree.map(partial(jnp.where, fine), new, kept)._replace(steps=now.steps + 1)

    zero = jnp.zeros(())
    begin = _Point(start, zero, zero + jnp.inf, jnp.zeros(q), jnp.eye(q), zero + jnp.inf, jnp.asarray(0))
    # the first step, of length 0, evaluates the density at the start
    end = lax.while_loop(lambda now: (now.steps < MODE_STEPS) & (now.left > NEAR), step, begin)
    found = inverse(end.hessian, zero)
    proper = jnp.isfinite(found).all() & (end.left <= NEAR)
    damped = inverse(end.hessian, jnp.maximum(end.damping, 1e-2))
    return Located(end.u, _root(jnp.where(jnp.isfinite(found).all(), found, damped)), proper, end.value)


def _root(a: jax.Array) -> jax.Array:
    """Lower root of a symmetric positive definite matrix, without LAPACK; the identity where there is none."""
    n = a.shape[-1]

    def column(j: jax.Array, carry: tuple) -> tuple:
        rest, out = carry
        pivot = rest[j, j]
        new = jnp.where(jnp.arange(n) >= j, rest[:, j], 0) / jnp.sqrt(pivot)
        return rest - new[:, None] * new, out.at[:, j].set(new)

    root = lax.fori_loop(0, n, column, (a, jnp.zeros_like(a)))[1]
    return jnp.where(jnp.isfinite(root).all(), root, jnp.eye(n, dtype=a.dtype))


class ChainDraws(NamedTuple):
    """free and the coordinates z of parameters [draw, n_free], and what the sampler says of each draw [draw].

    Of one chain, or with a leading axis.
    """

    free: Array
    z: Array
    diverging: Array
    acceptance_rate: Array
    n_steps: Array
    energy: Array
    lp: Array
    step_size: Array


class Chain(NamedTuple):
    """State of one chain: the kernel's, and sums of x and x^2 of latent variables that are sampled along."""

    kernel: Any
    first: jax.Array
    second: jax.Array


def _kernels(settings: NUTS, posterior: Posterior, key: jax.Array, z: jax.Array) -> tuple[Any, Any]:
    """The kernel's state at z, and its step."""
    start, step = hmc(potential_fn_gen=lambda p: p.potential, algo="NUTS")
    state = start(
        z, int(settings.num_warmup), target_accept_prob=float(settings.target_accept_prob),
        max_tree_depth=int(settings.max_tree_depth), model_args=(posterior,), rng_key=key,
    )  # fmt: skip
    return state, step


def scattered(posterior: Posterior, key: jax.Array) -> jax.Array:
    """Places to start [try, coordinate], the first about as far from the mode as draws are, the last the mode."""
    return jnp.asarray(SHRINK)[:, None] * jax.random.normal(key, (posterior.n_free + posterior.n_extra,))


def begin_chain(settings: NUTS, posterior: Posterior, key: jax.Array, places: jax.Array) -> Chain:
    """A chain at the first of places [try, coordinate] at which the density exists."""
    z = places[jnp.argmax(jnp.isfinite(lax.map(posterior.potential, places)))]
    nothing = jnp.zeros(posterior.n_extra)
    return Chain(_kernels(settings, posterior, key, z)[0], nothing, nothing)


def advance_chain(
    settings: NUTS, posterior: Posterior, chain: Chain, n: Any, room: int | None = None
) -> tuple[Chain, ChainDraws]:
    """n further draws, in arrays with room for so many (n where none is given)."""
    size = n if room is None else room
    _, kernel = _kernels(settings, posterior, jax.random.key(0), chain.kernel.z)
    sample = ChainDraws(posterior.center, posterior.center, *(jnp.zeros(()) for _ in range(6)))
    out = jax.tree.map(lambda a: jnp.zeros((size, *jnp.shape(a)), jnp.result_type(float)), sample)

    def one(k: jax.Array, carry: tuple[Chain, ChainDraws]) -> tuple[Chain, ChainDraws]:
        chain, draws = carry
        state = kernel(chain.kernel, model_args=(posterior,))
        free = posterior.free(state.z)
        first, second = chain.first, chain.second
        if posterior.n_extra:
            like = posterior.likelihood
            params = like.model.layout.unpack(free)
            x = like.latent(params, state.z[posterior.n_free :]).ravel()
            kept = state.i > settings.num_warmup
            first, second = first + jnp.where(kept, x, 0), second + jnp.where(kept, x**2, 0)
        said = ChainDraws(
            free, state.z[: posterior.n_free], state.diverging, state.accept_prob, state.num_steps, state.energy,
            -state.potential_energy, state.adapt_state.step_size,
        )  # fmt: skip
        draws = jax.tree.map(lambda all_, new: all_.at[k].set(jnp.asarray(new, all_.dtype)), draws, said)
        return Chain(state, first, second), draws

    return lax.fori_loop(0, n, one, (chain, out))


def draw_chain(settings: NUTS, posterior: Posterior, key: jax.Array) -> tuple[Chain, ChainDraws]:
    """Warm-up and draws of one chain as one pure function: what can be mapped over keys and stacked data."""
    ours, theirs = jax.random.split(key)
    chain = begin_chain(settings, posterior, theirs, scattered(posterior, ours))
    if settings.num_warmup:
        chain = advance_chain(settings, posterior, chain, settings.num_warmup, 1)[0]
    return advance_chain(settings, posterior, chain, settings.num_samples)


@partial(jit, static_argnums=0)
def _locate(_: str, posterior: Posterior, start: jax.Array) -> Located:
    return locate(posterior, start)


@partial(jit, static_argnums=0)
def _begin(settings: NUTS, posterior: Posterior, keys: jax.Array, places: jax.Array) -> Chain:
    return lax.map(lambda each: begin_chain(settings, posterior, *each), (keys, places))


@partial(jit, static_argnums=0)
def _advance(settings: NUTS, posterior: Posterior, chains: Chain, n: jax.Array) -> tuple[Chain, ChainDraws]:
    def one(chain: Chain) -> tuple[Chain, ChainDraws]:
        return advance_chain(settings, posterior, chain, n, CHUNK)

    return jax.vmap(one)(chains) if settings.chain_method == "vectorized" else lax.map(one, chains)


class Sampled(NamedTuple):
    """Draws [chain, draw, n_free], what the sampler says of them, and mean and variance of sampled latent variables."""

    free: np.ndarray
    stats: dict[str, np.ndarray]
    mean: np.ndarray | None
    variance: np.ndarray | None


def located_posterior(posterior: Posterior, start: np.ndarray) -> tuple[Posterior, Located]:
    """The posterior in coordinates centred and scaled at its mode near start [n_free], natural parameters."""
    with jax.enable_x64(True):
        u = jax.jit(lambda p, f: p.unconstrained(f))(posterior, jnp.asarray(start))
        found = jax.tree.map(np.asarray, _locate("mode", posterior, u))
    return replace(posterior, center=found.center, root=found.root), found


def sample(settings: NUTS, posterior: Posterior, key: int, progress: bool | None = None) -> Sampled:
    """All chains, in steps that the host can watch and stop; NumPy out.

    Warm-up has two halves: between them the coordinates are whitened again, by the draws of all chains.
    """
    first_half = settings.num_warmup // 2 if settings.num_warmup >= 2 * REWHITEN else 0
    adapting = first_half or settings.num_warmup
    kernel = replace(settings, num_warmup=adapting)
    with jax.enable_x64(True):
        first, second, third = jax.random.split(jax.random.key(key), 3)
        keys = jax.random.split(first, settings.num_chains)
        places = np.stack([np.asarray(scattered(posterior, k)) for k in jax.random.split(third, settings.num_chains)])
        chains = _begin(kernel, posterior, keys, places)
        sizes = [first_half, settings.num_warmup - first_half, settings.num_samples]
        steps = [(phase, size) for phase, n in enumerate(sizes) for size in _sizes(n)]
        parts: tuple[list[ChainDraws], ...] = ([], [], [])
        what = f"NUTS ({sum(sizes)} draws a chain)"
        for phase, size in track(steps, len(steps), what, progress):
            if phase == 1 and parts[0] and not parts[1]:
                posterior, places = _whitened_again(posterior, chains, parts[0])
                chains = _begin(kernel, posterior, jax.random.split(second, settings.num_chains), places)
            chains, draws = _advance(kernel, posterior, chains, jnp.asarray(size))
            parts[phase].append(jax.tree.map(lambda a, size=size: np.asarray(a)[:, :size], draws))
        mean = variance = None
        if posterior.n_extra:
            kept = settings.num_chains * (np.asarray(chains.kernel.i) - adapting).mean()
            mean = np.asarray(chains.first).sum(0) / kept
            variance = np.maximum(np.asarray(chains.second).sum(0) / kept - mean**2, 0)
    every = _joined(parts[2])
    stats: dict[str, np.ndarray] = {
        "diverging": every.diverging > 0.5,
        "acceptance_rate": every.acceptance_rate,
        "n_steps": every.n_steps.astype(int),
        "tree_depth": np.floor(np.log2(np.maximum(every.n_steps, 1))).astype(int) + 1,
        "energy": every.energy,
        "lp": every.lp,
        "step_size": every.step_size,
    }
    return Sampled(np.asarray(every.free), stats, mean, variance)


def _joined(parts: list[ChainDraws]) -> ChainDraws:
    columns: Any = [np.concatenate(column, axis=1) for column in zip(*parts, strict=True)]
    return ChainDraws(*columns)


def _whitened_again(posterior: Posterior, chains: Chain, parts: list[ChainDraws]) -> tuple[Posterior, np.ndarray]:
    """Coordinates in which the draws so far (the later half) are about standard normal, and the chains' places there.

    Their covariance matrix is drawn towards the identity, which is what it is where the density is normal.
    """
    q = posterior.n_free
    z = np.asarray(_joined(parts).z)
    z = z[:, z.shape[1] // 2 :].reshape(-1, q)
    share = len(z) / (len(z) + 2 * q)
    center = z.mean(0)
    cov = share * np.atleast_2d(np.cov(z.T)) + (1 - share) * np.eye(q)
    root = np.linalg.cholesky(cov)
    now = np.array(chains.kernel.z)
    now[:, :q] = np.linalg.solve(root, (now[:, :q] - center).T).T
    moved = replace(
        posterior, center=posterior.center + posterior.root @ center, root=np.asarray(posterior.root) @ root
    )
    return moved, np.repeat(now[:, None], len(SHRINK), 1)


def _sizes(n: int) -> list[int]:
    return [CHUNK] * (n // CHUNK) + ([n % CHUNK] if n % CHUNK else [])
