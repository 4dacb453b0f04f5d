"""Deep fits and autoencoders on disk: options and families as JSON, what was learned as arrays; networks by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import jax
import numpy as np

from jaxlatent import guides
from jaxlatent.amortized_storage import described, filled, latent_of, made, settings_manifest
from jaxlatent.autoencoder import AutoEncoder, AutoEncoderFit
from jaxlatent.data.responses import Responses
from jaxlatent.guides.amortized import Amortized
from jaxlatent.guides.function import FromFunction
from jaxlatent.inference.amortized_fit import Trained
from jaxlatent.inference.amortized_settings import AmortizedVI
from jaxlatent.inference.amortized_training import Look
from jaxlatent.inference.deep_columns import Columns
from jaxlatent.inference.deep_fit import DeepFitted, deep_arrays
from jaxlatent.inference.deep_polish import exact_rule
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.reconstruction import Networks, Reconstruction
from jaxlatent.item_storage import MissingObject, described_occasions, long_arrays, long_of, occasions_from
from jaxlatent.measurement.family import Family
from jaxlatent.measurement.item_types import ITEM_TYPES
from jaxlatent.measurement.neural_counts import Binomial, Categorical
from jaxlatent.measurement.neural_normal import DecodedNormal, JointNormal, StudentT
from jaxlatent.vae import VAE
from jaxlatent.vae_fit import DeepFit

OWN: tuple[type[Family], ...] = (Binomial, Categorical, DecodedNormal, JointNormal, StudentT)
FAMILIES: dict[str, type[Family]] = {kind.__name__: kind for kind in OWN} | {
    type(family).__name__: type(family) for kind in ITEM_TYPES.values() for family in map(kind.family_for, (2, 3))
}


def deep_arrays_of(fit: DeepFit, include_data: bool) -> dict[str, Any]:
    """Everything of a deep fit that is an array."""
    f, t = fit._fitted, fit._fitted.trained
    parts = {"bound": t.guide, "guide": t.guide_params, "networks": t.networks}
    arrays = {
        f"{name}_{k}": np.asarray(leaf) for name, part in parts.items() for k, leaf in enumerate(jax.tree.leaves(part))
    }
    arrays |= {"free": np.asarray(f.estimate.free), "center": f.columns.center, "scale": f.columns.scale}
    return arrays | (_rows(f.responses) if include_data else {})


def deep_manifest(fit: DeepFit) -> dict[str, Any]:
    """Everything else; raises ValueError for a guide of the user's own."""
    f, spec = fit._fitted, fit.spec
    guide = f.engine.guide
    if isinstance(guide, FromFunction) or type(guide).__name__ not in guides.__all__:
        raise ValueError("A guide of your own can't be saved: fit with one of jl.guides, or keep the fit in memory.")
    plain = replace(guide, network=None) if isinstance(guide, Amortized) else guide
    return {
        "latent_size": list(spec.sizes), "likelihood": _likelihood(spec.likelihood), "hidden": list(spec.hidden),
        "encoder": _name(spec.encoder), "decoder": _name(spec.decoder), "covariance": spec.covariance,
        "latent": None if spec.latent is None else described(spec.latent),
        "guide": described(plain), "guide_network": _name(getattr(guide, "network", None)),
        "names": list(f.observed), "families": [_family(family) for family in f.columns.families],
        "values": [None if v is None else list(v) for v in f.columns.values], "factors": list(f.factors),
        "engine": settings_manifest(f.engine), "beta": f.engine.beta, "free_bits": f.engine.free_bits,
        "exact": f.rule is not None, "log_likelihood": float(f.estimate.log_likelihood),
        "standard_error": f.estimate.statistics.get("standard_error", 0.0), "code": int(f.estimate.code),
        "steps": int(f.estimate.steps), "n_persons": f.n_persons, "elapsed": fit.elapsed, "notes": list(f.notes),
        "occasions": described_occasions(spec.occasions, f.occasions),
        "key": f.key, "looks": [[float(v) for v in look] for look in f.trained.looks], "undone": f.trained.undone,
    }  # fmt: skip


def deep_fit_of(m: dict[str, Any], arrays: dict[str, np.ndarray], objects: Mapping[str, Any]) -> DeepFit:
    """The fit of a manifest and its arrays."""
    sizes = tuple(m["latent_size"])
    spec = VAE(
        sizes[0] if len(sizes) == 1 else sizes, _given_likelihood(m["likelihood"], objects), hidden=m["hidden"],
        encoder=_object(m["encoder"], objects), decoder=_object(m["decoder"], objects), covariance=m["covariance"],
        latent=latent_of(m["latent"]), occasions=(m.get("occasions") or {}).get("option"),
    )  # fmt: skip
    names = tuple(m["names"])
    families = tuple(_made_family(each, objects) for each in m["families"])
    values = tuple(None if v is None else tuple(v) for v in m["values"])
    columns = Columns(names, families, values, arrays["center"], arrays["scale"])
    occasions = occasions_from(m.get("occasions"))
    p = len(names) if occasions is None else len(occasions.items)
    own = Columns(names[:p], families[:p], values[:p], arrays["center"][:p], arrays["scale"][:p])
    model = spec.model_of(own, np.zeros((2, p)), occasions)
    guide = made(guides, m["guide"])
    if m["guide_network"] is not None:
        guide = replace(guide, network=_object(m["guide_network"], objects))
    bound = filled("bound", guide.bind(model, deep_arrays(np.zeros((m["n_persons"], len(names))), None)), arrays)
    shapes = jax.eval_shape(bound.init, jax.random.key(0))
    networks = jax.eval_shape(lambda: model.networks(jax.random.key(0)))
    looks = tuple(Look(int(look[0]), *look[1:]) for look in m["looks"])
    trained = Trained(
        model, bound, filled("guide", shapes, arrays), filled("networks", networks, arrays), looks, m["undone"],
        m["key"],
    )  # fmt: skip
    if arrays["free"].shape != (model.layout.n_free,):
        raise ValueError(f"the array 'free' has shape {arrays['free'].shape}; needed is ({model.layout.n_free},)")
    statistics = {"standard_error": m["standard_error"]}
    estimate = Estimate(arrays["free"], None, m["log_likelihood"], m["code"], m["steps"], statistics)
    engine = AmortizedVI(**m["engine"], guide=guide, beta=m["beta"], free_bits=m["free_bits"])
    responses = _responses(arrays, names)
    codes = None if responses is None else columns.encode(responses.y)
    weight = None if responses is None else responses.weight
    rule = exact_rule(model, 1) if m["exact"] else None
    fitted = DeepFitted(
        model, columns, tuple(m["factors"]), codes, weight, responses, engine, trained, rule, estimate, m["n_persons"],
        tuple(m["notes"]), m["key"], occasions=occasions,
    )  # fmt: skip
    return DeepFit(spec, fitted, m["elapsed"])


def autoencoder_arrays(fit: AutoEncoderFit, include_data: bool) -> dict[str, Any]:
    """Everything of an autoencoder that is an array."""
    leaves = jax.tree.leaves(fit._found.params)
    arrays = {f"weights_{k}": np.asarray(leaf) for k, leaf in enumerate(leaves)}
    arrays |= {"center": fit._center, "looks": np.array([list(look) for look in fit._found.looks], float)}
    return arrays | (_rows(fit._responses) if include_data else {})


def autoencoder_manifest(fit: AutoEncoderFit) -> dict[str, Any]:
    """Everything else."""
    return {"latent_size": fit.spec.latent_size, "hidden": list(fit.spec.hidden), "names": list(fit._names),
            "scale": fit._scale, "notes": list(fit.notes), "elapsed": fit.elapsed, "done": fit._found.done,
            "steps": fit._found.steps, "n_persons": fit._n_persons}  # fmt: skip


def autoencoder_of(m: dict[str, Any], arrays: dict[str, np.ndarray]) -> AutoEncoderFit:
    """The fit of a manifest and its arrays."""
    spec, names = AutoEncoder(m["latent_size"], hidden=m["hidden"]), tuple(m["names"])
    networks = Networks.of(len(names), spec.latent_size, spec.hidden)
    shapes = jax.eval_shape(networks.init, jax.random.key(0))
    looks = tuple(Look(int(look[0]), *look[1:]) for look in arrays["looks"].tolist())
    found = Reconstruction(filled("weights", shapes, arrays), looks, m["done"], m["steps"])
    return AutoEncoderFit(
        spec, networks, found, _responses(arrays, names), names, m["n_persons"], arrays["center"], m["scale"],
        tuple(m["notes"]), m["elapsed"],
    )  # fmt: skip


def _rows(r: Responses | None) -> dict[str, Any]:
    if r is None:
        raise ValueError("This fit holds no rows, so include_data=True has nothing to save: leave it out.")
    return {"y": r.y, "index": r.index} | long_arrays(r) | ({} if r.weight is None else {"weight": r.weight})


def _responses(arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> Responses | None:
    if "y" not in arrays:
        return None
    y = arrays["y"]
    return Responses(
        y, names, np.zeros(len(y), np.int32), ("1",), arrays.get("weight"), None, arrays["index"], long=long_of(arrays)
    )


def _name(given: Any) -> Any:
    """A network by the name of its class; "linear" and None as they are."""
    return given if given is None or isinstance(given, str) else {"object": type(given).__name__}


def _object(given: Any, objects: Mapping[str, Any]) -> Any:
    """What was saved by name; raises MissingObject where it was not passed."""
    if not isinstance(given, dict):
        return given
    if given["object"] not in objects:
        name = given["object"]
        raise MissingObject(f"{name!r} is the user's own: pass objects={{{name!r}: ...}}")
    return objects[given["object"]]


def _likelihood(given: Any) -> Any:
    if isinstance(given, Mapping):
        return {"columns": {name: _likelihood(each) for name, each in given.items()}}
    return _family(given) if isinstance(given, Family) else given


def _given_likelihood(given: Any, objects: Mapping[str, Any]) -> Any:
    if isinstance(given, str):
        return given
    if "columns" in given:
        return {name: _given_likelihood(each, objects) for name, each in given["columns"].items()}
    return _made_family(given, objects)


def _family(family: Family) -> dict[str, Any]:
    name = type(family).__name__
    if FAMILIES.get(name) is not type(family):
        return {"object": name}
    return {"class": name, **asdict(family)}  # type: ignore[call-overload]


def _made_family(given: dict[str, Any], objects: Mapping[str, Any]) -> Family:
    if "object" in given:
        return _object(given, objects)
    options = {name: value for name, value in given.items() if name != "class"}
    return FAMILIES[given["class"]](**options)
