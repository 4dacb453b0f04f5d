"""Two-level models: lavaan's stored answers, brute force on small data, and simulations with known truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import shared_folder
from scipy.stats import multivariate_normal

import jaxlatent as jl
from jaxlatent.data.cluster_cases import cluster_cases
from jaxlatent.inference.two_level_model import LevelMoments, joint_log_likelihood, two_level

SYNTAX = """
level: 1
    f =~ y1 + b*y2 + y3 + y4
    f ~ x
level: 2
    g =~ y1 + c*y2 + y3 + y4
    g ~ w
"""
WITHIN, BETWEEN = np.array([1.0, 0.8, 0.7, 0.6]), np.array([1.0, 0.9, 0.8, 0.7])
Case = tuple[str, Any, list[str]]


def clusters(n: int, sizes: tuple[int, ...], key: int) -> pd.DataFrame:
    """n clusters: f = 0.5 x + N(0, 1), g = 0.4 w + N(0, 0.5), residual variances 0.6 within and 0.1 between."""
    rng = np.random.default_rng(key)
    size = rng.choice(sizes, n)
    code = np.repeat(np.arange(n), size)
    w, x = rng.normal(size=n), rng.normal(size=len(code))
    g = 0.4 * w + np.sqrt(0.5) * rng.normal(size=n)
    f = 0.5 * x + rng.normal(size=len(code))
    u = g[:, None] * BETWEEN + np.sqrt(0.1) * rng.normal(size=(n, 4)) + [1.0, 2.0, 3.0, 4.0]
    y = u[code] + f[:, None] * WITHIN + np.sqrt(0.6) * rng.normal(size=(len(code), 4))
    columns = {f"y{k + 1}": y[:, k] for k in range(4)}
    return pd.DataFrame({**columns, "x": x, "w": w[code], "school": [f"s{c}" for c in code]})


FEW = clusters(120, (1, 3, 6), 2)


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return clusters(1500, (3, 6, 10), 1)


@pytest.fixture(scope="module")
def fit(data: pd.DataFrame) -> Any:
    return jl.SEM(SYNTAX).fit(data, cluster="school")


@pytest.fixture(scope="module")
def small() -> Any:
    """A fit of few clusters, to be checked against what a cluster's whole covariance matrix says."""
    return jl.SEM(SYNTAX).fit(FEW, cluster="school")


@pytest.mark.parametrize("name", ["i01_twolevel_sem", "i02_twolevel_cfa"])
def test_reference(name: str) -> None:
    folder = shared_folder()
    if folder is None:
        pytest.skip("the reference answers of two-level models are in the shared folder")
    answer = json.loads((folder / "reference" / f"{name}.json").read_text())
    fit = jl.SEM(answer["model"]).fit(pd.read_csv(folder / "data" / answer["data"]), cluster="cluster")
    mine, theirs = fit.parameters, pd.DataFrame(answer["parameters"])
    assert (mine[["lhs", "op", "rhs", "level"]] == theirs[["lhs", "op", "rhs", "level"]]).all(axis=None)
    np.testing.assert_allclose(mine["est"], theirs["est"], atol=1e-3)
    np.testing.assert_allclose(mine["se"], theirs["se"], rtol=1e-2)
    np.testing.assert_allclose(mine["std_all"], theirs["std.all"], atol=1e-3)
    measures = fit.fit_measures()
    given = {k.replace(".", "_"): v for k, v in answer["fit"].items() if k != "fmin"}
    np.testing.assert_allclose(measures[list(given)], list(given.values()), rtol=1e-3, atol=1e-3)
    assert abs(measures["logl"] - given["logl"]) < 1e-3
    scores = np.array(answer["fscores_regression"]["values"])[:, 0]
    np.testing.assert_allclose(fit.scores()["fw"].to_numpy()[: len(scores)], scores, atol=1e-3)
    shares = dict(zip(*answer["extra"]["icc"].values(), strict=True))
    assert all(abs(v - shares[k]) < 1e-3 for k, v in fit.intraclass_correlations()["sample"].items())
    key = ["lhs", "op", "rhs", "level"]
    theirs = pd.DataFrame(answer["modindices"]).query("mi > 1e-3")
    found = fit.modification_indices().set_index(key).loc[theirs[key].apply(tuple, axis=1)]
    np.testing.assert_allclose(found["mi"], theirs["mi"], rtol=2e-2)
    np.testing.assert_allclose(found["sepc_all"], theirs["sepc.all"], rtol=2e-2)


def dense(fit: Any, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Mean and covariance of all observations of one cluster (variables of persons by person, then w), and names."""
    (m1, s1), (m2, s2) = fit.implied().values()
    persons = ["y1", "y2", "y3", "y4", "x"]
    inner, outer = s1.loc[persons, persons], s2.reindex(index=[*persons, "w"], columns=[*persons, "w"]).fillna(0.0)
    n, between = len(frame), outer.loc[persons, persons].to_numpy()
    cov = np.kron(np.eye(n), inner) + np.kron(np.ones((n, n)), between)
    edge = np.tile(outer.loc[persons, "w"].to_numpy(), n)
    full = np.block([[cov, edge[:, None]], [edge[None], outer.loc[["w"], ["w"]].to_numpy()]])
    mean = (m1[persons] + m2.reindex(persons).fillna(0.0)).to_numpy()
    return np.append(np.tile(mean, n), m2["w"]), full, persons


def test_brute_force(small: Any) -> None:
    """Each cluster's log-likelihood and scores are those of the normal distribution of all its observations."""
    given, scores = small.log_likelihoods(FEW), small.scores(FEW, return_se=True)
    np.testing.assert_allclose(small.log_likelihoods().sort_index(), given.sort_index())
    loadings = small.parameters.query("op == '=~'").set_index(["lhs", "rhs"])["est"]
    effects = small.parameters.query("op == '~'").set_index("lhs")["est"]
    for label, frame in list(FEW.groupby("school"))[:8]:
        mean, cov, persons = dense(small, frame)
        y = np.append(frame[persons].to_numpy().reshape(-1), frame["w"].iloc[0])
        assert given[label] == pytest.approx(multivariate_normal(mean, cov).logpdf(y), abs=1e-8)
        # g = effect * (w - mean) + residual covaries with y through its loadings, with x not at all
        (_, s1), (_, s2) = small.implied().values()
        phi = effects["g"] ** 2 * s2.loc["w", "w"] + residual(small, "g", 2)
        own = np.append([loadings["g", v] * phi for v in persons[:4]], 0.0)
        cross = np.append(np.tile(own, len(frame)), effects["g"] * s2.loc["w", "w"])
        solved = np.linalg.solve(cov, cross)
        centre = effects["g"] * small.intercepts.loc[("between", "w"), "intercept"]
        assert scores.loc[frame.index[0], "g"] == pytest.approx(centre + solved @ (y - mean), abs=1e-8)
        assert scores.loc[frame.index[0], "g_se"] == pytest.approx(np.sqrt(phi - cross @ solved), abs=1e-8)
        phi = effects["f"] ** 2 * s1.loc["x", "x"] + residual(small, "f", 1)
        own = np.append([loadings["f", v] * phi for v in persons[:4]], effects["f"] * s1.loc["x", "x"])
        cross = np.zeros(len(y))
        cross[: len(own)] = own  # the first person's
        solved = np.linalg.solve(cov, cross)
        centre = effects["f"] * small.intercepts.loc[("within", "x"), "intercept"]
        assert scores.loc[frame.index[0], "f"] == pytest.approx(centre + solved @ (y - mean), abs=1e-8)
        assert scores.loc[frame.index[0], "f_se"] == pytest.approx(np.sqrt(phi - cross @ solved), abs=1e-8)


@pytest.fixture(scope="module")
def gaps() -> pd.DataFrame:
    """The few clusters with missing cells, some of w among them, and persons of whom x alone is seen."""
    rng, out = np.random.default_rng(4), FEW.copy()
    for name in ("y1", "y2", "y3", "y4"):
        out.loc[rng.random(len(out)) < 0.2, name] = np.nan
    out.loc[out["school"].isin(["s3", "s40"]), "w"] = np.nan
    out.loc[[5, 9], ["y1", "y2", "y3", "y4"]] = np.nan
    return out


@pytest.fixture(scope="module")
def incomplete(gaps: pd.DataFrame) -> Any:
    """x and w are no fixed predictors, so that clusters without w count."""
    return jl.SEM(SYNTAX, fixed_x=False).fit(gaps, cluster="school")


def test_missing_cells_by_brute_force(gaps: pd.DataFrame, incomplete: Any) -> None:
    """Clusters' log-likelihoods and scores are those of the normal distribution of all that is observed."""
    given, scores = incomplete.log_likelihoods(), incomplete.scores(return_se=True)
    assert incomplete.converged and "rows have missing values" in incomplete.notes[-1]
    total = 0.0
    loadings = incomplete.parameters.query("op == '=~'").set_index(["lhs", "rhs"])["est"]
    for label, frame in gaps.groupby("school"):
        mean, cov, persons = dense(incomplete, frame)
        y = np.append(frame[persons].to_numpy().reshape(-1), frame["w"].iloc[0])
        at = np.flatnonzero(~np.isnan(y))
        rest, inner = (y - mean)[at], cov[np.ix_(at, at)]
        value = multivariate_normal(np.zeros(len(at)), inner).logpdf(rest)
        assert given[label] == pytest.approx(value, abs=1e-8)
        total += value
        if label in ("s2", "s3", "s40", "s7"):
            (_, s1), _ = incomplete.implied().values()
            effect = incomplete.parameters.query("op == '~' and lhs == 'f'")["est"].iloc[0]
            phi = effect**2 * s1.loc["x", "x"] + residual(incomplete, "f", 1)
            cross = np.zeros(len(y))
            cross[:5] = [*(loadings["f", v] * phi for v in persons[:4]), effect * s1.loc["x", "x"]]
            solved = np.linalg.solve(inner, cross[at])
            centre = effect * incomplete.intercepts.loc[("within", "x"), "intercept"]
            found = scores.loc[frame.index[0]]
            assert found["f"] == pytest.approx(centre + solved @ rest, abs=1e-8)
            assert found["f_se"] == pytest.approx(np.sqrt(phi - cross[at] @ solved), abs=1e-8)
    assert incomplete.log_likelihood == pytest.approx(total)


def test_derivatives_of_missing_cells(small: Any, incomplete: Any) -> None:
    """The gradient is that of differences, clusters' scores add up to it, and complete rows give what they did."""
    problem, x, h = incomplete._fit.problem, incomplete._fit.fitted.free + 0.03, 1e-5
    at, steps = two_level(problem, x), h * np.eye(len(x))
    value = lambda x: -joint_log_likelihood(problem, LevelMoments.of(problem.at(x))) / len(FEW)  # noqa: E731
    assert at.value == value(x)
    gradient = [(value(x + d) - value(x - d)) / (2 * h) for d in steps]
    np.testing.assert_allclose(at.gradient, gradient, atol=1e-7)
    scores = incomplete._fit.scores_of(problem, x)
    np.testing.assert_allclose(-scores.sum(axis=0) / len(FEW), at.gradient, atol=1e-10)
    exact, x = small._fit.problem, small._fit.fitted.free + 0.05
    cases = cluster_cases(small._fit.fitted.rows, small._fit.moments.within)
    one, other = two_level(exact, x), two_level(exact._replace(cases=cases), x)
    assert one.value == pytest.approx(other.value, abs=1e-10)
    np.testing.assert_allclose(one.gradient, other.gradient, atol=1e-10)
    np.testing.assert_allclose(one.hessian, other.hessian, atol=1e-5)


def test_missing_at_random_is_harmless(data: pd.DataFrame) -> None:
    """y2 is missing where y1 is high, which leaves complete rows with too low a mean of y2."""
    some = data[data["school"].isin(data["school"].unique()[:500])]
    gone = some.assign(y2=some["y2"].where(some["y1"] < 1.5))
    key = [(2, "y2", "~1", ""), (1, "f", "=~", "y2"), (2, "g", "=~", "y4"), (1, "f", "~", "x")]
    fit, listwise = (jl.SEM(SYNTAX).fit(gone, cluster="school", missing=how) for how in (None, "listwise"))
    p, q = (each.parameters.set_index(["level", "lhs", "op", "rhs"]) for each in (fit, listwise))
    for at, truth in zip(key, (2.0, 0.8, 0.7, 0.5), strict=True):
        assert abs(p.loc[at, "est"] - truth) < 4 * p.loc[at, "se"]
    assert q.loc[key[0], "est"] < 2.0 - 5 * q.loc[key[0], "se"]
    assert fit.fit_measures()["pvalue"] > 1e-3 and fit.fit_measures()["df"] == 10


def residual(fit: Any, name: str, level: int) -> float:
    rows = fit.parameters.query("op == '~~' and lhs == @name and rhs == @name and level == @level")
    return float(rows["est"].iloc[0])


def test_derivatives(small: Any) -> None:
    """Gradient and Hessian are those of finite differences; clusters' scores add up to the gradient (0 at the end)."""
    problem, x = small._fit.problem, small._fit.fitted.free + 0.05
    at, h = two_level(problem, x), 1e-5
    steps = h * np.eye(len(x))
    gradient = [(two_level(problem, x + d).value - two_level(problem, x - d).value) / (2 * h) for d in steps]
    hessian = [(two_level(problem, x + d).gradient - two_level(problem, x - d).gradient) / (2 * h) for d in steps]
    np.testing.assert_allclose(at.gradient, gradient, atol=1e-7)
    np.testing.assert_allclose(at.hessian, hessian, atol=1e-6)
    assert np.linalg.eigvalsh(at.expected)[0] > 0
    np.testing.assert_allclose(small._fit.scores_of(problem, small._fit.fitted.free).sum(axis=0), 0, atol=1e-5)


def test_modification_indices_foretell_the_refit(data: pd.DataFrame, fit: Any) -> None:
    """Freeing what has the largest index of a level: chi-square falls, and the estimate changes, as it said."""
    found = fit.modification_indices()
    assert found["mi"].is_monotonic_decreasing and set(found["level"]) == {1, 2}
    for level, head in ((1, "f ~ x"), (2, "g ~ w")):
        row = found.query("level == @level and op == '~~'").iloc[0]
        syntax = SYNTAX.replace(head, f"{head}\n    {row.lhs} ~~ {row.rhs}")
        freed = jl.SEM(syntax).fit(data, jl.ML(se="none"), cluster="school")
        est = freed.parameters.set_index(["level", "lhs", "op", "rhs"])["est"]
        assert 2 * (freed.log_likelihood - fit.log_likelihood) == pytest.approx(row.mi, rel=0.2)
        assert est[level, row.lhs, "~~", row.rhs] == pytest.approx(row.epc, rel=0.3)


def test_parameter_table(data: pd.DataFrame, fit: Any) -> None:
    """With data the start of every parameter, not far from where it ends."""
    table = jl.SEM(SYNTAX).parameter_table(data, cluster="school")
    end = fit.parameters
    assert (table[["level", "lhs", "op", "rhs", "free"]] == end[["level", "lhs", "op", "rhs", "free"]]).all(axis=None)
    loadings = table["op"] == "=~"
    np.testing.assert_allclose(table["start"][loadings], end["est"][loadings], atol=0.15)
    assert table["start"].notna().all()


def test_recovers_the_truth(fit: Any) -> None:
    """1500 clusters: intraclass correlations within .03, parameters within four standard errors, chi-square usual."""
    total = WITHIN**2 * 1.25 + 0.6
    between = BETWEEN**2 * 0.66 + 0.1
    shares = fit.intraclass_correlations()
    np.testing.assert_allclose(shares["model"], between / (between + total), atol=0.03)
    np.testing.assert_allclose(shares["sample"], between / (between + total), atol=0.03)
    p = fit.parameters.set_index(["level", "lhs", "op", "rhs"])
    truth = {(1, "f", "=~", "y2"): 0.8, (2, "g", "=~", "y4"): 0.7, (1, "f", "~", "x"): 0.5, (2, "g", "~", "w"): 0.4}
    truth |= {(1, "f", "~~", "f"): 1.0, (2, "g", "~~", "g"): 0.5, (2, "y3", "~1", ""): 3.0, (2, "y2", "~~", "y2"): 0.1}
    for key, value in truth.items():
        assert abs(p.loc[key, "est"] - value) < 4 * p.loc[key, "se"]
    measures = fit.fit_measures()
    assert fit.converged and measures["df"] == 10 and measures["pvalue"] > 1e-3
    assert measures["cfi"] > 0.99 and measures["nclusters"] == 1500
    assert fit.r_squared().loc[("within", "f"), "r2"] == pytest.approx(0.2, abs=0.03)
    assert "Level: 2" in str(fit.summary()) and "Number of clusters [school]" in str(fit.summary())
    # EAP scores of clusters shrink: their variance is the factor's less the error's
    scores = fit.scores(return_se=True).drop_duplicates("g")
    assert scores["g"].var() + (scores["g_se"] ** 2).mean() == pytest.approx(0.66, abs=0.08)


def test_robust_errors_and_equal_loadings(data: pd.DataFrame, fit: Any) -> None:
    """Normal data: robust standard errors are the usual ones; b = c is false here (0.8 and 0.9)."""
    robust = jl.SEM(SYNTAX).fit(data, "MLR", cluster="school")
    assert robust.engine.se == "robust" and robust.engine.test == "yuan_bentler_mplus"
    measures = robust.fit_measures()
    assert measures["chisq_scaling_factor"] == pytest.approx(1, abs=0.15)
    assert measures["chisq_scaled"] == pytest.approx(measures["chisq"] / measures["chisq_scaling_factor"])
    free = fit.parameters["free"] > 0
    np.testing.assert_allclose(robust.parameters["est"], fit.parameters["est"])
    np.testing.assert_allclose(robust.parameters["se"][free] / fit.parameters["se"][free], 1, atol=0.15)
    equal = jl.SEM(SYNTAX + "\nb == c").fit(data, cluster="school")
    rows = equal.parameters.query("label in ('b', 'c')")
    assert rows["est"].iloc[0] == pytest.approx(rows["est"].iloc[1], abs=1e-8)
    assert equal.fit_measures()["df"] == 11
    table = jl.compare(equal, fit, names=("equal", "free"))
    assert table.index.tolist() == ["free", "equal"] and table.loc["equal", "df_diff"] == 1
    loss = 2 * (fit.log_likelihood - equal.log_likelihood)
    assert table.loc["equal", "chisq_diff"] == pytest.approx(loss)
    wald = fit.wald_test("b == c")
    assert wald["df"] == 1 and loss > 3.84 and wald["stat"] == pytest.approx(loss, rel=0.2)


def test_effect_coding_and_pictures(data: pd.DataFrame, fit: Any, tmp_path: Path) -> None:
    """Loadings that average 1 at both levels, the mean of the factor between clusters: another name of the same fit."""
    coded = jl.SEM(SYNTAX, effect_coding=True).fit(data, cluster="school")
    assert coded.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-6)
    assert coded.loadings["g"].loc["between"].drop("w").mean() == pytest.approx(1)
    means = coded.parameters.query("op == '~1' and lhs in ('f', 'g')").set_index("lhs")["est"]
    assert means["f"] == 0 and abs(means["g"]) > 1
    fit.plot.path_diagram(path=tmp_path / "both.svg")
    assert "level 2" in (tmp_path / "both.svg").read_text()


def test_nothing_between_clusters() -> None:
    """Variances that happen to be negative are natural cells: the fit ends and says so."""
    rng = np.random.default_rng(9)
    y = rng.normal(size=(1200, 1)) + rng.normal(size=(1200, 4))
    frame = pd.DataFrame(y, columns=["y1", "y2", "y3", "y4"]).assign(school=np.arange(1200) // 6)
    with pytest.warns(jl.ModelWarning, match="at level 2 is negative"):
        fit = jl.SEM("level: 1\nf =~ y1 + y2 + y3 + y4\nlevel: 2\ng =~ y1 + y2 + y3 + y4").fit(frame, cluster="school")
    assert fit.converged and (fit.intraclass_correlations()["sample"].abs() < 0.06).all()


def test_simulates_what_it_fitted(fit: Any) -> None:
    drawn = fit.simulate(8000, key=3)
    assert len(drawn) == 8000 and drawn.groupby("school")["w"].nunique().max() == 1
    again = jl.SEM(SYNTAX).fit(drawn, jl.ML(se="none"), cluster="school")
    assert abs(again.intraclass_correlations()["model"] - fit.intraclass_correlations()["model"]).max() < 0.05


def test_comes_back_from_disk(small: Any, incomplete: Any, gaps: pd.DataFrame, tmp_path: Path) -> None:
    again = jl.load(small.save(tmp_path / "small.latent"))
    pd.testing.assert_frame_equal(again.parameters, small.parameters)
    np.testing.assert_allclose(again.fit_measures(), small.fit_measures(), rtol=1e-9)
    pd.testing.assert_frame_equal(again.scores(FEW), small.scores(FEW))
    with pytest.raises(ValueError, match="fit holds none"):
        again.scores()
    whole = jl.load(small.save(tmp_path / "small.latent", include_data=True))
    pd.testing.assert_series_equal(whole.log_likelihoods(), small.log_likelihoods())
    again = jl.load(incomplete.save(tmp_path / "gaps.latent"))
    pd.testing.assert_frame_equal(again.parameters, incomplete.parameters)
    pd.testing.assert_series_equal(again.fit_measures(), incomplete.fit_measures())
    pd.testing.assert_frame_equal(again.scores(gaps), incomplete.scores())
    assert str(again.summary()) == str(incomplete.summary())
    whole = jl.load(incomplete.save(tmp_path / "gaps.latent", include_data=True))
    pd.testing.assert_frame_equal(whole.modification_indices(), incomplete.modification_indices())


def varies(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(w=np.arange(len(frame)))


def varies_not(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(y1=frame["y1"].where(frame["y1"] > 0))


BAD: list[Case] = [
    ("no clusters", lambda d: jl.SEM(SYNTAX).fit(d), ["two levels", "cluster="]),
    ("a variable that varies", lambda d: jl.SEM(SYNTAX).fit(varies(d), cluster="school"), ["'w'", "level 2 only"]),
    (
        "one that does not",
        lambda d: jl.SEM(SYNTAX).fit(d.assign(x=d["w"]), cluster="school"),
        ["'x'", "constant in ev"],
    ),
    (
        "clusters of one",
        lambda d: jl.SEM(SYNTAX).fit(d.drop_duplicates("school"), cluster="school"),
        ["constant in every cluster"],
    ),
    ("missing", lambda d: jl.SEM(SYNTAX).fit(d, cluster="school", missing="two_stage"), ["'fiml'", "'two_stage'"]),
    (
        "information",
        lambda d: jl.SEM(SYNTAX).fit(varies_not(d), jl.ML(information="expected"), cluster="school"),
        ["'observed'", "'expected'"],
    ),
    ("an engine", lambda d: jl.SEM(SYNTAX).fit(d, "GLS", cluster="school"), ["fitted by ML"]),
    ("a test", lambda d: jl.SEM(SYNTAX).fit(d, "MLM", cluster="school"), ["standard, robust", "robust_sem"]),
    ("few clusters", lambda d: jl.SEM(SYNTAX).fit(d.head(12), cluster="school"), ["more clusters", "5 variables"]),
    (
        "three levels",
        lambda d: jl.SEM(SYNTAX + "level: 3\n y1 ~~ y1").fit(d, cluster="school"),
        ["Expected two levels", "got 3 levels"],
    ),
    (
        "a predictor that is more",
        lambda d: jl.SEM("level: 1\ny1 ~ x\nlevel: 2\ny1 ~ w\nx ~ w").fit(d, cluster="school"),
        ["'x'", "fixed_x=False"],
    ),
    ("a table without clusters", lambda d: jl.SEM(SYNTAX).parameter_table(d), ["two levels", "cluster="]),
    ("a binding", lambda d: jl.SEM(SYNTAX).bind(d), ["no two-level models"]),
    ("scores", lambda d: jl.SEM(SYNTAX).fit(d, cluster="school").scores(d.drop(columns="school")), ["'school'"]),
]


@pytest.mark.parametrize(("name", "call", "words"), BAD, ids=[name for name, *_ in BAD])
def test_bad_input(name: str, call: Any, words: list[str]) -> None:
    with pytest.raises(ValueError) as error:
        call(FEW.copy())
    assert all(word in str(error.value) for word in words)
