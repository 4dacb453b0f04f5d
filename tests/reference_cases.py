"""The stored answers of lavaan, and how each of them was asked for.

Figures come from the shared folder where there is one, else from tests/reference, which holds those of the two data
sets this package ships.
"""

from __future__ import annotations

import functools
import json
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from conftest import shared_folder

import jaxlatent as jl

COPIES = Path(__file__).parent / "reference"
LETTERS = "abcdefg"
SHIPPED = {"HolzingerSwineford1939.csv": "holzinger_swineford", "PoliticalDemocracy.csv": "political_democracy"}
# what of a reference file is compared here, and so what a copy in tests/reference holds
KEPT = (
    "case", "data", "call", "note", "control", "model", "ov_names", "lv_names", "nobs", "parameters", "standardized",
    "partable", "fit", "test", "r2", "implied", "vcov", "fscores_regression", "fscores_bartlett", "modindices",
    "cor_residuals", "extra", "table", "names", "bca",
)  # fmt: skip

NUMBERED = ("lhs", "op", "rhs", "group", "free")  # the columns of the parameter table that number its rows


@dataclass(frozen=True)
class Case:
    """How to ask jaxlatent what lavaan was asked: options of SEM, the engine, options of fit, and what it warns of."""

    sem: dict[str, Any] = field(default_factory=dict)
    engine: Any = None
    fit: dict[str, Any] = field(default_factory=dict)
    from_cov: bool = False
    warns: str = ""


def _groups(*equal: str) -> Case:
    return Case({"group_equal": equal}, None, {"group": "school"})


HEYWOOD = "Heywood case"
CASES: dict[str, Case] = {
    "a01_hs_cfa_ml_marker": Case(),
    "a02_hs_cfa_ml_stdlv": Case({"std_lv": True}),
    "a03_hs_cfa_ml_orthogonal": Case({"orthogonal": True}),
    "a04_hs_cfa_ml_meanstructure": Case({"mean_structure": True}),
    "a05_hs_cfa_wishart": Case({}, jl.ML(likelihood="wishart")),
    "a06_hs_cfa_effectcoding": Case({"effect_coding": True}),
    "a07_hs_cfa_info_observed": Case({}, jl.ML(information="observed")),
    "a09_hs_cfa_samplecov": Case(from_cov=True),
    "a10_hs_cfa_modified": Case(warns=HEYWOOD),
    "a12_hs_modifiers": Case(),
    "b01_hs_mg_configural": _groups(),
    "b02_hs_mg_metric": _groups("loadings"),
    "b03_hs_mg_scalar": _groups("loadings", "intercepts"),
    "b04_hs_mg_strict": _groups("loadings", "intercepts", "residuals"),
    "b05_hs_mg_strict_means": _groups("loadings", "intercepts", "residuals", "means"),
    "c01_hs_fiml_observed": Case(),
    "c02_hs_fiml_expected": Case({}, jl.ML(information="expected")),
    "c03_hs_fiml_mlr": Case({}, "MLR"),
    "c06_hs_listwise": Case({}, None, {"missing": "listwise"}),
    "c07_hs_twostage": Case({}, None, {"missing": "two_stage"}),
    "d01_pd_full": Case(),
    "d02_pd_equal_loadings": Case(),
    "d03_pd_indirect": Case(),
    "d06_pd_linear_constraint": Case(),
    "e01_growth_linear": Case({"growth": True}),
    "e02_growth_covariates": Case({"growth": True}),
    **{f"f_hs_{name}": Case({}, name) for name in "DLS DWLS GLS ML MLF MLM MLMV MLR ULS WLS".split()},
    "f_hs_sampling_weights": Case({}, None, {"weights": "w"}),
    "f_hs_se_first_order": Case({}, jl.ML(se="first_order")),
    "f_hs_se_robust_cluster": Case({}, None, {"cluster": "school"}),
    "f_hs_se_robust_huber_white": Case({}, jl.ML(se="robust")),
    "f_hs_se_robust_sem": Case({}, jl.ML(se="robust_sem")),
    **{
        f"f_hs_test_{name}": Case({}, jl.ML(test=name))
        for name in "browne_residual_adf satorra_bentler scaled_shifted yuan_bentler yuan_bentler_mplus".split()
    },
    "g01_path_mediation": Case(),
    "g03_second_order": Case(),
    "g04_bifactor_stdlv": Case({"orthogonal": True, "std_lv": True}, warns=HEYWOOD),
    "g05_mimic": Case(),
    "g07_nonlinear_equality": Case(),
    "g13_saturated": Case({"auto": True}),
}


def folder() -> Path:
    """Where the figures are read from."""
    shared = shared_folder()
    return COPIES if shared is None else shared / "reference"


def files(where: Path | None = None) -> list[str]:
    """Names of the reference files of structural equation models."""
    return sorted(p.stem for p in (where or folder()).glob("*.json") if p.stem[0] in LETTERS)


@functools.cache
def reference(name: str) -> dict[str, Any]:
    return json.loads((folder() / f"{name}.json").read_text(encoding="utf-8"))


@functools.cache
def frame(file: str) -> pd.DataFrame:
    shared = shared_folder()
    if shared is None:
        return jl.datasets.load(SHIPPED[file])
    return pd.read_csv(shared / "data" / file)


def data_of(name: str) -> Any:
    ref = reference(name)
    rows = frame(ref["data"].split(" ")[0])
    if not CASES[name].from_cov:
        return rows
    return jl.Moments(rows[ref["ov_names"]].cov(), n=len(rows))


@functools.cache
def fitted(name: str) -> jl.Fit:
    """The fit of a case; what it warns of is checked here, so that nothing is warned of silently."""
    case, ref = CASES[name], reference(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", jl.ModelWarning)
        fit = jl.SEM(ref["model"], **case.sem).fit(data_of(name), case.engine, **case.fit)
    said = [str(w.message) for w in caught]
    assert bool(said) == bool(case.warns), said
    assert all(case.warns in sentence for sentence in said), said
    return fit


def constrained(name: str) -> bool:
    """Whether lavaan's iterations ran under explicit constraints, and so are converged less tightly."""
    return "==" in reference(name)["parameters"]["op"]


def labels(name: str) -> list[str]:
    """Group labels, or [] for one group."""
    return list(reference(name)["implied"]) if "group" in CASES[name].fit else []


def key(lhs: str, op: str, rhs: str, group: Any) -> tuple:
    """A row's identity: covariances have no direction, definitions no spaces."""
    if op == "~~" and rhs < lhs:
        lhs, rhs = rhs, lhs
    return lhs, op, "" if op == ":=" else rhs, group


def rows_of(name: str, table: dict[str, list], *columns: str) -> dict[tuple, tuple]:
    """lavaan's rows by identity; constraints are no rows of ours."""
    groups, of_row, out = labels(name), table.get("group"), {}
    for i, op in enumerate(table["op"]):
        if op in ("==", "<", ">"):
            continue
        group: Any = 1
        if groups:
            number = of_row[i]
            group = groups[int(number) - 1] if number and not math.isnan(number) else ""
        out[key(table["lhs"][i], op, table["rhs"][i], group)] = tuple(
            math.nan if table[c][i] is None else table[c][i] for c in columns
        )
    return out


def own_rows(table: pd.DataFrame, *columns: str) -> dict[tuple, tuple]:
    """Our rows by identity."""
    identity = (key(*row) for row in table[["lhs", "op", "rhs", "group"]].itertuples(index=False))
    values = table[list(columns)].itertuples(index=False, name=None)
    return dict(zip(identity, values, strict=True))


def by_group(name: str, found: Any, part: str | None = None) -> dict[str, Any]:
    """One entry for each group, under the label "" where there is one group."""
    one = found if labels(name) else {"": found}
    return {label: v[part] if part else v for label, v in one.items()}


def matrix(given: dict[str, Any]) -> np.ndarray:
    """A stored matrix [row, column] with nan for what lavaan does not give."""
    return np.array(given["values"], dtype=float)


def _short(value: Any) -> Any:
    """Twelve digits of every number."""
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_short(v) for v in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


def copy_figures(source: Path, target: Path = COPIES) -> list[str]:
    """Write the figures of shipped data sets to tests/reference; returns their names."""
    target.mkdir(exist_ok=True)
    names = []
    for name in files(source):
        found = json.loads((source / f"{name}.json").read_text(encoding="utf-8"))
        data = (found.get("data") or "HolzingerSwineford1939.csv").split(" ")[0]
        if data in SHIPPED:
            kept = _short({k: found[k] for k in KEPT if k in found})
            if "partable" in kept:
                kept["partable"] = {k: kept["partable"][k] for k in NUMBERED if k in kept["partable"]}
            (target / f"{name}.json").write_text(json.dumps(kept, separators=(",", ":")) + "\n", encoding="utf-8")
            names.append(name)
    return names


def row_log_likelihood(name: str, mean: pd.Series, cov: pd.DataFrame) -> float:
    y = frame(reference(name)["data"])[reference(name)["ov_names"]].to_numpy(float)
    total = 0.0
    for row in y:
        o = np.flatnonzero(~np.isnan(row))
        e, s = (row - mean.to_numpy())[o], cov.to_numpy()[np.ix_(o, o)]
        total -= (len(o) * math.log(2 * math.pi) + np.linalg.slogdet(s)[1] + e @ np.linalg.solve(s, e)) / 2
    return total


def dense_parts(fit: jl.Fit, extra: Iterable[tuple], at: dict | None = None) -> tuple[np.ndarray, ...]:
    """Jacobian of vech Sigma over free and extra parameters, 1/2 D'(S^-1 kron S^-1)D at Sigma, and s - sigma."""
    table = fit.parameters
    value = {(r.lhs, r.op, r.rhs): r.est for r in table.itertuples()}
    if at is not None:
        value = dict(zip(zip(at["lhs"], at["op"], at["rhs"], strict=True), at["est"], strict=True))
    free = [(r.lhs, r.op, r.rhs) for r in table.itertuples() if r.free]
    names, factors = list(fit.implied()[1].columns), list(fit.loadings.columns)

    def sigma(values: dict) -> np.ndarray:
        loading, phi, theta = np.zeros((9, 3), complex), np.zeros((3, 3), complex), np.zeros((9, 9), complex)
        for (lhs, op, rhs), v in values.items():
            if op == "=~":
                loading[names.index(rhs), factors.index(lhs)] = v
            else:
                target, at = (phi, factors) if lhs in factors else (theta, names)
                target[at.index(lhs), at.index(rhs)] = target[at.index(rhs), at.index(lhs)] = v
        return loading @ phi @ loading.T + theta

    low = np.tril_indices(9)
    columns = [sigma(value | {row: value.get(row, 0) + 1e-30j})[low].imag / 1e-30 for row in (*free, *extra)]
    duplication = np.zeros((81, 45))
    for k, (i, j) in enumerate(zip(*low, strict=True)):
        duplication[[9 * i + j, 9 * j + i], k] = 1
    now = sigma(value).real
    inverse = np.linalg.inv(now)
    sample = (fit.implied()[1] + fit.residuals("raw")).to_numpy()
    weight = duplication.T @ np.kron(inverse, inverse) @ duplication / 2
    return np.array(columns).T, weight, (sample - now)[low]
