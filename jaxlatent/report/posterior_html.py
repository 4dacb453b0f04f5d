"""The one-page report of posterior draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

import pandas as pd

from jaxlatent.report.blocks import Block, Paragraph, Table
from jaxlatent.report.item_html import Picture
from jaxlatent.report.markup import block_html
from jaxlatent.report.page import citation, frame_section, page, picture, section, warning_box
from jaxlatent.report.summary import Summary

CHAINS, FIT = "Chains", "Model Fit"


def posterior_report_html(
    title: str,
    summary: Summary,
    pictures: Sequence[Picture],
    frames: Mapping[str, pd.DataFrame | None],
    notes: Sequence[str] = (),
    version: str = "",
) -> str:
    """The page as a string: the blocks of the summary by section, pictures in their order, frames by heading."""
    blocks = [block for block in summary.blocks[1:] if not (isinstance(block, Paragraph) and block.kind == "warning")]
    first = next((k for k, block in enumerate(blocks) if _title(block) == CHAINS), len(blocks))
    rest = blocks[first:]
    parts = [
        warning_box(replace(summary, info=replace(summary.info, converged=True))),  # its warnings say it all
        section("How it was sampled", _tables([*blocks[:first], *(b for b in rest if _title(b) == CHAINS)])),
        section("Fit", _tables([block for block in rest if _title(block) == FIT])),
        *(frame_section(name, frame) for name, frame in frames.items()),
        *(picture(each.title, each.hint, each.svg) for each in pictures),
        section("Parameters", _tables([block for block in rest if _title(block) not in (CHAINS, FIT)])),
        section("Remarks", "".join(f"<p>{escape(note)}</p>" for note in notes)),
        citation(version),
    ]
    return page(title, summary, [part for part in parts if part])


def _title(block: Block) -> str:
    return block.title if isinstance(block, Table) else ""


def _tables(blocks: Sequence[Block]) -> str:
    body = "".join(block_html(block) for block in blocks)
    return f'<div class="jxl">{body}</div>' if body else ""
