"""Posterior draws on disk: the model at the posterior mean, as other fits are stored, and all draws beside it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from jaxlatent.fit import Fit
from jaxlatent.inference.bayes import Sample
from jaxlatent.inference.draws import Draws
from jaxlatent.inference.nuts_settings import NUTS
from jaxlatent.irt_fit import ItemResponseFit
from jaxlatent.posterior_fit import PosteriorFit

KIND = "jaxlatent posterior fit"
STAT = "stat_"
LATENT = ("latent_mean", "latent_variance")


def posterior_arrays(fit: PosteriorFit) -> dict[str, Any]:
    """Draws, what the sampler says of them, and what is known of latent variables that were sampled along."""
    arrays: dict[str, Any] = {"draws": fit.draws.free}
    arrays |= {STAT + name: values for name, values in fit.draws.stats.items()}
    return arrays | {name: a for name in LATENT if (a := getattr(fit._sample, name)) is not None}


def posterior_manifest(fit: PosteriorFit, inner: dict[str, Any]) -> dict[str, Any]:
    """Settings and sentences; inner: the manifest of the model at the posterior mean."""
    return {"inner": inner, "nuts": asdict(fit.engine), "how": fit._sample.how, "elapsed": fit.elapsed}


def posterior_fit_of(manifest: dict[str, Any], arrays: dict[str, np.ndarray], inner: Any) -> PosteriorFit:
    """The fit of a manifest and its arrays, around the model that was read."""
    if not isinstance(inner, Fit | ItemResponseFit):
        raise ValueError("posterior draws around another kind of fit")
    free = arrays["draws"]
    if free.ndim != 3 or free.shape[2] != len(inner._fitted.free):
        raise ValueError(f"the array 'draws' has shape {free.shape} where the model has {len(inner._fitted.free)}")
    stats = {name.removeprefix(STAT): a for name, a in arrays.items() if name.startswith(STAT)}
    mean, variance = (arrays.get(name) for name in LATENT)
    draws = Draws(free, "posterior", stats)
    sample = Sample(NUTS(**manifest["nuts"]), draws, manifest["how"], None, mean, variance)
    return PosteriorFit(inner, sample, manifest["elapsed"])
