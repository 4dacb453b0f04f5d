"""Train a model and its guide on data in memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.guides.amortized import Amortized
from jaxlatent.guides.function import guide_of
from jaxlatent.guides.guide import BoundGuide
from jaxlatent.inference.amortized_programs import Programs, programs_for
from jaxlatent.inference.amortized_settings import AmortizedVI
from jaxlatent.inference.amortized_training import SEARCH, Course, Plan, held_out, train
from jaxlatent.inference.priors import Priors
from jaxlatent.inference.progress import step_bar
from jaxlatent.models.latent_variable_model import LatentVariableModel

RATE = 1e-2
LEAST_STEPS = 1000  # before the rate is lowered, unless epochs are fewer
STEPS_A_LOOK = 60  # at least, between two looks at the persons held out


class Training(NamedTuple):
    """Where training ended: the free vector, the guide and its parameters, networks of the model, and the course."""

    free: np.ndarray
    guide: BoundGuide
    guide_params: Any
    networks: dict[str, Any]
    course: Course
    undone: int
    finished: bool


def train_in_memory(
    model: LatentVariableModel, arrays: Arrays, settings: AmortizedVI, priors: Priors, key: int, progress: bool | None
) -> Training:
    """Train until the held-out bound stops rising; Ctrl-C ends with the last look."""
    guide = guide_of(settings.guide or Amortized()).bind(model, arrays)
    programs = programs_for(model, arrays, settings, priors)
    n = arrays.n_persons
    held = held_out(n, key)
    plan = plan_of(settings, n, key)
    state, watching = programs.start(guide, programs.unconstrained(model.layout.start), jax.random.key(key))
    device = jax.tree.map(jnp.asarray, arrays)
    watch = watcher(programs, guide, arrays, held, watching)
    course, finished = Course(), False
    shown = progress if progress is not None else sys.stderr.isatty()
    with step_bar("AmortizedVI", shown) as say:
        try:
            for look in train(programs.trainer, guide, state, course, plan, device, watch, held):
                state = look
                say(spoken(course))
            finished = True
        except KeyboardInterrupt:
            pass
    params = state.params
    free = np.asarray(programs.free(params), float)
    own, networks = jax.tree.map(np.asarray, (params["guide"], programs.networks(params)))
    return Training(free, guide, own, networks, course, int(state.undone), finished)


def plan_of(settings: AmortizedVI, n: int, key: int) -> Plan:
    """Rates and lengths for n persons."""
    batch, epochs = settings.batch_size or n, settings.max_epochs or 1
    steps = max(n // batch, 1)
    a_look, least = max(STEPS_A_LOOK // steps, 1), -(-LEAST_STEPS // steps)
    return Plan(RATE, a_look, epochs, batch, key, min(least, epochs // 3), settings.optimizer is not None)


def watcher(
    programs: Programs, guide: BoundGuide, arrays: Arrays, held: np.ndarray, key: jax.Array
) -> Callable[[Any], np.ndarray]:
    """The bound of every person held out, from the same noise at every look."""
    own = jax.tree.map(lambda a: jnp.asarray(a[held]), arrays)

    def watch(state: Any) -> np.ndarray:
        if not len(held):
            return np.zeros(0)
        return np.asarray(programs.watch(guide, state.params, own, jnp.asarray(held), key), float)

    return watch


def spoken(course: Course) -> str:
    """A look in words."""
    look = course.looks[-1]
    held = "" if np.isnan(look.held) else f", held out {look.held:.4f}"
    stage = "search" if course.stage == SEARCH else "settle"
    return f"{stage}, epoch {look.epoch}, bound {-look.loss:.4f}{held}"
