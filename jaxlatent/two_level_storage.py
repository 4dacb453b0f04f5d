"""Two-level fits as a manifest and arrays, for storage.py."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from jaxlatent.data.cluster_moments import ClusterMoments
from jaxlatent.data.responses import Responses
from jaxlatent.inference.estimate import MESSAGES, Estimate
from jaxlatent.inference.settings import ML
from jaxlatent.inference.two_level_fit import assemble
from jaxlatent.inference.two_level_model import LevelMoments
from jaxlatent.sem import SEM
from jaxlatent.two_level_fit import TwoLevelFit

KIND = "jaxlatent two-level fit"


def two_level_arrays(fit: TwoLevelFit, include_data: bool) -> dict[str, Any]:
    """Everything of a fit that is an array."""
    f = fit._fit
    arrays: dict[str, Any] = {f"moments_{name}": value for name, value in f.moments._asdict().items()}
    arrays |= {f"saturated_{name}": value for name, value in f.saturated._asdict().items()}
    arrays |= {"free": f.fitted.free}
    arrays |= {} if f.vcov is None else {"vcov": f.vcov}
    if include_data:
        data = f.fitted.rows
        arrays |= {
            "y": data.y,
            "group": data.group,
            "cluster": data.cluster,
            "index": data.index,
            "labels": fit._labels,
        }
    return arrays


def two_level_manifest(fit: TwoLevelFit) -> dict[str, Any]:
    """Everything else."""
    f = fit._fit
    return {
        "syntax": fit.spec.syntax,
        "options": fit.spec.options | {"mean_structure": fit.spec.mean_structure, "rotation": fit.spec.rotation},
        "cluster": fit.cluster,
        "engine": asdict(fit.engine),
        "missing": f.fitted.missing,
        "measures": {k: None if np.isnan(v) else float(v) for k, v in fit.fit_measures().items()},
        "code": int(f.fitted.estimate.code),
        "steps": fit.n_iterations,
        "log_likelihood": float(f.fitted.estimate.log_likelihood),
        "saturated_log_likelihood": f.fitted.saturated_log_likelihood,
        "exogenous": f.exogenous,
        "notes": list(fit.notes),
        "elapsed": fit.elapsed,
    }


def two_level_of(manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> TwoLevelFit:
    """The fit again; its covariance matrix is the one that was stored."""
    options: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in manifest["options"].items()}
    import pandas as pd

    spec = SEM(manifest["syntax"], **options)
    table = spec.table(mean_structure=True)
    p, q = len(table.observed), table.n_free
    moments = ClusterMoments(*(arrays[f"moments_{name}"] for name in ClusterMoments._fields))
    saturated = LevelMoments(*(arrays[f"saturated_{name}"] for name in LevelMoments._fields))
    expected = {"free": (q,), "vcov": (q, q), "moments_scatter": (p, p), "saturated_between": (p, p)}
    for name, shape in expected.items():
        if name in arrays and arrays[name].shape != shape:
            raise ValueError(f"the array {name!r} has shape {arrays[name].shape} where the model needs {shape}")
    if manifest["code"] not in MESSAGES:
        raise ValueError(f"the result code {manifest['code']} is not known")
    vcov = arrays.get("vcov")
    nothing = np.full((q, q), np.nan)
    estimate = Estimate(
        arrays["free"], nothing, manifest["log_likelihood"], np.asarray(manifest["code"]),
        np.asarray(manifest["steps"]), {},
    )  # fmt: skip
    data = None
    if "y" in arrays:
        data = Responses(arrays["y"], table.observed, arrays["group"], ("1",), None, arrays["cluster"], arrays["index"])
    exogenous, notes = manifest["exogenous"], tuple(manifest["notes"])
    top = manifest["saturated_log_likelihood"] + exogenous
    engine = ML(**manifest["engine"])
    missing = manifest.get("missing", "complete")
    found = assemble(table, moments, saturated, (top, exogenous), engine, estimate, data, notes, vcov, missing)
    labels = arrays.get("labels", np.empty(0, str))
    fit = TwoLevelFit(spec, found, manifest["elapsed"], manifest["cluster"], labels)
    if missing == "fiml":  # moments are of filled rows
        fit._measures = pd.Series({k: np.nan if v is None else v for k, v in manifest["measures"].items()})
    return fit
