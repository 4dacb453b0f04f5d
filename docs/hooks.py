"""What the documentation shows is made when it is built: outputs of code, pictures, the list of the public API.

- On a page with ``run: true`` in its front matter the blocks of Python run in one process, from top to bottom; below
  each stands what it printed, and the pictures it wrote.
- ``<!-- example: examples/01_sem.py -->`` becomes that script, followed by what it printed.
- ``<!-- notebook: notebooks/em_to_vae.ipynb -->`` becomes the cells and outputs of that executed copy.
- ``<!-- picture: notebooks/em_to_vae.ipynb: a label -->`` becomes the picture of that label in it.
- ``<!-- api -->`` becomes an entry for each name in ``jaxlatent.__all__``.
- Formulas in TeX become MathML, which browsers show by themselves: no script, nothing from elsewhere.

Outputs are kept in .cache/docs under a digest of the code, of jaxlatent's source and of the versions installed.
"""

from __future__ import annotations

import base64
import hashlib
import html
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"^<!-- example: (\S+) -->$", re.MULTILINE)
NOTEBOOK = re.compile(r"^<!-- notebook: (\S+) -->$", re.MULTILINE)
PICTURE = re.compile(r"^<!-- picture: (\S+): (.+) -->$", re.MULTILINE)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
LONGEST, FIRST, LAST = 400, 150, 60  # lines of an output: the middle of longer ones is left out
SEPARATOR = "\x1e\n"
SETTINGS = "import pandas as pd\npd.set_option('display.width', 120, 'display.max_columns', 20)\n"


@dataclass
class Output:
    """What each block printed, and the pictures (SVG, or PNG in an HTML tag) all of them wrote, by file name."""

    printed: list[str]
    pictures: dict[str, str] = field(default_factory=dict)


def run(blocks: list[str]) -> Output:
    """Run blocks of Python in one process in an empty folder; the output is kept for the same code and source."""
    kept = _kept(blocks)
    if kept.exists():
        return Output(**json.loads(kept.read_text(encoding="utf-8")))
    environment = {**os.environ, "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "blocks.py"
        script.write_text(program(blocks), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, script], cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=900
        )
        if done.returncode:
            raise RuntimeError(f"The code of a page failed:\n{program(blocks)}\n{done.stderr}")
        return keep(blocks, done.stdout, Path(folder))


def program(blocks: list[str]) -> str:
    """The blocks as one program that prints a mark between them."""
    return SETTINGS + f"print(end={SEPARATOR!r})\n".join(blocks)


def keep(blocks: list[str], stdout: str, folder: Path) -> Output:
    """Keep what a run of ``program(blocks)`` printed and drew in a folder, so that pages needn't run it again."""
    pictures = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.svg"))}
    pictures |= {path.name: _tag(path) for path in sorted(folder.glob("*.png"))}
    output, kept = Output(stdout.split(SEPARATOR), pictures), _kept(blocks)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(asdict(output)), encoding="utf-8")
    return output


def _kept(blocks: list[str]) -> Path:
    return ROOT / ".cache" / "docs" / f"{_digest(blocks)}.json"


def _digest(blocks: list[str]) -> str:
    sources = [path for path in sorted((ROOT / "jaxlatent").rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    parts = [*blocks, SETTINGS, sys.version, *(version(name) for name in ("jax", "numpy", "scipy", "pandas"))]
    digest = hashlib.sha256("\0".join(parts).encode())
    for path in sources:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def shown(code: str, printed: str, pictures: dict[str, str]) -> str:
    """A block of code, what it printed, and those of the pictures that it names."""
    parts = [f"```python\n{code}```"]
    if printed.strip():
        lines = [line.rstrip() for line in printed.strip("\n").splitlines()]
        if len(lines) > LONGEST:
            lines[FIRST:-LAST] = ["", f"... {len(lines) - FIRST - LAST} lines ...", ""]
        text = "\n".join(lines)
        parts.append(f"```text\n{text}\n```")
    parts += [_picture(name, text) for name, text in pictures.items() if name in code]
    return "\n\n".join(parts)


def _tag(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{path.stem}" src="data:image/png;base64,{data}">'


def _picture(name: str, text: str) -> str:
    flat = re.sub(r"\n\s*\n", "\n", text[max(text.find("<svg"), 0) :])  # an empty line would end the block of HTML
    return f'<figure class="output" markdown="0">\n{flat}\n<figcaption>{name}</figcaption>\n</figure>'


def run_page(markdown: str) -> str:
    """The page with the output of each block of Python below it."""
    output = run(BLOCK.findall(markdown))
    printed = iter(output.printed)
    return BLOCK.sub(lambda match: shown(match[1], next(printed), output.pictures), markdown)


def run_example(path: str) -> str:
    """A script and what it printed."""
    code = (ROOT / path).read_text(encoding="utf-8")
    output = run([code])
    return shown(code, output.printed[0], output.pictures)


def show_notebook(path: str) -> str:
    """The cells of an executed notebook: text, code, and what it printed and drew; links are those of the site."""
    cells = json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source.replace("](../docs/", "](../"))
        else:
            parts += [f"```python\n{source}\n```", *(part for each in cell["outputs"] for part in _shown_output(each))]
    return "\n\n".join(parts)


def _shown_output(output: dict) -> list[str]:
    """One output of a cell: what was printed, a table, or a picture."""
    data = output.get("data", {})
    if output["output_type"] == "stream":
        return [f"```text\n{''.join(output['text']).rstrip()}\n```"]
    if "image/png" in data:
        label = "".join(data["text/plain"])
        picture = f'<img alt="{label}" src="data:image/png;base64,{data["image/png"]}">'
        return [f'<figure class="output" markdown="0">\n{picture}\n</figure>']
    if "image/svg+xml" in data:
        drawn = re.sub(r"\n\s*(?=\n)", "", "".join(data["image/svg+xml"]))
        return [f'<figure class="output" markdown="0">\n{drawn[max(drawn.find("<svg"), 0) :]}\n</figure>']
    if "text/html" in data:
        table = re.sub(r"<style.*?</style>|\n\s*(?=\n)", "", "".join(data["text/html"]), flags=re.DOTALL)
        return [f'<div class="output" markdown="0">\n{table}\n</div>']
    return [f"```text\n{''.join(data['text/plain'])}\n```"]


def notebook_picture(path: str, label: str) -> str:
    """The picture with this label in an executed notebook; raises ValueError where there is none."""
    cells = json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]
    for output in (each for cell in cells for each in cell.get("outputs", ())):
        if "image/png" in output.get("data", {}) and "".join(output["data"]["text/plain"]) == label:
            return _shown_output(output)[0]
    raise ValueError(f"{path} has no picture with the label {label!r}.")


def formula(tex: str, *, block: bool) -> str:
    """MathML of a formula; TeX as it is where latex2mathml, of the extra docs, is not installed."""
    try:
        from latex2mathml.converter import convert
    except ImportError:
        return f"<code>{html.escape(tex)}</code>"
    made = convert(tex, display="block" if block else "inline")
    return re.sub(r"<mi>(log|exp|det)</mi>(?!<mo[^>]*>&#x00028;)", r'<mo rspace="0.17em">\1</mo>', made)


def api() -> str:
    """An entry of mkdocstrings for each public name, under the heading of the module that it comes from."""
    jaxlatent = importlib.import_module("jaxlatent")
    names = getattr(jaxlatent, "__all__", ())
    return "\n\n".join(_entry(name, getattr(jaxlatent, name)) for name in names if not name.startswith("__"))


def _entry(name: str, value: object) -> str:
    if inspect.ismodule(value):
        where = value.__name__
    elif inspect.isclass(value) or inspect.isfunction(value):
        where = f"{value.__module__}.{value.__qualname__}"
    else:
        where = f"jaxlatent.{name}"
    return f"::: {where}\n    options:\n      heading: jl.{name}\n      toc_label: {name}"


def on_page_markdown(markdown: str, page, **_) -> str:
    """Called by mkdocs for each page."""
    if page.meta.get("run"):
        markdown = run_page(markdown)
    markdown = EXAMPLE.sub(lambda match: run_example(match[1]), markdown)
    markdown = NOTEBOOK.sub(lambda match: show_notebook(match[1]), markdown)
    markdown = PICTURE.sub(lambda match: notebook_picture(match[1], match[2]), markdown)
    return markdown.replace("<!-- api -->", api()) if "<!-- api -->" in markdown else markdown


def on_page_content(page_html: str, **_) -> str:
    """Called by mkdocs for each page, as HTML."""
    return FORMULA.sub(lambda match: formula(html.unescape(match[2]), block=match[1] == "div"), page_html)
