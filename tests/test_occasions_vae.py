"""Deep models of several occasions: one decoder, a transition between the occasions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_occasions import ITEMS, simulated

import jaxlatent as jl


@pytest.fixture(scope="module")
def linear():
    """A linear decoder is the item response model."""
    frame, _ = simulated(300, 2, 0, absent=0.15)
    engine = jl.AmortizedVI(guide=jl.guides.Recurrent(hidden=(8,)), max_epochs=80)
    return frame, jl.VAE(1, "2pl", decoder="linear", occasions="wave").fit(frame, engine)


def test_a_linear_decoder_is_the_item_response_model(linear):
    frame, fit = linear
    exact = jl.IRT("2pl", occasions="wave").fit(frame)
    value, error, _ = fit.log_likelihood_estimate
    assert -0.01 * fit._fitted.n_persons < value - exact.log_likelihood < 3 * error + 0.5
    step = fit.transition()
    assert list(step) == ["intercept", "on_F1", "innovation"] and list(step.index) == ["F1.2"]
    assert abs(step["on_F1"].iloc[0] - exact.regressions.loc["F1.2", "F1.1"]) < 0.2
    scores = fit.scores()
    assert scores.index.equals(frame.index) and np.corrcoef(scores["F1"], exact.scores()["F1"])[0, 1] > 0.98


def test_rows_in_and_rows_out(linear, tmp_path):
    frame, fit = linear
    some = frame.head(6)
    np.testing.assert_allclose(fit.decode(fit.transform(some)), fit.reconstruct(some))
    assert list(fit.reconstruct(some)) == ITEMS and fit.reconstruct(some).index.equals(some.index)
    filled = fit.impute(some.assign(y1=np.nan))
    assert filled["y1"].between(0, 1).all()
    pd.testing.assert_frame_equal(filled[ITEMS[1:]], some[ITEMS[1:]].astype(float))
    new = fit.simulate(3)
    assert list(new) == ["person", "wave", *ITEMS] and len(new) == 6
    assert fit.raw_rows(some).index.names == ["person", "wave"]
    assert "recurrent, 8 units" in str(fit.summary())
    loaded = jl.load(fit.save(tmp_path / "deep.latent", include_data=True))
    pd.testing.assert_frame_equal(loaded.scores(), fit.scores())


def test_the_same_network_decodes_every_occasion():
    import jax

    frame, _ = simulated(40, 3, 1)
    frame["size"] = frame["y1"] + 0.1 * frame["wave"]
    kinds = dict.fromkeys(ITEMS, "bernoulli") | {"size": "normal", "y2": "normal"}
    bound = jl.VAE(2, kinds, hidden=(5,), occasions="wave").bind(frame)
    model = bound.model
    params = {**model.layout.unpack(model.layout.start), **model.networks(jax.random.key(0))}
    x = np.random.default_rng(0).normal(size=(4, 2))
    wide = [np.concatenate([np.zeros((4, 2 * t)), x, np.zeros((4, 4 - 2 * t))], 1).astype("float32") for t in range(3)]
    at = [np.asarray(model.measurement.expected(params, each, np.zeros(4, int))) for each in wide]
    for t in range(3):
        np.testing.assert_allclose(at[t][:, 5 * t : 5 * t + 5], at[0][:, :5], atol=1e-5)
    assert np.abs(at[1][:, :5] - at[0][:, :5]).max() > 1e-3
    assert model.n_latent == 6 and model.n_occasions == 3
    index = model.layout.index
    assert len(np.unique(index["regressions"][index["regressions"] >= 0])) == 4
    guide = jl.guides.Recurrent(hidden=(4,)).bind(model, bound.arrays)
    assert np.abs(guide.weights).sum() > 0  # principal components of one occasion, the same at each
    assert guide.distribution(guide.init(jax.random.key(0)), bound.arrays).mean.shape == (40, 6)


def test_what_does_not_go_with_occasions():
    frame, _ = simulated(40, 2, 1)
    for options, what in [
        ({"latent_size": (2, 1)}, "no layers in latent_size"),
        ({"covariance": "full", "likelihood": "normal"}, "no covariance of joint residuals"),
        ({"latent": jl.latent.Flow()}, "With occasions expected latent=jl.latent.Autoregressive"),
        ({"latent": jl.latent.Autoregressive(), "occasions": None}, "is for several occasions"),
    ]:
        given = {"latent_size": 1, "likelihood": "bernoulli", "occasions": "wave", **options}
        with pytest.raises(ValueError, match=what):
            jl.VAE(given.pop("latent_size"), given.pop("likelihood"), **given)
    with pytest.raises(ValueError, match="two rows of the occasion"):
        jl.VAE(1, "bernoulli", occasions="wave").fit(pd.concat([frame, frame.head(1)]))


@pytest.mark.study
def test_a_network_decodes_and_the_autoregression_is_found():
    """Normal columns that bend with x: the factor is known up to a monotone map, its dependence nearly so."""
    rng = np.random.default_rng(2)
    n, t = 1000, 4
    x = rng.normal(size=(n, t))
    for k in range(1, t):
        x[:, k] = 0.7 * x[:, k - 1] + np.sqrt(0.51) * x[:, k]
    slopes = np.linspace(0.6, 1.4, 6)
    y = np.tanh(0.5 * x[:, :, None]) * 2 * slopes + 0.5 * rng.normal(size=(n, t, 6))
    frame = pd.DataFrame(y.reshape(-1, 6), columns=[f"v{j}" for j in range(6)])
    frame.insert(0, "wave", np.tile(np.arange(t), n))
    frame.insert(0, "person", np.repeat(np.arange(n), t))
    fit = jl.VAE(1, "normal", hidden=(16,), occasions="wave").fit(frame)
    assert np.abs(fit.transition()["on_F1"] - 0.7).max() < 0.05
    assert abs(np.corrcoef(fit.scores()["F1"], x.ravel())[0, 1]) > 0.9
