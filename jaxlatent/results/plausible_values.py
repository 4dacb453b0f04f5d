"""Plausible values: draws from each person's posterior distribution of the latent variables."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.inference.item_data import ItemData, ItemRows
from jaxlatent.inference.marginal_fit import ItemFitted, form_of, problem_of
from jaxlatent.integration.gauss_hermite import GaussHermite
from jaxlatent.integration.histogram import EmpiricalHistogram
from jaxlatent.models.latent_prior import log_prior
from jaxlatent.models.persons import inputs_of, located, setting
from jaxlatent.models.points import Form, Problem
from jaxlatent.models.slots import family_positions, log_prob_of
from jaxlatent.numerics.program import jit
from jaxlatent.results.item_scores import posterior_moments

CANDIDATES = 256  # a person, at least; sixteen a draw
DEGREES = 5.0  # of the t distribution that proposes
CELLS = 2_000_000  # persons x candidates x items of a chunk


@partial(jit, static_argnums=0)
def _log_joint(form: Form, problem: Problem, free: jax.Array, x: jax.Array) -> jax.Array:
    """log p(y_i | x) + log p(x) [chunk, person, candidate] at x [chunk, person, candidate, D]."""
    here = setting(form, problem, free, x.dtype)
    positions = family_positions(form.measurement)

    def one(given: Any) -> jax.Array:
        each, points = given
        group, chunk, _, _, _ = located(form, problem, here, each, 0)
        total = log_prior(group.prior, points, chunk.design)
        for (family, _), at, slots in zip(form.measurement.groups, positions, group.slots, strict=True):
            wide = jax.tree.map(lambda a: a[None, None], slots)
            given_x = log_prob_of(family, points @ group.loadings[at].T, wide, chunk.y[:, None, at])
            total = total + jnp.where(chunk.seen[:, None, at], given_x, 0).sum(-1)
        return total

    modes = jnp.zeros((*problem.chunks.shape, x.shape[-1]), x.dtype)
    return jax.lax.map(one, (inputs_of(form, problem, modes), x))


def plausible_values(fitted: ItemFitted, data: ItemRows, n: int, key: int) -> np.ndarray:
    """n draws of every person's latent variables [person, draw, D].

    Candidates from a t distribution with the posterior's mean and covariance, resampled with their weights
    p(y | x) p(x) / q(x) (sampling and importance resampling; Rubin 1987); where p(x) or p(y | x) was learned,
    candidates from the guide.
    """
    if fitted.is_learned:
        return fitted.amortized.draws(fitted.free, data, n, key, known=data is fitted.data)
    rng = np.random.default_rng(key)
    size = max(CANDIDATES, 16 * n)
    _, mean, cov = posterior_moments(fitted, data)
    persons, d = mean.shape
    rule = GaussHermite(1)
    form = form_of(fitted.measurement, fitted.coding, rule)
    out = np.empty((persons, n, d))
    histogram = fitted.rule.arrays() if isinstance(fitted.rule, EmpiricalHistogram) else None
    if histogram is not None:
        size = len(histogram[0])
    width = max(1, CELLS // (size * max(data.shape[1], 1)))
    chunk = min(width, 64)
    step = max(chunk, (width // chunk) * chunk)
    for start in range(0, persons, step):
        rows = np.arange(start, min(start + step, persons))
        filled = np.concatenate([rows, np.repeat(rows[-1:], step - len(rows))])  # one shape for all
        if histogram is None:
            x, log_q = _proposed(mean[rows], cov[rows], size, rng)
        else:
            x, log_q = _nodes(*histogram, len(rows))
        part = ItemData(
            data.codes[filled], data.group[filled], None, None if data.covariates is None else data.covariates[filled]
        )
        with jax.enable_x64(True):
            problem, _, places = problem_of(
                form, fitted.layout, replace(part, weight=None), fitted.table.n_groups, rule, 0, chunk
            )
            shape = problem.chunks.shape
            moved = np.zeros((shape[0] * shape[1], size, d))
            moved[places[: len(rows)]] = x
            found = _log_joint(form, problem, jnp.asarray(fitted.free), jnp.asarray(moved.reshape(*shape, size, d)))
            log_p = np.asarray(found).reshape(-1, size)[places[: len(rows)]]
        out[rows] = _resampled(x, log_p - log_q, n, rng)
    return out


def _proposed(mean: np.ndarray, cov: np.ndarray, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Candidates x [person, candidate, D] from a t distribution, and their log-densities but for a constant."""
    persons, d = mean.shape
    z = rng.standard_normal((persons, size, d)) / np.sqrt(rng.chisquare(DEGREES, (persons, size, 1)) / DEGREES)
    root, log_det = _roots(cov)
    log_q = -(DEGREES + d) / 2 * np.log1p((z**2).sum(-1) / DEGREES) - log_det[:, None]
    return mean[:, None] + np.einsum("pcd,ped->pce", z, root), log_q


def _nodes(nodes: np.ndarray, weights: np.ndarray, persons: int) -> tuple[np.ndarray, np.ndarray]:
    """The nodes of a histogram for every person, and log phi(x) - log w: what turns a normal posterior into its own."""
    with np.errstate(divide="ignore"):
        log_q = -(nodes**2) / 2 - np.log(weights)
    x = np.broadcast_to(nodes[None, :, None], (persons, len(nodes), 1))
    return x, np.broadcast_to(log_q, (persons, len(nodes)))


def _roots(cov: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Square roots [person, D, D] and the logs of their determinants [person]."""
    size, vectors = np.linalg.eigh(cov)
    size = np.maximum(size, 1e-10)
    return vectors * np.sqrt(size)[:, None, :], np.log(size).sum(-1) / 2


def _resampled(x: np.ndarray, log_weight: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """n candidates of each person [person, n, D], drawn with probabilities proportional to their weights."""
    weight = np.exp(log_weight - log_weight.max(1, keepdims=True))
    upto = weight.cumsum(1)
    height = rng.random((len(x), n, 1)) * upto[:, None, -1:]
    chosen = np.minimum((height > upto[:, None]).sum(-1), x.shape[1] - 1)
    return np.take_along_axis(x, chosen[..., None], axis=1)
