"""The summary of an item response fit: how it was estimated, how well it fits, every item, and the latent variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from jaxlatent.report.blocks import Block, Heading, Paragraph, Row, Table
from jaxlatent.report.item_tables import item_blocks
from jaxlatent.report.numbers import fixed, has, measure, whole
from jaxlatent.report.summary import Summary, SummaryInfo, estimation_tables, header_rows, warning_blocks
from jaxlatent.report.tables import parameter_blocks

LIKELIHOOD = (
    ("Log-likelihood", "logl"),
    ("AIC", "aic"),
    ("BIC", "bic"),
    ("Sample-size adjusted BIC (SABIC)", "sabic"),
)
TESTS = (("M2", "m2"), ("C2", "c2"), ("G2", "g2"))
INDICES = (
    ("RMSEA", "rmsea"),
    ("CI.lower", "rmsea_ci_lower"),
    ("CI.upper", "rmsea_ci_upper"),
    ("CFI", "cfi"),
    ("TLI", "tli"),
)
TITLES = {
    "Latent Variables": "Factors of Factors",
    "Intercepts": "Means of Factors",
    "Variances": "Variances of Factors",
    "Covariances": "Covariances of Factors",
}


def build_item_summary(
    info: SummaryInfo,
    parameters: pd.DataFrame,
    measures: pd.Series,
    *,
    h2: Mapping[object, pd.Series] | None = None,
) -> Summary:
    """Gather a summary.

    parameters, measures: what the fit's parameters and fit_measures() are. info.observed and info.latent are the items
    and the factors; h2: group label -> communalities of the items.
    """
    blocks: list[Block] = [Heading(info.title, 1)]
    blocks.extend(warning_blocks(info))
    blocks.append(Table((), tuple(header_rows(info))))
    blocks.extend(Paragraph(note) for note in info.notes)
    blocks.extend(item_measure_tables(measures))
    blocks.extend(estimation_tables(info))
    blocks.extend(item_parameter_blocks(info, parameters, h2))
    return Summary(info, tuple(blocks))


def item_measure_tables(measures: pd.Series) -> Iterator[Table]:
    """Likelihood and criteria, then tests of fit with a row each; what is missing is left out."""
    rows = tuple(Row(name, (fixed(measure(measures, key)),), 1) for name, key in LIKELIHOOD if has(measures, key))
    if rows:
        yield Table((), rows, "Log-Likelihood and Information Criteria")
    tests = [(name, key) for name, key in TESTS if has(measures, key)]
    indices = [(name, key) for name, key in INDICES if has(measures, *(f"{test}_{key}" for _, test in tests))]
    lines = tuple(Row(name, _test_cells(measures, test, [key for _, key in indices]), 1) for name, test in tests)
    if lines:
        columns = ("Statistic", "df", "P-value", *(name for name, _ in indices))
        yield Table(columns, lines, "Tests of Fit", "parameters")
    if has(measures, "srmsr"):
        yield Table((), (Row("SRMSR", (fixed(measure(measures, "srmsr")),), 1),), "Residual Correlations")


def _test_cells(measures: pd.Series, test: str, indices: Sequence[str]) -> tuple[str, ...]:
    statistic, df, p = (measure(measures, f"{test}{end}") for end in ("", "_df", "_pvalue"))
    return (fixed(statistic), whole(df), fixed(p), *(fixed(measure(measures, f"{test}_{key}")) for key in indices))


def item_parameter_blocks(
    info: SummaryInfo, parameters: pd.DataFrame, h2: Mapping[object, pd.Series] | None = None
) -> Iterator[Block]:
    """Item tables and the tables of the latent variables, group by group."""
    items, factors = list(info.observed), list(info.latent)
    labels = list(pd.unique(parameters["group"]))
    sizes = info.n_observations if isinstance(info.n_observations, Mapping) else {}
    for label in labels:
        own = parameters[parameters["group"] == label]
        if len(labels) > 1:
            size = sizes.get(str(label))
            yield Heading(f"Group: {label}" + ("" if size is None else f" (n = {size})"), 2)
        yield from item_blocks(own, items, factors, None if h2 is None else h2[label])
        latent = own[own["lhs"].isin(factors) & ~((own["op"] == "=~") & own["rhs"].isin(items))]
        zero = (latent["op"] == "~1") & (latent["se"] == 0) & (latent["est"] == 0)
        yield from (_renamed(block) for block in parameter_blocks(latent[~zero]))


def _renamed(block: Block) -> Block:
    """Titles of a structural model in words of the latent variables alone."""
    if isinstance(block, Table) and block.title in TITLES:
        return Table(block.columns, block.rows, TITLES[block.title], block.kind)
    return block
