"""The parameter table as a frame, before any fitting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.data.moments import Moments, from_cov, sample_moments
from jaxlatent.data.responses import Responses
from jaxlatent.inference.fitting import moment_layout
from jaxlatent.inference.saturated import saturated_moments
from jaxlatent.inference.two_level_fit import prepare_two_level
from jaxlatent.inference.written_priors import prior_texts, table_priors
from jaxlatent.results.values import layout_values
from jaxlatent.spec.layout import places
from jaxlatent.spec.levels import by_level, has_levels
from jaxlatent.spec.start import starting_values
from jaxlatent.spec.table import ParameterTable

if TYPE_CHECKING:
    import pandas as pd


def table_frame(table: ParameterTable, source: Any, given: Mapping[str, Any]) -> pd.DataFrame:
    """The table; with data (Responses or Moments) the column start holds the values the engine starts from.

    given: priors, shown in the column prior where they are about a free parameter.
    """
    import pandas as pd

    frame = table.to_frame()
    texts = prior_texts(table_priors(table, None, given), table.n_free)
    shown = [(texts[row.free - 1] or None) if row.free else None for row in table.rows]
    frame["prior"] = pd.Series(shown + [None] * (len(frame) - len(shown)), dtype=object)
    if source is None:
        return frame
    if has_levels(table):
        frame.loc[: len(table.rows) - 1, "start"] = _level_starts(table, source)
        return frame
    moments = _moments(table, source)
    layout = moment_layout(table, moments)
    free = starting_values(layout, moments.mean, moments.cov)
    frame.loc[: len(table.rows) - 1, "start"] = layout_values(table, places(table), layout, free)
    frame["group"] = (
        [table.groups[g - 1] if g else "" for g in frame["group"]] if table.n_groups > 1 else frame["group"]
    )
    return frame


def _level_starts(table: ParameterTable, source: Responses) -> np.ndarray:
    """Starting values of the rows of a table with levels."""
    leveled, prepared = by_level(table), prepare_two_level(table, source, None)
    return layout_values(leveled, places(leveled), prepared.layout, prepared.start)


def in_column(frame: pd.DataFrame, texts: list[str]) -> pd.DataFrame:
    """A parameter table with the texts of its free parameters in the column prior."""
    import pandas as pd

    shown = [texts[int(free) - 1] or None if free and free > 0 else None for free in frame["free"]]
    return frame.assign(prior=pd.Series(shown, index=frame.index, dtype=object))


def _moments(table: ParameterTable, source: Responses | Moments) -> Any:
    if isinstance(source, Moments):
        return from_cov(source, table.observed)
    return saturated_moments(source)[0] if source.has_missing else sample_moments(source)
