"""Posterior predictive checks, Bayesian fit indices, bridge sampling and calibration against known answers."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.special import ndtr

import jaxlatent as jl
from jaxlatent.diagnostics.bayesian_fit import bayesian_fit_measures
from jaxlatent.diagnostics.calibration import calibrate
from jaxlatent.diagnostics.predictive_checks import deviances, likelihood_ratio, predictive_checks, replicated_moments
from jaxlatent.inference.draws import Draws
from jaxlatent.numerics.bridge import bridge_sampling
from jaxlatent.numerics.uniformity import chi_square_ranks, ecdf, ecdf_band, joint_test
from jaxlatent.plots.calibration_plots import ecdf_differences
from jaxlatent.results.draws import sampling_draws

MODEL = "visual =~ x1 + x2 + x3\n textual =~ x4 + x5 + x6\n speed =~ x7 + x8 + x9"


@pytest.fixture(scope="module")
def sem():
    return jl.SEM(MODEL).fit(jl.datasets.load("holzinger_swineford"))


def test_discrepancy_is_chi_square_at_the_maximum(sem):
    found = deviances(sem._fitted, sem._fitted.free[None])
    assert found[0] == pytest.approx(sem.fit_measures()["chisq"], abs=1e-8)


def test_replicated_moments_are_wishart():
    """n S ~ Wishart(n - 1): E S = (n - 1) / n Sigma, and the discrepancy is close to chi-square with p(p + 1)/2 df."""
    rng, n, p, size = np.random.default_rng(0), 200, 4, 20_000
    half = rng.normal(size=(p, p))
    sigma = np.broadcast_to(half @ half.T + np.eye(p), (size, p, p))
    mean, cov = replicated_moments(np.zeros((size, p)), sigma, n, True, rng)
    sd = np.sqrt(np.diag(sigma[0]))
    scale = np.outer(sd, sd)
    np.testing.assert_allclose(cov.mean(0) / scale, sigma[0] * (n - 1) / n / scale, atol=5 * math.sqrt(2 / n / size))
    np.testing.assert_allclose(np.cov(mean.T) * n / scale, sigma[0] / scale, atol=5 * math.sqrt(2 / size))
    ratio = n * likelihood_ratio(mean, cov, np.zeros(p), sigma)
    assert ratio.mean() == pytest.approx(p * (p + 3) / 2, rel=0.03)


def test_p_values_of_a_wrong_and_of_a_right_model(sem):
    """The three-factor model misfits (chi-square 85 with 24 df); at its own implied moments it does not."""
    wrong = predictive_checks(sem._fitted, sampling_draws(sem._fitted, sem._vcov, 1000))
    assert wrong.loc["chisq", "ppp"] < 0.001 and wrong.loc["chisq", "ci_lower"] > 0
    cov = sem._fitted.model.implied[0][1]
    exact = jl.SEM(MODEL).fit(jl.Moments(cov * 301 / 300, 301, names=sem._fitted.table.observed))
    right = predictive_checks(exact._fitted, sampling_draws(exact._fitted, exact._vcov, 1000))
    # at the sample's own implied moments D is that of the draws alone (21 on average), D_rep has 45
    assert right.loc["chisq", "ppp"] > 0.95 and right.loc["chisq", "observed"] == pytest.approx(21, rel=0.25)


def test_bayesian_indices_are_near_those_of_the_maximum(sem):
    draws = sampling_draws(sem._fitted, sem._vcov, 1000)
    found = bayesian_fit_measures(sem._fitted, draws)
    measures = sem.fit_measures()
    assert found.loc["brmsea", "median"] == pytest.approx(measures["rmsea"], abs=0.01)
    assert found.loc["bcfi", "median"] == pytest.approx(measures["cfi"], abs=0.01)
    assert (found["ci_lower"] < found["median"]).all() and (found["median"] < found["ci_upper"]).all()
    one = Draws(np.repeat(sem._fitted.free[None, None], 50, 1), "sampling")  # no spread: pD = 0, df = 45 moments
    point = bayesian_fit_measures(sem._fitted, one)
    expected = math.sqrt((measures["chisq"] - 45) / (301 * 45))
    assert point.loc["brmsea", "mean"] == pytest.approx(expected, abs=1e-9)
    with pytest.raises(ValueError, match="level"):
        bayesian_fit_measures(sem._fitted, draws, level=90)


# ---- bridge sampling ------------------------------------------------------------------------------------------------


def test_evidence_of_a_regression_with_a_conjugate_prior():
    """y ~ N(X b, I), b ~ N(0, 2 I): log p(y) = log N(y; 0, I + 2 X X'). Within four standard errors."""
    rng, n, q = np.random.default_rng(0), 40, 5
    x = rng.normal(size=(n, q))
    y = x @ rng.normal(size=q) + rng.normal(size=n)
    cov = np.eye(n) + 2 * x @ x.T
    exact = -(n * math.log(2 * math.pi) + np.linalg.slogdet(cov)[1] + y @ np.linalg.solve(cov, y)) / 2
    precision = x.T @ x + np.eye(q) / 2
    root = np.linalg.cholesky(np.linalg.inv(precision))
    draws = np.linalg.solve(precision, x.T @ y) + rng.normal(size=(4, 500, q)) @ root.T
    constant = n * math.log(2 * math.pi) + q * math.log(4 * math.pi)
    found = bridge_sampling(lambda b: -(constant + ((y - x @ b) ** 2).sum() + (b**2).sum() / 2) / 2, draws)
    assert abs(found.log_value - exact) < 4 * found.standard_error < 0.04


def test_evidence_of_a_skewed_density():
    """u = log g, g ~ Gamma(a): exp(a u - e^u) integrates to Gamma(a)."""
    shape = np.array([0.7, 1.5, 3.0])
    draws = np.log(np.random.default_rng(1).gamma(shape, size=(4, 500, 3)))
    exact = sum(math.lgamma(a) for a in shape)
    found = bridge_sampling(lambda u: (jnp.asarray(shape) * u - jnp.exp(u)).sum(), draws)
    assert abs(found.log_value - exact) < 4 * found.standard_error < 0.1
    with pytest.raises(ValueError, match="at least 20 draws"):
        bridge_sampling(lambda u: -(u**2).sum(), draws[:, :5])
    with pytest.raises(ValueError, match="vary"):
        bridge_sampling(lambda u: -(u**2).sum(), np.zeros((2, 50, 3)))


# ---- calibration ----------------------------------------------------------------------------------------------------


def _prior(key):
    return jax.random.normal(key, (2,))


def _simulate(theta, key):
    return (theta + jax.random.normal(key, (10, 2))).mean(0)


def _posterior(mean, key):
    """theta | y of ten normal values, the second parameter's 0.7 times as wide as it should be."""
    sd = jnp.sqrt(1 / 11) * jnp.array([1.0, 0.7])
    return mean * 10 / 11 + sd * jax.random.normal(key, (99, 2))


def test_a_sampler_that_is_too_narrow_is_found(tmp_path):
    found = calibrate(_prior, _simulate, _posterior, n=500, names=["right", "narrow"])
    table = found.table()
    assert found.n_draws == 99 and found.ranks.shape == (500, 2) and found.n_failed == 0
    assert table.loc["right", "pvalue"] > 0.001 and table.loc["right", "within_band"]
    assert table.loc["narrow", "pvalue"] < 1e-6 and not table.loc["narrow", "within_band"]
    ax = ecdf_differences(found.ecdf(), ecdf_band(500), found.names, path=tmp_path / "ranks.png")
    assert (tmp_path / "ranks.png").stat().st_size > 5000
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["95 % band of uniform ranks", "narrow"]


def test_uniform_ranks_stay_within_the_band():
    """5 % of 1000 samples leave it: a binomial standard deviation is 0.7 %."""
    rng = np.random.default_rng(1)
    band, u = ecdf_band(150), rng.uniform(size=(150, 1000))
    found = ecdf(u, band.z)
    outside = ((found < band.lower[:, None]) | (found > band.upper[:, None])).any(0).mean()
    assert 0.02 < outside < 0.08
    ranks = rng.integers(0, 51, (150, 1000))
    assert (chi_square_ranks(ranks, 50)[2] < 0.05).mean() == pytest.approx(0.05, abs=0.03)


def test_one_test_of_all_quantities_keeps_its_level():
    """Of 12 dependent normal quantities: 5 % of 1000 samples of 300 rejected, sd 0.7 %; a narrow one is found."""
    rng = np.random.default_rng(2)
    half = rng.normal(size=(12, 3))
    root = np.linalg.cholesky(half @ half.T + np.eye(12))
    root /= np.sqrt((root**2).sum(1, keepdims=True))
    found = np.array([joint_test(ndtr(rng.normal(size=(300, 12)) @ root.T)).pvalue for _ in range(1000)])
    assert (found < 0.05).mean() == pytest.approx(0.05, abs=0.025)
    z = rng.normal(size=(1000, 12)) @ root.T
    z[:, 4] *= 1.3  # ranks too often at both ends
    assert joint_test(ndtr(z)).pvalue < 1e-4
    with pytest.raises(ValueError, match="at least 48 data sets"):
        joint_test(np.full((40, 12), 0.5))


def test_a_quantity_of_the_data_sees_a_sampler_that_ignores_them():
    """Draws from the prior rank every parameter uniformly; the log-likelihood of the truth is above theirs."""

    def prior_again(mean, key):
        return jax.random.normal(key, (99, 2))

    def log_likelihood(theta, mean):
        return -5 * ((mean - theta) ** 2).sum()[None]

    found = calibrate(_prior, _simulate, prior_again, n=500, names=["a", "b", "fit"], quantities=log_likelihood)
    table = found.table()
    assert table.loc[["a", "b"], "pvalue"].min() > 0.001 and table.loc["fit", "pvalue"] < 1e-10
    assert found.joint_test().pvalue < 1e-10
    # independent draws: the autocorrelation of n of them is -1 / n on average, its sd over data sets 1 / sqrt(n)
    assert table["autocorrelation"].to_numpy() == pytest.approx([-1 / 99] * 3, abs=4 / math.sqrt(99 * 500))


def test_calibration_says_what_is_wrong():
    with pytest.raises(ValueError, match="n as a whole number"):
        calibrate(_prior, _simulate, _posterior, n=5)
    with pytest.raises(ValueError, match="Expected draws"):
        calibrate(_prior, _simulate, lambda data, key: jnp.zeros((10, 3)), n=20)
    with pytest.raises(ValueError, match="None of the data sets"):
        calibrate(_prior, _simulate, lambda data, key: jnp.full((10, 2), jnp.nan), n=20)
    with pytest.raises(ValueError, match="SEM or an IRT"):
        jl.calibrate("model", None)


# ---- studies --------------------------------------------------------------------------------------------------------


@pytest.mark.study
@pytest.mark.parametrize("kind", ["cfa", "2pl"])
def test_nuts_is_calibrated(kind):
    """Ranks of 150 data sets: no p-value below 0.05 / 22 / 2, at most 4 quantities outside their 95 % band, and all of
    them, the log-likelihood among them, in one test.
    """
    if kind == "cfa":
        model = jl.SEM(MODEL, std_lv=True, priors={"loadings": dist.Normal(0.8, 0.25)})
        data = jl.datasets.load("holzinger_swineford")
    else:
        priors = {"loadings": dist.LogNormal(0, 0.4), "intercepts": dist.Normal(0, 1)}
        model, data = jl.IRT("2pl", priors=priors), jl.datasets.load("lsat7").iloc[::4]
    found = jl.calibrate(model, data, jl.NUTS(num_warmup=200, num_samples=200, num_chains=1), n=150)
    table = found.table()
    assert found.n_failed == 0 and table["pvalue"].min() > 0.05 / 44
    assert (~table["within_band"]).sum() <= 4
    assert found.joint_test()["pvalue"] > 0.005
    assert table["autocorrelation"].abs().max() < 0.15  # every fourth draw is about independent


@pytest.mark.study
def test_bridge_sampling_and_laplace_agree_on_the_evidence():
    """Two estimates of one number, each good to about 0.05; the wrong model of independent factors has far less."""
    data, engine = jl.datasets.load("holzinger_swineford"), jl.NUTS(num_warmup=300, num_samples=500, num_chains=2)
    fits = [jl.SEM(MODEL, orthogonal=apart).fit(data, engine) for apart in (False, True)]
    bridge = [jl.log_evidence(fit) for fit in fits]
    quick = jl.approximate_posterior(jl.SEM(MODEL), data)
    assert quick.pareto_k < 0.7
    assert quick.log_evidence == pytest.approx(bridge[0].log_value, abs=4 * bridge[0].standard_error + 0.1)
    assert bridge[0].log_value - bridge[1].log_value > 10
    table = jl.compare(*fits, names=("oblique", "orthogonal"))
    assert table.index[0] == "oblique" and table.loc["orthogonal", "elpd_diff"] > 2 * table.loc["orthogonal", "diff_se"]
