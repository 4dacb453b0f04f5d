"""Item response models by amortized inference: train, polish where a maximum can be found exactly, or sum up draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.coding import Coding
from jaxlatent.guides.amortized import Amortized
from jaxlatent.guides.function import guide_of
from jaxlatent.guides.guide import BoundGuide
from jaxlatent.inference.amortized_run import Training, train_in_memory
from jaxlatent.inference.amortized_settings import AmortizedVI
from jaxlatent.inference.amortized_training import DONE, Look
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.importance import (
    LogLikelihoodEstimate,
    PersonPosterior,
    information,
    person_posteriors,
    poorly_approximated,
    total,
)
from jaxlatent.inference.item_data import ItemRows
from jaxlatent.inference.item_model import double_arrays, is_normal, item_arrays, item_model
from jaxlatent.inference.marginal_fit import ItemFitted, choose_rule, fit_items, reduction, starting_values
from jaxlatent.inference.priors import Priors
from jaxlatent.inference.settings import MarginalML
from jaxlatent.integration.adaptive import ImportanceSampling
from jaxlatent.latent.latent import Latent
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.newton import CONVERGED, RUNNING
from jaxlatent.spec.item_table import ItemTable, item_layout
from jaxlatent.spec.two_tier import reduction_of

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

    def posteriors(self, free: np.ndarray, data: ItemRows, n_draws: int = DRAWS) -> PersonPosterior:
        """Every person's posterior by n_draws from the guide, in float64."""
        with jax.enable_x64(True):
            arrays = double_arrays(data)
            params = self.params(free)
            return person_posteriors(self.model, params, self.guide, self.guide_params, arrays, n_draws, self.key)

    def params(self, free: np.ndarray) -> dict[str, Any]:
        """Named matrices [group, ...] and networks (host)."""
        layout, free = self.model.layout, np.asarray(free, float)
        matrices = {
            name: np.where(np.asarray(i) >= 0, free[np.maximum(i, 0)], layout.fixed[name])
            for name, i in layout.index.items()
        }
        return {**matrices, **self.networks}


def fit_amortized(
    table: ItemTable,
    measurement: Measurement,
    coding: Coding,
    data: ItemRows,
    responses: Any,
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
    priors = priors or Priors()
    layout = item_layout(table)
    start = starting_values(table, layout, data, measurement) if start is None else start
    layout = replace(layout, start=start)
    if table.linear.rank:
        raise ValueError("AmortizedVI takes no linear constraints between parameters: use MarginalML().")
    n, d = data.n_persons, len(table.factors)
    settings = engine.resolve(n)
    polish = engine.polish and is_normal(latent)
    if polish and engine.max_epochs is None:
        settings = replace(settings, max_epochs=max(ROUGH_STEPS * (settings.batch_size or n) // n, 2))
    model = item_model(table, measurement, layout, latent)
    found = train_in_memory(model, item_arrays(data), settings, priors, key, progress)
    trained = Trained(
        model, found.guide, found.guide_params, found.networks, tuple(found.course.looks), found.undone, key
    )
    if polish and found.finished:
        rule, _ = choose_rule(MarginalML(), d, reduction_of(layout))
        rule = ImportanceSampling(POLISHING) if isinstance(rule, ImportanceSampling) else rule
        fitted = fit_items(
            table, measurement, coding, data, responses, MarginalML(rule, engine.se), priors=priors, notes=notes,
            key=key, progress=progress, start=found.free, anchors=anchors,
        )  # fmt: skip
        why = "second-order steps from where amortized inference ended"
        return replace(fitted, engine=settings, why=why, amortized=trained)
    rule = ImportanceSampling(DRAWS, proposal=guide_of(settings.guide or Amortized()))
    with jax.enable_x64(True):
        estimate, said = summed_up(trained, found, table, data, settings, priors)
    return ItemFitted(
        table, layout, measurement, coding, data, responses, settings, rule, "draws from the guide", priors, estimate,
        float(estimate.log_likelihood), (*notes, *said), key, tuple(anchors), None,
        None if responses is None else responses.group_name, latent=latent, amortized=trained,
    )  # fmt: skip


def summed_up(
    trained: Trained, found: Training, table: ItemTable, data: ItemRows, settings: AmortizedVI, priors: Priors
) -> tuple[Estimate, tuple[str, ...]]:
    """The estimate where training alone has to do, and what should be known about it."""
    free = found.free
    weight = np.ones(data.n_persons) if data.weight is None else data.weight
    posteriors = trained.posteriors(free, data)
    log_likelihood = total(posteriors, weight, DRAWS)
    q, (_, basis) = len(free), reduction(table)
    cross = observed = np.full((q, q), np.nan)
    if settings.se != "none":
        arrays = double_arrays(data)
        cross, observed = information(
            trained.model, trained.networks, free, trained.guide, trained.guide_params, arrays, INFORMATION_DRAWS,
            trained.key, observed=settings.se == "observed",
        )  # fmt: skip
    value, _, curvature = priors.second_order(trained.model.layout, jnp.asarray(free))
    observed = observed - np.asarray(curvature)
    statistics = {
        "value": -log_likelihood.value - float(value), "decrement": np.nan, "information": basis.T @ observed @ basis,
        "cross": basis.T @ cross @ basis, "gradient": np.full(basis.shape[1], np.nan), "log_prior": float(value),
    }  # fmt: skip
    done = found.finished and found.course.stage == DONE
    poor = poorly_approximated(posteriors)
    said = []
    if trained.networks and settings.se != "none":
        said.append("Standard errors take the learned distribution of the factors as known.")
    if poor:
        said.append(
            f"The posteriors of {poor} of {len(weight)} persons are poorly approximated by the guide (Pareto k > 0.7):"
            " take more particles, a richer guide, or more epochs."
        )
    if trained.undone:
        said.append(f"{trained.undone} step(s) were not finite and undone, each at half the rate of before.")
    code, steps = CONVERGED if done else RUNNING, found.course.epoch
    nothing = np.full((q, q), np.nan)
    return Estimate(free, nothing, log_likelihood.value, code, steps, statistics), tuple(said)


def log_likelihood_estimate(fitted: ItemFitted, n_draws: int = 1000) -> LogLikelihoodEstimate:
    """The log-likelihood by draws from the guide, with its Monte Carlo standard error.

    Raises ValueError where there is no guide.
    """
    if fitted.amortized is None:
        raise ValueError("log_likelihood_estimate is for sampled log-likelihoods: fit with AmortizedVI().")
    weight = np.ones(fitted.data.n_persons) if fitted.data.weight is None else fitted.data.weight
    return total(fitted.amortized.posteriors(fitted.free, fitted.data, n_draws), weight, n_draws)
