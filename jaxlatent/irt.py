"""Item response models: the face users import."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.clustered_fit import ClusteredItemFit
from jaxlatent.data.frames import column_names, is_named, numeric_matrix, without_column
from jaxlatent.data.responses import cluster_text
from jaxlatent.data.scanned import ScannedResponses
from jaxlatent.inference.amortized_settings import AmortizedVI
from jaxlatent.inference.clustered_items import fit_clustered
from jaxlatent.inference.item_model import is_normal
from jaxlatent.inference.item_preparation import Prepared, prepare, start_under_priors
from jaxlatent.inference.marginal_fit import ItemFitted, fit_items
from jaxlatent.inference.nuts_settings import NUTS
from jaxlatent.inference.settings import MarginalML, check_key
from jaxlatent.inference.written_priors import given_priors, prior_texts
from jaxlatent.irt_fit import ItemResponseFit
from jaxlatent.latent.autoregressive import Autoregressive
from jaxlatent.latent.histogram import Histogram
from jaxlatent.latent.latent import Latent
from jaxlatent.measurement.decoders import decoders_of
from jaxlatent.measurement.family import Family
from jaxlatent.measurement.item_types import ITEM_TYPES
from jaxlatent.sem import ModelWarning
from jaxlatent.spec.item_factors import factors_of
from jaxlatent.spec.item_rows import check_item_ties

if TYPE_CHECKING:
    import pandas as pd

    from jaxlatent.bound import BoundModel
    from jaxlatent.prior_draws import PriorPredictive

HISTOGRAM = "empirical_histogram"


class IRT:
    """An item response model: items that depend on latent variables through a link.

    P(y | x) by item type with linear predictor lambda'x and intercepts d,   x ~ N(B x + alpha + Gamma z, Psi)

    item_type: a name ("rasch" "1pl" "2pl" "3pl" "4pl" "graded" "grsm" "gpcm" "pcm" "rsm" "nominal" "ideal" "cloglog"
    "ogive" "poisson" "negative_binomial" "normal" "lognormal"), a dict item -> name, or a measurement.Family of your
    own. factors: a count (exploratory where it is above 1), lavaan's "F =~ item1 + item2", or a Q-matrix (items x
    factors; a DataFrame names both). covariates: columns that predict the factors. group_equal: "loadings",
    "intercepts", "guessing", "upper", "residuals", "means", "lv_variances", "lv_covariances", "regressions"; what it
    identifies is freed in all groups but the first. fixed: values of item parameters, such as {"guessing": 0.1}.
    constraints: a pair (A, b) with vec(loadings) = A t + b. priors: distributions of parameters by class, by label or
    by parameter, such as {"loadings": numpyro.distributions.LogNormal(0, 0.5), "logit_guessing": "normal(-1.5, 1)",
    "F1 =~ a": "normal(1, 0.2)"}; the fit is then the posterior mode.
    decoder: jl.Decoder(items, hidden) or several, networks that bend the predictors of blocks of items, by AmortizedVI.
    latent: the distribution of the factors, jl.latent.Normal() by default, Flow(...) or Mixture(k), by
    AmortizedVI, whose means and covariances are the model's whatever its shape; or "empirical_histogram"
    (jl.latent.Histogram(n, limit)), by MarginalML, for one factor of any shape. rotation: of an exploratory solution
    ("oblimin", "varimax", ...). occasions: for data with a row a person and occasion, the column of the occasion, or a
    pair (person, occasion): item parameters are the same at all occasions, and factors follow
    jl.latent.Autoregressive(), x_t = alpha_t + Phi x_{t-1} + xi_t. Persons are in the column "person" or in the row
    labels where they are not named.

    Raises ValueError naming the option where something is contradictory. Bock and Aitkin (1981); Reckase (2009).
    """

    def __init__(
        self,
        item_type: str | Mapping[str, str] | Family,
        factors: Any = 1,
        *,
        covariates: Sequence[str] | None = None,
        group_equal: Sequence[str] = (),
        fixed: Mapping[str, Any] | None = None,
        constraints: Any = None,
        latent: Any = None,
        priors: Mapping[str, Any] | None = None,
        rotation: str | None = None,
        occasions: Any = None,
        decoder: Any = None,
    ) -> None:
        latent = Histogram() if isinstance(latent, str) and latent == HISTOGRAM else latent
        if latent is not None and not isinstance(latent, Latent):
            raise ValueError(
                f"Expected latent as jl.latent.Normal(), Flow(...), Mixture(k) or {HISTOGRAM!r}; got {latent!r}."
            )
        _check_types(item_type)
        if isinstance(covariates, str):
            covariates = (covariates,)
        self.item_type = item_type
        self.factors = int(factors) if isinstance(factors, np.integer) else factors
        self.covariates = tuple(str(name) for name in covariates or ())
        twice = [name for name in self.covariates if self.covariates.count(name) > 1]
        if twice:
            raise ValueError(f"The covariate {twice[0]!r} is given twice.")
        self.group_equal = check_item_ties(group_equal)
        if fixed is not None and not isinstance(fixed, Mapping):
            raise ValueError(f"Expected fixed as a mapping from names of parameters; got {fixed!r}.")
        self.fixed = dict(fixed or {})
        self.constraints = constraints
        self.priors = given_priors(priors)
        self.rotation = rotation
        self.latent = latent
        self.decoder = decoders_of(decoder)
        self.occasions = occasions_of(occasions, latent)
        if self.decoder and self.occasions is not None:
            raise ValueError("Models of several occasions take no decoder in this version: leave one of them out.")
        if self.decoder and isinstance(self.factors, int) and self.factors > 1:
            raise ValueError(
                "Networks of exploratory factors depend on their rotation: with a decoder give factors as 'F =~ ...' or"
                " a Q-matrix."
            )
        if self.occasions is not None and isinstance(self.factors, int) and self.factors != 1:
            raise ValueError(
                f"With occasions expected one factor, or factors as 'F =~ ...' or a Q-matrix; got {factors}."
            )
        self.syntax = factors_of(factors, (), self.covariates) if isinstance(factors, str) else None
        _check_rotation(rotation, factors)

    def __repr__(self) -> str:
        factors = self.factors if isinstance(self.factors, int | str) else "Q"
        return f"IRT({self.item_type!r}, factors={factors!r})"

    def parameter_table(self, data: Any, *, group: str | None = None, default_priors: bool = False) -> pd.DataFrame:
        """What is free, fixed or equal, with starting values: the items' categories come from the data.

        default_priors: show also the priors that act in Bayesian engines where nothing is written.
        """
        import pandas as pd

        prepared = self._prepare(data, group, None)
        texts = [*prior_texts(prepared.priors, prepared.table.n_free), ""]
        frame = prepared.table.to_frame()
        frame["prior"] = pd.Series([texts[free - 1] or None for free in frame["free"]], dtype=object)
        if default_priors:
            from jaxlatent.inference.default_texts import bound_texts
            from jaxlatent.results.starting import in_column

            return in_column(frame, bound_texts(self.bind(data, group=group)))
        return frame

    def fit(
        self,
        data: Any,
        engine: Any = None,
        *,
        group: str | None = None,
        missing: str | None = None,
        weights: str | None = None,
        cluster: str | None = None,
        key: int = 0,
        progress: bool | None = None,
        checkpoint: Any = None,
    ) -> ItemResponseFit | Any:
        """Estimate the model by maximum marginal likelihood; missing answers are missing at random.

        data: a pandas or polars frame, a mapping of columns, an array (all columns are items), or Responses. engine:
        MarginalML(...) by default; NUTS(...) for posterior draws, which gives a PosteriorFit. group, weights: columns.
        missing: None or "fiml" (all observed answers are used), or "listwise". key: random key of rules that draw
        points and of posterior draws. progress: True shows every step. cluster: a column; one factor then has a part
        of clusters, too, and the result is a ClusteredItemFit.

        Raises ValueError in one sentence where data and model don't go together; warns (ModelWarning) about solutions
        that should not be trusted as they are.
        """
        started = time.perf_counter()
        engine = self._engine(engine)
        if cluster is not None:
            return self._fit_clusters(data, engine, cluster, group, weights, missing, checkpoint, started)
        if checkpoint is not None and not isinstance(engine, AmortizedVI):
            raise ValueError(f"{engine.name} takes no checkpoint: leave it out, or use AmortizedVI().")
        if not isinstance(engine, AmortizedVI):
            _check_held(data, engine.name)
        if missing not in (None, "fiml", "listwise"):
            raise ValueError(f"Expected missing to be None, 'fiml' or 'listwise'; got {missing!r}.")
        check_key(key)
        p = self._prepare(data, group, weights, listwise=missing == "listwise")
        options: dict[str, Any] = {
            "priors": p.priors, "notes": p.notes, "key": int(key), "progress": progress, "anchors": p.anchors,
            "start": start_under_priors(p),
        }  # fmt: skip
        if isinstance(engine, NUTS):
            return self._fit_posterior(p, engine, options)
        if isinstance(engine, MarginalML):
            histogram = self.latent if isinstance(self.latent, Histogram) else None
            fitted = fit_items(
                p.table, p.measurement, p.coding, p.data, p.responses, engine, histogram=histogram, **options
            )
        else:
            from jaxlatent.inference.amortized_fit import fit_amortized
            from jaxlatent.inference.amortized_run import Streamed

            fitted = fit_amortized(
                p.table, p.measurement, p.coding, p.data, p.responses, engine, latent=self.latent,
                streamed=Streamed(data, p.coding) if isinstance(data, ScannedResponses) else None,
                checkpoint=checkpoint, **options,
            )  # fmt: skip
        fit = ItemResponseFit(self, fitted, 0.0)
        if p.anchors and self.rotation not in (None, "none"):
            fit = fit.rotate(self.rotation)
        fit.elapsed = time.perf_counter() - started
        for sentence in fit.warnings:
            warnings.warn(sentence, ModelWarning, stacklevel=2)
        return fit

    def _fit_clusters(
        self,
        data: Any,
        engine: Any,
        cluster: str,
        group: Any,
        weights: Any,
        missing: Any,
        checkpoint: Any,
        started: float,
    ) -> ClusteredItemFit:
        """The fit with a latent variable of clusters beside that of persons."""
        if not isinstance(engine, MarginalML) or engine.integration is not None or engine.starts > 1:
            raise ValueError("Clusters take MarginalML() with its own nodes and one start: leave the engine out.")
        if engine.se not in ("observed", "none"):
            raise ValueError(f"Clusters take se 'observed' or 'none'; got {engine.se!r}.")
        for name, value in (("group", group), ("weights", weights), ("checkpoint", checkpoint)):
            if value is not None:
                raise ValueError(f"Models with clusters take no {name} in this version: leave it out.")
        if self.priors or self.decoder:
            what = "priors" if self.priors else "decoder"
            raise ValueError(f"Models with clusters take no {what} in this version: leave {what} out.")
        if missing not in (None, "fiml", "listwise"):
            raise ValueError(f"Expected missing to be None, 'fiml' or 'listwise'; got {missing!r}.")
        rest, column = without_column(data, cluster, "cluster variable")
        p = self._prepare(rest, None, None, listwise=missing == "listwise")
        y = numeric_matrix(rest, p.table.observed)
        unused = np.isnan(y).any(axis=1) if missing == "listwise" else np.isnan(y).all(axis=1)
        fitted = fit_clustered(p, self.latent, cluster_text(column, cluster)[~unused], errors=engine.se != "none")
        elapsed = time.perf_counter() - started
        fit = ClusteredItemFit(self, fitted, engine, p.notes, cluster, elapsed)
        for sentence in fit.warnings:
            warnings.warn(sentence, ModelWarning, stacklevel=3)
        return fit

    def _fit_posterior(self, p: Prepared, engine: NUTS, options: dict[str, Any]) -> Any:
        from jaxlatent.posterior_fit import fit_item_posterior

        if p.anchors and self.rotation not in (None, "none"):
            raise ValueError(
                "NUTS draws the unrotated solution: leave rotation out, and call fit.rotate(...) afterwards."
            )

        def maximum() -> ItemFitted:
            return fit_items(p.table, p.measurement, p.coding, p.data, p.responses, MarginalML(), **options)

        return fit_item_posterior(self, maximum, engine, options["key"], options["progress"])

    def _engine(self, engine: Any) -> MarginalML | AmortizedVI | NUTS:
        """The engine asked for; None is MarginalML where latent variables are normal."""
        if engine is None:
            quadrature = (is_normal(self.latent) or isinstance(self.latent, Histogram)) and not self.decoder
            engine = MarginalML() if quadrature else AmortizedVI()
        if not isinstance(engine, MarginalML | AmortizedVI | NUTS):
            raise ValueError(
                "Expected MarginalML(...), AmortizedVI(...) or NUTS(...) as the engine of an item response model; got"
                f" {engine!r}."
            )
        histogram = isinstance(self.latent, Histogram)
        if self.decoder and not isinstance(engine, AmortizedVI):
            raise ValueError(
                f"{engine.name} takes items with loadings, not networks: use AmortizedVI(), or no decoder."
            )
        if isinstance(engine, NUTS) and not is_normal(self.latent):
            raise ValueError(f"NUTS takes normal latent variables; got latent={self.latent!r}: leave latent out.")
        if isinstance(engine, MarginalML) and not histogram:
            _check_normal(self.latent)
        if isinstance(engine, AmortizedVI) and histogram:
            raise ValueError("An empirical histogram is estimated by MarginalML: use it, or latent=jl.latent.Flow().")
        return engine

    def _prepare(self, data: Any, group: str | None, weights: str | None, *, listwise: bool = False) -> Prepared:
        return prepare(self, data, group, weights, listwise=listwise)

    def bind(self, data: Any, *, group: str | None = None, missing: str | None = None) -> BoundModel:
        """The model with its data: .model (LatentVariableModel), .responses and .arrays, for inference elsewhere."""
        from jaxlatent.bound import bind_items

        if isinstance(self.latent, Histogram):
            raise ValueError("An empirical histogram has no density to bind: leave latent out.")
        _check_held(data, "A bound model")
        return bind_items(self, self._prepare(data, group, None, listwise=missing == "listwise"))

    def prior_predictive(
        self, data: Any, n_draws: int = 200, key: int = 0, *, group: str | None = None, missing: str | None = None
    ) -> PriorPredictive:
        """Draws of parameters from their priors and of data under them, with .plot(): see jl.prior_predictive."""
        from jaxlatent.prior_draws import prior_predictive

        return prior_predictive(self.bind(data, group=group, missing=missing), n_draws, key)


def occasions_of(given: Any, latent: Any) -> tuple[str | None, str] | None:
    """The columns of persons (None: to be found) and occasions; refuses what does not go together with occasions."""
    if given is None:
        if isinstance(latent, Autoregressive):
            raise ValueError("jl.latent.Autoregressive() is for several occasions: give their column as occasions.")
        return None
    names = (None, given) if isinstance(given, str) else given
    if (
        not isinstance(names, tuple | list) or len(names) != 2
        or not isinstance(names[1], str) or not (names[0] is None or isinstance(names[0], str))
    ):  # fmt: skip
        raise ValueError(f"Expected occasions as a column, or as a pair (person, occasion); got {given!r}.")
    if names[0] == names[1]:
        raise ValueError(f"Expected different columns for person and occasion; got {names[0]!r} for both.")
    if not is_normal(latent):
        raise ValueError(f"With occasions expected latent=jl.latent.Autoregressive(...), or none; got {latent!r}.")
    return names[0], names[1]


def _check_held(data: Any, what: str) -> None:
    if isinstance(data, ScannedResponses):
        raise ValueError(f"{what} holds all answers in memory: pass pandas.read_parquet(path), or use AmortizedVI().")


def _check_types(given: Any) -> None:
    names = given.values() if isinstance(given, Mapping) else [given]
    for name in names:
        if isinstance(name, Family):
            continue
        if not isinstance(name, str) or name not in ITEM_TYPES:
            raise ValueError(f"Expected an item type among {', '.join(ITEM_TYPES)}, or a Family; got {name!r}.")


def _check_normal(latent: Latent | None) -> None:
    """MarginalML's points, scores and information are those of normal latent variables."""
    if not is_normal(latent):
        raise ValueError(
            f"MarginalML takes normal latent variables; got latent={latent!r}: use AmortizedVI(), or leave latent out."
        )


def _check_rotation(rotation: str | None, factors: Any) -> None:
    if rotation is None:
        return
    from jaxlatent.numerics.rotation_criteria import find_method

    find_method(rotation)
    if not isinstance(factors, int):
        raise ValueError("rotation is for exploratory models: give factors as a count, or leave rotation out.")


def fit_irt_batch(model: IRT, stacked: Any, engine: Any = None) -> Any:
    """Estimates of one item response model for many data sets: see fit_batch."""
    from jaxlatent.inference.item_batch import fit_item_stack

    if model.occasions is not None:
        raise ValueError("fit_batch takes item response models without occasions.")
    if isinstance(model.latent, Histogram):
        raise ValueError("fit_batch takes no empirical histogram: leave latent out.")
    engine = model._engine(engine)
    if isinstance(engine, NUTS):
        raise ValueError("fit_batch takes MarginalML(...) or AmortizedVI(...): fit data sets one by one by NUTS.")
    if isinstance(engine, MarginalML) and engine.starts > 1:
        raise ValueError("fit_batch starts once for every data set: expected MarginalML(starts=1).")
    if model.covariates:
        raise ValueError("fit_batch takes item response models without covariates.")
    if is_named(stacked) or isinstance(stacked, str):
        raise ValueError("Expected several data sets, as an array [data set, person, item] or frames; got one.")
    frames = list(stacked)
    names = [column_names(frame, ()) if is_named(frame) else None for frame in frames[:1]]
    try:
        stack = np.stack([np.asarray(frame, dtype=float) for frame in frames])
    except (TypeError, ValueError):
        raise ValueError("Expected data sets of numbers with the same number of rows and columns.") from None
    if stack.ndim != 3 or not stack.size:
        raise ValueError(f"Expected a stack [data set, person, item]; got shape {stack.shape}.")
    whole = stack.reshape(-1, stack.shape[2])
    given = whole if not names or names[0] is None else dict(zip(names[0], whole.T, strict=True))
    p = model._prepare(given, None, None)
    at = [list(p.table.observed).index(name) for name in p.coding.names]
    if names and names[0] is not None:
        at = [names[0].index(name) for name in p.table.observed]
    for b, y in enumerate(stack[:, :, at]):
        for j, name in enumerate(p.table.observed):
            if len(np.unique(y[~np.isnan(y[:, j]), j])) < 2:
                raise ValueError(f"The item {name!r} has no two different answers in data set {b + 1}.")
    if isinstance(engine, AmortizedVI):
        from jaxlatent.inference.amortized_batch import fit_amortized_stack

        return fit_amortized_stack(
            p.table, p.measurement, p.coding, stack[:, :, at], engine, p.priors, latent=model.latent
        )
    return fit_item_stack(p.table, p.measurement, p.coding, stack[:, :, at], engine, p.priors)
