"""When to go on, when to lower the rate, when to stop: training on mini-batches with persons held out.

The rate is held until the held-out bound no longer rises by more than its paired standard error, then lowered to zero
along a cosine, over half as many epochs, with everybody taking part. All randomness follows from the key and the
number of the epoch: a run that is taken up again ends where the uninterrupted one does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.inference.amortized_loop import Pace, Trainer, TrainState

SEARCH, SETTLE, DONE = 0, 1, 2
STALLS = 2  # looks in a row without a gain after which the rate is lowered
STRETCH = 16  # batches from elsewhere that go to the device together
FALL, MOST_FALLS = 0.5, 8  # a bound so much lower for each person is a failure; so many end the run
HELD_SHARE, HELD_LEAST, HELD_MOST = 0.1, 50, 1000


class Look(NamedTuple):
    """One look at a run: epochs so far, loss a person, held-out bound a person and its standard error."""

    epoch: int
    loss: float
    held: float
    held_se: float


@dataclass
class Course:
    """Where a run is: what a checkpoint keeps besides the state. Host only."""

    stage: int = SEARCH
    epoch: int = 0
    settle_from: int = 0
    settle_epochs: int = 0
    stalls: int = 0
    best: np.ndarray | None = None  # held-out bounds [person] of the best look
    looks: list[Look] = field(default_factory=list)
    falls: int = 0  # looks from which the run went back to the best one
    fell: bool = False  # the last look was one of them
    is_best: bool = True  # the last look is the best so far


@dataclass(frozen=True)
class Plan:
    """Rates and lengths: base rate, epochs a look, epochs at most, persons a step."""

    rate: float
    epochs_a_look: int
    max_epochs: int
    batch_size: int
    key: int
    least_epochs: int = 0  # before the rate is lowered
    own_rate: bool = False  # the optimiser has a rate of its own
    stop_at_best: bool = False  # who is held out never learns; rates are lowered from the best look, which is kept
    annealing: int = 0  # epochs over which the weight of the divergence rises to 1
    averaging: float = 0.0  # share of the steps after the rate was held, the last of them, that are averaged


def held_out(n: int, key: int) -> np.ndarray:
    """Rows whose bound is watched; none where persons are few."""
    count = min(int(HELD_SHARE * n), HELD_MOST)
    if count < HELD_LEAST:
        return np.zeros(0, np.int32)
    return np.sort(np.random.default_rng((key, 2**20)).permutation(n)[:count]).astype(np.int32)


def batches_of(rows: np.ndarray, n: int, plan: Plan, epoch: int) -> np.ndarray:
    """Rows of the steps of one epoch [step, person] in a new order, as many as n persons make, whoever takes part."""
    order = np.random.default_rng((plan.key, epoch)).permutation(rows)
    return np.resize(order, (max(n // plan.batch_size, 1), plan.batch_size)).astype(np.int32)


def rates_of(course: Course, plan: Plan, steps: int) -> np.ndarray:
    """Rates of the steps of the next epoch."""
    if plan.own_rate:
        return np.ones(steps, np.float32)
    if course.stage == SEARCH:
        return np.full(steps, plan.rate, np.float32)
    return (plan.rate * (1 + np.cos(math.pi * settled_share(course, steps))) / 2).astype(np.float32)


def settled_share(course: Course, steps: int) -> np.ndarray:
    """Of each step of the next epoch, where it is among those after the rate was held, 0 to 1."""
    return np.minimum((course.epoch - course.settle_from + np.arange(steps) / steps) / course.settle_epochs, 1)


def pace_of(course: Course, plan: Plan, steps: int) -> Pace:
    """Rates of the steps of the next epoch, weights of the divergence, and which steps are averaged."""
    weight = averaged = None
    if plan.annealing:
        weight = np.minimum((course.epoch + np.arange(1, steps + 1) / steps) / plan.annealing, 1).astype(np.float32)
    if plan.averaging:
        late = course.stage == SETTLE and settled_share(course, steps) >= 1 - plan.averaging
        averaged = np.broadcast_to(late, steps).astype(np.float32)
    return Pace(rates_of(course, plan, steps), weight, averaged)


def judge(course: Course, plan: Plan, loss: float, held: np.ndarray) -> None:
    """Note a look and decide what comes next. held: bounds [person] of the persons held out, [0] if there are none."""
    n = len(held)
    annealed = course.epoch <= plan.annealing  # another objective: neither better nor worse than later looks
    course.fell = has_fallen(course, loss, held, math.inf if plan.stop_at_best or annealed else FALL, plan.annealing)
    if course.fell:
        course.falls += 1
        course.stage = DONE if course.falls > MOST_FALLS else course.stage
        return
    spread = held.std(ddof=1) / math.sqrt(n) if n > 1 else math.nan
    course.looks.append(Look(course.epoch, loss, float(held.mean()) if n else math.nan, spread))
    if annealed and course.epoch < plan.max_epochs:
        course.is_best = True
        return
    if course.stage == SETTLE:
        course.is_best = is_best(course, held, plan.annealing)
        if course.is_best and n:
            course.best = held
        if course.epoch >= course.settle_from + course.settle_epochs:
            course.stage = DONE
        return
    if n:
        gain = math.inf if course.best is None else _gain(held - course.best)
    else:
        losses = [look.loss for look in course.looks if look.epoch > plan.annealing]
        gain = 2.0 if len(losses) < 4 or losses[-1] < min(losses[:-1]) else 0.0
    course.is_best = is_best(course, held, plan.annealing)
    if course.is_best and n:
        course.best = held
    course.stalls = 0 if gain > 1 else course.stalls + 1
    stalled = course.stalls >= STALLS and course.epoch >= plan.least_epochs
    if stalled or course.epoch >= (2 * plan.max_epochs) // 3:
        course.stage, course.settle_from = SETTLE, course.epoch
        left = max(plan.max_epochs - course.epoch, 1)
        course.settle_epochs = max(min(course.epoch // 2, left), min(plan.least_epochs, left), 1)


def is_best(course: Course, held: np.ndarray, annealing: int = 0) -> bool:
    """Whether the last look is the best so far, of those after annealing."""
    if not len(held):
        return course.looks[-1].loss <= min(look.loss for look in course.looks if look.epoch > annealing)
    return course.best is None or bool(held.mean() > course.best.mean())


def has_fallen(course: Course, loss: float, held: np.ndarray, most: float = FALL, annealing: int = 0) -> bool:
    """Whether the bound is not finite, or by so much below that of the best look (the loss, if none is held out)."""
    if not len(held):
        best = min((look.loss for look in course.looks if look.epoch > annealing), default=math.inf)
        return not math.isfinite(loss) or loss > best + most
    if course.best is None:
        return not np.isfinite(held).all()
    return not np.isfinite(held).all() or bool(held.mean() < course.best.mean() - most)


def _gain(difference: np.ndarray) -> float:
    """The mean of paired differences in its standard errors."""
    error = difference.std(ddof=1) / math.sqrt(len(difference))
    return float(difference.mean() / error) if error > 0 else 0.0


Epoch = Callable[[TrainState, Course], tuple[TrainState, float]]  # one pass over those who learn, and its loss


def train(
    trainer: Trainer,
    epoch: Epoch,
    state: TrainState,
    course: Course,
    plan: Plan,
    watch: Callable[[TrainState], np.ndarray],
) -> Iterator[TrainState]:
    """The state at one look after the other, until it is done. The course is kept up.

    From a look with a bound that is far too low it goes back to the best one, at a quarter of the rate.
    """
    while course.stage != DONE:
        loss = math.nan
        for _ in range(plan.epochs_a_look):
            state, loss = epoch(state, course)
            course.epoch += 1
            if course.stage == SETTLE and course.epoch >= course.settle_from + course.settle_epochs:
                break
        before = course.stage
        judge(course, plan, loss, watch(state))
        state = (
            trainer.back(state)
            if course.fell
            else state._replace(best=trainer.shown(state))
            if course.is_best
            else state
        )
        if plan.stop_at_best and (before, course.stage) == (SEARCH, SETTLE):
            state = state._replace(params=state.best, optimizer=trainer.optimizer.init(state.best))
        yield state


def in_memory(
    trainer: Trainer, constants: Any, plan: Plan, data: Arrays, held: np.ndarray, place: Callable[[Any], Any]
) -> Epoch:
    """Epochs over data that lie on the device; persons held out take part once the rate is lowered."""
    n = data.n_persons
    everyone = np.arange(n, dtype=np.int32)
    learners = np.setdiff1d(everyone, held).astype(np.int32)

    def epoch(state: TrainState, course: Course) -> tuple[TrainState, float]:
        settled = course.stage == SETTLE and not plan.stop_at_best
        rows = batches_of(everyone if settled else learners, n, plan, course.epoch)
        state, loss = trainer.stretch(constants, state, data, place(rows), pace_of(course, plan, len(rows)))
        return state, float(loss.mean())

    return epoch


def from_batches(
    trainer: Trainer, constants: Any, plan: Plan, source: BatchSource, place: Callable[[Any], Any]
) -> Epoch:
    """Epochs over data that come in batches, STRETCH of them compiled as one scan."""
    steps = source.n_batches(plan.batch_size)

    def epoch(state: TrainState, course: Course) -> tuple[TrainState, float]:
        pace = pace_of(course, plan, steps)
        waiting: list[tuple[Arrays, Any]] = []
        losses, done = [], 0
        for batch in source.batches(plan.batch_size, plan.key, course.epoch):
            waiting.append(batch)
            if len(waiting) == STRETCH or done + len(waiting) == steps:
                arrays, rows = jax.tree.map(lambda *a: np.stack(a), *waiting)
                at = slice(done, done + len(waiting))
                own = jax.tree.map(lambda a, at=at: a[at], pace)
                state, loss = trainer.streamed(constants, state, place(arrays), place(rows), own)
                losses.append(loss)
                done, waiting = done + len(waiting), []
        return state, float(np.mean(np.concatenate(jax.device_get(losses))))

    return epoch


class BatchSource(Protocol):
    """Data in batches of one size, in an order that follows from key and epoch."""

    def n_batches(self, size: int) -> int:
        """Batches of an epoch."""

    def batches(self, size: int, key: int, epoch: int) -> Iterator[tuple[Arrays, Any]]:
        """Arrays and rows of each batch; padding has weight 0."""


# ---- checkpoints ----------------------------------------------------------------------------------------------------


PLAIN = ("stage", "epoch", "settle_from", "settle_epochs", "stalls", "falls")


def course_notes(course: Course) -> dict[str, Any]:
    """A course as plain values."""
    plain = {f: getattr(course, f) for f in PLAIN}
    best = None if course.best is None else [float(b) for b in course.best]
    return {**plain, "best": best, "looks": [[float(v) for v in look] for look in course.looks]}


def course_of(notes: dict[str, Any]) -> Course:
    """The course of such values."""
    looks = [Look(int(look[0]), *look[1:]) for look in notes["looks"]]
    best = None if notes["best"] is None else np.array(notes["best"])
    plain = {f: notes[f] for f in PLAIN}
    return Course(**plain, best=best, looks=looks)
