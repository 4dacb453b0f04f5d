"""Side-by-side comparison: differences by hand, scaled differences from their definitions, errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

import jaxlatent as jl

THREE = "visual =~ x1 + x2 + x3\ntextual =~ x4 + x5 + x6\nspeed =~ x7 + x8 + x9"
TIED = THREE.replace("x2", "a*x2").replace("x3", "b*x3").replace("x5", "a*x5").replace("x6", "b*x6")
NINE = [f"x{k}" for k in range(1, 10)]


@pytest.fixture(scope="module")
def holzinger():
    return jl.datasets.load("holzinger_swineford")


@pytest.fixture(scope="module")
def pairs(holzinger):
    """(restricted, free) by engine."""
    engines = ("ML", "MLR", "MLM", "MLMV", "MLMVS", "GLS")
    return {e: (jl.SEM(TIED).fit(holzinger, e), jl.SEM(THREE).fit(holzinger, e)) for e in engines}


def test_plain_difference(pairs):
    small, large = pairs["ML"]
    found = jl.compare(small, large, names=("tied", "free"))
    assert list(found.index) == ["free", "tied"]
    want = ["df", "chisq", "chisq_diff", "df_diff", "pvalue", "aic", "bic", "rmsea_diff", "cfi", "rmsea", "srmr"]
    assert list(found.columns) == want
    a, b = small.fit_measures(), large.fit_measures()
    row = found.loc["tied"]
    assert row["chisq_diff"] == pytest.approx(a["chisq"] - b["chisq"], abs=1e-9)
    assert row["chisq_diff"] == pytest.approx(2 * (large.log_likelihood - small.log_likelihood), abs=1e-8)
    assert row["df_diff"] == 2
    assert row["pvalue"] == pytest.approx(chi2.sf(row["chisq_diff"], 2), rel=1e-9)
    assert row["rmsea_diff"] == pytest.approx(np.sqrt((row["chisq_diff"] - 2) / (301 * 2)))
    assert found.loc["free", ["chisq_diff", "df_diff", "pvalue"]].isna().all()
    for name in ("aic", "bic", "cfi", "rmsea", "srmr"):
        assert row[name] == a[name]


@pytest.mark.parametrize("engine", ["MLR", "MLM"])
def test_scaled_difference_by_hand(pairs, engine):
    """Satorra and Bentler (2001): (T0 - T1) (d0 - d1) / (d0 c0 - d1 c1)."""
    small, large = pairs[engine]
    a, b = small.fit_measures(), large.fit_measures()
    factor = (a["df"] * a["chisq_scaling_factor"] - b["df"] * b["chisq_scaling_factor"]) / (a["df"] - b["df"])
    row = jl.compare(small, large).iloc[1]
    assert row["chisq_diff"] == pytest.approx((a["chisq"] - b["chisq"]) / factor, rel=1e-9)
    assert row["pvalue"] == pytest.approx(chi2.sf(row["chisq_diff"], 2), rel=1e-9)


def implied(fit, values):
    """vech Sigma from a dictionary of a three-factor model's values."""
    loading, phi, theta = np.zeros((9, 3), complex), np.zeros((3, 3), complex), np.zeros((9, 9), complex)
    factors = ["visual", "textual", "speed"]
    for (lhs, op, rhs), v in values.items():
        if op == "=~":
            loading[NINE.index(rhs), factors.index(lhs)] = v
        else:
            target, at = (phi, factors) if lhs in factors else (theta, NINE)
            target[at.index(lhs), at.index(rhs)] = target[at.index(rhs), at.index(lhs)] = v
    return (loading @ phi @ loading.T + theta)[np.tril_indices(9)]


def jacobian(fit):
    """d vech Sigma / d rows, columns of tied rows added up."""
    table = fit.parameters
    rows = [(r.lhs, r.op, r.rhs) for r in table.itertuples()]
    values = dict(zip(rows, table["est"], strict=True))
    out = np.zeros((45, table["free"].max()))
    for row, free in zip(rows, table["free"], strict=True):
        if free:
            out[:, free - 1] += implied(fit, values | {row: values[row] + 1e-30j}).imag / 1e-30
    return out


def test_second_moment_difference_from_dense_matrices(pairs, holzinger):
    """Satorra (2000) with the freer model's weight: U = W D1 P (A P)'(A P A')^-1 A P D1' W, P = (D1'WD1)^-1.

    A is the restriction of the tangent space of the restricted model within that of the freer one; traces of U Gamma
    give the scaled and shifted, and the mean-and-variance adjusted, difference.
    """
    y = holzinger[NINE].to_numpy()
    e = y - y.mean(0)
    low = np.tril_indices(9)
    z = e[:, low[0]] * e[:, low[1]]
    gamma = np.cov(z.T, bias=True)
    duplication = np.zeros((81, 45))
    for k, (i, j) in enumerate(zip(*low, strict=True)):
        duplication[[9 * i + j, 9 * j + i], k] = 1
    for engine in ("MLMV", "MLMVS"):
        small, large = pairs[engine]
        inverse = np.linalg.inv(large.implied()[1].to_numpy())
        w = duplication.T @ np.kron(inverse, inverse) @ duplication / 2
        d1, d0 = jacobian(large), jacobian(small)
        p = np.linalg.inv(d1.T @ w @ d1)
        h = p @ d1.T @ w @ d0  # the restricted model's directions as those of the freer one
        left, size, _ = np.linalg.svd(h)
        assert size.min() > 1e-8
        a = left[:, d0.shape[1] :].T
        inner = p @ a.T @ np.linalg.inv(a @ p @ a.T) @ a @ p
        ug = w @ d1 @ inner @ d1.T @ w @ gamma
        one, two = np.trace(ug), np.trace(ug @ ug)
        raw = small.fit_measures()["chisq"] - large.fit_measures()["chisq"]
        found = jl.compare(small, large).iloc[1]
        if engine == "MLMV":
            want, df = raw * np.sqrt(2 / two) + 2 - np.sqrt(2 * one**2 / two), 2
        else:
            want, df = raw * one / two, one**2 / two
        assert found["chisq_diff"] == pytest.approx(want, rel=1e-6)
        assert found["df_diff"] == pytest.approx(df, rel=1e-6)
        assert found["pvalue"] == pytest.approx(chi2.sf(want, df), rel=1e-5)


def test_least_squares_has_no_information_criteria(pairs):
    small, large = pairs["GLS"]
    found = jl.compare(small, large)
    assert found["aic"].isna().all()
    difference = small.fit_measures()["chisq"] - large.fit_measures()["chisq"]
    assert found.iloc[1]["chisq_diff"] == pytest.approx(difference, abs=1e-9)


def test_three_models_in_order(holzinger, pairs):
    one = jl.SEM("g =~ " + " + ".join(NINE)).fit(holzinger)
    found = jl.compare(one, *pairs["ML"])
    assert list(found.index) == ["model 3", "model 2", "model 1"]
    assert list(found["df"]) == [24, 26, 27]
    assert list(found["df_diff"].iloc[1:]) == [2, 1]


def test_models_of_equal_df_have_no_test(pairs, holzinger):
    again = jl.SEM(THREE, std_lv=True).fit(holzinger)
    found = jl.compare(pairs["ML"][1], again)
    assert found.iloc[1]["df_diff"] == 0
    assert np.isnan(found.iloc[1]["pvalue"])


def test_errors(pairs, holzinger):
    fit = pairs["ML"][0]
    with pytest.raises(ValueError, match="at least two fits"):
        jl.compare(fit)
    with pytest.raises(ValueError, match="Expected 2 names"):
        jl.compare(*pairs["ML"], names=("one",))
    with pytest.raises(ValueError, match="other data"):
        jl.compare(fit, jl.SEM(THREE).fit(holzinger.iloc[:200]))
    with pytest.raises(ValueError, match="other data"):
        jl.compare(fit, jl.SEM("f =~ x1 + x2 + x3 + x4").fit(holzinger))
    with pytest.raises(ValueError, match="GLS"):
        jl.compare(fit, pairs["GLS"][1])


def test_plain_uls_has_no_reference_distribution(holzinger):
    small, large = jl.SEM(TIED).fit(holzinger, "ULS"), jl.SEM(THREE).fit(holzinger, "ULS")
    row = jl.compare(small, large).iloc[1]
    assert row["df_diff"] == small.fit_measures()["df"] - large.fit_measures()["df"]
    assert np.isnan(row["pvalue"])
