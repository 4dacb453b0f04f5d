"""Autoencoders: the linear one spans principal components, deep ones do better, whatever the optimiser."""

from __future__ import annotations

import numpy as np
import optax
import pytest

import jaxlatent as jl

pytest.importorskip("sklearn")
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA


@pytest.fixture(scope="module")
def grey():
    return jl.datasets.load("digits").iloc[:600]


@pytest.fixture(scope="module")
def components(grey):
    return PCA(4).fit(grey)


@pytest.fixture(scope="module")
def linear(grey):
    return jl.AutoEncoder(latent_size=4, hidden=()).fit(grey)


@pytest.fixture(scope="module")
def deep(grey):
    return jl.AutoEncoder(4, hidden=(64,)).fit(grey)


def test_a_linear_autoencoder_spans_principal_components(linear, grey, components):
    assert linear.converged
    assert subspace_angles(linear.loadings.to_numpy(), components.components_.T).max() < 1e-3
    expected = components.inverse_transform(components.transform(grey))
    np.testing.assert_allclose(linear.reconstruct(grey.to_numpy()), expected, atol=1e-2)
    assert "constant" in " ".join(linear.notes)


def test_a_deep_one_reconstructs_better(deep, linear, grey):
    assert deep.squared_errors().mean() < 0.8 * linear.squared_errors().mean()
    with pytest.raises(ValueError, match="no loadings"):
        _ = deep.loadings


def test_any_optimiser(grey):
    found = jl.AutoEncoder(4, hidden=(64,)).fit(grey, optax.rmsprop(1e-3))
    assert found.squared_errors().mean() < ((grey - grey.mean()) ** 2).sum(axis=1).mean() / 2
    with pytest.raises(ValueError, match="or an optax optimiser"):
        jl.AutoEncoder(4).fit(grey, "adam")


def test_new_rows_frames_and_arrays(deep, grey):
    rows = jl.datasets.load("digits").iloc[600:605].astype(float)
    assert list(deep.transform(rows).index) == list(rows.index)
    np.testing.assert_allclose(deep.transform(rows.to_numpy()), deep.transform(rows), rtol=1e-5, atol=1e-5)
    rows.iloc[0, 20] = np.nan
    assert np.isfinite(deep.reconstruct(rows)).to_numpy().all()


def test_missing_cells_are_left_out_of_the_error(grey):
    holes = grey.astype(float).mask(np.random.default_rng(0).random(grey.shape) < 0.1)
    found = jl.AutoEncoder(4, hidden=()).fit(holes)
    hidden = holes.isna().to_numpy()
    error = ((found.reconstruct(holes) - grey) ** 2).to_numpy()[hidden].mean()
    blind = ((holes.mean() - grey) ** 2).to_numpy()[hidden].mean()
    assert error < 0.7 * blind and any("cells are missing" in note for note in found.notes)


def test_saved_and_pictured(deep, grey, tmp_path):
    pytest.importorskip("matplotlib")
    deep.save(tmp_path / "a.latent", include_data=True)
    again = jl.load(tmp_path / "a.latent")
    np.testing.assert_array_equal(again.transform(grey), deep.transform(grey))
    for name in ("reconstructions", "traversal", "manifold", "latent", "loss"):
        getattr(again.plot, name)(path=tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 3000


def test_bad_input(grey):
    with pytest.raises(ValueError, match="one whole number"):
        jl.AutoEncoder((4, 2))
    with pytest.raises(ValueError, match="latent_size below the number of columns, 64; got 64"):
        jl.AutoEncoder(64).fit(grey)
    with pytest.raises(ValueError, match="option group is not in this version"):
        jl.AutoEncoder(4).fit(grey, group="pixel_0_0")


def test_a_transformer_scores_minus_its_error(grey):
    factors = jl.FactorTransformer(jl.AutoEncoder(4, hidden=())).fit(grey)
    assert factors.score(grey) == pytest.approx(-factors.fit_.squared_errors().mean())
    assert factors.inverse_transform(factors.transform(grey)).shape == grey.shape
    with pytest.raises(ValueError, match="parameters model and engine"):
        factors.set_params(depth=2)
