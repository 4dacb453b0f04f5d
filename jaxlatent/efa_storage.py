"""Exploratory fits as a manifest and arrays, for storage.py."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from jaxlatent.data.moments import GroupMoments
from jaxlatent.data.responses import Responses
from jaxlatent.efa import EFA
from jaxlatent.efa_fit import ExploratoryFit
from jaxlatent.efa_variational import VariationalFit
from jaxlatent.inference.exploratory import Unrotated, turned_by
from jaxlatent.inference.exploratory_settings import EM, LeastSquaresExtraction
from jaxlatent.inference.settings import ML
from jaxlatent.inference.variational_fit import VariationalPosterior
from jaxlatent.inference.variational_settings import VariationalBayes
from jaxlatent.numerics.rotation import Rotation, Settings
from jaxlatent.numerics.rotation_criteria import find_method
from jaxlatent.numerics.variational_factors import Posterior

KIND = "jaxlatent exploratory fit"
VARIATIONAL_KIND = "jaxlatent variational fit"
POSTERIOR = ("slope", "slope_cov", "tau_shape", "tau_rate", "nu_shape", "nu_rate")  # of q, without that of persons
ENGINES = {"ML": ML, "EM": EM, "LeastSquaresExtraction": LeastSquaresExtraction}


def exploratory_arrays(fit: ExploratoryFit, include_data: bool) -> dict[str, Any]:
    """Everything of a fit that is an array."""
    f, u, r = fit._fitted, fit._unrotated, fit._rotation
    if include_data and f.data is None:
        raise ValueError("This fit holds no rows, so include_data=True has nothing to save: leave it out.")
    arrays = {
        "mean": f.moments.mean, "cov": f.moments.cov, "n": f.moments.n, "loadings": u.loadings,
        "uniquenesses": u.uniquenesses, "at_bound": u.at_bound, "rotated": r.loadings, "rotation": r.rotation,
        "stationary": r.stationary,
    }  # fmt: skip
    arrays |= {} if u.intercepts is None else {"intercepts": u.intercepts}
    arrays |= {f"option_{k}": np.asarray(x) for k, x in enumerate(r.settings.options)}
    arrays |= {} if fit._vcov is None else {"vcov": fit._vcov}
    if include_data and f.data is not None:
        arrays |= {"y": f.data.y, "group": f.data.group, "index": f.data.index}
        arrays |= {n: a for n, a in (("weight", f.data.weight), ("cluster", f.data.cluster)) if a is not None}
    return arrays


def exploratory_manifest(fit: ExploratoryFit) -> dict[str, Any]:
    """Everything else."""
    f, u, r = fit._fitted, fit._unrotated, fit._rotation
    finite = lambda x: None if math.isnan(x) else float(x)  # noqa: E731
    return {
        "observed": list(f.table.observed),
        "factors": list(u.factors),
        "extraction": fit.spec.extraction,
        "engine": {"class": type(f.engine).__name__, **asdict(f.engine)},
        "missing": f.missing,
        "canonical": u.canonical,
        "isotropic": u.isotropic,
        "value": u.value,
        "converged": u.converged,
        "steps": u.steps,
        "saturated_log_likelihood": f.saturated_log_likelihood,
        "log_likelihood": f.log_likelihood,
        "notes": list(f.notes),
        "turned": _told(r),
        "elapsed": fit.elapsed,
        "warnings": list(fit.warnings),
        "measures": {name: finite(v) for name, v in fit.fit_measures().items()},
    }  # fmt: skip


def exploratory_fit_of(manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> ExploratoryFit:
    """The fit again; its covariance matrix and fit measures are those that were stored."""
    import pandas as pd

    names, factors = tuple(manifest["observed"]), tuple(manifest["factors"])
    p, m = len(names), len(factors)
    expected = {
        "mean": (1, p), "cov": (1, p, p), "n": (1,), "loadings": (p, m), "uniquenesses": (p,), "at_bound": (p,),
        "rotated": (p, m), "rotation": (m, m), "stationary": (m, m),
    }  # fmt: skip
    _check_shapes(arrays, expected)
    moments = GroupMoments(arrays["mean"], arrays["cov"], arrays["n"], names)
    options = dict(manifest["engine"])
    engine = ENGINES[options.pop("class")](**options)
    data = None
    if "y" in arrays:
        data = Responses(
            arrays["y"], names, arrays["group"], ("1",), arrays.get("weight"), arrays.get("cluster"), arrays["index"]
        )
    common = {
        "moments": moments, "engine": engine, "missing": manifest["missing"], "data": data, "group_labels": ("1",),
        "saturated_log_likelihood": manifest["saturated_log_likelihood"],
        "log_likelihood": manifest["log_likelihood"], "notes": tuple(manifest["notes"]),
    }  # fmt: skip
    plain = Unrotated(
        factors, arrays["loadings"], arrays["uniquenesses"], arrays["at_bound"], arrays.get("intercepts"),
        manifest["value"], manifest["converged"], manifest["steps"], manifest["canonical"], manifest["isotropic"],
        common,
    )  # fmt: skip
    rotation = _rotation(manifest["turned"], arrays)
    measures = {name: math.nan if v is None else v for name, v in manifest["measures"].items()}
    stored = {
        "vcov": arrays.get("vcov"), "measures": pd.Series(measures, dtype=float), "warnings": manifest["warnings"],
    }  # fmt: skip
    spec = EFA(len(factors), rotation=rotation.settings.name, extraction=manifest["extraction"])
    return ExploratoryFit(spec, plain, turned_by(plain, rotation), rotation, manifest["elapsed"], stored=stored)


def variational_arrays(fit: VariationalFit, include_data: bool) -> dict[str, Any]:
    """Everything of a variational fit that is an array; posteriors of persons are made again from rows."""
    q, r = fit._posterior, fit._rotation
    if include_data and fit._data is None:
        raise ValueError("This fit holds no rows, so include_data=True has nothing to save: leave it out.")
    arrays = {
        "mean": q.mean, "sd": q.sd, "trace": q.trace, "active": q.active, "rotated": r.loadings,
        "rotation": r.rotation, "stationary": r.stationary,
    }  # fmt: skip
    arrays |= {f"q_{name}": getattr(q.q, name) for name in POSTERIOR}
    arrays |= {f"option_{k}": np.asarray(x) for k, x in enumerate(r.settings.options)}
    if include_data and fit._data is not None:
        arrays |= {"y": fit._data.y, "group": fit._data.group, "index": fit._data.index}
    return arrays


def variational_manifest(fit: VariationalFit) -> dict[str, Any]:
    """Everything else."""
    q, r = fit._posterior, fit._rotation
    return {
        "observed": list(q.names),
        "n_factors": fit.spec.n_factors,
        "engine": asdict(fit.engine),
        "bound": q.bound,
        "steps": q.steps,
        "converged": q.converged,
        "turned": _told(r),
        "elapsed": fit.elapsed,
        "stored": {
            "n": fit.n_persons, "log_likelihood": fit.log_likelihood,
            "missing": fit._kept("missing", lambda data: int(np.isnan(data.y).sum())),
            "notes": list(fit._kept("notes", lambda data: data.notes)),
        },
    }  # fmt: skip


def variational_fit_of(manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> VariationalFit:
    """The fit again."""
    names, m, active = tuple(manifest["observed"]), manifest["n_factors"], arrays["active"]
    p = len(names)
    expected = {"mean": (p,), "sd": (p,), "q_slope": (p, m + 1), "q_slope_cov": (p, m + 1, m + 1), "q_tau_rate": (p,),
                "rotated": (p, len(active)), "rotation": (len(active), len(active))}  # fmt: skip
    _check_shapes(arrays, expected)
    persons = {"x": np.zeros((0, m)), "x_cov": np.zeros((0, m, m))}
    q = Posterior(**persons, **{name: arrays[f"q_{name}"] for name in POSTERIOR})
    posterior = VariationalPosterior(
        names, arrays["mean"], arrays["sd"], q, manifest["bound"], manifest["steps"], manifest["converged"],
        arrays["trace"], active,
    )  # fmt: skip
    data = Responses(arrays["y"], names, arrays["group"], ("1",), index=arrays["index"]) if "y" in arrays else None
    rotation, stored = _rotation(manifest["turned"], arrays), manifest["stored"]
    spec, engine = EFA(m, rotation=rotation.settings.name), VariationalBayes(**manifest["engine"])
    stored = stored | {"notes": tuple(stored["notes"])}
    return VariationalFit(spec, engine, posterior, data, rotation, manifest["elapsed"], stored=stored)


def _told(r: Rotation) -> dict[str, Any]:
    return {
        "name": r.settings.name, "oblique": r.settings.oblique, "normalize": r.settings.normalize,
        "power": r.settings.power, "value": r.value, "converged": r.converged, "reached": r.reached,
        "options": len(r.settings.options),
    }  # fmt: skip


def _rotation(told: dict[str, Any], arrays: dict[str, np.ndarray]) -> Rotation:
    given = tuple(arrays[f"option_{k}"] for k in range(told["options"]))
    settings = Settings(
        told["name"], find_method(told["name"])[1], given, told["oblique"], told["normalize"], told["power"]
    )
    turn = arrays["rotation"]
    return Rotation(
        arrays["rotated"], turn, turn.T @ turn, told["value"], told["converged"], told["reached"],
        arrays["stationary"], settings,
    )  # fmt: skip


def _check_shapes(arrays: dict[str, np.ndarray], expected: dict[str, tuple[int, ...]]) -> None:
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(f"the array {name!r} has shape {arrays[name].shape} where the model needs {shape}")
