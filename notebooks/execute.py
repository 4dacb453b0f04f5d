"""Run a notebook's cells from top to bottom in one process and keep their outputs in it.

    python notebooks/execute.py notebooks/importance_weighted_bounds.ipynb --svg docs/pictures

Printed text and open figures (PNG) become the cell's outputs. --svg also writes figures that have a label as SVG.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import io
import json
from pathlib import Path

import matplotlib

matplotlib.use("agg")
matplotlib.rcParams["svg.hashsalt"] = "jaxlatent"  # the same file for the same picture

import matplotlib.pyplot as plt  # noqa: E402


def run_cell(source: str, names: dict) -> list[dict]:
    """The outputs of one cell: what it printed, the value of its last line, its figures."""
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
    if value is not None:
        data = {"text/plain": repr(value).splitlines(True)}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = value._repr_html_().splitlines(True)
        outputs.append({"data": data, "execution_count": None, "metadata": {}, "output_type": "execute_result"})
    return outputs


def figures(svg: Path | None) -> list[dict]:
    """The open figures as outputs; they are closed."""
    outputs = []
    for number in plt.get_fignums():
        figure, png = plt.figure(number), io.BytesIO()
        figure.savefig(png, format="png", dpi=110, bbox_inches="tight")
        if svg is not None and figure.get_label():
            svg.mkdir(parents=True, exist_ok=True)
            path = svg / f"{figure.get_label()}.svg"
            figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
            lines = path.read_text(encoding="utf-8").splitlines()
            path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")
        data = {"image/png": base64.b64encode(png.getvalue()).decode(), "text/plain": ["<Figure>"]}
        outputs.append({"data": data, "metadata": {}, "output_type": "display_data"})
    plt.close("all")
    return outputs


def execute(path: Path, svg: Path | None = None) -> dict:
    """The notebook with new outputs."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    names: dict = {"__name__": "__main__"}
    count = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        count += 1
        outputs = run_cell("".join(cell["source"]), names)
        for output in outputs:
            if output["output_type"] == "execute_result":
                output["execution_count"] = count
        cell |= {"execution_count": count, "outputs": outputs + figures(svg)}
    return notebook


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--svg", type=Path, help="folder for labelled figures")
    given = parser.parse_args()
    notebook = execute(given.notebook, given.svg)
    given.notebook.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
