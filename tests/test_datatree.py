"""Fits as ArviZ DataTrees: names, dimensions, likelihoods of persons, replicated data, and what ArviZ makes of them."""

from __future__ import annotations

import numpy as np
import pytest

import jaxlatent as jl
from jaxlatent.diagnostics.draw_likelihoods import draw_log_likelihoods
from jaxlatent.diagnostics.item_predictive import item_predictive_checks, odds_ratio_checks
from jaxlatent.diagnostics.loo_table import waic_of
from jaxlatent.diagnostics.replicates import replicated
from jaxlatent.diagnostics.resampling import Bootstrap
from jaxlatent.results.draws import admissible, sampling_draws

azs = pytest.importorskip("arviz_stats")
FACTORS = "visual =~ x1 + b*x2 + c*x3\n textual =~ x4 + x5 + x6\n ratio := b / c"
ITEMS = [f"x{k}" for k in range(1, 7)]


@pytest.fixture(scope="module")
def sem():
    return jl.SEM(FACTORS).fit(jl.datasets.load("holzinger_swineford"))


@pytest.fixture(scope="module")
def tree(sem):
    return sem.to_datatree(draws=300, predictive=20)


@pytest.fixture(scope="module")
def irt():
    return jl.IRT("2pl").fit(jl.datasets.load("lsat7"))


def test_parameters_have_their_names_and_matrices_their_axes(sem, tree):
    posterior, matrices = tree["posterior"], tree["matrices"]
    assert list(posterior.data_vars) == [*sem.vcov().index, "ratio"]
    assert all(each.dims == ("chain", "draw") for each in posterior.data_vars.values())
    np.testing.assert_allclose(posterior["ratio"], posterior["b"] / posterior["c"], rtol=1e-12)
    assert matrices["loadings"].dims == ("chain", "draw", "item", "factor")
    assert matrices["factor_cov"].dims == ("chain", "draw", "factor", "factor2")
    assert list(matrices.coords["item"].values) == ITEMS and list(matrices.coords["factor"].values) == [
        "visual",
        "textual",
    ]
    cell = matrices["loadings"].sel(item="x5", factor="textual")
    np.testing.assert_array_equal(cell, posterior["textual=~x5"])
    np.testing.assert_array_equal(matrices["residual_cov"].sel(item="x1", item2="x1"), posterior["x1~~x1"])
    assert tree.attrs["kind"] == "sampling" and "not a posterior" in tree.attrs["description"]


def test_draws_have_the_moments_of_the_sampling_distribution(sem):
    """Errors of means are 1 / sqrt(n) standard errors; 4.5 of them for 21 numbers is once in 7000."""
    draws = sampling_draws(sem._fitted, sem._vcov, 4000)
    se = np.sqrt(np.diag(sem._vcov))
    assert np.abs(draws.flat.mean(0) - sem._fitted.free).max() / se.max() < 4.5 / np.sqrt(4000)
    np.testing.assert_allclose(draws.flat.std(0), se, rtol=0.06)


def test_data_and_likelihoods_have_persons_and_items(sem, tree):
    data = jl.datasets.load("holzinger_swineford")
    assert tree["log_likelihood"]["responses"].dims == ("chain", "draw", "person")
    assert tree["posterior_predictive"]["responses"].dims == ("chain", "draw", "person", "item")
    assert tree["posterior_predictive"].sizes["draw"] == 20
    observed = tree["observed_data"]["responses"]
    np.testing.assert_array_equal(observed.sel(item="x4"), data["x4"])
    np.testing.assert_array_equal(observed.coords["person"], data.index)
    found = draw_log_likelihoods(sem._fitted, sem._fitted.free[None])[0]
    np.testing.assert_allclose(found, sem.log_likelihoods(), atol=1e-10)


def test_incomplete_rows_of_groups(sem):
    data = jl.datasets.load("holzinger_swineford")
    data[ITEMS] = data[ITEMS].mask(np.random.default_rng(0).random((len(data), 6)) < 0.1)
    fit = jl.SEM(FACTORS.replace("b*", "").replace("c*", "").replace("ratio := b / c", "")).fit(data, group="school")
    free = np.stack([fit._fitted.free, fit._fitted.free * 1.01])
    found = draw_log_likelihoods(fit._fitted, free)
    np.testing.assert_allclose(found[0], fit.log_likelihoods(), atol=1e-9)
    assert (found[0].sum() > found[1].sum()) and np.isfinite(found).all()
    tree = fit.to_datatree(draws=10, predictive=10)
    assert tree["matrices"]["intercepts"].dims == ("chain", "draw", "group", "item")
    made, seen = tree["posterior_predictive"]["responses"].values, tree["observed_data"]["responses"].values
    assert (np.isnan(made) == np.isnan(seen)).all()
    assert set(tree["constant_data"]["person_group"].values) == {"Pasteur", "Grant-White"}


def test_leave_one_out_of_an_item_response_model(irt):
    """Persons are left out, not answers: five items would have p_loo far above the ten parameters otherwise."""
    tree = irt.to_datatree(draws=2500, predictive=0)
    assert "posterior_predictive" not in tree.children
    found = azs.loo(tree, pointwise=True)
    assert found.good_k == pytest.approx(0.7) and float(found.pareto_k.max()) < 0.7
    assert found.elpd == pytest.approx(irt.log_likelihood - 10, abs=3)
    values = tree["log_likelihood"]["responses"].values[0]
    assert waic_of(values)[0] == pytest.approx(found.elpd, abs=0.2)
    at = draw_log_likelihoods(irt._fitted, irt._fitted.free[None])[0]
    np.testing.assert_allclose(at, irt.log_likelihoods(), atol=1e-10)


def test_replicated_answers_are_those_of_the_model(irt):
    """Proportions of 200 x 1000 persons: standard errors of at most 0.0012, five of them."""
    made = replicated(irt._fitted, np.repeat(irt._fitted.free[None], 200, 0))
    assert made.dtype.kind == "i" and set(np.unique(made)) == {0, 1}
    np.testing.assert_allclose(made.mean((0, 1)), jl.datasets.load("lsat7").mean(), atol=0.006)


def test_odds_ratios_of_pairs(irt):
    fitted = irt._fitted
    draws = sampling_draws(fitted, fitted.vcov, 200)
    found = odds_ratio_checks(fitted, draws, n=100)
    y = jl.datasets.load("lsat7").to_numpy()
    a, b = y[:, 0], y[:, 3]
    counts = [((a == i) & (b == j)).sum() + 0.5 for i, j in ((1, 1), (0, 0), (1, 0), (0, 1))]
    assert found.loc[("Item.1", "Item.4"), "observed"] == pytest.approx(counts[0] * counts[1] / counts[2] / counts[3])
    assert len(found) == 10 and found["ppp"].between(0.02, 0.98).all()  # the 2PL fits these items
    checks = item_predictive_checks(fitted, draws, n=100)
    assert list(checks.index) == ["sum_scores", "odds_ratios", "srmr"] and (checks["ppp"] > 0.05).all()
    with pytest.raises(ValueError, match="replicated data sets"):
        odds_ratio_checks(fitted, draws, n=3)


def test_a_bootstrap_and_what_is_drawn_outside(sem):
    drawn = sampling_draws(sem._fitted, sem._vcov, 300).flat
    draws = Bootstrap(sem._fitted, drawn, 0).to_datatree(predictive=0)
    assert draws.attrs["kind"] == "bootstrap" and draws["posterior"].sizes["draw"] == 300
    free = np.repeat(sem._fitted.free[None], 2, 0)
    free[1, sem._fitted.table.n_free - 1] = 50.0  # a covariance of factors that is no longer possible
    assert admissible(sem._fitted, free).tolist() == [True, False]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"draws": 1}, "number of draws"),
        ({"draws": True}, "number of draws"),
        ({"predictive": -1}, "replicated data sets"),
        ({"predictive": 2.5}, "replicated data sets"),
    ],
)
def test_numbers_that_make_no_sense(irt, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        irt.to_datatree(**options)


def test_without_a_covariance_matrix_there_are_no_draws():
    fit = jl.SEM(FACTORS).fit(jl.datasets.load("holzinger_swineford"), jl.ML(se="none"))
    with pytest.raises(ValueError, match="no covariance matrix"):
        fit.to_datatree()


@pytest.mark.study
def test_every_kind_of_fit_has_a_tree():
    data = jl.datasets.load("holzinger_swineford")[[f"x{k}" for k in range(1, 10)]]
    bayes = jl.EFA(3).fit(data, jl.VariationalBayes())
    loo = azs.loo(bayes.to_datatree(draws=500, predictive=5))
    assert -3760 < loo.elpd < -3720
    deep = jl.VAE(2, "normal", hidden=(8,)).fit(data, jl.AmortizedVI(max_epochs=3)).to_datatree(draws=4, predictive=2)
    assert deep["posterior"]["latent"].dims == ("chain", "draw", "person", "factor")
    assert deep["person_data"]["reconstruction"].dims == ("person", "item")
    assert deep["person_data"].sizes["person"] == 301
