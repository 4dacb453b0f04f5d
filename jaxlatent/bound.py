"""A specification that has met its data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.data.moments import Moments, sample_moments
from jaxlatent.data.responses import Responses
from jaxlatent.inference.fitting import moment_layout
from jaxlatent.inference.item_model import item_model
from jaxlatent.inference.marginal_fit import starting_values as starting_item_values
from jaxlatent.inference.priors import Priors
from jaxlatent.inference.saturated import saturated_moments
from jaxlatent.inference.written_priors import table_priors
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.spec.item_table import item_layout
from jaxlatent.spec.layout import places, trimmed
from jaxlatent.spec.start import starting_values
from jaxlatent.spec.table import ParameterTable


@dataclass(frozen=True)
class BoundModel:
    """A face bound to data, for inference of one's own.

    spec: the face; table: its parameter table; model: the pure LatentVariableModel, its layout's start filled in;
    responses: the validated data with names; arrays: what compiled code sees; priors: those the user has written.
    """

    spec: Any
    table: Any
    model: LatentVariableModel
    responses: Responses
    arrays: Arrays
    priors: Priors = field(default_factory=Priors)


def bind(spec: Any, table: ParameterTable, source: Responses | Moments) -> BoundModel:
    """Bind a specification to rows; raises ValueError for Moments, which have none."""
    if isinstance(source, Moments):
        raise ValueError("Binding needs rows: pass the data themselves, not their moments.")
    moments = saturated_moments(source)[0] if source.has_missing else sample_moments(source)
    layout = moment_layout(table, moments)
    layout = replace(layout, start=starting_values(layout, moments.mean, moments.cov))
    layout = trimmed(layout, len(places(table).latent))
    if not table.mean_structure:
        # without a mean structure the likelihood of rows is that of centred variables
        source = replace(source, y=source.y - moments.mean[source.group])
    arrays = Arrays.of(source.y, group=source.group, weight=source.weight)
    priors = table_priors(table, layout, getattr(spec, "priors", {}))
    return BoundModel(spec, table, LatentVariableModel.normal(layout), source, arrays, priors)


def bind_items(spec: Any, prepared: Any) -> BoundModel:
    """Bind an item response model: categories as codes, the layout's start filled in."""
    layout = item_layout(prepared.table)
    layout = replace(layout, start=starting_item_values(prepared.table, layout, prepared.data, prepared.measurement))
    y = prepared.data.codes.astype(float)
    if prepared.data.codes.dtype.kind == "i":
        y[prepared.data.codes < 0] = np.nan
    data = prepared.data
    arrays = Arrays.of(y, group=data.group, weight=data.weight, covariates=data.covariates)
    model = item_model(prepared.table, prepared.measurement, layout, spec.latent)
    return BoundModel(spec, prepared.table, model, prepared.responses, arrays, prepared.priors)
