"""From a specification of an item response model and data to what an engine takes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from jaxlatent.data.coding import Coding, coding_of
from jaxlatent.data.frames import column_names, is_named, require, table_shape
from jaxlatent.data.long_arrays import LongResponses
from jaxlatent.data.responses import Responses
from jaxlatent.data.scanned import ScannedResponses
from jaxlatent.inference.item_checks import (
    check_counts,
    check_covariates,
    check_groups,
    check_rows,
    check_shared,
    check_simple,
    check_size,
)
from jaxlatent.inference.item_data import ItemData, ItemRows
from jaxlatent.inference.marginal_fit import starting_values
from jaxlatent.inference.priors import Parameter, Priors
from jaxlatent.inference.written_priors import SPECIAL
from jaxlatent.latent.autoregressive import Autoregressive
from jaxlatent.measurement.family import Family
from jaxlatent.measurement.item_types import ITEM_TYPES, ItemType, family_of
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.spec.item_factors import Factors, factors_of
from jaxlatent.spec.item_rows import build_item_table
from jaxlatent.spec.item_start import anchor_items
from jaxlatent.spec.item_table import Item, ItemTable, item_layout
from jaxlatent.spec.occasions import Occasions, Transition, over_occasions

LOGITS = {"logit_guessing": "guessing", "logit_upper": "upper"}


class ItemSpec(Protocol):
    """What a specification says: the options of the face, and the factors of a syntax where one was given."""

    @property
    def item_type(self) -> Any: ...
    @property
    def factors(self) -> Any: ...
    @property
    def covariates(self) -> tuple[str, ...]: ...
    @property
    def group_equal(self) -> tuple[str, ...]: ...
    @property
    def fixed(self) -> dict[str, Any]: ...
    @property
    def constraints(self) -> Any: ...
    @property
    def priors(self) -> dict[str, Any]: ...
    @property
    def syntax(self) -> Factors | None: ...
    @property
    def latent(self) -> Any: ...
    @property
    def occasions(self) -> tuple[str | None, str] | None: ...


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


def prepare(spec: ItemSpec, data: Any, group: str | None, weights: str | None, *, listwise: bool = False) -> Prepared:
    """Read the data, find the items' categories and build the table."""
    if spec.occasions is not None:
        from jaxlatent.inference.item_occasions import prepare_occasions

        return prepare_occasions(spec, data, group, weights, listwise)
    if isinstance(data, LongResponses | ScannedResponses):
        from jaxlatent.inference.item_sources import prepare_source

        return prepare_source(spec, data, group, weights, listwise)
    factors, responses = _read(spec, data, group, weights)
    if listwise:
        responses = responses.listwise()
    check_covariates(responses, spec.group_equal)
    coding = coding_for(responses, [type_of(spec, name) for name in factors.items])
    check_size(responses, factors)
    codes = coding.encode(responses.y)
    anchors = anchor_items(responses.y, len(factors.factors)) if factors.exploratory else []
    check_groups(codes, responses, coding, spec.group_equal)
    table, measurement = assemble(spec, coding, responses.group_labels, anchors, margins_of(codes, coding))
    if not spec.priors:
        check_counts(table, coding)
    data_ = ItemData(codes, responses.group, responses.weight, responses.covariates)
    notes = responses.notes + coding.notes
    return Prepared(
        table, measurement, coding, data_, responses, cell_priors(spec.priors, table), notes, tuple(anchors)
    )


def _read(spec: ItemSpec, data: Any, group: str | None, weights: str | None) -> tuple[Factors, Responses]:
    if isinstance(data, Responses):
        if group is not None or weights is not None:
            raise ValueError("Responses hold their groups and weights already: leave group and weights out.")
        factors = spec.syntax or factors_of(spec.factors, data.names, spec.covariates)
        require(list(data.names), factors.items, "item")
        require(list(data.covariate_names), factors.covariates, "covariate")
        z = [data.covariate_names.index(name) for name in factors.covariates]
        own = data.covariates[:, z] if z and data.covariates is not None else None
        data = replace(data, covariates=own, covariate_names=factors.covariates)
        at = [data.names.index(name) for name in factors.items]
        return factors, _columns(data, at, factors.items)
    if is_named(data):
        names = column_names(data, ())
        other = {group, weights, *spec.covariates}
        items = tuple(name for name in names if name not in other)
    else:
        shape = table_shape(data)
        if group or weights or spec.covariates:
            raise ValueError("An array has no column names for group, weights or covariates: pass a frame.")
        items = tuple(f"item{j + 1}" for j in range(shape[1]))
        if spec.syntax is not None and len(spec.syntax.items) == shape[1]:
            items = spec.syntax.items
    factors = spec.syntax or factors_of(spec.factors, items, spec.covariates)
    if isinstance(spec.item_type, Mapping):
        unknown = [name for name in spec.item_type if name not in factors.items]
        if unknown:
            raise ValueError(f"item_type names {unknown[0]!r}, which is no item of the model.")
    check_rows(len(data[next(iter(data))]) if isinstance(data, Mapping) and data else len(data), len(factors.items))
    return factors, Responses.from_frame(
        data, factors.items, group=group, weights=weights, covariates=factors.covariates
    )


def assemble(
    spec: ItemSpec,
    coding: Coding,
    groups: Sequence[str],
    anchors: Sequence[int],
    margins: Sequence[np.ndarray] | None = None,
    occasions: Occasions | None = None,
) -> tuple[ItemTable, Measurement]:
    """Table and families of a specification for items with known categories.

    margins, for starting values: of every item the shares of its categories, or mean and variance where it has none.
    occasions: on which the items are answered, if these are several; coding and margins are of the items of one.
    """
    factors = spec.syntax or factors_of(spec.factors, coding.names, spec.covariates, anchors)
    types = [type_of(spec, name) for name in factors.items]
    items = [
        _item(name, kind, given, k, None if margins is None else margins[j])
        for j, (name, (kind, given), k) in enumerate(zip(factors.items, types, coding.n_categories, strict=True))
    ]
    table = build_item_table(
        factors, items, groups=groups, group_equal=spec.group_equal, fixed=spec.fixed, constraints=spec.constraints
    )
    check_shared(items)
    families = [_family(given, kind, k) for (kind, given), k in zip(types, coding.n_categories, strict=True)]
    check_simple(table, types)
    if occasions is not None:
        step = spec.latent.transition if isinstance(spec.latent, Autoregressive) else Transition()
        table = over_occasions(table, occasions, step, spec.group_equal)
        families = families * occasions.n
    return table, _measurement(families)


def type_of(spec: ItemSpec, name: str) -> tuple[str, ItemType]:
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


def _family(given: ItemType, name: str, n_categories: int) -> Family:
    return family_of(name, n_categories) if name in ITEM_TYPES else given.family_for(n_categories)


def coding_for(responses: Responses, types: Sequence[tuple[str, ItemType]]) -> Coding:
    families = [given.family_for(3) for _, given in types]
    counts = [name in ("poisson", "negative_binomial") for name, _ in types]
    coding = coding_of(responses.y, responses.names, [f.categorical for f in families], counts)
    for j, (name, _) in enumerate(types):
        if name == "lognormal" and (responses.y[:, j] <= 0).any():
            row = int(np.flatnonzero(responses.y[:, j] <= 0)[0]) + 1
            raise ValueError(f"The item {responses.names[j]!r} is not positive in row {row}: 'lognormal' needs times.")
    return coding


def margins_of(codes: np.ndarray, coding: Coding) -> list[np.ndarray]:
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


def cell_priors(given: Mapping[str, Any], table: ItemTable) -> Priors:
    """Priors of an item response model, by class, by label or by parameter ("F =~ item1", "item1 ~1")."""
    if not given:
        return Priors()
    from jaxlatent.inference.prior_choices import resolve  # NumPyro, only where there are priors

    supports = {p.matrix: p.support for item in table.items for p in item.parameters}
    parameters = []
    for row in table.rows:
        own: tuple[tuple[str, str], ...] = ((row.matrix, "natural"),)
        kind = {"unit": "unit", "positive": "positive"}.get(supports.get(row.matrix, ""), "cell")
        if row.matrix == "factor_cov":
            kind = "variance" if row.lhs == row.rhs else "covariance"
            ends = ("sd", "var") if kind == "variance" else ("cor",)
            own = (*((f"factor_{end}", SPECIAL[end]) for end in ends), *own)
        own = (*((name, "logit") for name, matrix in LOGITS.items() if matrix == row.matrix), *own)
        text = f"{row.lhs} {row.op} {row.rhs}".strip()
        free = row.free - 1 if row.free else -1
        parameters.append(Parameter(free, text, row.label, row.group, own, kind, None, row.fixed))
    return resolve(given, parameters, item_layout(table))


def start_under_priors(p: Prepared) -> np.ndarray | None:
    """Starting values where there are priors, at which these must have a density."""
    if not p.priors.cells:
        return None
    layout = item_layout(p.table)
    start = starting_values(p.table, layout, p.data, p.measurement)
    for row in p.table.rows:
        for prior in p.priors.cells:
            if prior.positions is not None and row.free - 1 in prior.positions and prior.scale == "natural":
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
