"""Run notebooks from top to bottom and write their executed copies.

    python notebooks/execute.py notebooks/em_to_vae.py
    python notebooks/execute.py notebooks/importance_weighted_bounds.py --svg docs/pictures
    python notebooks/execute.py --quick             # all of them, small, to see that they run; nothing is written

A notebook is a script in the percent format: ``# %% [markdown]`` begins a cell of text, ``# %%`` one of code. Its copy
is the .ipynb beside it: the same cells, what they printed, the value of their last line, open figures as PNG.
--svg also writes figures that have a label as SVG. --quick leaves out cells that begin ``# %% tags=["long"]`` and sets
JAXLATENT_QUICK=1, by which the others do less. --text takes over changed text and runs nothing.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import io
import json
import os
import re
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
START = re.compile(r"^# %%( \[markdown\])?(?: tags=(\[.*\]))?$\n?", re.MULTILINE)
METADATA = {
    "jupytext": {"formats": "ipynb,py:percent"},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def scripts() -> list[Path]:
    """All notebooks."""
    return [path for path in sorted(HERE.glob("*.py")) if path.read_text(encoding="utf-8").startswith("# %%")]


def cells_of(text: str) -> list[dict]:
    """The cells of a script, without outputs."""
    _, *parts = START.split(text)
    cells = []
    for number, (kind, tags, body) in enumerate(zip(parts[::3], parts[1::3], parts[2::3], strict=True)):
        body, metadata = body.strip("\n"), {"tags": json.loads(tags)} if tags else {}
        cell = {"cell_type": "markdown" if kind else "code", "id": f"c{number:02}", "metadata": metadata}
        if kind:
            body = re.sub(r"^# ?", "", body, flags=re.MULTILINE)
        else:
            cell |= {"execution_count": None, "outputs": []}
        cells.append(cell | {"source": body.splitlines(True)})
    return cells


def run_cell(source: str, names: dict) -> list[dict]:
    """The outputs of one cell: what it printed, the value of its last line."""
    tree = ast.parse(source)
    last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "<cell>", "exec"), names)
        if last is not None:
            value = eval(compile(last, "<cell>", "eval"), names)
    outputs = []
    if printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": printed.getvalue().splitlines(True)})
    if hasattr(value, "savefig"):
        outputs.append(picture(value))
    elif hasattr(value, "_repr_svg_"):
        data = {"image/svg+xml": value._repr_svg_().splitlines(True), "text/plain": [type(value).__name__]}
        outputs.append({"data": data, "metadata": {}, "output_type": "display_data"})
    elif value is not None:
        data = {"text/plain": repr(value).splitlines(True)}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = value._repr_html_().splitlines(True)
        outputs.append({"data": data, "execution_count": None, "metadata": {}, "output_type": "execute_result"})
    return outputs


def figures(svg: Path | None) -> list[dict]:
    """The open figures as outputs; they are closed."""
    import matplotlib.pyplot as plt

    found = [plt.figure(number) for number in plt.get_fignums()]
    for figure in found:
        if svg is not None and figure.get_label():
            write_svg(figure, svg / f"{figure.get_label()}.svg")
    outputs = [picture(figure) for figure in found]
    plt.close("all")
    return outputs


def picture(figure) -> dict:
    """A figure as an output."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    data = {"image/png": base64.b64encode(png.getvalue()).decode(), "text/plain": [figure.get_label() or "figure"]}
    return {"data": data, "metadata": {}, "output_type": "display_data"}


def write_svg(figure, path: Path) -> None:
    """The figure without its date and without spaces at the ends of lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


def execute(script: Path, svg: Path | None = None, *, quick: bool = False) -> dict:
    """The notebook of a script, with outputs; where it is to be quick, without those of long cells."""
    names: dict = {"__name__": "__main__"}
    cells, count = cells_of(script.read_text(encoding="utf-8")), 0
    for cell in cells:
        if cell["cell_type"] != "code" or (quick and "long" in cell["metadata"].get("tags", ())):
            continue
        count += 1
        outputs = run_cell("".join(cell["source"]), names)
        for output in outputs:
            if output["output_type"] == "execute_result":
                output["execution_count"] = count
        cell |= {"execution_count": count, "outputs": outputs + figures(svg)}
    return {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}


def with_new_text(script: Path) -> dict:
    """The executed copy with the script's text; raises ValueError where the code is another."""
    notebook = json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))
    cells, code = cells_of(script.read_text(encoding="utf-8")), [c for c in notebook["cells"] if c["cell_type"] == "code"]
    if ["".join(c["source"]) for c in cells if c["cell_type"] == "code"] != ["".join(c["source"]) for c in code]:
        raise ValueError(f"The code of {script.name} is not that of its copy: run it again, without --text.")
    ran = iter(code)
    return notebook | {"metadata": METADATA, "cells": [next(ran) | {"id": c["id"], "metadata": c["metadata"]} if c["cell_type"] == "code" else c for c in cells]}


def write(notebook: dict, script: Path) -> None:
    """The copy beside a script."""
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    script.with_suffix(".ipynb").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path, nargs="*", help="scripts; all of them where none is named")
    parser.add_argument("--svg", type=Path, help="folder for labelled figures")
    parser.add_argument("--quick", action="store_true", help="run them small and write nothing")
    parser.add_argument("--text", action="store_true", help="take over text, keep outputs")
    given = parser.parse_args()
    if given.text:
        for script in given.notebook or scripts():
            write(with_new_text(script), script)
        return
    if given.quick:
        os.environ["JAXLATENT_QUICK"] = "1"
    import jax
    import matplotlib as mpl

    for script in given.notebook or scripts():
        began, double = time.process_time(), jax.config.jax_enable_x64
        mpl.rcdefaults()
        mpl.use("agg")
        mpl.rcParams["svg.hashsalt"] = "jaxlatent"  # the same file for the same picture
        notebook = execute(script, given.svg, quick=given.quick)
        jax.config.update("jax_enable_x64", double)
        if not given.quick:
            write(notebook, script)
        print(f"{script.name}: {time.process_time() - began:.0f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
