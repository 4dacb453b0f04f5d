"""Item response models of persons in clusters: nested quadrature, two-level factor analysis, known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl

SLOPES, EASE = np.array([1.0, 1.5, 2.0, 0.8]), np.array([-0.5, 0.0, 0.5, 1.0])


def answers(n: int, sizes: tuple[int, ...], share: float, key: int, items: int = 4) -> pd.DataFrame:
    """Binary answers of persons in n clusters; share: of the variance of x, which is 1 within them, between."""
    rng = np.random.default_rng(key)
    code = np.repeat(np.arange(n), rng.choice(sizes, n))
    x = np.sqrt(share / (1 - share)) * rng.normal(size=n)[code] + rng.normal(size=len(code))
    eta = x[:, None] * np.resize(SLOPES, items) + np.resize(EASE, items)
    y = (rng.random(eta.shape) < 1 / (1 + np.exp(-eta))).astype(float)
    y[rng.random(y.shape) < 0.1] = np.nan
    y[np.isnan(y).all(1), 0] = 1.0
    return pd.DataFrame(y, columns=[f"i{k + 1}" for k in range(items)]).assign(school=[f"s{c}" for c in code])


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return answers(60, (1, 4, 8), 0.4, 1)


@pytest.fixture(scope="module")
def fit(data: pd.DataFrame) -> Any:
    return jl.IRT("2pl").fit(data, cluster="school")


def test_likelihood_and_scores_by_nested_quadrature(data: pd.DataFrame, fit: Any) -> None:
    """At the estimates, with nodes of Gauss and Hermite for u and for e."""
    est = fit.parameters["est"].to_numpy()
    slopes, ease, tau = est[:4], est[4:8], np.sqrt(est[-1])
    z, w = np.polynomial.hermite_e.hermegauss(61)
    w = w / w.sum()
    x = tau * z[:, None] + z  # [u, e]
    p = 1 / (1 + np.exp(-(x[..., None] * slopes + ease)))
    total = 0.0
    for label, frame in data.groupby("school"):
        y = frame[["i1", "i2", "i3", "i4"]].to_numpy()
        each = np.stack([np.prod(np.where(np.isnan(v), 1, np.where(v == 1, p, 1 - p)), -1) for v in y])
        given_u = each @ w  # [person, u]
        joint = w * given_u.prod(0)
        total += np.log(joint.sum())
        if label in ("s0", "s7", "s31"):
            posterior = joint / joint.sum()
            found = fit.scores(return_se=True).loc[frame.index[0]]
            u = tau * posterior @ z
            assert found["F1_between"] == pytest.approx(u, abs=1e-6)
            assert found["F1_between_se"] == pytest.approx(np.sqrt(tau**2 * posterior @ z**2 - u**2), abs=1e-6)
            person = posterior @ ((each[0] * x) @ w / given_u[0])
            assert found["F1"] == pytest.approx(person, abs=1e-6)
            assert fit.cluster_scores().loc[label, "F1"] == pytest.approx(u, abs=1e-6)
    assert fit.log_likelihood == pytest.approx(total, abs=1e-6)


def test_new_persons_and_the_file(data: pd.DataFrame, fit: Any, tmp_path: Path) -> None:
    """Persons given again are those fitted, in any order of rows; what a file brings back has the same numbers."""
    expected = fit.scores(return_se=True)
    turned = data.iloc[::-1].assign(other=1.0)
    pd.testing.assert_frame_equal(fit.scores(turned, return_se=True).loc[expected.index], expected)
    pd.testing.assert_frame_equal(fit.cluster_scores(turned), fit.cluster_scores())
    assert fit.log_likelihoods(turned).sum() == pytest.approx(fit.log_likelihood)
    again = jl.load(fit.save(tmp_path / "items.latent"))
    pd.testing.assert_frame_equal(again.parameters, fit.parameters)
    pd.testing.assert_frame_equal(again.scores(turned), expected.loc[turned.index, ["F1", "F1_between"]])
    assert repr(again) == repr(fit) and str(again.summary()) == str(fit.summary())
    with pytest.raises(ValueError, match="saved without its data"):
        again.scores()
    whole = jl.load(fit.save(tmp_path / "items.latent", include_data=True))
    np.testing.assert_allclose(whole.scores(return_se=True), expected, atol=1e-12)
    assert whole.cluster_scores().index.equals(fit.cluster_scores().index)


def test_what_a_user_sees(data: pd.DataFrame, fit: Any) -> None:
    assert fit.converged and not fit.warnings
    measures = fit.fit_measures()
    assert measures["npar"] == 9 and measures["nclusters"] == 60 and measures["ntotal"] == len(data)
    assert fit.parameters.iloc[-1][["lhs", "op", "rhs", "level"]].tolist() == ["F1", "~~", "F1", 2]
    shares = fit.intraclass_correlations().loc["F1"]
    assert abs(shares["est"] - 0.4) < 3 * shares["se"] < 0.4
    assert "Number of clusters [school]" in str(fit.summary()) and "60 clusters" in repr(fit)


def test_normal_items_are_two_level_factor_analysis() -> None:
    """The same likelihood from SEM with equal loadings at both levels and no residuals between clusters."""
    rng = np.random.default_rng(3)
    code = np.repeat(np.arange(80), rng.choice((2, 5), 80))
    x = 0.7 * rng.normal(size=80)[code] + rng.normal(size=len(code))
    frame = pd.DataFrame(x[:, None] * [1.0, 0.8, 0.6] + 0.7 * rng.normal(size=(len(code), 3)), columns=["a", "b", "c"])
    frame["school"] = code
    syntax = "level: 1\nf =~ NA*a + l1*a + l2*b + l3*c\nf ~~ 1*f\nlevel: 2\ng =~ NA*a + l1*a + l2*b + l3*c\n"
    exact = jl.SEM(syntax + "a ~~ 0*a\nb ~~ 0*b\nc ~~ 0*c").fit(frame, cluster="school")
    found = jl.IRT("normal").fit(frame, cluster="school")
    assert found.log_likelihood == pytest.approx(exact.log_likelihood, abs=1e-4)
    between = exact.parameters.query("lhs == 'g' and op == '~~' and rhs == 'g'").iloc[0]
    mine = found.parameters.iloc[-1]
    assert mine["est"] == pytest.approx(between["est"], abs=1e-3)
    assert mine["se"] == pytest.approx(between["se"], rel=1e-2)


@pytest.mark.study
def test_the_intraclass_correlation_is_found() -> None:
    fit = jl.IRT("2pl").fit(answers(800, (5, 10, 20), 0.3, 1, items=10), cluster="school")
    shares = fit.intraclass_correlations().loc["F1"]
    assert abs(shares["est"] - 0.3) < 0.03 and shares["se"] < 0.02
    loadings = fit.parameters.query("op == '=~'")
    assert (abs(loadings["est"] - np.resize(SLOPES, 10)) < 4 * loadings["se"]).all()


BAD = [
    ("a column that is not there", lambda d: jl.IRT("2pl").fit(d, cluster="class"), ["'class'"]),
    ("two factors", lambda d: jl.IRT("2pl", 2).fit(d, cluster="school"), ["one factor", "got 2"]),
    ("an engine", lambda d: jl.IRT("2pl").fit(d, jl.AmortizedVI(), cluster="school"), ["MarginalML()"]),
    ("errors", lambda d: jl.IRT("2pl").fit(d, jl.MarginalML(se="sandwich"), cluster="school"), ["'sandwich'"]),
    ("clusters of one", lambda d: jl.IRT("2pl").fit(d.drop_duplicates("school"), cluster="school"), ["one person"]),
    (
        "few clusters",
        lambda d: jl.IRT("2pl").fit(d[d["school"].isin(["s1", "s2", "s3"])], cluster="school"),
        ["at least 5 clusters"],
    ),
    ("an array", lambda d: jl.IRT("2pl").fit(np.ones((5, 3)), cluster="school"), ["no column names"]),
    ("a gap", lambda d: jl.IRT("2pl").fit(d.assign(school=[None, *d["school"][1:]]), cluster="school"), ["row 1"]),
    ("weights", lambda d: jl.IRT("2pl").fit(d, cluster="school", weights="i1"), ["weights"]),
]


@pytest.mark.parametrize(("name", "call", "words"), BAD, ids=[name for name, *_ in BAD])
def test_bad_input(name: str, call: Any, words: list[str], data: pd.DataFrame) -> None:
    with pytest.raises(ValueError) as error:
        call(data.copy())
    assert all(word in str(error.value) for word in words)


def test_bad_new_persons(data: pd.DataFrame, fit: Any) -> None:
    with pytest.raises(ValueError, match="cluster variable 'school'"):
        fit.scores(data.drop(columns="school"))
    with pytest.raises(ValueError, match="'i2' has the value 2 in row 1, none of its categories"):
        fit.scores(data.assign(i2=2))
    with pytest.raises(ValueError, match="'eap'; got 'map'"):
        fit.scores(data, "map")
