"""The one-page report of an item response fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd

from jaxlatent.report.item_summary import item_measure_tables, item_parameter_blocks
from jaxlatent.report.markup import block_html
from jaxlatent.report.page import citation, estimation, frame_section, page, picture, section, warning_box
from jaxlatent.report.summary import Summary


@dataclass(frozen=True)
class Picture:
    """A picture of the page: its heading, a line on how to read it, and its SVG."""

    title: str
    hint: str
    svg: str


def item_report_html(
    *,
    title: str,
    summary: Summary,
    parameters: pd.DataFrame,
    measures: pd.Series,
    pictures: Sequence[Picture],
    h2: Mapping[object, pd.Series] | None = None,
    frames: Mapping[str, pd.DataFrame | None] | None = None,
    notes: Sequence[str] = (),
    version: str = "",
) -> str:
    """The page as a string: pictures in their order, then tables; frames are further tables by heading."""
    tables = "\n".join(block_html(block) for block in item_measure_tables(measures))
    blocks = "\n".join(block_html(block) for block in item_parameter_blocks(summary.info, parameters, h2))
    parts = [
        warning_box(summary),
        section("How it was estimated", estimation(summary, ())),
        section("Fit", f'<div class="jxl">{tables}</div>' if tables else ""),
        *(picture(each.title, each.hint, each.svg) for each in pictures),
        section("Parameters", f'<div class="jxl">{blocks}</div>'),
        *(frame_section(name, frame) for name, frame in (frames or {}).items()),
        _remarks(notes),
        citation(version),
    ]
    return page(title, summary, [part for part in parts if part])


def _remarks(notes: Sequence[str]) -> str:
    body = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return section("Remarks", body)
