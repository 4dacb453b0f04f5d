"""Mixtures of factor analysers as a manifest and arrays, for storage.py."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from jaxlatent.data.responses import Responses
from jaxlatent.factor_mixture import MixtureFit, MixtureOfFactorAnalyzers
from jaxlatent.inference.mixture_fit import MixtureEstimate

KIND = "jaxlatent mixture"
PLAIN = ("log_likelihood", "steps", "converged")  # of the estimate; everything else in it is an array
OPTIONS = ("n_components", "n_factors", "shared_noise", "starts", "tolerance", "max_steps")


def mixture_arrays(fit: MixtureFit, include_data: bool) -> dict[str, Any]:
    """Everything of a fit that is an array."""
    arrays = {name: value for name, value in asdict(fit._estimate).items() if name not in PLAIN}
    if include_data:
        arrays |= {"y": fit._rows.y, "group": fit._rows.group, "index": fit._rows.index}
    return arrays


def mixture_manifest(fit: MixtureFit) -> dict[str, Any]:
    """Everything else."""
    return {
        "options": {name: getattr(fit.spec, name) for name in OPTIONS},
        "names": list(fit._names),
        "n": fit._n,
        "notes": list(fit._notes),
        "entropy": fit._entropy,
        "elapsed": fit.elapsed,
        **{name: getattr(fit._estimate, name) for name in PLAIN},
    }


def mixture_of(manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> MixtureFit:
    """The fit again."""
    spec = MixtureOfFactorAnalyzers(**manifest["options"])
    names = tuple(manifest["names"])
    k, p, m = spec.n_components, len(names), spec.n_factors
    expected = {
        "weights": (k,), "loadings": (k, p, m), "uniquenesses": (k, p), "means": (k, p), "centre": (p,), "scale": (p,),
    }  # fmt: skip
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(f"the array {name!r} has shape {arrays[name].shape} where the model needs {shape}")
    parts: dict[str, Any] = {name: arrays[name] for name in (*expected, "values")}
    estimate = MixtureEstimate(**parts, **{name: manifest[name] for name in PLAIN})
    data = Responses(arrays["y"], names, arrays["group"], ("1",), index=arrays["index"]) if "y" in arrays else None
    stored = {"names": names, "n": manifest["n"], "notes": tuple(manifest["notes"]), "entropy": manifest["entropy"]}
    return MixtureFit(spec, data, estimate, manifest["elapsed"], stored=stored)
