"""Item response models against the stored answers of mirt and ltm: every m_* file of the shared folder.

Where an answer is not followed, DEVIATIONS says why, and what is asserted instead stands in the test.
"""

from __future__ import annotations

import functools
import json
import warnings
from dataclasses import replace

import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from item_response_cases import NODES, load, places

import jaxlatent as jl
from jaxlatent.diagnostics.category_tables import CategoryTables
from jaxlatent.diagnostics.item_wald import item_wald_test
from jaxlatent.diagnostics.limited_information import GroupFit, c2
from jaxlatent.inference.marginal_fit import fit_items
from jaxlatent.spec.restrictions_matrix import Linear

LSAT6, LSAT7, SCIENCE = "LSAT6.csv", "LSAT7.csv", "Science.csv"
PRIOR = {"logit_guessing": dist.Normal(-1.5, 3.0)}
ONE = {  # file -> data, item type, options
    "m_lsat6_1pl": (LSAT6, "1pl", {}),
    "m_lsat6_2pl": (LSAT6, "2pl", {}),
    "m_lsat6_3pl_fixg": (LSAT6, "3pl", {"fixed": {"guessing": 0.1}}),
    "m_lsat6_rasch": (LSAT6, "rasch", {}),
    "m_lsat7_1pl": (LSAT7, "1pl", {}),
    "m_lsat7_2pl": (LSAT7, "2pl", {}),
    "m_lsat7_3pl_fixg": (LSAT7, "3pl", {"fixed": {"guessing": 0.1}}),
    "m_lsat7_3pl_prior": (LSAT7, "3pl", {"priors": PRIOR}),
    "m_lsat7_ideal": (LSAT7, "ideal", {}),
    "m_lsat7_missing": ("LSAT7_miss.csv", "2pl", {}),
    "m_lsat7_rasch": (LSAT7, "rasch", {}),
    "m_science_gpcm": (SCIENCE, "gpcm", {}),
    "m_science_gpcmirt": (SCIENCE, "gpcm", {}),
    "m_science_graded": (SCIENCE, "graded", {}),
    "m_science_grsm": (SCIENCE, "grsm", {}),
    "m_science_nominal": (SCIENCE, "nominal", {}),
    "m_science_rasch": (SCIENCE, "rasch", {}),
}
COMPLETE = [name for name in ONE if name != "m_lsat7_missing"]
SE = {  # mirt's SE.type -> ours; "complete" and "SEM" are no targets
    "central": "observed", "crossprod": "crossprod", "fisher": "expected", "louis": "observed", "oakes": "observed",
    "sandwich": "sandwich",
}  # fmt: skip
GROUPS = {"m_mg_configural": (), "m_mg_scalar": ("loadings", "intercepts")}

USED = {  # every file and the test that uses it
    **{name: "test_parameters_are_mirts" for name in ONE},
    **{f"m_lsat7_2pl_se_{kind}": "test_kinds_of_standard_errors" for kind in SE},
    "m_lsat7_2pl_se_complete": "no target: standard errors of the complete data",
    "m_lsat7_2pl_se_sem": "no target: an approximation of the observed ones",
    **{name: "test_groups_are_mirts" for name in GROUPS},
    "m_mg_truth": "test_groups_are_near_the_truth",
    "m_latreg_rasch": "test_covariates_are_mirts",
    "m_latreg_mixedmirt_rasch": "no target: stochastic",
    "m_erm_rasch_cml": "no target: conditional maximum likelihood",
    "m_dif_tests": "test_differential_item_functioning",
    "m_ltm_crosscheck": "test_ltm",
}
HESSIAN = "mirt's error comes from a numerical Hessian of nlm; ours is held against the formulas at mirt's estimates"
PRECISION = "mirt integrates I / (I + variance) over N(0, 1); both formulas are computed from our information"
GPCM = "mirt's C2 of its class gpcm is not that of the same model as gpcmIRT"
DEVIATIONS = {  # (file, figure) -> why it is not followed, and what is asserted instead
    ("m_lsat7_ideal", "WLE"): HESSIAN,
    ("m_science_gpcmirt", "WLE"): HESSIAN,
    ("m_science_grsm", "WLE"): HESSIAN,
    ("m_science_gpcm", "C2"): f"{GPCM}; ours is held against the stored one of gpcmIRT",
    ("m_science_rasch", "C2"): f"{GPCM}; ours is held against the formulas at mirt's estimates",
    ("m_lsat6_rasch", "marginal_rxx"): PRECISION,
    ("m_lsat7_rasch", "marginal_rxx"): PRECISION,
    ("m_science_rasch", "marginal_rxx"): PRECISION,
    ("m_lsat7_missing", "M2"): "no target; ours rests on the complete rows, and says so",
    ("m_lsat7_missing", "personfit"): "mirt's z do not count the observed answers; Zh, infit and outfit are compared",
    (
        "m_ltm_crosscheck",
        "wirs_2dim",
    ): "ltm's 15 nodes overstate its log-likelihood; both are compared on 61 x 61 nodes",
    (
        "m_ltm_crosscheck",
        "lsat6_3pl",
    ): "ltm's solution is below that of the 2PL model it contains; ours of that is above",
    ("m_science_nominal", "coef_IRTpars"): "Bock's sum-to-zero parameters are not ours: no difficulty",
}


@functools.cache
def answer(shared, name):
    return json.loads((shared / "reference" / f"{name}.json").read_text())


@functools.cache
def data(shared, file):
    return pd.read_csv(shared / "data" / file)


@functools.cache
def fit_of(shared, file, item_type, options=(), engine=None, group=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jl.ModelWarning)
        return jl.IRT(item_type, **{k: PRIOR if k == "priors" else _thawed(v) for k, v in options}).fit(
            data(shared, file), engine, group=group
        )


def _frozen(options):
    return tuple((k, tuple(v.items()) if k == "fixed" else None if k == "priors" else v) for k, v in options.items())


def _thawed(value):
    return dict(value) if isinstance(value, tuple) and value and isinstance(value[0], tuple) else value


def one(shared, name):
    file, item_type, options = ONE[name]
    return fit_of(shared, file, item_type, _frozen(options))


def near(ours, theirs, tolerance=1e-3, relative=False):
    """|ours - theirs| at most the tolerance, times |theirs| where that is above 1 (relative: always)."""
    ours, theirs = np.asarray(ours, float), np.array(theirs, float)
    size = np.abs(theirs) if relative else np.maximum(np.abs(theirs), 1)
    np.testing.assert_array_less(np.abs(ours - theirs), tolerance * size + 1e-12, err_msg=f"{ours} {theirs}")


def table(matrix):
    """A stored matrix as a frame."""
    columns = matrix["colnames"]
    columns = columns if isinstance(columns, list) else [columns]
    return pd.DataFrame(np.array(matrix["values"], float), matrix["rownames"], columns)


def place(item, kind, name):
    """The row (lhs, op, rhs) of our parameter table for a parameter of mirt, or None."""
    if item == "GROUP":
        return ("F1", "~1", "") if name == "MEAN_1" else ("F1", "~~", "F1")
    if name == "a1":
        return ("F1", "=~", item)
    if name == "d":
        return (item, "~1", "")
    if name in ("g", "u"):
        return (item, {"g": "guessing", "u": "upper"}[name], "")
    if name == "c":
        return (item, "shift", "")
    if name[0] == "d":
        return (item, "~1", name[1:])
    if name[:2] == "ak":
        return (item, "scoring", name[2:])
    return (item, "spacing", name[1:])  # b of grsmIRT


def rows_of(stored):
    """mirt's free parameters: (row of ours, group, value, position among the free ones)."""
    p = stored["parameters"]
    rows = [dict(zip(p, row, strict=True)) for row in zip(*p.values(), strict=True)]
    return [
        (place(r["item"], r["class"], r["name"]), r["group"], r["value"], at)
        for r, at in zip(rows, places(rows), strict=True)
        if at >= 0 and r["item"] != "BETA"
    ]


def ours_of(fit):
    """(lhs, op, rhs, group) -> row of the parameter table."""
    return {(r.lhs, r.op, r.rhs, r.group): r for r in fit.parameters.itertuples()}


def test_every_file_has_its_test(shared):
    assert {path.stem for path in (shared / "reference").glob("m_*.json")} == set(USED)
    assert all(name in globals() or name.startswith("no target") for name in USED.values())


# ---- one group, one factor ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ONE)
def test_parameters_are_mirts(shared, name):
    fit, stored = one(shared, name), answer(shared, name)
    logl = stored["fit"]["logLik"]
    assert fit.converged and fit.log_likelihood > logl - 1e-3
    if name == "m_science_gpcmirt":
        columns = ["discrimination", "difficulty1", "difficulty2", "difficulty3"]
        near(fit.irt_parameters()[columns], table(stored["coef_IRTpars"]).iloc[:, :4], 2e-3)
        return
    ours = ours_of(fit)
    for where, _, value, _ in rows_of(stored):
        near(ours[(*where, 1)].est, value, 2e-3)
    measures = fit.fit_measures()
    assert measures["npar"] == stored["nest"]
    for key in ("AIC", "BIC", "SABIC"):
        near(measures[key.lower()], stored["fit"][key], 2e-3)


@pytest.mark.parametrize("name", ONE)
def test_standard_errors_are_mirts(shared, name):
    fit, stored = one(shared, name), answer(shared, name)
    if stored.get("coef_se") is None:
        assert np.isfinite(fit.parameters["se"]).all()
        return
    frame, ours = fit.irt_parameters(), ours_of(fit)
    for item, matrix in stored["coef_se"].items():
        for key, value in table(matrix).loc["SE"].dropna().items():
            if item == "GroupPars":
                mine = ours[(*place("GROUP", "", key), 1)].se
            elif name == "m_science_gpcmirt":
                column = "discrimination_se" if key == "a1" else f"difficulty{key[1:]}_se"
                mine = frame.loc[item, column]
            elif key.startswith("logit"):
                row = ours[(item, "guessing", "", 1)]
                mine = row.se / (row.est * (1 - row.est))
            else:
                mine = ours[(*place(item, "", key), 1)].se
            np.testing.assert_allclose(mine, value, rtol=0.01, err_msg=f"{item} {key}")


@pytest.mark.parametrize("name", [name for name in ONE if name not in ("m_lsat7_ideal", "m_science_grsm")])
def test_irt_parameters_are_mirts(shared, name):
    fit, stored = one(shared, name).irt_parameters(), table(answer(shared, name)["coef_IRTpars"])
    if (name, "coef_IRTpars") in DEVIATIONS:
        assert np.isnan(fit["difficulty"]).all()
        return
    names = {"a": "discrimination", "a1": "discrimination", "b": "difficulty", "g": "guessing"}
    names |= {f"b{k}": f"difficulty{k}" for k in range(1, 4)}
    shared_names = [key for key in stored if names.get(key) in fit.columns]
    assert len(shared_names) >= 2
    for key in shared_names:
        near(fit[names[key]], stored[key], 2e-3)


def exact_error(case, row, x, h=1e-3):
    """Standard error of Warm's estimate of a person from mirt's parameters, the second derivative by differences."""

    def objective(at):
        tables = case.tables_at(np.array([at]))[0]
        seen = tables[np.arange(len(tables)), case.y[row].astype(int)]
        return np.log(seen).sum() + np.log(case.information(np.array([at]))[0]) / 2

    return (-(objective(x + h) - 2 * objective(x) + objective(x - h)) / h**2) ** -0.5


@pytest.mark.parametrize("method", ["EAP", "MAP", "ML", "WLE", "EAPsum"])
@pytest.mark.parametrize("name", ONE)
def test_scores_are_mirts(shared, name, method):
    fit, stored = one(shared, name), answer(shared, name)
    theirs = stored[f"fscores_{method}"]
    theirs = np.array(theirs["values"], float)
    ours = fit.scores(method=method.lower(), return_se=True).to_numpy()[: len(theirs)]
    unknown = np.isnan(theirs[:, 0])
    if (name, method) in DEVIATIONS:
        theirs[:, 1] = [exact_error(load(shared, name), row, x) for row, (x, _) in enumerate(theirs)]
    near(ours[~unknown], theirs[~unknown])
    if method == "ML":
        assert np.isinf(ours[unknown, 0]).all() and np.isnan(ours[unknown, 1]).all()
    else:
        assert np.isnan(ours[unknown]).all()
    if method == "EAP":
        patterns = np.array(stored["patterns_EAP"]["values"], float)
        new = pd.DataFrame(patterns[:, :-2], columns=data(shared, ONE[name][0]).columns)
        near(fit.scores(new, return_se=True), patterns[:, -2:])


def other_c2(shared, name):
    """C2 of the same model as gpcmIRT: stored, or from its formulas at mirt's estimates."""
    if name == "m_science_gpcm":
        return answer(shared, "m_science_gpcmirt")["C2"]
    case = load(shared, name)
    jacobian = case.derivative(lambda free: case.tables_at(NODES, free))
    model = CategoryTables(case.weights(), case.tables_at(NODES), case.n_categories)
    r = c2(GroupFit(case.y, model, jacobian, case.derivative(case.weights)))
    return {
        "M2": r.statistic, "df": r.df, "p": r.pvalue, "RMSEA": r.rmsea, "RMSEA_5": r.rmsea_ci_lower,
        "RMSEA_95": r.rmsea_ci_upper, "CFI": r.cfi, "TLI": r.tli, "SRMSR": r.srmsr,
    }  # fmt: skip


@pytest.mark.parametrize("name", COMPLETE)
def test_fit_measures_are_mirts(shared, name):
    measures, stored = one(shared, name).fit_measures(), answer(shared, name)
    for key, value in {"g2": "G2", "g2_df": "df", "g2_pvalue": "p", "g2_rmsea": "RMSEA"}.items():
        near(measures[key], stored["fit"][value])
    for label in ("M2", "C2"):
        test, own = stored.get(label), label.lower()
        assert (test is None) == np.isnan(measures[own])
        if test is None:
            continue
        if (name, label) in DEVIATIONS:
            test = other_c2(shared, name)
        near(measures[own], test["M2"], relative=True)
        assert measures[f"{own}_df"] == test["df"]
        for ours, theirs in {
            "pvalue": "p", "rmsea": "RMSEA", "rmsea_ci_lower": "RMSEA_5", "rmsea_ci_upper": "RMSEA_95", "cfi": "CFI",
            "tli": "TLI",
        }.items():  # fmt: skip
            near(measures[f"{own}_{ours}"], test[theirs])
        near(measures["srmsr"], test["SRMSR"])


def test_fit_measures_of_incomplete_data(shared):
    fit = one(shared, "m_lsat7_missing")
    measures = fit.fit_measures()
    assert np.isnan(measures[["g2", "g2_pvalue", "g2_rmsea"]]).all()
    assert measures["m2_df"] == 5 and np.isfinite(measures["m2"])
    assert any("without a missing answer" in note for note in fit.notes)


@pytest.mark.parametrize("name", COMPLETE)
def test_item_fit_is_mirts(shared, name):
    fit, stored = one(shared, name).item_fit(), answer(shared, name)["itemfit"]
    assert fit["s_x2_df"].tolist() == stored["df.S_X2"]
    near(fit["s_x2"], stored["S_X2"], relative=True)
    near(fit["s_x2_pvalue"], stored["p.S_X2"])
    near(fit["s_x2_rmsea"], stored["RMSEA.S_X2"])
    for key in ("infit", "z.infit", "outfit", "z.outfit"):
        near(fit[key.replace(".", "_")], stored[key])


@pytest.mark.parametrize("name", ONE)
def test_person_fit_and_local_dependence_are_mirts(shared, name):
    fit, stored = one(shared, name), answer(shared, name)
    people, given = fit.person_fit(), stored["personfit"]
    if (name, "personfit") in DEVIATIONS:  # stored in columns
        given = dict(zip(("outfit", "", "infit", "", "Zh"), given[:5], strict=True))
    for key in ("Zh", "outfit", "z.outfit", "infit", "z.infit"):
        if key in given:
            near(people[key.lower().replace(".", "_")].iloc[: len(given[key])], given[key])
    x2, v = fit.local_dependence().to_numpy(), fit.local_dependence("v").to_numpy()
    theirs = table(stored["residuals_LD"]).to_numpy()
    lower, upper = np.tril_indices(len(x2), -1), np.triu_indices(len(x2), 1)
    near(x2[lower], theirs[lower])
    near(v[upper], theirs[upper])
    near(fit.local_dependence("q3"), stored["residuals_Q3"]["values"])


@pytest.mark.parametrize("name", ONE)
def test_curves_are_mirts(shared, name):
    fit, stored = one(shared, name), answer(shared, name)
    grid = np.array(stored["grid"], float)
    probabilities = fit.probabilities(grid)
    for item, theirs in zip(stored["itemnames"], stored["probtrace"], strict=True):
        near(probabilities.loc[item], theirs["values"])
    information = fit.information(grid)
    near(information.T, stored["iteminfo"], 2e-3)
    near(information.sum(axis=1), stored["testinfo"], 2e-3)
    near(fit.expected_score(grid).sum(axis=1), stored["expected_test"])


@pytest.mark.parametrize("name", ONE)
def test_reliability_is_mirts(shared, name):
    fit, stored = one(shared, name), answer(shared, name)
    found = fit.reliability().loc["F1"]
    near(found["empirical"], stored["empirical_rxx"])
    variance = fit.factor_cov.iloc[0, 0]
    if (name, "marginal_rxx") not in DEVIATIONS:
        near(found["marginal"], stored["marginal_rxx"])
        return
    x = np.linspace(-6, 6, 121)
    information = fit.information(x).sum(axis=1).to_numpy()
    for spread, prior, value in ((1.0, variance, stored["marginal_rxx"]), (variance, 1 / variance, found["marginal"])):
        density = np.exp(-0.5 * x**2 / spread)
        near(density / density.sum() @ (information / (information + prior)), value)


@pytest.mark.parametrize("kind", SE)
def test_kinds_of_standard_errors(shared, kind):
    stored = answer(shared, f"m_lsat7_2pl_se_{kind}")
    fit = fit_of(shared, LSAT7, "2pl", (), jl.MarginalML(se=SE[kind]))
    ours = ours_of(fit)
    for item, matrix in stored["coef_se"].items():
        for key, value in table(matrix).loc["SE"].dropna().items():
            np.testing.assert_allclose(ours[(*place(item, "", key), 1)].se, value, rtol=0.01, err_msg=f"{item} {key}")


# ---- groups and covariates ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GROUPS)
def test_groups_are_mirts(shared, name):
    fit = fit_of(shared, "mirt_mg.csv", "2pl", (("group_equal", GROUPS[name]),), None, "group")
    stored = answer(shared, name)
    assert fit.log_likelihood > stored["fit"]["logLik"] - 1e-3
    ours, errors = ours_of(fit), np.sqrt(stored["extra"]["vcov_diag"])
    for where, group, value, at in rows_of(stored):
        row = ours[(*where, group)]
        near(row.est, value, 2e-3)
        np.testing.assert_allclose(row.se, errors[at], rtol=0.01)
    measures = fit.fit_measures()
    assert measures["npar"] == stored["fit"]["nest"] and measures["g2_df"] == stored["fit"]["df"]
    for key in ("AIC", "BIC", "SABIC", "G2"):
        near(measures[key.lower()], stored["fit"][key], 2e-3)
    items = fit.item_fit()
    assert items.index.names[0] == "group" and np.isfinite(items["s_x2"]).all()


def test_groups_are_near_the_truth(shared):
    options = (("group_equal", GROUPS["m_mg_scalar"]),)
    fit, truth = fit_of(shared, "mirt_mg.csv", "2pl", options, None, "group"), answer(shared, "m_mg_truth")
    ours = ours_of(fit)
    for row, true in (
        *((ours[("F1", "=~", f"Item_{j + 1}", "D1")], a) for j, a in enumerate(truth["a"])),
        *((ours[(f"Item_{j + 1}", "~1", "", "D1")], d) for j, d in enumerate(truth["d"])),
        (ours[("F1", "~1", "", "D2")], truth["focal_mean"]),
        (ours[("F1", "~~", "F1", "D2")], truth["focal_var"]),
    ):
        assert abs(row.est - true) < 4 * row.se


def test_covariates_are_mirts(shared):
    frame, stored = data(shared, "mirt_latreg.csv"), answer(shared, "m_latreg_rasch")
    fit = jl.IRT("rasch", covariates=["X1", "X2"]).fit(frame)
    assert fit.converged and fit.log_likelihood > stored["fit"]["logLik"] + 0.01  # mirt stopped before
    ours = ours_of(fit)
    items = [(where, value) for where, _, value, _ in rows_of(stored) if where[1] == "~1"]
    assert len(items) == 10
    for where, value in items:
        near(ours[(*where, 1)].est, value, 2e-3)
    for item, matrix in stored["extra"]["full"].items():
        if item.startswith("Item"):
            np.testing.assert_allclose(ours[(item, "~1", "", 1)].se, table(matrix).loc["SE", "d"], rtol=0.01)
    low = table(stored["extra"]["lr_betas"]["CI_2.5"])["F1"]
    betas = table(stored["extra"]["lr_betas"]["betas"])["F1"]
    z = frame[["X1", "X2"]].to_numpy()
    variance = ours[("F1", "~~", "F1", 1)]
    complete = np.sqrt(variance.est * np.diag(np.linalg.inv(z.T @ z)))
    for k, name in enumerate(("X1", "X2")):
        near(ours[("F1", "~", name, 1)].est, betas[name], 5e-3)
        np.testing.assert_allclose((betas[name] - low[name]) / 1.959964, complete[k], rtol=0.01)
    near(variance.est, 0.692887580637683, 5e-3)
    y = frame.iloc[:, :10].to_numpy(float)
    exact = np.sqrt(np.diag(np.linalg.inv(-second_derivatives(lambda t: latent_regression(t, y, z), fit._fitted.free))))
    np.testing.assert_allclose(np.sqrt(np.diag(fit.vcov())), exact, rtol=1e-3)


def latent_regression(free, y, z):
    """Log-likelihood of the Rasch model with covariates: intercepts, variance, effects."""
    nodes, w = np.polynomial.hermite_e.hermegauss(31)
    x = (z @ free[11:])[:, None] + np.sqrt(free[10]) * nodes
    joint = x * y.sum(1)[:, None] + (y @ free[:10])[:, None]
    for d in free[:10]:
        joint = joint - np.logaddexp(0, x + d)
    return np.log(np.exp(joint) @ w / w.sum()).sum()


def second_derivatives(function, at, h=1e-3):
    """Hessian by central differences."""
    steps, q = np.eye(len(at)) * h, len(at)
    alone = [function(at + s) + function(at - s) for s in steps]
    middle, out = function(at), np.zeros((q, q))
    for i in range(q):
        for j in range(i + 1):
            both = steps[i] + steps[j]
            value = function(at + both) + function(at - both) - alone[i] - alone[j] + 2 * middle
            out[i, j] = out[j, i] = value / (2 * h * h)
    return out


def untied(item_table, names):
    """The table with parameters of these items free in the second group."""
    rows, size = [], item_table.n_free
    for row in item_table.rows:
        item = row.rhs if row.op == "=~" else row.lhs
        if row.group == 2 and row.free and item in names:
            size += 1
            row = replace(row, free=size)
        rows.append(row)
    return replace(item_table, rows=tuple(rows), linear=Linear(np.zeros((0, size)), np.zeros(0)))


def test_differential_item_functioning(shared):
    stored = answer(shared, "m_dif_tests")
    model = jl.IRT("2pl", group_equal=("loadings", "intercepts"))
    p = model._prepare(data(shared, "mirt_dif.csv"), "group", None)

    def fitted(names):
        return fit_items(untied(p.table, names), p.measurement, p.coding, p.data, p.responses, jl.MarginalML())

    items = stored["items"]
    whole = fitted(items)
    for k, item in enumerate(items):
        test = item_wald_test(whole, f"F1=~{item} == F1=~{item}.g2; {item}~1 == {item}~1.g2")
        np.testing.assert_allclose(test["stat"], stored["Wald"]["W"][k], rtol=0.02, err_msg=item)
        part = fitted([name for name in items if name != item])
        near(2 * (whole.log_likelihood - part.log_likelihood), stored["LRT"]["X2"][k], 2e-3)


# ---- ltm ------------------------------------------------------------------------------------------------------------

LTM = {
    "lsat6_rasch": (LSAT6, "1pl", ()),
    "lsat6_1pl_disc1": (LSAT6, "2pl", (("fixed", (("loadings", 1.0),)),)),
    "lsat6_2pl": (LSAT6, "2pl", ()),
    "lsat7_2pl": (LSAT7, "2pl", ()),
    "wirs_2pl": ("WIRS.csv", "2pl", ()),
    "science_grm": (SCIENCE, "graded", ()),
    "science_gpcm": (SCIENCE, "gpcm", ()),
}


def accurate(y, slopes, d, n):
    """Log-likelihood of a two-dimensional 2PL model on n x n Gauss-Hermite nodes."""
    z, w = np.polynomial.hermite_e.hermegauss(n)
    x = np.stack(np.meshgrid(z, z, indexing="ij"), -1).reshape(-1, 2)
    eta = x @ slopes.T + d
    joint = y @ -np.logaddexp(0, -eta).T + (1 - y) @ -np.logaddexp(0, eta).T
    return np.log(np.exp(joint) @ np.outer(w, w).ravel() / w.sum() ** 2).sum()


@pytest.mark.parametrize("name", [*LTM, "wirs_2dim", "lsat6_3pl"])
def test_ltm(shared, name):
    stored = answer(shared, "m_ltm_crosscheck")[name]
    if name == "lsat6_3pl":
        assert one(shared, "m_lsat6_2pl").log_likelihood > stored["logl"]
        return
    if name == "wirs_2dim":
        fit = fit_of(shared, "WIRS.csv", "2pl", (("factors", 2),))
        y, theirs = data(shared, "WIRS.csv").to_numpy(float), table(stored["coefficients"])["value"].to_numpy()
        d, slopes = theirs[:6], theirs[6:].reshape(2, 6).T
        near(accurate(y, slopes, d, 15), stored["logl"], 1e-6)
        ours = accurate(y, fit.loadings.to_numpy(), fit.intercepts["intercept"].to_numpy(), 61)
        assert ours > accurate(y, slopes, d, 61)
        near(fit.log_likelihood, ours)
        return
    fit = fit_of(shared, *LTM[name])
    assert fit.log_likelihood > stored["logl"] - 1e-3
    ours, coefficients = fit.irt_parameters(), stored["coefficients"]
    if "values" in coefficients:
        theirs = table(coefficients)["value"].to_numpy()
        mine = np.concatenate([ours["difficulty"], ours["discrimination"]])[: len(theirs)]
        np.testing.assert_allclose(mine, theirs, rtol=2e-3, atol=2e-3)
        return
    for item, each in coefficients.items():
        columns = each["colnames"] if isinstance(each["colnames"], list) else [each["colnames"]]
        theirs = pd.DataFrame(each["values"], each["rownames"], columns)["value"].to_numpy(float)
        mine = ours.loc[item, ["difficulty1", "difficulty2", "difficulty3", "discrimination"]]
        np.testing.assert_allclose(mine, theirs, rtol=2e-3, atol=2e-3)
