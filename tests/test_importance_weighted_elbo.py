"""The importance-weighted bound against the linear Gaussian model, in which everything is known."""

from __future__ import annotations

from functools import cache

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
from jaxlatent.guides.normals import CholeskyNormal, DiagonalNormal, normal_divergence
from jaxlatent.latent.structural import NormalByGroup
from jaxlatent.models.item_responses import LatentPrior

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


@pytest.fixture(scope="module")
def pair(bound):
    with jax.enable_x64(True):
        return jl.numpyro_pair(bound, exact(bound))


@pytest.fixture(scope="module")
def losses(bound, pair):
    """Loss [key] of so many particles; compiled once for each number and estimator."""

    @cache
    def program(particles, estimator):
        elbo = jl.ImportanceWeightedELBO(particles, estimator)
        one = lambda values, key: elbo.loss(key, values, pair.model, pair.guide, bound.arrays)  # noqa: E731
        return jax.jit(jax.vmap(one, (None, 0)))

    return lambda values, particles, estimator, keys: np.asarray(program(particles, estimator)(values, keys))


@pytest.fixture(scope="module")
def gradients(bound, pair):
    """Gradients [key, ...] of the loss by name of param."""

    @cache
    def program(particles, estimator):
        elbo = jl.ImportanceWeightedELBO(particles, estimator)
        loss = lambda values, key: elbo.loss(key, values, pair.model, pair.guide, bound.arrays)  # noqa: E731
        return jax.jit(jax.vmap(jax.grad(loss), (None, 0)))

    def run(values, particles, estimator, keys):
        return jax.tree.map(np.asarray, program(particles, estimator)(values, keys))

    return run


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


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


def test_divergences_of_normal_distributions():
    """By the formula, and by quadrature of log q - log p, which is exact for it is quadratic; two groups."""
    rng, n = np.random.default_rng(0), 6
    roots = np.tril(rng.normal(size=(2, 2, 2))) + 2 * np.eye(2)
    group = jnp.asarray(np.arange(n) % 2)
    prior = NormalByGroup(jnp.asarray(rng.normal(size=(2, 2))), jnp.asarray(roots @ roots.transpose(0, 2, 1)), group)
    mean, scale = jnp.asarray(rng.normal(size=(n, 2))), jnp.asarray(0.3 * rng.normal(size=(n, 2)))
    z, w = np.polynomial.hermite_e.hermegauss(3)
    nodes = np.stack(np.meshgrid(z, z), -1).reshape(-1, 1, 2)
    weight = np.outer(w, w).reshape(-1) / w.sum() ** 2
    below = jnp.asarray(rng.normal(size=(n, 1)))
    for q in (DiagonalNormal(mean, scale), DiagonalNormal(mean, scale[:, :1]), CholeskyNormal(mean, scale, below)):
        x = q.moved(jnp.asarray(nodes)) if isinstance(q, CholeskyNormal) else q.mean + jnp.sqrt(q.variance) * nodes
        found = normal_divergence(q, LatentPrior(prior, n))
        np.testing.assert_allclose(found, weight @ (q.log_prob(x) - prior.log_prob(x)), atol=1e-10)
    standard = NormalByGroup(jnp.zeros((1, 2)), jnp.eye(2)[None], jnp.zeros(n, int))
    np.testing.assert_allclose(normal_divergence(q, LatentPrior(standard, n)), q.divergence(), atol=1e-12)
    assert normal_divergence(dist.Normal(0, 1), LatentPrior(prior, n)) is None
    assert normal_divergence(q, dist.Normal(0, 1)) is None


def test_the_analytic_divergence_changes_no_mean(bound, gradients, losses):
    """The bound and its gradients by the guide, the measurement and p(x), with one particle."""
    values = at(bound, move=0.3, widen=0.2)
    sampled, exact = (losses(values, 1, each, keys(3000, k)) for k, each in enumerate(("elbo", "analytic")))
    assert apart(sampled, exact) < 4
    a, b = (gradients(values, 1, each, keys(3000, 5 + k)) for k, each in enumerate(("elbo", "analytic")))
    for name, each in a.items():
        assert apart(each, b[name]) < 4, name
    assert b["factor_cov_free"].std() < 1e-9 < a["factor_cov_free"].std()  # p(x) is in the divergence only


@pytest.mark.parametrize("estimator", ["elbo", "iwae", "dreg", "gdreg"])
def test_with_the_posterior_as_guide_the_bound_is_the_log_likelihood(bound, losses, estimator):
    """Then every weight is p(y), whatever is drawn."""
    found = losses(at(bound), 5, estimator, keys(2))
    np.testing.assert_allclose(-found, log_p(bound, start(bound)).sum(), rtol=1e-9)


def test_the_bound_rises_to_the_log_likelihood(bound, losses):
    values, target = at(bound, move=0.4, widen=0.3), float(log_p(bound, start(bound)).sum())
    means, errors = [], []
    for particles in (1, 5, 25, 100, 1000):
        found = -losses(values, particles, "iwae", keys(max(4000 // particles, 16), particles))
        means.append(found.mean())
        errors.append(found.std() / len(found) ** 0.5)
    gaps = target - np.array(means)
    assert (np.diff(means) > -3 * np.hypot(errors[1:], errors[:-1])).all()
    assert gaps[0] > 10 * errors[0] and gaps[0] > 20 * gaps[3]  # the gap is of order 1 / R
    assert abs(gaps[4]) < 3 * errors[4] + gaps[0] / 100


def test_the_signal_of_the_guides_gradient_falls_with_iwae_only(bound, gradients):
    """Rainforth et al. (2018): signal-to-noise of order R^-1/2 for "iwae"; Tucker et al. (2018): R^1/2 for "dreg"."""
    values = at(bound, move=0.3, widen=0.2)

    def ratio(particles, estimator):
        g = gradients(values, particles, estimator, keys(400, 7))["move"]
        return abs(g.mean()) / g.std()

    assert ratio(100, "iwae") < ratio(1, "iwae") / 3
    assert ratio(100, "dreg") > ratio(1, "dreg")
    assert ratio(100, "dreg") > 10 * ratio(100, "iwae")


def apart(a, b):
    """The largest z-score of a difference of two means over axis 0; above 4 is a chance of 1 in 10,000."""
    z = (a.mean(0) - b.mean(0)) / np.sqrt(a.var(0) / len(a) + b.var(0) / len(b) + 1e-20)
    return np.abs(z).max()


@pytest.mark.parametrize("estimator", ["dreg", "gdreg"])
def test_estimators_that_should_agree_do(bound, gradients, estimator):
    """Gradients of the bound by parameters of the guide, of the measurement and of p(x), at five particles."""
    values = at(bound, move=0.3, widen=0.2)
    a, b = (gradients(values, 5, each, keys(4000, seed)) for seed, each in ((1, "iwae"), (2, estimator)))
    for name, each in a.items():
        assert apart(each, b[name]) < 4, name
    assert b["move"].std() < a["move"].std()  # what they are for
    if estimator == "gdreg":
        assert b["factor_cov_free"].std() != gradients(values, 5, "dreg", keys(4000, 2))["factor_cov_free"].std()


def test_stl_is_the_elbo_with_one_particle(bound, gradients):
    values = at(bound, move=0.3, widen=0.2)
    a, b = (gradients(values, 1, each, keys(2000, 3)) for each in ("elbo", "stl"))
    for name, each in a.items():
        assert apart(each, b[name]) < 4, name


def test_one_particle_is_numpyros_elbo(bound, pair, losses):
    values = at(bound, move=0.3)
    one = lambda key: Trace_ELBO().loss(key, values, pair.model, pair.guide, bound.arrays)  # noqa: E731
    theirs = np.asarray(jax.jit(jax.vmap(one))(keys(500, 4)))
    assert apart(losses(values, 1, "iwae", keys(500, 5)), theirs) < 4


def test_weights_of_persons_stand_outside_the_logarithm(bound, pair):
    weight = jnp.asarray(np.random.default_rng(1).uniform(0.5, 2, N))
    arrays = Arrays(bound.arrays.y, bound.arrays.observed, bound.arrays.group, weight)
    layout = bound.model.layout
    loss = lambda v, key: jl.ImportanceWeightedELBO(5, "dreg").loss(key, v, pair.model, pair.guide, arrays)  # noqa: E731
    found, by = jax.jit(jax.vmap(jax.value_and_grad(loss), (None, 0)))(at(bound), keys(4000))
    np.testing.assert_allclose(-found, weight @ log_p(bound, start(bound)), rtol=1e-9)
    true = jax.grad(lambda free: weight @ log_p(bound, layout.unpack(free)))(jnp.asarray(layout.start))
    for block in layout.blocks:
        mean, sd = np.asarray(by[f"{block.name}_free"]).mean(0), np.asarray(by[f"{block.name}_free"]).std(0)
        assert (np.abs(mean + true[np.array(block.positions)]) < 4 * sd / 4000**0.5).all()


def test_mini_batches_add_up_to_the_whole(bound, pair):
    """The loss of a mini-batch is that of all persons in the mean; with the posterior as guide, exactly."""
    elbo, values = jl.ImportanceWeightedELBO(5, "iwae"), at(bound)
    batches = jnp.asarray(np.random.default_rng(0).permutation(N).reshape(4, -1))

    @jax.jit
    @jax.vmap
    def loss(persons):
        rows = jax.tree.map(lambda a: a[persons], bound.arrays)
        return elbo.loss(jax.random.key(0), values, pair.model, pair.guide, rows, persons, N)

    assert np.asarray(loss(batches)).std() > 0
    np.testing.assert_allclose(-loss(batches).mean(), log_p(bound, start(bound)).sum(), rtol=1e-9)


def test_the_plate_may_draw_the_mini_batch(bound):
    drawn = jl.numpyro_pair(bound, exact(bound), batch_size=10)
    elbo, values = jl.ImportanceWeightedELBO(2, "iwae"), at(bound)
    one = lambda key: elbo.loss(key, values, drawn.model, drawn.guide, bound.arrays)  # noqa: E731
    found = -np.asarray(jax.jit(jax.vmap(one))(keys(2000)))
    target = float(log_p(bound, start(bound)).sum())
    assert found.std() > 0  # other persons for every key
    assert abs(found.mean() - target) < 4 * found.std() / len(found) ** 0.5


@pytest.mark.parametrize("estimator", ["iwae", "gdreg"])
def test_priors_of_parameters_count_once(bound, pair, estimator):
    """A pair that samples parameters has their log prior outside the weights of persons, not R or N times."""
    other = jl.numpyro_pair(bound, exact(bound), parameters="sample")
    elbo, key, values = jl.ImportanceWeightedELBO(5, estimator), jax.random.key(0), at(bound)
    names = [name for name in values if name.endswith("_free")]

    def guide(arrays):
        for name in names:  # so that both pairs draw the same x from one key
            numpyro.sample(f"unused_{name}", dist.Delta(0.0))
        pair.guide(arrays)

    @jax.jit
    @jax.value_and_grad
    def plain(v):
        return elbo.loss(key, v, pair.model, guide, bound.arrays)

    @jax.jit
    @jax.value_and_grad
    def loss(v):
        masses = {f"{name}_auto_loc" if name in names else name: each for name, each in v.items()}
        return elbo.loss(key, masses, other.model, other.guide, bound.arrays)

    @jax.jit
    @jax.value_and_grad
    def log_prior(v):
        data = {name: v[name] for name in names} | {"latent": jnp.zeros((N, 1))}
        run = numpyro.handlers.substitute(numpyro.handlers.seed(other.model, key), data)
        trace = numpyro.handlers.trace(run).get_trace(bound.arrays)
        return sum(trace[name]["fn"].log_prob(v[name]) for name in names)

    (a, by_a), (b, by_b), (p, by_p) = plain(values), loss(values), log_prior(values)
    np.testing.assert_allclose(a - b, p, rtol=1e-8)
    for name in values:
        np.testing.assert_allclose(by_b[name], by_a[name] - by_p[name], rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_it_runs_in_svi_in_a_scan_and_under_vmap(bound):
    pair = jl.numpyro_pair(bound, jl.guides.Amortized(hidden=(8,)))
    svi = SVI(pair.model, pair.guide, optax.adam(1e-2), jl.ImportanceWeightedELBO(4, "dreg"))
    by_run = svi.run(jax.random.key(0), 30, bound.arrays, progress_bar=False)
    assert by_run.losses[-5:].mean() < by_run.losses[:5].mean()

    def train(state):
        return jax.lax.scan(lambda s, _: svi.update(s, bound.arrays), state, length=30)

    many = jnp.stack([jax.random.key(0), jax.random.key(1)])
    states, together = jax.jit(jax.vmap(lambda key: train(svi.init(key, bound.arrays))))(many)
    np.testing.assert_allclose(together[0], by_run.losses, rtol=1e-4)
    kernel = svi.get_params(states)["guide"]["network"]["layer0"]["kernel"]
    assert np.abs(kernel[0] - kernel[1]).max() > 0.1  # other networks for other keys
    assert not np.allclose(together[0], together[1], rtol=1e-6)


# ---- draws and weights ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lsat():
    """A fitted 2PL, its parameters and exact scores."""
    with jax.enable_x64(True):
        frame = jl.datasets.load("lsat7")
        fit, bound = jl.IRT("2pl").fit(frame), jl.IRT("2pl").bind(frame)
        params = start(bound) | {
            "loadings": jnp.asarray(fit.loadings)[None],
            "intercepts": jnp.asarray(fit.intercepts)[None],
        }
        return bound, params, fit.scores().to_numpy()


def test_scores_of_an_untrained_guide_are_the_exact_ones(lsat):
    """Self-normalised importance sampling: Σ_r v_r x_r, R = 1000."""
    bound, params, exact_scores = lsat
    guide = jl.guides.Amortized(hidden=(16,)).bind(bound.model, bound.arrays)

    @jax.jit
    def scores(key):
        q = guide.distribution(guide.init(key), bound.arrays)
        x = q.sample(key, (1000,))
        log_w = bound.model.log_prob_given_latent(params, x, bound.arrays) - q.log_prob(x)
        log_w = log_w + bound.model.latent_distribution(params, bound.arrays).log_prob(x)
        return (jax.nn.softmax(log_w, 0)[..., None] * x).sum(0)

    found = np.asarray(scores(jax.random.key(0)))
    assert np.corrcoef(found[:, 0], exact_scores[:, 0])[0, 1] > 0.999


@pytest.mark.slow
def test_resampled_draws_have_the_posterior_distribution(lsat):
    """Of one draw out of R by its weights: the Kolmogorov-Smirnov distance from the posterior falls with R."""
    bound, params, _ = lsat
    one = jax.tree.map(lambda a: a[-1:], bound.arrays)
    grid = np.linspace(-7, 7, 4001)

    def log_joint(x):
        prior = bound.model.latent_distribution(params, one).log_prob(x)
        return bound.model.log_prob_given_latent(params, x, one) + prior

    density = np.exp(np.asarray(log_joint(jnp.asarray(grid)[:, None, None]))[:, 0])
    below = np.cumsum(density) / density.sum()
    q = DiagonalNormal(jnp.full((1, 1), -1.0), jnp.zeros((1, 1)))

    def distance(particles):
        def draw(key):
            ours, theirs = jax.random.split(key)
            x = q.sample(ours, (particles,))
            log_w = log_joint(x) - q.log_prob(x)
            upto = jnp.cumsum(jax.nn.softmax(log_w[:, 0]))
            return x[jnp.searchsorted(upto, jax.random.uniform(theirs) * upto[-1]), 0, 0]

        x = np.sort(jax.jit(lambda k: jax.lax.map(draw, k, batch_size=1000))(keys(12_000)))
        at_x = np.interp(x, grid, below)
        ranks = np.arange(len(x) + 1) / len(x)
        return max(np.abs(at_x - ranks[1:]).max(), np.abs(at_x - ranks[:-1]).max())

    found = [distance(particles) for particles in (1, 10, 1000)]
    assert found[0] > 2 * found[1] > 2 * found[2]
    assert found[2] < 0.02  # 1.36 / sqrt(12,000) = .012 is Monte Carlo error in 95 %


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("particles", [0, -1, 2.5, True, "3"])
def test_particles_are_a_count(particles):
    with pytest.raises(ValueError, match="particles"):
        jl.ImportanceWeightedELBO(particles)


def test_estimators_have_names():
    with pytest.raises(ValueError, match="elbo, analytic, iwae, dreg, stl, gdreg"):
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

    refused(model, local, "broadcast|event")
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
