"""What a summary is made of: headings, paragraphs and tables of finished strings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """A title; level 1 is the page, 2 a chapter, 3 a section."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Running text; `kind` is "text" or "warning"."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Row:
    """One line of a table: a name, its cells, how far it is indented, and a tag such as a parameter's label."""

    name: str
    cells: tuple[str, ...] = ()
    indent: int = 0
    tag: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under column names; `kind` is "pairs" (measures) or "parameters"."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    title: str = ""
    kind: str = "pairs"


Block = Heading | Paragraph | Table
