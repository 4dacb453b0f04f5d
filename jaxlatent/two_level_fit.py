"""A fitted two-level model: every method is a line that delegates down."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.data.frames import column_names, raw_column, require
from jaxlatent.data.responses import Responses
from jaxlatent.diagnostics.checks import two_level_warnings
from jaxlatent.diagnostics.constraint_tests import wald_test
from jaxlatent.diagnostics.two_level_measures import two_level_measures
from jaxlatent.diagnostics.two_level_modification import two_level_indices
from jaxlatent.estimated import Estimated
from jaxlatent.inference.information import Inference
from jaxlatent.inference.two_level_fit import TwoLevelFitted, cluster_log_likelihoods
from jaxlatent.results import two_level as tables
from jaxlatent.results.tables import series

if TYPE_CHECKING:
    import pandas as pd

    from jaxlatent.plotting import TwoLevelPlots
    from jaxlatent.report.summary import Summary


class TwoLevelFit(Estimated):
    """A fitted two-level structural equation model.

    engine: the engine with every option resolved. Tables have a level, 1 or "within" for persons and 2 or "between" for
    clusters. log_likelihood is that of the rows given fixed predictors.
    """

    def __init__(self, spec: Any, fitted: TwoLevelFitted, elapsed: float, cluster: str, labels: np.ndarray) -> None:
        self.spec = spec
        self.elapsed = elapsed
        self.cluster = cluster
        self._labels = labels
        self._fit, self._fitted = fitted, fitted.fitted

    def __repr__(self) -> str:
        f, m = self._fit.fitted, self._fit.moments
        size = f"n = {m.persons} in {m.clusters} clusters"
        return f"<TwoLevelFit by {self.engine.name}: {f.n_parameters} parameters, {size}, {self._state}>"

    # ---- how it went ------------------------------------------------------------------------------------------------

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about identification, Heywood cases and the like; empty for a sound solution."""
        return two_level_warnings(self._fit)

    # ---- estimates --------------------------------------------------------------------------------------------------

    @cached_property
    def parameters(self) -> pd.DataFrame:
        """lhs, op, rhs, group, level, label, free, est, se, z, pvalue, ci_lower, ci_upper, std_lv, std_all."""
        return tables.parameters(self._fit, self._fit.vcov)

    def vcov(self) -> pd.DataFrame:
        """Covariance matrix of the free parameters; names of those of level 2 end in .l2."""
        return tables.vcov_frame(self._fit, self._fit.vcov)

    def standardized(self, kind: str = "all") -> pd.DataFrame:
        """Values standardized within each level ("all" variables, or "lv"), with standard errors."""
        return tables.standardized(self._fit, self._fit.vcov, kind)

    @property
    def loadings(self) -> pd.DataFrame:
        """Lambda of each level, variables by factors."""
        return tables.matrix_of(self._fit, "loadings")

    @property
    def intercepts(self) -> pd.DataFrame:
        """nu of each level; a variable of both levels has its mean at the second."""
        return tables.matrix_of(self._fit, "intercepts")

    @property
    def factor_cov(self) -> pd.DataFrame:
        """Covariances of the latent variables of each level."""
        return tables.matrix_of(self._fit, "factor_cov")

    @property
    def factor_means(self) -> pd.DataFrame:
        """Means of the latent variables of each level."""
        return tables.matrix_of(self._fit, "factor_means")

    @property
    def residual_cov(self) -> pd.DataFrame:
        """Theta of each level."""
        return tables.matrix_of(self._fit, "residual_cov")

    @property
    def regressions(self) -> pd.DataFrame:
        """B of each level, outcomes in rows, predictors in columns."""
        return tables.matrix_of(self._fit, "regressions")

    def implied(self) -> dict[str, tuple[pd.Series, pd.DataFrame]]:
        """(mean, covariance) that the model implies at each level."""
        return tables.implied(self._fit)

    def r_squared(self) -> pd.DataFrame:
        """Share of variance explained of every endogenous variable of each level."""
        return tables.r_squared(self._fit)

    def intraclass_correlations(self) -> pd.DataFrame:
        """Share of a variable's variance that is between clusters: in the unrestricted moments, and implied."""
        return tables.intraclass_correlations(self._fit)

    # ---- fit --------------------------------------------------------------------------------------------------------

    @property
    def log_likelihood(self) -> float:
        """Total log-likelihood, given fixed exogenous variables."""
        return self._fit.fitted.log_likelihood

    def log_likelihoods(self, data: Any = None) -> pd.Series:
        """Log-likelihood of every cluster (joint with its predictors), fitted or new, by label."""
        import pandas as pd

        source, labels = self._read(data)
        index = pd.Index(labels, name=self.cluster)
        return pd.Series(cluster_log_likelihoods(self._fit, source), index, name="log_likelihood")

    @cached_property
    def _measures(self) -> pd.Series:
        return two_level_measures(self._fit)

    def fit_measures(self) -> pd.Series:
        """Fit measures under lavaan's names, dots as underscores; srmr_within and srmr_between add up to srmr."""
        return self._measures.copy()

    def modification_indices(self, minimum: float = 0.0) -> pd.DataFrame:
        """What chi-square would lose by freeing what a level leaves out (mi), and the change expected (epc, sepc)."""
        frame = self._modification_indices
        return frame.loc[frame["mi"] >= minimum].copy()

    @cached_property
    def _modification_indices(self) -> pd.DataFrame:
        return two_level_indices(self._fit)

    def wald_test(self, constraints: str) -> pd.Series:
        """Wald test of constraints on labels, such as "a == b": stat, df, pvalue."""
        if self._fit.vcov is None:
            raise ValueError("This fit has no covariance matrix of its estimates: see fit.message and the engine's se.")
        return series(wald_test(Inference(self._fit.fitted), self._fit.vcov, constraints))

    # ---- persons and clusters ---------------------------------------------------------------------------------------

    def _read(self, data: Any) -> tuple[Responses, np.ndarray]:
        """Rows with codes of clusters, and the labels behind these."""
        f = self._fit.fitted
        if data is None:
            return f.rows, self._labels[np.unique(np.asarray(f.rows.cluster))]
        require(column_names(data, f.table.observed), [self.cluster], "cluster variable")
        source = Responses.for_scoring(data, f.table.observed, group=None, labels=("1",))
        labels, codes = np.unique(cluster_labels(data, self.cluster), return_inverse=True)
        return replace(source, cluster=codes), labels

    def scores(self, data: Any = None, method: str | None = None, return_se: bool = False) -> pd.DataFrame:
        """Posterior means of the factors of both levels, a row for each person; clusters' factors repeat.

        data: None for the fitted persons, or a frame with the variables and the column of clusters. A factor of one
        name at both levels is <factor> and <factor>_between.
        """
        if method not in (None, "regression"):
            raise ValueError(f"Two-level models have scores by method 'regression'; got {method!r}.")
        return tables.score_frame(self._fit, self._read(data)[0], return_se)

    def simulate(self, n: int, key: int = 0) -> pd.DataFrame:
        """n persons in clusters of sizes like those of the data, drawn from the fitted model."""
        return tables.simulate(self._fit, n, key, self.cluster)

    @property
    def plot(self) -> TwoLevelPlots:
        """plot.path_diagram, plot.parameters."""
        from jaxlatent.plotting import TwoLevelPlots

        return TwoLevelPlots(self)

    def summary(self) -> Summary:
        """The whole result as text and, in notebooks, HTML."""
        from jaxlatent.summarise import two_level_summary

        return two_level_summary(self)

    def save(self, path: str | Path, *, include_data: bool = False) -> Path:
        """Write a .latent file (a zip of JSON and arrays, no pickle); the data only if asked for."""
        from jaxlatent.storage import save

        return save(self, Path(path), include_data=include_data)


def cluster_labels(data: Any, cluster: str) -> np.ndarray:
    """The cluster of every row, as text."""
    return np.asarray(raw_column(data, cluster, column_names(data, ()))).astype(str)
