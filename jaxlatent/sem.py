"""Structural equation models: the face users import."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.data.frames import column_names, is_named, raw_column, require
from jaxlatent.data.moments import Moments
from jaxlatent.data.responses import Responses, group_codes
from jaxlatent.fit import Fit
from jaxlatent.inference.exploratory_blocks import DEFAULT, blocks_in, fit_blocks, prepared
from jaxlatent.inference.fitting import fit_table
from jaxlatent.inference.nuts_settings import NUTS
from jaxlatent.inference.requirements import check_size
from jaxlatent.inference.settings import ML, LeastSquares, estimator
from jaxlatent.inference.two_level_fit import fit_two_level
from jaxlatent.inference.written_priors import CROSS, given_priors
from jaxlatent.numerics.rotation_criteria import find_method
from jaxlatent.spec.cross_loadings import with_cross_loadings
from jaxlatent.spec.grouping import check_names
from jaxlatent.spec.levels import has_levels
from jaxlatent.spec.restrictions import check_consistent
from jaxlatent.spec.syntax import parse
from jaxlatent.spec.table import ParameterTable, build_table, unsupported
from jaxlatent.two_level_fit import TwoLevelFit, cluster_labels

if TYPE_CHECKING:
    import pandas as pd

    from jaxlatent.bound import BoundModel
    from jaxlatent.prior_draws import PriorPredictive


class ModelWarning(UserWarning):
    """Something about a fit that its user should know before interpreting it."""


class SEM:
    """A structural equation model in lavaan's syntax.

    Sigma = Lambda (I - B)^-1 Psi (I - B)^-T Lambda' + Theta,   mu = nu + Lambda (I - B)^-1 alpha

    syntax: lavaan's model syntax. std_lv: latent variances 1 instead of a marker. orthogonal: no latent covariances.
    effect_coding: loadings of a factor average 1. mean_structure: None adds means where they are needed (missing data,
    several groups, clusters, growth, any "~1"). fixed_x: moments of exogenous observed variables are the sample's.
    growth: latent growth defaults. auto=False: nothing is added to what is written. group_equal: "loadings",
    "intercepts", "means", "regressions", "residuals", "residual_covariances", "lv_variances", "lv_covariances";
    group_partial: rows exempt from it, such as "visual=~x2". rotation: of exploratory blocks, efa("b")*f1 + efa("b")*f2
    =~ ..., by default "geomin"; factors come in the order of the variables that they load on. priors: a NumPyro
    distribution or a text such as "normal(0, 1)" for each of several classes ("loadings", "residual_sd", "factor_cor",
    ...), labels or parameters ("visual =~ x2"), or "flat"; in the syntax prior("normal(0.6, 0.2)")*x2. ML then gives
    the posterior mode. "cross_loadings" frees all loadings that the syntax leaves out (docs/priors.md).

    Raises ModelSyntaxError (a ValueError) with line and column where the syntax is wrong, ValueError for contradictory
    options. Source: Bollen (1989), Structural Equations with Latent Variables; lavaan's syntax by Rosseel (2012).
    """

    def __init__(
        self,
        syntax: str,
        *,
        std_lv: bool = False,
        orthogonal: bool = False,
        effect_coding: bool = False,
        mean_structure: bool | None = None,
        fixed_x: bool = True,
        growth: bool = False,
        auto: bool = True,
        group_equal: Sequence[str] = (),
        group_partial: Sequence[str] = (),
        ordered: Sequence[str] = (),
        parameterization: str = "delta",
        rotation: str | None = None,
        items: Any = None,
        latent: Any = None,
        priors: Any = None,
    ) -> None:
        for name, value in (("items", items), ("latent", latent)):
            if value is not None:
                raise ValueError(f"The option {name} is not in this version: leave it out.")
        _check_flags(std_lv=std_lv, orthogonal=orthogonal, effect_coding=effect_coding, fixed_x=fixed_x)
        _check_flags(growth=growth, auto=auto, **({} if mean_structure is None else {"mean_structure": mean_structure}))
        if rotation is not None:
            find_method(rotation)
        self.syntax = syntax
        self.rotation = rotation
        self.priors = given_priors(priors)
        self.options: dict[str, Any] = {
            "std_lv": std_lv,
            "orthogonal": orthogonal,
            "effect_coding": effect_coding,
            "fixed_x": fixed_x,
            "growth": growth,
            "auto": auto,
            "group_equal": check_names(_names("group_equal", group_equal)),
            "group_partial": _names("group_partial", group_partial),
            "ordered": _names("ordered", ordered),
            "parameterization": parameterization,
        }
        self.mean_structure = mean_structure
        self._parsed = parse(syntax)
        self._tables: dict[tuple, ParameterTable] = {}

    def __repr__(self) -> str:
        return f"SEM({self.syntax.strip()!r})"

    def table(self, groups: tuple[str, ...] = ("1",), mean_structure: bool = False) -> ParameterTable:
        """The parameter table for groups of these labels; built once for each."""
        key = (groups, mean_structure)
        if key not in self._tables:
            means = bool(self.mean_structure) or (mean_structure and self.mean_structure is None)
            table = build_table(self._parsed, groups=groups, mean_structure=means, **self.options)
            sentence = unsupported(table)
            if sentence:
                raise ValueError(sentence)
            if CROSS in self.priors:
                table = with_cross_loadings(table, "loadings" in self.options["group_equal"])
            check_consistent(table.constraints, table.free_labels, inequalities=True)
            if blocks_in(table) and (self.priors or any(row.prior for row in table.rows)):
                raise ValueError("Priors and efa blocks: expected one of the two in this version.")
            if blocks_in(table):
                table = prepared(table, self.rotation or DEFAULT)
            elif self.rotation is not None:
                raise ValueError(
                    'rotation is for exploratory blocks: write efa("b")*f1 + efa("b")*f2 =~ ..., or use EFA.'
                )
            self._tables[key] = table
        return self._tables[key]

    def parameter_table(
        self, data: Any = None, *, group: str | None = None, cluster: str | None = None, default_priors: bool = False
    ) -> pd.DataFrame:
        """What is free, fixed or equal, as lavaan's table; with data also the sample's groups and starting values.

        cluster: the column of clusters of a model with level: blocks. default_priors: show in the column prior also
        those that act where nothing is written, in Bayesian engines; they are on the scale of the data, so that data
        are needed.
        """
        from jaxlatent.results.starting import table_frame

        if default_priors:
            if data is None:
                raise ValueError("Default priors are on the scale of the data: pass the data to parameter_table.")
            return self._with_default_priors(self.parameter_table(data, group=group), data, group)
        if data is None:
            return table_frame(self.table(), None, self.priors)
        table, source = self._prepare(data, None, group, None, None, cluster)
        if has_levels(table):
            _require_cluster(cluster)
        return table_frame(table, source, self.priors)

    def _with_default_priors(self, frame: pd.DataFrame, data: Any, group: str | None) -> pd.DataFrame:
        from jaxlatent.inference.default_texts import bound_texts
        from jaxlatent.results.starting import in_column

        return in_column(frame, bound_texts(self.bind(data, group=group)))

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
    ) -> Fit | Any:
        """Estimate the model; a TwoLevelFit where the syntax has level: blocks (cluster= is needed then).

        data: a pandas or polars frame, a mapping of columns, an array with the model's variables in order, or Moments.
        engine: ML() (default), LeastSquares(...), a name that estimator() knows, or NUTS(...): posterior draws in a
        PosteriorFit. group, weights, cluster: columns.
        missing: None ("fiml" where cells are missing), "fiml", "listwise", "two_stage" or "robust_two_stage".
        key: random key of the bootstrap and of draws. progress: None shows a bar in terminals for what takes over two
        seconds.

        Raises ValueError in one sentence where data and model don't go together; warns (ModelWarning) about solutions
        that should not be trusted as they are.
        """
        started = time.perf_counter()
        if checkpoint is not None:
            raise ValueError("Checkpoints are for engines that run for minutes; ML and LeastSquares take none.")
        engine = _engine(engine)
        _check_fit_options(group=group, weights=weights, cluster=cluster, key=key, progress=progress)
        if isinstance(engine, NUTS):
            return self._fit_posterior(data, engine, group, missing, weights, cluster, int(key), progress)
        table, source = self._prepare(data, engine, group, missing, weights, cluster)
        if has_levels(table):
            return self._fit_levels(table, source, engine, missing, cluster, data, started)
        if blocks_in(table):
            fitted = fit_blocks(table, source, engine, missing, self.rotation or DEFAULT, int(key))
        else:
            fitted = fit_table(table, source, engine, missing, self.priors)
        fit = Fit(self, fitted, time.perf_counter() - started, key=key, progress=progress)
        for sentence in fit.warnings:
            warnings.warn(sentence, ModelWarning, stacklevel=2)
        return fit

    def _fit_levels(
        self, table: ParameterTable, source: Any, engine: Any, missing: Any, cluster: Any, data: Any, started: float
    ) -> TwoLevelFit:
        """The fit of a model with levels."""
        _require_cluster(cluster)
        if self.priors or any(row.prior for row in table.rows):
            raise ValueError("Two-level models take no priors in this version: leave them out.")
        if blocks_in(table):
            raise ValueError("Two-level models take no efa blocks in this version: write the loadings of each factor.")
        fitted = fit_two_level(table, source, engine, missing)
        labels = np.unique(cluster_labels(data, cluster))
        fit = TwoLevelFit(self, fitted, time.perf_counter() - started, cluster, labels)
        for sentence in fit.warnings:
            warnings.warn(sentence, ModelWarning, stacklevel=3)
        return fit

    def _fit_posterior(
        self, data: Any, engine: NUTS, group: str | None, missing: str | None, weights: str | None,
        cluster: str | None, key: int, progress: bool | None,
    ) -> Any:  # fmt: skip
        from jaxlatent.posterior_fit import fit_posterior

        for name, value in (("weights", weights), ("cluster", cluster)):
            if value is not None:
                raise ValueError(f"NUTS takes no {name}: a posterior is that of persons drawn independently; use ML().")
        table, source = self._prepare(data, engine, group, missing, None, None)
        _refuse_blocks(table, "NUTS")
        _refuse_levels(table, "NUTS")
        return fit_posterior(self, table, source, engine, missing, key, progress)

    def bind(self, data: Any, *, group: str | None = None, missing: str | None = None) -> BoundModel:
        """The model with its data: .model (LatentVariableModel), .responses and .arrays, for inference elsewhere."""
        from jaxlatent.bound import bind

        table, source = self._prepare(data, None, group, missing, None, None)
        _refuse_blocks(table, "A bound model")
        _refuse_levels(table, "A bound model")
        return bind(self, table, source)

    def prior_predictive(
        self, data: Any, n_draws: int = 200, key: int = 0, *, group: str | None = None, missing: str | None = None
    ) -> PriorPredictive:
        """Draws of parameters from their priors and of data under them, with .plot(): see jl.prior_predictive."""
        from jaxlatent.prior_draws import prior_predictive

        return prior_predictive(self.bind(data, group=group, missing=missing), n_draws, key)

    def _prepare(
        self, data: Any, engine: Any, group: str | None, missing: str | None, weights: str | None, cluster: str | None
    ) -> tuple[ParameterTable, Responses | Moments]:
        """Read what the model needs, and decide about the mean structure."""
        if isinstance(data, Moments):
            if group or weights or cluster:
                raise ValueError("Moments hold neither groups, weights nor clusters: pass the rows.")
            table = self.table(mean_structure=False)
            _check_latent_names(table, data.names)
            return table, data
        labels = self._group_labels(data, group)
        table = self.table(labels, mean_structure=group is not None or cluster is not None)
        _check_latent_names(table, column_names(data, table.observed))
        responses = Responses.from_frame(data, table.observed, group=group, weights=weights, cluster=cluster)
        if responses.has_missing and missing != "listwise" and not isinstance(engine, LeastSquares):
            table = self.table(labels, mean_structure=True)
            if not table.mean_structure:
                raise ValueError(
                    "Missing values need a mean structure: leave mean_structure out, or use missing='listwise'."
                )
        return table, responses

    def _group_labels(self, data: Any, group: str | None) -> tuple[str, ...]:
        if group is None:
            return ("1",)
        if not is_named(data):
            raise ValueError(f"An array has no column names, so none is the group variable {group!r}: pass a frame.")
        names = column_names(data, ())
        require(names, [group], "group variable")
        return group_codes(raw_column(data, group, names), group)[1]


def _names(option: str, given: Any) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (None,)
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"Expected {option} to be a name or several names; got {given!r}.")
    return names


def _check_flags(**given: Any) -> None:
    for name, value in given.items():
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"Expected {name} to be True or False; got {value!r}.")


def _check_fit_options(*, key: Any, progress: Any, **columns: Any) -> None:
    for role, name in columns.items():
        if name is not None and not isinstance(name, str):
            shown = repr(name) if np.ndim(name) == 0 else f"a {type(name).__name__} of values"
            raise ValueError(f"Expected {role} to be the name of a column of the data; got {shown}.")
    if not isinstance(key, int | np.integer) or isinstance(key, bool):
        raise ValueError(f"Expected key, the seed of random numbers, to be a whole number; got {key!r}.")
    if progress is not None:
        _check_flags(progress=progress)


def _check_latent_names(table: ParameterTable, columns: Sequence[str]) -> None:
    """A latent variable must not have the name of an observed one."""
    for name in table.latent:
        if name in columns:
            raise ValueError(f"The latent variable {name!r} has the name of a column of the data: rename one of them.")


def _refuse_blocks(table: ParameterTable, what: str) -> None:
    if blocks_in(table):
        raise ValueError(f"{what} takes no efa blocks: use SEM(...).fit, or EFA for the unrotated model.")


def _refuse_levels(table: ParameterTable, what: str) -> None:
    if has_levels(table):
        raise ValueError(f"{what} takes no two-level models in this version: use SEM(...).fit(data, cluster=...).")


def _require_cluster(cluster: str | None) -> None:
    if cluster is None:
        raise ValueError("The model has two levels: pass cluster= the name of the column of clusters, with the rows.")


def _engine(engine: Any) -> Any:
    if engine is None:
        return ML()
    if isinstance(engine, str):
        return estimator(engine)
    if not isinstance(engine, ML | LeastSquares | NUTS):
        raise ValueError(
            f"Expected engine to be ML(...), LeastSquares(...), NUTS(...) or a name such as 'MLR'; got {engine!r}."
        )
    return engine


def fit_sem_batch(model: SEM, stacked: Any, engine: Any = None) -> Any:
    """Estimates of one structural equation model for many data sets: see fit_batch."""
    from jaxlatent.inference.batch import fit_stack

    table = model.table()
    _refuse_blocks(table, "fit_batch")
    _refuse_levels(table, "fit_batch")
    if model.priors or any(row.prior for row in table.rows):
        raise ValueError("fit_batch takes no priors in this version: leave them out.")
    check_size(table)
    if isinstance(engine, NUTS):
        raise ValueError("fit_batch takes ML(...) or LeastSquares(...): fit data sets one by one by NUTS.")
    return fit_stack(table, _stack(table, stacked), engine and _engine(engine))


def _stack(table: ParameterTable, stacked: Any) -> np.ndarray:
    """Data sets of one size as an array [data set, person, variable]; every variable varies in every data set."""
    if isinstance(stacked, str) or is_named(stacked) or not isinstance(stacked, Iterable):
        what = "one frame" if is_named(stacked) else repr(stacked)
        raise ValueError(f"Expected several data sets, as an array [data set, person, variable] or frames; got {what}.")
    if not hasattr(stacked, "shape"):
        frames = [Responses.from_frame(frame, table.observed).y for frame in stacked]
        sizes = sorted({len(y) for y in frames})
        if len(sizes) != 1:
            found = f"{sizes[0]} to {sizes[-1]} rows" if sizes else "no data sets"
            raise ValueError(f"Expected data sets with the same number of rows; got {found}.")
        stacked = np.stack(frames)
    try:
        out = np.asarray(stacked, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"Expected an array of numbers; got one of {np.asarray(stacked).dtype}.") from None
    if out.ndim != 3 or not out.size or out.shape[2] != len(table.observed):
        names = ", ".join(table.observed)
        raise ValueError(
            f"Expected a stack [data set, person, variable] with the {len(table.observed)} variables {names}; got shape"
            f" {out.shape}."
        )
    constant = (out == out[:, :1]).all(axis=1)
    if constant.any():
        k, j = np.argwhere(constant)[0]
        raise ValueError(f"The variable {table.observed[j]!r} is constant in data set {k} of the stack: leave it out.")
    return out
