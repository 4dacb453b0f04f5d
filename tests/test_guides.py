"""Guides: their distributions, what they see of a person, and that a missing cell's value changes nothing."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from scipy import stats

import jaxlatent as jl
from jaxlatent.guides.encoding import encoding_of
from jaxlatent.guides.function import guide_of
from jaxlatent.guides.guide import check_shape
from jaxlatent.guides.heads import HEADS
from jaxlatent.guides.normals import CholeskyNormal, DiagonalNormal

MIXED = {"a": "2pl", "b": "graded", "c": "normal", "d": "poisson", "e": "graded"}


@pytest.fixture(scope="module")
def bound():
    """Binary, graded, normal and count items with missing cells, a covariate and two groups."""
    rng = np.random.default_rng(0)
    n = 120
    x = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "a": (x + rng.logistic(size=n) > 0) * 1.0,
            "b": np.digitize(x + rng.logistic(size=n), [-1, 1]) * 1.0,
            "c": 5 + 2 * x + rng.normal(size=n),
            "d": rng.poisson(np.exp(0.5 * x)) * 1.0,
            "e": np.digitize(x + rng.logistic(size=n), [-2, 0, 2]) * 1.0,
        }
    )
    frame = frame.mask(rng.uniform(size=frame.shape) < 0.15)
    frame["z"], frame["g"] = rng.normal(size=n), np.where(np.arange(n) % 2, "u", "v")
    return jl.IRT(MIXED, covariates=["z"]).bind(frame, group="g")


def test_columns_of_the_input(bound):
    encoding = encoding_of(bound.model, bound.arrays)
    u = np.asarray(encoding(bound.arrays))
    assert u.shape == (120, encoding.width) and u.dtype == np.float32
    assert encoding.width == (1 + 2 + 1 + 1 + 3) + 5 + 1 + 1  # responses, what is missing, covariate, group
    seen = np.asarray(bound.arrays.observed)
    where = seen[:, encoding.items]
    n = where.shape[1]
    assert (u[:, :n][~where] == 0).all()
    means = np.array([u[:, k][where[:, k]].mean() for k in range(n)])
    np.testing.assert_allclose(means, 0, atol=1e-5)
    np.testing.assert_array_equal(u[:, n : n + 5], 1 - seen)
    a = list(encoding.items).index(0)
    values = np.unique(u[:, a][where[:, a]])
    assert len(values) == 2 and np.isclose(values[1] - values[0], 2)
    np.testing.assert_array_equal(u[:, -1], np.asarray(bound.arrays.group))


@pytest.mark.parametrize("family", sorted(HEADS))
def test_the_value_in_a_missing_cell_changes_nothing(bound, family):
    guide = jl.guides.Amortized(hidden=(8,), family=family).bind(bound.model, bound.arrays)
    params = guide.init(jax.random.key(0))
    filled = jnp.where(bound.arrays.observed, bound.arrays.y, 3)
    run = jax.jit(lambda params, arrays: guide.distribution(params, arrays))
    one, other = run(params, bound.arrays), run(params, replace(bound.arrays, y=filled))
    x = one.sample(jax.random.key(1), (3,))
    np.testing.assert_array_equal(one.log_prob(x), other.log_prob(x))
    np.testing.assert_array_equal(x, other.sample(jax.random.key(1), (3,)))
    # what was observed does change it
    moved = jnp.where(bound.arrays.observed, bound.arrays.y + 1, 0)
    assert np.abs(one.log_prob(x) - run(params, replace(bound.arrays, y=moved)).log_prob(x)).max() > 0.01


@pytest.mark.parametrize("family", sorted(HEADS))
def test_single_precision_shapes_and_keys(bound, family):
    with jax.enable_x64(True):
        guide = jl.guides.Amortized(hidden=(8, 4), family=family).bind(bound.model, bound.arrays)
        params = guide.init(jax.random.key(0))
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
        q = check_shape(guide.distribution(params, bound.arrays), 120, 1)
        x = q.sample(jax.random.key(0), (2,))
        assert x.shape == (2, 120, 1) and x.dtype == q.log_prob(x).dtype == jnp.float32
        many = jax.vmap(guide.init)(jax.random.split(jax.random.key(0), 2))
        kernel = many["network"]["layer0"]["kernel"]
        assert np.abs(kernel[0] - kernel[1]).max() > 0.1


def test_a_bound_guide_is_an_argument_of_compiled_code(bound):
    guide = jl.guides.Amortized(hidden=(8,)).bind(bound.model, bound.arrays)
    params = jax.jit(lambda g, key: g.init(key))(guide, jax.random.key(0))
    by_argument = jax.jit(lambda g, p, a: g.distribution(p, a).mean)(guide, params, bound.arrays)
    np.testing.assert_allclose(by_argument, guide.distribution(params, bound.arrays).mean, rtol=1e-5, atol=1e-6)
    assert hash(jl.guides.Amortized()) == hash(jl.guides.Amortized((128, 128)))


def test_it_starts_at_the_posterior_of_normal_items():
    """With normal items and the true starting values nothing is approximate, but for a network near 0."""
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(300, 2))
    slopes = np.array([[1.0, 0], [0.8, 0], [1.2, 0], [0, 1.0], [0, 0.7], [0, 0.9]])
    y = factors @ slopes.T + rng.normal(size=(300, 6)) * 0.7
    bound = jl.IRT("normal", factors=(slopes > 0).astype(int)).bind(y)
    guide = jl.guides.Amortized(hidden=(4,), family="full").bind(bound.model, bound.arrays)
    q = guide.distribution(guide.init(jax.random.key(0)), bound.arrays)
    params = jax.tree.map(np.asarray, bound.model.layout.unpack(jnp.asarray(bound.model.layout.start)))
    lam, psi = params["loadings"][0], params["factor_cov"][0]
    weights = lam / params["dispersion"][0]
    cov = np.linalg.inv(np.linalg.inv(psi) + weights.T @ lam)
    mean = (y - params["intercepts"][0][:, 0]) @ weights @ cov
    for k in range(2):
        assert np.corrcoef(mean[:, k], q.mean[:, k])[0, 1] > 0.995
    assert 0.6 < np.asarray(q.variance).mean() / np.diagonal(cov).mean() < 1.6


@pytest.mark.parametrize("d", [1, 2, 4])
def test_the_normal_with_a_cholesky_factor(d):
    rng = np.random.default_rng(d)
    n = 3
    mean, log_diagonal = rng.normal(size=(n, d)), rng.normal(size=(n, d)) * 0.3
    below = rng.normal(size=(n, d * (d - 1) // 2))
    with jax.enable_x64(True):
        q = CholeskyNormal(*(jnp.asarray(a) for a in (mean, log_diagonal, below)))
        x = q.sample(jax.random.key(0), (40_000,))
        found, cov = np.asarray(q.log_prob(x)), np.asarray(q.covariance_matrix)
        variance = np.asarray(q.variance)
    for i in range(n):
        root = np.diag(np.exp(log_diagonal[i]))
        root[np.tril_indices(d, -1)] = below[i]
        np.testing.assert_allclose(cov[i], root @ root.T, rtol=1e-12)
        expected = stats.multivariate_normal(mean[i], cov[i]).logpdf(x[:, i])
        np.testing.assert_allclose(found[:, i], expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(np.cov(x[:, i].T), cov[i], atol=0.05 * np.abs(cov[i]).max())
    np.testing.assert_allclose(variance, cov[:, range(d), range(d)])


@pytest.mark.parametrize("width", [1, 3])
def test_the_normal_with_independent_coordinates(width):
    rng = np.random.default_rng(0)
    mean, log_scale = rng.normal(size=(2, 3)), rng.normal(size=(2, width))
    with jax.enable_x64(True):
        q = DiagonalNormal(jnp.asarray(mean), jnp.asarray(log_scale))
        x = q.sample(jax.random.key(0), (5,))
        found = np.asarray(q.log_prob(x))
    expected = stats.norm(mean, np.exp(log_scale)).logpdf(x).sum(-1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# ---- functions as guides, and bad input -----------------------------------------------------------------------------


def test_a_function_is_a_guide(bound):
    def function(y, observed, covariates):
        assert covariates.shape == (120, 1)
        mean = jnp.where(observed, y, 0).mean(-1, keepdims=True)
        return dist.Normal(mean, 1.0)

    guide = guide_of(function).bind(bound.model, bound.arrays)
    q = check_shape(guide.distribution(guide.init(jax.random.key(0)), bound.arrays), 120, 1)
    assert q.batch_shape == (120,) and q.event_shape == (1,)
    odd = replace(bound.arrays, y=jnp.where(bound.arrays.observed, bound.arrays.y, 9))
    np.testing.assert_array_equal(guide.distribution({}, odd).mean, guide.distribution({}, bound.arrays).mean)


@pytest.mark.parametrize(
    ("distribution", "sentence"),
    [
        (dist.Normal(jnp.zeros(120), 1.0), r"event shape \(1,\).*got batch shape \(120,\)"),
        (dist.Normal(jnp.zeros((120, 2)), 1.0), r"got batch shape \(120, 2\)"),
        (dist.Normal(jnp.zeros((60, 1)), 1.0).to_event(1), r"got batch shape \(60,\)"),
        (jnp.zeros((120, 1)), "NumPyro distribution"),
    ],
)
def test_another_shape_is_refused(bound, distribution, sentence):
    guide = jl.numpyro_guide(bound, lambda y, observed, covariates: distribution)
    with pytest.raises(ValueError, match=sentence):
        guide(bound.arrays)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"family": "student"}, "isotropic, diagonal, full"),
        ({"hidden": (0,)}, "hidden"),
        ({"hidden": (8, 2.5)}, "hidden"),
        ({"hidden": "wide"}, "hidden"),
    ],
)
def test_amortized_refuses(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        jl.guides.Amortized(**arguments)


def test_what_is_no_guide_is_refused(bound):
    with pytest.raises(ValueError, match=r"guides.Amortized"):
        jl.numpyro_guide(bound, "full")
