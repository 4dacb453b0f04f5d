"""A fitted model: every method is a line that delegates down."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.data.responses import Responses
from jaxlatent.diagnostics.checks import warnings_of
from jaxlatent.diagnostics.constraint_tests import score_tests, wald_test
from jaxlatent.diagnostics.fit_measures import Diagnosis, fit_measures
from jaxlatent.diagnostics.modification import modification_indices
from jaxlatent.diagnostics.reliability import reliability
from jaxlatent.diagnostics.resampling import Bootstrap
from jaxlatent.estimated import Estimated
from jaxlatent.inference.batch import bootstrap_draws
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.information import Inference, person_log_likelihoods
from jaxlatent.results import tables
from jaxlatent.results.residuals import residuals
from jaxlatent.results.scores import scores
from jaxlatent.results.simulation import simulate

if TYPE_CHECKING:
    import pandas as pd
    from xarray import DataTree

    from jaxlatent.plotting import Plots
    from jaxlatent.report.summary import Summary

BOOTSTRAP_DRAWS = 1000


class Fit(Estimated):
    """A fitted structural equation model.

    engine: the engine with every option resolved. converged, message: how the optimiser ended. warnings: sentences
    about the solution. n_iterations, elapsed (seconds). Tables are pandas frames; nothing is printed.
    """

    elapsed: float

    def __init__(
        self,
        spec: Any,
        fitted: Fitted,
        elapsed: float,
        *,
        key: int = 0,
        progress: bool | None = None,
        stored: dict[str, Any] | None = None,
    ) -> None:
        self.spec = spec
        self.elapsed = elapsed
        self._fitted = fitted
        self._inference = Inference(fitted)
        self._diagnosis = Diagnosis(self._inference)
        self._key, self._progress = key, progress
        self._stored = stored or {}
        self._resample: Callable[..., tuple[np.ndarray, np.ndarray]] = partial(bootstrap_draws, fitted)

    def __repr__(self) -> str:
        f = self._fitted
        return f"<Fit by {self.engine.name}: {f.n_parameters} parameters, n = {f.n_total}, {self._state}>"

    # ---- how it went ------------------------------------------------------------------------------------------

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about identification, Heywood cases and the like; empty for a sound solution."""
        return tuple(self._stored["warnings"]) if "warnings" in self._stored else warnings_of(self._inference)

    # ---- estimates --------------------------------------------------------------------------------------------

    @cached_property
    def _vcov(self) -> np.ndarray | None:
        if "vcov" in self._stored:
            return self._stored["vcov"]
        if self.engine.se == "none" or not np.isfinite(self._fitted.free).all():
            return None
        if self.engine.se == "bootstrap":
            return self.bootstrap(BOOTSTRAP_DRAWS, key=self._key, progress=self._progress).vcov()
        return self._inference.safe_vcov(self.engine.se)

    @cached_property
    def parameters(self) -> pd.DataFrame:
        """lhs, op, rhs, group, label, free, est, se, z, pvalue, ci_lower, ci_upper, std_lv, std_all: a row each."""
        return tables.parameters(self._fitted, self._vcov)

    def vcov(self) -> pd.DataFrame:
        """Covariance matrix of the free parameters, named as in the table."""
        return tables.vcov_frame(self._fitted, self._vcov)

    def standardized(self, kind: str = "all") -> pd.DataFrame:
        """Standardized values ("all" variables, or "lv") with standard errors by the delta method."""
        return tables.standardized(self._fitted, self._vcov, kind)

    @property
    def loadings(self) -> pd.DataFrame:
        """Lambda, variables by factors."""
        return tables.matrix_frames(self._fitted, "loadings")

    @property
    def intercepts(self) -> pd.DataFrame:
        """nu, one column."""
        return tables.matrix_frames(self._fitted, "intercepts")

    @property
    def thresholds(self) -> pd.DataFrame:
        """Thresholds of ordered variables: none in a model of continuous ones."""
        return tables.no_thresholds(self._fitted)

    @property
    def factor_cov(self) -> pd.DataFrame:
        """Covariances of the latent variables (of the variables, not of their residuals)."""
        return tables.matrix_frames(self._fitted, "factor_cov")

    @property
    def factor_means(self) -> pd.DataFrame:
        """Means of the latent variables."""
        return tables.matrix_frames(self._fitted, "factor_means")

    @property
    def residual_cov(self) -> pd.DataFrame:
        """Theta, residual covariances of the observed variables."""
        return tables.matrix_frames(self._fitted, "residual_cov")

    @property
    def regressions(self) -> pd.DataFrame:
        """B, outcomes in rows, predictors in columns."""
        return tables.matrix_frames(self._fitted, "regressions")

    def implied(self) -> Any:
        """(mean, covariance) that the model implies; by group label where there are groups."""
        found = tables.implied_moments(self._fitted)
        return found if len(found) > 1 else next(iter(found.values()))

    def r_squared(self) -> pd.DataFrame:
        """Share of variance explained of every endogenous variable."""
        return tables.r_squared(self._fitted)

    # ---- fit --------------------------------------------------------------------------------------------------

    @property
    def log_likelihood(self) -> float:
        """Total log-likelihood (given fixed exogenous variables); nan for least squares."""
        return self._fitted.log_likelihood

    def log_likelihoods(self, data: Any = None) -> pd.Series:
        """Log-likelihood of every person, fitted or new."""
        return tables.person_series(*person_log_likelihoods(self._fitted, self._read(data)))

    @cached_property
    def _measures(self) -> pd.Series:
        return self._stored["measures"] if "measures" in self._stored else fit_measures(self._diagnosis)

    def fit_measures(self) -> pd.Series:
        """All fit measures under lavaan's names, dots as underscores."""
        return self._measures.copy()

    def residuals(self, kind: str = "cor") -> pd.DataFrame:
        """Sample minus implied moments: "raw", "cor", "normalized" or "standardized"."""
        return residuals(self._inference, kind)

    def modification_indices(self, minimum: float = 0.0) -> pd.DataFrame:
        """What chi-square would lose by freeing each fixed parameter (mi), and the change expected (epc, sepc)."""
        frame = self._modification_indices
        return frame.loc[frame["mi"] >= minimum].copy()

    @cached_property
    def _modification_indices(self) -> pd.DataFrame:
        return modification_indices(self._inference)

    def score_tests(self) -> pd.DataFrame:
        """What chi-square would lose without each equality constraint, and without all."""
        return score_tests(self._inference)

    def wald_test(self, constraints: str) -> pd.Series:
        """Wald test of constraints on labels, such as "a == b; indirect == 0": stat, df, pvalue."""
        return tables.series(wald_test(self._inference, self._needed_vcov(), constraints))

    def reliability(self) -> pd.DataFrame:
        """alpha, omega and average variance extracted by factor."""
        return reliability(self._fitted)

    def _needed_vcov(self) -> np.ndarray:
        if self._vcov is None:
            raise ValueError("This fit has no covariance matrix of its estimates: see fit.message and the engine's se.")
        return self._vcov

    # ---- persons ----------------------------------------------------------------------------------------------

    def _read(self, data: Any) -> Responses:
        if data is None:
            if self._fitted.data is None:
                raise ValueError("This fit holds no rows (it was fitted to moments, or saved without data): pass data.")
            return self._fitted.data
        f = self._fitted
        return Responses.for_scoring(data, f.table.observed, group=self._group_name, labels=f.group_labels)

    @property
    def _group_name(self) -> str | None:
        return self._stored.get("group", getattr(self._fitted.data, "group_name", None))

    def scores(self, data: Any = None, method: str | None = None, return_se: bool = False) -> pd.DataFrame:
        """Factor scores, "regression" (default) or "bartlett", of the fitted persons or new ones."""
        source = self._read(data)
        return tables.score_frame(self._fitted, source, *scores(self._fitted, source, method), return_se)

    def transform(self, data: Any) -> Any:
        """Scores of data: a frame for a frame, an array for an array."""
        found = self.scores(data)
        return found.to_numpy() if isinstance(data, np.ndarray) else found

    def simulate(self, n: int, key: int = 0) -> pd.DataFrame:
        """n persons (per group) drawn from the fitted model."""
        return simulate(self._fitted, n, key, self._group_name)

    def bootstrap(self, n: int = 1000, key: int = 0, progress: bool | None = None) -> Bootstrap:
        """n bootstrap fits in one compiled call: .draws, .n_failed, .parameters(ci="bca")."""
        draws, codes = self._resample(n, key, progress)
        return Bootstrap(self._fitted, draws[codes == 1], int((codes != 1).sum()))

    def to_datatree(self, *, draws: int = 1000, predictive: int = 100, key: int = 0) -> DataTree:
        """An ArviZ DataTree of draws from N(estimate, vcov), the sampling distribution of the estimates.

        Groups: posterior (its attributes say that it is none), matrices, log_likelihood, posterior_predictive (data of
        so many draws), observed_data. Needs ArviZ: pip install 'jaxlatent[bayes]'.
        """
        from jaxlatent.diagnostics.datatree import datatree
        from jaxlatent.results.draws import sampling_draws

        found = sampling_draws(self._fitted, self._vcov, draws, key)
        return datatree(self._fitted, found, predictive=predictive, key=key)

    # ---- what people see --------------------------------------------------------------------------------------

    def summary(self, **options: Any) -> Summary:
        """The whole result as text and, in notebooks, HTML; of an exploratory fit also sort=True and cut=0.3."""
        from jaxlatent.summarise import summary

        return summary(self, **options)

    @property
    def plot(self) -> Plots:
        """plot.path_diagram, plot.residuals, plot.parameters, plot.modification_indices, plot.scores."""
        from jaxlatent.plotting import Plots

        return Plots(self)

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML page with everything; returns its path."""
        from jaxlatent.summarise import write_report

        return write_report(self, Path(path))

    def save(self, path: str | Path, *, include_data: bool = False) -> Path:
        """Write a .latent file (a zip of JSON and arrays, no pickle); the data only if asked for."""
        from jaxlatent.storage import save

        return save(self, Path(path), include_data=include_data)
