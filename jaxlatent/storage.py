"""Fits on disk: a zip of manifest.json and arrays.npz. No pickle is written or read."""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
import zlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxlatent.autoencoder import AutoEncoderFit
from jaxlatent.clustered_fit import ClusteredItemFit
from jaxlatent.clustered_storage import KIND as CLUSTERED_KIND
from jaxlatent.clustered_storage import clustered_arrays, clustered_fit_of, clustered_manifest
from jaxlatent.data.moments import GroupMoments
from jaxlatent.data.responses import Responses
from jaxlatent.efa_fit import ExploratoryFit
from jaxlatent.efa_storage import KIND as EXPLORATORY_KIND
from jaxlatent.efa_storage import (
    VARIATIONAL_KIND,
    exploratory_arrays,
    exploratory_fit_of,
    exploratory_manifest,
    variational_arrays,
    variational_fit_of,
    variational_manifest,
)
from jaxlatent.efa_variational import VariationalFit
from jaxlatent.factor_mixture import MixtureFit
from jaxlatent.fit import Fit
from jaxlatent.inference.estimate import MESSAGES, Estimate
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.fitting import moment_layout
from jaxlatent.inference.settings import ML, LeastSquares
from jaxlatent.inference.written_priors import table_priors
from jaxlatent.irt_fit import ItemResponseFit
from jaxlatent.item_storage import KIND as ITEM_KIND
from jaxlatent.item_storage import MissingObject, item_arrays, item_fit_of, item_manifest
from jaxlatent.mixture_storage import KIND as MIXTURE_KIND
from jaxlatent.mixture_storage import mixture_arrays, mixture_manifest, mixture_of
from jaxlatent.models.prior_distributions import as_text
from jaxlatent.posterior_fit import PosteriorFit
from jaxlatent.posterior_storage import KIND as POSTERIOR_KIND
from jaxlatent.posterior_storage import posterior_arrays, posterior_fit_of, posterior_manifest
from jaxlatent.sem import SEM
from jaxlatent.spec.layout import places
from jaxlatent.two_level_fit import TwoLevelFit
from jaxlatent.two_level_storage import KIND as TWO_LEVEL_KIND
from jaxlatent.two_level_storage import two_level_arrays, two_level_manifest, two_level_of
from jaxlatent.vae_fit import DeepFit

FORMAT = 1
KIND = "jaxlatent fit"
DEEP_KIND, AUTOENCODER_KIND = "jaxlatent deep fit", "jaxlatent autoencoder"
KINDS = (
    KIND, ITEM_KIND, EXPLORATORY_KIND, VARIATIONAL_KIND, DEEP_KIND, AUTOENCODER_KIND, TWO_LEVEL_KIND, MIXTURE_KIND,
    POSTERIOR_KIND, CLUSTERED_KIND,
)  # fmt: skip


def save(fit: Any, path: Path, *, include_data: bool = False) -> Path:
    """Write a fit; a half-written file never takes the place of a good one."""
    if path.is_dir():
        raise IsADirectoryError(21, "Expected a file to write the fit to, but this is a folder", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(2, "No such folder to write the fit to", str(path.parent))
    arrays, manifest = _content(fit, include_data)
    buffer = io.BytesIO()
    plain: dict[str, Any] = {name: _plain(a) for name, a in arrays.items()}
    np.savez_compressed(buffer, **plain)
    part = path.with_name(path.name + ".part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("manifest.json", json.dumps(manifest, indent=1))
            archive.writestr("arrays.npz", buffer.getvalue())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _content(fit: Any, include_data: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and manifest of any fit."""
    if isinstance(fit, ItemResponseFit):
        if include_data and fit._fitted.responses is None:
            raise ValueError("This fit holds no rows, so include_data=True has nothing to save: leave it out.")
        return item_arrays(fit, include_data), _head(ITEM_KIND) | item_manifest(fit)
    if isinstance(fit, PosteriorFit):
        arrays, inner = _content(fit._inner, include_data)
        return arrays | posterior_arrays(fit), _head(POSTERIOR_KIND) | posterior_manifest(fit, inner)
    if isinstance(fit, DeepFit):
        from jaxlatent import vae_storage as deep

        return deep.deep_arrays_of(fit, include_data), _head(DEEP_KIND) | deep.deep_manifest(fit)
    if isinstance(fit, AutoEncoderFit):
        from jaxlatent import vae_storage as deep

        return deep.autoencoder_arrays(fit, include_data), _head(AUTOENCODER_KIND) | deep.autoencoder_manifest(fit)
    if isinstance(fit, ClusteredItemFit):
        return clustered_arrays(fit, include_data), _head(CLUSTERED_KIND) | clustered_manifest(fit)
    if isinstance(fit, TwoLevelFit):
        return two_level_arrays(fit, include_data), _head(TWO_LEVEL_KIND) | two_level_manifest(fit)
    if isinstance(fit, MixtureFit):
        return mixture_arrays(fit, include_data), _head(MIXTURE_KIND) | mixture_manifest(fit)
    if isinstance(fit, VariationalFit):
        return variational_arrays(fit, include_data), _head(VARIATIONAL_KIND) | variational_manifest(fit)
    if isinstance(fit, ExploratoryFit):
        return exploratory_arrays(fit, include_data), _head(EXPLORATORY_KIND) | exploratory_manifest(fit)
    return _arrays(fit, include_data), _head(KIND) | _manifest(fit)


def _arrays(fit: Fit, include_data: bool) -> dict[str, Any]:
    """Everything of a structural equation model's fit that is an array."""
    if include_data and fit._fitted.data is None:
        raise ValueError("This fit holds no rows, so include_data=True has nothing to save: leave it out.")
    f = fit._fitted
    arrays = {
        "free": f.free,
        "mean": f.moments.mean,
        "cov": f.moments.cov,
        "n": f.moments.n,
        "restrictions": f.restrictions,
        "value": np.asarray(f.estimate.statistics["value"]),
    }
    if fit._vcov is not None:
        arrays["vcov"] = fit._vcov
    for g, w in enumerate(f.weight_matrix or ()):
        arrays[f"weight_{g}"] = w
    if isinstance(f.engine, LeastSquares) and not isinstance(f.engine.weight, str):
        arrays["own_weight"] = np.asarray(f.engine.weight)
    if include_data and f.data is not None:
        arrays |= {"y": f.data.y, "group": f.data.group, "index": f.data.index}
        arrays |= {n: a for n, a in (("weight", f.data.weight), ("cluster", f.data.cluster)) if a is not None}
    return arrays


def _head(kind: str) -> dict[str, Any]:
    from jaxlatent import __version__

    return {"kind": kind, "format": FORMAT, "version": __version__}


def _plain(array: Any) -> np.ndarray:
    """An array that needs no pickle: objects become text."""
    a = np.asarray(array)
    return a.astype(str) if a.dtype == object else a


def _manifest(fit: Fit) -> dict[str, Any]:
    f = fit._fitted
    engine = asdict(f.engine)
    if isinstance(f.engine, LeastSquares) and not isinstance(f.engine.weight, str):
        engine["weight"] = None
    finite = lambda x: None if math.isnan(x) else x  # noqa: E731
    return {
        "syntax": fit.spec.syntax,
        "options": fit.spec.options | {"mean_structure": fit.spec.mean_structure, "rotation": fit.spec.rotation},
        "priors": {name: as_text(given) for name, given in fit.spec.priors.items()},
        "means": f.table.mean_structure,
        "groups": list(f.group_labels),
        "group": getattr(f.data, "group_name", None) or fit._stored.get("group"),
        "engine": {"class": type(f.engine).__name__, **engine},
        "missing": f.missing,
        "equalities": f.equalities,
        "log_likelihood": finite(f.log_likelihood),
        "saturated_log_likelihood": finite(f.saturated_log_likelihood),
        "code": int(f.estimate.code),
        "steps": int(f.estimate.steps),
        "elapsed": fit.elapsed,
        "warnings": list(fit.warnings),
        "notes": list(f.notes),
        "measures": {name: finite(float(v)) for name, v in fit.fit_measures().items()},
    }


def load(path: str | Path, objects: dict[str, Any] | None = None) -> Any:
    """Read a fit written by Fit.save.

    objects: networks and item types by name, for fits that have them. Raises FileNotFoundError, or ValueError naming
    the file where it is damaged, of another kind, or of a later format.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"Expected the path of a .latent file; got {path!r}.")
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(2, "No such file", str(path))
    if path.is_dir():
        raise ValueError(f"Expected a .latent file; {path} is a folder.")
    manifest, arrays = _read(path)
    try:
        return _fit_of(manifest, arrays, objects or {})
    except MissingObject as missing:
        raise ValueError(f"{path}: {missing}.") from None
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ValueError(f"{path} is damaged or was changed after Fit.save wrote it ({what}).") from None


def _fit_of(manifest: dict[str, Any], arrays: dict[str, np.ndarray], objects: dict[str, Any]) -> Any:
    """Any fit of its manifest and arrays."""
    if manifest["kind"] == POSTERIOR_KIND:
        return posterior_fit_of(manifest, arrays, _fit_of(manifest["inner"], arrays, objects))
    if manifest["kind"] == ITEM_KIND:
        return item_fit_of(manifest, arrays, objects)
    if manifest["kind"] in (DEEP_KIND, AUTOENCODER_KIND):
        from jaxlatent import vae_storage as deep

        if manifest["kind"] == DEEP_KIND:
            return deep.deep_fit_of(manifest, arrays, objects)
        return deep.autoencoder_of(manifest, arrays)
    if manifest["kind"] == EXPLORATORY_KIND:
        return exploratory_fit_of(manifest, arrays)
    if manifest["kind"] == VARIATIONAL_KIND:
        return variational_fit_of(manifest, arrays)
    if manifest["kind"] == TWO_LEVEL_KIND:
        return two_level_of(manifest, arrays)
    if manifest["kind"] == CLUSTERED_KIND:
        return clustered_fit_of(manifest, arrays, objects)
    if manifest["kind"] == MIXTURE_KIND:
        return mixture_of(manifest, arrays)
    fit = _assemble(manifest, arrays)
    _check_shapes(fit._fitted, arrays)
    return fit


def _check_shapes(f: Fitted, arrays: dict[str, np.ndarray]) -> None:
    """The arrays are those of the model in the manifest."""
    q, p, groups = f.table.n_free, len(f.table.observed), f.table.n_groups
    expected = {"free": (q,), "vcov": (q, q), "mean": (groups, p), "cov": (groups, p, p), "n": (groups,)}
    for name, shape in expected.items():
        if name in arrays and arrays[name].shape != shape:
            raise ValueError(f"the array {name!r} has shape {arrays[name].shape} where the model needs {shape}")
    if f.restrictions.ndim != 2 or f.restrictions.shape[1] != q:
        raise ValueError(f"the array 'restrictions' has shape {f.restrictions.shape} where the model needs (..., {q})")
    if int(f.estimate.code) not in MESSAGES:
        raise ValueError(f"the result code {f.estimate.code} is not known")


def _assemble(manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> Fit:
    table, spec = _table(manifest)
    moments = GroupMoments(arrays["mean"], arrays["cov"], arrays["n"], table.observed)
    nothing = np.full((table.n_free,) * 2, np.nan)
    statistics = {"value": arrays["value"]}
    number = lambda name: math.nan if manifest[name] is None else manifest[name]  # noqa: E731
    estimate = Estimate(
        arrays["free"],
        arrays.get("vcov", nothing),
        number("log_likelihood"),
        np.asarray(manifest["code"]),
        np.asarray(manifest["steps"]),
        statistics,
    )
    weights = [arrays[f"weight_{g}"] for g in range(table.n_groups) if f"weight_{g}" in arrays]
    fitted = Fitted(
        table=table,
        places=places(table),
        layout=moment_layout(table, moments),
        moments=moments,
        engine=_engine(manifest["engine"], arrays),
        missing=manifest["missing"],
        estimate=estimate,
        data=_data(manifest, arrays, table.observed),
        group_labels=tuple(manifest["groups"]),
        saturated_log_likelihood=number("saturated_log_likelihood"),
        log_likelihood=number("log_likelihood"),
        restrictions=arrays["restrictions"],
        equalities=manifest["equalities"],
        weight_matrix=tuple(weights) or None,
        notes=tuple(manifest["notes"]),
    )
    fitted = replace(fitted, priors=table_priors(table, fitted.layout, spec.priors))
    return Fit(spec, fitted, manifest["elapsed"], stored=_stored(manifest, arrays))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read("manifest.json"))
            with np.load(io.BytesIO(archive.read("arrays.npz")), allow_pickle=False) as found:
                arrays = {name: found[name] for name in found.files}
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, OSError, EOFError, NotImplementedError) as error:
        raise ValueError(f"{path} is damaged or not a file that Fit.save wrote ({error}).") from None
    if not isinstance(manifest, dict) or manifest.get("kind") not in KINDS:
        raise ValueError(f"{path} is not a fit saved by jaxlatent.")
    written = manifest.get("format")
    if not isinstance(written, int):
        raise ValueError(f"{path} is damaged: expected its format to be a whole number; got {written!r}.")
    if written > FORMAT:
        raise ValueError(
            f"{path} was written by jaxlatent {manifest.get('version')} in format {written}; this version reads"
            f" format {FORMAT}: upgrade jaxlatent."
        )
    return manifest, arrays


def _table(manifest: dict[str, Any]) -> tuple[Any, SEM]:
    options: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in manifest["options"].items()}
    priors = {name: text or "flat" for name, text in manifest.get("priors", {}).items()}  # None: no text means it
    spec = SEM(manifest["syntax"], **options, priors=priors)
    return spec.table(tuple(manifest["groups"]), manifest["means"]), spec


def _engine(given: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    options = {name: value for name, value in given.items() if name != "class"}
    if given["class"] == "ML":
        return ML(**options)
    if given["class"] != "LeastSquares":
        raise ValueError(f"the engine {given['class']!r} is not known")
    if options["weight"] is None:
        options["weight"] = arrays["own_weight"]
    return LeastSquares(**options)


def _data(manifest: dict[str, Any], arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> Responses | None:
    if "y" not in arrays:
        return None
    labels = tuple(manifest["groups"])
    weight, cluster = arrays.get("weight"), arrays.get("cluster")
    return Responses(arrays["y"], names, arrays["group"], labels, weight, cluster, arrays["index"], manifest["group"])


def _stored(manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    import pandas as pd

    measures = {name: math.nan if v is None else v for name, v in manifest["measures"].items()}
    return {
        "vcov": arrays.get("vcov"),
        "measures": pd.Series(measures, dtype=float),
        "warnings": manifest["warnings"],
        "group": manifest["group"],
    }
