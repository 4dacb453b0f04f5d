"""Empirical histograms: the latent distribution as weights at nodes."""

import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.inference.histogram import GAIN, standardised
from jaxlatent.latent.histogram import Histogram

N, ITEMS = 1500, 8


@pytest.fixture(scope="module")
def skewed():
    """Answers of people whose ability is skewed (chi-square with 3 degrees of freedom), and the items' parameters."""
    rng = np.random.default_rng(1)
    x = (rng.chisquare(3, N) - 3) / np.sqrt(6)
    slopes, d = rng.uniform(1.0, 2.0, ITEMS), rng.normal(size=ITEMS)
    p = 1 / (1 + np.exp(-(slopes * x[:, None] + d)))
    data = pd.DataFrame((rng.random(p.shape) < p).astype(float), columns=[f"i{j}" for j in range(ITEMS)])
    return data, x, np.column_stack([slopes, d])


@pytest.fixture(scope="module")
def fits(skewed):
    data = skewed[0]
    return jl.IRT("2pl").fit(data), jl.IRT("2pl", latent="empirical_histogram").fit(data)


def values(fit):
    return np.column_stack([fit.loadings.to_numpy()[:, 0], fit.intercepts.to_numpy()[:, 0]])


def likelihoods(fit, data):
    """p(y_i | x_r) [person, node] by plain arithmetic."""
    z, (slopes, d), y = fit.histogram["node"].to_numpy(), values(fit).T, data.to_numpy()[:, None]
    p = 1 / (1 + np.exp(-(np.outer(z, slopes) + d)))
    return np.where(y == 1, p, 1 - p).prod(-1)


def test_likelihood_scores_and_weights_are_those_of_sums_over_nodes(skewed, fits):
    data, fit = skewed[0], fits[1]
    z, w = fit.histogram["node"].to_numpy(), fit.histogram["weight"].to_numpy()
    joint = likelihoods(fit, data) * w
    np.testing.assert_allclose(fit.log_likelihoods(), np.log(joint.sum(1)), atol=1e-9)
    assert abs(fit.log_likelihood - np.log(joint.sum(1)).sum()) < 1e-6
    posterior = joint / joint.sum(1, keepdims=True)
    scores = fit.scores(return_se=True)
    np.testing.assert_allclose(scores["F1"], posterior @ z, atol=1e-9)
    np.testing.assert_allclose(scores["F1_se"] ** 2, posterior @ z**2 - (posterior @ z) ** 2, atol=1e-9)
    # one more cycle of EM gains less than what ended them
    again = standardised(z, posterior.sum(0))
    gain = np.log(likelihoods(fit, data) @ again).sum() - fit.log_likelihood
    assert -1e-9 <= gain < GAIN


def test_the_shape_and_the_items_are_found(skewed, fits):
    _, x, truth = skewed
    normal, fit = fits
    assert fit.converged and fit.log_likelihood > normal.log_likelihood + 20
    z, w = fit.histogram["node"].to_numpy(), fit.histogram["weight"].to_numpy()
    assert w.min() >= 0 and abs(w.sum() - 1) < 1e-12 and abs(w @ z) < 1e-10 and abs(w @ z**2 - 1) < 1e-10
    assert 0.7 < w @ z**3 < 2.2  # the skewness is 1.63
    assert np.corrcoef(fit.scores()["F1"], x)[0, 1] > 0.8
    errors = [np.sqrt(((values(each) - truth) ** 2).mean()) for each in (normal, fit)]
    assert errors[1] < 0.75 * errors[0]
    assert fit.parameters.query("free > 0")["se"].between(0.02, 0.5).all()
    assert any("empirical histogram" in each for each in fit.notes) and "81 nodes" in " ".join(fit.notes)


def test_draws_plots_and_files_know_the_histogram(skewed, fits, tmp_path):
    data, _, _ = skewed
    fit = fits[1]
    draws = fit.plausible_values(4, key=1)["F1"].to_numpy().reshape(N, 4)
    scores = fit.scores(return_se=True)
    # a person's draws scatter about the score with its error; their mean over persons by se / sqrt(4 N)
    gap = (draws - scores[["F1"]].to_numpy()) / scores[["F1_se"]].to_numpy()
    assert abs(gap.mean()) < 4 / np.sqrt(4 * N) and abs((gap**2).mean() - 1) < 0.1
    assert set(np.unique(draws)) <= set(fit.histogram["node"])
    new = fit.simulate(4000, key=2)
    np.testing.assert_allclose(new.mean(), data.mean(), atol=5 * 0.5 / np.sqrt(N) + 5 * 0.5 / np.sqrt(4000))
    again = jl.load(fit.save(tmp_path / "h.latent"))
    pd.testing.assert_frame_equal(again.histogram, fit.histogram)
    assert again.spec.latent == Histogram()
    np.testing.assert_allclose(again.scores(data), fit.scores(), atol=1e-10)
    assert np.isfinite(fit.fit_measures()[["m2", "srmsr"]]).all()


def test_weights_with_mean_zero_and_variance_one():
    z = np.linspace(-5, 5, 41)
    counts = np.random.default_rng(0).gamma(0.5, 1, 41) * np.exp(-((z - 0.7) ** 2))
    w = standardised(z, counts)
    assert (
        abs(w @ z) < 1e-12
        and abs(w @ z**2 - 1) < 1e-12
        and abs(w.sum() - 1) < 1e-12
        and (w[counts > 1e-9 * counts.sum()] > 0).all()
    )
    # stationary: the log-likelihood of counts cannot grow along directions that keep the three sums
    at = w > 0
    tangent = np.linalg.svd(np.stack([np.ones(at.sum()), z[at], z[at] ** 2]))[2][3:]
    slope = counts[at] / w[at]
    np.testing.assert_allclose(tangent @ slope, 0, atol=1e-6 * slope.max())
    normal = np.exp(-(z**2) / 2)
    np.testing.assert_allclose(standardised(z, normal), normal / normal.sum(), atol=1e-5)


def data_of(n=60, columns="abcd"):
    rng = np.random.default_rng(0)
    return pd.DataFrame((rng.random((n, len(columns))) > 0.5).astype(float), columns=list(columns))


REFUSED = {
    "two factors": (lambda d: jl.IRT("2pl", 2, latent=Histogram()).fit(d), "of one factor; the model has 2"),
    "a free variance": (lambda d: jl.IRT("rasch", latent=Histogram()).fit(d), "variance of 'F1' is free.*'1pl'"),
    "a free mean": (
        lambda d: jl.IRT("2pl", "F =~ a + b + c + d\nF ~ 1", latent=Histogram()).fit(d),
        "mean of 'F' is free",
    ),
    "groups": (
        lambda d: jl.IRT("2pl", latent=Histogram()).fit(d.assign(g=np.arange(len(d)) % 2), group="g"),
        "of one group; the data have 2",
    ),
    "covariates": (
        lambda d: jl.IRT("2pl", covariates=["z"], latent=Histogram()).fit(d.assign(z=np.arange(len(d)))),
        "does not go with covariates",
    ),
    "a rule": (
        lambda d: jl.IRT("2pl", latent=Histogram()).fit(d, jl.MarginalML(jl.GaussHermite(5))),
        "leave integration out",
    ),
    "a batch": (lambda d: jl.fit_batch(jl.IRT("2pl", latent=Histogram()), [d, d]), "leave latent out"),
    "binding": (lambda d: jl.IRT("2pl", latent=Histogram()).bind(d), "leave latent out"),
    "another word": (lambda d: jl.IRT("2pl", latent="histogram"), "Expected latent as .*got 'histogram'"),
    "few nodes": (lambda d: Histogram(3), "from 11 to 1001; got 3"),
    "narrow": (lambda d: Histogram(21, 1.0), "from 3 to 10; got 1.0"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_go_with_a_histogram(what):
    action, says = REFUSED[what]
    with pytest.raises(ValueError, match=says):
        action(data_of())


def test_other_methods_say_so(fits):
    normal, fit = fits
    with pytest.raises(ValueError, match="no mode between its nodes"):
        fit.scores(method="map")
    with pytest.raises(ValueError, match="normal latent variables"):
        normal.histogram  # noqa: B018
