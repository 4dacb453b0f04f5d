"""Laplace's approximation: its own score and information, moments to the second order, quadrature with many items."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.inference.marginal_fit import form_of, problem_of, starting_values
from jaxlatent.models.marginal import evaluate, person_moments
from jaxlatent.models.observed import observed_information
from jaxlatent.spec.item_table import item_layout

ITEMS = [f"y{j}" for j in range(8)]


@pytest.fixture(scope="module")
def case():
    """Two factors, graded items and a guessed one, missing cells: programs, and a free vector."""
    rng = np.random.default_rng(5)
    x = rng.multivariate_normal([0, 0], [[1, 0.4], [0.4, 1]], 90)
    z = np.repeat(x, 4, axis=1) * 1.2 + rng.logistic(size=(90, 8))
    y = np.digitize(z, [-1.0, 0.5]).astype(float)
    y[:, 3] = z[:, 3] > -0.4
    y[rng.random(y.shape) < 0.1] = np.nan
    kinds = dict.fromkeys(ITEMS, "graded") | {"y3": "3pl"}
    model = jl.IRT(kinds, "F =~ y0 + y1 + y2 + y3\nG =~ y4 + y5 + y6 + y7")
    p = model._prepare(pd.DataFrame(y, columns=ITEMS), None, None)
    layout = item_layout(p.table)
    free = starting_values(p.table, layout, p.data, p.measurement)

    def program(rule, function, *words):
        form = form_of(p.measurement, p.coding, rule)
        with jax.enable_x64(True):
            problem, modes, places = problem_of(form, layout, p.data, 1, rule, 0, 128)
            run = jax.jit(lambda at: function(form, problem, at, modes, *words))
        return lambda at: jax.tree.map(np.asarray, run(jnp.asarray(at))), places

    return program, free


def test_score_and_information_are_derivatives_of_the_approximation(case):
    program, free = case
    value, _ = program(jl.Laplace(), evaluate)
    information, _ = program(jl.Laplace(), observed_information)
    step = 1e-5
    with jax.enable_x64(True):
        here = value(free)
        moved = [[value(free + sign * step * unit) for sign in (1, -1)] for unit in np.eye(len(free))]
        observed, instead = information(free)
    slope = np.array([(up.log_likelihood - down.log_likelihood) / (2 * step) for up, down in moved])
    np.testing.assert_allclose(here.score, slope, atol=1e-6 * np.abs(slope).max())
    bend = np.array([(down.score - up.score) / (2 * step) for up, down in moved])
    np.testing.assert_allclose(observed, bend, atol=1e-6 * np.abs(bend).max())
    assert np.linalg.eigvalsh(instead).min() > 0
    # scores of persons sum to the score, and their products to the cross-products
    assert np.linalg.eigvalsh(here.cross).min() > -1e-8


def test_moments_are_those_of_the_posterior_to_the_second_order(case):
    program, free = case
    ours, places = program(jl.Laplace(), person_moments)
    exact, _ = program(jl.AdaptiveGaussHermite(11), person_moments, 12)
    with jax.enable_x64(True):
        a, b = ours(free), exact(free)
    mode, mean = a.modes.reshape(-1, 2)[places], b.mean.reshape(-1, 2)[places]
    first, second = np.abs(mode - mean).mean(), np.abs(a.mean.reshape(-1, 2)[places] - mean).mean()
    assert second < first / 4
    cov, truth = (m.cov.reshape(-1, 2, 2)[places] for m in (a, b))
    assert np.abs(cov - truth).mean() < 0.01 and np.linalg.eigvalsh(cov).min() > 0
    assert 0 < np.abs(a.log_marginal - b.log_marginal).ravel()[places].mean() < 0.05


@pytest.fixture(scope="module")
def many():
    """Forty items of one factor, 250 persons."""
    rng = np.random.default_rng(2)
    x, slope = rng.standard_normal(250), rng.uniform(0.8, 1.8, 40)
    z = x[:, None] * slope + rng.uniform(-1.5, 1.5, 40) + rng.logistic(size=(250, 40))
    return pd.DataFrame((z > 0).astype(float), columns=[f"y{j}" for j in range(40)])


def test_with_many_items_it_is_quadrature(many):
    exact = jl.IRT("2pl").fit(many, jl.MarginalML(jl.GaussHermite(61)))
    fit = jl.IRT("2pl").fit(many, jl.MarginalML(jl.Laplace()))
    assert fit.converged and fit._fitted.estimate.statistics["decrement"] < 1e-9
    se = np.sqrt(np.diag(exact._fitted.vcov))
    assert np.abs((fit._fitted.free - exact._fitted.free) / se).max() < 0.1
    np.testing.assert_allclose(np.sqrt(np.diag(fit._fitted.vcov)), se, rtol=0.02)
    scores = fit.scores(return_se=True), exact.scores(return_se=True)
    np.testing.assert_allclose(*scores, atol=0.02)
    np.testing.assert_allclose(fit.log_likelihoods().sum(), fit.log_likelihood, rtol=1e-10)
    assert any("Laplace()" in note and "approximation" in note for note in fit.notes)


@pytest.mark.study
@pytest.mark.parametrize("se", ["crossprod", "sandwich", "expected", "none"])
def test_every_kind_of_standard_errors(many, se):
    few = many.iloc[:, :8]
    fit = jl.IRT("2pl").fit(few, jl.MarginalML(jl.Laplace(), se=se))
    assert fit.converged
    observed = jl.IRT("2pl").fit(few, jl.MarginalML(jl.Laplace())).parameters["se"]
    if se == "none":
        assert fit.parameters["se"].isna().all()
    else:
        ratio = (fit.parameters["se"] / observed).dropna()
        assert len(ratio) == 16 and ((ratio > 0.6) & (ratio < 1.6)).all()


@pytest.mark.study
def test_saved_compared_and_fitted_in_batches(many, tmp_path):
    few = many.iloc[:, :8]
    fit = jl.IRT("2pl").fit(few, jl.MarginalML(jl.Laplace()))
    again = jl.load(fit.save(tmp_path / "a.latent", include_data=True))
    pd.testing.assert_frame_equal(again.scores(), fit.scores())
    stack = np.stack([few.to_numpy(), few.to_numpy()[::-1]])
    both = jl.fit_batch(jl.IRT("2pl"), stack, jl.MarginalML(jl.Laplace()))
    np.testing.assert_allclose(both.free, np.tile(fit._fitted.free, (2, 1)), atol=1e-5)
