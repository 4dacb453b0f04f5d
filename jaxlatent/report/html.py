"""The one-page report: a self-contained HTML file without scripts, fonts or anything else from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Protocol

import pandas as pd

from jaxlatent.report.frames import frame_html
from jaxlatent.report.markup import block_html
from jaxlatent.report.measures import measure_tables
from jaxlatent.report.page import citation, estimation, frame_section, hint_line, page, picture, section, warning_box
from jaxlatent.report.summary import Summary
from jaxlatent.report.svg import forest, heat_map
from jaxlatent.report.tables import group_labels, parameter_blocks
from jaxlatent.report.verdict import verdict_html

MOST_INDICES = 15
"""Modification indices in the table."""
MOST_LOADINGS = 80
"""With more loadings than this the forest plot is left out."""


class Diagram(Protocol):
    """A picture that can give itself as SVG, such as a path diagram."""

    @property
    def svg(self) -> str: ...


def report_html(
    *,
    title: str,
    summary: Summary,
    diagram: Diagram,
    parameters: pd.DataFrame,
    measures: pd.Series,
    residuals: pd.DataFrame | Mapping[str, pd.DataFrame],
    modification_indices: pd.DataFrame | None,
    reliability: pd.DataFrame | None = None,
    r_squared: pd.DataFrame | None = None,
    notes: Sequence[str] = (),
    version: str = "",
) -> str:
    """The page as a string.

    `residuals` are correlation residuals, one frame or a frame for each group; `modification_indices` has the columns
    lhs, op, rhs, mi, epc. Parts that are None are left out. Loadings get an interval where `parameters` has the columns
    std_all_ci_lower and std_all_ci_upper.
    """
    parts = [
        warning_box(summary),
        verdict_html(measures),
        picture(
            "Path diagram", "Standardized estimates unless the picture says otherwise. Dashed: fixed.", diagram.svg
        ),
        section("How it was estimated", estimation(summary, notes)),
        section("Parameters", _parameters(summary, parameters, r_squared)),
        _loadings(parameters),
        _residuals(residuals),
        _indices(modification_indices),
        frame_section("Reliability", reliability),
        section("Fit measures", "\n".join(block_html(table) for table in measure_tables(measures)), "jxl columns"),
        citation(version),
    ]
    return page(title, summary, [part for part in parts if part])


def _parameters(summary: Summary, parameters: pd.DataFrame, r_squared: pd.DataFrame | None) -> str:
    counts = summary.info.n_observations
    sizes = dict(counts) if isinstance(counts, Mapping) else None
    blocks = parameter_blocks(parameters, sizes, r_squared)
    return '<div class="jxl">' + "\n".join(block_html(block) for block in blocks) + "</div>"


def _loadings(parameters: pd.DataFrame) -> str:
    rows = parameters[parameters["op"] == "=~"].dropna(subset=["std_all"])
    if rows.empty or len(rows) > MOST_LOADINGS:
        return ""
    several = len(group_labels(parameters)) > 1
    groups = rows["group"] if several else [""] * len(rows)
    names = [
        f"{left} → {right}" + (f"  [{group}]" if several else "")
        for left, right, group in zip(rows["lhs"], rows["rhs"], groups, strict=True)
    ]
    limits = [_column(rows, f"std_all_ci_{end}") for end in ("lower", "upper")]
    svg = forest(names, rows["std_all"].to_list(), *limits)
    return section("Standardized loadings", f'<div class="picture">{svg}</div>')


def _column(rows: pd.DataFrame, name: str) -> list[float]:
    return [float(value) for value in rows[name]] if name in rows else [float("nan")] * len(rows)


def _residuals(residuals: pd.DataFrame | Mapping[str, pd.DataFrame]) -> str:
    frames = {"": residuals} if isinstance(residuals, pd.DataFrame) else dict(residuals)
    body = ""
    for label, frame in frames.items():
        if frame.empty:
            continue
        head = f"<h3>{escape(str(label))}</h3>" if len(frames) > 1 else ""
        body += f'{head}<div class="picture">{heat_map(frame)}</div>'
    hint = "Observed minus implied correlations. Blue: more association than the model implies; red: less."
    return section("Residual correlations", hint_line(hint) + body) if body else ""


def _indices(frame: pd.DataFrame | None) -> str:
    if frame is None or frame.empty:
        return ""
    top = frame.dropna(subset=["mi"]).sort_values("mi", ascending=False).head(MOST_INDICES)
    names = ["group", "lhs", "op", "rhs", "mi", "epc", "sepc_lv", "sepc_all"]
    several = "group" in top and top["group"].nunique() > 1
    kept = [name for name in names if name in top and (name != "group" or several)]
    hint = (
        "How much chi-square would fall (MI) and the value a parameter would take (EPC) if it were freed, largest "
        "first. A change chosen from this list fits this sample; it needs a reason of its own and fresh data."
    )
    return section("Modification indices", hint_line(hint) + frame_html(top[kept], index=False))
