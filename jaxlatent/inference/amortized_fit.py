"""Item response models by amortized inference: train, polish where a maximum can be found exactly, or sum up draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.data.coding import Coding
from jaxlatent.data.responses import Responses
from jaxlatent.guides.amortized import Amortized
from jaxlatent.guides.guide import BoundGuide
from jaxlatent.inference.amortized_settings import AmortizedVI
from jaxlatent.inference.amortized_training import Course, Look
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.importance import (
    LogLikelihoodEstimate,
    PersonPosterior,
    information,
    person_posteriors,
    poorly_approximated,
    total,
)
from jaxlatent.inference.item_model import item_arrays, item_model
from jaxlatent.inference.marginal_fit import ItemData, ItemFitted, default_rule, fit_items, reduction, starting_values
from jaxlatent.inference.priors import Priors
from jaxlatent.inference.settings import MarginalML
from jaxlatent.integration.adaptive import ImportanceSampling
from jaxlatent.latent.latent import Latent
from jaxlatent.latent.regression import LatentRegression
from jaxlatent.latent.structural import StructuralNormal
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.newton import CONVERGED, RUNNING, STEP_LIMIT
from jaxlatent.spec.item_table import ItemTable, item_layout

DRAWS = 200  # of each person, for scores and log-likelihoods
INFORMATION_DRAWS = 100
POLISHING = 64  # points of each person while steps are second-order, where there are too many factors for a grid
ROUGH_STEPS = 600  # of training, where polishing follows


@dataclass(frozen=True)
class Trained:
    """What training leaves: the guide with its parameters, networks of the model, and how it went."""

    model: LatentVariableModel
    guide: BoundGuide
    guide_params: Any
    networks: dict[str, Any]
    looks: tuple[Look, ...]
    undone: int
    key: int

    def posteriors(self, free: np.ndarray, data: ItemData, n_draws: int = DRAWS) -> PersonPosterior:
        """Every person's posterior by n_draws from the guide, in float64."""
        with jax.enable_x64(True):
            arrays = item_arrays(data, np.float64)
            arrays = replace(arrays, y=arrays.y.astype(np.float64))
            params = self.params(free)
            return person_posteriors(self.model, params, self.guide, self.guide_params, arrays, n_draws, self.key)

    def params(self, free: np.ndarray) -> dict[str, Any]:
        """Named matrices [group, ...] and networks."""
        return {**self.model.layout.unpack(jnp.asarray(free)), **self.networks}


def is_normal(latent: Latent | None) -> bool:
    """Whether latent variables are normal, so that points around modes and second-order steps are at hand."""
    return latent is None or isinstance(latent, StructuralNormal | LatentRegression)


def fit_amortized(
    table: ItemTable,
    measurement: Measurement,
    coding: Coding,
    data: ItemData,
    responses: Responses | None,
    engine: AmortizedVI,
    *,
    latent: Latent | None = None,
    priors: Priors | None = None,
    notes: Sequence[str] = (),
    key: int = 0,
    progress: bool | None = None,
    anchors: Sequence[int] = (),
    start: np.ndarray | None = None,
) -> ItemFitted:
    """Train a guide and the model together; then second-order steps where items factor and x is normal."""
    from jaxlatent.inference.amortized_training_run import run_training

    priors = priors or Priors()
    layout = item_layout(table)
    start = starting_values(table, layout, data, measurement) if start is None else start
    layout = replace(layout, start=start)
    settings = engine.resolve(len(data.codes))
    polish = engine.polish and is_normal(latent)
    if polish and engine.max_epochs is None:
        settings = replace(settings, max_epochs=max(ROUGH_STEPS * settings.batch_size // len(data.codes), 2))
    model = item_model(table, measurement, layout, latent)
    free, trained, finished = run_training(model, item_arrays(data), settings, priors, key, progress)
    if polish:
        d = len(table.factors)
        rule = default_rule(d) if d <= 3 else ImportanceSampling(POLISHING)
        fitted = fit_items(
            table, measurement, coding, data, responses, MarginalML(rule, engine.se), priors=priors, notes=notes,
            key=key, progress=progress, start=free, anchors=anchors,
        )  # fmt: skip
        why = f"amortized inference, then second-order steps; {d} factor(s)"
        return replace(fitted, engine=settings, why=why, amortized=trained)
    return summed_up(
        table, layout, measurement, coding, data, responses, settings, priors, free, trained, finished, notes, key,
        anchors,
    )  # fmt: skip
