"""Every script in examples/ runs as printed, in an empty folder."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def _hooks():
    """docs/hooks.py, whose way to run code is that of the documentation."""
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["hooks"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Run an example once; gives its output and the folder it ran in. The documentation shows the same run."""
    results, hooks = {}, _hooks()

    def run(script):
        if script not in results:
            folder = tmp_path_factory.mktemp(script.stem)
            blocks = [script.read_text(encoding="utf-8")]
            (folder / script.name).write_text(hooks.program(blocks), encoding="utf-8")
            env = {**os.environ, "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
            done = subprocess.run(
                [sys.executable, script.name], cwd=folder, env=env, capture_output=True, text=True, timeout=900
            )
            if done.returncode == 0:
                hooks.keep(blocks, done.stdout, folder)
            results[script] = done, folder
        return results[script]

    return run


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_runs(ran, script):
    result, folder = ran(script)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr and "Warning" not in result.stderr, result.stderr
    for name in re.findall(r'"([\w.]+\.(?:svg|html|latent|csv|png))"', script.read_text()):
        assert (folder / name).stat().st_size > 0, f"{script.name} did not write {name}"


def test_01_sem_prints_published_figures(ran):
    result, folder = ran(ROOT / "examples" / "01_sem.py")
    # lavaan: chi-square 85.306 with 24 degrees of freedom for the three-factor model; 38.125 with 35 for
    # Bollen's model without equal loadings (Rosseel, 2012)
    assert "85.306" in result.stdout
    assert re.search(r"38\.1[23]", result.stdout)
    for label in ("indirect", "total", "Grant-White", "Pasteur", "dem65"):
        assert label in result.stdout
    assert "<svg" in (folder / "democracy.svg").read_text()
