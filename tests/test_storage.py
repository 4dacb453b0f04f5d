"""Fits on disk: what comes back, what is in the file, and what happens to files that are not one."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl

THREE = "visual =~ x1 + x2 + x3\ntextual =~ x4 + x5 + x6\nspeed =~ x7 + x8 + x9"
NINE = [f"x{k}" for k in range(1, 10)]


@pytest.fixture(scope="module")
def holzinger():
    return jl.datasets.load("holzinger_swineford")


@pytest.fixture(scope="module")
def fits(holzinger):
    holes = holzinger.copy()
    holes.loc[::9, "x4"] = np.nan
    mediation = THREE + "\nspeed ~ b*textual + c*visual\ntextual ~ a*visual\nindirect := a*b\ntotal := c + a*b"
    weight = np.diag(np.linspace(1, 2, 45))
    groups = jl.SEM(THREE, group_equal=("loadings",))
    return {
        "plain": jl.SEM(THREE).fit(holzinger),
        "definitions": jl.SEM(mediation).fit(holzinger, "MLR"),
        "groups": groups.fit(holzinger, group="school"),
        "missing": jl.SEM(THREE).fit(holes),
        "ties": jl.SEM(THREE.replace("x2", "u*x2").replace("x3", "v*x3") + "\nu == 2*v - 0.9").fit(holzinger),
        "least squares": jl.SEM(THREE).fit(holzinger, "WLS"),
        "own weight": jl.SEM(THREE).fit(jl.Moments(holzinger[NINE].cov(), 301), jl.LeastSquares(weight)),
        "moments": jl.SEM(THREE, effect_coding=True).fit(jl.Moments(holzinger[NINE].cov(), 301)),
    }


NAMES = ("plain", "definitions", "groups", "missing", "ties", "least squares", "own weight", "moments")


@pytest.fixture(scope="module")
def pairs(fits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    return {name: (fit, jl.load(fit.save(folder / f"{name}.latent"))) for name, fit in fits.items()}


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(pairs, name):
    fit, back = pairs[name]
    pd.testing.assert_frame_equal(back.parameters, fit.parameters, check_exact=True)
    pd.testing.assert_frame_equal(back.vcov(), fit.vcov(), check_exact=True)
    pd.testing.assert_series_equal(back.fit_measures(), fit.fit_measures(), check_exact=True)
    pd.testing.assert_frame_equal(back.standardized(), fit.standardized())
    pd.testing.assert_frame_equal(back.r_squared(), fit.r_squared())
    pd.testing.assert_frame_equal(back.residuals(), fit.residuals())
    pd.testing.assert_frame_equal(back.reliability(), fit.reliability())
    for matrix in ("loadings", "intercepts", "factor_cov", "factor_means", "residual_cov", "regressions"):
        pd.testing.assert_frame_equal(getattr(back, matrix), getattr(fit, matrix))
    for what in ("converged", "message", "warnings", "notes", "n_iterations", "elapsed", "log_likelihood"):
        assert getattr(back, what) == getattr(fit, what) or np.isnan(fit.log_likelihood)
    assert repr(back) == repr(fit)
    assert back.spec.syntax == fit.spec.syntax
    assert back.engine.se == fit.engine.se


@pytest.mark.parametrize("name", ["plain", "definitions", "ties", "moments"])
def test_summary_is_the_same(pairs, name):
    fit, back = pairs[name]
    assert str(back.summary()) == str(fit.summary())


@pytest.mark.parametrize("name", ["plain", "groups", "missing"])
def test_scores_of_data_given_again(pairs, holzinger, name):
    fit, back = pairs[name]
    for method in ("regression", "bartlett"):
        theirs = fit.scores(holzinger, method=method)
        pd.testing.assert_frame_equal(back.scores(holzinger, method=method), theirs)
    pd.testing.assert_series_equal(back.log_likelihoods(holzinger), fit.log_likelihoods(holzinger))
    pd.testing.assert_frame_equal(back.simulate(20, key=3), fit.simulate(20, key=3))


def test_without_data_what_needs_them_says_so(pairs):
    back = pairs["plain"][1]
    for method in (back.scores, back.log_likelihoods, lambda: back.bootstrap(10)):
        with pytest.raises(ValueError, match="rows"):
            method()


@pytest.mark.parametrize("name", ["plain", "groups", "missing"])
def test_data_are_kept_where_asked_for(fits, tmp_path, name):
    fit = fits[name]
    back = jl.load(fit.save(tmp_path / "with.latent", include_data=True))
    pd.testing.assert_frame_equal(back.scores(), fit.scores())
    assert back.log_likelihoods().sum() == pytest.approx(fit.log_likelihoods().sum(), rel=1e-12)
    mine, theirs = back.modification_indices(), fit.modification_indices()
    pd.testing.assert_frame_equal(mine, theirs)
    if name == "plain":
        np.testing.assert_array_equal(back.bootstrap(5, key=2).draws, fit.bootstrap(5, key=2).draws)


def test_weights_and_clusters_are_kept_too(holzinger, tmp_path):
    frame = holzinger.assign(w=np.linspace(0.5, 2, 301), class_=np.arange(301) % 30)
    fit = jl.SEM(THREE).fit(frame, weights="w", cluster="class_")
    back = jl.load(fit.save(tmp_path / "weighted.latent", include_data=True))
    np.testing.assert_array_equal(back._inference.first_order, fit._inference.first_order)


# ---- the file -------------------------------------------------------------------------------------------------------


def parts(path):
    with zipfile.ZipFile(path) as archive:
        manifest, packed = json.loads(archive.read("manifest.json")), archive.read("arrays.npz")
        names = archive.namelist()
    with np.load(io.BytesIO(packed), allow_pickle=False) as found:
        return names, manifest, {name: found[name] for name in found.files}


@pytest.mark.parametrize("include_data", [False, True])
def test_no_pickle_and_no_data_unless_asked_for(fits, tmp_path, include_data):
    for name in ("groups", "missing", "least squares"):
        names, manifest, arrays = parts(fits[name].save(tmp_path / "file.latent", include_data=include_data))
        assert sorted(names) == ["arrays.npz", "manifest.json"]
        assert all(a.dtype != object for a in arrays.values())
        assert manifest["version"] == jl.__version__
        assert ("y" in arrays) == include_data
        assert include_data or all(301 not in a.shape for a in arrays.values())


def test_a_fit_without_rows_has_no_data_to_save(fits, tmp_path):
    with pytest.raises(ValueError, match="holds no rows"):
        fits["moments"].save(tmp_path / "file.latent", include_data=True)
    assert not list(tmp_path.iterdir())


def test_labels_of_rows_need_no_pickle(holzinger, tmp_path):
    frame = holzinger.set_index(np.array([f"child {k}" for k in range(301)], dtype=object))
    fit = jl.SEM(THREE).fit(frame)
    back = jl.load(fit.save(tmp_path / "labels.latent", include_data=True))
    assert list(back.scores().index[:2]) == ["child 0", "child 1"]


def rewrite(source, target, change):
    """A copy of a file whose manifest or arrays were changed."""
    with zipfile.ZipFile(source) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content = change(content)
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return target


def manifest_with(**fields):
    def change(content):
        return content | {"manifest.json": json.dumps(json.loads(content["manifest.json"]) | fields).encode()}

    return change


def without(name):
    return lambda content: {k: v for k, v in content.items() if k != name}


def pickled(content):
    buffer = io.BytesIO()
    np.savez(buffer, free=np.array([{"a": 1}], dtype=object))
    return content | {"arrays.npz": buffer.getvalue()}


DAMAGED = {
    "later format": (manifest_with(format=99), "upgrade jaxlatent"),
    "another kind": (manifest_with(kind="something else"), "not a fit saved by jaxlatent"),
    "no manifest": (without("manifest.json"), "damaged or not a file"),
    "no arrays": (without("arrays.npz"), "damaged or not a file"),
    "foreign": (lambda content: {"hello.txt": b"hello"}, "damaged or not a file"),
    "broken manifest": (lambda content: content | {"manifest.json": b"{"}, "damaged or not a file"),
    "binary manifest": (lambda content: content | {"manifest.json": b"\xff\xfe\x00"}, "damaged or not a file"),
    "a list": (lambda content: content | {"manifest.json": b"[]"}, "not a fit saved by jaxlatent"),
    "broken arrays": (lambda content: content | {"arrays.npz": b"PK\x03\x04nothing"}, "damaged or not a file"),
    "empty arrays": (lambda content: content | {"arrays.npz": b""}, "damaged or not a file"),
    "pickled arrays": (pickled, "damaged or not a file"),
    "fields missing": (lambda content: content | {"manifest.json": b'{"kind": "jaxlatent fit", "format": 1}'}, ""),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files(fits, tmp_path, case):
    """One sentence that names the file."""
    change, sentence = DAMAGED[case]
    good = fits["plain"].save(tmp_path / "good.latent")
    bad = rewrite(good, tmp_path / "bad.latent", change)
    with pytest.raises(ValueError, match=r"bad\.latent") as caught:
        jl.load(bad)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no zip", None], ids=["empty", "text", "truncated"])
def test_files_that_are_no_zip(fits, tmp_path, content):
    path = fits["plain"].save(tmp_path / "cut.latent")
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    with pytest.raises(ValueError, match=r"cut\.latent is damaged or not a file"):
        jl.load(path)


def test_nothing_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        jl.load(tmp_path / "nothing.latent")
    with pytest.raises(ValueError, match="is a folder"):
        jl.load(tmp_path)


def test_a_flipped_byte_never_gives_other_numbers(fits, tmp_path):
    """Anywhere in the file: an error, or the fit as it was (bytes that carry nothing)."""
    path = fits["plain"].save(tmp_path / "flip.latent")
    good, content = fits["plain"].parameters, path.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(len(content), size=60):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        try:
            back = jl.load(path)
        except ValueError as error:
            assert "flip.latent" in str(error)
        else:
            pd.testing.assert_frame_equal(back.parameters, good)


def test_a_failed_save_leaves_the_old_file(fits, tmp_path, monkeypatch):
    path = fits["plain"].save(tmp_path / "kept.latent")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="No space left"):
        fits["groups"].save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["kept.latent"]
    assert jl.load(path).converged


def test_paths(fits, tmp_path):
    """A string or a Path; the path comes back; nothing else is left behind."""
    returned = fits["plain"].save(str(tmp_path / "plain.latent"))
    assert returned == tmp_path / "plain.latent"
    assert [p.name for p in tmp_path.iterdir()] == ["plain.latent"]
    assert jl.load(str(returned)).converged
