"""The default priors of free parameters in words, as a user would write them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpyro.distributions as dist

from jaxlatent.inference.posterior import Posterior
from jaxlatent.inference.priors import Priors
from jaxlatent.inference.proper import Bound
from jaxlatent.inference.written_priors import prior_texts
from jaxlatent.models.block_prior import BlockPrior
from jaxlatent.models.blocks import parameter_blocks
from jaxlatent.models.default_priors import block_prior
from jaxlatent.models.prior_distributions import LKJ, GammaOfTwo


def with_defaults(written: list[str], blocks: Iterable[tuple[np.ndarray, BlockPrior]]) -> list[str]:
    """Texts by free parameter: what is written, else the default; blocks: positions [cell] and their prior."""
    out = list(written)
    for positions, prior in blocks:
        for at, text in zip(positions, cell_texts(prior), strict=True):
            out[at] = out[at] or text
    return out


def bound_texts(bound: Bound) -> list[str]:
    """The prior of every free parameter of a bound model."""
    return with_defaults(prior_texts(bound.priors, bound.table.n_free), bound_blocks(bound))


def density_texts(posterior: Posterior, priors: Priors) -> list[str]:
    """The prior of every free parameter under a posterior density, written priors as they are written."""
    sizes = [block.bijection.size for block in posterior.blocks]
    order = np.argsort(np.asarray(posterior.places))
    positions = np.split(order, np.cumsum(sizes)[:-1])
    blocks = zip(positions, (block.prior() for block in posterior.blocks), strict=True)
    return with_defaults(prior_texts(priors, posterior.n_free), blocks)


def bound_blocks(bound: Bound) -> list[tuple[np.ndarray, BlockPrior]]:
    """The blocks of a bound model with their priors; signs are those of its starting values."""
    blocks = parameter_blocks(bound.model)
    return [(each.positions, block_prior(each, bound.model, bound.arrays, bound.priors.cells)) for each in blocks]


def cell_texts(prior: BlockPrior) -> list[str]:
    """The default prior of every cell; "" where it is not one of the defaults."""
    b = prior.bijection
    loc, scale = np.broadcast_to(prior.loc, b.size), np.broadcast_to(prior.scale, b.size)
    out = []
    for at in range(b.size):
        where, spread = f"{loc[at]:.3g}", f"{scale[at]:.3g}"
        if at in b.unit:
            out.append(f"normal({where}, {spread})[logit]")
        elif not prior.natural[at]:
            out.append(f"lognormal({where}, {spread})")
        elif at in b.positive and loc[at] == 0:
            out.append(f"half_normal({spread})")
        else:
            out.append(f"normal({where}, {spread})")
    for at in {at for row in b.decreasing for at in row}:
        out[at] += ", decreasing"
    for each in prior.written:
        for at in np.flatnonzero(each.mask).tolist():
            d = each.distribution
            if isinstance(d, GammaOfTwo) and each.scale == "sd":
                out[at] = f"gamma(2, {np.broadcast_to(d.rate, b.size)[at]:.3g})[sd]"
            elif isinstance(d, LKJ):
                out[at] = f"lkj({float(d.concentration):.3g})"
            elif each.scale == "cor" and isinstance(getattr(d, "base_dist", None), dist.Beta):
                a, b_ = d.base_dist.concentration1, d.base_dist.concentration0
                out[at] = f"beta({float(a):.3g}, {float(b_):.3g})[cor]"
            else:
                out[at] = ""
    return out
