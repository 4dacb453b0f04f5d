"""Answers simulated from the parameters of item response models that were never fitted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.measurement.item_types import ITEM_TYPES

MANY = 40_000


def proportions(slopes, intercepts, total=1.0):
    """Expected proportion of each category of graded items, a standard normal factor times total."""
    z, w = np.polynomial.hermite_e.hermegauss(41)
    eta = slopes[:, None, None] * z[None, :, None] * total + np.asarray(intercepts)[:, None, :]
    above = 1 / (1 + np.exp(-eta))
    edges = np.concatenate([np.ones_like(above[..., :1]), above, np.zeros_like(above[..., :1])], -1)
    return np.einsum("jrk,r->jk", -np.diff(edges), w / w.sum())


def test_proportions_and_correlations_are_the_models():
    slopes, cuts = np.array([1.5, 0.7, 1.0, 2.0]), np.array([[1.0, -0.5], [0.3, -1.0], [2.0, 0.0], [0.5, 0.2]])
    model = jl.IRT("graded", "F =~ a + b\nG =~ p*c + d")
    loadings = pd.DataFrame([[1.5, 0], [0.7, 0], [0, 1.0], [0, 2.0]], index=list("abcd"), columns=["F", "G"])
    given = {"intercepts": cuts, "F ~~ G": 0.6, "loadings": loadings.loc[list("dcba")], "p": 1.0}
    y = jl.simulate(model, given, MANY, key=3)
    assert list(y.columns) == list("abcd") and set(y.dtypes) == {np.dtype(int)} and len(y) == MANY
    assert y.equals(jl.simulate(model, given, MANY, key=3)) and not y.equals(jl.simulate(model, given, MANY, key=4))
    expected = proportions(slopes, cuts)
    for j, name in enumerate(y):
        found = np.bincount(y[name], minlength=3) / MANY
        np.testing.assert_allclose(found, expected[j], atol=5 * np.sqrt(0.25 / MANY))
    apart = jl.simulate(model, given | {"F ~~ G": 0.0}, MANY)
    assert y["a"].corr(y["d"]) > 0.15 and abs(apart["a"].corr(apart["d"])) < 5 / np.sqrt(MANY)


def test_a_fit_finds_the_parameters():
    truth = {"loadings": np.linspace(0.8, 1.8, 6), "intercepts": np.linspace(-1, 1, 6)}
    y = jl.simulate(jl.IRT("2pl"), truth, 4000, key=1)
    assert list(y.columns) == [f"item{j + 1}" for j in range(6)]
    rows = jl.IRT("2pl").fit(y, jl.MarginalML(jl.GaussHermite(31))).parameters.query("free > 0")
    z = (rows["est"] - np.concatenate([truth["loadings"], truth["intercepts"]])) / rows["se"]
    assert np.abs(z).max() < 4


def test_groups_covariates_and_exploratory_factors():
    two = jl.IRT("2pl", "F =~ a + b + c", group_equal=("loadings", "intercepts"))
    given = {"loadings": 1.0, "F ~1.old": 1.5, "F ~~ F.old": 0.01}
    y = jl.simulate(two, given, 5000, groups=["new", "old"])
    means = y.groupby("group", sort=False)[["a", "b", "c"]].mean()
    assert list(means.index) == ["new", "old"] and len(y) == 10_000
    np.testing.assert_allclose(means.loc["new"], 0.5, atol=0.035)
    np.testing.assert_allclose(means.loc["old"], 1 / (1 + np.exp(-1.5)), atol=0.035)
    z = np.linspace(-2, 2, 5000)
    more = jl.simulate(jl.IRT("2pl", "F =~ a + b + c", covariates=["age"]), {"F ~ age": 1.0}, 5000, covariates=z)
    assert more["age"].corr(more["a"]) > 0.3 and list(more.columns) == ["a", "b", "c", "age"]
    full = np.array([[1.0, 0.5], [0.2, 1.0], [0.8, 0.1], [0.3, 1.2]])
    free = jl.simulate(jl.IRT("2pl", 2), {"loadings": full}, 50)
    assert free.shape == (50, 4) and set(np.unique(free)) == {0, 1}


@pytest.mark.parametrize("kind", ["3pl", "nominal", "rsm", "poisson", "normal"])
def test_every_kind_of_answer(kind):
    y = jl.simulate(jl.IRT(kind), {}, 300, items=["u", "v", "w"], categories=4)
    assert kind in ITEM_TYPES and list(y.columns) == ["u", "v", "w"] and np.isfinite(y).all(axis=None)
    top = {"3pl": 1, "nominal": 3, "rsm": 3}.get(kind)
    assert y.max(axis=None) == top if top else len(np.unique(y)) > 4
    assert set(y.dtypes) == {np.dtype(float if kind == "normal" else int)}


def test_items_of_several_sizes():
    cuts = np.array([[1.0, 0.0, -1.0], [0.5, np.nan, np.nan], [0.8, -0.3, np.nan]])
    y = jl.simulate(jl.IRT("graded"), {"intercepts": cuts, "loadings": 1.2}, 2000, items=["a", "b", "c"])
    assert list(y.max()) == [3, 1, 2]
    np.testing.assert_allclose((y > 0).mean(), 1 - proportions(np.full(3, 1.2), cuts[:, :1])[:, 0], atol=0.06)


ONE = jl.IRT("graded", "F =~ a + b + c")


@pytest.mark.parametrize(
    ("model", "params", "options", "sentence"),
    [
        (jl.IRT("2pl"), {}, {}, "pass items, the list of their names"),
        (ONE, {}, {}, r"categories of the item 'a' \(graded\)"),
        (ONE, {"F =~ z": 1.0}, {"categories": 3}, "no free parameter 'F =~ z'"),
        (ONE, {"intercepts": [[0.0, 1.0]] * 3}, {}, "intercepts of the item 'a' to decrease; got 0, 1"),
        (ONE, {"loadings": np.ones((2, 1))}, {"categories": 3}, "'loadings' with shape 3 x 1"),
        (ONE, {"loadings": pd.DataFrame({"F": [1.0]}, index=["z"])}, {"categories": 3}, "Expected rows a, b, c"),
        (ONE, {"factor_cov": [[2.0]]}, {"categories": 3}, r"cell \(1, 1\) of 'factor_cov' is fixed at 1"),
        (ONE, {"F =~ a": 1.0, "loadings": np.full((3, 1), 2.0)}, {"categories": 3}, "Two values, 1 and 2"),
        (ONE, {"F =~ a": "high"}, {"categories": 3}, "Expected a number for 'F =~ a'"),
        (ONE, {"F =~ a": np.inf}, {"categories": 3}, "Expected a finite number"),
        (ONE, {}, {"categories": 3, "covariates": [1.0]}, "The model has no covariates"),
        (ONE, {}, {"categories": 3, "groups": ["u", "u"]}, "groups as different labels"),
        (jl.IRT("3pl", "F =~ a + b + c"), {"guessing": [0.1, 1.2, 0.3]}, {}, "guessing of the item 'b' to lie between"),
        (jl.IRT("2pl", "F =~ a + b\nG =~ c + d"), {"F ~~ G": 1.4}, {}, "not positive semidefinite"),
        (jl.IRT("2pl", "F =~ a + b", covariates=["age"]), {}, {}, "pass their values, n rows"),
        (jl.IRT("2pl", latent="empirical_histogram"), {}, {"items": ["a", "b"]}, "normal latent variables"),
        (jl.SEM("f =~ x1 + x2 + x3"), {}, {"categories": 3}, "are for item response models"),
        ("2pl", {}, {}, "Expected jl.SEM"),
    ],
)  # fmt: skip
def test_what_is_refused(model, params, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        jl.simulate(model, params, 10, **options)
