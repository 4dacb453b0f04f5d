"""Item response fits of persons in clusters as a manifest and arrays, for storage.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxlatent.clustered_fit import ClusteredItemFit
from jaxlatent.inference.clustered_items import ClusteredItems, ClusteredPersons
from jaxlatent.inference.item_model import item_model
from jaxlatent.inference.item_preparation import assemble
from jaxlatent.inference.settings import MarginalML
from jaxlatent.item_storage import coding_of, spec_manifest, spec_of
from jaxlatent.spec.item_table import item_layout

KIND = "jaxlatent clustered item fit"


def clustered_arrays(fit: ClusteredItemFit, include_data: bool) -> dict[str, Any]:
    """Everything of a fit that is an array; answers as they are coded, -1 or nan where missing."""
    f = fit._fitted
    arrays: dict[str, Any] = {"free": f.free, "start": f.model.layout.start}
    arrays |= {} if f.vcov is None else {"vcov": f.vcov}
    if include_data:
        persons = f.read(None, fit.cluster)
        gap = -1 if f.coding.categorical else np.nan
        arrays |= {
            "codes": np.where(persons.arrays.observed, persons.arrays.y, gap),
            "cluster": persons.labels[np.asarray(persons.grid.codes)],
            "index": persons.index,
        }
    return arrays


def clustered_manifest(fit: ClusteredItemFit) -> dict[str, Any]:
    """Everything else."""
    f = fit._fitted
    return spec_manifest(fit.spec, f.table) | {
        "names": list(f.coding.names),
        "values": [None if v is None else list(v) for v in f.coding.values],
        "groups": list(f.table.groups),
        "cluster": fit.cluster,
        "se": fit.engine.se,
        "tau": f.tau,
        "n_persons": f.n_persons,
        "n_clusters": f.n_clusters,
        "log_likelihood": f.log_likelihood,
        "converged": f.converged,
        "steps": f.steps,
        "elapsed": fit.elapsed,
        "notes": list(fit.notes),
    }


def clustered_fit_of(m: dict[str, Any], arrays: dict[str, np.ndarray], objects: dict[str, Any]) -> ClusteredItemFit:
    """The fit of a manifest and its arrays."""
    spec, coding = spec_of(m, objects), coding_of(m)
    table, measurement = assemble(spec, coding, tuple(m["groups"]), ())
    q = table.n_free
    for name, shape in {"free": (q,), "vcov": (q + 1, q + 1)}.items():
        if name in arrays and arrays[name].shape != shape:
            raise ValueError(f"the array {name!r} has shape {arrays[name].shape} where the model needs {shape}")
    persons = None
    if "codes" in arrays:
        kind = np.int8 if coding.categorical else float
        persons = ClusteredPersons.of(arrays["codes"].astype(kind), arrays["cluster"], arrays["index"])
    fitted = ClusteredItems(
        table, item_model(table, measurement, item_layout(table), spec.latent), coding, persons, m["n_persons"],
        m["n_clusters"], arrays["free"], m["tau"], arrays.get("vcov"), m["log_likelihood"], m["converged"], m["steps"],
    )  # fmt: skip
    return ClusteredItemFit(spec, fitted, MarginalML(se=m["se"]), tuple(m["notes"]), m["cluster"], m["elapsed"])
