"""The importance-weighted bound, one set of weights for each person, as a NumPyro ELBO."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpyro
from jax.lax import stop_gradient
from jax.scipy.special import logsumexp
from numpyro import handlers
from numpyro.distributions import Delta, Distribution
from numpyro.infer.elbo import ELBO
from numpyro.primitives import Messenger

from jaxlatent.guides.normals import normal_divergence
from jaxlatent.models.item_responses import Path

Estimator = Literal["elbo", "analytic", "iwae", "dreg", "stl", "gdreg"]
ESTIMATORS = ("elbo", "analytic", "iwae", "dreg", "stl", "gdreg")
MEANS = ("elbo", "analytic")  # of the mean log-weight
PARTICLES = "_particles"
Trace = dict[str, Any]
Sites = dict[str, jax.Array]
Inputs = tuple[dict[str, Any], Sites]  # parameters, and values of sites with a point mass


class ImportanceWeightedELBO(ELBO):
    """A lower bound of Σ_i s_i log p(y_i), tighter the more particles R, for numpyro.infer.SVI.

        Σ_i s_i log (1/R Σ_r w_ri),   w_ri = p(y_i, x_ri) / q(x_ri | y_i),   x_ri ~ q

    s_i is the scale of person i: weights, and the plate's size over its subsample. Terms outside the plate of the
    latent sites (priors of parameters that the guide gives a point mass, numpyro.factor) are added once. Latent sites
    need one plate in common, at dim -1, and reparametrised guides.

    estimator: the gradient. With normalised weights v_r, for the guide's parameters:
    "elbo" - of the mean log-weight (Σ_i s_i mean_r log w_ri is then the bound, too); "analytic" - the same with
    E_q[log q(x | y) - log p(x)] by its formula where both are normal distributions of ours, not from draws; "iwae" -
    automatic derivatives of the bound, whose signal-to-noise ratio falls with R; "stl" - without the score of q, Σ v_r
    dlog w_r/dx dx (at R = 1 unbiased for the ELBO, else for no bound, but of the least variance where q is close);
    "dreg" - unbiased without the score, Σ v_r² dlog w_r/dx dx; "gdreg" - the same, and parameters of p(x) take their
    derivatives along draws, too: Σ (v_r dlog p(y | x_r)/dx - v_r² dlog w_r/dx) dx. All others weight scores,
    Σ v_r dlog p(y, x_r).

    beta: weight of log p(x) - log q(x | y) in the log-weights, 1 for a bound. free_bits: with "elbo", nats of the mean
    over persons of E_q[log q(x | y) - log p(x)] that cost nothing.

    Raises ValueError where particles is no number from 1, the estimator is unknown, or, when it is used, a latent site
    stands outside the plate.

    Burda, Grosse and Salakhutdinov (2016); Roeder, Wu and Duvenaud (2017); Tucker et al. (2018); Rainforth et al.
    (2018); Bauer and Mnih (2021).
    """

    def __init__(
        self, particles: int = 10, estimator: Estimator = "dreg", *, beta: Any = 1.0, free_bits: float = 0.0
    ) -> None:
        if isinstance(particles, bool) or not isinstance(particles, int) or particles < 1:
            raise ValueError(f"Expected particles as a whole number from 1; got {particles!r}.")
        if estimator not in ESTIMATORS:
            raise ValueError(f"Expected the estimator among {', '.join(ESTIMATORS)}; got {estimator!r}.")
        if free_bits and estimator not in MEANS:
            raise ValueError(f"Expected estimator='elbo' or 'analytic' with free_bits; got {estimator!r}.")
        self.estimator, self.beta, self.free_bits = estimator, beta, free_bits
        super().__init__(num_particles=particles)

    def loss(
        self,
        rng_key: jax.Array,
        param_map: dict[str, Any],
        model: Callable[..., Any],
        guide: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> jax.Array:
        """Minus the bound, with the estimator's gradient by param_map."""
        guide_key, model_key = jax.random.split(rng_key)
        drawn = _draw(guide, guide_key, param_map, self.num_particles, args, kwargs)

        def run(inputs: Inputs, x: Sites) -> Trace:
            params, masses = inputs
            data = {**params, **masses, **x, **drawn.plates}
            return handlers.trace(handlers.substitute(handlers.seed(model, model_key), data=data)).get_trace(
                *args, **kwargs
            )

        inputs = (param_map, drawn.masses)
        if self.estimator in (*MEANS, "iwae"):
            trace = run(inputs, drawn.x)
            terms = _terms(trace, drawn)
            nats = _divergence(trace, drawn) if self.estimator == "analytic" else None
            nats = _log_q(drawn.guides, drawn.x) - terms.log_prior if nats is None else nats
            if self.free_bits:
                scale = jnp.broadcast_to(terms.scale, nats.shape[1:])
                kept = jnp.maximum((nats.mean(0) * scale).sum(), self.free_bits * scale.sum())
                return -((terms.log_y.mean(0) * scale).sum() - self.beta * kept + terms.outside)
            log_w = terms.log_y - self.beta * nats
            each = log_w.mean(0) if self.estimator in MEANS else _log_mean(log_w)
            return -((each * terms.scale).sum() + terms.outside)
        return -self._without_score(run, drawn, inputs)

    def _without_score(self, run: Callable[[Inputs, Sites], Trace], drawn: Drawn, inputs: Inputs) -> jax.Array:
        """The bound; its derivatives are those of inner products with cotangents of (inputs, x)."""
        generalised = self.estimator == "gdreg"
        guides = {name: _still(fn) for name, fn in drawn.guides.items()}

        def split(inputs: Inputs, x: Sites) -> tuple[tuple[jax.Array, jax.Array, jax.Array], jax.Array]:
            terms = _terms(run(inputs, x), drawn, still=generalised)
            log_w = terms.log_y + self.beta * (terms.log_prior - _log_q(guides, x))
            return (log_w, jnp.broadcast_to(terms.log_y, log_w.shape), terms.outside), terms.scale

        still, x = stop_gradient(inputs), stop_gradient(drawn.x)
        (log_w, log_y, outside), pull, scale = jax.vjp(split, still, x, has_aux=True)
        v, none = jax.nn.softmax(log_w, 0), (jnp.zeros_like(log_y), jnp.zeros_like(outside))
        scale = jnp.broadcast_to(scale, log_w.shape[1:])
        by_inputs, by_x = pull((v * scale, none[0], jnp.ones_like(outside)))
        if self.estimator == "dreg":
            by_x = {name: g * v.reshape(v.shape + (1,) * (g.ndim - 2)) for name, g in by_x.items()}
        elif generalised:
            by_x = pull((v**2 * scale, *none))[1]
        surrogate = _inner(by_inputs, inputs) + _inner(by_x, drawn.x)
        if generalised:
            through_y = pull((jnp.zeros_like(log_w), v * scale, none[1]))[1]
            along = jax.tree.map(jnp.subtract, through_y, by_x)
            surrogate = surrogate + _inner(along, _paths(run(inputs, x), x))
        value = (_log_mean(log_w) * scale).sum() + outside
        return stop_gradient(value) + surrogate - stop_gradient(surrogate)


class Drawn(NamedTuple):
    """One run of a guide.

    x: draws [particle, person, ...] of its latent sites, guides their distributions, plate the one they all stand in;
    masses: values of sites with a point mass; plates: which persons a plate has drawn.
    """

    x: Sites
    guides: dict[str, Distribution]
    plate: str
    masses: Sites
    plates: Sites


class Terms(NamedTuple):
    """log p(x) and log p(y | x), [particle, person]; the scale of persons; all log densities outside the plate."""

    log_prior: jax.Array
    log_y: jax.Array
    scale: jax.Array
    outside: jax.Array


class _Particles(Messenger):
    """The plate of particles, around sites that stand in a plate already."""

    def __init__(self, fn: Callable[..., Any], particles: int) -> None:
        self.plate = numpyro.plate(PARTICLES, particles, dim=-2)
        super().__init__(fn)

    def process_message(self, msg: Any) -> None:
        if msg["type"] == "sample" and not msg["is_observed"] and msg["cond_indep_stack"]:
            self.plate.process_message(msg)


def _draw(
    guide: Callable[..., Any], key: jax.Array, params: dict[str, Any], particles: int, args: Any, kwargs: Any
) -> Drawn:
    """Run the guide once with all particles.

    Raises ValueError where a latent site has no place in a bound with weights for each person.
    """
    several = _Particles(handlers.substitute(guide, data=params), particles)
    trace = handlers.trace(handlers.seed(several, key)).get_trace(*args, **kwargs)
    latent = {name: site for name, site in trace.items() if site["type"] == "sample" and not site["is_observed"]}
    inside = {name: site for name, site in latent.items() if site["cond_indep_stack"]}
    masses = {name: site["value"] for name, site in latent.items() if name not in inside}
    for name in masses:
        if not isinstance(_base(latent[name]["fn"]), Delta):
            raise ValueError(
                f"The latent site {name!r} stands outside the plate of persons, so that the weights would be those of"
                " the whole batch: give it a point mass (numpyro.distributions.Delta) in the guide, make it a"
                " numpyro.param, or take numpyro's Trace_ELBO."
            )
    if not inside:
        raise ValueError("Expected latent sites in a plate of persons in the guide; found none.")
    plates = {name: {f.name: f.dim for f in s["cond_indep_stack"] if f.name != PARTICLES} for name, s in inside.items()}
    first = next(iter(plates.values()))
    for name, own in plates.items():
        if own != first or len(own) != 1 or set(own.values()) != {-1}:
            raise ValueError(
                f"Expected all latent sites in one plate, at dim -1; {name!r} is in {', '.join(own)}: make other"
                " dimensions part of the event (to_event)."
            )
        if not inside[name]["fn"].has_rsample:
            raise ValueError(f"The guide's distribution of {name!r} is not reparametrised; its gradient needs that.")
    return Drawn(
        {name: site["value"] for name, site in inside.items()},
        {name: site["fn"] for name, site in inside.items()},
        next(iter(first)),
        masses,
        {name: site["value"] for name, site in trace.items() if site["type"] == "plate"},
    )


def _terms(trace: Trace, drawn: Drawn, *, still: bool = False) -> Terms:
    """Log densities of a run of the model; still: p(x) without derivatives by its parameters."""
    log_prior = log_y = outside = jnp.zeros(())
    scale = None
    for name, site in trace.items():
        if site["type"] != "sample":
            continue
        plates = [frame.name for frame in site["cond_indep_stack"]]
        latent = not site["is_observed"]
        if latent and name not in drawn.x and name not in drawn.masses:
            raise ValueError(f"The model's latent site {name!r} has none of that name in the guide.")
        fn = _still(site["fn"]) if still and name in drawn.x else site["fn"]
        log_prob = fn.log_prob(site["value"])
        if drawn.plate not in plates:
            if name in drawn.x:
                raise ValueError(
                    f"The site {name!r} is in the plate {drawn.plate!r} in the guide, but not in the model."
                )
            own = 1.0 if site["scale"] is None else site["scale"]
            outside = outside + (own * log_prob).sum()
            continue
        if plates != [drawn.plate] or log_prob.ndim > 2:
            raise ValueError(
                f"Expected {name!r} in the plate {drawn.plate!r} alone, one log density for each person; it has"
                f" log densities {log_prob.shape} in {', '.join(plates)}: make other dimensions part of the event."
            )
        if scale is None:
            scale = jnp.asarray(1.0 if site["scale"] is None else site["scale"])
        if latent:
            log_prior = log_prior + log_prob
        else:
            log_y = log_y + log_prob
    missing = [name for name in drawn.x if name not in trace]
    if missing or scale is None:
        raise ValueError(f"The guide's latent site {next(iter(missing), '')!r} is not in the model.")
    return Terms(log_prior, log_y, scale, outside)


def _paths(trace: Trace, x: Sites) -> Sites:
    """x with the derivatives of draws from p(x)."""
    if len(x) > 1:
        raise ValueError(f"The estimator 'gdreg' takes one latent site; got {', '.join(x)}: take 'dreg'.")
    (name,) = x
    prior = trace[name]["fn"]
    if not isinstance(prior, Path):
        raise ValueError(
            f"The estimator 'gdreg' needs a prior of {name!r} with a method path(value), such as that of numpyro_model:"
            " take 'dreg'."
        )
    return {name: prior.path(x[name])}


def _log_q(guides: dict[str, Distribution], x: Sites) -> jax.Array:
    """log q(x | y) [particle, person]."""
    return cast(jax.Array, sum(fn.log_prob(x[name]) for name, fn in guides.items()))


def _divergence(trace: Trace, drawn: Drawn) -> jax.Array | None:
    """KL(q || p(x)) [1, person] by its formula, or None where a site has none."""
    each = [normal_divergence(_base(fn), trace[name]["fn"]) for name, fn in drawn.guides.items()]
    found = [nats for nats in each if nats is not None]
    return cast(jax.Array, sum(found))[None] if len(found) == len(each) else None


def _still(fn: Distribution) -> Distribution:
    """The distribution without derivatives by its parameters."""
    return jax.tree.map(stop_gradient, fn)


def _base(fn: Distribution) -> Distribution:
    """Behind expanded and independent distributions."""
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return fn


def _log_mean(log_w: jax.Array) -> jax.Array:
    """log of the mean weight of each person [person]."""
    return logsumexp(log_w, 0) - math.log(log_w.shape[0])


def _inner(cotangents: Any, values: Any) -> jax.Array:
    """Σ of products over all leaves; cotangents are constants."""
    products = jax.tree.map(lambda a, b: (stop_gradient(a) * b).sum(), cotangents, values)
    return cast(jax.Array, sum(jax.tree.leaves(products), start=jnp.zeros(())))
