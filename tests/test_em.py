"""EM of factor analysis, of probabilistic PCA and of mixtures of factor analysers."""

from __future__ import annotations

import jax
import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.numerics.factor_em import Rows, moment_step, row_step
from jaxlatent.numerics.mixture_em import Mixture, flat, mixture_step
from jaxlatent.numerics.squarem import climb


@pytest.fixture(scope="module")
def hs():
    return jl.datasets.load("holzinger_swineford").filter(regex="^x")


@pytest.fixture(scope="module")
def incomplete(hs):
    return hs.mask(np.random.default_rng(1).uniform(size=hs.shape) < 0.1)


def plain_efa(data, engine=None):
    return jl.EFA(3, rotation="none").fit(data, engine)


@pytest.fixture(scope="module")
def by_em(hs):
    return plain_efa(hs, jl.EM())


# ---- the same maximum as ML, and scikit-learn's ---------------------------------------------------------------------


def test_em_reaches_the_maximum(hs, by_em):
    ml = plain_efa(hs)
    assert by_em.converged and by_em.engine.name == "EM"
    assert by_em.log_likelihood == pytest.approx(ml.log_likelihood, abs=1e-6)
    np.testing.assert_allclose(by_em.loadings, ml.loadings, atol=1e-4)
    np.testing.assert_allclose(by_em.parameters["se"], ml.parameters["se"], atol=1e-4)
    assert by_em.fit_measures()["df"] == 12


def test_em_reaches_the_maximum_of_incomplete_rows(incomplete):
    em, ml = plain_efa(incomplete, jl.EM()), plain_efa(incomplete)
    assert em.log_likelihood == pytest.approx(ml.log_likelihood, abs=1e-6)
    np.testing.assert_allclose(em.parameters["est"], ml.parameters["est"], atol=2e-4)
    np.testing.assert_allclose(em.parameters["se"], ml.parameters["se"], atol=2e-4)
    assert em.fit_measures()["chisq"] == pytest.approx(ml.fit_measures()["chisq"], abs=1e-4)


def test_em_from_moments(hs, by_em):
    moments = jl.Moments(hs.cov().to_numpy(), n=len(hs), names=list(hs.columns))
    assert plain_efa(moments, jl.EM()).log_likelihood == pytest.approx(by_em.log_likelihood, abs=1e-6)


def test_acceleration_ends_where_plain_em_does(hs, by_em):
    plain = plain_efa(hs, jl.EM(accelerate=False))
    assert plain.log_likelihood == pytest.approx(by_em.log_likelihood, abs=1e-5)
    assert by_em.n_iterations * 3 < plain.n_iterations


def test_at_least_scikit_learns_likelihood(hs, by_em):
    from sklearn.decomposition import FactorAnalysis

    theirs = FactorAnalysis(3, tol=1e-8, max_iter=10_000, svd_method="lapack").fit(hs)
    assert by_em.log_likelihood >= theirs.score(hs) * len(hs) - 1e-6
    np.testing.assert_allclose(by_em.implied()[1], theirs.get_covariance(), atol=1e-3)


def test_probabilistic_pca_in_closed_form(hs):
    """Tipping and Bishop (1999): σ² is the mean of the eigenvalues left over, ΛΛ' = U (L - σ² I) U'."""
    fit = plain_efa(hs, jl.EM(noise="isotropic"))
    cov = np.cov(hs.to_numpy().T, bias=True)
    value, vector = np.linalg.eigh(cov)
    noise = value[:-3].mean()
    np.testing.assert_allclose(np.diag(fit.residual_cov), noise, rtol=1e-6)
    a = fit.loadings.to_numpy()
    np.testing.assert_allclose(a @ a.T, (vector[:, -3:] * (value[-3:] - noise)) @ vector[:, -3:].T, atol=1e-5)
    logdet = np.log(value[-3:]).sum() + 6 * np.log(noise)
    exact = -len(hs) / 2 * (9 * np.log(2 * np.pi) + logdet + 9)
    assert fit.log_likelihood == pytest.approx(exact, abs=1e-7)
    assert fit.fit_measures()["npar"] == 9 * 3 - 3 + 1 and fit.fit_measures()["df"] == 20
    assert "probabilistic PCA" in str(fit.summary())


def test_probabilistic_pca_of_incomplete_rows(hs, incomplete):
    fit = plain_efa(incomplete, jl.EM(noise="isotropic"))
    assert fit.log_likelihoods().sum() == pytest.approx(fit.log_likelihood, abs=1e-6)
    assert np.ptp(np.diag(fit.residual_cov)) < 1e-12 and fit.converged


# ---- no step lowers the likelihood ----------------------------------------------------------------------------------


def steps_of(step, start, count=60, accelerate=False):
    with jax.enable_x64(True):
        found = jax.jit(lambda u: climb(step, u, -1.0, count, accelerate))(start)
        return np.asarray(found.trace)[:count]


def start_at_random(p, m, means):
    rng = np.random.default_rng(0)
    return np.concatenate([rng.standard_normal(p * m), np.zeros(p), np.zeros(p if means else 0)])


@pytest.mark.parametrize("isotropic", [False, True])
def test_the_likelihood_never_falls(hs, incomplete, isotropic):
    z = (incomplete - incomplete.mean()) / incomplete.std()
    seen = z.notna().to_numpy().astype(float)
    rows = Rows(z.fillna(0).to_numpy(), seen, np.ones(len(z)))
    r, least = hs.corr().to_numpy(), np.full(9, 0.005)
    for accelerate in (True,) if isotropic else (False, True):
        by_moments = steps_of(lambda u: moment_step(u, r, least, isotropic), start_at_random(9, 3, False),
                              accelerate=accelerate)  # fmt: skip
        by_rows = steps_of(lambda u: row_step(u, rows, least, isotropic), start_at_random(9, 3, True),
                           accelerate=accelerate)  # fmt: skip
        for trace in (by_moments, by_rows):
            assert np.diff(trace).min() > -1e-12 and trace[-1] > trace[0] + 0.5


def test_rows_and_moments_take_the_same_step(hs):
    """Complete rows with means at the sample's: both steps are one."""
    z = ((hs - hs.mean()) / hs.std(ddof=0)).to_numpy()
    u, least = start_at_random(9, 3, True), np.full(9, 0.005)
    rows = Rows(z, np.ones_like(z), np.ones(len(z)))
    with jax.enable_x64(True):
        new, value = jax.jit(row_step, static_argnums=3)(u, rows, least, False)
        other, same = jax.jit(moment_step, static_argnums=3)(u[:-9], np.corrcoef(z.T), least, False)
    np.testing.assert_allclose(value, same, rtol=1e-12)
    np.testing.assert_allclose(new[:-9], other, atol=1e-10)
    np.testing.assert_allclose(new[-9:], 0, atol=1e-12)


def test_squared_steps_of_a_linear_iteration():
    """u -> A u + b towards its fixed point, of which the objective is minus the squared distance."""
    a, b = np.diag([0.99, 0.9, 0.5]), np.ones(3)
    fixed = np.linalg.solve(np.eye(3) - a, b)

    def step(u):
        return a @ u + b, -((u - fixed) ** 2).sum()

    with jax.enable_x64(True):
        slow, fast = (climb(step, np.zeros(3), 1e-20, 10_000, how) for how in (False, True))
    np.testing.assert_allclose(fast.u, fixed, rtol=1e-6)
    assert int(fast.steps) * 3 < int(slow.steps) / 2 and bool(fast.converged)


# ---- mixtures of factor analysers -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clusters():
    rng = np.random.default_rng(0)
    parts = [
        mean + rng.standard_normal((n, 1)) @ rng.standard_normal((1, 6)) + 0.5 * rng.standard_normal((n, 6))
        for n, mean in ((300, 0.0), (200, 3.0), (100, np.array([-3.0, 3.0] * 3)))
    ]
    return np.concatenate(parts), np.repeat([0, 1, 2], [300, 200, 100])


@pytest.fixture(scope="module")
def mixture(clusters):
    return jl.MixtureOfFactorAnalyzers(3, 1, starts=3).fit(clusters[0])


def test_mixture_finds_the_clusters(clusters, mixture):
    y, label = clusters
    assert mixture.converged and mixture.weights.is_monotonic_decreasing
    assert mixture.fit_measures()["npar"] == 2 + 3 * (6 + 6 + 6)
    found = mixture.predict().astype(int).to_numpy() - 1
    assert (found == label).mean() > 0.99
    np.testing.assert_allclose(mixture.weights, [0.5, 1 / 3, 1 / 6], atol=0.01)
    for k in range(3):
        np.testing.assert_allclose(mixture.means.iloc[k], y[label == k].mean(0), atol=1e-2)
        own = np.cov(y[label == k].T, bias=True)
        np.testing.assert_allclose(mixture.covariance().loc[str(k + 1)], own, atol=0.25)


def test_mixture_likelihood_and_probabilities(clusters, mixture):
    """Both by their definitions, with normal densities written out."""
    y = clusters[0][:50]
    parts = []
    for k, weight in enumerate(mixture.weights):
        cov, e = mixture.covariance().loc[str(k + 1)].to_numpy(), y - mixture.means.iloc[k].to_numpy()
        quadratic = (e * np.linalg.solve(cov, e.T).T).sum(1)
        parts.append(np.log(weight) - (6 * np.log(2 * np.pi) + np.linalg.slogdet(cov)[1] + quadratic) / 2)
    total = np.logaddexp.reduce(parts)
    np.testing.assert_allclose(mixture.log_likelihoods(y), total, atol=1e-9)
    np.testing.assert_allclose(mixture.predict_proba(y), np.exp(np.array(parts) - total).T, atol=1e-9)
    assert mixture.log_likelihoods().sum() == pytest.approx(mixture.log_likelihood, abs=1e-6)


def test_mixture_comes_back_from_disk(clusters, mixture, tmp_path):
    again = jl.load(mixture.save(tmp_path / "mixture.latent"))
    pd.testing.assert_frame_equal(again.covariance(), mixture.covariance())
    pd.testing.assert_series_equal(again.fit_measures(), mixture.fit_measures())
    np.testing.assert_array_equal(again.predict_proba(clusters[0][:9]), mixture.predict_proba(clusters[0][:9]))
    assert str(again.summary()) == str(mixture.summary()) and again.warnings == mixture.warnings
    with pytest.raises(ValueError, match="include_data=True"):
        again.predict()
    whole = jl.load(mixture.save(tmp_path / "mixture.latent", include_data=True))
    pd.testing.assert_series_equal(whole.predict(), mixture.predict())


def test_mixture_of_one_is_factor_analysis(hs, by_em):
    one = jl.MixtureOfFactorAnalyzers(1, 3, starts=1, tolerance=1e-11).fit(hs)
    assert one.log_likelihood == pytest.approx(by_em.log_likelihood, abs=1e-5)


def test_mixture_with_missing_cells(clusters, mixture):
    y, label = clusters
    gaps = np.where(np.random.default_rng(2).uniform(size=y.shape) < 0.15, np.nan, y)
    gaps = gaps[~np.isnan(gaps).all(1)]
    assert len(gaps) == len(y)
    fit = jl.MixtureOfFactorAnalyzers(3, 1, starts=3).fit(gaps)
    assert (fit.predict().astype(int).to_numpy() - 1 == label).mean() > 0.98
    assert fit.log_likelihoods().sum() == pytest.approx(fit.log_likelihood, abs=1e-6)


def test_mixture_never_falls(clusters):
    y = (clusters[0] - clusters[0].mean(0)) / clusters[0].std(0)
    rng = np.random.default_rng(1)
    rows = Rows(y, np.ones_like(y), np.ones(len(y)))
    with jax.enable_x64(True):
        start = np.asarray(flat(Mixture(np.zeros(3), rng.standard_normal((3, 6, 1)), np.zeros((3, 6)),
                                        rng.standard_normal((3, 6)))))  # fmt: skip
    least = np.full(6, 0.005)
    trace = steps_of(lambda u: mixture_step(u, rows, least, 3, 1, False), start, count=40)
    assert np.diff(trace).min() > -1e-9 and trace[-1] > trace[0] + 1


def test_mixture_simulates_itself(mixture):
    new = mixture.simulate(4000, key=3)
    share = new["component"].value_counts(normalize=True)
    np.testing.assert_allclose(share[["1", "2", "3"]], mixture.weights, atol=0.03)
    for k in range(3):
        own = new[new["component"] == str(k + 1)].drop(columns="component")
        np.testing.assert_allclose(own.mean(), mixture.means.iloc[k], atol=0.2)
    assert "mixture of factor analysers" in str(mixture.summary())


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: jl.EM(noise="full"), "noise to be one of diagonal, isotropic; got 'full'"),
        (lambda: jl.EM(accelerate="yes"), "accelerate to be True or False"),
        (lambda: jl.EM(tolerance=0), "tolerance between 0 and 1"),
        (lambda: jl.EM(max_steps=0), "max_steps to be a whole number"),
        (lambda: jl.EM(se="robustly"), "se to be one of"),
        (lambda: jl.MixtureOfFactorAnalyzers(0, 1), "n_components to be a whole number from 1"),
        (lambda: jl.MixtureOfFactorAnalyzers(2, 1, shared_noise=1), "shared_noise to be True or False"),
        (lambda: jl.MixtureOfFactorAnalyzers(2, 6).fit(np.eye(8)[:, :6]), "fewer factors than variables"),
        (lambda: jl.MixtureOfFactorAnalyzers(4, 2).fit(np.eye(8)[:, :6]), "more persons than 4 components"),
        (lambda: jl.MixtureOfFactorAnalyzers(2, 1).fit(pd.DataFrame({"a": [1.0, 2, 3, 4, 5], "b": "x"})), "'b'"),
    ],
)
def test_bad_input(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_run_that_was_stopped_says_so(hs):
    with pytest.warns(jl.ModelWarning):
        fit = plain_efa(hs, jl.EM(max_steps=2))
    assert not fit.converged and "limit of steps" in fit.message
