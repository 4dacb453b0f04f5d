"""With JAXLATENT_CI=1 and the shared folder there, a skipped parity test fails the run; otherwise it is a skip."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BY_FIXTURE = "def test_parity(shared): import pytest; pytest.skip('no file in the shared folder')"
BY_MARK = "import pytest\n@pytest.mark.skipif(True, reason='needs the shared folder')\ndef test_parity(): pass"
BY_MODULE = "import pytest\npytest.skip('no shared folder', allow_module_level=True)"
OTHER = "import pytest\n@pytest.mark.skipif(True, reason='semopy is not installed')\ndef test_peer(): pass"


def run(folder, text, *, ci, reference):
    tests = folder / "main" / "tests"
    tests.mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "conftest.py", tests)
    (tests / "test_it.py").write_text(text)
    if reference:
        (folder / "shared" / "reference").mkdir(parents=True)
    env = {key: value for key, value in os.environ.items() if not key.startswith("JAXLATENT_")}
    env |= {"JAXLATENT_CI": "1"} if ci else {}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(folder / "main"),
        str(tests),
    ]
    return subprocess.run(command, env=env, cwd=folder / "main", capture_output=True, text=True)


@pytest.mark.parametrize("text", [BY_FIXTURE, BY_MARK, BY_MODULE], ids=["fixture", "mark", "module"])
def test_a_skipped_parity_test_fails_ci(tmp_path, text):
    result = run(tmp_path, text, ci=True, reference=True)
    assert result.returncode != 0, result.stdout
    assert "although the shared folder is there" in result.stdout


@pytest.mark.parametrize(
    ("text", "ci", "reference"), [(BY_MARK, False, True), (BY_MARK, True, False), (OTHER, True, True)]
)
def test_other_skips_stay_skips(tmp_path, text, ci, reference):
    result = run(tmp_path, text, ci=ci, reference=reference)
    assert result.returncode == 0, result.stdout
    assert "1 skipped" in result.stdout
