"""The importance-weighted bound against the linear Gaussian model, in which everything is known."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pandas as pd
import pytest
from jax.scipy.stats import multivariate_normal
from numpyro.infer import SVI, Trace_ELBO

import jaxlatent as jl
from jaxlatent.data.arrays import Arrays
from jaxlatent.guides.normals import DiagonalNormal
from jaxlatent.inference.importance_weighted_elbo import ESTIMATORS

N, P = 40, 4


def data(n=N):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 1))
    y = x @ np.array([[1.0, 0.8, 0.6, 1.2]]) + rng.normal(size=(n, P)) * 0.8
    return pd.DataFrame(y, columns=[f"y{j}" for j in range(P)])


@pytest.fixture(scope="module")
def bound():
    """One factor, four normal items; its variance is free."""
    with jax.enable_x64(True):
        return jl.SEM("f =~ y0 + y1 + y2 + y3").bind(data())


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def start(bound):
    return bound.model.layout.unpack(jnp.asarray(bound.model.layout.start))


def posterior(params, y):
    """Mean [person] and variance of x given y."""
    slopes, unique = params["loadings"][0, :, 0], jnp.diagonal(params["residual_cov"][0])
    variance = 1 / (1 / params["factor_cov"][0, 0, 0] + (slopes**2 / unique).sum())
    return (y - params["intercepts"][0]) @ (slopes / unique) * variance, variance


def log_p(bound, params):
    """log p(y) [person]."""
    mean, cov = bound.model.implied(params)
    return multivariate_normal.logpdf(bound.arrays.y, mean[0], cov[0])


def exact(bound):
    """A guide that is the posterior at the starting values, moved and widened by two parameters."""
    params = start(bound)

    def guide(y, observed, covariates):
        move, widen = numpyro.param("move", 0.0), numpyro.param("widen", 0.0)
        mean, variance = posterior(params, y)
        log_scale = jnp.full_like(mean, jnp.log(variance) / 2)[:, None] + widen
        return DiagonalNormal(mean[:, None] + move, log_scale)

    return guide


def at(bound, **own):
    """Values of all params: the starting values, and those of the guide."""
    layout = bound.model.layout
    free = {f"{b.name}_free": jnp.asarray(layout.start)[np.array(b.positions)] for b in layout.blocks}
    return free | {"move": jnp.zeros(()), "widen": jnp.zeros(())} | {k: jnp.asarray(v) for k, v in own.items()}


def losses(bound, pair, values, particles, estimator, keys, *args):
    elbo = jl.ImportanceWeightedELBO(particles, estimator)
    one = lambda key: elbo.loss(key, values, pair.model, pair.guide, bound.arrays, *args)  # noqa: E731
    return jax.jit(lambda keys: jax.lax.map(one, keys))(keys)


def gradients(bound, pair, values, particles, estimator, keys):
    elbo = jl.ImportanceWeightedELBO(particles, estimator)
    loss = lambda v, key: elbo.loss(key, v, pair.model, pair.guide, bound.arrays)  # noqa: E731
    return jax.jit(lambda keys: jax.lax.map(partial(jax.grad(loss), values), keys, batch_size=50))(keys)


def test_the_elbo_and_the_divergence_add_up_to_the_log_likelihood(bound):
    """E_q[log p(y, x) - log q(x)] + KL[q || p(x | y)] = log p(y); the integrand is quadratic, so 8 nodes are exact."""
    params, model = start(bound), bound.model
    mean, variance = posterior(params, bound.arrays.y)
    q = DiagonalNormal(mean[:, None] + 0.3, jnp.full((N, 1), jnp.log(variance) / 2 + 0.2))
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    x = q.mean + jnp.sqrt(q.variance) * nodes[:, None, None]
    log_w = model.log_prob_given_latent(params, x, bound.arrays) - q.log_prob(x)
    log_w = log_w + model.latent_distribution(params, bound.arrays).log_prob(x)
    elbo = (weights / weights.sum()) @ log_w
    s2 = q.variance[:, 0]
    divergence = (s2 / variance + 0.3**2 / variance - 1 - jnp.log(s2 / variance)) / 2
    np.testing.assert_allclose(elbo + divergence, log_p(bound, params), rtol=0, atol=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_with_the_posterior_as_guide_the_bound_is_the_log_likelihood(bound, estimator):
    """Then every weight is p(y), whatever is drawn."""
    pair = jl.numpyro_pair(bound, exact(bound))
    found = losses(bound, pair, at(bound), 3, estimator, jax.random.split(jax.random.key(0), 2))
    np.testing.assert_allclose(-found, log_p(bound, start(bound)).sum(), rtol=1e-9)


def test_the_bound_rises_to_the_log_likelihood(bound):
    pair = jl.numpyro_pair(bound, exact(bound))
    values, target = at(bound, move=0.4, widen=0.3), float(log_p(bound, start(bound)).sum())
    means, errors = [], []
    for particles in (1, 5, 25, 100, 1000):
        keys = jax.random.split(jax.random.key(particles), max(8000 // particles, 16))
        found = -np.asarray(losses(bound, pair, values, particles, "iwae", keys))
        means.append(found.mean())
        errors.append(found.std() / len(found) ** 0.5)
    gaps = target - np.array(means)
    assert (np.diff(means) > -3 * np.hypot(errors[1:], errors[:-1])).all()
    assert gaps[0] > 10 * errors[0] and gaps[0] > 20 * gaps[3]  # the gap is of order 1 / R
    assert abs(gaps[4]) < 3 * errors[4] + gaps[0] / 100


def test_the_signal_of_the_guides_gradient_falls_with_iwae_only(bound):
    """Rainforth et al. (2018): signal-to-noise of order R^-1/2 for "iwae"; Tucker et al. (2018): R^1/2 for "dreg"."""
    pair = jl.numpyro_pair(bound, exact(bound))
    values = at(bound, move=0.3, widen=0.2)

    def ratio(particles, estimator):
        keys = jax.random.split(jax.random.key(7), 400)
        g = np.asarray(gradients(bound, pair, values, particles, estimator, keys)["move"])
        return abs(g.mean()) / g.std()

    assert ratio(100, "iwae") < ratio(1, "iwae") / 3
    assert ratio(100, "dreg") > ratio(1, "dreg")
    assert ratio(100, "dreg") > 10 * ratio(100, "iwae")


def same_mean(a, b):
    """Whether two samples of gradients [draw, ...] have one mean, by z-scores; over 4 is a chance of 1 in 10,000."""
    z = (a.mean(0) - b.mean(0)) / np.sqrt(a.var(0) / len(a) + b.var(0) / len(b) + 1e-20)
    return np.abs(z).max()


@pytest.mark.parametrize("estimator", ["dreg", "gdreg"])
def test_estimators_that_should_agree_do(bound, estimator):
    """Gradients of the IWAE bound by parameters of the guide, of the measurement and of p(x)."""
    pair = jl.numpyro_pair(bound, exact(bound))
    values = at(bound, move=0.3, widen=0.2)
    keys = jax.random.split(jax.random.key(1), 3000)
    a = gradients(bound, pair, values, 5, "iwae", keys)
    b = gradients(bound, pair, values, 5, estimator, jax.random.split(jax.random.key(2), 3000))
    for name, each in a.items():
        z = same_mean(np.asarray(each), np.asarray(b[name]))
        assert z < 4, f"{name}: {z}"
    noise = {name: np.asarray(g).std(0).max() for name, g in b.items()}
    if estimator == "gdreg":
        scores = gradients(bound, pair, values, 5, "dreg", keys)
        assert noise["factor_cov_free"] != np.asarray(scores["factor_cov_free"]).std(0).max()


def test_stl_is_the_elbo_with_one_particle(bound):
    pair = jl.numpyro_pair(bound, exact(bound))
    values = at(bound, move=0.3, widen=0.2)
    keys = jax.random.split(jax.random.key(3), 2000)
    a, b = (gradients(bound, pair, values, 1, each, keys) for each in ("elbo", "stl"))
    for name, each in a.items():
        assert same_mean(np.asarray(each), np.asarray(b[name])) < 4, name


def test_one_particle_is_numpyros_elbo(bound):
    pair = jl.numpyro_pair(bound, exact(bound))
    values = at(bound, move=0.3)
    keys = jax.random.split(jax.random.key(4), 500)
    theirs = jax.vmap(lambda key: Trace_ELBO().loss(key, values, pair.model, pair.guide, bound.arrays))(keys)
    ours = losses(bound, pair, values, 1, "iwae", keys)
    assert same_mean(np.asarray(ours), np.asarray(theirs)) < 4


def test_weights_of_persons_stand_outside_the_logarithm(bound):
    weight = jnp.asarray(np.random.default_rng(1).uniform(0.5, 2, N))
    arrays = Arrays(bound.arrays.y, bound.arrays.observed, bound.arrays.group, weight)
    pair, params = jl.numpyro_pair(bound, exact(bound)), start(bound)
    for estimator in ("iwae", "dreg"):
        elbo = jl.ImportanceWeightedELBO(4, estimator)
        found, gradient = jax.value_and_grad(
            lambda v, elbo=elbo: elbo.loss(jax.random.key(0), v, pair.model, pair.guide, arrays)
        )(at(bound))
        np.testing.assert_allclose(-found, weight @ log_p(bound, params), rtol=1e-9)
        layout = bound.model.layout
        true = jax.grad(lambda free: weight @ log_p(bound, layout.unpack(free)))(jnp.asarray(layout.start))
        assert np.isfinite(gradient["factor_cov_free"]).all() and np.isfinite(true).all()


def test_mini_batches_add_up_to_the_whole(bound):
    """Loss of a mini-batch is that of all persons in the mean; with the posterior as guide, exactly."""
    pair = jl.numpyro_pair(bound, exact(bound))
    elbo = jl.ImportanceWeightedELBO(3, "dreg")
    batches = np.random.default_rng(0).permutation(N).reshape(4, -1)
    found = []
    for persons in batches:
        rows = jax.tree.map(lambda a, persons=persons: a[persons], bound.arrays)
        found.append(elbo.loss(jax.random.key(0), at(bound), pair.model, pair.guide, rows, persons, N))
    np.testing.assert_allclose(-np.mean(found), log_p(bound, start(bound)).sum(), rtol=1e-9)


def test_the_plate_may_draw_the_mini_batch(bound):
    pair = jl.numpyro_pair(bound, exact(bound), batch_size=10)
    found = -np.asarray(losses(bound, pair, at(bound), 2, "dreg", jax.random.split(jax.random.key(0), 2000)))
    target = float(log_p(bound, start(bound)).sum())
    assert found.std() > 0  # other persons for every key
    assert abs(found.mean() - target) < 4 * found.std() / len(found) ** 0.5


def test_priors_of_parameters_count_once(bound):
    """A pair that samples parameters has their log prior outside the weights of persons, not R or N times."""
    a, b = (jl.numpyro_pair(bound, exact(bound), parameters=p) for p in ("param", "sample"))
    values = at(bound)
    masses = {f"{k}_auto_loc" if k.endswith("_free") else k: v for k, v in values.items()}
    key = jax.random.key(0)
    for estimator in ("elbo", "iwae", "dreg", "gdreg"):
        elbo = jl.ImportanceWeightedELBO(3, estimator)
        plain = elbo.loss(key, values, a.model, a.guide, bound.arrays)
        loss, gradient = jax.value_and_grad(lambda v, e=elbo: e.loss(key, v, b.model, b.guide, bound.arrays))(masses)
        trace = numpyro.handlers.trace(numpyro.handlers.seed(b.model, key)).get_trace(bound.arrays)
        prior = lambda v: sum(trace[n]["fn"].log_prob(x) for n, x in v.items() if n.endswith("_free"))  # noqa: E731, B023
        np.testing.assert_allclose(plain - loss, prior(values), rtol=1e-8)
        more = jax.grad(lambda v, e=elbo: e.loss(key, v, a.model, a.guide, bound.arrays))(values)
        by_prior = jax.grad(prior)(values)
        for name in by_prior:
            if name.endswith("_free"):
                np.testing.assert_allclose(
                    gradient[f"{name}_auto_loc"], more[name] - by_prior[name], rtol=1e-6, atol=1e-8
                )


def test_it_runs_in_svi_in_a_scan_and_under_vmap(bound):
    pair = jl.numpyro_pair(bound, jl.guides.Amortized(hidden=(8,)))
    svi = SVI(pair.model, pair.guide, optax.adam(1e-2), jl.ImportanceWeightedELBO(4, "dreg"))
    by_run = svi.run(jax.random.key(0), 30, bound.arrays, progress_bar=False)
    assert by_run.losses[-5:].mean() < by_run.losses[:5].mean()

    @jax.jit
    def train(state):
        return jax.lax.scan(lambda s, _: svi.update(s, bound.arrays), state, length=30)

    state, by_scan = train(svi.init(jax.random.key(0), bound.arrays))
    np.testing.assert_allclose(by_scan, by_run.losses, rtol=1e-6)
    keys = jax.random.split(jax.random.key(0), 3)
    states = jax.vmap(lambda key: svi.init(key, bound.arrays))(keys)
    many, together = jax.jit(jax.vmap(train))(states)
    first = svi.get_params(jax.tree.map(lambda a: a[0], many))["guide"]["network"]["layer0"]["kernel"]
    second = svi.get_params(jax.tree.map(lambda a: a[1], many))["guide"]["network"]["layer0"]["kernel"]
    assert np.abs(first - second).max() > 0.1  # other networks for other keys
    alone = train(svi.init(keys[1], bound.arrays))[1]
    np.testing.assert_allclose(together[1], alone, rtol=1e-5)


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("particles", [0, -1, 2.5, True, "3"])
def test_particles_are_a_count(particles):
    with pytest.raises(ValueError, match="particles"):
        jl.ImportanceWeightedELBO(particles)


def test_estimators_have_names():
    with pytest.raises(ValueError, match="elbo, iwae, dreg, stl, gdreg"):
        jl.ImportanceWeightedELBO(5, "vimco")


def other_model(y):
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    with numpyro.plate("rows", len(y), dim=-1):
        x = numpyro.sample("x", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(x, scale), obs=y)


def local(y):
    with numpyro.plate("rows", len(y), dim=-1):
        numpyro.sample("x", dist.Normal(numpyro.param("m", 0.0) * y, 1.0))


def refused(model, guide, sentence, estimator="dreg"):
    y = jnp.arange(5.0)
    svi = SVI(model, guide, optax.adam(1e-2), jl.ImportanceWeightedELBO(3, estimator))
    with pytest.raises(ValueError, match=sentence):
        svi.run(jax.random.key(0), 1, y, progress_bar=False)


def test_a_global_latent_site_is_refused():
    def guide(y):
        numpyro.sample("scale", dist.LogNormal(numpyro.param("a", 0.0), 0.1))
        local(y)

    refused(other_model, guide, "'scale' stands outside the plate")


def test_a_point_mass_is_allowed_with_other_peoples_pairs():
    """The bound of a model that is no one's but NumPyro's, at the posterior: log p(y) and the log prior."""

    def guide(y):
        numpyro.sample("scale", dist.Delta(numpyro.param("a", 0.5, constraint=dist.constraints.positive)))
        with numpyro.plate("rows", len(y), dim=-1):
            numpyro.sample("x", dist.Normal(y / 1.25, (0.25 / 1.25) ** 0.5))

    y = jnp.arange(5.0)
    found = jl.ImportanceWeightedELBO(3, "dreg").loss(jax.random.key(0), {"a": 0.5}, other_model, guide, y)
    expected = dist.Normal(0, 1.25**0.5).log_prob(y).sum() + dist.HalfNormal(1.0).log_prob(0.5)
    np.testing.assert_allclose(-found, expected, rtol=1e-9)


def test_other_shapes_are_refused():
    def model(y):
        with numpyro.plate("rows", len(y), dim=-1):
            x = numpyro.sample("x", dist.Normal(0, 1))
            with numpyro.plate("items", 2, dim=-2):
                numpyro.sample("y", dist.Normal(x, 1), obs=jnp.stack([y, y]))

    def free(y):
        numpyro.sample("x", dist.Normal(jnp.zeros(len(y)), 1.0))

    def discrete(y):
        with numpyro.plate("rows", len(y), dim=-1):
            numpyro.sample("x", dist.Poisson(numpyro.param("a", 1.0)))

    def elsewhere(y):
        with numpyro.plate("rows", len(y), dim=-1):
            numpyro.sample("z", dist.Normal(numpyro.param("a", 1.0), 1.0))

    refused(model, local, "event")
    refused(model, free, "outside the plate")
    refused(lambda y: numpyro.factor("f", 0.0), lambda y: None, "found none")
    refused(model, elsewhere, "has none of that name in the guide")
    with pytest.warns(UserWarning, match="discrete"):
        refused(model, discrete, "not reparametrised")


def test_gdreg_says_what_it_needs():
    def model(y):
        with numpyro.plate("rows", len(y), dim=-1):
            x = numpyro.sample("x", dist.Normal(0, 1))
            numpyro.sample("y", dist.Normal(x, 1), obs=y)

    refused(model, local, "gdreg", "gdreg")
