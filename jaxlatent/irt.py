"""Item response models: the face users import."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.data.coding import Coding, coding_of
from jaxlatent.data.frames import column_names, is_named, require, table_shape
from jaxlatent.data.long_arrays import LongResponses
from jaxlatent.data.responses import Responses
from jaxlatent.data.scanned import ScannedResponses
from jaxlatent.inference.amortized_settings import AmortizedVI
from jaxlatent.inference.item_data import ItemData, ItemRows
from jaxlatent.inference.item_model import is_normal
from jaxlatent.inference.marginal_fit import fit_items, starting_values
from jaxlatent.inference.priors import CellPrior, Priors
from jaxlatent.inference.settings import MarginalML
from jaxlatent.irt_fit import ItemResponseFit
from jaxlatent.latent.histogram import Histogram
from jaxlatent.latent.latent import Latent
from jaxlatent.latent.normal import Normal
from jaxlatent.measurement.family import Family
from jaxlatent.measurement.item_types import ITEM_TYPES, ItemType, family_of
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.sem import ModelWarning
from jaxlatent.spec.item_start import anchor_items
from jaxlatent.spec.item_table import (
    Factors,
    Item,
    ItemTable,
    build_item_table,
    check_item_ties,
    factors_of,
    item_layout,
)

if TYPE_CHECKING:
    import pandas as pd

    from jaxlatent.bound import BoundModel

HISTOGRAM = "empirical_histogram"
LOGITS = {"logit_guessing": "guessing", "logit_upper": "upper"}


class IRT:
    """An item response model: items that depend on latent variables through a link.

    P(y | x) by item type with linear predictor lambda'x and intercepts d,   x ~ N(B x + alpha + Gamma z, Psi)

    item_type: a name ("rasch" "1pl" "2pl" "3pl" "4pl" "graded" "grsm" "gpcm" "pcm" "rsm" "nominal" "ideal" "cloglog"
    "ogive" "poisson" "negative_binomial" "normal" "lognormal"), a dict item -> name, or a measurement.Family of your
    own. factors: a count (exploratory where it is above 1), lavaan's "F =~ item1 + item2", or a Q-matrix (items x
    factors; a DataFrame names both). covariates: columns that predict the factors. group_equal: "loadings",
    "intercepts", "guessing", "upper", "residuals", "means", "lv_variances", "lv_covariances", "regressions"; what it
    identifies is freed in all groups but the first. fixed: values of item parameters, such as {"guessing": 0.1}.
    constraints: a pair (A, b) with vec(loadings) = A t + b. priors: distributions of item parameters by name, such as
    {"loadings": numpyro.distributions.LogNormal(0, 0.5), "logit_guessing": Normal(-1.5, 1)}; the fit is then the
    posterior mode. latent: the distribution of the factors, jl.latent.Normal() by default, Flow(...) or Mixture(k), by
    AmortizedVI, whose means and covariances are the model's whatever its shape; or "empirical_histogram"
    (jl.latent.Histogram(n, limit)), by MarginalML, for one factor of any shape. rotation: of an exploratory solution
    ("oblimin", "varimax", ...).

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
    ) -> None:
        if occasions is not None:
            raise ValueError("The option occasions is not in this version: leave it out.")
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
        for name, value in (("fixed", fixed), ("priors", priors)):
            if value is not None and not isinstance(value, Mapping):
                raise ValueError(f"Expected {name} as a mapping from names of parameters; got {value!r}.")
        self.fixed = dict(fixed or {})
        self.constraints = constraints
        self.priors = dict(priors or {})
        self.rotation = rotation
        self.latent = latent
        self._syntax = factors_of(factors, (), self.covariates) if isinstance(factors, str) else None
        _check_rotation(rotation, factors)

    def __repr__(self) -> str:
        factors = self.factors if isinstance(self.factors, int | str) else "Q"
        return f"IRT({self.item_type!r}, factors={factors!r})"

    def parameter_table(self, data: Any, *, group: str | None = None) -> pd.DataFrame:
        """What is free, fixed or equal, with starting values: the items' categories come from the data."""
        prepared = self._prepare(data, group, None)
        return prepared.table.to_frame()

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
    ) -> ItemResponseFit:
        """Estimate the model by maximum marginal likelihood; missing answers are missing at random.

        data: a pandas or polars frame, a mapping of columns, an array (all columns are items), or Responses. engine:
        MarginalML(...) by default. group, weights: columns. missing: None or "fiml" (all observed answers are used), or
        "listwise". key: random key of rules that draw points. progress: True shows every step.

        Raises ValueError in one sentence where data and model don't go together; warns (ModelWarning) about solutions
        that should not be trusted as they are.
        """
        started = time.perf_counter()
        engine = self._engine(engine)
        if cluster is not None:
            raise ValueError(f"The option cluster is not in this version for {engine.name}: leave it out.")
        if checkpoint is not None and isinstance(engine, MarginalML):
            raise ValueError("MarginalML takes no checkpoint: leave it out, or use AmortizedVI().")
        if isinstance(engine, MarginalML):
            _check_held(data, engine.name)
        if missing not in (None, "fiml", "listwise"):
            raise ValueError(f"Expected missing to be None, 'fiml' or 'listwise'; got {missing!r}.")
        if isinstance(key, bool) or not isinstance(key, int | np.integer) or key < 0:
            raise ValueError(f"Expected key, the random key, to be a whole number from 0; got {key!r}.")
        p = self._prepare(data, group, weights, listwise=missing == "listwise")
        options: dict[str, Any] = {
            "priors": p.priors, "notes": p.notes, "key": int(key), "progress": progress, "anchors": p.anchors,
            "start": _start(p),
        }  # fmt: skip
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

    def _engine(self, engine: Any) -> MarginalML | AmortizedVI:
        """The engine asked for; None is MarginalML where latent variables are normal."""
        if engine is None:
            quadrature = is_normal(self.latent) or isinstance(self.latent, Histogram)
            engine = MarginalML() if quadrature else AmortizedVI()
        if not isinstance(engine, MarginalML | AmortizedVI):
            raise ValueError(
                f"Expected MarginalML(...) or AmortizedVI(...) as the engine of an item response model; got {engine!r}."
            )
        histogram = isinstance(self.latent, Histogram)
        if isinstance(engine, MarginalML) and not histogram:
            _check_normal(self.latent)
        if isinstance(engine, AmortizedVI) and histogram:
            raise ValueError("An empirical histogram is estimated by MarginalML: use it, or latent=jl.latent.Flow().")
        return engine

    def _prepare(self, data: Any, group: str | None, weights: str | None, *, listwise: bool = False) -> Prepared:
        """Read the data, find the items' categories and build the table."""
        if isinstance(data, LongResponses | ScannedResponses):
            from jaxlatent.irt_sources import prepare_source

            return prepare_source(self, data, group, weights, listwise)
        factors, responses = self._read(data, group, weights)
        if listwise:
            responses = responses.listwise()
        _check_covariates(responses, self.group_equal)
        coding = _coding(responses, [type_of(self, name) for name in factors.items])
        _check_size(responses, factors)
        codes = coding.encode(responses.y)
        anchors = anchor_items(responses.y, len(factors.factors)) if factors.exploratory else []
        _check_groups(codes, responses, coding, self.group_equal)
        table, measurement = assemble(self, coding, responses.group_labels, anchors, _margins(codes, coding))
        if not self.priors:
            _check_counts(table, coding)
        data_ = ItemData(codes, responses.group, responses.weight, responses.covariates)
        notes = responses.notes + coding.notes
        return Prepared(
            table, measurement, coding, data_, responses, _priors(self.priors, table), notes, tuple(anchors)
        )

    def _read(self, data: Any, group: str | None, weights: str | None) -> tuple[Factors, Responses]:
        if isinstance(data, Responses):
            if group is not None or weights is not None:
                raise ValueError("Responses hold their groups and weights already: leave group and weights out.")
            factors = self._syntax or factors_of(self.factors, data.names, self.covariates)
            require(list(data.names), factors.items, "item")
            require(list(data.covariate_names), factors.covariates, "covariate")
            z = [data.covariate_names.index(name) for name in factors.covariates]
            own = data.covariates[:, z] if z and data.covariates is not None else None
            data = replace(data, covariates=own, covariate_names=factors.covariates)
            at = [data.names.index(name) for name in factors.items]
            return factors, _columns(data, at, factors.items)
        if is_named(data):
            names = column_names(data, ())
            other = {group, weights, *self.covariates}
            items = tuple(name for name in names if name not in other)
        else:
            shape = table_shape(data)
            if group or weights or self.covariates:
                raise ValueError("An array has no column names for group, weights or covariates: pass a frame.")
            items = tuple(f"item{j + 1}" for j in range(shape[1]))
            if self._syntax is not None and len(self._syntax.items) == shape[1]:
                items = self._syntax.items
        factors = self._syntax or factors_of(self.factors, items, self.covariates)
        if isinstance(self.item_type, Mapping):
            unknown = [name for name in self.item_type if name not in factors.items]
            if unknown:
                raise ValueError(f"item_type names {unknown[0]!r}, which is no item of the model.")
        _check_rows(
            len(data[next(iter(data))]) if isinstance(data, Mapping) and data else len(data), len(factors.items)
        )
        return factors, Responses.from_frame(
            data, factors.items, group=group, weights=weights, covariates=factors.covariates
        )

    def bind(self, data: Any, *, group: str | None = None, missing: str | None = None) -> BoundModel:
        """The model with its data: .model (LatentVariableModel), .responses and .arrays, for inference elsewhere."""
        from jaxlatent.bound import bind_items

        if isinstance(self.latent, Histogram):
            raise ValueError("An empirical histogram has no density to bind: leave latent out.")
        _check_held(data, "A bound model")
        return bind_items(self, self._prepare(data, group, None, listwise=missing == "listwise"))


@dataclass(frozen=True)
class Prepared:
    """A specification that has met its data, ready for an engine."""

    table: ItemTable
    measurement: Measurement
    coding: Coding
    data: ItemRows
    responses: Responses | LongResponses
    priors: Priors
    notes: tuple[str, ...]
    anchors: tuple[int, ...]


def assemble(
    spec: IRT,
    coding: Coding,
    groups: Sequence[str],
    anchors: Sequence[int],
    margins: Sequence[np.ndarray] | None = None,
) -> tuple[ItemTable, Measurement]:
    """Table and families of a specification for items with known categories.

    margins, for starting values: of every item the shares of its categories, or mean and variance where it has none.
    """
    factors = spec._syntax or factors_of(spec.factors, coding.names, spec.covariates, anchors)
    types = [type_of(spec, name) for name in factors.items]
    items = [
        _item(name, kind, given, k, None if margins is None else margins[j])
        for j, (name, (kind, given), k) in enumerate(zip(factors.items, types, coding.n_categories, strict=True))
    ]
    table = build_item_table(
        factors, items, groups=groups, group_equal=spec.group_equal, fixed=spec.fixed, constraints=spec.constraints
    )
    _check_shared(items)
    families = [_family(given, kind, k) for (kind, given), k in zip(types, coding.n_categories, strict=True)]
    _check_simple(table, types)
    return table, _measurement(families)


def _check_shared(items: Sequence[Item]) -> None:
    """Items that share a row have as many categories as one another."""
    first: dict[str, Item] = {}
    for item in items:
        if any(row.shared for row in item.parameters):
            other = first.setdefault(item.type, item)
            if other.n_categories != item.n_categories:
                raise ValueError(
                    f"Items of type {item.type!r} share their spacing and need as many categories as one another; got"
                    f" {other.n_categories} of {other.name!r} and {item.n_categories} of {item.name!r}."
                )


def type_of(spec: IRT, name: str) -> tuple[str, ItemType]:
    """The name and facts of an item's type."""
    given = spec.item_type
    if isinstance(given, Mapping):
        if name not in given:
            raise ValueError(f"item_type has no entry for the item {name!r}: give one for every item.")
        given = given[name]
    if isinstance(given, Family):
        family = given
        return type(family).__name__, ItemType(lambda n_categories: family)
    return given, ITEM_TYPES[given]


def _check_held(data: Any, what: str) -> None:
    if isinstance(data, ScannedResponses):
        raise ValueError(
            f"{what} holds all answers in memory: pass pandas.read_parquet(path), or fit with AmortizedVI()."
        )


def _check_types(given: Any) -> None:
    names = given.values() if isinstance(given, Mapping) else [given]
    for name in names:
        if isinstance(name, Family):
            continue
        if not isinstance(name, str) or name not in ITEM_TYPES:
            raise ValueError(f"Expected an item type among {', '.join(ITEM_TYPES)}, or a Family; got {name!r}.")


def _check_normal(latent: Latent | None) -> None:
    """MarginalML's points, scores and information are those of normal latent variables."""
    if latent is not None and not isinstance(latent, Normal):
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


def _family(given: ItemType, name: str, n_categories: int) -> Family:
    return family_of(name, n_categories) if name in ITEM_TYPES else given.family_for(n_categories)


def _coding(responses: Responses, types: Sequence[tuple[str, ItemType]]) -> Coding:
    families = [given.family_for(3) for _, given in types]
    counts = [name in ("poisson", "negative_binomial") for name, _ in types]
    coding = coding_of(responses.y, responses.names, [f.categorical for f in families], counts)
    for j, (name, _) in enumerate(types):
        if name == "lognormal" and (responses.y[:, j] <= 0).any():
            row = int(np.flatnonzero(responses.y[:, j] <= 0)[0]) + 1
            raise ValueError(f"The item {responses.names[j]!r} is not positive in row {row}: 'lognormal' needs times.")
    return coding


def _margins(codes: np.ndarray, coding: Coding) -> list[np.ndarray]:
    """Of every item the shares of its categories, or mean and variance where it has none."""
    out = []
    for column, k in zip(codes.T, coding.n_categories, strict=True):
        seen = column[column >= 0].astype(int) if k else column[~np.isnan(column)]
        share = np.bincount(seen, minlength=k) / max(len(seen), 1) if k else None
        out.append(np.array([seen.mean(), seen.var()]) if share is None else share)
    return out


def _item(name: str, type_name: str, given: ItemType, k: int, observed: np.ndarray | None) -> Item:
    try:
        family = _family(given, type_name, k)
    except ValueError as error:
        raise ValueError(f"The item {name!r}: {error}") from None
    if observed is None:
        return Item(name, type_name, k, given.slopes, given.variance_free, family.item_parameters(k))
    return Item(
        name, type_name, k, given.slopes, given.variance_free, family.item_parameters(k), family.start(k, observed)
    )


def _measurement(families: Sequence[Family]) -> Measurement:
    """Items of one family together, in the order in which families first appear."""
    groups: dict[Family, list[int]] = {}
    for j, family in enumerate(families):
        groups.setdefault(family, []).append(j)
    return Measurement(tuple((family, tuple(items)) for family, items in groups.items()))


def _columns(data: Responses, at: Sequence[int], names: tuple[str, ...]) -> Responses:
    return replace(data, y=data.y[:, list(at)], names=names).drop_empty_rows().check_columns()


def _check_rows(n: int, j: int) -> None:
    if j > 2 * n:
        raise ValueError(
            f"Expected more persons than items; got {n} rows and {j} columns: are persons in columns? Then transpose."
        )
    if n < 10:
        raise ValueError(f"Expected at least 10 persons; got {n}, too few for an item response model.")


def _check_size(responses: Responses, factors: Factors) -> None:
    n, j = responses.y.shape
    _check_rows(n, j)
    if len(factors.factors) >= max(j, 2):
        raise ValueError(f"Expected fewer factors than items; got {len(factors.factors)} factors and {j} items.")


def _check_covariates(responses: Responses, equal: Sequence[str]) -> None:
    """Covariates vary, and none is a sum of the others, wherever their effects are estimated."""
    z = responses.covariates
    if z is None:
        return
    groups = range(1) if "regressions" in equal else range(responses.n_groups)
    for g in groups:
        own = z if len(groups) == 1 else z[responses.group == g]
        here = f" in group {responses.group_labels[g]!r}" if len(groups) > 1 else ""
        away = own - own.mean(axis=0)
        away = away / np.maximum(np.abs(away).max(axis=0), 1e-300)
        for k, name in enumerate(responses.covariate_names):
            if np.linalg.matrix_rank(away[:, : k + 1], tol=1e-9 * np.sqrt(len(own))) <= k:
                raise ValueError(
                    f"The covariate {name!r} is constant or a sum of the other covariates{here}: remove it"
                    + (", or leave the group out." if here else ".")
                )


def _check_counts(table: ItemTable, coding: Coding) -> None:
    """No more parameters than the data have proportions of patterns."""
    if table.n_free == 0:
        raise ValueError("The model has no free parameter: everything is fixed.")
    if not coding.categorical or table.covariates:
        return
    patterns = table.n_groups * (math.prod(coding.n_categories) - 1)
    if table.n_parameters > patterns:
        raise ValueError(
            f"The model has {table.n_parameters} parameters, but the answers to {len(table.items)} item(s) only"
            f" {patterns} proportions of patterns: it is not identified; use more items, or fix parameters."
        )


def _check_groups(codes: np.ndarray, responses: Responses, coding: Coding, equal: Sequence[str]) -> None:
    """Every group saw every category, unless intercepts are the same in all groups."""
    if responses.n_groups == 1 or "intercepts" in equal:
        return
    for g, label in enumerate(responses.group_labels):
        here = codes[responses.group == g]
        for j, (name, k) in enumerate(zip(coding.names, coding.n_categories, strict=True)):
            for c in range(k):
                if not (here[:, j] == c).any():
                    value = coding.values[j][c]  # type: ignore[index]
                    raise ValueError(
                        f"Nobody in group {label!r} gave the answer {value:g} to the item {name!r}: join categories, or"
                        " make intercepts equal over groups."
                    )


def _check_simple(table: ItemTable, types: Sequence[tuple[str, ItemType]]) -> None:
    for j, (name, given) in enumerate(types):
        loads = [
            r for r in table.rows if r.matrix == "loadings" and r.cell[0] == j and r.group == 1 and (r.free or r.fixed)
        ]
        if given.simple and len(loads) != 1:
            raise ValueError(
                f"The item {table.items[j].name!r} of type {name!r} depends on {len(loads)} factors; expected one."
            )


def _priors(given: Mapping[str, Any], table: ItemTable) -> Priors:
    matrices = {row.matrix for row in table.rows}
    cells = []
    for name, distribution in given.items():
        matrix = LOGITS.get(name, name)
        if matrix not in matrices:
            known = ", ".join(sorted(matrices | {k for k, v in LOGITS.items() if v in matrices}))
            raise ValueError(f"Expected names in priors among {known}; got {name!r}.")
        if not hasattr(distribution, "log_prob"):
            raise ValueError(f"Expected a NumPyro distribution for priors[{name!r}]; got {distribution!r}.")
        cells.append(CellPrior(matrix, distribution, "logit" if name in LOGITS else "natural"))
    return Priors(tuple(cells))


def _start(p: Prepared) -> np.ndarray | None:
    """Starting values where there are priors, at which these must have a density."""
    if not p.priors.cells:
        return None
    layout = item_layout(p.table)
    start = starting_values(p.table, layout, p.data, p.measurement)
    for row in p.table.rows:
        for prior in p.priors.cells:
            if row.free and row.matrix == prior.matrix and prior.scale == "natural":
                value = start[row.free - 1]
                with warnings.catch_warnings():  # NumPyro's about values outside the support
                    warnings.simplefilter("ignore")
                    density = float(prior.distribution.log_prob(value))
                if not np.isfinite(density):
                    raise ValueError(
                        f"The prior of {prior.matrix!r} has no density at the starting value {value:.3g} of"
                        f" '{row.lhs} {row.op} {row.rhs}'".rstrip()
                        + ": recode an item that runs against the others, or choose another prior."
                    )
    return start


def fit_irt_batch(model: IRT, stacked: Any, engine: Any = None) -> Any:
    """Estimates of one item response model for many data sets: see fit_batch."""
    from jaxlatent.inference.item_batch import fit_item_stack

    engine = MarginalML() if engine is None else engine
    if not isinstance(engine, MarginalML):
        raise ValueError(f"Expected MarginalML(...) as the engine of an item response model; got {engine!r}.")
    if engine.starts > 1:
        raise ValueError("fit_batch starts once for every data set: expected MarginalML(starts=1).")
    if isinstance(model.latent, Histogram):
        raise ValueError("fit_batch takes normal latent variables: leave latent out.")
    _check_normal(model.latent)
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
    return fit_item_stack(p.table, p.measurement, p.coding, stack[:, :, at], engine, p.priors)
