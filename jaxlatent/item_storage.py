"""Item response fits on disk: what goes into a .latent file and comes out of it."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import numpy as np

from jaxlatent.amortized_storage import (
    described,
    latent_of,
    settings_manifest,
    trained_arrays,
    trained_manifest,
    with_trained,
)
from jaxlatent.data.coding import Coding
from jaxlatent.data.long_arrays import LongResponses
from jaxlatent.data.occasions import LongRows
from jaxlatent.data.responses import Responses
from jaxlatent.inference.amortized_settings import AmortizedVI
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.item_data import ItemData
from jaxlatent.inference.item_model import is_normal
from jaxlatent.inference.item_preparation import assemble
from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.inference.priors import Priors
from jaxlatent.inference.settings import MarginalML
from jaxlatent.integration.adaptive import AdaptiveGaussHermite, ImportanceSampling, Laplace, QuasiMonteCarlo
from jaxlatent.integration.gauss_hermite import GaussHermite
from jaxlatent.integration.histogram import EmpiricalHistogram
from jaxlatent.irt import IRT
from jaxlatent.irt_fit import ItemResponseFit
from jaxlatent.measurement.decoders import Decoder
from jaxlatent.spec.item_table import ItemTable, item_layout
from jaxlatent.spec.occasions import Occasions

KIND = "jaxlatent item response fit"
RULES = {
    rule.__name__: rule
    for rule in (AdaptiveGaussHermite, EmpiricalHistogram, GaussHermite, ImportanceSampling, Laplace, QuasiMonteCarlo)
}
STATISTICS = ("value", "decrement", "information", "cross", "gradient", "log_prior")


class MissingObject(Exception):
    """A saved fit needs an object of the user's own."""


def item_arrays(fit: ItemResponseFit, include_data: bool) -> dict[str, Any]:
    """Everything that is an array."""
    f = fit._fitted
    s = f.estimate.statistics
    arrays = {"free": f.free, "start": f.layout.start} | {name: np.asarray(s[name]) for name in STATISTICS}
    if f.vcov is not None:
        arrays["vcov"] = f.vcov
    if include_data and f.responses is not None:
        r = f.responses.to_dense() if isinstance(f.responses, LongResponses) else f.responses
        arrays |= {"y": r.y, "group": r.group, "index": r.index}
        arrays |= long_arrays(r)
        arrays |= {n: a for n, a in (("weight", r.weight), ("covariates", r.covariates)) if a is not None}
    return arrays if f.amortized is None else arrays | trained_arrays(f)


def item_manifest(fit: ItemResponseFit) -> dict[str, Any]:
    """Everything else."""
    f = fit._fitted
    rotation, rule = fit._rotation, f.rule
    return spec_manifest(fit.spec, f.table) | {
        "turned": None if rotation is None else rotation.settings.name,
        "anchors": list(f.anchors),
        "names": list(f.coding.names),
        "values": [None if v is None else list(v) for v in f.coding.values],
        "groups": list(f.table.groups),
        "group": f.group_name,
        "engine": _engine_manifest(f.engine),
        "rule": {"class": type(rule).__name__, **{k: v for k, v in asdict(rule).items() if _is_plain(v)}},
        "trained": None if f.amortized is None else trained_manifest(f),
        "why": f.why,
        "n_total": f.n_total,
        "log_likelihood": f.log_likelihood,
        "code": int(f.estimate.code),
        "steps": int(f.estimate.steps),
        "elapsed": fit.elapsed,
        "notes": list(f.notes),
        "key": f.key,
    }


def spec_manifest(spec: IRT, table: ItemTable) -> dict[str, Any]:
    """Every option of a specification that has met its items."""
    factors, occasions = spec.factors, table.occasions
    if not isinstance(factors, int | str):
        factors = {
            "q": np.asarray(factors).astype(int).tolist(),
            "rows": list(table.observed if occasions is None else occasions.items),
            "columns": list(table.factors if occasions is None else occasions.factors),
        }
    return {
        "item_type": _type_names(spec.item_type),
        "factors": factors,
        "covariates": list(spec.covariates),
        "group_equal": list(spec.group_equal),
        "fixed": spec.fixed,
        "constraints": None if spec.constraints is None else [np.asarray(part).tolist() for part in spec.constraints],
        "decoder": [_decoder_manifest(each) for each in spec.decoder],
        "priors": sorted(spec.priors),
        "rotation": spec.rotation,
        "latent": None if spec.latent is None else described(spec.latent),
        "occasions": described_occasions(spec.occasions, occasions),
    }


def spec_of(m: dict[str, Any], objects: dict[str, Any]) -> IRT:
    """The specification of a manifest; priors are not kept, because estimation is over."""
    import pandas as pd

    factors = m["factors"]
    if isinstance(factors, dict):
        factors = pd.DataFrame(factors["q"], factors["rows"], factors["columns"])
    constraints = None if m["constraints"] is None else tuple(np.asarray(part) for part in m["constraints"])
    return IRT(
        _types(m["item_type"], objects), factors, covariates=m["covariates"], group_equal=m["group_equal"],
        fixed=m["fixed"], constraints=constraints, rotation=m["rotation"],
        latent=latent_of(m["latent"]), occasions=(m.get("occasions") or {}).get("option"),
        decoder=_decoders(m.get("decoder", []), objects),
    )  # fmt: skip


def coding_of(m: dict[str, Any]) -> Coding:
    """The coding of a manifest."""
    return Coding(tuple(m["names"]), tuple(None if v is None else tuple(v) for v in m["values"]))


def _engine_manifest(engine: MarginalML | AmortizedVI) -> dict[str, Any]:
    if isinstance(engine, AmortizedVI):
        return {"amortized": settings_manifest(engine)}
    return {"se": engine.se, "tolerance": engine.tolerance, "starts": engine.starts}


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float | str | tuple | list)


def _type_names(given: Any) -> Any:
    if isinstance(given, str):
        return given
    if isinstance(given, dict):
        return {name: _type_names(value) for name, value in given.items()}
    return {"object": type(given).__name__}


def _types(given: Any, objects: dict[str, Any]) -> Any:
    """Item types by name; those of the user's own come from objects."""
    if isinstance(given, str):
        return given
    if set(given) == {"object"}:
        if given["object"] not in objects:
            raise MissingObject(
                f"the item type {given['object']!r} is the user's own: pass objects={{{given['object']!r}: ...}}"
            )
        return objects[given["object"]]
    return {name: _types(value, objects) for name, value in given.items()}


def _decoder_manifest(given: Decoder) -> dict[str, Any]:
    network = None if given.network is None else type(given.network).__name__
    return {"items": None if given.items is None else list(given.items), "hidden": list(given.hidden),
            "network": network}  # fmt: skip


def _decoders(given: list[dict[str, Any]], objects: dict[str, Any]) -> list[Decoder]:
    """Decoders as described; networks of the user's own come from objects."""
    for each in given:
        if each["network"] is not None and each["network"] not in objects:
            raise MissingObject(
                f"the network {each['network']!r} is the user's own: pass objects={{{each['network']!r}: ...}}"
            )
    return [Decoder(g["items"], tuple(g["hidden"]), g["network"] and objects[g["network"]]) for g in given]


def long_arrays(r: Responses) -> dict[str, Any]:
    """The user's rows, where there are several occasions."""
    return {} if r.long is None else {f"long_{name}": np.asarray(value) for name, value in vars(r.long).items()}


def long_of(arrays: dict[str, np.ndarray]) -> LongRows | None:
    """What long_arrays had."""
    return LongRows(*(arrays[f"long_{f.name}"] for f in fields(LongRows))) if "long_index" in arrays else None


def described_occasions(option: Any, occasions: Occasions | None) -> dict[str, Any] | None:
    """Occasions as plain values."""
    return None if occasions is None else {"option": list(option), **asdict(occasions)}


def occasions_from(given: dict[str, Any] | None) -> Occasions | None:
    """What described_occasions had."""
    if given is None:
        return None
    return Occasions(given["person"], given["occasion"], *(tuple(given[k]) for k in ("labels", "items", "factors")))


def item_fit_of(manifest: dict[str, Any], arrays: dict[str, np.ndarray], objects: dict[str, Any]) -> ItemResponseFit:
    """The fit of a manifest and its arrays."""
    m, spec, coding = manifest, spec_of(manifest, objects), coding_of(manifest)
    occasions = occasions_from(m.get("occasions"))
    own = coding if occasions is None else Coding(occasions.items, coding.values[: len(occasions.items)])
    table, measurement = assemble(spec, own, tuple(m["groups"]), m["anchors"], None, occasions)
    layout = item_layout(table)
    statistics = {name: arrays[name] for name in STATISTICS}
    q = table.n_free
    if arrays["free"].shape != (q,):
        raise ValueError(f"the array 'free' has shape {arrays['free'].shape} where the model needs ({q},)")
    vcov = arrays.get("vcov", np.full((q, q), np.nan))
    estimate = Estimate(arrays["free"], vcov, m["log_likelihood"], m["code"], m["steps"], statistics)
    options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in m["rule"].items() if k != "class"}
    rule = RULES[m["rule"]["class"]](**options)
    responses, data = None, ItemData(np.zeros((0, len(coding.names)), np.int8), np.zeros(0, np.int32), None, None)
    if "y" in arrays:
        responses = Responses(
            arrays["y"], coding.names, arrays["group"], tuple(m["groups"]), arrays.get("weight"), None, arrays["index"],
            m["group"], (), arrays.get("covariates"), table.covariates, long_of(arrays),
        )  # fmt: skip
        data = ItemData(coding.encode(responses.y), responses.group, responses.weight, responses.covariates)
    amortized = m["engine"].get("amortized")
    engine = MarginalML(rule, **m["engine"]) if amortized is None else AmortizedVI(**amortized)
    fitted = ItemFitted(
        table, layout, measurement, coding, data, responses, engine, rule, m["why"],
        Priors(), estimate, m["log_likelihood"], tuple(m["notes"]), m["key"], tuple(m["anchors"]),
        m["n_total"], m["group"], arrays.get("vcov"),
    )  # fmt: skip
    if m["trained"] is not None:
        fitted = with_trained(fitted, m["trained"], arrays, None if is_normal(spec.latent) else spec.latent)
    fit = ItemResponseFit(spec, fitted, m["elapsed"])
    return fit.rotate(m["turned"]) if m["turned"] else fit
