"""Guides with flows and with parameters of persons: bounds, new persons, who depends on whose answers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxlatent as jl
from jaxlatent.data.arrays import Arrays
from jaxlatent.guides import Amortized, Free, SemiAmortized
from jaxlatent.integration.gauss_hermite import grid

N = 60


@pytest.fixture(scope="module")
def bound():
    """Sixty persons, six items, one factor; every parameter at its start."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(N)
    p = 1 / (1 + np.exp(-(2 * x[:, None] + np.linspace(-2, 2, 6))))
    return jl.IRT("2pl").bind((rng.uniform(size=p.shape) < p).astype(float))


def params_of(bound):
    found = bound.model.layout.unpack(np.asarray(bound.model.layout.start, np.float32))
    single = {k: jnp.asarray(v, jnp.float32) for k, v in found.items()}
    return single | dict(bound.model.networks(jax.random.key(1)))


def elbo_of(bound, normal, params):
    """The evidence lower bound of every person under N(mean, L L'), by quadrature, so without noise."""
    z, log_w = grid(21, 1)
    x = normal.moved(jnp.asarray(z, jnp.float32)[:, None])
    model, arrays = bound.model, bound.arrays
    log_ratio = model.log_prob_given_latent(params, x, arrays) - normal.log_prob(x)
    log_ratio = log_ratio + model.latent_distribution(params, arrays).log_prob(x)
    return jnp.exp(jnp.asarray(log_w, jnp.float32)) @ log_ratio


def best(bound, guide, steps=400):
    """The bound [person] at the end of some hundred steps of Adam on all persons."""
    params, own = params_of(bound), guide.bind(bound.model, bound.arrays)
    adam = optax.adam(optax.cosine_decay_schedule(3e-2, steps))

    def loss(learned):
        return -elbo_of(bound, own.distribution(learned, bound.arrays), params).sum()

    @jax.jit
    def run(learned):
        def step(carry, _):
            learned, state = carry
            updates, state = adam.update(jax.grad(loss)(learned), state)
            return (optax.apply_updates(learned, updates), state), None

        (learned, _), _ = jax.lax.scan(step, (learned, adam.init(learned)), length=steps)
        return elbo_of(bound, own.distribution(learned, bound.arrays), params)

    return np.asarray(run(own.init(jax.random.key(0))))


def test_free_bounds_are_at_least_amortized_ones(bound):
    """The network here is too small to serve everybody; whose numbers are his own comes closest to log p(y)."""
    amortized, free, semi = (best(bound, g) for g in (Amortized((1,)), Free(), SemiAmortized((1,))))
    assert free.sum() > amortized.sum() and semi.sum() > amortized.sum()
    assert (free > amortized - 1e-3).all()
    np.testing.assert_allclose(semi, free, atol=5e-3)
    from jaxlatent.integration.gauss_hermite import GaussHermite

    exact = np.asarray(GaussHermite(61).log_marginal(bound.model, params_of(bound), bound.arrays))
    assert (free <= exact + 1e-4).all() and (exact - free).mean() < 0.02


def test_variational_em_of_a_network_decoder(bound):
    """Free numbers of persons under a network: at one decoder their bound is no worse, and the engine takes them."""
    answers = np.asarray(bound.arrays.y)
    deep = jl.VAE(1, "bernoulli", hidden=(4,)).bind(answers)
    amortized, free = (best(deep, g) for g in (Amortized((1,)), Free()))
    assert free.sum() > amortized.sum() and (free > amortized - 1e-3).all()
    fit = jl.VAE(1, "bernoulli", hidden=(4,)).fit(answers, jl.AmortizedVI(guide=Free(), max_epochs=3))
    known, new = fit.log_likelihoods(), fit.log_likelihoods(answers)
    assert fit.engine.guide == Free() and len(fit.scores()) == N
    np.testing.assert_allclose(known, new, atol=0.5)  # persons of the fit, and the same answers as new persons


GUIDES = [Free("full"), SemiAmortized((4,), "diagonal"), SemiAmortized((4,), "flow")]


def moved(tree):
    """Parameters away from their start."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda a: a + jnp.asarray(0.2 * rng.standard_normal(a.shape), a.dtype), tree)


@pytest.mark.parametrize("guide", GUIDES, ids=str)
def test_persons_in_another_order_and_in_part(bound, guide):
    own = guide.bind(bound.model, bound.arrays)
    params = moved(own.init(jax.random.key(0)))
    x = jnp.linspace(-2, 2, N)[:, None]
    every = own.distribution(params, bound.arrays).log_prob(x)
    order = np.random.default_rng(2).permutation(N)[:20]
    rows = jax.tree.map(lambda a: a[order], bound.arrays)
    some = own.distribution(params, rows, jnp.asarray(order)).log_prob(x[order])
    np.testing.assert_allclose(some, every[order], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("guide", GUIDES[:2], ids=str)
def test_new_persons_have_nothing_of_their_own(bound, guide):
    own = guide.bind(bound.model, bound.arrays)
    start = own.init(jax.random.key(0))
    learned = dict(start, own=start["own"] + 1)
    x = jnp.zeros((5, 1))
    rows = jax.tree.map(lambda a: a[:5], bound.arrays)
    at_start = own.distribution(start, rows, jnp.arange(5)).log_prob(x)
    for persons in (None, jnp.full(5, -1)):
        np.testing.assert_allclose(own.distribution(learned, rows, persons).log_prob(x), at_start, rtol=1e-6)
    known = own.distribution(learned, rows, jnp.arange(5)).log_prob(x)
    assert np.abs(known - at_start).min() > 1e-3


def test_free_parameters_depend_on_ones_own_answers_only(bound):
    guide = Free("full").bind(bound.model, bound.arrays)
    start, params = guide.init(jax.random.key(0)), params_of(bound)

    @jax.jit
    def gradient(y):
        arrays = Arrays(y, bound.arrays.observed, bound.arrays.group, bound.arrays.weight)
        loss = lambda own: elbo_of(bound, guide.distribution(start | {"own": own}, arrays), params).sum()  # noqa: E731
        return jax.grad(loss)(start["own"])

    before = gradient(bound.arrays.y)
    after = gradient(bound.arrays.y.at[7].set(1 - bound.arrays.y[7]))
    differs = np.abs(np.asarray(after - before)).max(1) > 1e-6
    assert differs[7] and differs.sum() == 1


@pytest.mark.parametrize("d", [1, 2])
def test_a_flow_guide_integrates_to_one_and_its_draws_follow_it(bound, d):
    """By importance sampling from a wider normal, and by the mean under both."""
    from jaxlatent.guides.heads import head_of

    head = head_of("flow")
    start = {k: jnp.asarray(v, jnp.float32) for k, v in head.start(np.eye(d) * 0.5).items()}
    params = start | moved(head.networks(jax.random.key(0), d))
    output = jnp.full((1, head.size(d)), 0.1)

    @jax.jit
    def everything(params, key):
        q = head.distribution(params, jnp.ones((1, d)), output)
        x = q.sample(key, (40_000,))
        wide = 1 + 2.5 * jax.random.normal(key, (40_000, 1, d))
        log_wide = -(((wide - 1) / 2.5) ** 2).sum(-1) / 2 - d * np.log(2.5 * np.sqrt(2 * np.pi))
        return x[:, 0], wide[:, 0], jnp.exp(q.log_prob(wide) - log_wide)[:, 0]

    x, wide, weight = map(np.asarray, everything(params, jax.random.key(1)))
    error = weight.std() / np.sqrt(len(weight))
    assert abs(weight.mean() - 1) < 5 * error < 0.2
    by_weights = weight[:, None] * wide
    errors = np.hypot(by_weights.std(0), x.std(0)) / np.sqrt(len(x))
    assert (np.abs(by_weights.mean(0) - x.mean(0)) < 5 * errors).all()


BAD = {
    "family": (lambda: Free("cubic"), "family of a guide among.*flow; got 'cubic'"),
    "semi family": (lambda: SemiAmortized(family="cubic"), "got 'cubic'"),
    "widths": (lambda: SemiAmortized((0,)), "Expected"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, sentence = BAD[name]
    with pytest.raises(ValueError, match=sentence):
        call()
