"""A quick approximation of a posterior: the normal distribution at its mode, in unconstrained coordinates.

Draws are taken by their importance weights p / q, whose Pareto tail says whether they can be trusted (k below 0.7;
Vehtari et al. 2024); the mean of the weights is the evidence. Source: Tierney and Kadane (1986), JASA 81, 82-86.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.inference.draws import Draws
from jaxlatent.inference.nuts import located_posterior
from jaxlatent.inference.posterior import Posterior
from jaxlatent.numerics.bridge import Evidence, bridge_sampling
from jaxlatent.numerics.pareto import pareto_shape

MORE = 4  # candidates for each draw
LEAST = 25


class LaplaceDraws(NamedTuple):
    """Draws of the free vector [1, draw, n_free], Pareto k of their weights, and log p(y) by importance sampling."""

    draws: Draws
    pareto_k: float
    log_evidence: float


def laplace_draws(posterior: Posterior, start: np.ndarray, n: int = 1000, key: int = 0) -> LaplaceDraws:
    """n draws around the mode near start [n_free], natural parameters.

    Raises ValueError for fewer than 25 draws, a density without a mode, or latent variables that are sampled along.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < LEAST:
        raise ValueError(f"Expected the number of draws as a whole number from {LEAST}; got {n!r}.")
    if posterior.n_extra:
        raise ValueError(
            "Latent variables would be sampled along: an approximation takes models that integrate them out."
        )
    there, found = located_posterior(posterior, start)
    if not bool(found.proper):
        raise ValueError("The posterior has no mode to expand about: is it improper under these priors?")
    with jax.enable_x64(True):
        z = jax.random.normal(jax.random.key(key), (MORE * int(n), posterior.n_free))
        free, minus = jax.jit(lambda p, at: jax.lax.map(lambda e: (p.free(e), p.potential(e)), at))(there, z)
        log_q = -(z**2).sum(1) / 2 - posterior.n_free / 2 * math.log(2 * math.pi)
        log_w = -minus - log_q
        shape = float(pareto_shape(log_w))
        chosen = jax.random.categorical(jax.random.fold_in(jax.random.key(key), 1), log_w, shape=(int(n),))
        evidence = float(jax.nn.logsumexp(log_w) - math.log(len(log_w)))
        lp = np.asarray(-minus)[np.asarray(chosen)]
    drawn = Draws(np.asarray(free)[np.asarray(chosen)][None], "approximate", {"lp": lp[None]})
    return LaplaceDraws(drawn, shape, evidence + float(np.linalg.slogdet(np.asarray(there.root))[1]))


def log_evidence(posterior: Posterior, draws: Draws, key: int = 0) -> Evidence:
    """log p(y) by bridge sampling from posterior draws, in the sampler's coordinates.

    Priors that are restricted to a set (positive loadings, decreasing intercepts) are densities up to the constant that
    the restriction takes, and so is the evidence.
    """
    if posterior.n_extra:
        raise ValueError(
            "Bridge sampling takes models that integrate latent variables out; here they are sampled along."
        )
    with jax.enable_x64(True):
        back = jax.jit(lambda p, free: jax.lax.map(p.unconstrained, free))
        v = np.asarray(back(posterior, jnp.asarray(draws.flat))).reshape(draws.free.shape)
    return bridge_sampling(posterior.log_prob, v, key)
