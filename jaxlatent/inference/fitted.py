"""A fitted Gaussian model: everything standard errors, tests and tables are computed from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from jaxlatent.data.incomplete import Buckets, cases_of
from jaxlatent.data.moments import GroupMoments
from jaxlatent.data.responses import Responses
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.moment_model import MomentModel
from jaxlatent.inference.priors import Priors
from jaxlatent.spec.layout import Layout, Places
from jaxlatent.spec.restrictions_matrix import null_space
from jaxlatent.spec.table import ParameterTable


@dataclass(frozen=True)
class Fitted:
    """Model, data and estimate.

    moments: what was fitted (for FIML the saturated maximum likelihood moments). missing: "complete", "fiml",
    "two_stage", ... restrictions [k, n_free]: Jacobian of the active constraints at the estimate; equalities counts
    those that cost a parameter (inequalities do not).
    """

    table: ParameterTable
    places: Places
    layout: Layout
    moments: GroupMoments
    engine: Any
    missing: str
    estimate: Estimate
    data: Responses | None
    group_labels: tuple[str, ...]
    saturated_log_likelihood: float
    log_likelihood: float
    restrictions: np.ndarray
    equalities: int
    weight_matrix: tuple[np.ndarray, ...] | None = None
    notes: tuple[str, ...] = ()
    made_cases: tuple[Buckets, ...] | None = None
    saturated_cache: dict = field(default_factory=dict)  # information of the saturated model, shared with the baseline
    priors: Priors = field(default_factory=Priors)  # written ones: the estimate is then a posterior mode

    @property
    def rows(self) -> Responses:
        """The data, for what cannot be computed without them."""
        if self.data is None:
            raise ValueError(
                "This needs the rows, and the fit holds none (it was fitted to moments, or saved without its data):"
                " fit the rows, or save with include_data=True."
            )
        return self.data

    @property
    def weights(self) -> tuple[np.ndarray, ...]:
        """W by group of a least squares fit."""
        if self.weight_matrix is None:
            raise ValueError(f"{self.engine.name} has no weight matrix.")
        return self.weight_matrix

    @property
    def free(self) -> np.ndarray:
        return self.estimate.free

    @property
    def n_total(self) -> int:
        return int(self.moments.n.sum())

    @property
    def n_effective(self) -> float:
        """N, or N - G where covariances are divided by n - 1 (Wishart likelihood, least squares), as in lavaan."""
        return self.n_total - (self.table.n_groups if self.engine.unbiased else 0)

    @property
    def group_weight(self) -> np.ndarray:
        """n_g / N [group]."""
        n = self.moments.n - (1 if self.engine.likelihood == "wishart" else 0)  # as the objective weighs them
        return n / n.sum()

    @property
    def n_parameters(self) -> int:
        """Free parameters less the equality constraints."""
        return self.table.n_free - self.equalities

    @cached_property
    def exogenous(self) -> np.ndarray:
        """Positions of the fixed exogenous variables."""
        return np.array([self.table.observed.index(v) for v in self.table.exogenous], int)

    @property
    def n_moments(self) -> int:
        """Sample moments the model has to explain: those of fixed exogenous variables do not count."""
        p, x = len(self.table.observed), len(self.exogenous)
        per_group = p * (p + 1) // 2 - x * (x + 1) // 2
        per_group += p - x if self.table.mean_structure else 0
        return per_group * self.table.n_groups

    @property
    def df(self) -> int:
        return self.n_moments - self.n_parameters

    @cached_property
    def cases(self) -> tuple[Buckets, ...]:
        """Incomplete rows as cases, by group and number of missing variables."""
        if self.made_cases is not None:
            return self.made_cases
        return tuple(cases_of(self.rows, g) for g in range(self.table.n_groups))

    @cached_property
    def model(self) -> MomentModel:
        """The model at its estimate."""
        return MomentModel(self.layout, self.free, self.group_weight, self.table.mean_structure)

    def tangent(self, matrix: np.ndarray) -> np.ndarray:
        """Z' A Z with Z the directions the constraints leave free."""
        return matrix if not len(self.restrictions) else self.basis.T @ matrix @ self.basis

    @cached_property
    def basis(self) -> np.ndarray:
        """Directions the constraints leave free [n_free, n_free - k]."""
        return null_space(self.restrictions) if len(self.restrictions) else np.eye(self.table.n_free)
