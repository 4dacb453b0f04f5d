"""Deep models by amortized inference: train decoder and guide, then the exact maximum where the integral has one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.data.responses import Responses
from jaxlatent.guides.function import guide_of
from jaxlatent.inference.amortized_fit import Trained, about, undone_note
from jaxlatent.inference.amortized_run import run_training
from jaxlatent.inference.amortized_settings import AmortizedVI
from jaxlatent.inference.amortized_training import DONE
from jaxlatent.inference.checkpoint import Checkpoints, fingerprint
from jaxlatent.inference.deep_columns import Columns
from jaxlatent.inference.deep_polish import Exact, exact_rule, polished
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.importance import (
    LogLikelihoodEstimate,
    PersonPosterior,
    fresh,
    person_posteriors,
    poorly_approximated,
    resampled,
)
from jaxlatent.inference.priors import Priors
from jaxlatent.latent.mixture import Mixture
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.newton import CONVERGED, RUNNING
from jaxlatent.spec.occasions import Occasions

DRAWS = 200  # of each person, for scores
LIKELIHOOD_DRAWS = 1000  # of each person, for log-likelihoods
AT_ONCE = 50_000  # persons x draws of a chunk
COMPONENT_DRAWS = 50  # of each person, for probabilities of components
ACTIVE = 0.01  # variance over persons of the posterior mean from which a latent variable is active


@dataclass(frozen=True)
class DeepFitted:
    """A fitted deep model: everything scores, pictures and tables are computed from. rule: None where it is sampled."""

    model: LatentVariableModel
    columns: Columns
    factors: tuple[str, ...]
    codes: np.ndarray | None
    weight: np.ndarray | None
    responses: Responses | None
    engine: AmortizedVI
    trained: Trained
    rule: Exact | None
    estimate: Estimate
    n_persons: int
    notes: tuple[str, ...] = ()
    key: int = 0
    cache: dict[str, Any] = field(default_factory=dict)
    occasions: Occasions | None = None  # columns and factors are those of several occasions, one after the other

    @property
    def observed(self) -> tuple[str, ...]:
        return self.columns.names

    @property
    def n_parameters(self) -> int:
        """Free cells and weights of the model's networks (not those of the guide)."""
        return self.model.layout.n_free + sum(int(np.size(leaf)) for leaf in jax.tree.leaves(self.trained.networks))

    @property
    def matrices(self) -> dict[str, np.ndarray]:
        """Named matrices [1, ...] without networks."""
        params = self.trained.params(np.asarray(self.estimate.free))
        return {name: params[name] for name in self.model.layout.index}

    @property
    def params(self) -> dict[str, Any]:
        """Matrices [1, ...] and networks, float32 (float64 where an exact rule uses them)."""
        params = self.trained.params(np.asarray(self.estimate.free))
        return params if self.rule is not None else single(params)

    def posteriors(self, codes: np.ndarray, n_draws: int, *, known: bool, key: int | None = None) -> PersonPosterior:
        """Every person's posterior and log p(y) of raw values."""
        with jax.enable_x64(True):
            arrays = deep_arrays(codes, None, "float64" if self.rule is not None else "float32")
            if self.rule is not None:
                found = self.rule.posteriors(self.model, jax.tree.map(jnp.asarray, self.params), arrays)
            else:
                t = self.trained
                found = person_posteriors(
                    self.model, self.params, t.guide, t.guide_params, arrays, n_draws,
                    self.key if key is None else key, known=known, most=AT_ONCE,
                )  # fmt: skip
        marginal = np.asarray(found.log_marginal, float) - self.columns.log_scale(~np.isnan(codes))
        return PersonPosterior(marginal, *(np.asarray(a, float) for a in found[1:]))

    def draws(self, codes: np.ndarray, n: int, key: int, *, known: bool) -> np.ndarray:
        """n draws of x [person, draw, D] from every person's posterior."""
        with jax.enable_x64(True):
            arrays, t = deep_arrays(codes, None), self.trained
            return resampled(
                self.model, single(self.params), t.guide, t.guide_params, arrays, max(DRAWS, 16 * n), n, key,
                known=known,
            )  # fmt: skip

    def decode(self, x: np.ndarray) -> np.ndarray:
        """E(y | x) in raw values [..., column] at x [..., D]."""
        with jax.enable_x64(True):
            given = fresh((self.model, single(self.params), self._anywhere(x)))
            return self._of_one(self.columns.decode(np.asarray(_expected(*given), float)))

    def deviations(self, x: np.ndarray) -> np.ndarray:
        """Standard deviations of normal columns given x [..., column], in raw units; nan of other columns."""
        with jax.enable_x64(True):
            given = fresh((self.model, single(self.params), self._anywhere(x)))
            return self._of_one(np.sqrt(np.asarray(_variance(*given), float)) * self.columns.scale)

    def _anywhere(self, x: np.ndarray) -> np.ndarray:
        """x of one occasion [..., D] as that of the first of several; they are decoded alike."""
        n = 1 if self.occasions is None else self.occasions.n
        return np.concatenate([x, np.zeros((*x.shape[:-1], (n - 1) * x.shape[-1]))], -1).astype(np.float32)

    def _of_one(self, y: np.ndarray) -> np.ndarray:
        """Columns of the first occasion."""
        return y if self.occasions is None else y[..., : len(self.occasions.items)]

    def log_prior(self, x: np.ndarray) -> np.ndarray:
        """log p(x) [row] at x [row, D]."""
        with jax.enable_x64(True):
            return np.asarray(_log_prior(*fresh((self.model, self.params, np.asarray(x, float)))), float)

    def components(self, codes: np.ndarray, key: int, *, known: bool) -> np.ndarray:
        """p(component | y) of a mixture of latent variables [person, component], by draws of x; largest weight first.

        Raises ValueError where the latent variables have no such distribution.
        """
        if not isinstance(self.model.latent, Mixture):
            raise ValueError(
                "Components are of latent variables that are a mixture: fit with latent=jl.latent.Mixture(k)."
            )
        x = self.draws(codes, COMPONENT_DRAWS, key, known=known)
        with jax.enable_x64(True):
            share, weights = _components(*fresh((self.model, single(self.params), x.astype(np.float32))))
        return np.asarray(share, float)[:, np.argsort(-np.asarray(weights), kind="stable")]

    def sample(self, n: int, key: int, x: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Draws of x [n, D] and of raw values [n, column]; or of raw values at these x."""
        with jax.enable_x64(True):
            given = fresh((self.model, single(self.params)))
            at = None if x is None else jnp.asarray(np.asarray(x, np.float32))
            drawn, y = _sampled(n, *given, at, jax.random.key(key))
            return np.asarray(drawn, float), self.columns.decode(np.asarray(y, float))


def deep_arrays(codes: np.ndarray, weight: np.ndarray | None, dtype: str = "float32") -> Arrays:
    """Coded values in NumPy arrays, 0 where missing."""
    seen: Any = ~np.isnan(codes)
    y: Any = np.where(seen, codes, 0).astype(dtype)
    w: Any = np.ones(len(codes), dtype) if weight is None else weight.astype(dtype)
    group: Any = np.zeros(len(codes), np.int32)
    return Arrays(y, seen, group, w)


def single(tree: Any) -> Any:
    """Numbers in NumPy arrays of single precision."""
    return jax.tree.map(lambda a: np.asarray(a, np.float32), tree)


@jax.jit
def _expected(model: LatentVariableModel, params: Any, x: jax.Array) -> jax.Array:
    flat = x.reshape(-1, x.shape[-1])
    found = model.measurement.expected(params, flat, jnp.zeros(len(flat), jnp.int32))
    return found.reshape(*x.shape[:-1], found.shape[-1])


@jax.jit
def _variance(model: LatentVariableModel, params: Any, x: jax.Array) -> jax.Array:
    return model.measurement.variance(params, x, jnp.zeros(len(x), jnp.int32))


@jax.jit
def _log_prior(model: LatentVariableModel, params: Any, x: jax.Array) -> jax.Array:
    return model.latent_distribution(params, _nobody(model, len(x))).log_prob(x)


@jax.jit
def _components(model: LatentVariableModel, params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean over draws x [person, draw, D] of p(component | x), and log-weights [component]."""
    flat = x.reshape(-1, x.shape[-1])
    found: Any = model.latent_distribution(params, _nobody(model, len(flat)))
    share = jax.nn.softmax(found.standard.log_joint(found.standardize(flat)[0]))
    return share.reshape(*x.shape[:2], -1).mean(1), found.standard.log_weights


def _nobody(model: LatentVariableModel, n: int) -> Arrays:
    """n rows with nothing observed."""
    blank = jnp.zeros((n, model.measurement.n_items), jnp.float32)
    return Arrays(blank, blank == 0, jnp.zeros(n, jnp.int32), jnp.ones(n, jnp.float32))


@partial(jax.jit, static_argnums=0)
def _sampled(n: int, model: LatentVariableModel, params: Any, x: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    ours, theirs = jax.random.split(key)
    if x is None:
        x = model.latent_distribution(params, _nobody(model, n)).sample(ours, (n,))
    return x, model.measurement.sample(theirs, params, x, jnp.zeros(n, jnp.int32))


def fit_deep(
    model: LatentVariableModel,
    columns: Columns,
    factors: tuple[str, ...],
    responses: Responses,
    codes: np.ndarray,
    engine: AmortizedVI,
    *,
    notes: Sequence[str] = (),
    key: int = 0,
    progress: bool | None = None,
    checkpoint: str | Path | None = None,
    occasions: Occasions | None = None,
) -> DeepFitted:
    """Train model and guide together; polish where the integral is exact; sum up the likelihood."""
    settings = engine.resolve(len(codes))
    arrays = deep_arrays(codes, responses.weight)
    rule = exact_rule(model, len(codes)) if engine.polish else None
    if rule is not None and engine.max_epochs is None:
        rough = max(600 * settings.batch_size // len(codes), 2, 2 * settings.annealing)  # type: ignore[operator]
        settings = replace(settings, max_epochs=rough)
    checkpoints = None
    if checkpoint is not None:
        named = _Names(columns.names, factors)
        seen = {"values": fingerprint(*jax.tree.leaves(arrays))}
        checkpoints = Checkpoints.at(checkpoint, about(model, named, seen, settings, key))
    found = run_training(model, arrays, settings, Priors(), key, progress, checkpoints=checkpoints)
    trained = Trained(
        model, found.guide, found.guide_params, found.networks, tuple(found.course.looks), found.undone, key
    )
    done = found.finished and found.course.stage == DONE
    free, steps = found.free, found.course.epoch
    said = [*notes, *undone_note(found.undone)]
    if rule is not None and found.finished:
        with jax.enable_x64(True):
            double = jax.tree.map(jnp.asarray, deep_arrays(codes, responses.weight, "float64"))
            free, done, more = polished(rule, model, free, double)
        steps += more
        said.append("The likelihood is exact: its maximum was found by L-BFGS from where training ended.")
    elif rule is not None:
        rule = None
    estimate = Estimate(free, None, math.nan, CONVERGED if done else RUNNING, steps, {})
    fitted = DeepFitted(
        model, columns, factors, codes, responses.weight, responses, settings, trained, rule, estimate, len(codes),
        tuple(said), key, occasions=occasions,
    )  # fmt: skip
    return summed_up(fitted)


@dataclass(frozen=True)
class _Names:
    observed: tuple[str, ...]
    factors: tuple[str, ...]


def summed_up(fitted: DeepFitted) -> DeepFitted:
    """The fit with its log-likelihood, and what should be known about it."""
    assert fitted.codes is not None
    each = fitted.posteriors(fitted.codes, DRAWS, known=True)
    weight = np.ones(fitted.n_persons) if fitted.weight is None else fitted.weight
    value = float(weight @ each.log_marginal)
    error = math.sqrt(float(weight**2 @ np.maximum(each.variance, 0)))
    said = list(fitted.notes)
    poor = poorly_approximated(each, np.ones(fitted.n_persons, bool)) if fitted.rule is None else 0
    if poor > fitted.n_persons // 20:
        said.append(
            f"The posteriors of {poor} of {fitted.n_persons} persons are poorly approximated by the guide (Pareto k >"
            " 0.7), so that their log-likelihoods are rough: take more particles, or a richer guide."
        )
    sleeping = int((each.mean.var(0) <= ACTIVE).sum())
    if sleeping:
        said.append(f"{sleeping} of {each.mean.shape[1]} latent variables are not used (see fit.active_units()).")
    estimate = fitted.estimate._replace(log_likelihood=value, statistics={"standard_error": error})
    return replace(fitted, estimate=estimate, notes=tuple(said), cache={"posterior": each})


def deep_log_likelihood_estimate(fitted: DeepFitted, n_draws: int = LIKELIHOOD_DRAWS) -> LogLikelihoodEstimate:
    """The log-likelihood of the fitted persons with its Monte Carlo standard error, 0 where it is exact.

    Raises ValueError where the fit holds no rows.
    """
    if fitted.codes is None:
        raise ValueError("This fit holds no rows: fit.log_likelihoods(data) has those of data you pass.")
    each = fitted.posteriors(fitted.codes, n_draws, known=True)
    weight = np.ones(fitted.n_persons) if fitted.weight is None else fitted.weight
    error = math.sqrt(float(weight**2 @ np.maximum(each.variance, 0)))
    return LogLikelihoodEstimate(float(weight @ each.log_marginal), error, n_draws)


def default_guide(settings: AmortizedVI, guide: Any) -> AmortizedVI:
    """The engine with this guide where it has none."""
    return replace(settings, guide=guide_of(settings.guide or guide))
