"""Models as NumPyro functions: sites, bijections, priors, NUTS."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.infer import MCMC, NUTS, Predictive

import jaxlatent as jl
from jaxlatent.models.block_prior import OnBlock
from jaxlatent.models.blocks import parameter_blocks
from jaxlatent.numerics.bijections import Bijection, Covariance

FULL = Covariance(3, ((1, 0, 0), (2, 0, 1), (2, 1, 2)), ((0, 1.0), (1, 1.0), (2, 1.0)))
PATTERNED = Covariance(4, ((0, 0, 0), (1, 0, 1), (2, 1, 2), (2, 2, 3), (3, 0, 4), (3, 2, 5)), ((1, 2.0), (3, 1.0)))
FREE = Covariance(2, ((0, 0, 2), (1, 0, 0), (1, 1, 1)), ())
BIJECTIONS = {
    "real": Bijection(3),
    "positive and unit": Bijection(4, positive=(1,), unit=(0, 3)),
    "decreasing": Bijection(6, decreasing=((0, 2), (5, 4, 3))),
    "correlations": Bijection(3, covariances=(FULL,)),
    "covariances": Bijection(3, covariances=(FREE,)),
    "zeros and fixed variances": Bijection(7, positive=(6,), covariances=(PATTERNED,)),
}


def matrix(pattern, c):
    out = np.zeros((pattern.size, pattern.size))
    for i, value in pattern.variances:
        out[i, i] = value
    for i, j, at in pattern.free:
        out[i, j] = out[j, i] = c[at]
    return out


# ---- bijections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BIJECTIONS)
@settings(max_examples=25, deadline=None)
@given(values=hnp.arrays(float, 7, elements=st.floats(-2, 2)))
def test_bijections_go_there_and_back(name, values):
    bijection = BIJECTIONS[name]
    with jax.enable_x64(True):
        u = jnp.asarray(values[: bijection.size])
        c = _compiled(name, "forward")(u)
        np.testing.assert_allclose(_compiled(name, "inverse")(c), u, atol=1e-7)
        jacobian = _compiled(name, "jacobian")(u)
        expected = np.linalg.slogdet(jacobian)[1]
        np.testing.assert_allclose(_compiled(name, "log_det")(u).sum(), expected, atol=1e-8)
        both = jnp.stack([u, u / 2])
        np.testing.assert_allclose(_compiled(name, "forward")(both)[0], c, rtol=1e-12)
    for pattern in bijection.covariances:
        assert np.linalg.eigvalsh(matrix(pattern, np.asarray(c))).min() > 0
    for row in bijection.decreasing:
        assert (np.diff(np.asarray(c)[list(row)]) < 0).all()


_PROGRAMS: dict = {}


def _compiled(name, what):
    bijection = BIJECTIONS[name]
    function = jax.jacfwd(bijection.forward) if what == "jacobian" else getattr(bijection, what)
    return _PROGRAMS.setdefault((name, what), jax.jit(function))


@pytest.mark.parametrize(
    ("name", "outside"),
    [
        ("positive and unit", [0.5, -1.0, 0.0, 0.5]),
        ("positive and unit", [1.5, 1.0, 0.0, 0.5]),
        ("decreasing", [0.0, 0.0, 1.0, 0.0, 1.0, 2.0]),
        ("correlations", [0.9, 0.9, -0.9]),
    ],
)
def test_what_lies_outside(name, outside):
    constraint = OnBlock(BIJECTIONS[name])
    assert not constraint(jnp.array(outside))
    inside = biject_to(constraint)(jnp.zeros(len(outside)))
    assert constraint(inside)
    assert constraint == OnBlock(BIJECTIONS[name]) and hash(constraint) == hash(OnBlock(BIJECTIONS[name]))


def test_coordinates_with_an_origin():
    bijection = BIJECTIONS["correlations"]
    moved = biject_to(OnBlock(bijection, (0.5, 0.1, -0.2), 0.25))
    u = jnp.array([0.3, -1.0, 0.8])
    np.testing.assert_allclose(moved(jnp.zeros(3)), bijection.forward(jnp.array([0.5, 0.1, -0.2])), rtol=1e-6)
    np.testing.assert_allclose(moved.inv(moved(u)), u, rtol=1e-4)
    expected = jnp.linalg.slogdet(jax.jacfwd(moved)(u))[1]
    np.testing.assert_allclose(moved.log_abs_det_jacobian(u, moved(u)), expected, rtol=1e-5)


# ---- models ---------------------------------------------------------------------------------------------------------


def categories(n=150, factors=2, k=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, factors)) @ np.linalg.cholesky(0.6 * np.eye(factors) + 0.4).T
    y = np.digitize(np.repeat(x, 3, axis=1) + rng.logistic(size=(n, 3 * factors)), np.linspace(-1.5, 1.5, k - 1))
    return pd.DataFrame(y.astype(float), columns=[f"i{j}" for j in range(3 * factors)])


def trace(model, arrays, **data):
    run = handlers.substitute(handlers.seed(model, jax.random.key(0)), data)
    return handlers.trace(run).get_trace(arrays)


@pytest.fixture(scope="module")
def graded():
    return jl.IRT("graded", factors=np.kron(np.eye(2), np.ones((3, 1)))).bind(categories())


def test_sites_of_a_model(graded):
    for parameters in ("param", "sample"):
        found = trace(jl.numpyro_model(graded, parameters), graded.arrays)
        kinds = {name: site["type"] for name, site in found.items()}
        names = ("loadings", "intercepts", "factor_cov")
        assert kinds == (
            dict.fromkeys((f"{name}_free" for name in names), parameters)
            | dict.fromkeys(names, "deterministic")
            | {"person": "plate", "latent": "sample", "responses": "sample"}
        )
        shapes = {name: found[name]["value"].shape for name in kinds}
        assert shapes["loadings"] == (6, 2) and shapes["intercepts"] == (6, 3) and shapes["factor_cov"] == (2, 2)
        assert shapes["loadings_free"] == (6,) and shapes["factor_cov_free"] == (1,)
        assert shapes["latent"] == (150, 2) and shapes["responses"] == (150, 6)
        assert found["responses"]["is_observed"]
        assert {site["value"].dtype for site in found.values() if "free" in site["name"]} == {jnp.dtype("float32")}


def test_param_and_sample_have_one_constraint(graded):
    param = trace(jl.numpyro_model(graded), graded.arrays)
    sample = trace(jl.numpyro_model(graded, "sample"), graded.arrays)
    for name in ("loadings_free", "intercepts_free", "factor_cov_free"):
        assert param[name]["kwargs"]["constraint"].bijection == sample[name]["fn"].support.bijection
        assert param[name]["kwargs"]["constraint"](param[name]["value"])


def test_the_density_is_that_of_the_model(graded):
    x = jnp.zeros((150, 2))
    found = trace(jl.numpyro_model(graded), graded.arrays, latent=x)
    params = graded.model.layout.unpack(jnp.asarray(graded.model.layout.start))
    expected = graded.model.log_prob_given_latent(params, x, graded.arrays)
    np.testing.assert_allclose(found["responses"]["fn"].log_prob(graded.arrays.y), expected, rtol=1e-5)
    prior = graded.model.latent_distribution(params, graded.arrays).log_prob(x)
    np.testing.assert_allclose(found["latent"]["fn"].log_prob(x), prior, rtol=1e-5)


def test_it_follows_the_callers_precision():
    with jax.enable_x64(True):
        bound = jl.IRT("2pl").bind(categories(k=2))
        found = trace(jl.numpyro_model(bound, "sample"), bound.arrays)
        floats = {site["value"].dtype for name, site in found.items() if name not in ("person",)}
    assert floats == {jnp.dtype("float64")}


def test_shorter_items_are_padded_with_nan_where_shown():
    frame = categories()
    frame["i0"] = (frame["i0"] > 1) * 1.0
    bound = jl.IRT("graded").bind(frame)
    shown = np.asarray(trace(jl.numpyro_model(bound), bound.arrays)["intercepts"]["value"])
    assert np.isnan(shown[0, 1:]).all() and np.isfinite(shown[1:]).all()


def test_groups_keep_their_axis():
    frame = categories(k=2)
    frame["g"] = np.where(np.arange(len(frame)) % 2, "u", "v")
    bound = jl.IRT("2pl", group_equal=("loadings",)).bind(frame, group="g")
    found = trace(jl.numpyro_model(bound, "sample"), bound.arrays)
    assert found["loadings"]["value"].shape == (2, 6, 1) and found["loadings_free"]["value"].shape == (6,)
    np.testing.assert_array_equal(found["loadings"]["value"][0], found["loadings"]["value"][1])


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (jl.IRT("4pl"), 2), (jl.IRT("gpcm", factors=2), 4), (jl.IRT("rasch"), 2), (jl.IRT("grsm"), 4),
        (jl.IRT("nominal"), 4), (jl.IRT("normal", factors=np.kron(np.eye(2), np.ones((3, 1)))), 4),
        (jl.IRT("negative_binomial"), 4),
    ],
    ids=["4pl", "exploratory", "rasch", "grsm", "nominal", "normal", "counts"],
)  # fmt: skip
def test_draws_of_default_priors_lie_where_parameters_live(model, values):
    bound = model.bind(categories(k=values))
    run = jl.numpyro_model(bound, "sample")

    @jax.jit
    def draw(key):
        found = handlers.trace(handlers.seed(run, key)).get_trace(bound.arrays)
        free = {name: site for name, site in found.items() if name.endswith("_free")}
        inside = jnp.array([site["fn"].support(site["value"]) for site in free.values()])
        return inside, sum(site["fn"].log_prob(site["value"]) for site in free.values())

    inside, log_prob = jax.vmap(draw)(jax.random.split(jax.random.key(0), 50))
    assert np.asarray(inside).all() and np.isfinite(np.asarray(log_prob)).all()


def test_default_priors_are_densities(graded):
    """Importance sampling of the unconstrained normal: each block's prior integrates to 1."""
    found = trace(jl.numpyro_model(graded, "sample"), graded.arrays)
    prior = found["factor_cov_free"]["fn"]
    r = jnp.linspace(-0.9999, 0.9999, 20001)
    np.testing.assert_allclose(jnp.exp(prior.log_prob(r[:, None])).mean() * 2, 1, rtol=1e-2)
    prior = found["loadings_free"]["fn"]
    assert len(prior.bijection.positive) == 2  # one for each factor
    key = jax.random.key(0)
    c = prior.sample(key, (4000,))
    wide = dist.Normal(0.0, 6.0).expand((6,)).to_event(1)
    x = wide.sample(key, (200_000,))
    weights = jnp.where(prior.support(x), jnp.exp(prior.log_prob(x) - wide.log_prob(x)), 0)
    np.testing.assert_allclose(weights.mean(), 1, atol=5 * float(weights.std()) / 200_000**0.5)
    np.testing.assert_allclose(np.abs(np.asarray(c)).mean(0), 3 * (2 / np.pi) ** 0.5, rtol=0.08)


def test_priors_that_a_user_has_written():
    loadings, guessing = dist.LogNormal(0.0, 0.5), dist.Normal(-1.5, 1.0)
    bound = jl.IRT("3pl", priors={"loadings": loadings, "logit_guessing": guessing}).bind(categories(k=2))
    found = trace(jl.numpyro_model(bound, "sample"), bound.arrays)
    prior, value = found["loadings_free"]["fn"], jnp.linspace(0.5, 2, 6)
    assert prior.bijection.positive == tuple(range(6))
    np.testing.assert_allclose(prior.log_prob(value), loadings.log_prob(value).sum(), rtol=1e-5)
    prior, value = found["guessing_free"]["fn"], jnp.linspace(0.1, 0.4, 6)
    expected = dist.TransformedDistribution(guessing, dist.transforms.SigmoidTransform()).log_prob(value).sum()
    np.testing.assert_allclose(prior.log_prob(value), expected, rtol=1e-5)
    draws = prior.sample(jax.random.key(0), (4000,))
    np.testing.assert_allclose(np.median(draws), 1 / (1 + np.exp(1.5)), atol=0.01)
    # as params they are a factor: the posterior mode, with the logit's density as it stands
    found = trace(jl.numpyro_model(bound), bound.arrays)
    free = jnp.asarray(bound.model.layout.start, jnp.float32)
    at = {b.name: free[np.array(b.positions)] for b in bound.model.layout.blocks}
    odds = jnp.log(at["guessing"]) - jnp.log1p(-at["guessing"])
    expected = loadings.log_prob(at["loadings"]).sum() + guessing.log_prob(odds).sum()
    np.testing.assert_allclose(found["priors"]["fn"].log_prob(found["priors"]["value"]), expected, rtol=1e-5)


def test_parameters_and_observations_in_a_model_of_ones_own():
    bound = jl.IRT("2pl").bind(categories(k=2))

    def model(arrays):
        params = jl.sample_parameters(bound)
        common = numpyro.sample("common", dist.LogNormal(0.0, 0.5))
        jl.observe(bound, params | {"loadings": jnp.full_like(params["loadings"], common)}, arrays)

    found = trace(model, bound.arrays)
    assert {"common", "latent", "responses", "loadings_free"} <= found.keys()
    params = found["responses"]["fn"].params
    np.testing.assert_array_equal(params["loadings"], jnp.full((1, 6, 1), found["common"]["value"]))
    drawn = trace(handlers.uncondition(model), bound.arrays)["responses"]["value"]
    assert set(np.unique(drawn)) == {0.0, 1.0}
    prior = jax.jit(Predictive(model, num_samples=2))(jax.random.key(0), bound.arrays)  # as samplers trace it
    assert prior["loadings_free"].shape == (2, 6)


@pytest.mark.study
def test_nuts_finds_what_marginal_maximum_likelihood_finds():
    """The example of the documentation; posterior means of a thousand persons within a posterior sd of the maximum."""
    data = jl.datasets.load("lsat7")
    bound = jl.IRT("2pl").bind(data)
    kernel = NUTS(jl.numpyro_model(bound, parameters="sample"))
    mcmc = MCMC(kernel, num_warmup=200, num_samples=200, progress_bar=False)
    mcmc.run(jax.random.key(1), bound.arrays)
    draws, fit = mcmc.get_samples(), jl.IRT("2pl").fit(data)
    for name, expected in (("loadings", fit.loadings), ("intercepts", fit.intercepts)):
        mean, sd = np.asarray(draws[name]).mean(0), np.asarray(draws[name]).std(0)
        assert (np.abs(mean - expected.to_numpy()) < sd).all(), name


# ---- bad input ------------------------------------------------------------------------------------------------------


def test_constraints_that_no_bijection_covers_are_refused():
    frame = categories(k=2)
    a, b = np.kron(np.eye(6), np.ones((1, 1))), np.zeros(6)
    a[1] = a[0] * 2
    bound = jl.IRT("2pl", constraints=(a[:, [0, 2, 3, 4, 5]], b)).bind(frame)
    with pytest.raises(ValueError, match=r"1 constraint\(s\) between parameters"):
        jl.numpyro_model(bound, parameters="sample")
    trace = handlers.trace(handlers.seed(jl.numpyro_model(bound), 0)).get_trace(bound.arrays)
    np.testing.assert_allclose(trace["loadings"]["value"][1], 2 * trace["loadings"]["value"][0], rtol=1e-5)


def test_models_that_do_not_factorise_are_refused():
    data = jl.datasets.load("holzinger_swineford")
    for syntax in ("f =~ x1 + x2 + x3 + x4\nx1 ~~ x2", "x1 ~ x2 + x3"):
        with pytest.raises(ValueError, match="residual covariances or observed variables in regressions"):
            jl.numpyro_model(jl.SEM(syntax).bind(data))


def test_patterns_of_covariances_are_refused_by_name():
    data = jl.datasets.load("holzinger_swineford")
    three = "f =~ x1 + x2 + x3\ng =~ x4 + x5 + x6\nh =~ x7 + x8 + x9\n"
    for rows, sentence in (
        ("f ~~ 0.3*g\nf ~~ h", "fixed at another value than 0"),
        ("f ~~ a*g\nf ~~ a*h", "one parameter has several places"),
    ):
        with pytest.raises(ValueError, match=f"factor_cov: .*{sentence}"):
            jl.numpyro_model(jl.SEM(three + rows).bind(data))


def test_a_prior_on_another_set_is_refused():
    bound = jl.IRT("graded", priors={"intercepts": dist.Gamma(2.0, 1.0)}).bind(categories())
    with pytest.raises(ValueError, match="prior of intercepts has the support"):
        jl.numpyro_model(bound, "sample")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"persons": jnp.arange(150)}, "persons .* and size .* together"),
        ({"size": 300}, "persons .* and size .* together"),
        ({"persons": jnp.arange(10), "size": 300}, "150 positions"),
        ({"persons": jnp.arange(150), "size": 100}, "at least as many persons"),
    ],
)
def test_mini_batches_are_checked(graded, arguments, sentence):
    model = handlers.seed(jl.numpyro_model(graded), jax.random.key(0))
    with pytest.raises(ValueError, match=sentence):
        model(graded.arrays, **arguments)


def test_words_are_checked(graded):
    with pytest.raises(ValueError, match="'param' or 'sample'"):
        jl.numpyro_pair(graded, parameters="both")
    with pytest.raises(ValueError, match="batch_size"):
        jl.numpyro_pair(graded, batch_size=0)


def test_signs_of_factors_are_fixed_once(graded):
    """One positive loading for each factor; none where a fixed loading gives the factor its direction."""
    blocks = {block.name: block for block in parameter_blocks(graded.model)}
    assert len(blocks["loadings"].anchors) == 2
    fixed = jl.SEM("f =~ x1 + x2 + x3 + x4").bind(jl.datasets.load("holzinger_swineford"))
    assert all(not block.anchors for block in parameter_blocks(fixed.model))
