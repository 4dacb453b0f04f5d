"""Fit statistics, curves and plausible values of fitted item response models: what must hold without a reference."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.diagnostics.category_tables import SlotJacobian
from jaxlatent.diagnostics.moment_covariance import indicators_of, moment_jacobian
from jaxlatent.inference.expected_information import expected_information, is_enumerable


def sample(n=400, groups=1):
    """Six items with three categories, two correlated factors."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((n, 2)) @ np.linalg.cholesky([[1, 0.3], [0.3, 1]]).T
    eta = np.repeat(x, 3, axis=1) * 1.3 + rng.logistic(size=(n, 6))
    y = (eta > -0.7).astype(float) + (eta > 0.8)
    frame = pd.DataFrame(y, columns=[f"y{j}" for j in range(6)])
    if groups > 1:
        frame["country"] = np.where(np.arange(n) % 2, "a", "b")
    return frame


@functools.cache
def two_factors():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jl.ModelWarning)
        return jl.IRT("gpcm", factors=2).fit(sample())


@functools.cache
def in_groups():
    return jl.IRT("graded", group_equal=("loadings", "intercepts")).fit(sample(groups=2), group="country")


@pytest.mark.study
def test_rotation_changes_no_probability():
    plain = two_factors()
    turned = plain.rotate("oblimin")
    x = np.array([[0.5, -1.0], [0.0, 0.0], [1.0, 2.0]])
    there = x @ turned._rotation.rotation
    np.testing.assert_allclose(plain.probabilities(x), turned.probabilities(there), atol=1e-12)
    np.testing.assert_allclose(plain.expected_score(x), turned.expected_score(there), atol=1e-12)
    pd.testing.assert_series_equal(plain.fit_measures(), turned.fit_measures())
    pd.testing.assert_frame_equal(plain.item_fit(), turned.item_fit())
    assert plain.plausible_values(2).shape == (800, 2)
    assert plain.modification_indices()["mi"].isna().all()


def test_both_links_are_the_derivative():
    diagnosis = two_factors()._diagnosis
    links = diagnosis.slot_jacobian(0)
    assert isinstance(links, SlotJacobian)
    model, univariate = diagnosis.models[0], indicators_of(diagnosis.n_categories)
    whole = moment_jacobian(model, univariate, links.dense(), None)
    np.testing.assert_allclose(moment_jacobian(model, univariate, links, None), whole, atol=1e-12)


def test_weights_move_as_the_latent_distribution_does():
    from dataclasses import replace

    fit = in_groups()
    diagnosis, fitted = fit._diagnosis, fit._fitted
    names = list(fit.vcov().index)
    k, h = names.index("F1~~F1.g2"), 1e-4
    x = diagnosis.nodes[1].x[:, 0]
    moved = []
    for step in (h, -h):
        free = fitted.free.copy()
        free[k] += step
        other = type(diagnosis)(replace(fitted, estimate=fitted.estimate._replace(free=free)))
        mean, variance = other.latent_mean(1)[0], other.latent_moments[1][1][0, 0]
        moved.append(-0.5 * np.log(variance) - (x - mean) ** 2 / (2 * variance))
    slope = (moved[0] - moved[1]) / (2 * h) * diagnosis.nodes[1].weights
    np.testing.assert_allclose(diagnosis.weight_jacobian(1)[:, k], slope, atol=1e-7)


def test_plausible_values_have_the_posterior_moments():
    fit = in_groups()
    draws = fit.plausible_values(64, key=3)
    scores = fit.scores(return_se=True)
    by_person = draws["F1"].groupby(level="person")
    z = (by_person.mean() - scores["F1"]) / (scores["F1_se"] / 8)
    assert abs(z.mean()) < 0.2 and 0.85 < z.std() < 1.15
    np.testing.assert_allclose((by_person.std() / scores["F1_se"]).mean(), 1, atol=0.03)


def test_tables_of_groups_have_the_group_first():
    fit = in_groups()
    for frame in (
        fit.item_fit(),
        fit.reliability(),
        fit.local_dependence(),
        fit.probabilities([0.0]),
        fit.information(0.0),
    ):
        assert frame.index.names[0] == "group" and list(frame.index.unique(0)) == ["b", "a"]
    assert len(fit.person_fit()) == 400 and np.isfinite(fit.person_fit()).all(axis=None)
    measures = fit.fit_measures()
    assert measures["c2_df"] == 2 * (12 + 15) - measures["npar"]
    assert np.isfinite(measures).all()


def test_score_tests_and_wald():
    fit = in_groups()
    found = fit.score_tests().set_index("constraint")
    assert found.loc["total", "df"] == 6 + 12 - 2 and (found["stat"] > 0).all()
    free = jl.IRT("graded").fit(sample(groups=2), group="country")
    ratio = 2 * (free.log_likelihood - fit.log_likelihood)
    np.testing.assert_allclose(found.loc["total", "stat"], ratio, rtol=0.15)
    wald = free.wald_test("F1=~y0 == F1=~y0.g2; y0~12 == y0~12.g2")
    assert wald["df"] == 2 and 0 <= wald["pvalue"] <= 1
    with pytest.raises(ValueError, match="not a free parameter"):
        free.wald_test("nobody == 1")


def test_expected_information_by_patterns_and_by_simulation(monkeypatch):
    fitted = in_groups()._fitted
    assert is_enumerable(fitted)
    exact = expected_information(fitted)
    monkeypatch.setattr("jaxlatent.inference.expected_information.PATTERNS", 0)
    assert not is_enumerable(fitted)
    drawn = expected_information(fitted)
    np.testing.assert_allclose(np.sqrt(np.diag(drawn)), np.sqrt(np.diag(exact)), rtol=0.03)


def test_items_without_categories_are_left_out():
    frame = sample()[["y0", "y1", "y2"]].assign(time=np.random.default_rng(1).standard_normal(400))
    fit = jl.IRT({"y0": "graded", "y1": "graded", "y2": "graded", "time": "normal"}).fit(frame)
    measures = fit.fit_measures()
    assert np.isnan(measures[["g2", "m2", "c2", "srmsr"]]).all() and np.isfinite(measures["bic"])
    assert any("need items with categories" in note for note in fit.notes)
    assert fit.item_fit()["infit"].isna().tolist() == [False, False, False, True]
    assert fit.local_dependence("q3").loc["time"].isna().all()
    assert fit.expected_score([0.0]).shape == (1, 4)
    with pytest.raises(ValueError, match="items with categories"):
        fit.scores(method="eapsum")
