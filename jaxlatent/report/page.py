"""The frame of a report page: a self-contained HTML file without scripts, fonts or anything else from outside."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import pandas as pd

from jaxlatent.report.blocks import Paragraph, Table
from jaxlatent.report.frames import frame_html
from jaxlatent.report.markup import STYLE, block_html
from jaxlatent.report.page_style import PAGE_STYLE
from jaxlatent.report.summary import Summary, estimation_tables, header_rows


def page(title: str, summary: Summary, parts: list[str]) -> str:
    """The whole document."""
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{escape(title)}</title>\n<style>\n{PAGE_STYLE}\n{STYLE}\n</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{escape(title)}</h1><p>{escape(summary.info.title)}</p></header>\n{body}\n</main>\n</body>\n</html>\n"
    )


def section(title: str, body: str, inner: str = "") -> str:
    """A section with its heading; nothing without a body."""
    if not body:
        return ""
    wrapped = f'<div class="{inner}">{body}</div>' if inner else body
    return f"<section><h2>{escape(title)}</h2>\n{wrapped}\n</section>"


def hint_line(text: str) -> str:
    """A line of small print."""
    return f'<p class="hint">{escape(text)}</p>'


def warning_box(summary: Summary) -> str:
    """What must be read first."""
    info = summary.info
    lines = list(info.warnings)
    if not info.converged:
        lines.insert(0, f"The optimiser did not converge: {info.message or 'no reason was given'}")
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<section class="warnings" role="alert"><h2>Read this first</h2><ul>{items}</ul></section>'


def picture(title: str, hint: str, svg: str) -> str:
    """A section with one picture and a line on how to read it."""
    return section(title, f'{hint_line(hint)}<div class="picture">{svg}</div>')


def estimation(summary: Summary, notes: Sequence[str]) -> str:
    """How the model was estimated: header, settings and notes."""
    blocks = [Table((), tuple(header_rows(summary.info))), *estimation_tables(summary.info)]
    blocks_html = [block_html(block) for block in blocks]
    paragraphs = [block_html(Paragraph(note)) for note in dict.fromkeys((*summary.info.notes, *notes))]
    return f'<div class="jxl">{"".join(blocks_html + paragraphs)}</div>'


def frame_section(title: str, frame: pd.DataFrame | None) -> str:
    """A data frame as a section."""
    return "" if frame is None or frame.empty else section(title, frame_html(frame))


def citation(version: str) -> str:
    """How to cite the package and to reproduce the page."""
    number = f" {version}" if version else ""
    pin = f"jaxlatent=={version}" if version else "jaxlatent"
    return (
        "<section><h2>How to cite and reproduce</h2><footer>"
        f"<p>Estimated with jaxlatent{escape(number)}. In a paper: name the package and its version, the estimator, "
        "how standard errors and the test were computed, how missing data were treated, and the number of "
        "observations; all are above.</p>"
        f"<p>To reproduce: <code>pip install {escape(pin)}</code>, then refit the same model to the same data with the "
        "settings listed under “How it was estimated”.</p></footer></section>"
    )
