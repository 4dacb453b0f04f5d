"""The summary of a fit: what was fitted, how well it fits, and every parameter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from jaxlatent.report.blocks import Block, Heading, Paragraph, Row, Table
from jaxlatent.report.markup import render_html
from jaxlatent.report.measures import measure_tables
from jaxlatent.report.tables import parameter_blocks
from jaxlatent.report.text import render_text


@dataclass(frozen=True)
class SummaryInfo:
    """What a summary says that is neither a parameter nor a fit measure; empty or None entries are left out."""

    title: str = "jaxlatent"
    estimator: str = ""
    optimizer: str = ""
    n_iterations: int | None = None
    n_parameters: int | None = None
    n_equality_constraints: int = 0
    n_observations: int | Mapping[str, int] | None = None
    n_patterns: int | Mapping[str, int] | None = None
    missing: str = ""
    information: str = ""
    se: str = ""
    test: str = ""
    converged: bool = True
    message: str = ""
    warnings: tuple[str, ...] = ()
    latent: tuple[str, ...] = ()
    observed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    details: tuple[tuple[str, str], ...] = ()  # further lines of the header


@dataclass(frozen=True, repr=False)
class Summary:
    """Prints as text, and as tables in a notebook. `blocks` are its parts, `info` what it was told."""

    info: SummaryInfo
    blocks: tuple[Block, ...]

    def __str__(self) -> str:
        return render_text(self.blocks)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return render_html(self.blocks)


def build_summary(
    info: SummaryInfo,
    parameters: pd.DataFrame,
    measures: pd.Series,
    r_squared: pd.DataFrame | None = None,
) -> Summary:
    """Gather a summary.

    `parameters` and `measures` are what `Fit.parameters` and `Fit.fit_measures()` return; `r_squared` has a column
    r2, the variable in its index or in a column, and perhaps a column or index level group.
    """
    blocks: list[Block] = [Heading(info.title, 1)]
    blocks.extend(warning_blocks(info))
    blocks.append(Table((), tuple(header_rows(info))))
    blocks.extend(Paragraph(note) for note in info.notes)
    blocks.extend(measure_tables(measures))
    blocks.extend(estimation_tables(info))
    blocks.extend(parameter_blocks(parameters, _sizes(info), r_squared))
    return Summary(info, tuple(blocks))


def warning_blocks(info: SummaryInfo) -> Iterator[Block]:
    """Failure to converge first, then the other warnings."""
    if not info.converged:
        reason = info.message or "no reason was given"
        yield Paragraph(f"the estimates are not a solution: the optimiser did not converge ({reason})", "warning")
    for text in info.warnings:
        yield Paragraph(text, "warning")


def header_rows(info: SummaryInfo) -> Iterator[Row]:
    """How the model was estimated, on how many observations."""
    named = (
        ("Estimator", info.estimator),
        ("Optimization method", info.optimizer),
        ("Converged after iterations" if info.converged else "Stopped after iterations", info.n_iterations),
        ("Number of model parameters", info.n_parameters),
        ("Number of equality constraints", info.n_equality_constraints or None),
    )
    for name, value in named:
        if value is not None and value != "":
            yield Row(name, (str(value),), 1)
    yield from _counts("Number of observations", info.n_observations)
    yield from _counts("Number of missing patterns", info.n_patterns)
    if info.missing:
        yield Row("Missing data", (info.missing,), 1)
    for name, text in info.details:
        yield Row(name, (text,), 1)


def _counts(name: str, counts: int | Mapping[str, int] | None) -> Iterator[Row]:
    if counts is None:
        return
    if not isinstance(counts, Mapping):
        yield Row(name, (str(counts),), 1)
        return
    yield Row(f"{name} per group", ("",), 1)
    for label, count in counts.items():
        yield Row(str(label), (str(count),), 2)


def estimation_tables(info: SummaryInfo) -> Iterator[Table]:
    """How standard errors and the test were computed."""
    named = (("Standard errors", info.se), ("Information", info.information), ("Test of fit", info.test))
    rows = tuple(Row(name, (value,), 1) for name, value in named if value)
    if rows:
        yield Table((), rows, "Parameter Estimates")


def _sizes(info: SummaryInfo) -> dict[str, int] | None:
    return dict(info.n_observations) if isinstance(info.n_observations, Mapping) else None
