"""From a fitted model to draws from its posterior: the density, where the sampler starts, and what ran.

The fit by maximum likelihood (the posterior mode where a user has written priors) comes first. It brings everything the
likelihood is made of, starting values, and the scale of the parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.inference.casewise_model import CasewiseModel, casewise_first
from jaxlatent.inference.draws import Draws
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.fitting import moment_problem
from jaxlatent.inference.item_model import double_arrays, item_model
from jaxlatent.inference.likelihoods import (
    CasewiseLikelihood,
    JointLikelihood,
    MarginalLikelihood,
    MomentLikelihood,
    design_of,
)
from jaxlatent.inference.marginal_fit import ItemFitted, is_personal, pattern_data, problem_of
from jaxlatent.inference.nuts import Located, located_posterior, sample
from jaxlatent.inference.nuts_settings import NUTS
from jaxlatent.inference.posterior import BlockDensity, Posterior
from jaxlatent.inference.priors import Priors
from jaxlatent.inference.proper import check_proper
from jaxlatent.integration.gauss_hermite import GaussHermite
from jaxlatent.measurement.graded import Graded
from jaxlatent.measurement.logistic import Logistic
from jaxlatent.models.blocks import ParameterBlock, feasible, parameter_blocks
from jaxlatent.models.casewise_objective import CasewiseProblem
from jaxlatent.models.default_priors import block_prior
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.bijections import Bijection
from jaxlatent.numerics.masked import Cases
from jaxlatent.numerics.program import jit
from jaxlatent.spec.item_table import ItemTable
from jaxlatent.spec.layout import Layout, places, trimmed
from jaxlatent.spec.restrictions_matrix import split
from jaxlatent.spec.start import starting_values
from jaxlatent.spec.table import ParameterTable

NODES_PER_PRECISION, LEAST_NODES = 4.0, 15
LINEAR = 3.0  # scales are about linear in the sampler's coordinates from this part of their estimate on


@dataclass(frozen=True)
class Sample:
    """Draws and what they were made by.

    settings: the engine, nothing left at None; how: in a sentence what was sampled, and how; density: what was sampled
    (not of a fit that was read from a file); mean and variance [person, factor] of latent variables that were sampled
    along, else None.
    """

    settings: NUTS
    draws: Draws
    how: str
    density: Posterior | None = None
    latent_mean: np.ndarray | None = None
    latent_variance: np.ndarray | None = None


def check_covered(table: ParameterTable | ItemTable) -> None:
    """Raises ValueError for constraints between parameters, which no bijection covers."""
    if isinstance(table, ItemTable):
        found = table.linear.rank
    else:
        linear, nonlinear, inequalities = split(table)
        found = linear.rank + len(nonlinear) + len(inequalities)
    if found:
        raise ValueError(
            f"The model has {found} constraint(s) between parameters, which no bijection covers: give equal parameters"
            " one label instead, or use an engine such as ML or MarginalML."
        )


# ---- densities ------------------------------------------------------------------------------------------------------


class Bound(NamedTuple):
    """What priors are about: a table, its model with starting values, the data that give priors their scale."""

    table: Any
    model: LatentVariableModel
    arrays: Arrays
    priors: Priors


def posterior_of(likelihood: Any, bound: Bound, free: np.ndarray) -> tuple[Posterior, np.ndarray]:
    """The density of a model under default priors and those that a user has written; and where to start near free.

    Signs of factors are those that free has: the loading that is kept positive is its largest. Raises ValueError where
    flat priors make it improper.
    """
    check_proper(bound)
    _, model, arrays, priors = bound
    layout = model.layout
    upright = reflected(layout, np.where(np.isfinite(free), free, layout.start))
    signed = replace(model, layout=replace(layout, start=upright))
    blocks = [_started(block, np.asarray(layout.start)) for block in parameter_blocks(signed)]
    densities = tuple(BlockDensity.of(block_prior(block, model, arrays, priors.cells)) for block in blocks)
    order = np.concatenate([block.positions for block in blocks])
    start = np.array(upright)
    for block, density in zip(blocks, densities, strict=True):
        start[block.positions] = feasible(density.bijection, start[block.positions])
    q = layout.n_free
    plain = Posterior(likelihood, densities, np.argsort(order), np.zeros(q), np.zeros(q), np.eye(q))
    with jax.enable_x64(True):
        u = np.asarray(jax.jit(lambda p, f: p.unconstrained(f))(plain, jnp.asarray(start)))
    scales = np.concatenate([_log_scales(density.bijection) for density in densities])
    return replace(plain, soft=np.where(scales, np.exp(np.where(scales, u, 0.0)) / LINEAR, 0.0)), start


def _log_scales(bijection: Bijection) -> np.ndarray:
    """Where u is the logarithm of a scale [cell]: variances, and diagonals of Cholesky factors."""
    at = [*bijection.positive, *(k for p in bijection.covariances for i, j, k in p.free if i == j)]
    return np.isin(np.arange(bijection.size), np.array(at, int))


def _started(block: ParameterBlock, start: np.ndarray) -> ParameterBlock:
    """The block with the model's starting values, which default priors are centred at."""
    return replace(block, start=feasible(block.bijection, start[block.positions]))


def reflected(layout: Layout, free: np.ndarray) -> np.ndarray:
    """The same solution with the largest loading of every factor positive, where its direction is not fixed."""
    full = np.append(free, 0.0)
    params = {n: np.where(i >= 0, full[i], layout.fixed[n]) for n, i in layout.index.items()}
    index, fixed = np.asarray(layout.index["loadings"]), np.asarray(layout.fixed["loadings"])
    out = np.array(free)
    for k in range(index.shape[2]):
        here = params["loadings"][:, :, k]
        directed = ((index[:, :, k] < 0) & (fixed[:, :, k] != 0)).any()
        if directed or not (index[:, :, k] >= 0).any() or here.flat[np.abs(here).argmax()] >= 0:
            continue
        sign = np.ones(index.shape[2])
        sign[k] = -1
        for name, axes in (("loadings", (2,)), ("factor_cov", (1, 2)), ("regressions", (1, 2)), ("factor_means", (1,)),
                           ("covariate_effects", (1,))):  # fmt: skip
            if name not in layout.index:
                continue
            at = np.asarray(layout.index[name])
            turn = np.ones(at.shape)
            for axis in axes:
                shape = [1] * at.ndim
                shape[axis] = -1
                turn = turn * sign.reshape(shape)
            turned = at[(at >= 0) & (turn < 0)]
            out[turned] = -free[turned]
    return out


def moment_posterior(fitted: Fitted) -> tuple[Posterior, np.ndarray]:
    """Of a structural equation model: from moments, or from incomplete rows."""
    table, moments = fitted.table, fitted.moments
    start = starting_values(fitted.layout, moments.mean, moments.cov)
    layout = trimmed(replace(fitted.layout, start=start), len(places(table).latent))
    model = LatentVariableModel.normal(layout)
    inner = moment_problem(fitted.layout, moments, table.mean_structure)
    n = float(moments.n.sum())
    likelihood: Any
    if fitted.missing == "fiml":
        cases = tuple(tuple(Cases(*bucket.gathered()) for bucket in group) for group in fitted.cases)
        problem = CasewiseProblem(inner.cells, inner.where, inner.fixed, inner.used, cases, np.asarray(n))
        outside = fitted.log_likelihood + n * float(fitted.estimate.statistics["value"])
        likelihood = CasewiseLikelihood(problem, np.asarray(outside))
    else:
        likelihood = MomentLikelihood(inner, np.asarray(n), np.asarray(fitted.saturated_log_likelihood))
    return posterior_of(likelihood, Bound(table, model, _scale_rows(fitted), fitted.priors), fitted.free)


def _scale_rows(fitted: Fitted) -> Arrays:
    """Rows with the means and standard deviations of the data, which default priors are scaled by."""
    if fitted.data is not None:
        y = fitted.data.y if fitted.table.mean_structure else fitted.data.y - fitted.moments.mean[fitted.data.group]
        return Arrays.of(y)
    sd = np.sqrt(np.diagonal(fitted.moments.cov, axis1=1, axis2=2))
    mean = fitted.moments.mean if fitted.table.mean_structure else np.zeros_like(sd)
    return Arrays.of(np.concatenate([mean - sd, mean + sd]))


def item_posterior(fitted: ItemFitted) -> tuple[Posterior, np.ndarray]:
    """Of an item response model: factors integrated out on a grid, or sampled along where they are too many."""
    arrays = double_arrays(fitted.data)
    model = item_model(fitted.table, fitted.measurement, fitted.layout, fitted.latent)
    likelihood: Any
    if is_personal(fitted.rule):
        likelihood = JointLikelihood(model, arrays, design_of(arrays))
    else:
        used, _ = pattern_data(fitted.data)
        with jax.enable_x64(True):
            problem = problem_of(fitted.form, fitted.layout, used, fitted.table.n_groups, sampling_rule(fitted))[0]
        likelihood = MarginalLikelihood(fitted.form, problem)
    return posterior_of(likelihood, Bound(fitted.table, model, arrays, fitted.priors), fitted.free)


def sampling_rule(fitted: ItemFitted) -> Any:
    """The fit's rule, or fewer nodes where the persons' posteriors are wide beside the distance of nodes.

    n nodes are π / √n apart in the middle; an integrand of standard deviation s is summed to exp(-2 π² s² / distance²)
    = exp(-2 n s²), which is below 4e-4 for n > 4 / s². 1 / s² is at most 1 + sum_j c λ_j² with c = 1/4 for logistic
    items and 1/3 for graded ones, the information of a logistic location.
    """
    rule, families = fitted.rule, fitted.measurement.groups
    if not isinstance(rule, GaussHermite) or not all(isinstance(f, Logistic | Graded) for f, _ in families):
        return rule
    params = fitted.params
    loadings, variance = params["loadings"], np.diagonal(params["factor_cov"], axis1=1, axis2=2)
    info = np.zeros(variance.shape)
    for family, items in families:
        info += (loadings[:, list(items)] ** 2).sum(1) * (1 / 3 if isinstance(family, Graded) else 1 / 4)
    wanted = math.ceil(NODES_PER_PRECISION * float((1 + info * variance).max()))
    return GaussHermite(min(rule.n, max(LEAST_NODES, wanted)))


# ---- sampling -------------------------------------------------------------------------------------------------------


def sample_moments_model(fitted: Fitted, settings: NUTS, key: int = 0, progress: bool | None = None) -> Sample:
    """Draws from the posterior of a structural equation model, under default priors and those in fitted.priors.

    Raises ValueError for constraints or patterns that no bijection covers, and for a posterior that is improper.
    """
    check_covered(fitted.table)
    settings = replace(settings, chain_method=settings.chain_method or "vectorized")
    posterior, start = moment_posterior(fitted)
    posterior, found = located_posterior(posterior, start)
    check_mode(found, posterior)
    what = "incomplete rows" if fitted.missing == "fiml" else "means and covariances"
    said = f"NUTS on the marginal likelihood of {what}, latent variables integrated out in closed form"
    drawn = sample(settings, posterior, key, progress)
    return Sample(settings, Draws(drawn.free, "posterior", drawn.stats), _how(said, settings), posterior)


def sample_item_model(
    fitted: ItemFitted, settings: NUTS, key: int = 0, progress: bool | None = None, vcov: np.ndarray | None = None
) -> Sample:
    """Draws from the posterior of an item response model; vcov of the free vector, where factors are sampled along."""
    check_covered(fitted.table)
    if fitted.is_learned:
        raise ValueError("NUTS takes normal latent variables: leave latent out, or use AmortizedVI().")
    posterior, start = item_posterior(fitted)
    joint = posterior.n_extra > 0
    settings = replace(settings, chain_method=settings.chain_method or "sequential")
    if joint:
        posterior = whitened(posterior, start, vcov)
        said = f"NUTS on parameters and {posterior.n_extra} latent values together, non-centred"
    else:
        posterior, found = located_posterior(posterior, start)
        check_mode(found, posterior)
        said = f"NUTS on the marginal likelihood, factors integrated out by {sampling_rule(fitted)}"
    drawn = sample(settings, posterior, key, progress)
    d = len(fitted.table.factors)
    mean, variance = ((a.reshape(-1, d) if a is not None else None) for a in (drawn.mean, drawn.variance))
    return Sample(
        settings, Draws(drawn.free, "posterior", drawn.stats), _how(said, settings), posterior, mean, variance
    )


def whitened(posterior: Posterior, free: np.ndarray, vcov: np.ndarray | None) -> Posterior:
    """Coordinates centred at natural parameters, scaled by their covariance matrix where there is one."""
    with jax.enable_x64(True):
        center = np.asarray(posterior.unconstrained(jnp.asarray(free)))
        slope = np.asarray(jax.jacfwd(lambda u: posterior.prior(u)[0])(jnp.asarray(center)))
    root = 0.1 * np.eye(len(free))
    if vcov is not None and np.isfinite(vcov).all():
        back = np.linalg.inv(slope)
        size, vectors = np.linalg.eigh(back @ vcov @ back.T)
        if size.min() > 0:
            root = vectors * np.sqrt(size)
    return replace(posterior, center=center, root=root)


def prior_draws(posterior: Posterior, n: int, key: int = 0) -> Draws:
    """n draws of the free parameters from the priors of all blocks, [1, n, n_free]."""
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(key), len(posterior.blocks))
        cells = [np.asarray(_prior_cells(n, b, k)) for b, k in zip(posterior.blocks, keys, strict=True)]
    return Draws(np.concatenate(cells, 1)[:, np.asarray(posterior.places)][None], "approximate")


@partial(jit, static_argnums=0)
def _prior_cells(n: int, block: BlockDensity, key: jax.Array) -> jax.Array:
    return block.prior().sample(key, (n,))


def check_mode(found: Located, posterior: Posterior) -> None:
    """Raises ValueError where the density has no mode that it falls off from: an improper posterior."""
    if bool(found.proper) and np.isfinite(found.potential):
        return
    if not np.isfinite(found.potential):
        raise ValueError(
            "The posterior density does not exist at the starting values: give start() values, or other priors."
        )
    if has_flat(posterior):
        raise ValueError(
            "The posterior is improper, or has no mode: the model is not identified under flat priors. Leave flat"
            " priors out (defaults are proper), or fix what the data can't tell."
        )


def _is_flat(block: BlockDensity) -> bool:
    return bool(block.prior().improper.any())


def has_flat(posterior: Posterior) -> bool:
    """Whether nothing can be drawn from the priors, because one is flat."""
    return any(_is_flat(block) for block in posterior.blocks)


def _how(said: str, settings: NUTS) -> str:
    together = "in one batch" if settings.chain_method == "vectorized" else "one after the other"
    n, m = settings.num_chains, settings.num_samples
    return f"{said}; {n} chain(s) of {m} draws after {settings.num_warmup} of warm-up, {together}."


def posterior_log_likelihood(fitted: Fitted | ItemFitted) -> float:
    """The total log-likelihood of a model at another free vector than its maximum, by what it was fitted with."""
    free = fitted.free
    if isinstance(fitted, ItemFitted):
        if is_personal(fitted.rule):
            return float("nan")
        used, _ = pattern_data(fitted.data)
        with jax.enable_x64(True):
            problem = problem_of(fitted.form, fitted.layout, used, fitted.table.n_groups, fitted.rule)[0]
            return float(_value(MarginalLikelihood(fitted.form, problem), jnp.asarray(free)))
    n = float(fitted.moments.n.sum())
    start = float(fitted.estimate.statistics["value"])
    if fitted.missing == "fiml":
        outside = fitted.log_likelihood + n * start
        return outside - n * casewise_first(CasewiseModel(fitted.layout, fitted.cases, n), free)[0]
    model, value = fitted.model, 0.0
    for g, s in enumerate(fitted.moments.cov):
        mu, sigma = model.implied[g]
        residual = fitted.moments.mean[g] - mu if fitted.table.mean_structure else np.zeros(len(mu))
        k = model.inverse[g]
        discrepancy = np.linalg.slogdet(sigma)[1] + (k * (s + np.outer(residual, residual))).sum()
        value += fitted.moments.n[g] * (discrepancy - np.linalg.slogdet(s)[1] - len(s)) / 2
    return float(fitted.saturated_log_likelihood - value)


@jit
def _value(likelihood: Any, free: jax.Array) -> jax.Array:
    return likelihood.first(free)[0]
