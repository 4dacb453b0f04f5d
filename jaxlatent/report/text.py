"""Blocks as fixed-width text."""

from __future__ import annotations

from collections.abc import Iterable

from jaxlatent.report.blocks import Block, Heading, Paragraph, Row, Table

PAIR_NAME = 42
PAIR_CELL = 13
NAME = 22
CELL = 9
WIDTH = PAIR_NAME + PAIR_CELL


def render_text(blocks: Iterable[Block]) -> str:
    """The whole summary; ends without a newline."""
    return "\n".join(line for block in blocks for line in _block(block)).strip("\n")


def _block(block: Block) -> list[str]:
    if isinstance(block, Heading):
        return [block.text, ""] if block.level == 1 else ["", block.text]
    if isinstance(block, Paragraph):
        return _paragraph(block)
    return _parameters(block) if block.kind == "parameters" else _pairs(block)


def _paragraph(block: Paragraph) -> list[str]:
    if block.kind != "warning":
        return wrap(block.text, 72, "  ")
    lines = wrap(block.text, 66, "")
    return [("WARNING: " if i == 0 else "         ") + line for i, line in enumerate(lines)]


def wrap(text: str, width: int, indent: str) -> list[str]:
    """Lines of at most `width` characters, each after the indent; newlines in the text are kept."""
    lines: list[str] = []
    for part in text.splitlines() or [""]:
        line = ""
        for word in part.split():
            if line and len(line) + 1 + len(word) > width:
                lines.append(indent + line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(indent + line)
    return lines


def _pairs(table: Table) -> list[str]:
    lines = [""]
    if table.title:
        lines += [f"{table.title}:"]
    if table.columns:
        lines += [" " * PAIR_NAME + "".join(f"{name:>{PAIR_CELL}}" for name in table.columns)]
    lines += [_pair(row) for row in table.rows]
    return [line.rstrip() for line in lines]


def _pair(row: Row) -> str:
    name = "  " * row.indent + row.name
    cells = "".join(f"{cell:>{PAIR_CELL}}" for cell in row.cells)
    if len(name) > PAIR_NAME and len(row.cells) == 1:
        return f"{name} {cells.strip()}"
    return f"{name:<{PAIR_NAME}}{cells}"


def _parameters(table: Table) -> list[str]:
    width = max([NAME, *(_name_width(row) for row in table.rows)])
    lines = ["", f"{table.title}:", " " * width + "".join(f"{name:>{CELL}}" for name in table.columns)]
    for row in table.rows:
        lines.append(_name(row, width) + "".join(f"{cell:>{CELL}}" for cell in row.cells))
    return [line.rstrip() for line in lines]


def _lead(row: Row) -> str:
    """The indent; a dot hangs one place to the left so that names stay aligned."""
    lead = "  " * row.indent
    return lead[:-1] if row.name.startswith(".") else lead


def _name_width(row: Row) -> int:
    return len(_lead(row)) + len(row.name) + (len(row.tag) + 1 if row.tag else 0)


def _name(row: Row, width: int) -> str:
    name = _lead(row) + row.name
    return f"{name}{row.tag:>{width - len(name)}}"
