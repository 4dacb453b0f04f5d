"""Settings of variational Bayes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxlatent.inference.exploratory_settings import check_steps


@dataclass(frozen=True)
class VariationalBayes:
    """Fully factorised variational Bayes of factor analysis with conjugate priors and closed-form updates.

    q(x) q(Λ) q(μ) q(ν) q(τ), with automatic relevance determination: every factor's loadings have a precision ν_k of
    their own, which grows without bound for factors that are not needed (Bishop 1999; Ghahramani and Beal 2000).
    ard: False gives all loadings the precision 1. shape, rate: of the Gamma priors of ν and of noise precisions τ.
    tolerance: of the gain of the bound per person in a step.

    Raises ValueError naming the option where a value is not among its choices.
    """

    ard: bool = True
    shape: float = 1e-3
    rate: float = 1e-3
    tolerance: float = 1e-9
    max_steps: int = 20_000

    def __post_init__(self) -> None:
        if not isinstance(self.ard, bool | np.bool_):
            raise ValueError(f"Expected ard to be True or False; got {self.ard!r}.")
        for name, value in (("shape", self.shape), ("rate", self.rate)):
            _positive(name, value)
        check_steps(self.tolerance, self.max_steps)

    @property
    def name(self) -> str:
        """What tables call it."""
        return "VariationalBayes"


def _positive(name: str, value: Any) -> None:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not (number and np.isfinite(value) and value > 0):
        raise ValueError(f"Expected {name} to be a positive number; got {value!r}.")
