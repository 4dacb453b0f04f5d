"""StructuredNormal inside NumPyro: density, transformations, real runs of SVI and NUTS."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
from jax.scipy.linalg import block_diag
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO

from jaxlatent.data.arrays import Arrays
from jaxlatent.models.gaussian_distribution import StructuredNormal
from jaxlatent.models.numpyro_model import gaussian_model
from jaxlatent.spec.layout import Block, Layout

P, M = 5, 2


def arguments(*, dense=False, structure=True, dtype="float64"):
    rng = np.random.default_rng(0)
    theta = rng.uniform(0.5, 1, P)
    parts = [rng.uniform(0.4, 1.2, (P, M)), rng.standard_normal(P), np.diag(theta) if dense else theta]
    parts += [np.array([[1.0, 0.3], [0.3, 0.8]])]
    if structure:
        parts += [np.array([[0.0, 0.0], [0.6, 0.0]]), np.array([0.2, -0.4])]
    if dense:
        parts[2][0, 1] = parts[2][1, 0] = 0.2
    return [jnp.asarray(part, dtype) for part in parts]


def moments(args):
    loadings, intercepts, theta, psi, *rest = (np.asarray(a) for a in args)
    b, alpha = rest or (np.zeros((M, M)), np.zeros(M))
    total = loadings @ np.linalg.inv(np.eye(M) - b)
    return intercepts + total @ alpha, total @ psi @ total.T + (np.diag(theta) if theta.ndim == 1 else theta)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


CASES = [(dense, structure) for dense in (False, True) for structure in (False, True)]


@pytest.mark.parametrize(("dense", "structure"), CASES)
def test_density_and_moments(x64, dense, structure):
    args = arguments(dense=dense, structure=structure)
    d, (mean, cov) = StructuredNormal(*args, validate_args=True), moments(args)
    peer = dist.MultivariateNormal(mean, cov)
    y = np.random.default_rng(1).standard_normal((3, 4, P))
    np.testing.assert_allclose(d.log_prob(y), peer.log_prob(y), rtol=1e-11)
    np.testing.assert_allclose(d.log_prob(y[0, 0]), peer.log_prob(y[0, 0]), rtol=1e-11)
    np.testing.assert_allclose(d.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(d.covariance_matrix, cov, rtol=1e-12)
    np.testing.assert_allclose(d.variance, np.diag(cov), rtol=1e-12)
    assert d.batch_shape == () and d.event_shape == (P,) and d.event_dim == 1 and d.has_rsample


@pytest.mark.parametrize("dense", [False, True])
def test_nan_cells_are_marginalised_and_leave_gradients_finite(x64, dense):
    args = arguments(dense=dense)
    mean, cov = moments(args)
    y = np.random.default_rng(2).standard_normal((30, P))
    y[np.random.default_rng(3).uniform(size=y.shape) < 0.4] = np.nan
    y[0] = np.nan
    expected = [dist.MultivariateNormal(mean[o], cov[np.ix_(o, o)]).log_prob(r[o]) if o.any() else 0.0
                for r, o in zip(y, ~np.isnan(y), strict=True)]  # fmt: skip
    with dist.distribution.validation_enabled():
        np.testing.assert_allclose(StructuredNormal(*args).log_prob(y), expected, rtol=1e-11, atol=1e-12)

    @jax.jit
    def total(*args):
        return StructuredNormal(*args).log_prob(y).sum()

    slopes = jax.jit(jax.grad(total, tuple(range(6))))(*args)
    h = 1e-6
    for k, slope in enumerate(slopes):
        along = np.random.default_rng(k).standard_normal(args[k].shape)
        if k in (2, 3) and along.ndim == 2:
            along = along + along.T
        ends = [total(*args[:k], args[k] + s * h * along, *args[k + 1 :]) for s in (1, -1)]
        np.testing.assert_allclose((slope * along).sum(), (ends[0] - ends[1]) / (2 * h), rtol=1e-6)


@pytest.mark.parametrize("dense", [False, True])
def test_a_pytree_under_jit_and_vmap(x64, dense):
    args = arguments(dense=dense)
    y = np.random.default_rng(4).standard_normal((7, P))
    d = StructuredNormal(*args)
    expected = d.log_prob(y)
    leaves, structure = jax.tree.flatten(d)
    np.testing.assert_allclose(jax.tree.unflatten(structure, leaves).log_prob(y), expected)
    np.testing.assert_allclose(jax.jit(lambda d, y: d.log_prob(y))(d, y), expected, rtol=1e-12)
    stacked = jax.tree.map(lambda a: jnp.stack([a, 1.1 * a]), d)
    lanes = jax.jit(jax.vmap(lambda d: d.log_prob(y)))(stacked)
    each = [StructuredNormal(*(s * a for a in args)).log_prob(y) for s in (1, 1.1)]
    np.testing.assert_allclose(lanes, np.stack(each), rtol=1e-11)


@pytest.mark.parametrize("dense", [False, True])
def test_draws_have_the_moments_and_are_reparametrised(x64, dense):
    args = arguments(dense=dense)
    d, (mean, cov) = StructuredNormal(*args), moments(args)
    y = d.sample(jax.random.key(0), (200, 300))
    assert y.shape == (200, 300, P) and d.sample(jax.random.key(0)).shape == (P,)
    np.testing.assert_allclose(y.mean((0, 1)), mean, atol=0.04)
    np.testing.assert_allclose(np.cov(y.reshape(-1, P).T), cov, atol=0.06)
    slope = jax.grad(lambda v: StructuredNormal(args[0], v, *args[2:]).sample(jax.random.key(1)).sum())(args[1])
    np.testing.assert_allclose(slope, 1.0)


def test_the_shape_of_the_residuals_decides_not_their_values(x64):
    """A matrix that happens to be diagonal still has a derivative by its covariances."""
    args = arguments()
    y = np.random.default_rng(5).standard_normal((20, P))
    theta = jnp.diag(args[2])
    slope = jax.grad(lambda t: StructuredNormal(*args[:2], t, *args[3:]).log_prob(y).sum())(theta)
    assert abs(slope[0, 1]) > 1e-3


def test_float32_in_float32_out():
    args = arguments(dtype="float32")
    y = np.random.default_rng(6).standard_normal((9, P)).astype("float32")
    y[2, 3] = np.nan
    found = StructuredNormal(*args).log_prob(y)
    assert found.dtype == jnp.float32
    with jax.enable_x64(True):
        exact = StructuredNormal(*arguments()).log_prob(y.astype(float))
    np.testing.assert_allclose(found, exact, rtol=5e-5)


WRONG = [
    (0, np.ones(P), "loadings p x m"),
    (1, np.ones(P + 1), "intercepts p with p = 5"),
    (2, np.ones((P, 2)), "residual_cov"),
    (3, np.eye(3), "factor_cov m x m"),
    (4, np.eye(3), "regressions"),
    (5, np.ones(1), "factor_means"),
]


@pytest.mark.parametrize(("position", "value", "sentence"), WRONG)
def test_shapes_that_do_not_fit(position, value, sentence):
    args = arguments(dtype="float32")
    args[position] = value
    with pytest.raises(ValueError, match=sentence):
        StructuredNormal(*args)


def one_factor_model(y, n):
    slopes = numpyro.sample("loadings", dist.HalfNormal(2.0).expand((3,)).to_event(1))
    intercepts = numpyro.sample("intercepts", dist.Normal(0.0, 5.0).expand((3,)).to_event(1))
    variances = numpyro.sample("variances", dist.LogNormal(-0.5, 0.7).expand((3,)).to_event(1))
    with numpyro.plate("person", n):
        numpyro.sample("y", StructuredNormal(slopes[:, None], intercepts, variances, jnp.eye(1)), obs=y)


def one_factor_data(n=200):
    rng = np.random.default_rng(7)
    y = 1 + rng.standard_normal((n, 1)) * [1.0, 0.8, 0.6] + rng.standard_normal((n, 3)) * 0.6
    y[rng.uniform(size=y.shape) < 0.1] = np.nan
    return jnp.asarray(y, jnp.float32)


def test_nuts_with_missing_cells():
    sampler = MCMC(NUTS(one_factor_model), num_warmup=150, num_samples=150, progress_bar=False)
    sampler.run(jax.random.key(0), one_factor_data(), 200)
    draws = sampler.get_samples()
    np.testing.assert_allclose(draws["loadings"].mean(0), [1.0, 0.8, 0.6], atol=0.2)
    np.testing.assert_allclose(draws["intercepts"].mean(0), 1.0, atol=0.25)
    again = Predictive(one_factor_model, draws)(jax.random.key(1), None, 200)["y"]
    assert again.shape == (150, 200, 3) and jnp.isfinite(again).all()
    pointwise = numpyro.infer.log_likelihood(one_factor_model, draws, one_factor_data(), 200)["y"]
    assert pointwise.shape == (150, 200) and jnp.isfinite(pointwise).all()


def three_factor_layout():
    p, m = 6, 2
    index = {
        "loadings": np.full((1, p, m), -1), "intercepts": np.arange(p)[None], "residual_cov": np.full((1, p, p), -1),
        "factor_cov": np.full((1, m, m), -1), "regressions": np.full((1, m, m), -1),
        "factor_means": np.full((1, m), -1),
    }  # fmt: skip
    index["residual_cov"][0, range(p), range(p)] = 6 + np.arange(p)
    index["loadings"][0, [1, 2, 4, 5], [0, 0, 1, 1]] = 12 + np.arange(4)
    index["factor_cov"][0] = [[16, 17], [17, 18]]
    fixed = {name: np.zeros(each.shape) for name, each in index.items()}
    fixed["loadings"][0, [0, 3], [0, 1]] = 1.0
    start = np.concatenate([np.zeros(6), np.full(6, 0.8), np.ones(4), [1.0, 0.1, 1.0]])
    names = {"intercepts": (0, 6), "residual_cov": (6, 12), "loadings": (12, 16), "factor_cov": (16, 19)}
    return Layout(index, fixed, start, tuple(Block(name, tuple(range(*ends))) for name, ends in names.items()))


def test_gaussian_model_runs_in_svi(x64):
    layout = three_factor_layout()
    rng = np.random.default_rng(8)
    x = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 300)
    y = x[:, [0, 0, 0, 1, 1, 1]] * [1, 0.7, 1.2, 1, 0.9, 0.8] + rng.standard_normal((300, 6)) * 0.6 + 2
    y[rng.uniform(size=y.shape) < 0.1] = np.nan
    data = Arrays.of(y, weight=rng.uniform(0.5, 1.5, 300))
    svi = SVI(gaussian_model(layout), lambda arrays: None, optax.adam(0.05), Trace_ELBO())
    done = svi.run(jax.random.key(0), 400, data, progress_bar=False)
    assert set(done.params) == {"intercepts_free", "residual_cov_free", "loadings_free", "factor_cov_free"}
    assert done.losses[-1] < done.losses[0] - 300
    np.testing.assert_allclose(done.params["loadings_free"], [0.7, 1.2, 0.9, 0.8], atol=0.2)


def test_gaussian_model_has_the_named_sites_and_the_weighted_density(x64):
    layout, data = three_factor_layout(), Arrays.of(np.zeros((4, 6)), weight=np.arange(1.0, 5.0))
    model = numpyro.handlers.seed(gaussian_model(layout), jax.random.key(0))
    sites = numpyro.handlers.trace(model).get_trace(data)
    assert {"loadings", "residual_cov", "factor_cov", "intercepts", "regressions", "factor_means", "y"} <= set(sites)
    value, _ = numpyro.infer.util.log_density(model, (data,), {}, {})
    cov = block_diag(*[np.array([[1.8, 1, 1], [1, 1.8, 1], [1, 1, 1.8]])] * 2)
    cov = cov.at[:3, 3:].set(0.1).at[3:, :3].set(0.1)
    np.testing.assert_allclose(
        value, 10 * dist.MultivariateNormal(jnp.zeros(6), cov).log_prob(jnp.zeros(6)), rtol=1e-10
    )


def test_gaussian_model_takes_one_group():
    two = jax.tree.map(lambda a: np.concatenate([a, a]), three_factor_layout())
    with pytest.raises(ValueError, match="one group"):
        gaussian_model(two)


def test_the_model_itself_does_not_import_numpyro():
    program = """if True:
        import sys
        import jaxlatent.models.latent_variable_model, jaxlatent.integration.closed_form, jaxlatent.models.simulation
        assert not {"numpyro", "flax"} & set(sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
