"""Every script in examples/ runs as printed, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Run an example once; gives its output and the folder it ran in."""
    results = {}

    def run(script):
        if script not in results:
            folder = tmp_path_factory.mktemp(script.stem)
            command, env = [sys.executable, str(script)], dict(os.environ)
            if (
                "JAXLATENT_EXAMPLES_CACHE" in env
            ):  # compiled programs are kept for the documentation, which runs them too
                env["JAX_COMPILATION_CACHE_DIR"] = env["JAXLATENT_EXAMPLES_CACHE"]
                env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
            done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=500)
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
