"""Classifier two-sample tests: nominal level where samples are alike, power where a model is wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import jaxlatent as jl
from jaxlatent.diagnostics.classifiers import Neighbours, Network
from jaxlatent.diagnostics.two_sample import two_sample_test


def draw(n, rng, factors=1, j=10, slope=1.7):
    x = rng.standard_normal((n, 2))
    own = np.arange(j) * factors // j
    return (rng.logistic(size=(n, j)) < slope * x[:, own]).astype(float)


def test_level_of_neighbours():
    p = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found = two_sample_test(draw(200, rng), draw(200, rng), method="neighbours", baseline=False, key=seed)
        p.append(found.statistics["pvalue"])
    # four standard errors of a share of .05 (.0154) and of a mean of uniform numbers (.0204)
    assert (np.array(p) < 0.05).mean() < 0.05 + 4 * 0.0154
    assert abs(np.mean(p) - 0.5) < 4 * 0.0204


def test_level_of_the_network():
    accuracy = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        found = two_sample_test(draw(300, rng), draw(300, rng), baseline=False, key=seed)
        accuracy.append(found.statistics["accuracy"])
    assert abs(np.mean(accuracy) - 0.5) < 4 * 0.5 / np.sqrt(8 * 300)


@pytest.mark.parametrize("method", ["network", "neighbours"])
def test_statistics_are_those_of_the_paper(method):
    rng = np.random.default_rng(0)
    real, other = draw(600, rng, 2), draw(600, rng)
    found = two_sample_test(real, other, method=method, tolerance=0.05, key=1).statistics
    assert found["n_test"] == 600 and found["accuracy"] > 0.55
    z = (found["accuracy"] - 0.55) / np.sqrt(0.55 * 0.45 / 600)
    assert found["z"] == pytest.approx(z) and found["pvalue"] == pytest.approx(norm.sf(z))
    expected = 1 - (found["accuracy"] - 0.5) / (found["baseline_accuracy"] - 0.5)
    assert found["rfi"] == pytest.approx(expected)
    exact = two_sample_test(real, other, method=method, key=1).statistics
    assert exact["accuracy"] == found["accuracy"] and exact["pvalue"] < min(found["pvalue"], 1e-4)
    pd.testing.assert_series_equal(found, two_sample_test(real, other, method=method, tolerance=0.05, key=1).statistics)


def test_importance_finds_the_item():
    rng = np.random.default_rng(2)
    real, other = draw(800, rng), draw(800, rng)
    other[:, 3] = rng.integers(0, 2, 800) + other[:, 3]
    frames = [pd.DataFrame(a, columns=[f"i{k}" for k in range(10)]) for a in (real, other)]
    lost = two_sample_test(*frames, repeats=4, baseline=False).importance
    assert list(lost.index) == list(frames[0].columns)
    assert lost["importance"].idxmax() == "i3" and lost.loc["i3", "importance"] > 5 * lost.loc["i3", "se"]
    assert lost["importance"].drop("i3").abs().max() < lost.loc["i3", "importance"] / 2


def test_columns_may_be_in_another_order_and_samples_of_other_sizes():
    rng = np.random.default_rng(5)
    real = pd.DataFrame(draw(300, rng), columns=list("abcdefghij"))
    more = pd.DataFrame(draw(3000, rng), columns=list("abcdefghij"))[list("jihgfedcba")]
    found = two_sample_test(real, more, method="neighbours", baseline=False).statistics
    assert found["n_test"] == 300 and found["accuracy"] < 0.5 + 4 * 0.5 / np.sqrt(300)


def test_neighbours_are_the_nearest():
    rng = np.random.default_rng(1)
    x, label, rows = rng.normal(size=(90, 4)), rng.integers(0, 2, 90), rng.normal(size=(30, 4))
    told = Neighbours(k=7).learn(x, label, 0)(rows)
    near = np.argsort(((rows[:, None] - x) ** 2).sum(-1), axis=1)[:, :7]
    np.testing.assert_array_equal(told, label[near].sum(1) > 3.5)


def test_the_network_learns_what_is_not_linear():
    rng = np.random.default_rng(1)
    x = rng.choice([-1.0, 1.0], (1000, 2))
    told = Network().learn(x, (x.prod(1) > 0).astype(int), 0)
    np.testing.assert_array_equal(told(x), x.prod(1) > 0)


def test_a_wrong_model_is_found_and_a_right_one_is_not():
    """One factor fitted to answers of two, and to answers of one; a tenth of them is missing."""
    engine = jl.MarginalML(integration=jl.GaussHermite(11), se="none")
    found = []
    for factors in (2, 1):
        rng = np.random.default_rng(11)
        y = draw(800, rng, factors, j=8)
        y[rng.random(y.shape) < 0.1] = np.nan
        fit = jl.IRT("2pl").fit(y, engine)
        found.append(fit.two_sample_test(method="neighbours", key=3).statistics)
    wrong, sound = found
    assert wrong["pvalue"] < 1e-3 < 0.01 < sound["pvalue"]
    error = 0.5 / np.sqrt(800) / (sound["baseline_accuracy"] - 0.5)
    assert wrong["rfi"] < sound["rfi"] and abs(sound["rfi"] - 1) < 4 * error


def test_groups_and_covariates_are_simulated_with_their_persons(monkeypatch):
    """What the classifier is given: the same groups and gaps in both samples, and answers that follow covariates."""
    from jaxlatent.diagnostics import two_sample

    rng = np.random.default_rng(0)
    n, age = 400, rng.standard_normal(400)
    x = 0.8 * age + rng.standard_normal(n)
    y = (rng.logistic(size=(n, 5)) < 1.2 * x[:, None]).astype(float)
    y[rng.random(y.shape) < 0.2] = np.nan
    y[:, 0] = np.where(np.isnan(y).all(1), 0, y[:, 0])
    frame = pd.DataFrame(y, columns=list("abcde")).assign(age=age)
    fit = jl.IRT("2pl", covariates=["age"]).fit(frame, jl.MarginalML(integration=jl.GaussHermite(31), se="none"))
    kept = {}
    monkeypatch.setattr(two_sample, "two_sample_test", lambda *frames, **given: kept.update(frames=frames, **given))
    fit.two_sample_test(key=2)
    real, made = kept["frames"]
    np.testing.assert_array_equal(real.isna(), made.isna())
    np.testing.assert_array_equal(kept["given"], age[:, None])
    of_age = [np.corrcoef(frame.mean(axis=1), age)[0, 1] for frame in kept["frames"]]
    assert abs(of_age[0] - of_age[1]) < 4 / np.sqrt(n)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"tolerance": 0.5}, "tolerance to be from 0"),
        ({"repeats": -1}, "repeats to be a whole number"),
        ({"method": "forest"}, "'network', 'neighbours' or a Classifier; got 'forest'"),
        ({"given": np.zeros((7, 1))}, "Expected 50 rows"),
    ],
)
def test_bad_options(given, sentence):
    y = draw(50, np.random.default_rng(0))
    with pytest.raises(ValueError, match=sentence):
        two_sample_test(y, y, **given)


def test_bad_samples():
    y = draw(50, np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least 40 rows in the simulated sample; got 9"):
        two_sample_test(y, y[:9])
    with pytest.raises(ValueError, match="10 columns; got others"):
        two_sample_test(y, y[:, :3])
    with pytest.raises(ValueError, match="same columns"):
        two_sample_test(pd.DataFrame(y), pd.DataFrame(y).rename(columns={0: "x"}))
    with pytest.raises(ValueError, match="infinite"):
        two_sample_test(y, np.where(y == 1, np.inf, y))
