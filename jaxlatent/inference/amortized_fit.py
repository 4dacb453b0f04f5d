"""Item response models by amortized inference: train, polish where a maximum can be found exactly, or sum up draws."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.data.coding import Coding
from jaxlatent.guides.amortized import Amortized
from jaxlatent.guides.default import default_guide
from jaxlatent.guides.free import Free
from jaxlatent.guides.function import FromFunction, guide_of
from jaxlatent.guides.guide import BoundGuide, Guide
from jaxlatent.guides.semi_amortized import SemiAmortized
from jaxlatent.inference.amortized_run import Streamed, Training, run_training
from jaxlatent.inference.amortized_settings import LARGEST, AmortizedVI
from jaxlatent.inference.amortized_training import DONE, Look
from jaxlatent.inference.checkpoint import Checkpoints, fingerprint
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.importance import (
    LogLikelihoodEstimate,
    PersonPosterior,
    information,
    person_posteriors,
    poorly_approximated,
    resampled,
    total,
)
from jaxlatent.inference.item_data import ItemData, ItemRows
from jaxlatent.inference.item_model import double_arrays, is_normal, item_arrays, item_model
from jaxlatent.inference.marginal_fit import ItemFitted, choose_rule, fit_items, reduction, starting_values
from jaxlatent.inference.priors import Priors
from jaxlatent.inference.progress import step_bar
from jaxlatent.inference.settings import MarginalML
from jaxlatent.inference.streamed_polish import likelihood_of, polish_streamed
from jaxlatent.integration.adaptive import ImportanceSampling
from jaxlatent.latent.latent import Latent
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.models.restricted import LinearRestrictions
from jaxlatent.numerics.newton import CONVERGED, RUNNING
from jaxlatent.spec.item_table import ItemTable, item_layout
from jaxlatent.spec.two_tier import reduction_of

DRAWS = 200  # of each person, for scores and log-likelihoods
MORE = 16  # draws from the guide for each of the posterior
INFORMATION_DRAWS = 100
POLISHING = 64  # points of each person while steps are second-order, where there are too many factors for a grid
ROUGH_STEPS = 600  # of training, where polishing follows


class Named(Protocol):
    """Names of a model's variables."""

    @property
    def observed(self) -> tuple[str, ...]: ...
    @property
    def factors(self) -> tuple[str, ...]: ...


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

    def posteriors(
        self, free: np.ndarray, data: ItemRows, n_draws: int = DRAWS, *, known: bool = False
    ) -> PersonPosterior:
        """Every person's posterior by n_draws from the guide, in float64; known: they are the persons of the fit."""
        with jax.enable_x64(True):
            arrays = double_arrays(data)
            params = self.params(free)
            return person_posteriors(
                self.model, params, self.guide, self.guide_params, arrays, n_draws, self.key, known=known
            )

    def draws(self, free: np.ndarray, data: ItemRows, n: int, key: int, *, known: bool = False) -> np.ndarray:
        """n draws of every person from the posterior [person, draw, D], out of MORE times as many from the guide."""
        with jax.enable_x64(True):
            arrays, params = double_arrays(data), self.params(free)
            many = max(DRAWS, MORE * n)
            return resampled(self.model, params, self.guide, self.guide_params, arrays, many, n, key, known=known)

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
    streamed: Streamed | None = None,
    checkpoint: str | Path | None = None,
) -> ItemFitted:
    """Train a guide and the model together; then second-order steps where items factor and x is normal.

    streamed: the source the data are a sample of. checkpoint: a folder from which training goes on where it stopped.
    """
    priors = priors or Priors()
    layout = item_layout(table)
    begin = starting_values(table, layout, data, measurement) if start is None else start
    layout = replace(layout, start=restricted_start(table, begin))
    linear = table.linear if table.linear.rank else None
    if engine.guide is None and table.occasions is not None:
        engine = replace(engine, guide=default_guide(table.occasions.n))
    check_guide(guide_of(engine.guide or Amortized()), streamed is not None)
    n, d = data.n_persons if streamed is None else streamed.source.n_persons, len(table.factors)
    settings = engine.resolve(n)
    learned = not is_normal(latent) or bool(measurement.blocks)
    polish = engine.polish and not learned
    if polish and engine.max_epochs is None:
        rough = max(ROUGH_STEPS * (settings.batch_size or n) // n, 2, 2 * settings.annealing)
        settings = replace(settings, max_epochs=rough)
    model, arrays = item_model(table, measurement, layout, latent), item_arrays(data)
    checkpoints = None
    if checkpoint is not None:
        seen = streamed.source.fingerprint() if streamed else {"values": fingerprint(*jax.tree.leaves(arrays))}
        checkpoints = Checkpoints.at(checkpoint, about(model, table, seen, settings, key, linear))
    found = run_training(
        model, arrays, settings, priors, key, progress, streamed=streamed, checkpoints=checkpoints, linear=linear
    )
    trained = Trained(
        model, found.guide, found.guide_params, found.networks, tuple(found.course.looks), found.undone, key
    )
    estimate, why = None, "draws from the guide"
    rule = ImportanceSampling(DRAWS, proposal=guide_of(settings.guide or Amortized()))
    if polish and found.finished:
        rule, _ = choose_rule(MarginalML(), d, reduction_of(layout))
        rule = ImportanceSampling(POLISHING) if isinstance(rule, ImportanceSampling) else rule
        why = "second-order steps from where amortized inference ended"
    if polish and found.finished and streamed is None:
        fitted = fit_items(
            table, measurement, coding, data, responses, MarginalML(rule, engine.se), priors=priors,
            notes=(*notes, *undone_note(found.undone)),
            key=key, progress=progress, start=found.free, anchors=anchors,
        )  # fmt: skip
        return replace(fitted, engine=settings, why=why, amortized=trained)
    with jax.enable_x64(True):
        if polish and found.finished and streamed is not None:
            whole = likelihood_of(streamed, table, layout, measurement, coding, rule, priors, data, n, key)
            with step_bar("MarginalML", bool(progress)) as say:
                estimate = polish_streamed(whole, found.free, engine.se, say)
            found, settings = found._replace(free=estimate.free), replace(settings, se="none")
        batches = iter([double_arrays(data)]) if streamed is None else streamed_doubles(streamed, LARGEST)
        sampled, said = summed_up(trained, found, table, batches, settings, priors, latent)
    settings = replace(settings, se=engine.se)
    if estimate is None:
        estimate = sampled
    else:
        estimate, said = with_sampled(estimate, sampled), undone_note(found.undone)
    group_name = getattr(responses, "group_name", None)
    n_saved = None
    if streamed is not None:
        nothing = np.zeros((0, len(table.items)), data.codes.dtype)
        data, responses, n_saved = ItemData(nothing, np.zeros(0, np.int32), None, None), None, float(n)
    return ItemFitted(
        table, layout, measurement, coding, data, responses, settings, rule, why, priors, estimate,
        float(estimate.log_likelihood), (*notes, *said), key, tuple(anchors), n_saved, group_name, latent=latent,
        amortized=trained,
    )  # fmt: skip


def restricted_start(table: ItemTable, start: np.ndarray) -> np.ndarray:
    """The nearest starting values [n_free] that keep the table's linear restrictions."""
    offset, basis = reduction(table)
    return offset + basis @ (basis.T @ (start - offset))


def check_guide(guide: Guide, streamed: bool) -> None:
    """Raises ValueError for a guide with numbers of each person where persons stream by."""
    if streamed and isinstance(guide, Free | SemiAmortized):
        raise ValueError(
            f"{type(guide).__name__} has numbers of its own for every person, and persons of a scanned file are not"
            " held: use guides.Amortized()."
        )


def described(guide: Guide) -> str:
    """A guide in words that are the same in every process."""
    if isinstance(guide, FromFunction):
        return f"function {getattr(guide.function, '__qualname__', type(guide.function).__name__)}"
    return repr(guide)


def undone_note(undone: int) -> tuple[str, ...]:
    """A sentence about steps that were not finite."""
    if not undone:
        return ()
    return (f"{undone} step(s) of training were not finite and undone, each at half the rate of before.",)


def about(
    model: LatentVariableModel, table: Named, data: dict[str, Any], settings: AmortizedVI, key: int,
    linear: LinearRestrictions | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What a checkpoint is of, as plain values."""
    layout = model.layout
    tied = () if linear is None else (linear.matrix, linear.value)
    shape = fingerprint(
        *(np.asarray(a) for name in sorted(layout.index) for a in (layout.index[name], layout.fixed[name])), *tied
    )
    return {
        "model": {"items": list(table.observed), "factors": list(table.factors), "measurement": repr(model.measurement),
                  "latent": repr(model.latent), "pattern": shape},
        "data": data,
        "settings": {**{f: getattr(settings, f) for f in ("particles", "estimator", "batch_size", "max_epochs",
                     "beta", "free_bits", "annealing", "averaging")},
                     "guide": described(guide_of(settings.guide or Amortized())),
                     "optimizer": settings.optimizer is not None, "key": key},
    }  # fmt: skip


def streamed_doubles(streamed: Streamed, size: int) -> Iterator[Arrays]:
    """The persons of a source in the order of the file, in float64."""
    for arrays, _ in streamed.batches(size, 0, 0, shuffle=False):
        y: Any = np.asarray(arrays.y, "float64")
        weight: Any = np.asarray(arrays.weight, "float64")
        yield replace(arrays, y=y, weight=weight)


def summed_up(
    trained: Trained, found: Training, table: ItemTable, batches: Iterator[Arrays], settings: AmortizedVI,
    priors: Priors, latent: Latent | None = None,
) -> tuple[Estimate, tuple[str, ...]]:  # fmt: skip
    """The estimate where training alone has to do, and what should be known about it."""
    free = found.free
    q, (_, basis) = len(free), reduction(table)
    value = variance = 0.0
    poor = n = 0
    cross, observed = np.zeros((q, q)), np.zeros((q, q))
    params = trained.params(free)
    for k, arrays in enumerate(batches):
        own = trained.key + 7919 * k
        each = person_posteriors(trained.model, params, trained.guide, trained.guide_params, arrays, DRAWS, own)
        one = total(each, np.asarray(arrays.weight), DRAWS)
        value, variance = value + one.value, variance + one.standard_error**2
        there = np.asarray(arrays.weight) > 0
        poor, n = poor + poorly_approximated(each, there), n + int(there.sum())
        if settings.se != "none":
            more = information(
                trained.model, trained.networks, free, trained.guide, trained.guide_params, arrays, INFORMATION_DRAWS,
                own, observed=settings.se == "observed",
            )  # fmt: skip
            cross, observed = cross + more[0], observed + more[1]
    log_prior, _, curvature = priors.second_order(trained.model.layout, jnp.asarray(free))
    observed = observed - np.asarray(curvature)
    if settings.se == "none":
        cross, observed = np.full((q, q), np.nan), np.full((q, q), np.nan)
    statistics = {
        "value": -value - float(log_prior), "decrement": np.nan, "information": basis.T @ observed @ basis,
        "cross": basis.T @ cross @ basis, "gradient": np.full(basis.shape[1], np.nan), "log_prior": float(log_prior),
        "standard_error": math.sqrt(variance),
    }  # fmt: skip
    said = []
    if trained.networks and settings.se != "none":
        what = [] if is_normal(latent) else ["the learned distribution of the factors"]
        what += ["the networks of items"] if trained.model.measurement.blocks else []
        said.append(f"Standard errors take {' and '.join(what)} as known.")
    if poor:
        said.append(
            f"The posteriors of {poor} of {n} persons are poorly approximated by the guide (Pareto k > 0.7): take more"
            " particles, a richer guide, or more epochs."
        )
    said += undone_note(trained.undone)
    done = found.finished and found.course.stage == DONE
    code, steps = CONVERGED if done else RUNNING, found.course.epoch
    nothing = np.full((q, q), np.nan)
    return Estimate(free, nothing, value, code, steps, statistics), tuple(said)


def with_sampled(exact: Estimate, sampled: Estimate) -> Estimate:
    """An estimate with the log-likelihood by draws from the guide at its free vector, and the error of that."""
    own = {"sampled": sampled.log_likelihood, "standard_error": sampled.statistics["standard_error"]}
    return exact._replace(statistics=exact.statistics | own)


def log_likelihood_estimate(fitted: ItemFitted, n_draws: int = 1000) -> LogLikelihoodEstimate:
    """The log-likelihood by draws from the guide, with its Monte Carlo standard error.

    Raises ValueError where there is no guide.
    """
    if fitted.amortized is None:
        raise ValueError("log_likelihood_estimate is for sampled log-likelihoods: fit with AmortizedVI().")
    if not fitted.data.n_persons:
        if "standard_error" not in fitted.estimate.statistics:
            raise ValueError("This fit holds no rows: fit.log_likelihoods(data) has those of data you pass.")
        found = fitted.estimate.statistics
        return LogLikelihoodEstimate(found.get("sampled", fitted.log_likelihood), found["standard_error"], DRAWS)
    weight = np.ones(fitted.data.n_persons) if fitted.data.weight is None else fitted.data.weight
    return total(fitted.amortized.posteriors(fitted.free, fitted.data, n_draws, known=True), weight, n_draws)
