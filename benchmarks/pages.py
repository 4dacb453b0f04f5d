"""Tables go where a page of the documentation has a place for them: between two comments of a name."""

from __future__ import annotations

from pathlib import Path


def put(path: Path, name: str, text: str) -> None:
    """Write a table to its place in a page, ``<!-- begin NAME -->`` to ``<!-- end NAME -->``, or, where the file is not
    there or has no such place, as the whole file.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    if begin in page and end in page.split(begin, 1)[1]:
        before, rest = page.split(begin, 1)
        text = f"{before}{begin}\n\n{text.strip()}\n\n{end}{rest.split(end, 1)[1]}"
    path.write_text(text, encoding="utf-8")
