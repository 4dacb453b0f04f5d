"""Flows and mixtures as distributions of latent variables: maps and their inverses, densities, moments, precision."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import norm

import jaxlatent as jl
from jaxlatent.data.arrays import Arrays
from jaxlatent.integration.gauss_hermite import GaussHermite
from jaxlatent.latent.flow import moment_rule
from jaxlatent.latent.mixture import standard_mixture
from jaxlatent.latent.structural import StructuralNormal
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.couplings import Couplings
from jaxlatent.numerics.mixture_quantile import mixture_quantile, normal_score

N = 4
KINDS = ("affine", "spline")


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def disturbed(tree, size, dtype=np.float64):
    """A pytree of parameters away from its start."""
    leaves, treedef = jax.tree.flatten(tree)
    rng = np.random.default_rng(5)
    return treedef.unflatten([jnp.asarray(a + size * rng.standard_normal(a.shape), dtype) for a in leaves])


def matrices(d, groups=1, dtype=np.float64):
    cov = np.stack([1.5 * (0.7 * np.eye(d) + 0.3) * (1 + g) for g in range(groups)])
    mean = np.arange(d) * 0.5 + np.arange(groups)[:, None]
    values = {"factor_cov": cov, "factor_means": mean, "regressions": np.zeros((groups, d, d))}
    return {name: jnp.asarray(value, dtype) for name, value in values.items()}


def people(groups=1, dtype=np.float64, n=N):
    return Arrays.of(np.zeros((n, 3), dtype), np.arange(n) % groups)


def shaped(latent, d, size, dtype=np.float64, groups=1, n=N):
    learned = disturbed(latent.init(jax.random.key(0), d), size, dtype)
    return latent.distribution(matrices(d, groups, dtype) | learned, people(groups, dtype, n))


# ---- couplings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "n", "n_context"),
    [("affine", 3, 2), ("spline", 1, 0), ("spline", 2, 2)]
    + [pytest.param(*case, marks=pytest.mark.study) for case in [("affine", 1, 2), ("spline", 1, 2), ("spline", 5, 0)]],
)
def test_inverse_and_log_det(x64, kind, n, n_context):
    couplings = Couplings(kind, n, 2, (8,), n_context, bins=4)
    params = disturbed(couplings.init(jax.random.key(0)), 0.3)
    rng = np.random.default_rng(1)
    z = jnp.asarray(rng.standard_normal((30, n)) * 2.5)  # some beyond the splines' bound
    context = jnp.asarray(rng.standard_normal((30, n_context))) if n_context else None

    @jax.jit
    def everything(z, context):
        x, log_det = couplings.forward(params, z, context)
        back, inverse_log_det = couplings.inverse(params, x, context)
        jacobian = jax.vmap(jax.jacfwd(lambda z, c: couplings.forward(params, z, c)[0]))(z, context)
        return x, log_det, back, inverse_log_det, jacobian

    x, log_det, back, inverse_log_det, jacobian = everything(z, context)
    assert np.abs(x - z).max() > 0.1
    np.testing.assert_allclose(back, z, atol=1e-8)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-8)
    np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], log_det, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_couplings_begin_close_to_the_identity(kind):
    couplings = Couplings(kind, 3)
    z = jax.random.normal(jax.random.key(1), (200, 3))
    x, log_det = jax.jit(couplings.forward)(jax.jit(couplings.init)(jax.random.key(0)), z)
    assert np.abs(x - z).max() < 0.1 and np.abs(log_det).max() < 0.1


def test_context_of_persons_serves_every_draw(x64):
    couplings = Couplings("affine", 2, 2, (8,), 3)
    params = disturbed(couplings.init(jax.random.key(0)), 0.3)
    rng = np.random.default_rng(2)
    z, context = jnp.asarray(rng.standard_normal((4, 5, 2))), jnp.asarray(rng.standard_normal((5, 3)))
    x, log_det = couplings.forward(params, z, context)
    one, its = couplings.forward(params, z[3, 4], context[4])
    np.testing.assert_allclose(x[3, 4], one, atol=1e-12)
    np.testing.assert_allclose(log_det[3, 4], its, atol=1e-12)


def single():
    return matrices(2, dtype=np.float32), people(dtype=np.float32)


AFFINE = Couplings("affine", 2)
BAD_COUPLINGS = {
    "kind": (lambda: Couplings("cubic", 2), "'affine' or 'spline'.*got 'cubic'"),
    "layers": (lambda: Couplings("affine", 2, 0), "layers to be a whole number of at least 1; got 0"),
    "bins": (lambda: Couplings("affine", 2, bins=1), "bins to be a whole number of at least 2"),
    "hidden": (lambda: jl.latent.Flow(hidden=(0,)), "hidden to be a whole number of at least 1; got 0"),
    "bound": (lambda: jl.latent.Flow(bound=-1.0), "bound to be a positive number"),
    "flow kind": (lambda: jl.latent.Flow("cubic"), "got 'cubic'"),
    "affine at one": (lambda: jl.latent.Flow("affine").init(jax.random.key(0), 1), "use Flow\\('spline'\\)"),
    "components": (lambda: jl.latent.Mixture(0), "n_components to be a whole number of at least 1"),
    "a float": (lambda: jl.latent.Mixture(2.0), "whole number.*got 2.0"),
    "nothing learned": (lambda: jl.latent.Flow().distribution(*single()), "Flow.init"),
    "no mixture": (lambda: jl.latent.Mixture(2).distribution(*single()), "Mixture.init"),
    "a context too many": (
        lambda: AFFINE.forward(AFFINE.init(jax.random.key(0)), jnp.ones(2), jnp.ones(1)),
        "Expected no context vector",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_COUPLINGS)
def test_bad_input(name):
    call, sentence = BAD_COUPLINGS[name]
    with pytest.raises(ValueError, match=sentence):
        call()


# ---- densities --------------------------------------------------------------------------------------------------

SHAPES = {
    "spline 1": (jl.latent.Flow("spline", bins=5), 1, 0.5),
    "spline 2": (jl.latent.Flow("spline", layers=2, hidden=8, bins=4), 2, 0.1),
    "affine 2": (jl.latent.Flow("affine", layers=2, hidden=8), 2, 0.1),
    "mixture 1": (jl.latent.Mixture(3), 1, 1.0),
    "mixture 2": (jl.latent.Mixture(2), 2, 0.5),
}


def some(*quick):
    """All shapes, those that are not named as studies: they take long to compile."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.study) for name in SHAPES]


@pytest.mark.parametrize("name", some("spline 1", "mixture 2"))
def test_density_integrates_to_one_with_the_models_moments(x64, name):
    """By the trapezoid rule, with small steps: the density of a spline has kinks."""
    latent, d, size = SHAPES[name]
    distribution = shaped(latent, d, size)
    axis = np.linspace(-14, 15, {1: 5801, 2: 1451}[d])
    x = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), -1).reshape(-1, d)
    log_p = jax.jit(lambda q, x: q.log_prob(x))(distribution, jnp.asarray(x)[:, None])[:, 0]
    p = np.exp(log_p) * (axis[1] - axis[0]) ** d
    assert abs(p.sum() - 1) < {1: 5e-6, 2: 1e-4}[d]
    mean = p @ x
    cov = (x * p[:, None]).T @ x - np.outer(mean, mean)
    expected = matrices(d)
    tolerance = 1e-10 if isinstance(latent, jl.latent.Mixture) else {1: 2e-4, 2: 1e-2}[d]
    np.testing.assert_allclose(mean, expected["factor_means"][0], atol=tolerance)
    np.testing.assert_allclose(cov, expected["factor_cov"][0], atol=tolerance)
    normal = StructuralNormal().distribution(expected, people()).log_prob(jnp.asarray(x)[:, None])[:, 0]
    assert (p * (log_p - normal)).sum() > 0.01  # another shape than the normal's


@pytest.mark.parametrize("name", some("spline 1", "mixture 2"))
def test_transform_inverse_and_density_belong_together(x64, name):
    latent, d, size = SHAPES[name]
    distribution = shaped(latent, d, size)
    z = jax.random.normal(jax.random.key(1), (25, N, d))

    @jax.jit
    def everything(q, z):
        x = q.transform(z)
        single = lambda z: q.transform(z[None, None])[0, 0]  # noqa: E731
        return q.inverse(x), q.log_prob(x), jax.vmap(jax.jacfwd(single))(z.reshape(-1, d))

    back, log_p, jacobian = everything(distribution, z)
    np.testing.assert_allclose(back, z, atol=1e-8)
    by_change_of_variables = norm.logpdf(z).sum(-1) - np.linalg.slogdet(jacobian)[1].reshape(25, N)
    np.testing.assert_allclose(log_p, by_change_of_variables, atol=1e-8)


def test_what_components_say_of_x(x64):
    """log w_k N(zeta; m_k, s_k) of a mixture of mean 0 and variance 1, by scipy."""
    q = standard_mixture(jnp.array([0.0, 1.0]), jnp.array([[-1.0], [2.0]]), jnp.log(jnp.array([[[0.5]], [[1.5]]])))
    w, m, s = np.exp(q.log_weights), q.means[:, 0], q.lower[:, 0, 0]
    assert w @ m == pytest.approx(0) and w @ (s**2 + m**2) == pytest.approx(1)
    zeta = np.array([-1.0, 0.2, 3.0])
    expected = np.log(w) + norm.logpdf(zeta[:, None], m, s)
    np.testing.assert_allclose(q.log_joint(jnp.asarray(zeta)[:, None]), expected, atol=1e-12)


@pytest.mark.parametrize("latent", [jl.latent.Flow("affine", 2), jl.latent.Mixture(3)])
def test_begins_close_to_the_normal(latent):
    q = shaped(latent, 3, 0.0, np.float32)
    normal = StructuralNormal().distribution(matrices(3, dtype=np.float32), people(dtype=np.float32))
    x = normal.sample(jax.random.key(0), (200, N))
    difference = jax.jit(lambda q, x: q.log_prob(x))(q, x) - normal.log_prob(x)
    assert np.abs(difference).mean() < 0.05


def test_groups_share_the_shape_and_have_their_own_moments(x64):
    latent, n = jl.latent.Mixture(2), 20_000
    q = shaped(latent, 1, 1.0, groups=2, n=n)
    x = np.asarray(jax.jit(lambda q, key: q.sample(key, (n,)))(q, jax.random.key(0)))[:, 0]
    own = matrices(1, 2)
    zeta = [(x[g::2] - float(own["factor_means"][g, 0])) / float(own["factor_cov"][g, 0, 0]) ** 0.5 for g in (0, 1)]
    for each in zeta:  # five standard errors of a mean and, with kurtosis below 5, of a variance
        assert abs(each.mean()) < 5 / 100 and abs(each.var() - 1) < 5 * 2 / 100
    alone = shaped(latent, 1, 1.0).log_prob(jnp.asarray([[0.7]]))
    moved = own["factor_means"][1] + (0.7 - own["factor_means"][0]) * 2**0.5
    apart = jax.jit(lambda q, x: q.log_prob(x))(q, jnp.broadcast_to(moved, (n, 1)))[1]
    np.testing.assert_allclose(apart + np.log(2) / 2, alone[0], atol=1e-10)


@pytest.mark.parametrize("name", some("mixture 1"))
def test_vmap_and_jit_give_the_same(x64, name):
    latent, d, size = SHAPES[name]
    learned = [disturbed(latent.init(jax.random.key(k), d), size) for k in range(2)]
    x = jax.random.normal(jax.random.key(1), (3, N, d))

    def log_prob(own):
        return latent.distribution(matrices(d) | own, people()).log_prob(x)

    together = jax.jit(jax.vmap(log_prob))(jax.tree.map(lambda *a: jnp.stack(a), *learned))
    for k, own in enumerate(learned):
        np.testing.assert_allclose(together[k], jax.jit(log_prob)(own), atol=1e-9)


@pytest.mark.parametrize("name", some("spline 1"))
def test_single_precision_stays_finite_and_single(name):
    latent, d, size = SHAPES[name]
    x = jnp.asarray(np.array([0.0, 4.0, -4.0, 30.0, -30.0, 1e4, -1e4])[:, None, None] * np.ones((N, d)), jnp.float32)
    start = disturbed(latent.init(jax.random.key(0), d), size, np.float32)

    @jax.jit
    def value_and_gradients(own, x):
        make = lambda own: latent.distribution(matrices(d, dtype=np.float32) | own, people(dtype=np.float32))  # noqa: E731
        log_p, back = jax.vjp(lambda own, x: make(own).log_prob(x), own, x)
        z = jnp.clip(x, -30, 30)
        moved, more = jax.vjp(lambda own, z: make(own).transform(z), own, z)
        return log_p, back(jnp.ones_like(log_p)), moved, more(jnp.ones_like(moved))

    found = value_and_gradients(start, x)
    assert all(leaf.dtype == jnp.float32 and np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert (np.diff(np.asarray(found[0])[[0, 3, 5], 0]) < 0).all()


@pytest.mark.parametrize("d", [1, 2, 4])
def test_moment_rule_is_exact_to_the_second_order(d):
    z, weight = moment_rule(d)
    assert (weight > 0).all()
    np.testing.assert_allclose(weight.sum(), 1, atol=1e-12)
    np.testing.assert_allclose(weight @ z, 0, atol=1e-12)
    np.testing.assert_allclose((z * weight[:, None]).T @ z, np.eye(d), atol=1e-10)
    fourth = weight @ z**4
    np.testing.assert_allclose(fourth, 3, atol=1e-6 if d < 3 else 0.05)


def test_quantiles_of_mixtures(x64):
    """Against the distribution function, also in tails, with derivatives against differences."""
    log_w, m, s = np.log([0.3, 0.7]), np.array([-2.0, 1.0]), np.array([0.5, 1.5])
    z = jnp.linspace(-8, 8, 65)

    @jax.jit
    def everything(z):
        quantile = lambda z: mixture_quantile(log_w, m, s, z)  # noqa: E731
        x = quantile(z)
        difference = (quantile(z + 1e-5) - quantile(z - 1e-5)) / 2e-5
        return x, normal_score(log_w, m, s, x), jax.vmap(jax.grad(quantile))(z), difference

    x, score, slope, difference = everything(z)
    np.testing.assert_allclose(score, z, atol=1e-9)
    middle = (np.asarray(x)[None, 24:41] - m[:, None]) / s[:, None]
    np.testing.assert_allclose(np.exp(log_w) @ ndtr(middle), ndtr(np.asarray(z)[24:41]), atol=1e-12)
    np.testing.assert_allclose(slope, difference, rtol=1e-5)


# ---- in a model -------------------------------------------------------------------------------------------------


def answers(n=120, items=5):
    rng = np.random.default_rng(3)
    x = rng.standard_normal(n)
    p = 1 / (1 + np.exp(-(1.3 * x[:, None] + np.linspace(-1, 1, items))))
    return (rng.uniform(size=p.shape) < p).astype(float)


def test_bind_puts_the_latent_in_the_model():
    y = answers()
    flow = jl.latent.Flow("spline", bins=6)
    assert jl.IRT("2pl", latent=flow).bind(y).model.latent == flow
    assert isinstance(jl.IRT("2pl", latent=jl.latent.Normal()).bind(y).model.latent, StructuralNormal)


def test_marginal_likelihood_of_a_mixture_of_equal_normals_is_the_normals(x64):
    """With components that do not differ the mixture is normal, whatever their number."""
    bound = jl.IRT("2pl", latent=jl.latent.Mixture(3)).bind(answers())
    model = bound.model
    params = model.layout.unpack(jnp.asarray(model.layout.start))
    learned = {"mixture": {"logits": jnp.zeros(3), "means": jnp.full((3, 1), 0.4), "lower": jnp.full((3, 1, 1), -0.3)}}
    normal = LatentVariableModel(model.measurement, StructuralNormal(), model.layout)
    rule = GaussHermite(21)
    log_marginal = jax.jit(rule.log_marginal)
    ours = log_marginal(model, params | learned, bound.arrays)
    np.testing.assert_allclose(ours, log_marginal(normal, params, bound.arrays), atol=1e-7)
    assert isinstance(model.measurement, Measurement)


def test_other_engines_refuse_another_shape():
    model = jl.IRT("2pl", latent=jl.latent.Mixture(2))
    with pytest.raises(ValueError, match=r"MarginalML takes normal latent variables.*Mixture.*AmortizedVI"):
        model.fit(answers(), jl.MarginalML())
    with pytest.raises(ValueError, match="MarginalML takes normal latent variables"):
        jl.fit_batch(model, np.stack([answers(), answers()]), jl.MarginalML())


@pytest.mark.study
def test_normal_spelled_out_is_the_default():
    y = answers()
    written = jl.IRT("2pl", latent=jl.latent.Normal()).fit(y)
    assert written.log_likelihood == jl.IRT("2pl").fit(y).log_likelihood
