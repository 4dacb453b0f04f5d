"""Notebooks are valid, hold the outputs of their code, and what they say is what they show."""

import ast
import base64
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.name)
def notebook(request):
    return json.loads(request.param.read_text(encoding="utf-8"))


def printed(notebook):
    return "".join("".join(o["text"]) for c in code_of(notebook) for o in c["outputs"] if o["output_type"] == "stream")


def code_of(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_format(notebook):
    assert notebook["nbformat"] == 4 and notebook["nbformat_minor"] >= 5
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    assert [cell["execution_count"] for cell in code_of(notebook)] == list(range(1, len(code_of(notebook)) + 1))
    for cell in code_of(notebook):
        ast.parse("".join(cell["source"]))
        for output in cell["outputs"]:
            assert output["output_type"] in ("stream", "display_data", "execute_result")


def test_pictures(notebook):
    pictures = [
        o["data"]["image/png"] for c in code_of(notebook) for o in c["outputs"] if "image/png" in o.get("data", {})
    ]
    assert pictures
    for picture in pictures:
        assert base64.b64decode(picture)[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_bound_rises_and_the_signal_falls_with_iwae_only():
    path = ROOT / "notebooks" / "importance_weighted_bounds.ipynb"
    text = printed(json.loads(path.read_text(encoding="utf-8")))
    target = float(re.search(r"log p\(y\) = (-[\d.]+)", text)[1])
    rows = [[float(v) for v in row] for row in re.findall(r"^(\d+) +(-[\d.]+) +([\d.]+) ", text, re.M)]
    assert [int(r) for r, *_ in rows] == [1, 5, 25, 100, 1000]
    bounds, errors = [b for _, b, _ in rows], [e for *_, e in rows]
    assert bounds == sorted(bounds) and abs(bounds[-1] - target) < 0.01 + 3 * errors[-1]
    powers = {name: float(value) for name, value in re.findall(r"^(iwae|dreg): .*power (-?[\d.]+)$", text, re.M)}
    assert abs(powers["iwae"] + 0.5) < 0.1 and abs(powers["dreg"] - 0.5) < 0.1


@pytest.mark.study
def test_it_runs_again(tmp_path):
    """The same numbers, but for the last digits."""
    import subprocess
    import sys

    path = tmp_path / "again.ipynb"
    path.write_text(NOTEBOOKS[0].read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, ROOT / "notebooks" / "execute.py", path], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    numbers = [
        [float(v) for v in re.findall(r"-?\d+\.\d+", printed(json.loads(each.read_text(encoding="utf-8"))))]
        for each in (NOTEBOOKS[0], path)
    ]
    assert len(numbers[0]) == len(numbers[1])
    assert all(abs(a - b) <= 0.01 * max(1, abs(a)) for a, b in zip(*numbers, strict=True))
