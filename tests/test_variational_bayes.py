"""Variational Bayes of factor analysis: a bound that never falls, below the evidence, and factors that are pruned."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pandas as pd
import pytest
from scipy.special import gammaln

import jaxlatent as jl
from jaxlatent.numerics.variational_factors import Priors, bound, fit_factors, rotated, sweep


@pytest.fixture(scope="module")
def hs():
    return jl.datasets.load("holzinger_swineford").filter(regex="^x")


@pytest.fixture(scope="module")
def fit(hs):
    return jl.EFA(3).fit(hs, jl.VariationalBayes())


def posterior(y, m, priors, *, ard, max_steps=5000, tolerance=1e-10):
    """q and its bounds from a fixed start."""
    start = np.concatenate([np.random.default_rng(0).standard_normal((y.shape[1], m)), np.zeros((y.shape[1], 1))], 1)
    with jax.enable_x64(True):
        found = fit_factors(y, np.ones_like(y), start, priors, tolerance, max_steps, ard=ard)
        return jax.tree.map(np.asarray, found)


def log_evidence(y, priors, nodes=60):
    """log p(y) of one factor without relevance determination, by quadrature over λ and log τ of two variables.

    Given λ and τ, persons are normal with covariance λλ' + 1/τ, the means' prior adding 1/β in every variable.
    """
    n = len(y)
    a, b, beta = (float(x) for x in priors)
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    # log τ around the posterior's middle: t = centre + spread * x, and the density of t under the Gamma prior
    best = []
    grids = []
    for j in range(2):
        centre, spread = -np.log(y[:, j].var()) + 0.5, 1.2
        t = centre + spread * x
        log_prior = a * np.log(b) - gammaln(a) + a * t - b * np.exp(t)
        log_node = np.log(w) - np.log(w.sum()) + x**2 / 2 + 0.5 * np.log(2 * np.pi) + np.log(spread)
        grids.append((t, log_prior + log_node))
    lam = np.linspace(-4, 4, 81)
    log_lam = np.log(lam[1] - lam[0]) - lam**2 / 2 - 0.5 * np.log(2 * np.pi)
    scatter, mean = (y - y.mean(0)).T @ (y - y.mean(0)), y.mean(0)
    for k, u in enumerate(lam):
        v = lam[:, None, None]
        va, vb = np.exp(-grids[0][0])[None, :, None] + u * u, np.exp(-grids[1][0])[None, None, :] + v * v
        c = u * v
        det = va * vb - c * c
        quadratic = (vb * scatter[0, 0] - 2 * c * scatter[0, 1] + va * scatter[1, 1]) / det
        # the mean of n persons: N(0, Σ/n + 1/β)
        ma, mb, mc = va / n + 1 / beta, vb / n + 1 / beta, c / n
        mdet = ma * mb - mc * mc
        mquad = (mb * mean[0] ** 2 - 2 * mc * mean[0] * mean[1] + ma * mean[1] ** 2) / mdet
        value = -(n - 1) / 2 * np.log(det) - quadratic / 2 - np.log(mdet) / 2 - mquad / 2
        value = value - n * np.log(2 * np.pi) - np.log(n)
        value = value + log_lam[k] + log_lam[:, None, None] + grids[0][1][None, :, None] + grids[1][1][None, None, :]
        best.append(np.logaddexp.reduce(value.ravel()))
    return float(np.logaddexp.reduce(best))


# ---- the bound ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ard", [True, False])
def test_no_update_lowers_the_bound(hs, ard):
    z = ((hs - hs.mean()) / hs.std(ddof=0)).to_numpy()
    found = posterior(z, 3, Priors(1e-3, 1e-3, 1e-3), ard=ard)
    trace = found.trace[: int(found.steps)]
    assert bool(found.converged) and np.diff(trace).min() > -1e-9 * abs(trace[-1])
    assert trace[-1] > trace[0] + 50


def test_the_bound_is_below_the_evidence_by_quadrature():
    """One factor, two variables, six persons; the gap of a mean-field bound is of the order of the parameters."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((6, 1))
    y = x @ np.array([[0.9, 0.7]]) + 0.6 * rng.standard_normal((6, 2))
    priors = Priors(2.0, 1.0, 0.1)
    evidence = log_evidence(y, priors)
    assert evidence == pytest.approx(log_evidence(y, priors, nodes=40), abs=1e-3)
    found = posterior(y, 1, priors, ard=False)
    assert evidence - 4 < float(found.bound) < evidence


def test_rotation_keeps_the_expected_residuals(hs):
    """Rotated and rescaled factors with their loadings give the same fit to the data, and a better bound here."""
    z = ((hs - hs.mean()) / hs.std(ddof=0)).to_numpy()
    priors, seen = Priors(1e-3, 1e-3, 1e-3), np.ones_like(z)
    q = posterior(z, 3, priors, ard=True, max_steps=2).q
    with jax.enable_x64(True):
        q = jax.jit(sweep, static_argnums=4)(q, z, seen, priors, True)
        other = jax.jit(rotated)(q)
        value = jax.jit(bound, static_argnums=4)
        assert float(value(other, z, seen, priors, True)) > float(value(q, z, seen, priors, True)) - 1e-9
        q, other = jax.tree.map(np.asarray, (q, other))
    np.testing.assert_allclose(other.x @ other.slope[:, :3].T, q.x @ q.slope[:, :3].T, atol=1e-10)
    second = other.x.T @ other.x + other.x_cov.sum(0)
    np.testing.assert_allclose(second / len(z), np.eye(3), atol=1e-9)


# ---- what it finds --------------------------------------------------------------------------------------------------


def test_superfluous_factors_are_pruned():
    """Three factors generate the data, six are offered."""
    rng = np.random.default_rng(0)
    a = np.kron(np.eye(3), np.full((3, 1), 0.8)) * np.array([1, 0.9, 0.8])
    y = rng.standard_normal((1000, 3)) @ a.T + rng.standard_normal((1000, 9)) * np.sqrt(1 - (a**2).sum(1))
    fit = jl.EFA(5, rotation="varimax").fit(y, jl.VariationalBayes())
    assert fit.n_active == 3 and fit.relevance()["active"].sum() == 3
    assert fit.relevance()["ss_loadings"].iloc[3:].max() < 1e-3
    found = fit.standardized_loadings.to_numpy()
    order = min(itertools.permutations(range(3)), key=lambda o: np.abs(found[:, o] - a).max())
    np.testing.assert_allclose(found[:, order], a, atol=0.1)
    assert "3 of 5 (others pruned)" in str(fit.summary())


def test_near_the_maximum_of_the_likelihood(hs, fit):
    ml = jl.EFA(3).fit(hs)
    assert fit.converged and ml.log_likelihood - 3 < fit.log_likelihood < ml.log_likelihood
    assert fit.bound < fit.log_likelihood
    np.testing.assert_allclose(fit.standardized_loadings, ml.standardized_loadings, atol=0.05)
    np.testing.assert_allclose(fit.communalities, ml.communalities, atol=0.05)
    for name in ml.scores():
        assert np.corrcoef(fit.scores()[name], ml.scores()[name])[0, 1] > 0.99


def test_tables(hs, fit):
    assert fit.trace.is_monotonic_increasing and fit.trace.iloc[-1] == pytest.approx(fit.bound)
    assert fit.log_likelihoods().sum() == pytest.approx(fit.log_likelihood)
    sigma = fit.loadings.to_numpy() @ fit.factor_cov.to_numpy() @ fit.loadings.to_numpy().T
    np.testing.assert_allclose(sigma + fit.residual_cov.to_numpy(), fit.implied()[1], atol=1e-10)
    table = fit.parameters
    assert len(table) == 27 + 9 + 9 and (table["sd"] > 0).all()
    np.testing.assert_allclose(table.query("op == '~1'")["est"], hs.mean(), atol=0.01)
    scores = fit.scores(hs.head(5), return_se=True)
    assert list(scores) == ["F1", "F2", "F3", "F1_se", "F2_se", "F3_se"] and (scores["F1_se"] < 1).all()
    np.testing.assert_allclose(fit.transform(hs.head(5).to_numpy()), scores[["F1", "F2", "F3"]])
    turned = fit.rotate("varimax")
    np.testing.assert_allclose(turned.implied()[1], fit.implied()[1])
    np.testing.assert_allclose(turned.factor_cov, np.eye(3), atol=1e-12)


def test_missing_cells(hs, fit):
    holes = hs.mask(np.random.default_rng(1).uniform(size=hs.shape) < 0.1)
    other = jl.EFA(3).fit(holes, jl.VariationalBayes())
    assert np.abs(other.standardized_loadings - fit.standardized_loadings).to_numpy().max() < 0.15
    assert other.scores().notna().all().all()


def test_save_and_load(tmp_path, hs, fit):
    for include in (False, True):
        again = jl.load(fit.save(tmp_path / "fit.latent", include_data=include))
        assert str(again.summary()) == str(fit.summary()) and repr(again) == repr(fit)
        pd.testing.assert_frame_equal(again.parameters, fit.parameters)
        pd.testing.assert_frame_equal(again.scores(hs.head(4)), fit.scores(hs.head(4)))
        pd.testing.assert_frame_equal(again.rotate("varimax").loadings, fit.rotate("varimax").loadings)
        if not include:
            with pytest.raises(ValueError, match="holds no rows"):
                again.scores()
            with pytest.raises(ValueError, match="nothing to save"):
                again.save(tmp_path / "other.latent", include_data=True)


def test_summary_prints(fit, tmp_path):
    text = str(fit.summary(sort=True, cut=0.2))
    for part in ("Bound of the log evidence", "SS loadings", "Factor Correlations", "VariationalBayes"):
        assert part in text
    pytest.importorskip("matplotlib")
    fit.plot.loadings(tmp_path / "loadings.png")
    assert (tmp_path / "loadings.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda d: jl.VariationalBayes(ard=1), "ard to be True or False"),
        (lambda d: jl.VariationalBayes(shape=0), "shape to be a positive number; got 0"),
        (lambda d: jl.VariationalBayes(tolerance=2), "tolerance between 0 and 1"),
        (lambda d: jl.EFA(3).fit(d.assign(w=1.0), jl.VariationalBayes(), weights="w"), "neither weights nor clusters"),
        (lambda d: jl.EFA(3).fit(d, jl.VariationalBayes(), missing="two_stage"), "None, 'fiml' or 'listwise'"),
        (lambda d: jl.EFA(3).fit(jl.Moments(d.cov(), n=301), jl.VariationalBayes()), "needs rows"),
    ],
)
def test_bad_input(hs, make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(hs)
