"""Bifactor and two-tier models: dimension reduction against grids in all dimensions and against plain loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.bound import bind_items
from jaxlatent.inference import marginal_fit
from jaxlatent.inference.marginal_fit import form_of, problem_of
from jaxlatent.integration.gauss_hermite import grid
from jaxlatent.models.louis import information
from jaxlatent.models.marginal import person_moments, person_scores
from jaxlatent.spec.item_table import item_layout
from jaxlatent.spec.two_tier import reduction_of


@functools.partial(jax.jit, static_argnums=0)
def everything(*problem):
    """What is asked of the likelihood, in one program."""
    return person_scores(*problem), person_moments(*problem), information(*problem)


NAMES = [f"i{j}" for j in range(7)]
ONE_GENERAL = jl.bifactor({"s1": NAMES[:3], "s2": NAMES[3:6]}, {"g": NAMES})  # the last item has no specific factor
TWO_TIER = jl.bifactor({"s1": ["i0", "i4"], "s2": ["i1", "i5"]}, {"a": NAMES[:4], "b": NAMES[4:]})
PLAIN = dict.fromkeys(NAMES, "2pl")
TWO = {name: "2pl" for name in NAMES} | {"i5": "normal"}
KINDS = TWO | {"i1": "graded", "i4": "graded"}


def answers(n=60, seed=0, kinds=KINDS):
    """Items of three types with a tenth missing, weights, two groups and a covariate."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    loadings = np.zeros((len(NAMES), 3))
    loadings[:, 0], loadings[:3, 1], loadings[3:6, 2] = 1, 1, 0.8
    z = x @ loadings.T + rng.logistic(size=(n, len(NAMES)))
    y = (z > 0).astype(float)
    for j, name in enumerate(NAMES):
        if kinds[name] != "2pl":
            y[:, j] = np.digitize(z[:, j], [-1, 1]) if kinds[name] == "graded" else z[:, j]
    y[rng.random(y.shape) < 0.1] = np.nan
    return pd.DataFrame(y, columns=NAMES).assign(
        w=rng.uniform(0.5, 2, n), school=rng.choice(["a", "b"], n), age=x[:, 0] + rng.standard_normal(n)
    )


def both_ways(spec, data, rule, group=None, weights=None):
    """Log-likelihoods, scores, information, means and covariances by the reduced integral and by the whole grid."""
    with jax.enable_x64(True):
        p = spec._prepare(data, group, weights)
        layout = bind_items(spec, p).model.layout
        split = reduction_of(layout)
        assert split is not None
        rng = np.random.default_rng(1)
        free = layout.start * (1 + 0.1 * rng.standard_normal(layout.n_free)) + 0.05 * rng.standard_normal(layout.n_free)
        out = []
        for reduction in (split, None):
            form = form_of(p.measurement, p.coding, rule, reduction)
            problem, modes, places = problem_of(form, layout, p.data, p.table.n_groups, rule, 0, 16)
            (value, score), of_persons, matrices = everything(form, problem, jnp.asarray(free), modes)
            rows = [value, score, of_persons.mean, of_persons.cov]
            out.append([*(np.asarray(a).reshape(-1, *a.shape[2:])[places] for a in rows), *map(np.asarray, matrices)])
        return out


@pytest.mark.parametrize(
    ("kinds", "factors", "nodes", "more"),
    [
        pytest.param(PLAIN, ONE_GENERAL, 13, {}, id="bifactor"),
        pytest.param(TWO, ONE_GENERAL, 13, {}, id="normal", marks=pytest.mark.study),
        pytest.param(KINDS, ONE_GENERAL, 13, {"group": "school", "weights": "w"}, id="groups", marks=pytest.mark.study),
        pytest.param(KINDS, TWO_TIER, 7, {}, id="two-tier", marks=pytest.mark.study),
        pytest.param(KINDS, ONE_GENERAL, 13, {"covariates": ["age"]}, id="covariates", marks=pytest.mark.study),
    ],
)
def test_everything_equals_the_grid_in_all_dimensions(kinds, factors, nodes, more):
    columns = [c for c in ("group", "weights") if c in more]
    spec = jl.IRT(kinds, factors, covariates=more.get("covariates"))
    data = answers(kinds=kinds)[NAMES + [more[c] for c in columns] + list(more.get("covariates", ()))]
    reduced, whole = both_ways(spec, data, jl.GaussHermite(nodes), **{c: more[c] for c in columns})
    # the grid leaves nodes with weights below 2e-16 out, of other dimensions than the reduced one does
    for found, expected in zip(reduced, whole, strict=True):
        assert np.isfinite(found).all() and np.abs(expected).max() > 0.1
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    assert abs(reduced[0].sum() - whole[0].sum()) < 1e-6 * len(data)


@pytest.fixture(scope="module")
def six():
    """One general and six specific factors with three items each, and a fit by the default rule."""
    rng = np.random.default_rng(3)
    n, blocks = 500, {f"s{k}": [f"y{3 * k + j}" for j in range(3)] for k in range(6)}
    names = [name for items in blocks.values() for name in items]
    z = 1.5 * rng.standard_normal((n, 1)) + np.repeat(1.2 * rng.standard_normal((n, 6)), 3, axis=1)
    data = pd.DataFrame((z + rng.logistic(size=z.shape) > 0).astype(float), columns=names)
    return data, blocks, jl.IRT("2pl", jl.bifactor(blocks)).fit(data)


def test_likelihood_of_seven_factors_is_that_of_plain_loops(six):
    data, blocks, fit = six
    assert fit.engine.integration == jl.GaussHermite(31)
    assert "6 specific factors are integrated one at a time, 2 dimensions" in fit.notes[-2] + fit.notes[0]
    slopes, d = fit.loadings, fit.intercepts.to_numpy().ravel()
    z, log_w = grid(31, 1)
    w = np.exp(log_w)
    y = data.to_numpy()
    total = np.zeros((len(y), len(w)))
    for name, items in blocks.items():
        at = [data.columns.get_loc(item) for item in items]
        eta = (
            slopes["general"].to_numpy()[at] * z[:, :1, None]
            + slopes[name].to_numpy()[at] * z[None, :, 0, None]
            + d[at]
        )
        p = 1 / (1 + np.exp(-eta))
        each = np.where(y[:, None, None, at] == 1, p, 1 - p).prod(-1)  # person, general node, specific node
        total += np.log(each @ w)
    expected = np.log(np.exp(total) @ w)
    # 31 nodes of which those below 2e-16 are left out
    np.testing.assert_allclose(fit.log_likelihoods(), expected, rtol=0, atol=1e-8)
    assert abs(fit.log_likelihood - expected.sum()) < 1e-6


def test_a_fit_of_seven_factors_has_errors_scores_tests_and_can_be_saved(six, tmp_path):
    data, _, fit = six
    assert fit.converged
    free = fit.parameters.query("free > 0")
    assert free["se"].between(0.02, 2).all() and len(free) == 54
    truth = {"general": 1.5} | {f"s{k}": 1.2 for k in range(6)}
    for name, value in truth.items():  # the mean of a factor's slopes, each known to about 0.2
        own = fit.loadings[name].to_numpy()
        assert abs(own[own != 0].mean() - value) < 0.35
    again = jl.load(fit.save(tmp_path / "six.latent"))
    scores = fit.scores(return_se=True)
    np.testing.assert_allclose(again.scores(data, return_se=True), scores, rtol=0, atol=1e-8)
    reliable = 1 - (scores["general_se"] ** 2).mean()
    assert abs(scores["general"].var() - reliable) < 0.05  # Var E(x | y) + E Var(x | y) = 1


@pytest.mark.study
def test_the_fit_of_three_factors_is_that_of_the_grid(monkeypatch):
    data = answers(300, 5)[NAMES]
    spec, engine = jl.IRT(KINDS, ONE_GENERAL), jl.MarginalML(jl.GaussHermite(13), "none")
    reduced = spec.fit(data, engine)
    monkeypatch.setattr(marginal_fit, "reduction_of", lambda layout: None)
    whole = spec.fit(data, engine)
    assert reduced.converged and whole.converged
    assert abs(reduced.log_likelihood - whole.log_likelihood) < 1e-6
    np.testing.assert_allclose(reduced.parameters["est"], whole.parameters["est"], atol=1e-4)


def split_of(factors, kinds="2pl", n=80):
    rng = np.random.default_rng(2)
    data = pd.DataFrame((rng.random((n, len(NAMES))) > 0.5).astype(float), columns=NAMES)
    return reduction_of(item_layout(jl.IRT(kinds, factors)._prepare(data, None, None).table))


def test_which_models_are_reduced():
    found = split_of(ONE_GENERAL)
    assert (found.general, found.specific, found.items) == ((0,), (1, 2), ((0, 1, 2), (3, 4, 5), (6,)))
    found = split_of(TWO_TIER)
    assert (found.general, found.specific, found.items) == ((0, 1), (2, 3), ((0, 4), (1, 5), (2, 3, 6)))
    assert split_of(3) is None and split_of("F =~ " + " + ".join(NAMES)) is None
    simple = "a =~ i0 + i1 + i2\nb =~ i3 + i4 + i5\nc =~ i5 + i6"
    assert split_of(simple) is None  # all may covary
    free = simple.replace("i5 + i6", "i6 + i2")
    apart = split_of(free + "\na ~~ 0*b + 0*c\nb ~~ 0*c")
    assert apart.general == (0,) and apart.specific == (1, 2)
    assert split_of(free + "\na ~~ 0*b + 0*c\nc ~ b") is None  # a regression ties b and c


def test_syntax_of_bifactor_models():
    assert ONE_GENERAL.splitlines()[3:] == ["s1 ~~ 0*g", "s2 ~~ 0*g", "s2 ~~ 0*s1"]
    assert "a ~~" not in TWO_TIER and "s1 ~~ 0*b" in TWO_TIER
    assert jl.bifactor({"s": ["i0", "i1"]}).startswith("general =~ i0 + i1\ns =~ i0 + i1")


@pytest.mark.parametrize(
    ("specific", "general", "says"),
    [
        ({"s1": ["a", "b"], "s2": ["b"]}, "g", "'b' is given to 's1' and 's2'"),
        ({"g": ["a"]}, "g", "different names"),
        ({"s": []}, "g", "none for"),
        ({}, "g", "got none for 'g'"),
        ({"s": "ab"}, "g", "several items"),
        (["a"], "g", "a mapping"),
    ],
)
def test_bad_bifactor_models_are_refused(specific, general, says):
    with pytest.raises(ValueError, match=says):
        jl.bifactor(specific, general)
