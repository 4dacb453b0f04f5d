"""Log-densities of written priors at a free vector."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.inference.priors import CellPrior
from jaxlatent.models.covariance_prior import correlations, log_det_correlation
from jaxlatent.models.prior_distributions import bounds, inside_of
from jaxlatent.spec.layout import Layout


def log_density(prior: CellPrior, layout: Layout, free: jax.Array) -> jax.Array:
    """Sum over the cells of one prior, -inf outside its support. Each free parameter counts once."""
    d = prior.distribution
    if prior.scale == "between":
        cells = free[np.array(prior.sets)]
        return d.log_prob(cells - cells.mean(-1, keepdims=True)).sum()
    if prior.scale in ("cor", "lkj"):
        return _correlation_term(prior, free)
    if prior.positions is None:
        index = jnp.asarray(layout.index[prior.matrix])
        counted = jnp.zeros(free.shape[0], bool).at[jnp.where(index >= 0, index, 0).ravel()].max((index >= 0).ravel())
        value = free
    else:
        value = free[np.array(prior.positions, int)]
        counted = jnp.ones(value.shape, bool)
    if prior.scale == "logit":
        value = jnp.where(counted, value, 0.5)
        value = jnp.log(value) - jnp.log1p(-value)
    elif prior.scale == "sd":
        there = counted & (value > 0)
        value = jnp.where(there, jnp.sqrt(jnp.where(there, value, 1.0)), jnp.where(counted, -1.0, 1.0))
    low, high = bounds(d) or (-jnp.inf, jnp.inf)
    if prior.scale == "sd":
        low = max(low, 0.0)
    inside = (value >= low) & (value <= high)
    terms = d.log_prob(jnp.where(counted & inside, value, inside_of(d)))
    return jnp.where(counted, jnp.where(inside, terms, -jnp.inf), 0).sum()


def _correlation_term(prior: CellPrior, free: jax.Array) -> jax.Array:
    total = jnp.zeros((), free.dtype)
    for pattern in prior.patterns:
        if prior.scale == "lkj":
            total = total + (prior.distribution.concentration - 1) * log_det_correlation(pattern, free)
            continue
        found = correlations(pattern, free)
        for at in found:
            if prior.positions is None or at in prior.positions:
                total = total + prior.distribution.log_prob(found[at][0])
    return jnp.where(jnp.isnan(total), -jnp.inf, total)
