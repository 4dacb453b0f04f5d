"""Exploratory factor analysis: lavaan's and psych's answers, and what must hold whatever they say."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.fit import Fit
from jaxlatent.inference.exploratory import standard_deviations
from jaxlatent.numerics.factor_extraction import LEAST, extract
from jaxlatent.numerics.rotation import rotate

TARGET = np.where(np.kron(np.eye(3), np.ones((3, 1))) > 0, np.nan, 0.0)
MEASURES = "chisq df pvalue baseline_chisq cfi tli rmsea rmsea_ci_lower rmsea_ci_upper srmr logl aic bic".split()


def read(shared, name):
    return json.loads((shared / "reference" / f"j_{name}.json").read_text())


def matrix(table):
    return np.array(table["values"], float)


def order_like(loadings, theirs):
    """The order of our factors in which they are those of a reference, and their signs."""
    m = theirs.shape[1]
    order = min(
        itertools.permutations(range(m)),
        key=lambda o: np.abs(np.abs(loadings[:, o]) - np.abs(theirs)).max(),
    )
    order = list(order)
    return order, np.sign((loadings[:, order] * theirs).sum(0))


def errors_of(fit):
    """Standard errors of the loadings [item, factor]."""
    rows = fit.parameters.query("op == '=~'")
    return rows["se"].to_numpy().reshape(len(fit.factor_cov), -1).T


@pytest.fixture(scope="module")
def hs():
    return jl.datasets.load("holzinger_swineford").filter(regex="^x")


@pytest.fixture(scope="module")
def fit(hs):
    return jl.EFA(3).fit(hs)


@pytest.fixture(scope="module")
def incomplete(hs):
    return hs.mask(np.random.default_rng(1).uniform(size=hs.shape) < 0.1)


@pytest.fixture(scope="module")
def full_information(incomplete):
    return jl.EFA(3).fit(incomplete)


# ---- against lavaan and psych ---------------------------------------------------------------------------------------

ROTATIONS = {
    "oblimin": "oblimin", "varimax": "varimax", "promax": "promax",
    "quartimin": "quartimin", "target": {"method": "target", "target": TARGET},
}  # fmt: skip


@pytest.mark.parametrize("name", ROTATIONS)
def test_lavaan(shared, hs, fit, name):
    """The same maximum, fit measures, rotated loadings, correlations; errors of residual variances."""
    expected = read(shared, f"hs_efa3_{name}")
    given = ROTATIONS[name]
    mine = fit.rotate(given) if isinstance(given, str) else jl.EFA(3, rotation=given).fit(hs)
    measures = mine.fit_measures()
    for measure in MEASURES:
        np.testing.assert_allclose(measures[measure], expected["fit"][measure.replace("_", ".")], rtol=1e-5, atol=1e-5)
    theirs = matrix(expected["loadings_std"])
    order, signs = order_like(mine.standardized_loadings.to_numpy(), theirs)
    np.testing.assert_allclose(mine.standardized_loadings.to_numpy()[:, order] * signs, theirs, atol=1e-4)
    np.testing.assert_allclose(
        mine.loadings.to_numpy()[:, order] * signs, matrix(expected["loadings_unstd"]), atol=1e-4
    )
    phi = mine.factor_cov.to_numpy()[np.ix_(order, order)] * np.outer(signs, signs)
    np.testing.assert_allclose(phi, matrix(expected["phi"]), atol=1e-4)
    table = pd.DataFrame(expected["parameters"])
    own = mine.parameters
    for frame in (table, own):
        frame["own"] = (frame["op"] == "~~") & frame["lhs"].str.startswith("x")
    np.testing.assert_allclose(own.loc[own["own"], "est"], table.loc[table["own"], "est"], rtol=1e-4)
    if name != "promax":  # lavaan has no standard errors there, and counts 39 parameters
        assert measures["npar"] == expected["fit"]["npar"]
        np.testing.assert_allclose(own.loc[own["own"], "se"], table.loc[table["own"], "se"].astype(float), rtol=1e-4)


def test_standard_errors_of_lavaan(shared, fit):
    expected = read(shared, "hs_efa3_varimax")
    mine = fit.rotate("varimax")
    order, _ = order_like(mine.loadings.to_numpy(), matrix(expected["loadings_unstd"]))
    np.testing.assert_allclose(errors_of(mine)[:, order], matrix(expected["se"]), rtol=1e-5)


def test_oblique_standard_errors_of_lavaan_leave_out_the_correlations_of_the_factors(shared, fit):
    """Its constraints offdiag(L'G Φ^-1) = 0 have L = Λ / sqrt diag(ΛΛ' + Θ), without Φ: so its figures come out."""
    expected = read(shared, "hs_efa3_oblimin")
    above = np.triu_indices(3, 1)

    def constraints(x):
        loadings, theta, phi = x[:27].reshape(3, 9).T, x[27:36], np.eye(3, dtype=complex)
        phi[above] = phi.T[above] = x[36:]
        a = loadings / np.sqrt((loadings**2).sum(1) + theta)[:, None]
        gradient = a * ((a * a).sum(1, keepdims=True) - a * a)
        return (a.T @ gradient @ np.linalg.inv(phi))[~np.eye(3, dtype=bool)]

    f = fit._fitted
    steps = [constraints(f.free + 1e-30j * e).imag / 1e-30 for e in np.eye(39)]
    theirs = errors_of(Fit(None, replace(f, restrictions=np.array(steps).T), 0.0))
    order, _ = order_like(fit.loadings.to_numpy(), matrix(expected["loadings_unstd"]))
    assert np.abs(errors_of(fit)[:, order] - matrix(expected["se"])).max() > 5e-3
    np.testing.assert_allclose(theirs[:, order], matrix(expected["se"]), atol=5e-4)


def test_five_factors_of_25_items(shared):
    frame = pd.read_csv(shared / "data" / "bfi25_complete.csv").iloc[:, :25]
    expected = read(shared, "bfi_efa5_none")["fit"]
    measures = jl.EFA(5, rotation="none").fit(frame).fit_measures()
    for measure in ("npar", *MEASURES):
        np.testing.assert_allclose(measures[measure], expected[measure.replace("_", ".")], rtol=1e-5, atol=1e-5)


def test_factanal_and_psych(shared, hs):
    """The unrotated solution, uniquenesses and criterion of R's factanal; principal axes of psych's fa."""
    expected = read(shared, "hs_gparotation")
    mine = jl.EFA(3, rotation="none").fit(hs)
    theirs = matrix(expected["unrotated"])
    order, signs = order_like(mine.standardized_loadings.to_numpy(), theirs)
    np.testing.assert_allclose(mine.standardized_loadings.to_numpy()[:, order] * signs, theirs, atol=1e-5)
    np.testing.assert_allclose(mine.uniquenesses, expected["uniquenesses"], atol=1e-5)
    np.testing.assert_allclose(2 * mine.fit_measures()["fmin"], expected["criterion"], atol=1e-8)
    axes = jl.EFA(3, rotation="none", extraction="pa").fit(hs)
    # psych stops when the sum of communalities changes by less than 0.001, each step taking away a tenth of the rest
    np.testing.assert_allclose(axes.communalities, read(shared, "hs_psych_fa_pa")["communality"], atol=1e-2)


# ---- what must hold -------------------------------------------------------------------------------------------------


def test_standard_errors_are_those_of_the_delta_method(hs, fit):
    """An echelon solution by SEM, rotated by finite differences: lavaan's differ for oblique factors, these do not."""
    syntax = "\n".join(f"f{k} =~ NA*x{k} + " + " + ".join(f"x{i}" for i in range(k + 1, 10)) for k in (1, 2, 3))
    echelon = jl.SEM(syntax, std_lv=True, orthogonal=True).fit(hs)
    assert abs(echelon.log_likelihood - fit.log_likelihood) < 1e-7
    table = echelon.parameters.query("free > 0")
    vcov, at = echelon.vcov().to_numpy(), table["est"].to_numpy()

    def rotated(values):
        a = np.zeros((9, 3))
        for (lhs, rhs), value in zip(zip(table["lhs"], table["rhs"], strict=True), values, strict=True):
            if lhs.startswith("f"):
                a[int(rhs[1]) - 1, int(lhs[1]) - 1] = value
        sd = standard_deviations(a, values[-9:])
        found = rotate(a / sd[:, None], "oblimin")
        return np.concatenate([(found.loadings * sd[:, None]).ravel(), found.factor_cov[np.triu_indices(3, 1)]])

    columns = [(rotated(at + h) - rotated(at - h)) / 2e-4 for h in 1e-4 * np.eye(len(at))]
    jacobian = np.array(columns).T
    expected = np.sqrt(np.diag(jacobian @ vcov @ jacobian.T))
    np.testing.assert_allclose(errors_of(fit).ravel(), expected[:27], rtol=1e-5)
    phi = fit.parameters.query("op == '~~' and lhs != rhs and lhs.str.startswith('F')", engine="python")
    np.testing.assert_allclose(phi["se"], expected[27:], rtol=1e-5)


def test_rotation_changes_no_fit(hs, fit):
    sigma = fit.implied()[1]
    for other in (fit.rotate("varimax"), jl.EFA(3, rotation="none").fit(hs)):
        np.testing.assert_allclose(other.implied()[1], sigma, atol=1e-10)
        pd.testing.assert_series_equal(other.fit_measures(), fit.fit_measures(), rtol=1e-9)
    first, second = fit.modification_indices(), fit.rotate("varimax").modification_indices()
    np.testing.assert_allclose(first["mi"], second["mi"], rtol=1e-6)


def test_canonical(fit):
    for each in (fit, fit.rotate("varimax")):
        a = each.standardized_loadings.to_numpy()
        assert (a.sum(0) > 0).all() and (np.diff((a**2).sum(0)) < 0).all()
    np.testing.assert_allclose(fit.communalities + fit.uniquenesses, 1)
    shares = fit.explained_variance()
    np.testing.assert_allclose(shares["ss_loadings"].sum(), fit.communalities.sum())
    assert shares["proportion_explained"].sum() == pytest.approx(1)
    np.testing.assert_allclose(fit.structure, fit.standardized_loadings @ fit.factor_cov)
    assert fit.determinacy().between(0.8, 1).all()


def test_scores_reproduce_psych(shared, hs, fit):
    expected = read(shared, "hs_psych_fa_ml")
    theirs = matrix(expected["loadings_oblimin"])
    order, signs = order_like(fit.standardized_loadings.to_numpy(), theirs)
    mine = fit.scores().to_numpy()[:10][:, order] * signs
    # psych standardises with n - 1
    np.testing.assert_allclose(mine, matrix(expected["scores_regression_first10"]) * np.sqrt(301 / 300), atol=2e-3)


def test_bartlett_scores_of_loadings_are_unbiased(fit):
    """Bartlett scores of the rows Λx + ν are x."""
    x = np.random.default_rng(0).standard_normal((20, 3))
    mean = fit._fitted.moments.mean[0]
    found = fit.scores(x @ fit.loadings.to_numpy().T + mean, method="bartlett")
    np.testing.assert_allclose(found, x, atol=1e-8)


@pytest.mark.parametrize("method", ["ml", "minres", "pa"])
def test_extraction_is_stationary(hs, method):
    """ML: diag(Σ^-1 (Σ - S) Σ^-1) is zero; least squares: the diagonal of the residual correlations is."""
    cov = np.cov(hs.to_numpy().T, bias=True)
    found = extract(cov, 3, method)
    assert found.converged and not found.at_bound.any()
    sigma = found.loadings @ found.loadings.T + np.diag(found.uniquenesses)
    if method == "ml":
        k = np.linalg.inv(sigma)
        np.testing.assert_allclose(np.diag(k @ (sigma - cov) @ k), 0, atol=1e-7)
    else:
        np.testing.assert_allclose(np.diag(sigma - cov), 0, atol=1e-6)


def test_minimum_residuals_and_principal_axes_agree(hs):
    """Both are stationary points of the same function."""
    first, second = (extract(np.cov(hs.to_numpy().T), 3, method) for method in ("minres", "pa"))
    np.testing.assert_allclose(first.uniquenesses, second.uniquenesses, atol=1e-6)
    fit = jl.EFA(3, rotation="none", extraction="minres").fit(hs)
    assert fit.engine.name == "MINRES" and fit.fit_measures()["df"] == 12
    assert fit.fit_measures()["chisq"] > jl.EFA(3, rotation="none").fit(hs).fit_measures()["chisq"]
    assert fit.parameters.query("op == '=~'")["se"].isna().all()


def test_scale_of_variables_does_not_matter(hs, fit):
    scale = np.logspace(-1.4, 1.4, 9)
    other = jl.EFA(3).fit(hs * scale)
    np.testing.assert_allclose(other.standardized_loadings, fit.standardized_loadings, atol=1e-7)
    np.testing.assert_allclose(errors_of(other), errors_of(fit) * scale[:, None], rtol=1e-6)


def test_moments_and_arrays(hs, fit):
    moments = jl.Moments(hs.cov().to_numpy(), n=len(hs), names=list(hs.columns))
    assert jl.EFA(3).fit(moments).log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-8)
    found = jl.EFA(3).fit(hs.to_numpy())
    assert list(found.loadings.index)[:2] == ["item1", "item2"]
    np.testing.assert_allclose(found.loadings, fit.loadings, atol=1e-9)


def test_heywood_case_is_held_at_its_bound_and_said(hs):
    with pytest.warns(jl.ModelWarning, match="residual variance of x7 is held"):
        fit = jl.EFA(4, rotation="none").fit(hs)
    assert fit.improper and fit.converged and fit.fit_measures()["df"] == 6
    assert fit.uniquenesses["x7"] == pytest.approx(LEAST)
    np.testing.assert_allclose(fit.parameters.query("lhs == 'x7' and rhs == 'x7'")["se"], 0, atol=1e-12)


def test_one_factor(shared, hs):
    fit = jl.EFA(1).fit(hs)
    expected = read(shared, "hs_efa1_geomin_default")
    np.testing.assert_allclose(fit.fit_measures()["chisq"], expected["fit"]["chisq"], rtol=1e-6)
    np.testing.assert_allclose(np.abs(errors_of(fit)), matrix(expected["se"]), rtol=1e-4)
    assert "Rotation" not in str(fit.summary())


def test_robust_errors_and_tests_are_those_of_the_same_model_in_sem(hs):
    """What does not depend on the rotation: scaled tests, and errors of residual variances."""
    syntax = "\n".join(f"f{k} =~ NA*x{k} + " + " + ".join(f"x{i}" for i in range(k + 1, 10)) for k in (1, 2, 3))
    theirs = jl.SEM(syntax, std_lv=True, orthogonal=True).fit(hs, "MLR")
    mine = jl.EFA(3).fit(hs, "MLR")
    for name in ("chisq_scaled", "cfi_robust", "rmsea_robust", "srmr"):
        np.testing.assert_allclose(mine.fit_measures()[name], theirs.fit_measures()[name], rtol=1e-6)
    own = [fit.parameters.query("op == '~~' and lhs == rhs and se > 0")["se"] for fit in (mine, theirs)]
    np.testing.assert_allclose(own[0].to_numpy(), own[1].to_numpy(), rtol=1e-6)


# ---- incomplete rows ------------------------------------------------------------------------------------------------


def test_full_information(hs, fit, incomplete, full_information):
    """At the maximum the observed-data log-likelihood is flat, and its value is the sum over persons."""
    f = full_information
    assert f.converged and f.fit_measures()["npar"] == 42 and f.fit_measures()["df"] == 12
    assert f.log_likelihoods().sum() == pytest.approx(f.log_likelihood, abs=1e-8)
    pull = f._inference.moment_pull(0)
    tangent = f._fitted.model.jacobian[0] @ f._fitted.basis
    np.testing.assert_allclose(pull @ tangent, 0, atol=1e-6)
    assert np.abs(f.standardized_loadings - fit.standardized_loadings).to_numpy().max() < 0.15
    assert f.scores(incomplete.head(3)).notna().all().all()


@pytest.mark.study
def test_full_information_keeps_to_the_least_variances(incomplete):
    """Without bounds a residual variance of four factors would be far below zero."""
    with pytest.warns(jl.ModelWarning, match="residual variance of x7 is held"):
        by_ml = jl.EFA(4, rotation="none").fit(incomplete)
    with pytest.warns(jl.ModelWarning, match="residual variance of x7 is held"):
        by_em = jl.EFA(4, rotation="none").fit(incomplete, jl.EM())
    assert by_ml.converged and by_ml.improper and by_ml.engine.name == "ML" and by_ml.uniquenesses.min() > 0
    assert by_ml.log_likelihood == pytest.approx(by_em.log_likelihood, abs=1e-6)


def test_reliability_takes_the_variables_of_a_factor(hs, fit):
    r = hs[["x4", "x5", "x6"]].cov().to_numpy()
    alpha = 1.5 * (1 - np.trace(r) / r.sum())
    assert fit.reliability().loc["F1", "alpha"] == pytest.approx(alpha)


def test_bootstrap(fit, full_information):
    """Spread and centre of 200 samples: errors of standard deviations are 5 %, and three times that is allowed."""
    found = fit.bootstrap(200, key=1)
    assert found.n_failed == 0 and found.draws.shape == (200, 39)
    table = found.parameters(ci="bca")
    robust = jl.EFA(3).fit(fit._fitted.data, jl.ML(se="robust", test="standard")).parameters
    ratio = (table["se"] / robust["se"])[(robust["se"] > 0) & (robust["rhs"] != "x7")]  # x7: some Heywood cases
    assert ratio.between(0.8, 1.25).all() and 0.95 < ratio.median() < 1.1
    inside = (table["ci_lower"] <= table["est"]) & (table["est"] <= table["ci_upper"])
    assert inside.all()
    with pytest.raises(ValueError, match="complete rows without clusters; got missing='fiml'"):
        full_information.bootstrap(10)


def test_other_ways_with_missing_cells(hs, incomplete):
    two_stage = jl.EFA(3, rotation="none").fit(incomplete, missing="two_stage")
    listwise = jl.EFA(3, rotation="none").fit(incomplete, missing="listwise")
    assert two_stage._fitted.missing == "two_stage" and listwise._fitted.n_total == incomplete.dropna().shape[0]
    least = jl.EFA(3, rotation="none", extraction="minres").fit(incomplete)
    np.testing.assert_allclose(least._fitted.moments.cov, two_stage._fitted.moments.cov)


# ---- what people see ------------------------------------------------------------------------------------------------


def test_summary(fit):
    text = str(fit.summary(sort=True, cut=0.3))
    lines = text.splitlines()
    items = [line.split()[0] for line in lines if line.strip()[:2] in {f"x{i}" for i in range(1, 10)}]
    assert items == ["x5", "x4", "x6", "x3", "x1", "x2", "x7", "x8", "x9"]
    x1 = next(line for line in lines if line.split()[:1] == ["x1"])
    assert x1.split()[1:] == ["0.602", "0.487", "0.513", "1.205"]
    for part in ("blank: smaller than 0.3", "SS loadings", "Factor Correlations", "oblimin (oblique)", "RMSEA"):
        assert part in text
    assert "Factor Correlations" not in str(fit.rotate("varimax").summary())
    assert "<table" in fit.summary()._repr_html_()


def test_save_and_load(tmp_path, fit, full_information):
    turned = fit.rotate("target", target=TARGET)
    for k, (each, data) in enumerate([(fit, True), (turned, False), (full_information, True)]):
        again = jl.load(each.save(tmp_path / f"{k}.latent", include_data=data))
        assert str(again.summary()) == str(each.summary())
        pd.testing.assert_frame_equal(again.parameters, each.parameters, rtol=1e-9)
        pd.testing.assert_frame_equal(again.rotate("varimax").loadings, each.rotate("varimax").loadings)
        if data:
            pd.testing.assert_frame_equal(again.scores(), each.scores())


def test_plots(tmp_path, fit):
    pytest.importorskip("matplotlib")
    fit.plot.loadings(tmp_path / "loadings.png", sort=True, cut=0.1)
    ax = fit.plot.scree(tmp_path / "scree.png")
    np.testing.assert_allclose(ax.lines[0].get_ydata().sum(), 9)
    diagram = fit.plot.path_diagram(tmp_path / "path.svg").svg
    assert diagram.count("=~") <= fit.plot.path_diagram(cut=0.0).svg.count("=~")
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("loadings.png", "scree.png", "path.svg"))


def test_compare_and_bind(hs, fit):
    two = jl.EFA(2, rotation="none").fit(hs)
    row = jl.compare(fit, two, names=("three", "two")).loc["two"]
    assert row["df_diff"] == 7 and row["chisq_diff"] == pytest.approx(107.4096, abs=1e-3)
    bound = jl.EFA(3).bind(hs)
    assert bound.model.layout.n_free == 33
    table = jl.EFA(3).parameter_table(hs)
    assert (table["op"] == "=~").sum() == 27 and table["free"].max() == 39


# ---- how many factors -----------------------------------------------------------------------------------------------


def test_sampling_adequacy_and_sphericity_of_psych(shared, hs):
    expected = read(shared, "hs_psych_misc")["hs"]
    found = jl.kmo(hs)
    assert found["overall"] == pytest.approx(expected["kmo"]["MSA"], abs=1e-8)
    np.testing.assert_allclose(found.iloc[1:], expected["kmo"]["MSAi"], atol=1e-8)
    test = jl.bartlett_sphericity(hs)
    assert test["chisq"] == pytest.approx(expected["bartlett"]["chisq"], rel=1e-8) and test["df"] == 36
    assert test["pvalue"] == pytest.approx(expected["bartlett"]["p.value"], rel=1e-6)


def test_parallel_analysis(shared, hs, tmp_path):
    expected = read(shared, "hs_psych_misc")["parallel_hs"]
    found = jl.parallel_analysis(hs, simulations=100, path=tmp_path / "scree.png")
    assert found.attrs == {"n_components": expected["ncomp"], "n_factors": expected["nfact"]}
    assert found["eigenvalue"].sum() == pytest.approx(9) and (tmp_path / "scree.png").exists()
    shuffled = jl.parallel_analysis(hs, simulations=100, resample=True)
    np.testing.assert_allclose(shuffled["simulated"], found["simulated"], atol=0.08)
    noise = jl.parallel_analysis(np.random.default_rng(0).standard_normal((300, 8)), simulations=100)
    assert noise.attrs["n_components"] == 0


def test_number_of_factors(hs, fit):
    table = jl.number_of_factors(hs)
    assert list(table.index) == [1, 2, 3, 4, 5] and list(table["df"]) == [27, 19, 12, 6, 1]
    assert table.loc[3, "chisq"] == pytest.approx(fit.fit_measures()["chisq"], rel=1e-8)
    assert (np.diff(table["chisq"]) < 0).all() and list(table["proper"]) == [True, True, True, False, False]
    assert list(jl.number_of_factors(hs, (1, 3)).index) == [1, 3]


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda d: jl.EFA(0), "n_factors to be a whole number from 1; got 0"),
        (lambda d: jl.EFA(2.5), "n_factors to be a whole number"),
        (lambda d: jl.EFA(3, extraction="uls"), "extraction to be one of ml, minres, pa; got 'uls'"),
        (lambda d: jl.EFA(3, rotation="oblimen"), "did you mean 'oblimin'"),
        (lambda d: jl.EFA(3, rotation={"target": 1}), "rotation as a name, or a mapping"),
        (lambda d: jl.EFA(9).fit(d), "fewer factors than variables; got 9 factors and 9 variables"),
        (lambda d: jl.EFA(6).fit(d), "at most 5 factors"),
        (lambda d: jl.EFA(3).fit(d, jl.LeastSquares("uls")), "extraction='minres'"),
        (lambda d: jl.EFA(3, extraction="pa").fit(d, jl.EM()), "takes no engine"),
        (lambda d: jl.EFA(3).fit(jl.Moments(d.cov(), n=301)).bootstrap(9), "resamples rows"),
        (lambda d: jl.EFA(3).fit(d, group="x1"), "one group"),
        (lambda d: jl.EFA(3).fit(d, key=-1), "whole number from 0; got -1"),
        (lambda d: jl.EFA(3).fit(d, missing="pairwise"), "missing to be None or one of"),
        (lambda d: jl.EFA(3).fit(d, checkpoint="a"), "Checkpoints are for engines"),
        (lambda d: jl.EFA(3).fit(d.assign(x9="a")), "x9"),
        (lambda d: jl.EFA(3).fit(d.assign(x9=1.0)), "x9"),
        (lambda d: jl.EFA(3).fit(d.assign(x9=d["x1"])), "positive definite"),
        (lambda d: jl.EFA(3).fit(d.head(9)), "more rows than variables"),
        (lambda d: jl.EFA(1).fit(d[["x1"]]), "at least two variables"),
        (lambda d: jl.EFA(3).fit(d, weights="w"), "'w' is not in the data"),
        (lambda d: jl.EFA(3, rotation={"method": "target", "target": np.eye(3)}).fit(d), "target"),
        (lambda d: jl.parallel_analysis(d, quantile=2), "quantile between 0 and 1; got 2"),
        (lambda d: jl.parallel_analysis(d, simulations=0), "simulations to be a whole number from 1"),
        (lambda d: jl.number_of_factors(d, 7), "from 1 to 5 for 9 variables; got 7"),
        (lambda d: jl.kmo(d[["x1"]]), "at least two variables"),
    ],
)
def test_bad_input(hs, make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(hs)


def test_bad_options_of_a_fit(fit):
    with pytest.raises(ValueError, match="whole number above 1"):
        fit.bootstrap(1)
    with pytest.raises(ValueError, match="cut, the smallest loading"):
        fit.summary(cut=2)
    with pytest.raises(ValueError, match="sort to be True or False"):
        fit.summary(sort="yes")
    with pytest.raises(ValueError, match="Expected a rotation out of"):
        fit.rotate("vari")


# ---- studies --------------------------------------------------------------------------------------------------------


@pytest.mark.study
def test_standard_errors_are_those_of_simulation(fit):
    """Samples from the fitted model: the spread of rotated loadings is what the formulas say (2000 samples: 1.6 %)."""
    rng = np.random.default_rng(0)
    a, phi = fit.loadings.to_numpy(), fit.factor_cov.to_numpy()
    theta = np.diag(fit.residual_cov)
    root = np.linalg.cholesky(a @ phi @ a.T + np.diag(theta))
    n, found = 3000, []
    for _ in range(2000):
        y = rng.standard_normal((n, 9)) @ root.T
        each = jl.EFA(3).fit(y, jl.ML(se="none")).loadings.to_numpy()
        order, signs = order_like(each, a)
        found.append(each[:, order] * signs)
    ratio = np.std(found, axis=0) * np.sqrt(n / 301) / errors_of(fit)
    assert np.abs(ratio - 1).max() < 0.08 and abs(ratio.mean() - 1) < 0.02
