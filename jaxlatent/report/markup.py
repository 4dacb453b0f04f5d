"""Blocks as HTML, every string escaped; colours follow the notebook's light or dark theme."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from jaxlatent.report.blocks import Block, Heading, Paragraph, Row, Table

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

STYLE = f"""
.jxl {{ font-family: {FONT}; font-size: 13px; line-height: 1.4; color: inherit; max-width: 60em; }}
.jxl h1 {{ font-size: 1.3em; margin: 0 0 .6em; font-weight: 600; }}
.jxl h2 {{ font-size: 1.1em; margin: 1.4em 0 .2em; font-weight: 600; }}
.jxl .jxl-note {{ opacity: .75; margin: .4em 0; }}
.jxl .jxl-warning {{ border-left: 4px solid #D55E00; background: rgba(213, 94, 0, .12); padding: .5em .8em;
  margin: .4em 0; }}
.jxl table {{ border-collapse: collapse; margin: .9em 0 0; background: transparent; border: 0; color: inherit;
  font-size: 1em; font-variant-numeric: tabular-nums; }}
.jxl caption {{ text-align: left; font-weight: 600; padding: 0 0 .25em; caption-side: top; color: inherit;
  white-space: nowrap; }}
.jxl th, .jxl td {{ padding: .12em .7em; text-align: right; border: 0; background: transparent; white-space: nowrap;
  color: inherit; }}
.jxl thead th {{ font-weight: 500; opacity: .7; border-bottom: 1px solid rgba(128, 128, 128, .6); }}
.jxl tbody tr {{ background: transparent; }}
.jxl tbody th {{ text-align: left; font-weight: 400; min-width: 11em; }}
.jxl .jxl-pairs tbody th {{ min-width: 19em; }}
.jxl tbody tr.jxl-lead th {{ font-weight: 600; padding-top: .35em; }}
.jxl tbody tr:last-child > * {{ border-bottom: 1px solid rgba(128, 128, 128, .35); }}
.jxl .jxl-tag {{ opacity: .6; padding-left: .5em; font-size: .92em; }}
""".strip()


def render_html(blocks: Iterable[Block]) -> str:
    """A self-contained fragment: a style element and a div."""
    body = "\n".join(block_html(block) for block in blocks)
    return f'<style>{STYLE}</style>\n<div class="jxl">\n{body}\n</div>'


def block_html(block: Block) -> str:
    """One block without the style sheet."""
    if isinstance(block, Heading):
        return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return _paragraph(block)
    return table_html(block)


def _paragraph(block: Paragraph) -> str:
    if block.kind == "warning":
        return f'<p class="jxl-warning" role="alert"><strong>Warning:</strong> {escape(block.text)}</p>'
    return f'<p class="jxl-note">{escape(block.text)}</p>'


def table_html(table: Table) -> str:
    """A table with its title as the caption."""
    caption = f"<caption>{escape(table.title)}</caption>" if table.title else ""
    head = ""
    if any(table.columns):
        names = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.columns)
        head = f"<thead><tr><th></th>{names}</tr></thead>"
    body = "\n".join(_row(row, len(table.columns)) for row in table.rows)
    return f'<table class="jxl-{table.kind}">{caption}{head}<tbody>\n{body}\n</tbody></table>'


def _row(row: Row, n_columns: int) -> str:
    tag = f'<span class="jxl-tag">{escape(row.tag)}</span>' if row.tag else ""
    pad = f' style="padding-left: {0.3 + 0.9 * max(row.indent - 1, 0):.1f}em"'
    if not row.cells:
        return f'<tr class="jxl-lead"><th scope="row" colspan="{n_columns + 1}"{pad}>{escape(row.name)}</th></tr>'
    cells = "".join(f"<td>{escape(cell)}</td>" for cell in row.cells)
    return f'<tr><th scope="row"{pad}>{escape(row.name)}{tag}</th>{cells}</tr>'
