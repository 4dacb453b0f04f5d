"""The summary of an exploratory solution as factor analysts lay it out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from jaxlatent.report.blocks import Block, Heading, Paragraph, Row, Table
from jaxlatent.report.measures import measure_tables
from jaxlatent.report.numbers import fixed
from jaxlatent.report.summary import Summary, SummaryInfo, estimation_tables, header_rows, warning_blocks

SHARES = (
    ("SS loadings", "ss_loadings"),
    ("Proportion of variance", "proportion"),
    ("Cumulative", "cumulative"),
    ("Share of the explained", "proportion_explained"),
)


def build_factor_summary(
    info: SummaryInfo,
    items: pd.DataFrame,
    explained: pd.DataFrame,
    factor_cov: pd.DataFrame,
    measures: pd.Series | None,
    *,
    cut: float = 0.0,
) -> Summary:
    """Gather a summary.

    items: a row an item in the order to print, a column a factor (standardised loadings), then h2, u2 and others;
    loadings smaller than cut are left blank. explained: a row a factor. measures: fit measures, or None.
    """
    blocks: list[Block] = [Heading(info.title, 1), *warning_blocks(info), Table((), tuple(header_rows(info)))]
    blocks.extend(Paragraph(note) for note in info.notes)
    blocks.append(loadings_table(items, list(info.latent), cut))
    blocks.append(explained_table(explained))
    if len(factor_cov) > 1:
        blocks.extend(correlations_table(factor_cov))
    if measures is not None:
        blocks.extend(measure_tables(measures))
    blocks.extend(estimation_tables(info))
    return Summary(info, tuple(blocks))


def loadings_table(items: pd.DataFrame, factors: list[str], cut: float) -> Table:
    """Items by factors, then what else there is of an item."""
    rest = [str(name) for name in items.columns if name not in factors]
    rows = []
    for name, row in items.iterrows():
        shown = [fixed(row[f]) if abs(row[f]) >= cut else "" for f in factors]
        rows.append(Row(str(name), (*shown, *(fixed(row[column]) for column in rest)), 1))
    title = "Standardized Loadings" + (f" (blank: smaller than {cut:g})" if cut > 0 else "")
    return Table((*factors, *rest), tuple(rows), title, "parameters")


def explained_table(explained: pd.DataFrame) -> Table:
    """Shares of variance, factors in columns."""
    rows = [Row(title, tuple(fixed(x) for x in explained[key]), 1) for title, key in SHARES if key in explained]
    return Table(tuple(map(str, explained.index)), tuple(rows), "Explained Variance", "parameters")


def correlations_table(factor_cov: pd.DataFrame) -> Iterator[Block]:
    """The lower triangle of the factors' correlations; nothing where all are zero."""
    names = [str(name) for name in factor_cov.index]
    values = factor_cov.to_numpy(float)
    if (values == np.diag(np.diag(values))).all():
        return
    rows = []
    for k, name in enumerate(names):
        rows.append(Row(name, tuple(fixed(values[k, l]) if l <= k else "" for l in range(len(names))), 1))
    yield Table(tuple(names), tuple(rows), "Factor Correlations", "parameters")
