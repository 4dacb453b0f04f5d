"""Settings of engines for exploratory factor models: EM, and what stands for extractions that are no likelihood's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxlatent.inference.settings import INFORMATION, ML, SE, TESTS, _one_of

NOISE = ("diagonal", "isotropic")


@dataclass(frozen=True)
class EM:
    """Expectation-maximisation of factor analysis (noise="diagonal") or probabilistic PCA (noise="isotropic").

    Both steps in closed form, missing values included; the likelihood never falls. accelerate: squared extrapolation
    (SQUAREM, Varadhan and Roland 2008), taken back where it would lower the likelihood. tolerance: of the gain in
    log-likelihood per person of a step. information, se, test: as for ML, whose maximum this is.

    Raises ValueError naming the option where a value is not among its choices. Rubin and Thayer (1982), Psychometrika
    47; Tipping and Bishop (1999), JRSS B 61; Ghahramani and Hinton (1996).
    """

    noise: str = "diagonal"
    accelerate: bool = True
    tolerance: float = 1e-11
    max_steps: int = 20_000
    information: str | None = None
    se: str | None = None
    test: str | None = None

    likelihood = "normal"
    unbiased = False
    penalty = None

    def __post_init__(self) -> None:
        if self.noise not in NOISE:
            raise ValueError(f"Expected noise to be one of {', '.join(NOISE)}; got {self.noise!r}.")
        if not isinstance(self.accelerate, bool | np.bool_):
            raise ValueError(f"Expected accelerate to be True or False; got {self.accelerate!r}.")
        check_steps(self.tolerance, self.max_steps)
        _one_of("information", self.information, INFORMATION)
        _one_of("se", self.se, SE)
        _one_of("test", self.test, TESTS)

    @property
    def name(self) -> str:
        """What tables call it."""
        return "EM"

    def resolve(self, *, missing: bool, weights: bool, cluster: bool, two_stage: str | None) -> EM:
        """The same engine with nothing left at None."""
        like = ML(information=self.information, se=self.se, test=self.test)
        found = like.resolve(missing=missing, weights=weights, cluster=cluster, two_stage=two_stage)
        return replace(self, information=found.information, se=found.se, test=found.test)


@dataclass(frozen=True)
class LeastSquaresExtraction:
    """Minimum residuals or principal axes: no likelihood, so no standard errors; tests are ML's at its solution."""

    method: str

    se = "none"
    test = "standard"
    information = "expected"
    likelihood = "normal"
    unbiased = False

    @property
    def name(self) -> str:
        """What tables call it."""
        return {"minres": "MINRES", "pa": "Principal axis"}[self.method]


def check_steps(tolerance: Any, max_steps: Any) -> None:
    """Refuse tolerances and limits of steps that are not positive."""
    number = isinstance(tolerance, int | float | np.number) and not isinstance(tolerance, bool)
    if not (number and 0 < tolerance < 1):
        raise ValueError(f"Expected tolerance between 0 and 1; got {tolerance!r}.")
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise ValueError(f"Expected max_steps to be a whole number from 1; got {max_steps!r}.")
