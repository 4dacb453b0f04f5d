"""The same answers as lavaan 0.6-20, file by file.

Tolerances. Estimates: 1e-4 relative or 1e-3 of their standard error, whichever is looser. Standard errors: 1e-3
relative. Chi-squares and log-likelihoods: 1e-4, and 1e-3 where lavaan iterates under explicit constraints. Every other
fit measure: 1e-4 (relative above 1). Scores, standardized values, modification indices: 1e-3 (relative above 1).

Where lavaan's figure is not the answer it is listed in DEVIATIONS with the reason, with how far off it may be, and with
a test of what is true instead. Nothing else is left out or loosened.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from conftest import shared_folder
from reference_cases import (
    CASES,
    COPIES,
    KEPT,
    SHIPPED,
    by_group,
    constrained,
    copy_figures,
    dense_parts,
    files,
    fitted,
    frame,
    key,
    matrix,
    own_rows,
    reference,
    row_log_likelihood,
    rows_of,
)

import jaxlatent as jl

NAMES = [name for name in CASES if name in files()]
each_case = pytest.mark.parametrize("name", NAMES)


@dataclass(frozen=True)
class Deviation:
    """Figures of one file that are not compared, why, how far they may be off, and a test of what is true instead.

    figures: "kind:name" as the tests below call them; a name ending in * stands for all that begin so.
    """

    case: str
    figures: tuple[str, ...]
    reason: str
    instead: Callable[[], None]
    within: float = math.inf


def exempt(name: str, figure: str) -> bool:
    """Whether a figure is in the table of deviations."""
    return any(d.case == name and _matches(d, figure) for d in DEVIATIONS)


def _matches(deviation: Deviation, figure: str) -> bool:
    return any(figure == f or (f.endswith("*") and figure.startswith(f[:-1])) for f in deviation.figures)


class Differences:
    """Collects what differs, so that a failure shows all of it; deviations are kept within their own limits."""

    def __init__(self, name: str) -> None:
        self.name, self.found = name, []

    def add(self, figure: str, ours: float, theirs: float, tolerance: float) -> None:
        allowed = [d.within for d in DEVIATIONS if d.case == self.name and _matches(d, figure)]
        if math.isnan(theirs) or math.inf in allowed:
            return
        if not abs(ours - theirs) <= max([tolerance, *allowed]):
            self.found.append(f"{figure}: {ours:.10g}, lavaan {theirs:.10g}")

    def matrix(self, figure: str, ours: np.ndarray, theirs: np.ndarray, tolerance: np.ndarray | float) -> None:
        ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
        assert ours.shape == theirs.shape, f"{figure}: shape {ours.shape}, lavaan {theirs.shape}"
        limit = np.broadcast_to(tolerance, theirs.shape)
        for at in np.ndindex(theirs.shape):
            self.add(f"{figure}{list(at)}", ours[at], theirs[at], limit[at])

    def none(self) -> None:
        assert not self.found, f"{len(self.found)} differ in {self.name}: " + "; ".join(self.found[:12])


def text(row: tuple) -> str:
    lhs, op, rhs, group = row
    return f"{lhs}{op}{rhs}" + ("" if group == 1 else f" {group}")


def above_one(value: float | np.ndarray) -> float | np.ndarray:
    """The scale of "relative above 1"."""
    return np.maximum(1, np.abs(value))


# ---- estimates ------------------------------------------------------------------------------------------------------


@each_case
def test_estimates(name):
    ours, out = own_rows(fitted(name).parameters, "est"), Differences(name)
    theirs = rows_of(name, reference(name)["parameters"], "est", "se")
    assert set(ours) == set(theirs)
    for row, (est, se) in theirs.items():
        out.add(f"est:{text(row)}", ours[row][0], est, max(1e-4 * abs(est), 1e-3 * np.nan_to_num(se), 1e-9))
    out.none()


@each_case
def test_standard_errors(name):
    ours, out = own_rows(fitted(name).parameters, "se"), Differences(name)
    for row, (se,) in rows_of(name, reference(name)["parameters"], "se").items():
        out.add(f"se:{text(row)}", ours[row][0], se, max(1e-3 * se, 1e-9))
    out.none()


@each_case
def test_tests_and_intervals(name):
    columns = {"z": "z", "pvalue": "pvalue", "ci_lower": "ci.lower", "ci_upper": "ci.upper"}
    ours, out = own_rows(fitted(name).parameters, *columns), Differences(name)
    for row, values in rows_of(name, reference(name)["parameters"], *columns.values()).items():
        for column, own, their in zip(columns, ours[row], values, strict=True):
            out.add(f"{column}:{text(row)}", own, their, 1e-3 * above_one(their))
    out.none()


@each_case
def test_standardized(name):
    fit, ref, out = fitted(name), reference(name), Differences(name)
    ours = own_rows(fit.parameters, "std_lv", "std_all")
    for row, values in rows_of(name, ref["parameters"], "std.lv", "std.all").items():
        for column, own, their in zip(("std_lv", "std_all"), ours[row], values, strict=True):
            out.add(f"{column}:{text(row)}", own, their, 1e-3 * above_one(their))
    ours = own_rows(fit.standardized(), "est_std", "se")
    theirs = rows_of(name, ref["standardized"], "est.std", "se")
    assert set(ours) == set(theirs)
    for row, values in theirs.items():
        for column, own, their in zip(("est_std", "std_se"), ours[row], values, strict=True):
            out.add(f"{column}:{text(row)}", own, their, 1e-3 * above_one(their))
    out.none()


@each_case
def test_covariance_of_the_estimates(name):
    """lavaan numbers tied parameters apart; ours are found by their rows."""
    fit, ref, out = fitted(name), reference(name), Differences(name)
    theirs = matrix(ref["vcov"])
    position = np.zeros(len(theirs), int)
    ours = own_rows(fit.parameters, "free")
    for row, (number,) in rows_of(name, ref["partable"], "free").items():
        if number:
            position[int(number) - 1] = ours[row][0] - 1
    found = fit.vcov().to_numpy()[np.ix_(position, position)]
    scale = np.sqrt(np.diag(theirs))
    out.matrix("vcov", found / np.outer(scale, scale), theirs / np.outer(scale, scale), 2e-3)
    out.none()


# ---- fit ------------------------------------------------------------------------------------------------------------

OWN = {  # measures lavaan keeps elsewhere than in fitMeasures()
    "scaled_shifted": {"chisq_shift_parameter"},
    "browne_residual_adf": {f"{m}_browne_residual_adf" for m in ("chisq", "df", "pvalue")},
}


@each_case
def test_fit_measures(name):
    fit, out = fitted(name), Differences(name)
    ours, theirs = fit.fit_measures(), {k.replace(".", "_"): v for k, v in reference(name)["fit"].items()}
    assert set(ours.index) == set(theirs) | OWN.get(fit.engine.test, set())
    for measure, value in theirs.items():
        if value is None:  # ours has a baseline for DLS, lavaan has none
            assert np.isnan(ours[measure]) or name == "f_hs_DLS"
        else:
            out.add(f"fit:{measure}", ours[measure], value, _tolerance(name, measure, value))
    assert ours["df"] == theirs["df"]
    assert ours["npar"] == theirs["npar"]
    out.none()


def _tolerance(name: str, measure: str, value: float) -> float:
    absolute = measure.endswith(("chisq", "chisq_scaled", "logl"))
    if absolute:
        return 1e-3 if constrained(name) else 1e-4
    return 1e-4 * above_one(value)


@each_case
def test_tests_of_fit(name):
    """Every statistic in lavaan's table of tests, with the factor and the shift that made it."""
    fit, ref, out = fitted(name), reference(name), Differences(name)
    ours = fit.fit_measures()
    for test, given in ref["test"].items():
        tail = {"standard": "", "browne.residual.adf": "_browne_residual_adf"}.get(test, "_scaled")
        for part, own in (("stat", f"chisq{tail}"), ("df", f"df{tail}"), ("pvalue", f"pvalue{tail}")):
            if given[part] is not None:
                out.add(f"fit:{own}", ours[own], given[part], _tolerance(name, own, given[part]))
        if "scaling.factor" in given:
            out.add("fit:factor", ours["chisq_scaling_factor"], given["scaling.factor"], 1e-4)
        if "shift.parameter" in given:
            out.add("fit:shift", ours["chisq_shift_parameter"], given["shift.parameter"], 1e-4)
    out.none()


@each_case
def test_objective_is_at_least_as_good(name):
    """No estimate of lavaan's fits better than ours: not under its constraints, not in its loosest iteration."""
    ours, theirs = fitted(name).fit_measures(), reference(name)["fit"]
    if "logl" in theirs:
        assert ours["logl"] > theirs["logl"] - 1e-7
    elif name != "f_hs_DLS":  # its weight moves, so that its minimum is no minimum of one function
        assert ours["chisq"] < theirs["chisq"] + 1e-7


@each_case
def test_residuals(name):
    fit, out = fitted(name), Differences(name)
    found = fit.residuals("cor")
    for label, given in by_group(name, reference(name)["cor_residuals"]).items():
        ours = found.xs(label, level="group") if label else found
        out.matrix(f"residual:{label}", ours.loc[given["rownames"], given["colnames"]], matrix(given), 1e-4)
    out.none()


@each_case
def test_implied_moments(name):
    fit, out = fitted(name), Differences(name)
    found = fit.implied()
    for label, parts in by_group(name, reference(name)["implied"]).items():
        mean, cov = found[label] if label else found
        for part, given in parts.items():
            ours, theirs = (mean, given["values"]) if part == "mean" else (cov, matrix(given))
            order = given["names"] if part == "mean" else given["rownames"]
            ours = ours.loc[order] if part == "mean" else ours.loc[order, order]
            out.matrix(f"implied:{label} {part}", ours, theirs, 1e-4 * above_one(np.asarray(theirs, float)))
    out.none()


@each_case
def test_r_squared(name):
    fit, out = fitted(name), Differences(name)
    found = fit.r_squared()["r2"]
    for label, given in by_group(name, reference(name)["r2"]).items():
        ours = found.xs(label, level="group") if label else found
        names, values = np.atleast_1d(given["names"] or []), np.atleast_1d(given["values"])
        assert set(ours.index) == set(names)
        for variable, value in zip(names, values, strict=True):
            if value is None:
                assert np.isnan(ours[variable])  # a Heywood case
            else:
                out.add(f"r2:{variable} {label}", ours[variable], value, 1e-4)
    out.none()


@each_case
def test_modification_indices(name):
    """lavaan's largest fifteen are ours, and none of ours that is as large is missing from lavaan's."""
    columns = {"mi": "mi", "epc": "epc", "sepc_lv": "sepc.lv", "sepc_all": "sepc.all"}
    ours, out = own_rows(fitted(name).modification_indices(), *columns), Differences(name)
    theirs = rows_of(name, reference(name)["modindices"], *columns.values())
    for row, values in theirs.items():
        for column, their, own in zip(columns, values, ours.get(row, [math.nan] * 4), strict=True):
            out.add(f"{column}:{text(row)}", own, their, 1e-3 * above_one(their))
    out.none()
    if len(theirs) == 15 and not exempt(name, "mi:"):
        least = min(values[0] for values in theirs.values())
        assert not [row for row, values in ours.items() if row not in theirs and values[0] > 1.001 * least + 1e-3]


# ---- persons --------------------------------------------------------------------------------------------------------


@each_case
@pytest.mark.parametrize("method", ["regression", "bartlett"])
def test_scores(name, method):
    """The first ten persons of every group."""
    given, fit = reference(name).get(f"fscores_{method}"), fitted(name)
    factors = reference(name)["lv_names"]
    if given is None or not factors:
        with pytest.raises(ValueError, match="holds no rows" if factors else "no latent variables"):
            fit.scores(method=method)
        return
    out, found = Differences(name), fit.scores(method=method)
    for label, part in by_group(name, given).items():
        theirs = matrix(part)
        ours = found.iloc[_persons(fit, name, label)[: len(theirs)]]
        assert list(ours.columns) == part["colnames"] == factors
        out.matrix(f"score_{method}:{label}", ours, theirs, 1e-3 * above_one(theirs))
    out.none()


def _persons(fit: jl.Fit, name: str, label: str) -> np.ndarray:
    if not label:
        return np.arange(len(fit.scores()))
    rows = frame(reference(name)["data"])
    return np.flatnonzero(rows[CASES[name].fit["group"]].astype(str) == label)


# ---- further files and tables ---------------------------------------------------------------------------------------


def given(name: str) -> bool:
    return name in files()


def test_likelihood_ratio_tests():
    """b90: the sequence of invariance models."""
    table = reference("b90_hs_mg_lrt")["table"]
    names = ("configural", "metric", "scalar", "strict")
    assert tuple(reference("b90_hs_mg_lrt")["names"]) == names
    fits = [fitted(f"b0{k + 1}_hs_mg_{name}") for k, name in enumerate(names)]
    found = jl.compare(*fits, names=names)
    columns = {
        "df": "Df", "aic": "AIC", "bic": "BIC", "chisq": "Chisq", "chisq_diff": "Chisq diff", "df_diff": "Df diff",
        "pvalue": "Pr(>Chisq)", "rmsea_diff": "RMSEA",
    }  # fmt: skip
    assert list(found.index) == list(names)
    for ours, theirs in columns.items():
        want = np.array(table[theirs], float)
        np.testing.assert_allclose(found[ours].to_numpy(float)[-len(want) :], want, rtol=1e-4, atol=1e-4)
        assert np.isnan(found[ours].iloc[0]) == np.isnan(want[0])


def test_score_tests_of_equalities():
    """d02: what chi-square would lose without each equality, and without all."""
    extra = reference("d02_pd_equal_loadings")["extra"]
    found = fitted("d02_pd_equal_loadings").score_tests().set_index("constraint")
    each = extra["uni"]
    for lhs, rhs, stat, df, p in zip(*(each[k] for k in ("lhs", "rhs", "X2", "df", "p.value")), strict=True):
        row = found.loc[f"{lhs} == {rhs}"]
        assert row["df"] == df
        np.testing.assert_allclose(row[["stat", "pvalue"]].to_numpy(float), [stat, p], atol=1e-3)
    total = extra["scoretest"]
    assert found.loc["total", "df"] == total["df"]
    np.testing.assert_allclose(
        found.loc["total", ["stat", "pvalue"]].to_numpy(float), [total["X2"], total["p.value"]], atol=1e-3
    )


def test_wald_test():
    """d03: two slopes at once."""
    want = reference("d03_pd_indirect")["extra"]
    found = fitted("d03_pd_indirect").wald_test("p2 == 0; p3 == 1")
    assert found["df"] == want["df"]
    assert found["stat"] == pytest.approx(want["stat"], abs=1e-3)
    assert found["pvalue"] == pytest.approx(want["p.value"], abs=1e-4)


@pytest.mark.parametrize("name", ["c01_hs_fiml_observed", "c02_hs_fiml_expected"])
def test_saturated_moments_of_incomplete_rows(name):
    """c01, c02: lavaan's unrestricted moments; our log-likelihood at ours is at least as high."""
    if not given(name):
        pytest.skip(f"{name} needs the shared folder")
    fit, extra = fitted(name), reference(name)["extra"]
    mean, cov = fit.implied()
    raw = fit.residuals("raw")
    np.testing.assert_allclose(cov + raw[cov.columns], matrix(extra["h1"]["cov"]), atol=1e-4)
    np.testing.assert_allclose(mean + raw["mean"], extra["h1"]["mean"]["values"], atol=1e-4)
    assert fit.fit_measures()["unrestricted_logl"] > reference(name)["fit"]["unrestricted.logl"] - 1e-9
    seen = frame(reference(name)["data"])[extra["coverage"]["rownames"]].notna().astype(float)
    np.testing.assert_allclose(seen.T @ seen / len(seen), matrix(extra["coverage"]), atol=1e-12)
    assert len(seen.drop_duplicates()) == extra["patterns"]


def test_bootstrap():
    """f_hs_bootstrap: 1000 draws of lavaan's against 4000 of ours.

    A 97.5 % limit from 1000 draws has itself a standard error of a tenth of the estimate's; lavaan's second table is
    bias-corrected, not accelerated ("bca.simple"). The upper tail of speed =~ x9 is heavy: its limits are left out.
    """
    ref = reference("f_hs_bootstrap")
    boot = fitted("f_hs_ML").bootstrap(4000, key=5, progress=False)
    assert boot.n_failed == 0
    for ci, table in (("percentile", ref["parameters"]), ("bc", ref["bca"])):
        ours = own_rows(boot.parameters(ci=ci), "se", "ci_lower", "ci_upper")
        for lhs, op, rhs, se, low, high in zip(
            *(table[k] for k in ("lhs", "op", "rhs", "se", "ci.lower", "ci.upper")), strict=True
        ):
            own = ours[key(lhs, op, rhs, 1)]
            assert own[0] == pytest.approx(se, rel=0.1), (lhs, op, rhs)
            if (lhs, rhs) != ("speed", "x9"):
                assert abs(own[1] - low) <= 0.4 * se + 1e-12, (ci, lhs, op, rhs)
                assert abs(own[2] - high) <= 0.4 * se + 1e-12, (ci, lhs, op, rhs)


# ---- where lavaan's figure is not the answer ------------------------------------------------------------------------


def reweighted_stationary() -> None:
    """At our DLS estimate the gradient of its own definition vanishes, and chi-square is its value there."""
    fit = fitted("f_hs_DLS")
    delta, weight, residual = dense_parts(fit, [])
    score = delta.T @ weight @ residual
    scale = np.sqrt(np.diag(delta.T @ weight @ delta))
    assert np.abs(score / scale).max() < 1e-8
    # lavaan stops where the same gradient is a thousand times as large
    theirs = dense_parts(fit, [], reference("f_hs_DLS")["parameters"])
    assert np.abs(theirs[0].T @ theirs[1] @ theirs[2] / scale).max() > 1e-6
    assert fit.fit_measures()["chisq"] == pytest.approx(300 * residual @ weight @ residual, rel=1e-8)


def saturated_higher() -> None:
    """Our unrestricted log-likelihood is higher than lavaan's, and stays so for any moments nearby."""
    fit, name = fitted("c07_hs_twostage"), "c07_hs_twostage"
    assert fit.fit_measures()["unrestricted_logl"] > reference(name)["fit"]["unrestricted.logl"]
    tight = fitted("c01_hs_fiml_observed").fit_measures()["unrestricted_logl"]
    assert tight == pytest.approx(reference("c01_hs_fiml_observed")["fit"]["unrestricted.logl"], abs=1e-5)
    mean, cov = fit.implied()
    raw = fit.residuals("raw")
    best = row_log_likelihood(name, mean + raw["mean"], cov + raw[cov.columns])
    assert best == pytest.approx(tight, abs=1e-8)
    rng = np.random.default_rng(0)
    for _ in range(20):
        noise = 1e-3 * rng.standard_normal((10, 9))
        nearby = cov + raw[cov.columns] + noise[:9] + noise[:9].T
        assert row_log_likelihood(name, mean + raw["mean"] + noise[9], nearby) < best


def baseline_factor_of_missing_data() -> None:
    """The baseline's chi-square and factor agree to 1e-6 relative; 750.7 of it shows in the fourth decimal."""
    ours, theirs = fitted("c03_hs_fiml_mlr").fit_measures(), reference("c03_hs_fiml_mlr")["fit"]
    assert ours["baseline_chisq"] == pytest.approx(theirs["baseline.chisq"], abs=1e-4)
    assert ours["baseline_chisq_scaling_factor"] == pytest.approx(theirs["baseline.chisq.scaling.factor"], rel=1e-6)
    assert ours["unrestricted_logl"] > theirs["unrestricted.logl"] - 1e-9


def scores_times_root_of_weight() -> None:
    """lavaan's scores are ours times the square root of the person's weight; a weight says nothing about a person."""
    name = "f_hs_sampling_weights"
    w = frame(reference(name)["data"])["w"].to_numpy()
    root = np.sqrt(w / w.mean())[:10, None]
    for method in ("regression", "bartlett"):
        ours = fitted(name).scores(method=method).to_numpy()[:10]
        np.testing.assert_allclose(ours * root, matrix(reference(name)[f"fscores_{method}"]), rtol=1e-3, atol=1e-4)


def two_clusters() -> None:
    """With two clusters the meat has rank one, and the trace behind the factor is a small difference; 1e-6 relative."""
    ours, theirs = fitted("f_hs_se_robust_cluster").fit_measures(), reference("f_hs_se_robust_cluster")["fit"]
    assert ours["chisq"] == pytest.approx(theirs["chisq"], abs=1e-6)
    assert ours["chisq_scaled"] == pytest.approx(theirs["chisq.scaled"], rel=2e-6)


def modification_indices_by_definition() -> None:
    """s'V^-1 s from dense matrices, and equal indices for changes that give equivalent models.

    The information is nearly singular (a standard error of 3.2 for a variance of -0.15), and lavaan's indices of
    everything that touches speed are its rounding errors: it frees the marker speed =~ x7, which is not identified.
    """
    name = "a10_hs_cfa_modified"
    fit = fitted(name)
    found = fit.modification_indices()
    asked = [row for row in found[["lhs", "op", "rhs"]].itertuples(index=False, name=None) if row[1] in ("=~", "~~")]
    delta, weight, residual = dense_parts(fit, asked)
    k = int(fit.fit_measures()["npar"])
    information = delta.T @ weight @ delta
    score = delta.T @ weight @ residual
    bread = np.linalg.inv(information[:k, :k])
    cross = information[:k, k:]
    variance = np.diag(information)[k:] - (cross * (bread @ cross)).sum(axis=0)
    np.testing.assert_allclose(found["mi"], 301 * score[k:] ** 2 / variance, rtol=1e-6)
    np.testing.assert_allclose(found["epc"], score[k:] / variance, rtol=1e-6)
    ours = own_rows(found, "mi")
    assert ("speed", "=~", "x7", 1) not in ours
    assert ours[("x7", "~~", "x9", 1)] == pytest.approx(ours[("x8", "~~", "x9", 1)], rel=1e-6)
    assert ours[("visual", "=~", "x7", 1)] == pytest.approx(ours[("visual", "=~", "x8", 1)], rel=1e-6)
    # away from the flat direction lavaan is right to three digits
    theirs = rows_of(name, reference(name)["modindices"], "mi")
    for row in ((v, "~~", w, 1) for v, w in (("x3", "x5"), ("x2", "x3"), ("x4", "x6"), ("x1", "x4"), ("x1", "x2"))):
        assert ours[row][0] == pytest.approx(theirs[row][0], rel=1e-2)


def change_of_a_fixed_variance() -> None:
    """sepc is the expected change in units of the standardized solution: epc over the implied variance, here 1."""
    found = own_rows(fitted("a12_hs_modifiers").modification_indices(), "epc", "sepc_lv", "sepc_all")
    epc, lv, everything = found[("speed", "~~", "speed", 1)]
    assert lv == pytest.approx(epc, rel=1e-9)
    assert everything == pytest.approx(epc, rel=1e-9)


def fixed_x_has_no_causes() -> None:
    """Under fixed x the moments of x are given: nothing that would explain them is a change of the model.

    The model's own freedom, whether b1 == (b2 + b3)^2 holds, is one degree of freedom: y ~ anything is tied up in it.
    """
    name = "g07_nonlinear_equality"
    ours = own_rows(fitted(name).modification_indices(), "mi")
    theirs = rows_of(name, reference(name)["modindices"], "mi")
    assert not ours
    assert all(lhs in ("x1", "x2", "x3") for lhs, *_ in theirs)
    assert all(mi < 1e-20 for (_, _, rhs, _), (mi,) in theirs.items() if rhs != "y")


DEVIATIONS = (
    Deviation(
        "c07_hs_twostage",
        ("fit:chisq", "fit:chisq_scaled", "fit:baseline_chisq", "fit:baseline_chisq_scaled", "fit:unrestricted_logl"),
        "lavaan stops the EM algorithm of the saturated model early: its log-likelihood is 8e-4 below the maximum",
        saturated_higher,
        within=3e-3,
    ),
    Deviation(
        "c03_hs_fiml_mlr",
        ("fit:baseline_chisq_scaled",),
        "the baseline's scaling factor rests on saturated moments from the same EM algorithm: 1.7e-7 relative",
        baseline_factor_of_missing_data,
        within=2e-4,
    ),
    Deviation(
        "f_hs_DLS",
        ("fit:chisq", "fit:chisq_scaled"),
        "lavaan renews the weight of reweighted least squares a few times and stops",
        reweighted_stationary,
        within=1e-3,
    ),
    Deviation(
        "f_hs_sampling_weights",
        ("score_regression:*", "score_bartlett:*"),
        "lavaan multiplies factor scores by the square root of the sampling weight",
        scores_times_root_of_weight,
    ),
    Deviation(
        "f_hs_se_robust_cluster",
        ("fit:chisq_scaled",),
        "the scaling factor of two clusters is ill-conditioned: 1e-6 relative",
        two_clusters,
        within=2e-4,
    ),
    Deviation(
        "a10_hs_cfa_modified",
        ("mi:*", "epc:*", "sepc_lv:*", "sepc_all:*"),
        "a Heywood case with a nearly singular information matrix: lavaan's modification indices are rounding errors",
        modification_indices_by_definition,
    ),
    Deviation(
        "a12_hs_modifiers",
        ("sepc_lv:speed~~speed", "sepc_all:speed~~speed"),
        "lavaan gives -1, the sign of the change, for the standardized change of a variance",
        change_of_a_fixed_variance,
    ),
    Deviation(
        "g07_nonlinear_equality",
        ("mi:*", "epc:*", "sepc_lv:*", "sepc_all:*"),
        "lavaan also offers to explain the fixed exogenous variables",
        fixed_x_has_no_causes,
    ),
)


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda d: f"{d.case} {d.figures[0]}")
def test_deviations(deviation):
    if not given(deviation.case):
        pytest.skip(f"{deviation.case} needs the shared folder")
    deviation.instead()


# ---- every file is used ---------------------------------------------------------------------------------------------

EACH = (
    test_estimates,
    test_standard_errors,
    test_tests_and_intervals,
    test_standardized,
    test_covariance_of_the_estimates,
    test_fit_measures,
    test_tests_of_fit,
    test_objective_is_at_least_as_good,
    test_residuals,
    test_implied_moments,
    test_r_squared,
    test_modification_indices,
    test_scores,
)
BESIDES = {
    "b90_hs_mg_lrt": test_likelihood_ratio_tests,
    "c01_hs_fiml_observed": test_saturated_moments_of_incomplete_rows,
    "c02_hs_fiml_expected": test_saturated_moments_of_incomplete_rows,
    "d02_pd_equal_loadings": test_score_tests_of_equalities,
    "d03_pd_indirect": test_wald_test,
    "f_hs_bootstrap": test_bootstrap,
}


def users(name: str) -> list[str]:
    """Names of the tests that use a file."""
    found = [test.__name__ for test in EACH] if name in CASES else []
    return found + [test.__name__ for file, test in BESIDES.items() if file == name]


def test_every_reference_file_is_used():
    used = {name: users(name) for name in files()}
    for name, tests in used.items():
        print(f"{name}: {', '.join(tests)}")
    assert not [name for name, tests in used.items() if not tests]
    assert not [name for name in files() if "extra" in reference(name) and name not in BESIDES]
    assert all(each_case.mark in test.pytestmark for test in EACH)


def test_deviations_are_of_files_that_exist():
    assert {d.case for d in DEVIATIONS} <= set(CASES)


def test_copied_figures_are_the_shared_ones(shared, tmp_path):
    """tests/reference holds all files of the shipped data sets, and nothing else."""
    copy_figures(shared / "reference", tmp_path)
    assert files(COPIES) == files(tmp_path)
    for name in files(COPIES):
        assert (COPIES / f"{name}.json").read_text() == (tmp_path / f"{name}.json").read_text()


if __name__ == "__main__":  # python tests/test_reference.py: renew tests/reference from the shared folder
    print(f"{len(copy_figures(shared_folder() / 'reference'))} files of {', '.join(SHIPPED)}; fields {', '.join(KEPT)}")
    sys.exit()
