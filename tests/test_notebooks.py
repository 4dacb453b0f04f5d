"""Executed copies of notebooks agree with their scripts, and what they say is what they show; scripts run."""

import ast
import base64
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import QUICK

ROOT = Path(__file__).resolve().parents[1]
EXECUTE = ROOT / "notebooks" / "execute.py"


def _module(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


execute = _module("execute_notebooks", EXECUTE)
hooks = _module("docs_hooks_of_notebooks", ROOT / "docs" / "hooks.py")
SCRIPTS = execute.scripts()


def copy_of(name):
    return json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))


def code_of(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def printed(notebook):
    outputs = [o for cell in code_of(notebook) for o in cell["outputs"]]
    return "\n".join("".join(o.get("text", o.get("data", {}).get("text/plain", ""))) for o in outputs)


def numbers(text):
    return [float(value) for value in re.findall(r"-?\d+\.\d+", text)]


def test_every_notebook_has_a_script_and_a_page():
    names = {path.stem for path in SCRIPTS}
    assert names and names == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    for name in names:
        page = ROOT / "docs" / "notebooks" / f"{name}.md"
        assert f"<!-- notebook: notebooks/{name}.ipynb -->" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_copies_agree_with_scripts(script):
    notebook, cells = copy_of(script.stem), execute.cells_of(script.read_text(encoding="utf-8"))
    assert [(c["cell_type"], c["id"], c["metadata"], "".join(c["source"])) for c in notebook["cells"]] == [
        (c["cell_type"], c["id"], c["metadata"], "".join(c["source"])) for c in cells
    ]
    assert notebook["nbformat"] == 4 and notebook["nbformat_minor"] >= 5
    assert [cell["execution_count"] for cell in code_of(notebook)] == list(range(1, len(code_of(notebook)) + 1))
    pictures = []
    for cell in code_of(notebook):
        ast.parse("".join(cell["source"]))
        for output in cell["outputs"]:
            assert output["output_type"] in ("stream", "display_data", "execute_result")
            pictures += [output["data"]["image/png"]] if "image/png" in output.get("data", {}) else []
    assert pictures and all(base64.b64decode(each)[:8] == b"\x89PNG\r\n\x1a\n" for each in pictures)


def test_cells_of_a_script():
    text = '# %% [markdown]\n# # Title\n#\n# Text.\n\n# %%\nx = 1\n\n# %% tags=["long"]\nx\n'
    title, first, second = execute.cells_of(text)
    assert title["cell_type"] == "markdown" and "".join(title["source"]) == "# Title\n\nText."
    assert "".join(first["source"]) == "x = 1" and first["metadata"] == {}
    assert "".join(second["source"]) == "x" and second["metadata"] == {"tags": ["long"]}


def test_text_is_taken_over_and_other_code_refused(tmp_path):
    script = tmp_path / "n.py"
    script.write_text("# %% [markdown]\n# A\n\n# %%\nprint(1)\n")
    execute.write(execute.execute(script), script)
    script.write_text("# %% [markdown]\n# B\n\n# %%\nprint(1)\n")
    text, code = execute.with_new_text(script)["cells"]
    assert text["source"] == ["B"] and code["outputs"][0]["text"] == ["1\n"]
    script.write_text("# %%\nprint(2)\n")
    with pytest.raises(ValueError, match=r"The code of n\.py is not that of its copy"):
        execute.with_new_text(script)


def test_the_site_shows_cells_and_outputs(tmp_path, monkeypatch):
    script = tmp_path / "n.py"
    script.write_text(
        "# %% [markdown]\n# See [here](../docs/engines.md).\n\n"
        "# %%\nimport matplotlib.pyplot as plt\nimport pandas as pd\n"
        'print("said")\nplt.figure(num="a line").gca().plot([1, 2])\npd.DataFrame({"a": [1]})\n'
    )
    execute.write(execute.execute(script), script)
    monkeypatch.setattr(hooks, "ROOT", tmp_path)
    shown = hooks.on_page_markdown("<!-- notebook: n.ipynb -->", type("Page", (), {"meta": {}}))
    assert shown.startswith("See [here](../engines.md).\n\n```python\nimport matplotlib")
    assert "```text\nsaid\n```" in shown and "<td>1</td>" in shown and "<style" not in shown and "\n\n\n" not in shown
    assert shown.index("said") < shown.index('<img alt="a line" src="data:image/png;base64,')
    assert 'alt="a line"' in hooks.notebook_picture("n.ipynb", "a line")
    with pytest.raises(ValueError, match="no picture with the label 'another'"):
        hooks.notebook_picture("n.ipynb", "another")


def test_formulas_become_mathml(monkeypatch):
    page = r'<p><span class="arithmatex">\(x &lt; \log p\)</span></p><div class="arithmatex">\[y\]</div>'
    monkeypatch.setitem(sys.modules, "latex2mathml", None)  # not installed: TeX stays, readable
    monkeypatch.setitem(sys.modules, "latex2mathml.converter", None)
    assert hooks.on_page_content(page) == r"<p><code>x &lt; \log p</code></p><code>y</code>"
    fake = type(sys)("latex2mathml.converter")
    fake.convert = lambda tex, display: f"<math display={display}><mi>log</mi><mi>{tex}</mi></math>"
    monkeypatch.setitem(sys.modules, "latex2mathml", type(sys)("latex2mathml"))
    monkeypatch.setitem(sys.modules, "latex2mathml.converter", fake)
    made = hooks.on_page_content(page)
    assert '<math display=inline><mo rspace="0.17em">log</mo><mi>x < \\log p</mi></math>' in made
    assert "<math display=block>" in made and "arithmatex" not in made


def test_the_bound_rises_and_the_signal_falls_with_iwae_only():
    text = printed(copy_of("importance_weighted_bounds"))
    target = float(re.search(r"log p\(y\) = (-[\d.]+)", text)[1])
    rows = [[float(v) for v in row] for row in re.findall(r"^(\d+) +(-[\d.]+) +([\d.]+) ", text, re.M)]
    assert [int(r) for r, *_ in rows] == [1, 5, 25, 100, 1000]
    bounds, errors = [b for _, b, _ in rows], [e for *_, e in rows]
    assert bounds == sorted(bounds) and abs(bounds[-1] - target) < 0.01 + 3 * errors[-1]
    powers = {name: float(value) for name, value in re.findall(r"^(iwae|dreg): .*power (-?[\d.]+)$", text, re.M)}
    assert abs(powers["iwae"] + 0.5) < 0.1 and abs(powers["dreg"] - 0.5) < 0.1


def test_from_em_to_vae_each_step_is_a_case_of_the_next():
    found = {m[0]: (float(m[1]), float(m[2])) for m in re.findall(
        r"^([\w ,=-]+): [\w ,-]+ ([\d.]+) a training image, log-likelihood ([\d.]+) a test image$",
        printed(copy_of("em_to_vae")), re.M)}  # fmt: skip
    newton, em = found["factor analysis, Newton"], found["factor analysis, EM"]
    assert em == newton == found["linear VAE"] and found["variational Bayes"][0] < newton[0]
    for worse, better in (("linear VAE", "VAE"), ("VAE", "IWAE, R = 20")):
        assert found[better][1] > found[worse][1] + 0.5
    assert found["IWAE with a flow"][1] > found["IWAE, R = 20"][1] - 0.5


def test_one_model_has_one_number():
    text = printed(copy_of("one_model"))
    for row in ("9 tests, 3 factors, normal", "5 questions, 1 factor, 2pl"):
        as_vae, classic = numbers(re.search(rf"^{row} .*$", text, re.M)[0])
        assert abs(as_vae - classic) < 1e-3
    straight, bent = numbers(" ".join(re.findall(r"root mean square error of the curves [\d.]+", text)))
    assert bent < straight / 2


def run(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, EXECUTE, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=1500,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_scripts_run():
    """All of them in one process, small and without their long cells, compiled with few optimisations."""
    out = run("--quick", XLA_FLAGS=QUICK)
    assert all(f"{path.name}: " in out for path in SCRIPTS)


@pytest.mark.study
@pytest.mark.parametrize("name", [path.stem for path in SCRIPTS if path.stem not in ("em_to_vae", "own_model")])
def test_the_same_numbers_again(name, tmp_path):
    """But for the last digits, and for seconds."""
    script = tmp_path / f"{name}.py"
    script.write_text((ROOT / "notebooks" / script.name).read_text(encoding="utf-8"), encoding="utf-8")
    run(script)
    texts = [re.sub(r".* in [\d.]+ s,.*", "", printed(json.loads(path.read_text(encoding="utf-8"))))
             for path in (ROOT / "notebooks" / f"{name}.ipynb", script.with_suffix(".ipynb"))]  # fmt: skip
    first, second = map(numbers, texts)
    assert len(first) == len(second)
    assert all(abs(a - b) <= 0.02 * max(1, abs(a)) for a, b in zip(first, second, strict=True))
