"""When to go on, when to lower the rate, when to stop: training on mini-batches with persons held out.

The rate is held until the held-out bound no longer rises by more than its paired standard error, then lowered to zero
along a cosine, over half as many epochs, with everybody taking part. All randomness follows from the key and the
number of the epoch: a run that is taken up again ends where the uninterrupted one does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.inference.amortized_loop import Trainer, TrainState

SEARCH, SETTLE, DONE = 0, 1, 2
STALLS = 2  # looks in a row without a gain after which the rate is lowered
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
    share = (course.epoch - course.settle_from + np.arange(steps) / steps) / course.settle_epochs
    return (plan.rate * (1 + np.cos(math.pi * np.minimum(share, 1))) / 2).astype(np.float32)


def judge(course: Course, plan: Plan, loss: float, held: np.ndarray) -> None:
    """Note a look and decide what comes next. held: bounds [person] of the persons held out, [0] if there are none."""
    n = len(held)
    spread = held.std(ddof=1) / math.sqrt(n) if n > 1 else math.nan
    course.looks.append(Look(course.epoch, loss, float(held.mean()) if n else math.nan, spread))
    if course.stage == SETTLE:
        if course.epoch >= course.settle_from + course.settle_epochs:
            course.stage = DONE
        return
    if n:
        gain = math.inf if course.best is None else _gain(held - course.best)
    else:
        losses = [look.loss for look in course.looks]
        gain = 2.0 if len(losses) < 4 or losses[-1] < min(losses[:-1]) else 0.0
    if gain > 0 and n and (course.best is None or held.mean() > course.best.mean()):
        course.best = held
    course.stalls = 0 if gain > 1 else course.stalls + 1
    stalled = course.stalls >= STALLS and course.epoch >= plan.least_epochs
    if stalled or course.epoch >= (2 * plan.max_epochs) // 3:
        course.stage, course.settle_from = SETTLE, course.epoch
        left = max(plan.max_epochs - course.epoch, 1)
        course.settle_epochs = max(min(course.epoch // 2, left), min(plan.least_epochs, left), 1)


def _gain(difference: np.ndarray) -> float:
    """The mean of paired differences in its standard errors."""
    error = difference.std(ddof=1) / math.sqrt(len(difference))
    return float(difference.mean() / error) if error > 0 else 0.0


def train(
    trainer: Trainer,
    constants: Any,
    state: TrainState,
    course: Course,
    plan: Plan,
    data: Arrays,
    watch: Callable[[TrainState], np.ndarray],
    held: np.ndarray,
) -> Iterator[TrainState]:
    """The state at one look after the other, until it is done; data lie on the device. The course is kept up."""
    everyone = np.arange(data.n_persons, dtype=np.int32)
    learners = np.setdiff1d(everyone, held).astype(np.int32)
    while course.stage != DONE:
        losses = []
        for _ in range(plan.epochs_a_look):
            who = everyone if course.stage == SETTLE else learners
            rows = batches_of(who, data.n_persons, plan, course.epoch)
            state, loss = trainer.stretch(constants, state, data, rows, rates_of(course, plan, len(rows)))
            losses.append(loss)
            course.epoch += 1
            if course.stage == SETTLE and course.epoch >= course.settle_from + course.settle_epochs:
                break
        judge(course, plan, float(np.mean(jax.device_get(losses[-1]))), watch(state))
        yield state
