"""Tables go where a page of the documentation has a place for them: between two comments of a name."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import harness


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


def command(
    module: str, about: str, rows: Sequence[harness.Benchmark], argv: Sequence[str] | None, place: str = "rows"
) -> int:
    """The harness, whose page goes to its place in --markdown FILE without a title of its own."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--markdown", type=Path)
    given, rest = parser.parse_known_args(sys.argv[1:] if argv is None else list(argv))
    if given.markdown is None:
        return harness.command(module, about, rows, rest)
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "page.md"
        code = harness.command(module, about, rows, [*rest, "--markdown", str(own)])
        put(given.markdown, place, own.read_text(encoding="utf-8").split("\n", 1)[1])
    return code
