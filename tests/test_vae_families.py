"""Likelihoods of deep models against SciPy, and what layers of latent variables must satisfy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxlatent.data.arrays import Arrays
from jaxlatent.guides.normals import CholeskyNormal, DiagonalNormal
from jaxlatent.inference.deep_columns import columns_of
from jaxlatent.latent.layers import Layers
from jaxlatent.measurement.neural_counts import Binomial, Categorical
from jaxlatent.measurement.neural_normal import FLOOR, DecodedNormal, JointNormal, StudentT

RNG = np.random.default_rng(3)
N, P = 7, 4


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def params(**values):
    return {name: jnp.asarray(np.broadcast_to(v, (1, P, np.shape(v)[-1]))) for name, v in values.items()}


def test_normal_with_a_constant_and_with_a_decoded_variance():
    eta, y = RNG.normal(size=(N, P, 2)), RNG.normal(size=(N, P))
    own = params(intercepts=[0.3], dispersion=[0.5])
    constant = DecodedNormal().log_prob(jnp.asarray(eta[..., 0]), own, jnp.asarray(y))
    expected = stats.norm(eta[..., 0] + 0.3, np.sqrt(0.5 + FLOOR)).logpdf(y)
    np.testing.assert_allclose(constant, expected, rtol=1e-12)
    decoded = DecodedNormal(by_network=True).log_prob(jnp.asarray(eta), own, jnp.asarray(y))
    expected = stats.norm(eta[..., 0] + 0.3, np.sqrt(0.5 * np.exp(eta[..., 1]) + FLOOR)).logpdf(y)
    np.testing.assert_allclose(decoded, expected, rtol=1e-12)


def test_a_decoded_variance_never_falls_below_its_floor():
    eta = jnp.stack([jnp.zeros((1, P)), jnp.full((1, P), -1e6)], -1)
    own = params(intercepts=[0.0], dispersion=[1.0])
    assert float(DecodedNormal(by_network=True).variance(eta, own).min()) >= FLOOR


def test_student_t_is_scipys():
    eta, y = RNG.normal(size=(N, P)), RNG.normal(size=(N, P)) * 4
    own = params(intercepts=[-0.2], dispersion=[0.7], degrees=[2.5])
    found = StudentT().log_prob(jnp.asarray(eta), own, jnp.asarray(y))
    np.testing.assert_allclose(found, stats.t(3.5, eta - 0.2, np.sqrt(0.7 + FLOOR)).logpdf(y), rtol=1e-12)


def test_binomial_is_scipys_and_draws_have_its_mean():
    eta = RNG.normal(size=(N, P))
    y = RNG.integers(0, 17, size=(N, P))
    own = params(intercepts=[0.4])
    found = Binomial(16).log_prob(jnp.asarray(eta), own, jnp.asarray(y))
    p = 1 / (1 + np.exp(-eta - 0.4))
    np.testing.assert_allclose(found, stats.binom(16, p).logpmf(y), rtol=1e-9)
    drawn = np.mean([Binomial(16).sample(jax.random.key(k), jnp.asarray(eta), own) for k in range(400)], 0)
    assert np.abs(drawn - 16 * p).max() < 5 * 2 / np.sqrt(400)  # sd of a draw is at most 2
    with pytest.raises(ValueError, match="trials, a whole number from 1"):
        Binomial(0)


@pytest.mark.parametrize("size", [2, 5])
def test_categories_have_probability_one_together(size):
    eta = jnp.asarray(RNG.normal(size=(N, P, size - 1)) * 3)
    own = params(intercepts=RNG.normal(size=size - 1))
    family = Categorical(size)
    shaped = eta if size > 2 else eta[..., 0]
    total = sum(jnp.exp(family.log_prob(shaped, own, jnp.full((N, P), k))) for k in range(size))
    np.testing.assert_allclose(total, 1, rtol=1e-12)
    best = np.argmax([family.log_prob(shaped, own, jnp.full((N, P), k)) for k in range(size)], 0)
    np.testing.assert_array_equal(family.expected(shaped, own), best)


@pytest.mark.parametrize("rank", [2, None])
def test_residual_covariances_are_a_multivariate_normal(rank):
    family = JointNormal(P, rank)
    eta, y = RNG.normal(size=(3, N, P)), RNG.normal(size=(N, P))
    own = params(intercepts=[0.1], dispersion=[0.6])
    own["residual_factors"] = jnp.asarray(RNG.normal(size=(1, P, family.width)) / 2)
    cov = np.asarray(family.covariance(own))
    observed = np.ones((N, P), bool)
    if rank is not None:
        observed = RNG.random((N, P)) < 0.7
    found = np.asarray(family.log_density(jnp.asarray(eta), own, jnp.asarray(y), jnp.asarray(observed)))
    for r in range(3):
        for i in range(N):
            at = np.flatnonzero(observed[i])
            expected = 0.0
            if len(at):
                inner = cov[np.ix_(at, at)]
                expected = stats.multivariate_normal(eta[r, i, at] + 0.1, inner).logpdf(y[i, at])
            assert found[r, i] == pytest.approx(expected, abs=1e-9)
    drawn = np.asarray(family.sample(jax.random.key(0), jnp.zeros((40_000, P)), own))
    assert np.abs(np.cov(drawn.T) - cov).max() < 0.05  # 5 standard errors of a covariance of about 1
    np.testing.assert_allclose(family.expected(jnp.asarray(eta), own), eta + 0.1)


def test_the_divergence_formula_is_its_monte_carlo_value():
    mean, log_scale = jnp.asarray(RNG.normal(size=(5, 3))), jnp.asarray(RNG.normal(size=(5, 3)) / 2)
    below = jnp.asarray(RNG.normal(size=(5, 3)) / 2)
    for q in (DiagonalNormal(mean, log_scale), CholeskyNormal(mean, log_scale, below)):
        x = q.sample(jax.random.key(1), (100_000,))
        each = q.log_prob(x) - stats.norm.logpdf(np.asarray(x)).sum(-1)
        error = np.asarray(each).std(0) / np.sqrt(100_000)
        assert (np.abs(np.asarray(each).mean(0) - np.asarray(q.divergence())) < 5 * error).all()


def test_layers_are_a_density_with_the_inverse_of_its_draws():
    layers = Layers((3, 2), (5,))
    weights = jax.tree.map(lambda a: jnp.asarray(RNG.normal(size=a.shape) / 2), layers.init(jax.random.key(0), 5))
    data = Arrays.of(np.zeros((N, P)))
    found = layers.distribution(weights, data)
    z = jnp.asarray(RNG.normal(size=(N, 5)))
    x = found.transform(z)
    np.testing.assert_allclose(found.inverse(x), z, atol=1e-10)
    jacobian = jax.vmap(jax.jacfwd(found.transform))(z)
    log_det = np.linalg.slogdet(np.asarray(jacobian))[1]
    expected = stats.norm.logpdf(np.asarray(z)).sum(-1) - log_det
    np.testing.assert_allclose(found.log_prob(x), expected, rtol=1e-10)
    assert found.sample(jax.random.key(0), (4, N)).shape == (4, N, 5)


def test_raw_values_and_coded_ones_go_into_each_other():
    y = np.column_stack([RNG.normal(5, 3, 20), RNG.integers(0, 2, 20), RNG.poisson(4, 20), RNG.choice([1, 3, 7], 20)])
    y[2, 0] = np.nan
    names = ("a", "b", "c", "d")
    likelihood = {"a": "normal", "b": "bernoulli", "c": "counts", "d": "categorical"}
    columns = columns_of(y, names, likelihood, "diagonal")
    codes = columns.encode(y)
    assert np.nanmean(codes[:, 0]) == pytest.approx(0) and np.nanstd(codes[:, 0]) == pytest.approx(1)
    assert set(np.unique(codes[:, 3])) == {0, 1, 2}
    np.testing.assert_allclose(columns.decode(codes), y)
    seen = ~np.isnan(codes)
    np.testing.assert_allclose(columns.log_scale(seen), seen[:, 0] * np.log(np.nanstd(y[:, 0])))
    assert any("1 of 80 cells are missing" in note for note in columns.notes)
