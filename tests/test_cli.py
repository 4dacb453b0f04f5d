"""The command line from end to end, in this process, and once as people start it."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jaxlatent.cli import THREE_FACTORS, main
from jaxlatent.data import datasets


@pytest.fixture(autouse=True)
def without_cache(monkeypatch):
    monkeypatch.setenv("JAXLATENT_NO_CACHE", "1")
    monkeypatch.delenv("JAXLATENT_TRACEBACK", raising=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "hs.csv"
    datasets.load("holzinger_swineford").to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fitted") / "new" / "folder"
    os.environ["JAXLATENT_NO_CACHE"] = "1"
    assert main(["fit", THREE_FACTORS, str(data), "--out", str(folder)]) == 0
    return folder


def error(capsys):
    """The one line on stderr; nothing on stdout."""
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1 and "Traceback" not in captured.err, captured.err
    return lines[0]


@pytest.mark.parametrize("command", [[], ["demo"], ["fit"], ["score"], ["simulate"], ["report"]])
def test_help(capsys, command):
    assert main([*command, "--help"]) == 0
    assert "usage: jaxlatent" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"jaxlatent {version('jaxlatent')}"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["fit"],
        ["fit", "f =~ x1"],
        ["simulate", "fit.latent", "none"],
        ["simulate", "fit.latent", "0"],
        ["fit", THREE_FACTORS, "hs.csv", "--missing", "hope"],
    ],
)
def test_wrong_usage_is_2(capsys, arguments):
    assert main(arguments) == 2
    assert "usage: jaxlatent" in capsys.readouterr().err


def test_unknown_estimator_is_wrong_usage(capsys, data):
    assert main(["fit", THREE_FACTORS, str(data), "--estimator", "MLX"]) == 2
    assert "MLX" in error(capsys)


def test_demo_prints_the_summary_and_says_where(capsys, tmp_path):
    assert main(["demo", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "visual" in out and "85.306" in out  # lavaan's chi-square of the three-factor model
    for name in ("holzinger_swineford.svg", "holzinger_swineford.html"):
        assert str(tmp_path / name) in out
    assert "<svg" in (tmp_path / "holzinger_swineford.svg").read_text()
    page = (tmp_path / "holzinger_swineford.html").read_text()
    assert "visual" in page and not re.search(r'(src|href)="https?://', page)


def test_fit_writes_what_it_says(fitted):
    parameters = pd.read_csv(fitted / "parameters.csv").set_index(["lhs", "op", "rhs"])["est"]
    # lavaan 0.6-20: cfa() of the three-factor model
    assert parameters["visual", "=~", "x2"] == pytest.approx(0.5535, abs=1e-4)
    assert parameters["textual", "~~", "speed"] == pytest.approx(0.1735, abs=1e-4)
    measures = pd.read_csv(fitted / "fit_measures.csv", index_col="measure")["value"]
    assert measures["chisq"] == pytest.approx(85.3055, abs=1e-3) and measures["df"] == 24
    assert measures["cfi"] == pytest.approx(0.9306, abs=1e-4)
    assert "<svg" in (fitted / "diagram.svg").read_text()
    assert "visual" in (fitted / "report.html").read_text()
    assert (fitted / "fit.latent").stat().st_size > 0


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".csv.gz", ".parquet"])
def test_fit_reads_a_model_file_and_data_files(capsys, tmp_path, ending):
    model, frame = tmp_path / "model.txt", datasets.load("holzinger_swineford")
    model.write_text(THREE_FACTORS)
    path = tmp_path / f"hs{ending}"
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    else:
        frame.to_csv(path, sep="\t" if ending == ".tsv" else ",", index=False)
    assert main(["fit", str(model), str(path)]) == 0
    assert "85.306" in capsys.readouterr().out


def test_fit_with_options(capsys, data):
    arguments = ["--group", "school", "--estimator", "MLR", "--missing", "listwise"]
    assert main(["fit", THREE_FACTORS, str(data), *arguments]) == 0
    out = capsys.readouterr().out
    assert "Pasteur" in out and "Grant-White" in out


def test_score(capsys, fitted, data, tmp_path):
    import jaxlatent as jl

    assert main(["score", str(fitted / "fit.latent"), str(data)]) == 0
    printed = capsys.readouterr().out
    expected = jl.load(fitted / "fit.latent").scores(pd.read_csv(data))
    assert printed.splitlines()[0] == "person,visual,textual,speed"
    assert main(["score", str(fitted / "fit.latent"), str(data), "--out", str(tmp_path / "a" / "scores.csv")]) == 0
    written = pd.read_csv(tmp_path / "a" / "scores.csv", index_col="person")
    np.testing.assert_allclose(written.to_numpy(), expected.to_numpy(), rtol=1e-12)
    assert (tmp_path / "a" / "scores.csv").read_text() == printed


def test_score_method_and_se(capsys, fitted, data):
    assert main(["score", str(fitted / "fit.latent"), str(data), "--method", "bartlett", "--se"]) == 0
    header = capsys.readouterr().out.splitlines()[0].split(",")
    assert set(header) == {"person"} | {f"{f}{s}" for f in ("visual", "textual", "speed") for s in ("", "_se")}


def test_simulate(capsys, fitted):
    texts = []
    for key in ("1", "1", "2"):
        assert main(["simulate", str(fitted / "fit.latent"), "400", "--key", key]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    lines = texts[0].splitlines()
    assert lines[0] == "x1,x2,x3,x4,x5,x6,x7,x8,x9" and len(lines) == 401


def test_report(capsys, fitted, tmp_path):
    path = tmp_path / "deep" / "page.html"
    assert main(["report", str(fitted / "fit.latent"), "--out", str(path)]) == 0
    assert str(path) in capsys.readouterr().out
    assert "visual" in path.read_text()
    assert main(["report", str(fitted / "fit.latent")]) == 0
    assert (fitted / "fit.html").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "three.txt", "DATA"], "no file 'three.txt'"),
        (["fit", THREE_FACTORS, "nowhere.csv"], "No such file or directory: nowhere.csv"),
        (["fit", THREE_FACTORS, "data.sav"], "'data.sav'"),
        (["fit", "visual =~ x1 + x2 + height", "DATA"], "height"),
        (["fit", "visual =~ x1 + + x3", "DATA"], "Line 1"),
        (["fit", THREE_FACTORS, "DATA", "--group", "city"], "city"),
        (["score", "nowhere.latent", "DATA"], "nowhere.latent"),
        (["score", "DATA", "DATA"], "hs.csv"),
        (["simulate", "nowhere.latent", "5"], "nowhere.latent"),
        (["report", "nowhere.latent"], "nowhere.latent"),
    ],
)
def test_a_problem_is_one_sentence_and_1(capsys, monkeypatch, tmp_path, data, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main([str(data) if each == "DATA" else each for each in arguments]) == 1
    assert words in error(capsys)


def test_traceback_on_request(monkeypatch):
    monkeypatch.setenv("JAXLATENT_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        main(["fit", THREE_FACTORS, "nowhere.csv"])


@pytest.mark.parametrize(("option", "kept"), [([], True), (["--no-cache"], False)])
def test_compilation_cache_and_its_opt_out(monkeypatch, capsys, fitted, option, kept):
    import jaxlatent

    calls = []
    monkeypatch.delenv("JAXLATENT_NO_CACHE")
    monkeypatch.setattr(jaxlatent, "enable_compilation_cache", lambda *args, **kwargs: calls.append(args))
    assert main(["simulate", str(fitted / "fit.latent"), "2", *option]) == 0
    assert bool(calls) == kept


def test_as_a_process(tmp_path, fitted):
    """The script people start: installed beside this interpreter; a reader that leaves early is no problem."""
    script = Path(sys.executable).with_name("jaxlatent")
    if not script.exists():
        pytest.skip("the package is not installed beside this interpreter")
    command = f"{json.dumps(str(script))} simulate {json.dumps(str(fitted / 'fit.latent'))} 20000 | head -n 2"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert result.stdout.startswith("x1,x2") and result.stderr == ""
    wrong = subprocess.run([script, "fit"], capture_output=True, text=True, cwd=tmp_path)
    assert wrong.returncode == 2 and "usage:" in wrong.stderr
