"""Train a model and its guide, on data in memory or in batches; stop, and go on where it stopped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.data.coding import Coding
from jaxlatent.data.scanned import ScannedResponses
from jaxlatent.guides.amortized import Amortized
from jaxlatent.guides.free import BoundFree
from jaxlatent.guides.function import BoundFunction, guide_of
from jaxlatent.guides.guide import BoundGuide
from jaxlatent.guides.semi_amortized import BoundSemiAmortized
from jaxlatent.inference.amortized_loop import TrainState
from jaxlatent.inference.amortized_programs import Programs, programs_for
from jaxlatent.inference.amortized_settings import AmortizedVI
from jaxlatent.inference.amortized_training import (
    DONE,
    MOST_FALLS,
    SEARCH,
    Course,
    Plan,
    course_notes,
    course_of,
    from_batches,
    held_out,
    in_memory,
    train,
)
from jaxlatent.inference.checkpoint import Checkpoints
from jaxlatent.inference.item_model import in_precision
from jaxlatent.inference.priors import Priors
from jaxlatent.inference.progress import step_bar
from jaxlatent.inference.sharding import over_devices
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.models.restricted import LinearRestrictions

RATE = 1e-2
DECODER_RATE = 2e-3  # where p(y | x) is a network
PERSONS_A_WEIGHT = 10  # fewer for each weight of items' networks: then these can learn persons by heart
LEAST_STEPS = 1000  # before the rate is lowered, unless epochs are fewer
STEPS_A_LOOK = 60  # at least, between two looks at the persons held out
SAVE_EVERY = 2.0  # seconds at least between two checkpoints


class Training(NamedTuple):
    """Where training ended: the free vector, the guide and its parameters, networks of the model, and the course."""

    free: np.ndarray
    guide: BoundGuide
    guide_params: Any
    networks: dict[str, Any]
    course: Course
    undone: int
    finished: bool


@dataclass(frozen=True)
class Streamed:
    """A scanned source as batches of coded answers."""

    source: ScannedResponses
    coding: Coding

    def n_batches(self, size: int) -> int:
        return self.source.n_batches(size)

    def batches(self, size: int, key: int, epoch: int, *, shuffle: bool = True) -> Iterator[tuple[Arrays, Any]]:
        """Arrays and persons of each batch; padding has weight 0 and person 0."""
        for b in self.source.batches(size, coding=self.coding, key=key, epoch=epoch, shuffle=shuffle):
            y: Any = b.y if b.y.dtype == np.int8 else b.y.astype(np.float32)
            covariates: Any = None if b.covariates is None else b.covariates.astype(np.float32)
            seen: Any = b.observed
            group: Any = b.group.astype(np.int32)
            weight: Any = b.weight.astype(np.float32)
            yield Arrays(y, seen, group, weight, covariates), np.maximum(b.person, 0).astype(np.int32)


def run_training(
    model: LatentVariableModel,
    arrays: Arrays,
    settings: AmortizedVI,
    priors: Priors,
    key: int,
    progress: bool | None,
    *,
    streamed: Streamed | None = None,
    checkpoints: Checkpoints | None = None,
    linear: LinearRestrictions | None = None,
) -> Training:
    """Train until the bound stops rising; Ctrl-C ends with the last look, and a checkpoint of it.

    arrays: all persons or, of streamed data, a sample, whose bound is watched (these persons learn, too). linear:
    restrictions that the free vector keeps.
    """
    guide = guide_of(settings.guide or Amortized()).bind(model, arrays)
    if isinstance(guide, BoundFunction) and (names := guide.names(in_precision(arrays, jnp.float32))):
        raise ValueError(
            f"The guide's numpyro.param {names[0]!r} would stay at its start: AmortizedVI trains jl.guides; train a"
            " function with numpyro_pair and SVI."
        )
    n = arrays.n_persons if streamed is None else streamed.source.n_persons
    programs = programs_for(model, settings, priors, n, linear)
    decoded = model.measurement.decoder is not None
    cautious = decoded or model.measurement.n_block_weights > n / PERSONS_A_WEIGHT
    plan = plan_of(settings, n, key, decoded=decoded, cautious=cautious)
    state, watching = programs.start(guide, programs.unconstrained(model.layout.start), jax.random.key(key))
    course, finished = Course(), False
    devices = over_devices(plan.batch_size)
    devices.check_same("model, data and settings", *jax.tree.leaves((arrays, model.layout)), np.array([repr(plan)]))
    constants, place = devices.everywhere(guide), devices.persons
    if streamed is None:
        personal = isinstance(guide, BoundFree | BoundSemiAmortized)  # who is held out would learn nothing of their own
        held = np.zeros(0, np.int32) if personal else held_out(n, key)
        data = devices.everywhere(jax.tree.map(jnp.asarray, arrays))
        epoch = in_memory(programs.trainer, constants, plan, data, held, place)
    else:
        held = np.arange(arrays.n_persons, dtype=np.int32)[:: max(arrays.n_persons // 1000, 1)]
        epoch = from_batches(programs.trainer, constants, plan, streamed, place)
    watch = devices.first_says(watcher(programs, guide, arrays, held, watching))
    if checkpoints is not None and (found := checkpoints.latest(state)) is not None:
        state, course = jax.tree.map(jnp.asarray, found.tree), course_of(found.notes)
    devices.check_same("checkpoint, in a folder that all see,", np.array([course.epoch]))
    state = devices.agreed(state)
    shown = progress if progress is not None else sys.stderr.isatty()
    keep = keeper(checkpoints if jax.process_index() == 0 else None)
    with step_bar("AmortizedVI", shown) as say:
        try:
            for look in train(programs.trainer, devices.around(epoch), state, course, plan, watch):
                state = look
                keep(state, course, course.stage == DONE)
                if course.looks:
                    say(spoken(course))
            finished = course.falls <= MOST_FALLS
        except KeyboardInterrupt:
            keep(state, course, True)
    params = state.best if plan.stop_at_best else programs.trainer.shown(state)
    free = np.asarray(programs.free(params), float)
    own, networks = jax.tree.map(np.asarray, (params["guide"], programs.networks(params)))
    return Training(free, guide, own, networks, course, int(state.undone), finished)


def keeper(checkpoints: Checkpoints | None) -> Callable[[TrainState, Course, bool], None]:
    """A function that writes a checkpoint where it is time for one, or where it has to."""
    last = time.monotonic()

    def keep(state: TrainState, course: Course, at_once: bool) -> None:
        nonlocal last
        if checkpoints is None or not (at_once or time.monotonic() - last >= SAVE_EVERY):
            return
        checkpoints.save(course.epoch, state, course_notes(course))
        last = time.monotonic()

    return keep


def plan_of(settings: AmortizedVI, n: int, key: int, *, decoded: bool = False, cautious: bool | None = None) -> Plan:
    """Rates and lengths for n persons. decoded: p(y | x) is a network. cautious: it has one that can learn persons by
    heart, so that the best look is kept; None: where it is decoded.
    """
    batch, epochs = settings.batch_size or n, settings.max_epochs or 1
    steps = max(n // batch, 1)
    a_look, least = max(STEPS_A_LOOK // steps, 1), -(-LEAST_STEPS // steps)
    rate, own = DECODER_RATE if decoded else RATE, settings.optimizer is not None
    least = max(min(least, epochs // 3), settings.annealing)
    return Plan(
        rate,
        a_look,
        epochs,
        batch,
        key,
        least,
        own,
        decoded if cautious is None else cautious,
        settings.annealing,
        settings.averaging,
    )


def watcher(
    programs: Programs, guide: BoundGuide, arrays: Arrays, held: np.ndarray, key: jax.Array
) -> Callable[[Any], np.ndarray]:
    """The bound of every person held out, from the same noise at every look."""
    own = jax.tree.map(lambda a: jnp.asarray(a[held]), arrays)

    def watch(state: Any) -> np.ndarray:
        if not len(held):
            return np.zeros(0)
        return np.asarray(programs.watch(guide, programs.trainer.shown(state), own, jnp.asarray(held), key), float)

    return watch


def spoken(course: Course) -> str:
    """A look in words."""
    look = course.looks[-1]
    held = "" if np.isnan(look.held) else f", held out {look.held:.4f}"
    stage = "search" if course.stage == SEARCH else "settle"
    return f"{stage}, epoch {look.epoch}, bound {-look.loss:.4f}{held}"
