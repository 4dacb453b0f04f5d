"""Fits by NUTS: posterior draws around a fitted model; every method is a line or two that delegate down."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.diagnostics.datatree import PREDICTIVE, datatree
from jaxlatent.diagnostics.item_predictive import odds_ratio_checks
from jaxlatent.diagnostics.posterior_measures import leave_one_out, posterior_checks, posterior_measures
from jaxlatent.fit import Fit
from jaxlatent.inference.bayes import (
    Sample,
    has_flat,
    posterior_log_likelihood,
    prior_draws,
    sample_item_model,
    sample_moments_model,
)
from jaxlatent.inference.draws import Draws
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.fitting import fit_table
from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.inference.nuts_settings import NUTS
from jaxlatent.inference.posterior_mode import NOTE
from jaxlatent.inference.settings import ML
from jaxlatent.inference.written_priors import table_priors
from jaxlatent.irt_fit import ItemResponseFit
from jaxlatent.numerics.newton import CONVERGED
from jaxlatent.results.item_persons import persons_of
from jaxlatent.results.posterior_scores import item_posterior_scores, normal_posterior_scores
from jaxlatent.results.posterior_tables import ChainCheck, check_chains, posterior_parameters, row_draws
from jaxlatent.results.tables import score_frame

if TYPE_CHECKING:
    import pandas as pd
    from xarray import DataTree

    from jaxlatent.posterior_plotting import PosteriorPlots
    from jaxlatent.report.summary import Summary
    from jaxlatent.rotated_posterior import RotatedPosterior

PRIOR = 500  # draws from the prior in a DataTree


class PosteriorFit:
    """A model with draws from the posterior distribution of its parameters.

    draws: free parameters [chain, draw, parameter] and what the sampler says of them. parameters: posterior mean (est),
    standard deviation (se), equal-tailed interval, median, R-hat and effective sample sizes. Matrices (loadings, ...),
    implied and simulate are at the posterior mean; scores average over draws. engine: NUTS with nothing left at None;
    converged: whether the chains agree; warnings: what is wrong with them, the worst first; notes: what ran.
    """

    def __init__(self, inner: Fit | ItemResponseFit, sample: Sample, elapsed: float) -> None:
        self.spec, self.elapsed = inner.spec, elapsed
        self._inner, self._sample = inner, sample
        self._fitted: Any = inner._fitted

    def __repr__(self) -> str:
        d = self.draws.free
        state = "chains agree" if self.converged else "chains DISAGREE"
        return f"<PosteriorFit by NUTS: {d.shape[2]} parameters, {d.shape[0]} chains of {d.shape[1]} draws, {state}>"

    # ---- how it went ------------------------------------------------------------------------------------------

    @property
    def engine(self) -> NUTS:
        """The engine with its options resolved."""
        return self._sample.settings

    @property
    def draws(self) -> Draws:
        """Draws of the free parameters [chain, draw, parameter]."""
        return self._sample.draws

    @cached_property
    def _check(self) -> ChainCheck:
        return check_chains(self.draws, list(self._inner.vcov().index), self.engine.max_tree_depth)

    @property
    def converged(self) -> bool:
        """Whether all chains have found the same distribution: no R-hat above 1.05."""
        return self._check.agree

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about chains that disagree or are short, and about divergences; empty for sound draws."""
        return self._check.sentences

    @property
    def message(self) -> str:
        """How the chains look, in a sentence, and what else should be known."""
        c = self._check
        good = f"The chains agree: R-hat is at most {c.rhat:.3f}, and {c.ess_bulk:.0f} draws are effective at least."
        return " ".join(self.warnings) or good

    @property
    def n_iterations(self) -> int:
        """Draws of all chains, without warm-up."""
        return int(np.prod(self.draws.free.shape[:2]))

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the data on the way, and what was sampled, and how."""
        return (*(note for note in self._fitted.notes if note != NOTE), self._sample.how)

    # ---- estimates --------------------------------------------------------------------------------------------

    @cached_property
    def _parameters(self) -> pd.DataFrame:
        return posterior_parameters(self._inner.parameters, row_draws(self._fitted, self.draws))

    @property
    def parameters(self) -> pd.DataFrame:
        """The parameter table: est, se, ci_lower, ci_upper of the posterior; median, rhat, ess_bulk, ess_tail last.

        z and pvalue are nan. std_lv and std_all are at the posterior mean.
        """
        return self._parameters.copy()

    @property
    def priors(self) -> pd.DataFrame:
        """The prior of every free parameter, written or default; not of fits that were read from a file."""
        from jaxlatent.inference.default_texts import density_texts
        from jaxlatent.results.starting import in_column

        if self._sample.density is None:
            raise ValueError("A fit that was read from a file holds no priors: see model.parameter_table of its model.")
        frame = in_column(self.parameters.query("free > 0"), density_texts(self._sample.density, self._fitted.priors))
        return frame[["lhs", "op", "rhs", "group", "label", "prior"]]

    def vcov(self) -> pd.DataFrame:
        """Posterior covariance matrix of the free parameters, named as in the table."""
        return self._inner.vcov()

    def standardized(self) -> pd.DataFrame:
        """Standardized values at the posterior mean."""
        return self._inner.standardized()

    @property
    def loadings(self) -> pd.DataFrame:
        """Lambda, or slopes, items by factors."""
        return self._inner.loadings

    @property
    def intercepts(self) -> pd.DataFrame:
        """nu, or the intercepts d of every item."""
        return self._inner.intercepts

    @property
    def thresholds(self) -> pd.DataFrame:
        """Thresholds, minus the intercepts of items."""
        return self._inner.thresholds

    @property
    def factor_cov(self) -> pd.DataFrame:
        """Covariances of the factors."""
        return self._inner.factor_cov

    @property
    def factor_means(self) -> pd.DataFrame:
        """Means of the factors."""
        return self._inner.factor_means

    @property
    def residual_cov(self) -> pd.DataFrame:
        """Theta, of a structural equation model."""
        return self._of(Fit, "residual_cov").residual_cov

    @property
    def regressions(self) -> pd.DataFrame:
        """B, outcomes in rows."""
        return self._inner.regressions

    def implied(self) -> Any:
        """(mean, covariance) implied at the posterior mean, of a structural equation model; by group."""
        return self._of(Fit, "implied").implied()

    def r_squared(self) -> pd.DataFrame:
        """Share of variance explained, of a structural equation model."""
        return self._of(Fit, "r_squared").r_squared()

    def reliability(self) -> pd.DataFrame:
        """Reliability at the posterior mean."""
        return self._inner.reliability()

    def irt_parameters(self) -> pd.DataFrame:
        """discrimination, difficulty, guessing, upper with their posterior standard deviations (delta method)."""
        return self._of(ItemResponseFit, "irt_parameters").irt_parameters()

    def probabilities(self, x: Any) -> pd.DataFrame:
        """P(y = k | x) at the posterior mean, of an item response model."""
        return self._of(ItemResponseFit, "probabilities").probabilities(x)

    def information(self, x: Any) -> pd.DataFrame:
        """Information of every item at points x, at the posterior mean."""
        return self._of(ItemResponseFit, "information").information(x)

    def expected_score(self, x: Any) -> pd.DataFrame:
        """Expected answer to every item at points x, at the posterior mean."""
        return self._of(ItemResponseFit, "expected_score").expected_score(x)

    def _of(self, kind: type, what: str) -> Any:
        if not isinstance(self._inner, kind):
            model = "structural equation" if kind is Fit else "item response"
            raise ValueError(f"{what} is for {model} models.")
        return self._inner

    # ---- fit --------------------------------------------------------------------------------------------------

    @property
    def log_likelihood(self) -> float:
        """Total log-likelihood at the posterior mean."""
        return self._inner.log_likelihood

    def log_likelihoods(self, data: Any = None) -> pd.Series:
        """Log-likelihood of every person at the posterior mean, fitted or new."""
        return self._inner.log_likelihoods(data)

    def fit_measures(self) -> pd.Series:
        """npar, logl (at the posterior mean), posterior predictive p, Bayesian RMSEA, CFI, TLI, leave-one-out."""
        import pandas as pd

        return pd.Series(self._measures, dtype=float)

    @cached_property
    def _measures(self) -> dict[str, float]:
        return posterior_measures(self._fitted, self.draws)

    def predictive_checks(self, key: int = 0) -> pd.DataFrame:
        """Discrepancies of the data beside those of replicated data, and posterior predictive p-values."""
        return posterior_checks(self._fitted, self.draws, key)

    def odds_ratio_checks(self, key: int = 0) -> pd.DataFrame:
        """Odds ratios of item pairs beside those of replicated data, of an item response model with categories."""
        return odds_ratio_checks(self._of(ItemResponseFit, "odds_ratio_checks")._fitted, self.draws, key)

    def loo(self) -> Any:
        """ArviZ's leave-one-out: a person is left out, latent variables are integrated out."""
        return leave_one_out(self._fitted, self.draws)

    # ---- persons ----------------------------------------------------------------------------------------------

    def scores(self, data: Any = None, method: str | None = None, return_se: bool = False) -> pd.DataFrame:
        """Posterior means of the factors, parameters' uncertainty included; with <factor>_se their posterior sd.

        method: "eap", or for structural equation models "regression" (the same) or "bartlett".
        """
        if isinstance(self._inner, Fit):
            source = self._inner._read(data)
            own = None if method == "eap" else method
            found = normal_posterior_scores(self._fitted, self.draws, source, own)
            return score_frame(self._fitted, source, *found, return_se)
        if method not in (None, "eap"):
            raise ValueError(f"Expected method to be 'eap' for draws of an item response model; got {method!r}.")
        persons = persons_of(self._fitted, data)
        if self._sample.latent_mean is not None and data is None:
            mean, error = self._sample.latent_mean, np.sqrt(np.asarray(self._sample.latent_variance))
        else:
            mean, error = item_posterior_scores(self._fitted, self.draws, persons.data)
        frame = persons.frame(mean)
        return frame.join(persons.frame(error).add_suffix("_se")) if return_se else frame

    def rotate(self, method: str, **options: Any) -> RotatedPosterior:
        """Draws of an exploratory item response model rotated ("oblimin", ...), reflections and order matched.

        Raises ValueError for confirmatory models.
        """
        from jaxlatent.rotated_posterior import rotate_posterior

        return rotate_posterior(self._of(ItemResponseFit, "rotate")._fitted, self.draws, method, **options)

    def transform(self, data: Any) -> Any:
        """Scores of data: a frame for a frame, an array for an array."""
        found = self.scores(data)
        return found.to_numpy() if isinstance(data, np.ndarray) else found

    def simulate(self, n: int, key: int = 0) -> pd.DataFrame:
        """n persons (per group) drawn from the model at the posterior mean."""
        return self._inner.simulate(n, key)

    def to_datatree(self, *, predictive: int = PREDICTIVE, prior: int = PRIOR, key: int = 0) -> DataTree:
        """An ArviZ DataTree: posterior, matrices, sample_stats, log_likelihood [person], posterior_predictive, prior.

        predictive: draws for which data are replicated; prior: draws from the prior, 0 for none (nor has a fit that was
        read from a file any). Needs ArviZ: pip install 'jaxlatent[bayes]'.
        """
        density = self._sample.density
        drawable = prior and density is not None and not has_flat(density)
        before = prior_draws(density, prior, key) if drawable and density is not None else None
        return datatree(self._fitted, self.draws, prior=before, predictive=predictive, key=key)

    # ---- what people see --------------------------------------------------------------------------------------

    def summary(self) -> Summary:
        """The whole result as text and, in notebooks, HTML; chains that disagree are said first."""
        from jaxlatent.posterior_summarise import summary

        return summary(self)

    @property
    def plot(self) -> PosteriorPlots:
        """plot.trace, plot.forest, plot.scores, plot.path_diagram."""
        from jaxlatent.posterior_plotting import PosteriorPlots

        return PosteriorPlots(self)

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML page: chains, fit, diagram, pictures, every parameter."""
        from jaxlatent.posterior_summarise import write_report

        return write_report(self, Path(path))

    def save(self, path: str | Path, *, include_data: bool = False) -> Path:
        """Write a .latent file (a zip of JSON and arrays, no pickle) with all draws; the data only if asked for."""
        from jaxlatent.storage import save

        return save(self, Path(path), include_data=include_data)


# ---- making one -----------------------------------------------------------------------------------------------------


def fit_posterior(
    spec: Any, table: Any, source: Any, engine: NUTS, missing: str | None, key: int, progress: bool | None
) -> PosteriorFit:
    """Draws for a structural equation model, around its maximum."""
    if missing not in (None, "fiml", "listwise"):
        raise ValueError(f"NUTS takes missing='fiml' or 'listwise'; got {missing!r}.")
    started = time.perf_counter()
    fitted = _start(table, source, missing, spec.priors)
    sample = sample_moments_model(fitted, engine, key, progress)
    return _warned(PosteriorFit(moment_fit(spec, fitted, sample.draws), sample, time.perf_counter() - started))


def _start(table: Any, source: Any, missing: str | None, priors: Mapping[str, Any]) -> Fitted:
    """The maximum of the likelihood; of the posterior where only priors identify the model."""
    written = table_priors(table, None, priors)
    try:
        fitted = fit_table(table, source, ML(), missing)
    except ValueError:
        if not written.cells:
            raise
        fitted = fit_table(table, source, ML(), missing, priors)
    if int(fitted.estimate.code) != CONVERGED and written.cells:
        fitted = fit_table(table, source, ML(), missing, priors)
    return replace(fitted, priors=table_priors(table, fitted.layout, priors))


def fit_item_posterior(
    spec: Any, fit_items: Callable[[], ItemFitted], engine: NUTS, key: int, progress: bool | None
) -> PosteriorFit:
    """Draws for an item response model; fit_items fits it by marginal maximum likelihood."""
    started = time.perf_counter()
    fitted = fit_items()
    sample = sample_item_model(fitted, engine, key, progress, fitted.vcov)
    return _warned(PosteriorFit(item_fit(spec, fitted, sample.draws), sample, time.perf_counter() - started))


def moment_fit(spec: Any, fitted: Fitted, draws: Draws) -> Fit:
    """The model at the posterior mean, with the posterior covariance matrix as that of its estimates."""
    import pandas as pd

    mean, vcov = _moments(draws)
    there = replace(fitted, estimate=fitted.estimate._replace(free=mean, vcov=vcov))
    there = replace(there, log_likelihood=posterior_log_likelihood(there))
    stored = {"vcov": vcov, "warnings": (), "measures": pd.Series(dtype=float)}
    group = getattr(fitted.data, "group_name", None)
    return Fit(spec, there, 0.0, stored=stored | ({"group": group} if group else {}))


def item_fit(spec: Any, fitted: ItemFitted, draws: Draws) -> ItemResponseFit:
    """The same for an item response model."""
    mean, vcov = _moments(draws)
    estimate = fitted.estimate._replace(free=mean, vcov=vcov)
    there = replace(fitted, estimate=estimate, vcov_saved=vcov, cache={})
    return ItemResponseFit(spec, replace(there, log_likelihood=posterior_log_likelihood(there)), 0.0)


def _moments(draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    flat = draws.flat
    return flat.mean(0), np.atleast_2d(np.cov(flat.T)) if len(flat) > 1 else np.full((flat.shape[1],) * 2, np.nan)


def _warned(fit: PosteriorFit) -> PosteriorFit:
    from jaxlatent.sem import ModelWarning

    for sentence in fit.warnings:
        warnings.warn(sentence, ModelWarning, stacklevel=4)
    return fit
