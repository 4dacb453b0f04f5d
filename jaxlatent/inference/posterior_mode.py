"""Written priors beside a likelihood: the same engines on likelihood times prior, and what that excludes.

Per person F - log p(free) / N is minimised, with the exact gradient and Hessian of the log-density; the likelihood that
is reported stays the likelihood.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxlatent.inference.chord_engine import Chord
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.newton_engine import Newton
from jaxlatent.inference.priors import Priors
from jaxlatent.inference.settings import ML
from jaxlatent.numerics.newton import Evaluation
from jaxlatent.numerics.types import Array
from jaxlatent.spec.layout import Layout

NOTE = (
    "Estimates are posterior modes, because there are priors, and standard errors come from the Hessian of the log"
    " posterior. The log-likelihood, chi-square, fit indices, AIC and BIC are those of the likelihood at the mode,"
    " which is not its maximum: read them as descriptions."
)


class PriorProblem(NamedTuple):
    """A problem, the layout its priors are about, and the number of persons."""

    inner: Any
    layout: Layout
    n: Array | float


@dataclass(frozen=True)
class _Parts:
    """A function of an engine with the prior's share added; what: "first" or "second" derivatives, or "all"."""

    function: Callable[[Any, Array], Any]
    priors: Priors
    what: str

    def __call__(self, problem: PriorProblem, free: Array) -> Any:
        second_order = self.priors.on_host if isinstance(free, np.ndarray) else self.priors.second_order
        value, gradient, hessian = (-part / problem.n for part in second_order(problem.layout, free))
        safe = jnp.diag(jnp.maximum(jnp.diagonal(hessian), 0.0))  # where the log-density is not concave
        found = self.function(problem.inner, free)
        match self.what:
            case "first":
                return found[0] + value, found[1] + gradient
            case "second":
                return found[0] + hessian, found[1] + safe
        return Evaluation(
            found.value + value, found.gradient + gradient, found.hessian + hessian, found.expected + safe
        )


@dataclass(frozen=True)
class LogPrior:
    """Written priors of a layout."""

    priors: Priors
    layout: Layout

    def __bool__(self) -> bool:
        return self.priors.active

    def around(self, engine: Any, inner: Any, n: float) -> tuple[Any, Any]:
        """The engine and its problem with the prior in them; both as they are without priors."""
        if not self:
            return engine, inner
        problem = PriorProblem(inner, self.layout, float(n))
        if isinstance(engine, Newton):
            return Newton(_Parts(engine.objective, self.priors, "all"), engine.covariance), problem
        first, second = _Parts(engine.first, self.priors, "first"), _Parts(engine.second, self.priors, "second")
        return Chord(first, second), problem

    def apart(self, estimate: Estimate, n: float) -> Estimate:
        """The estimate with the objective's value without the prior, and the log-density in its statistics."""
        if not self:
            return estimate
        value = self.priors.on_host(self.layout, estimate.free)[0]
        statistics = estimate.statistics
        plain = np.asarray(statistics["value"] + value / n)
        return estimate._replace(statistics=statistics | {"value": plain, "log_prior": np.asarray(value)})

    def curvature(self, free: np.ndarray) -> np.ndarray:
        """Minus the Hessian of the log-density [free, free]."""
        return -self.priors.on_host(self.layout, free)[2]


def mode_engine(engine: Any, missing: str | None) -> ML:
    """The engine of a posterior mode: observed information, and the plain test.

    Raises
    ------
    ValueError
        Least squares and two-stage estimation have no likelihood; other standard errors and tests are about maxima.
    """
    if not isinstance(engine, ML):
        raise ValueError(
            f"Priors need a likelihood to act on, and {engine.name} has none: use ML(), or leave the priors out."
        )
    if missing in ("two_stage", "robust_two_stage"):
        raise ValueError(f"missing={missing!r} has no likelihood of the rows for priors to act on: use 'fiml'.")
    if engine.se not in (None, "standard", "none") or engine.test not in (None, "standard", "none"):
        raise ValueError(
            f"With priors, standard errors are those of the log posterior: expected se and test 'standard' or 'none';"
            f" got se={engine.se!r}, test={engine.test!r}."
        )
    information, se, test = engine.information or "observed", engine.se or "standard", engine.test or "standard"
    return replace(engine, information=information, se=se, test=test)


def refuse_mode(priors: Priors, what: str) -> None:
    """Refuse what is about maxima of the likelihood."""
    if priors.active:
        raise ValueError(f"{what} about a maximum of the likelihood, and estimates under priors are not at one.")
