"""Guides and learned distributions on disk: their names and options as JSON, what they learned as arrays."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import Any

import jax
import numpy as np

from jaxlatent import guides, latent
from jaxlatent.data.arrays import Arrays
from jaxlatent.guides.amortized import Amortized
from jaxlatent.guides.function import FromFunction, guide_of
from jaxlatent.inference.amortized_fit import Trained
from jaxlatent.inference.amortized_settings import AmortizedVI
from jaxlatent.inference.amortized_training import Look
from jaxlatent.inference.item_model import item_model
from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.integration.adaptive import ImportanceSampling

SIMPLE = ("particles", "estimator", "batch_size", "max_epochs", "polish", "se", "annealing", "averaging")


def described(part: Any) -> dict[str, Any]:
    """A guide or latent distribution as its class and options."""
    return {"class": type(part).__name__, **asdict(part)}


def made(where: Any, given: dict[str, Any]) -> Any:
    """What ``described`` had; raises ValueError for a class that is not there."""
    name = given["class"]
    if name not in where.__all__:
        raise ValueError(f"this version has no {name!r} in {where.__name__}")
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if k != "class"}
    kind = getattr(where, name)
    return kind(**{f.name: options[f.name] for f in fields(kind) if f.name in options})


def settings_manifest(engine: AmortizedVI) -> dict[str, Any]:
    """The engine's plain settings."""
    return {name: getattr(engine, name) for name in SIMPLE}


def trained_arrays(fitted: ItemFitted) -> dict[str, np.ndarray]:
    """What was learned besides the free vector, leaf by leaf."""
    t = fitted.amortized
    parts = {"bound": t.guide, "guide": t.guide_params, "networks": t.networks}
    return {
        f"{name}_{k}": np.asarray(leaf) for name, part in parts.items() for k, leaf in enumerate(jax.tree.leaves(part))
    }


def trained_manifest(fitted: ItemFitted) -> dict[str, Any]:
    """The rest; raises ValueError for a guide that is a function of the user's own."""
    t = fitted.amortized
    guide = guide_of(fitted.engine.guide or Amortized())  # type: ignore[union-attr]
    if isinstance(guide, FromFunction) or type(guide).__name__ not in guides.__all__:
        raise ValueError("A guide of your own can't be saved: fit with one of jl.guides, or keep the fit in memory.")
    return {
        "guide": described(guide), "looks": [[float(v) for v in look] for look in t.looks], "undone": t.undone,
        "n_persons": int(fitted.n_total), "key": t.key,
    }  # fmt: skip


def with_trained(fitted: ItemFitted, given: dict[str, Any], arrays: dict[str, np.ndarray], prior: Any) -> ItemFitted:
    """The fit with its guide and networks; prior: the latent distribution, or None."""
    guide = made(guides, given["guide"])
    model = item_model(fitted.table, fitted.measurement, fitted.layout, prior)
    j, n = len(fitted.coding.names), given["n_persons"]
    covariates = np.zeros((n, len(fitted.table.covariates))) if fitted.table.covariates else None
    blank = Arrays.of(np.zeros((n, j), np.float32), covariates=covariates)
    bound = filled("bound", guide.bind(model, blank), arrays)
    shapes = jax.eval_shape(bound.init, jax.random.key(0))
    networks = jax.eval_shape(lambda: model.networks(jax.random.key(0)))
    looks = tuple(Look(int(look[0]), *look[1:]) for look in given["looks"])
    trained = Trained(
        model, bound, filled("guide", shapes, arrays), filled("networks", networks, arrays), looks, given["undone"],
        given["key"],
    )  # fmt: skip
    rule = ImportanceSampling(fitted.rule.n, proposal=guide) if prior is not None else fitted.rule
    return replace(fitted, amortized=trained, latent=prior, rule=rule)


def filled(name: str, like: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A tree of this structure with the arrays of this name."""
    leaves, structure = jax.tree.flatten(like)
    return jax.tree.unflatten(structure, [arrays[f"{name}_{k}"] for k in range(len(leaves))])


def latent_of(given: dict[str, Any] | None) -> Any:
    """The latent distribution that was described, or None."""
    return None if given is None else made(latent, given)
