"""A fitted item response model: every method is a line or two that delegate down."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.diagnostics import item_curves as curves
from jaxlatent.diagnostics import item_tables as fit_tables
from jaxlatent.diagnostics.datatree import PREDICTIVE, datatree
from jaxlatent.diagnostics.item_measures import item_fit_measures, item_warnings
from jaxlatent.diagnostics.item_nodes import ItemDiagnosis
from jaxlatent.diagnostics.item_score_tests import item_modification_indices, item_score_tests
from jaxlatent.diagnostics.item_wald import item_wald_test
from jaxlatent.estimated import Estimated
from jaxlatent.inference.amortized_fit import log_likelihood_estimate
from jaxlatent.inference.importance import LogLikelihoodEstimate
from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.inference.settings import MarginalML
from jaxlatent.integration.histogram import EmpiricalHistogram
from jaxlatent.numerics.rotation import Rotation, rotate
from jaxlatent.results import item_tables as tables
from jaxlatent.results.draws import sampling_draws
from jaxlatent.results.item_matrices import is_exploratory
from jaxlatent.results.item_persons import Persons, persons_of
from jaxlatent.results.item_scores import METHODS, mode_scores, posterior_moments
from jaxlatent.results.item_simulation import simulate_items
from jaxlatent.results.plausible_values import plausible_values

if TYPE_CHECKING:
    import pandas as pd
    from xarray import DataTree

    from jaxlatent.diagnostics.two_sample import TwoSampleTest
    from jaxlatent.item_plotting import ItemPlots
    from jaxlatent.report.summary import Summary


class ItemResponseFit(Estimated):
    """A fitted item response model.

    engine: the engine with every option resolved. converged, message: how the optimiser ended. warnings: sentences
    about the solution; notes: what was done to the data. n_iterations, elapsed (seconds). Tables are pandas frames.
    """

    def __init__(self, spec: Any, fitted: ItemFitted, elapsed: float, *, rotation: Rotation | None = None) -> None:
        self.spec = spec
        self.elapsed = elapsed
        self._fitted = fitted
        self._rotation = rotation
        self._shown = tables.Shown(fitted, rotation)
        self._diagnosis = ItemDiagnosis(fitted)

    def __repr__(self) -> str:
        f = self._fitted
        return f"<ItemResponseFit by {f.engine.name}: {f.n_parameters} parameters, n = {f.n_total:g}, {self._state}>"

    # ---- how it went ------------------------------------------------------------------------------------------

    @property
    def engine(self) -> Any:
        """The engine with its options resolved."""
        f = self._fitted
        return replace(f.engine, integration=f.rule) if isinstance(f.engine, MarginalML) else f.engine

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about convergence and identification; empty for a sound solution."""
        return item_warnings(self._fitted)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the data on the way, and which rule of integration ran and why."""
        f = self._fitted
        prior = ("Estimates are posterior modes, because there are priors.",) if f.priors.active else ()
        return (*f.notes, f"Integration by {f.rule}: {f.why}.", *prior, *self._diagnosis.notes)

    # ---- estimates --------------------------------------------------------------------------------------------

    @cached_property
    def _parameters(self) -> pd.DataFrame:
        return tables.parameters(self._shown)

    @property
    def parameters(self) -> pd.DataFrame:
        """lhs, op, rhs, group, label, free, est, se, z, pvalue, ci_lower, ci_upper, std_lv, std_all: a row each.

        op: =~ loadings, ~1 intercepts of items (rhs: which) and means of factors, ~~ ~ among factors and covariates,
        guessing, upper, scoring, dispersion, spacing, shift.
        """
        return self._parameters.copy()

    def vcov(self) -> pd.DataFrame:
        """Covariance matrix of the free parameters (before rotation), named as in the table."""
        return tables.vcov_frame(self._fitted)

    def standardized(self) -> pd.DataFrame:
        """The parameter table with standardised values as est_std."""
        frame = self._parameters[["lhs", "op", "rhs", "group", "label"]].copy()
        frame["est_std"] = self._parameters["std_all"]
        return frame

    @property
    def loadings(self) -> pd.DataFrame:
        """Slopes, items by factors (rotated where the fit is)."""
        return tables.matrix_frame(self._shown, "loadings")

    @property
    def intercepts(self) -> pd.DataFrame:
        """Intercepts d of every item; nan for categories an item does not have."""
        return tables.matrix_frame(self._shown, "intercepts")

    @property
    def thresholds(self) -> pd.DataFrame:
        """Minus the intercepts."""
        return tables.matrix_frame(self._shown, "thresholds")

    @property
    def factor_cov(self) -> pd.DataFrame:
        """Covariances of the factors, given covariates where there are some."""
        return tables.matrix_frame(self._shown, "factor_cov")

    @property
    def factor_means(self) -> pd.DataFrame:
        """Means of the factors where all covariates are 0."""
        return tables.matrix_frame(self._shown, "factor_means")

    @property
    def regressions(self) -> pd.DataFrame:
        """B among factors, outcomes in rows."""
        return tables.matrix_frame(self._shown, "regressions")

    @property
    def covariate_effects(self) -> pd.DataFrame:
        """Gamma, factors by covariates."""
        if not self._fitted.table.covariates:
            raise ValueError("This model has no covariates.")
        return tables.matrix_frame(self._shown, "covariate_effects")

    @property
    def histogram(self) -> pd.DataFrame:
        """Nodes and weights of the empirical histogram, of a fit with one."""
        import pandas as pd

        if not isinstance(self._fitted.rule, EmpiricalHistogram):
            raise ValueError(
                "This fit has normal latent variables: IRT(..., latent='empirical_histogram') has weights."
            )
        nodes, weights = self._fitted.rule.arrays()
        return pd.DataFrame({"node": nodes, "weight": weights})

    def irt_parameters(self) -> pd.DataFrame:
        """discrimination, difficulty, guessing, upper, each with its standard error."""
        return tables.irt_parameters(self._shown)

    def rotate(self, method: str, **options: Any) -> ItemResponseFit:
        """The same fit with its loadings rotated ("varimax", "oblimin", "geomin", ...): a new fit.

        Standardised loadings are rotated, Lambda = A (T')^-1, Phi = T'T. Raises ValueError for a confirmatory model.
        """
        f = self._fitted
        if f.table.n_groups > 1 or len(f.table.factors) < 2 or not is_exploratory(f):
            raise ValueError("Only exploratory models of one group with several factors can be rotated.")
        standard = tables.standardized_loadings(f.params["loadings"][0])
        return ItemResponseFit(self.spec, f, self.elapsed, rotation=rotate(standard, method, **options))

    # ---- fit --------------------------------------------------------------------------------------------------

    @property
    def log_likelihood(self) -> float:
        """Total log-likelihood."""
        return self._fitted.log_likelihood

    @cached_property
    def log_likelihood_estimate(self) -> LogLikelihoodEstimate:
        """(value, standard_error, n_samples) of the log-likelihood by draws from the guide, for AmortizedVI."""
        return log_likelihood_estimate(self._fitted)

    def log_likelihoods(self, data: Any = None) -> pd.Series:
        """Log-likelihood of every person, fitted or new."""
        import pandas as pd

        persons = persons_of(self._fitted, data)
        return pd.Series(posterior_moments(self._fitted, persons.data)[0], persons.index, name="log_likelihood")

    def fit_measures(self) -> pd.Series:
        """npar, logl, aic, bic, sabic, g2, m2, c2 with their p-values and indices, srmsr."""
        import pandas as pd

        return pd.Series(self._measures, dtype=float)

    @cached_property
    def _measures(self) -> dict[str, float]:
        return item_fit_measures(self._diagnosis)

    def item_fit(self) -> pd.DataFrame:
        """s_x2, its df, p-value and RMSEA; infit and outfit at the EAP scores with their z: a row an item."""
        return fit_tables.item_fit_frame(self._diagnosis)

    def person_fit(self) -> pd.DataFrame:
        """zh, infit and outfit at the EAP score with their z: a row a person of the fitted data."""
        return fit_tables.person_fit_frame(self._diagnosis, persons_of(self._fitted).index)

    def local_dependence(self, kind: str = "x2") -> pd.DataFrame:
        """Items by items: "x2" (LD X2), "df" (its df), "v" (Cramer's V with a sign), or "q3" (Yen's Q3)."""
        return fit_tables.pair_frame(self._diagnosis, kind)

    def residuals(self, kind: str = "cor") -> pd.DataFrame:
        """Items by items: "cor" (observed minus expected correlations), or a kind of local_dependence."""
        return fit_tables.pair_frame(self._diagnosis, kind)

    def reliability(self) -> pd.DataFrame:
        """marginal (expected from the model) and empirical (of the EAP scores): a row a factor."""
        return fit_tables.reliability_frame(self._diagnosis, self._turn)

    def two_sample_test(
        self, *, method: Any = "network", tolerance: float = 0.0, baseline: bool = True, repeats: int = 0, key: int = 0
    ) -> TwoSampleTest:
        """Whether a classifier tells the persons from simulated ones: .statistics, and .importance where repeats > 0.

        method: "network" or "neighbours"; tolerance: accuracy above 1/2 that still is fit (Urban and Bauer 2022).
        """
        from jaxlatent.diagnostics.two_sample import item_two_sample_test

        return item_two_sample_test(
            self._fitted, method=method, tolerance=tolerance, baseline=baseline, repeats=repeats, key=key
        )

    def wald_test(self, constraints: str) -> pd.Series:
        """Wald test of constraints on labels and names of vcov(), such as "a == b; F1=~A1 == 1": stat, df, pvalue."""
        import pandas as pd

        return pd.Series(item_wald_test(self._fitted, constraints))

    def modification_indices(self, minimum: float = 0.0) -> pd.DataFrame:
        """What 2 log-likelihood would gain by freeing each fixed loading or covariance (mi), and the change expected.

        Before rotation; nan where freeing it would not be identified.
        """
        self._needs_normal("modification_indices")
        frame = self._modification_indices
        return frame.loc[~(frame["mi"] < minimum)].copy()

    @cached_property
    def _modification_indices(self) -> pd.DataFrame:
        return item_modification_indices(self._fitted)

    def score_tests(self) -> pd.DataFrame:
        """What 2 log-likelihood would gain without each equality of parameters, and without all."""
        self._needs_normal("score_tests")
        return item_score_tests(self._fitted)

    def _needs_normal(self, what: str) -> None:
        if self._fitted.is_learned:
            learned = "items have networks" if self._fitted.measurement.blocks else "has learned their distribution"
            raise ValueError(f"{what} is for normal factors and items without networks: this fit {learned}.")

    # ---- curves -----------------------------------------------------------------------------------------------

    @property
    def _turn(self) -> np.ndarray | None:
        return None if self._rotation is None else self._rotation.rotation

    @property
    def _back(self) -> np.ndarray | None:
        return None if self._turn is None else np.linalg.inv(self._turn)

    def probabilities(self, x: Any) -> pd.DataFrame:
        """P(y = k | x) at points x [point] or [point, factor]: rows item and point, a column each raw category."""
        return curves.probability_frame(self._diagnosis, x, self._back)

    def information(self, x: Any, direction: Any = None) -> pd.DataFrame:
        """Information of every item at points x, in a direction of several factors (None: every item's steepest).

        That of the test is the sum of a row.
        """
        return curves.information_frame(self._diagnosis, x, self._back, direction)

    def expected_score(self, x: Any) -> pd.DataFrame:
        """Expected answer to every item at points x, in raw values; that of the test is the sum of a row."""
        return curves.expected_frame(self._diagnosis, x, self._back)

    # ---- persons ----------------------------------------------------------------------------------------------

    def scores(self, data: Any = None, method: str | None = None, return_se: bool = False) -> pd.DataFrame:
        """Scores of persons, fitted or new: "eap" (default), "map", "ml", "wle" or "eapsum"; with <factor>_se.

        With occasions a row for every row of the data: the factors at that occasion.
        """
        return self._scores(persons_of(self._fitted, data), method, return_se)

    def _scores(self, persons: Persons, method: str | None = None, return_se: bool = False) -> pd.DataFrame:
        import pandas as pd

        method = method or "eap"
        if method not in METHODS:
            raise ValueError(f"Expected method to be one of {', '.join(METHODS)}; got {method!r}.")
        if method == "map":
            self._needs_normal("scores('map')")
        if method == "eap":
            _, values, cov = posterior_moments(self._fitted, persons.data)
            values, errors = self._turned(values, cov)
        elif method == "eapsum":
            values, errors = self._diagnosis.sum_scores(persons.data.codes, persons.data.group)
        else:
            values, errors = mode_scores(self._fitted, persons.data, method)
            if self._rotation is not None:
                values, errors = values @ self._rotation.rotation, np.full_like(errors, np.nan)
        frame = persons.frame(values)
        return pd.concat([frame, persons.frame(errors).add_suffix("_se")], axis=1) if return_se else frame

    def plausible_values(self, n: int = 5, key: int = 0, data: Any = None) -> pd.DataFrame:
        """n draws of every person's factors from their posterior: rows person (with occasions: row) and draw."""
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"Expected n to be a whole number from 1; got {n!r}.")
        persons = persons_of(self._fitted, data)
        values = plausible_values(self._fitted, persons.data, n, key)
        return persons.draws_frame(values if self._turn is None else values @ self._turn)

    def _turned(self, values: np.ndarray, cov: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._rotation is not None:
            t = self._rotation.rotation
            values, cov = values @ t, t.T @ cov @ t
        return values, np.sqrt(np.maximum(np.diagonal(cov, axis1=-2, axis2=-1), 0))

    def simulate(self, n: int, key: int = 0) -> pd.DataFrame:
        """n persons (per group) drawn from the fitted model, with the items' raw categories."""
        return simulate_items(self._fitted, n, key)

    def to_datatree(self, *, draws: int = 1000, predictive: int = PREDICTIVE, key: int = 0) -> DataTree:
        """An ArviZ DataTree of draws from N(estimate, vcov), as ``Fit.to_datatree`` of a structural equation model."""
        f = self._fitted
        found = sampling_draws(f, f.vcov, draws, key)
        return datatree(f, found, rotation=self._rotation, predictive=predictive, key=key)

    def save(self, path: str | Path, *, include_data: bool = False) -> Path:
        """Write a .latent file (a zip of JSON and arrays, no pickle); the data only if asked for."""
        from jaxlatent.storage import save

        return save(self, Path(path), include_data=include_data)

    def transform(self, data: Any) -> Any:
        """EAP scores of data: a frame for a frame, an array for an array."""
        found = self.scores(data)
        return found.to_numpy() if isinstance(data, np.ndarray) else found

    # ---- showing it -------------------------------------------------------------------------------------------

    def summary(self) -> Summary:
        """The whole result as text and, in notebooks, HTML."""
        from jaxlatent.item_summarise import summary

        return summary(self)

    @property
    def plot(self) -> ItemPlots:
        """plot.item_curves, category_curves, information, standard_error, wright_map, scores, latent, path_diagram."""
        from jaxlatent.item_plotting import ItemPlots

        return ItemPlots(self)

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML page with everything; returns its path."""
        from jaxlatent.item_summarise import write_report

        return write_report(self, Path(path))
