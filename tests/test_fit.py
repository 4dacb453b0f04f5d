"""A fit as its user sees it: every member of the public contract, inputs, precision, persons, simulation."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import multivariate_normal, norm

import jaxlatent as jl

THREE = "visual =~ x1 + x2 + x3\ntextual =~ x4 + x5 + x6\nspeed =~ x7 + x8 + x9"
MEDIATION = THREE + "\ntextual ~ a*visual\nspeed ~ b*textual + c*visual\nindirect := a*b"
NINE = [f"x{k}" for k in range(1, 10)]
FACTORS = ["visual", "textual", "speed"]
SCHOOLS = ["Pasteur", "Grant-White"]


@pytest.fixture(scope="module")
def holzinger():
    return jl.datasets.load("holzinger_swineford")


@pytest.fixture(scope="module")
def fit(holzinger):
    return jl.SEM(MEDIATION).fit(holzinger)


@pytest.fixture(scope="module")
def three(holzinger):
    return jl.SEM(THREE).fit(holzinger)


@pytest.fixture(scope="module")
def groups(holzinger):
    return jl.SEM(THREE, group_equal=("loadings", "intercepts")).fit(holzinger, group="school")


@pytest.fixture(scope="module")
def holes(holzinger):
    frame = holzinger.copy()
    frame.loc[::8, "x5"] = np.nan
    frame.loc[3::8, ["x1", "x9"]] = np.nan
    return frame


@pytest.fixture(scope="module")
def incomplete(holes):
    return jl.SEM(THREE).fit(holes)


# ---- the contract ---------------------------------------------------------------------------------------------------

COLUMNS = "lhs op rhs group label free est se z pvalue ci_lower ci_upper std_lv std_all".split()


def test_parameters(fit, groups):
    table = fit.parameters
    assert list(table.columns) == COLUMNS
    assert (table["group"] == 1).all()
    assert list(table["op"].unique()) == ["=~", "~", "~~", ":="]
    assert table.iloc[-1][["lhs", "op", "rhs", "label", "free"]].to_list() == ["indirect", ":=", "a*b", "indirect", 0]
    moving = table[table["free"] > 0]
    np.testing.assert_allclose(moving["z"], moving["est"] / moving["se"])
    np.testing.assert_allclose(moving["pvalue"], 2 * norm.sf(moving["z"].abs()))
    half = norm.ppf(0.975) * moving["se"]
    np.testing.assert_allclose(moving["ci_lower"], moving["est"] - half)
    np.testing.assert_allclose(moving["ci_upper"], moving["est"] + half)
    fixed = table[(table["free"] == 0) & (table["op"] != ":=")]
    assert (fixed["se"] == 0).all()
    assert fixed["z"].isna().all()
    assert sorted(set(table["free"])) == list(range(22))
    assert list(groups.parameters["group"].unique()) == SCHOOLS
    assert len(groups.parameters) == 2 * (9 + 9 + 6 + 9 + 3)


def test_definitions_in_groups(holzinger):
    model = jl.SEM("x4 ~ c(a1, a2)*x1 + x2\ngap := a1 - a2")
    row = model.fit(holzinger, group="school").parameters.iloc[-1]
    assert (row["lhs"], row["op"], row["group"]) == ("gap", ":=", "")


def test_definition_by_the_delta_method(fit):
    """indirect = a b has the standard error sqrt(b^2 var a + a^2 var b + 2ab cov)."""
    table, vcov = fit.parameters.set_index("label"), fit.vcov()
    a, b = table.loc["a", "est"], table.loc["b", "est"]
    variance = b**2 * vcov.loc["a", "a"] + a**2 * vcov.loc["b", "b"] + 2 * a * b * vcov.loc["a", "b"]
    assert table.loc["indirect", "est"] == pytest.approx(a * b, rel=1e-12)
    assert table.loc["indirect", "se"] == pytest.approx(np.sqrt(variance), rel=1e-10)


MATRICES = {
    "loadings": (NINE, FACTORS),
    "intercepts": (NINE, ["intercept"]),
    "factor_cov": (FACTORS, FACTORS),
    "factor_means": (FACTORS, ["mean"]),
    "residual_cov": (NINE, NINE),
    "regressions": (FACTORS, FACTORS),
}


@pytest.mark.parametrize("name", MATRICES)
def test_matrices(fit, groups, name):
    rows, columns = MATRICES[name]
    one, both = getattr(fit, name), getattr(groups, name)
    assert (list(one.index), list(one.columns)) == (rows, columns)
    assert both.index.names[0] == "group"
    assert list(both.columns) == columns
    for label in SCHOOLS:
        assert list(both.xs(label, level="group").index) == rows


def test_matrices_are_the_model(fit, groups):
    """Lambda Phi Lambda' + Theta and nu + Lambda kappa are the implied moments."""
    mean, cov = fit.implied()
    np.testing.assert_allclose(fit.loadings @ fit.factor_cov @ fit.loadings.T + fit.residual_cov, cov, atol=1e-12)
    assert fit.regressions.loc["textual", "visual"] == fit.parameters.set_index("label").loc["a", "est"]
    for label, (mean, cov) in groups.implied().items():
        part = {name: getattr(groups, name).xs(label, level="group") for name in MATRICES}
        sigma = part["loadings"] @ part["factor_cov"] @ part["loadings"].T + part["residual_cov"]
        np.testing.assert_allclose(sigma, cov, atol=1e-12)
        mu = part["intercepts"]["intercept"] + part["loadings"] @ part["factor_means"]["mean"]
        np.testing.assert_allclose(mu, mean, atol=1e-12)


def test_measures_are_a_series_of_numbers(fit):
    found = fit.fit_measures()
    assert isinstance(found, pd.Series)
    assert found.dtype == float
    names = "npar chisq df pvalue baseline_chisq cfi tli rmsea rmsea_ci_lower rmsea_ci_upper srmr logl aic bic".split()
    assert set(names) <= set(found.index)
    found["cfi"] = -1
    assert fit.fit_measures()["cfi"] > 0
    assert found["aic"] == pytest.approx(-2 * fit.log_likelihood + 2 * found["npar"])


TABLES = {
    "standardized": (
        lambda f: f.standardized(),
        "lhs op rhs group label est_std se z pvalue ci_lower ci_upper".split(),
    ),
    "residuals": (lambda f: f.residuals("raw"), NINE),
    "modification_indices": (lambda f: f.modification_indices(), "lhs op rhs group mi epc sepc_lv sepc_all".split()),
    "score_tests": (lambda f: f.score_tests(), "constraint stat df pvalue".split()),
    "r_squared": (lambda f: f.r_squared(), ["r2"]),
    "reliability": (lambda f: f.reliability(), ["alpha", "omega", "ave"]),
    "scores": (lambda f: f.scores(), FACTORS),
    "scores with errors": (lambda f: f.scores(return_se=True), FACTORS + [f"{f}_se" for f in FACTORS]),
    "bootstrap": (
        lambda f: f.bootstrap(5, progress=False).parameters(),
        "lhs op rhs group label free est se ci_lower ci_upper".split(),
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(fit, name):
    call, columns = TABLES[name]
    found = call(fit)
    assert isinstance(found, pd.DataFrame)
    assert list(found.columns) == columns


@pytest.mark.parametrize("name", ["residuals", "r_squared", "reliability"])
def test_tables_by_group(groups, name):
    found = TABLES[name][0](groups)
    assert found.index.names[0] == "group"
    assert list(found.index.get_level_values("group").unique()) == SCHOOLS
    assert ("mean" in found.columns) == (name == "residuals")


def test_signatures():
    """Names and defaults of the contract."""
    parameters = lambda name: list(inspect.signature(getattr(jl.Fit, name)).parameters)[1:]  # noqa: E731
    assert parameters("scores") == ["data", "method", "return_se"]
    assert parameters("simulate") == ["n", "key"]
    assert parameters("bootstrap")[:2] == ["n", "key"]
    assert parameters("residuals") == ["kind"]
    assert parameters("log_likelihoods") == ["data"]
    assert inspect.signature(jl.Fit.save).parameters["include_data"].default is False
    for name in ("parameters", "log_likelihood", *MATRICES):
        assert not callable(getattr(jl.Fit, name))
    for name in "vcov implied r_squared wald_test transform summary save report".split():
        assert callable(getattr(jl.Fit, name))
    for name in "converged message n_iterations engine plot".split():
        assert hasattr(jl.Fit, name)


def test_how_it_went(fit):
    assert fit.converged
    assert fit.message == "Converged."
    assert fit.warnings == ()
    assert fit.n_iterations > 0
    assert fit.elapsed > 0
    assert (fit.engine.se, fit.engine.test, fit.engine.information) == ("standard", "standard", "expected")
    assert repr(fit) == "<Fit by ML: 21 parameters, n = 301, converged>"


def test_summary_prints_nothing_by_itself(fit, capsys):
    summary = fit.summary()
    assert capsys.readouterr().out == ""
    assert "indirect" in str(summary)
    assert "<table" in summary._repr_html_()


def test_wald_test(fit):
    """One constraint: the square of z; several: the quadratic form."""
    table = fit.parameters.set_index("label")
    one = fit.wald_test("a == 0")
    assert list(one.index) == ["stat", "df", "pvalue"]
    assert one["stat"] == pytest.approx(table.loc["a", "z"] ** 2, rel=1e-10)
    both = fit.wald_test("a == b; c == 0.2")
    h = np.array([table.loc["a", "est"] - table.loc["b", "est"], table.loc["c", "est"] - 0.2])
    j = np.array([[1, -1, 0], [0, 0, 1.0]])
    spread = j @ fit.vcov().loc[["a", "b", "c"], ["a", "b", "c"]].to_numpy() @ j.T
    assert both["stat"] == pytest.approx(h @ np.linalg.solve(spread, h), rel=1e-9)
    wrongs = {"a == d": "'d' is not a label", "a = b": "==", "a == 0; 2*a == 0": "repeat each other"}
    for wrong, sentence in wrongs.items():
        with pytest.raises(ValueError, match=sentence):
            fit.wald_test(wrong)


def test_reliability_by_hand(three, holzinger):
    """alpha from the sample's covariances, omega and AVE from the model's."""
    found = three.reliability()
    for k, factor in enumerate(FACTORS):
        items = NINE[3 * k : 3 * k + 3]
        s = holzinger[items].cov().to_numpy()
        loading, phi = three.loadings.loc[items, factor].to_numpy(), three.factor_cov.loc[factor, factor]
        theta = np.diag(three.residual_cov.loc[items, items])
        total, each = loading.sum() ** 2 * phi, (loading**2).sum() * phi
        alpha = 3 / 2 * (1 - np.trace(s) / s.sum())
        want = [alpha, total / (total + theta.sum()), each / (each + theta.sum())]
        np.testing.assert_allclose(found.loc[factor], want, rtol=1e-10)


def test_residuals(three, holzinger):
    s = holzinger[NINE].cov(ddof=0)
    sigma = three.implied()[1]
    np.testing.assert_allclose(three.residuals("raw"), s - sigma, atol=1e-12)
    d, e = np.sqrt(np.diag(s)), np.sqrt(np.diag(sigma))
    np.testing.assert_allclose(three.residuals("cor"), s / np.outer(d, d) - sigma / np.outer(e, e), atol=1e-12)
    # Bollen 1989: the normal-theory standard error of a sample covariance
    error = np.sqrt((np.outer(np.diag(s), np.diag(s)) + s**2) / 301)
    np.testing.assert_allclose(three.residuals("normalized"), (s - sigma) / error, atol=1e-9)
    standardized = three.residuals("standardized").to_numpy()
    assert (np.abs(standardized) >= np.abs(three.residuals("normalized").to_numpy()) * 0.5 - 1e-9).all()
    with pytest.raises(ValueError, match="raw, cor, normalized, standardized"):
        three.residuals("other")


def test_modification_indices_foretell_the_fit(three, holzinger):
    """Freeing the first row lowers chi-square by about its index."""
    found = three.modification_indices()
    assert found["mi"].is_monotonic_decreasing
    assert (three.modification_indices(minimum=10)["mi"] >= 10).all()
    first = found.iloc[0]
    freed = jl.SEM(f"{THREE}\n{first['lhs']} {first['op']} {first['rhs']}").fit(holzinger)
    drop = three.fit_measures()["chisq"] - freed.fit_measures()["chisq"]
    assert first["mi"] == pytest.approx(drop, rel=0.15)
    assert freed.parameters["est"].iloc[9] == pytest.approx(first["epc"], rel=0.25)


# ---- inputs ---------------------------------------------------------------------------------------------------------


def test_every_kind_of_table_is_one(holzinger, three):
    """pandas, polars, a mapping, an array with the variables in order, integers, rows of a subset of columns."""
    inputs = {
        "polars": pl.from_pandas(holzinger),
        "mapping": {name: holzinger[name].to_numpy() for name in holzinger},
        "lists": {name: holzinger[name].tolist() for name in NINE},
        "array": holzinger[NINE].to_numpy(),
        "nullable": holzinger[NINE].convert_dtypes(),
        "shuffled": holzinger[NINE[::-1]],
    }
    for data in inputs.values():
        again = jl.SEM(THREE).fit(data)  # sums over rows depend on the layout in memory in their last digit
        np.testing.assert_allclose(again.parameters["est"], three.parameters["est"], rtol=1e-12)
        np.testing.assert_allclose(again.scores(), three.scores(), rtol=1e-10, atol=1e-10)


def test_groups_from_polars(holzinger, groups):
    again = jl.SEM(THREE, group_equal=("loadings", "intercepts")).fit(pl.from_pandas(holzinger), group="school")
    np.testing.assert_allclose(again.parameters["est"], groups.parameters["est"], rtol=1e-11)
    assert list(again.parameters["group"].unique()) == SCHOOLS


def test_polars_with_missing_values(holes, incomplete):
    again = jl.SEM(THREE).fit(pl.from_pandas(holes))
    np.testing.assert_allclose(again.parameters["est"], incomplete.parameters["est"], rtol=1e-9, atol=1e-10)


def test_moments_are_rows(holzinger, three):
    """A covariance matrix divided by n - 1, in any order; with means where they are modelled."""
    found = jl.SEM(THREE).fit(jl.Moments(holzinger[NINE[::-1]].cov(), 301))
    columns = [c for c in COLUMNS if c not in ("lhs", "op", "rhs", "label")]
    np.testing.assert_allclose(
        found.parameters[columns].to_numpy(float), three.parameters[columns].to_numpy(float), rtol=1e-8
    )
    pd.testing.assert_series_equal(found.fit_measures(), three.fit_measures(), rtol=1e-8)
    means = jl.Moments(holzinger[NINE].cov(), 301, mean=holzinger[NINE].mean())
    both = jl.SEM(THREE, mean_structure=True)
    np.testing.assert_allclose(both.fit(means).parameters["est"], both.fit(holzinger).parameters["est"], rtol=1e-8)
    with pytest.raises(ValueError, match="mean"):
        both.fit(jl.Moments(holzinger[NINE].cov(), 301))
    with pytest.raises(ValueError, match="pass the rows"):
        jl.SEM(THREE).fit(jl.Moments(holzinger[NINE].cov(), 301), "MLR")


def test_data_are_left_as_they_were(holzinger):
    before = holzinger.copy()
    jl.SEM(THREE).fit(holzinger, group="school").scores(holzinger)
    pd.testing.assert_frame_equal(holzinger, before)


# ---- precision and determinism --------------------------------------------------------------------------------------


def test_the_flag_for_double_precision_is_left_alone(holzinger, three):
    """Work of one's own in float32 before and after changes nothing, and stays float32."""
    mine = lambda: jax.jit(lambda x: jnp.linalg.inv(x @ x.T + jnp.eye(9)))(jnp.ones((9, 9)))  # noqa: E731
    assert not jax.config.jax_enable_x64
    assert mine().dtype == jnp.float32
    again = jl.SEM(THREE).fit(holzinger)
    again.fit_measures(), again.modification_indices(), again.scores(), again.bootstrap(3, progress=False)
    assert mine().dtype == jnp.float32
    assert not jax.config.jax_enable_x64
    np.testing.assert_array_equal(again.parameters["est"], three.parameters["est"])
    pd.testing.assert_series_equal(again.fit_measures(), three.fit_measures(), check_exact=True)
    np.testing.assert_array_equal(jl.SEM(THREE).fit(holzinger).parameters["se"], three.parameters["se"])


def test_no_jax_array_leaves_the_house(fit):
    numbers = [fit.log_likelihood, fit.parameters["est"].to_numpy(), fit.vcov().to_numpy(), fit.scores().to_numpy()]
    numbers += [fit.bootstrap(3, progress=False).draws, fit.simulate(3).to_numpy(), fit.implied()[1].to_numpy()]
    for each in numbers:
        assert isinstance(each, float | np.ndarray)
        assert np.asarray(each).dtype == np.float64


def test_one_key_one_result(three):
    np.testing.assert_array_equal(three.bootstrap(20, key=1).draws, three.bootstrap(20, key=1).draws)
    assert (three.bootstrap(20, key=1).draws != three.bootstrap(20, key=2).draws).any()
    pd.testing.assert_frame_equal(three.simulate(10, key=1), three.simulate(10, key=1))
    assert (three.simulate(10, key=1) != three.simulate(10, key=2)).all(axis=None)


# ---- standard errors ------------------------------------------------------------------------------------------------

KINDS = ("standard", "robust", "robust_sem", "first_order", "none")


def test_kinds_of_standard_errors(holzinger, three):
    """Other standard errors, the same estimates; they are alike, because the model nearly holds."""
    for kind in KINDS:
        found = jl.SEM(THREE).fit(holzinger, jl.ML(se=kind))
        np.testing.assert_array_equal(found.parameters["est"], three.parameters["est"])
        moving = found.parameters["free"] > 0
        ratio = found.parameters["se"][moving] / three.parameters["se"][moving]
        assert ratio.isna().all() if kind == "none" else ((ratio > 0.5) & (ratio < 3)).all()
        assert found.vcov().isna().all(axis=None) == (kind == "none")
    with pytest.raises(ValueError, match="no covariance matrix"):
        jl.SEM(MEDIATION).fit(holzinger, jl.ML(se="none")).wald_test("a == 0")


def test_robust_errors_by_hand(three, holzinger):
    """A^-1 B A^-1 with numerical derivatives of each person's log-likelihood."""
    fit = jl.SEM(THREE, mean_structure=True).fit(holzinger, "MLR")
    y, layout, free = holzinger[NINE].to_numpy(), fit._fitted.layout, fit._fitted.free

    def each(x):
        p = {k: np.asarray(v)[0] for k, v in layout.unpack(x).items()}
        sigma = p["loadings"] @ p["factor_cov"] @ p["loadings"].T + p["residual_cov"]
        return multivariate_normal.logpdf(y, p["intercepts"] + p["loadings"] @ p["factor_means"], sigma)

    with jax.enable_x64(True):
        steps = 1e-4 * np.eye(len(free))
        scores = np.array([(each(free + h) - each(free - h)) / 2e-4 for h in steps]).T
        total = lambda x: each(x).sum()  # noqa: E731

        def second(g, h):
            corners = total(free + g + h) - total(free + g - h) - total(free - g + h) + total(free - g - h)
            return corners / 4e-8

        hessian = np.array([[second(g, h) if i >= j else 0 for j, h in enumerate(steps)] for i, g in enumerate(steps)])
    bread = np.linalg.inv(-(hessian + np.tril(hessian, -1).T))
    want = np.sqrt(np.diag(bread @ scores.T @ scores @ bread))
    np.testing.assert_allclose(np.sqrt(np.diag(fit.vcov())), want, rtol=1e-3)


# ---- persons --------------------------------------------------------------------------------------------------------


def test_log_likelihoods(three, groups, incomplete, holzinger, holes):
    """They sum to the total, and are those of the implied normal."""
    for each in (three, groups, incomplete):
        assert each.log_likelihoods().sum() == pytest.approx(each.log_likelihood, abs=1e-8)
    mean, cov = incomplete.implied()
    new = incomplete.log_likelihoods(holes.iloc[:5])
    for row, value in zip(holes[NINE].to_numpy()[:5], new, strict=True):
        o = ~np.isnan(row)
        assert value == pytest.approx(multivariate_normal.logpdf(row[o], mean[o], cov.loc[o, o]), abs=1e-9)
    assert list(new.index) == list(holes.index[:5])
    assert list(groups.log_likelihoods(holzinger)) == pytest.approx(list(groups.log_likelihoods()))


def test_scores_by_hand(three, holzinger):
    """Regression: Phi Lambda' Sigma^-1 (y - m); Bartlett: generalised least squares."""
    y = holzinger[NINE] - holzinger[NINE].mean()
    loading, phi, sigma = three.loadings.to_numpy(), three.factor_cov.to_numpy(), three.implied()[1].to_numpy()
    weights = phi @ loading.T @ np.linalg.inv(sigma)
    np.testing.assert_allclose(three.scores(), y @ weights.T, atol=1e-10)
    inverse = np.linalg.inv(three.residual_cov.to_numpy())
    bread = np.linalg.inv(loading.T @ inverse @ loading)
    np.testing.assert_allclose(three.scores(method="bartlett"), y @ (bread @ loading.T @ inverse).T, atol=1e-10)
    errors = three.scores(return_se=True)[[f"{f}_se" for f in FACTORS]]
    np.testing.assert_allclose(errors, np.tile(np.sqrt(np.diag(phi - weights @ loading @ phi)), (301, 1)), atol=1e-10)
    with pytest.raises(ValueError, match="regression, bartlett"):
        three.scores(method="eap")


def test_scores_of_new_people(three, incomplete, holzinger):
    """One person, missing cells, nothing observed: with fewer cells nearer to the mean, with a larger error."""
    one = holzinger.iloc[[7]]
    np.testing.assert_allclose(three.scores(one), three.scores().iloc[[7]], atol=1e-12)
    assert three.scores(one).index.to_list() == [7]
    for each in (three, incomplete):
        person = pd.concat([one] * 3)
        person.iloc[1, person.columns.get_indexer(["x1", "x2"])] = np.nan
        person.iloc[2, person.columns.get_indexer(NINE)] = np.nan
        found = each.scores(person, return_se=True)
        assert np.isfinite(found.to_numpy()).all()
        assert found["visual_se"].is_monotonic_increasing
        np.testing.assert_allclose(found[FACTORS].iloc[2], 0, atol=1e-10)
        np.testing.assert_allclose(found["visual_se"].iloc[2], np.sqrt(each.factor_cov.loc["visual", "visual"]))
    with pytest.raises(ValueError, match="'x9'"):
        three.scores(holzinger[NINE[:-1]])


def test_scores_by_group(groups, holzinger):
    shuffled = holzinger.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(groups.scores(shuffled).sort_index(), groups.scores())
    for label in SCHOOLS:
        mean = groups.scores()[(holzinger["school"] == label).to_numpy()].mean()
        np.testing.assert_allclose(mean, groups.factor_means.xs(label, level="group")["mean"], atol=0.05)
    with pytest.raises(ValueError, match="'Elsewhere'"):
        groups.scores(holzinger.assign(school="Elsewhere"))


def test_transform(three, holzinger):
    """A frame for a frame, an array for an array."""
    array = three.transform(holzinger[NINE].to_numpy())
    assert isinstance(array, np.ndarray)
    pd.testing.assert_frame_equal(three.transform(holzinger), three.scores())
    np.testing.assert_array_equal(array, three.scores().to_numpy())


# ---- simulation -----------------------------------------------------------------------------------------------------


def test_simulated_data_give_the_model_back(fit):
    """100 000 persons: every estimate within five standard errors."""
    again = jl.SEM(MEDIATION).fit(fit.simulate(100_000, key=4))
    gap = (again.parameters["est"] - fit.parameters["est"])[again.parameters["se"] > 0]
    assert (np.abs(gap / again.parameters["se"][gap.index]) < 5).all()
    assert again.fit_measures()["pvalue"] > 1e-4


def test_simulated_groups(groups):
    data = groups.simulate(20_000, key=5)
    assert list(data.columns) == [*NINE, "school"]
    assert data["school"].value_counts().to_dict() == dict.fromkeys(SCHOOLS, 20_000)
    again = jl.SEM(THREE, group_equal=("loadings", "intercepts")).fit(data, group="school")
    gap = (again.parameters["est"] - groups.parameters["est"])[again.parameters["se"] > 0]
    assert (np.abs(gap / again.parameters["se"][gap.index]) < 5).all()
    with pytest.raises(ValueError, match="positive whole number"):
        groups.simulate(0)


def test_simulation_without_a_fit():
    model = jl.SEM("f =~ a*x1 + x2 + x3", std_lv=True)
    data = jl.simulate(model, {"a": 0.9, "x1~~x1": 0.19, "f =~ x2": 0.5, "f=~x3": 0.5}, 50_000, key=1)
    assert data["x1"].var() == pytest.approx(1, abs=0.03)
    assert data.cov().loc["x1", "x2"] == pytest.approx(0.45, abs=0.03)
    with pytest.raises(ValueError, match="no free parameter 'b'"):
        jl.simulate(model, {"b": 1.0}, 10)


# ---- warnings -------------------------------------------------------------------------------------------------------


def test_heywood_cases_are_said(holzinger):
    cov = np.array([[1, 0.8, 0.8], [0.8, 1, 0.4], [0.8, 0.4, 1]])
    with pytest.warns(jl.ModelWarning, match="Heywood case: the estimated residual variance of 'x1' is negative"):
        fit = jl.SEM("f =~ x1 + x2 + x3").fit(jl.Moments(cov, 200, names=["x1", "x2", "x3"]))
    assert fit.converged
    assert fit.message.startswith("Converged. Heywood case")
    assert "Heywood" in str(fit.summary())
    assert np.isnan(fit.r_squared().loc["x1", "r2"])


def test_correlations_above_one_are_said():
    """Two halves of one test, correlated above their reliability."""
    names = ["x1", "x2", "y1", "y2"]
    cov = np.full((4, 4), 0.6) + 0.4 * np.eye(4)
    cov[0, 1] = cov[1, 0] = cov[2, 3] = cov[3, 2] = 0.4
    with pytest.warns(jl.ModelWarning, match="latent variables is not positive definite"):
        jl.SEM("f =~ 1*x1 + 1*x2\ng =~ 1*y1 + 1*y2").fit(jl.Moments(cov, 200, names=names))


def test_variances_far_apart_are_said(holzinger):
    frame = holzinger.assign(x1=holzinger["x1"] * 1e4)
    with pytest.warns(jl.ModelWarning, match="variances of 'x1' and"):
        fit = jl.SEM(THREE).fit(frame)
    assert fit.converged


def test_dropped_rows_are_noted(holes):
    fit = jl.SEM(THREE).fit(holes, missing="listwise")
    assert any("listwise" in note for note in fit.notes)
    empty = holes.copy()
    empty.loc[5, NINE] = np.nan
    notes = jl.SEM(THREE).fit(empty).notes
    assert any("1 row(s) with nothing observed" in note for note in notes)
