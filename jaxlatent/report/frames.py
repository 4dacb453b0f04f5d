"""Data frames as HTML tables."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd

from jaxlatent.report.numbers import fixed

HEADS = {
    "mi": "MI",
    "epc": "EPC",
    "sepc_lv": "EPC (std. lv)",
    "sepc_all": "EPC (std. all)",
    "op": "",
    "lhs": "",
    "rhs": "",
}


def frame_html(frame: pd.DataFrame, *, index: bool = True, digits: int = 3) -> str:
    """A table of a frame: numbers with fixed decimals, everything escaped, the index first if wanted."""
    shown = frame.reset_index() if index else frame
    names = [str(name) for name in shown.columns]
    if index:
        names = ["" if name in ("index", "level_0") else name for name in names]
    head = "".join(f'<th scope="col">{escape(HEADS.get(name, name))}</th>' for name in names)
    body = "\n".join(
        "<tr>" + "".join(_cell(value, digits) for value in row) + "</tr>" for row in shown.itertuples(index=False)
    )
    table = f'<table class="frame"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _cell(value: Any, digits: int) -> str:
    if isinstance(value, bool):
        return f'<td class="text">{value}</td>'
    if isinstance(value, (int, float)) or hasattr(value, "dtype"):
        number = float(value)
        return f"<td>{fixed(number, 0 if number.is_integer() and isinstance(value, int) else digits)}</td>"
    return f'<td class="text">{escape(str(value))}</td>'
