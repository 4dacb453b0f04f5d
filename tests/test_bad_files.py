"""Bad files, paths, comparisons and command lines: refused in one sentence that names them."""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.cli import main

ONE = "f =~ x1 + a*x2 + b*x3 + x4"
NAMES = [f"x{k}" for k in range(1, 10)]


@cache
def school() -> pd.DataFrame:
    return jl.datasets.load("holzinger_swineford")


def people(**columns: Any) -> pd.DataFrame:
    """The nine tests, with some columns replaced."""
    return school()[NAMES].assign(**columns)


def fit(text: str = ONE, data: Any = None, engine: Any = None, **options: Any) -> jl.Fit:
    return jl.SEM(text).fit(people() if data is None else data, engine, **options)


def refused(call: Callable[[], Any], words: list[str]) -> None:
    """A ValueError of our own, in one sentence with these words, and no warning before it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError) as caught:
            call()
    message = str(caught.value)
    assert type(caught.value) in (ValueError, jl.ModelSyntaxError)
    assert not [word for word in words if word not in message], message
    assert "jaxlatent" in str(caught.traceback[-1].path)


@pytest.fixture(scope="module")
def sound() -> jl.Fit:
    return fit()


@pytest.fixture(scope="module")
def saved(sound: jl.Fit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sound.save(tmp_path_factory.mktemp("fits") / "fit.latent")


def rewritten(saved: Path, folder: Path, change: Callable[[dict, dict], None]) -> Path:
    """A copy of a saved fit with another manifest or other arrays."""
    with zipfile.ZipFile(saved) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        with archive.open("arrays.npz") as file:
            arrays = dict(np.load(file))
    change(manifest, arrays)
    path = folder / "changed.latent"
    np.savez(folder / "arrays.npz", **arrays)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        archive.write(folder / "arrays.npz", "arrays.npz")
    return path


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (lambda raw: b"", "damaged"),
        (lambda raw: b"x1,x2\n1,2\n", "damaged"),
        (lambda raw: raw[: len(raw) // 2], "damaged"),
        (lambda raw: raw[:600] + bytes(255 - c for c in raw[600:640]) + raw[640:], "damaged"),
    ],
    ids=["empty", "foreign", "cut", "altered"],
)
def test_a_damaged_file_is_named(saved: Path, tmp_path: Path, content: Callable[[bytes], bytes], word: str) -> None:
    path = tmp_path / "other.latent"
    path.write_bytes(content(saved.read_bytes()))
    with pytest.raises(ValueError, match=word) as caught:
        jl.load(path)
    assert "other.latent" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda m, a: m.pop("syntax"), "'syntax' is missing"),
        (lambda m, a: m.update(syntax="f =~ x1 + x2 + x3"), "'free' has shape (8,)"),
        (lambda m, a: m.update(syntax="f =~"), "Line 1"),
        (lambda m, a: m.update(kind="cake"), "not a fit saved by jaxlatent"),
        (lambda m, a: m.update(format=99), "upgrade jaxlatent"),
        (lambda m, a: m.update(format="x"), "'x'"),
        (lambda m, a: m.update(engine={"class": "Magic"}), "'Magic'"),
        (lambda m, a: m.update(code=99), "99"),
        (lambda m, a: m["options"].update(magic=True), "magic"),
        (lambda m, a: a.pop("cov"), "'cov'"),
        (lambda m, a: a.update(free=a["free"][:3]), "'free' has shape (3,)"),
        (lambda m, a: a.update(vcov=a["vcov"][:2]), "'vcov'"),
    ],
)
def test_a_changed_file_is_named(saved: Path, tmp_path: Path, change: Callable[[dict, dict], None], word: str) -> None:
    path = rewritten(saved, tmp_path, change)
    with pytest.raises(ValueError, match=re.escape(word)) as caught:
        jl.load(path)
    assert "changed.latent" in str(caught.value)


def test_paths(sound: jl.Fit, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.latent"):
        jl.load(tmp_path / "nowhere.latent")
    with pytest.raises(ValueError, match="folder"):
        jl.load(tmp_path)
    with pytest.raises(ValueError, match="path"):
        jl.load(3)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        sound.save(tmp_path / "nowhere" / "fit.latent")
    with pytest.raises(IsADirectoryError, match="folder"):
        sound.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_loaded_fit_without_its_data(saved: Path) -> None:
    loaded = jl.load(saved)
    for call in (loaded.scores, loaded.log_likelihoods, loaded.bootstrap):
        with pytest.raises(ValueError, match="rows"):
            call()
    assert "Converged" in loaded.message


def test_a_loaded_fit_keeps_its_warnings(tmp_path: Path) -> None:
    with pytest.warns(jl.ModelWarning, match="active"):
        found = fit(ONE + "\na > 2")
    loaded = jl.load(found.save(tmp_path / "bound.latent"))
    assert loaded.warnings == found.warnings
    assert "active" in str(loaded.summary())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda f: f.scores(people().drop(columns="x3")), ["'x3'", "not in the data"]),
        (lambda f: f.scores(people(x1="a")), ["'x1'", "'a'", "row 1"]),
        (lambda f: f.scores(people().head(0)), ["at least 1 row"]),
        (lambda f: f.scores(np.zeros((3, 3))), ["x1, x2, x3, x4", "got 3 columns"]),
        (lambda f: f.scores(method="eap"), ["method", "bartlett", "'eap'"]),
        (lambda f: f.residuals(kind="best"), ["kind", "'best'"]),
        (lambda f: f.standardized("best"), ["kind", "'best'"]),
        (lambda f: f.bootstrap(0), ["whole number above 1", "got 0"]),
        (lambda f: f.simulate(0), ["positive whole number", "got 0"]),
        (lambda f: f.wald_test("zz == 1"), ["'zz'", "a, b"]),
        (lambda f: jl.compare(f), ["at least two fits"]),
        (lambda f: jl.compare(f, "fit"), ["Expected fits", "'fit'"]),
        (lambda f: jl.compare(f, f, names=("a",)), ["2 names", "got 1"]),
        (lambda f: jl.compare(f, fit("f =~ x1 + x2 + x3 + x5")), ["x4, x5", "one of the models only"]),
        (lambda f: jl.compare(f, fit(data=people().head(200))), ["200 persons", "301 persons"]),
        (lambda f: jl.compare(f, fit(data=people(x1=people()["x1"] * 2))), ["'x1'", "other data"]),
        (lambda f: jl.compare(f, fit(engine="GLS")), ["GLS", "ML"]),
        (lambda f: jl.compare(f, fit(data=school(), group="school")), ["Pasteur", "301 persons"]),
    ],
)
def test_questions_to_a_fit_that_are_refused(sound: jl.Fit, call: Callable[[jl.Fit], Any], words: list[str]) -> None:
    refused(lambda: call(sound), words)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fit", "nowhere.txt", "data.csv"], 1, ["'nowhere.txt'"]),
        (["fit", "model.txt", "nowhere.csv"], 1, ["nowhere.csv"]),
        (["fit", "bytes.txt", "data.csv"], 1, ["bytes.txt", "UTF-8"]),
        (["fit", "f =~ x1 +", "data.csv"], 1, ["column 10"]),
        (["fit", "model.txt", "empty.csv"], 1, ["empty.csv", "table"]),
        (["fit", "model.txt", "twice.csv"], 1, ["'x1'", "2 columns"]),
        (["fit", "model.txt", "shifted.csv"], 1, ["shifted.csv", "more fields"]),
        (["fit", "model.txt", "model.txt"], 1, [".csv", "model.txt"]),
        (["fit", "model.txt", "data.csv", "--estimator", "MLQ"], 2, ["MLR", "'MLQ'"]),
        (["fit", "model.txt", "data.csv", "--group", "zz"], 1, ["'zz'"]),
        (["fit", "model.txt", "data.csv", "--out", "model.txt"], 1, ["folder", "model.txt"]),
        (["demo", "--out", "model.txt"], 1, ["folder", "model.txt"]),
        (["score", "model.txt", "data.csv"], 1, ["model.txt", "damaged"]),
        (["score", "nowhere.latent", "data.csv"], 1, ["nowhere.latent"]),
        (["simulate", "nowhere.latent", "0"], 2, ["'0'"]),
        (["simulate", "nowhere.latent", "5", "--key", "-1"], 2, ["--key", "'-1'"]),
    ],
)
def test_the_command_line_says_it_in_a_sentence(
    arguments: list[str],
    code: int,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAXLATENT_NO_CACHE", "1")
    Path("model.txt").write_text(ONE, encoding="utf-8")
    Path("bytes.txt").write_bytes(bytes(range(128, 256)))
    people().to_csv("data.csv", index=False)
    Path("empty.csv").write_text("", encoding="utf-8")
    Path("twice.csv").write_text("x1,x2,x3,x4,x1\n1,2,3,4,5\n2,1,4,3,6\n", encoding="utf-8")
    Path("shifted.csv").write_text("x1,x2,x3,x4\n1,2,3,4,5\n2,1,4,3,6\n", encoding="utf-8")
    assert main(arguments) == code
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert not [word for word in words if word not in told], told
