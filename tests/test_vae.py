"""Deep models: equal to factor analysis and item response models where they are the same, and what a user does."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.guides.normals import CholeskyNormal
from jaxlatent.inference.deep_fit import deep_arrays
from jaxlatent.inference.importance import log_weights

QUICK = jl.AmortizedVI(max_epochs=4, particles=2)
SCREEN = (32,)


class Convolutions(nn.Module):
    """Features of 8 x 8 pictures."""

    @nn.compact
    def __call__(self, y):
        y = nn.relu(nn.Conv(4, (3, 3), strides=(2, 2))(y.reshape(-1, 8, 8, 1)))
        return y.reshape(y.shape[0], -1)


class Deconvolutions(nn.Module):
    """8 x 8 logits; side: of the output, another one is an error."""

    side: int = 8

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(4 * 4 * 4)(x)).reshape(-1, 4, 4, 4)
        return nn.ConvTranspose(1, (3, 3), strides=(2, 2))(x)[:, : self.side, :, 0]


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn")
    return jl.datasets.load("digits", binary=True)


@pytest.fixture(scope="module")
def train(digits):
    return digits.iloc[:600]


@pytest.fixture(scope="module")
def screen(train):
    return jl.VAE(4, "bernoulli", hidden=SCREEN).fit(train, jl.AmortizedVI(max_epochs=30, particles=5))


@pytest.fixture(scope="module")
def hs():
    return jl.datasets.load("holzinger_swineford").filter(regex="^x")


@pytest.fixture(scope="module")
def linear(hs):
    return jl.VAE(3, "normal", decoder="linear").fit(hs, QUICK)


# ---- one model: the same number -------------------------------------------------------------------------------------


def test_a_linear_normal_decoder_is_maximum_likelihood_factor_analysis(linear, hs):
    analysis = pytest.importorskip("sklearn.decomposition").FactorAnalysis
    exact = analysis(3, tol=1e-12, max_iter=20_000, svd_method="lapack").fit(hs)
    assert linear.log_likelihood >= exact.score(hs) * len(hs) - 1e-3
    assert linear.log_likelihood == pytest.approx(exact.score(hs) * len(hs), abs=0.05)
    np.testing.assert_allclose(linear.log_likelihoods(hs), exact.score_samples(hs), atol=0.01)
    assert linear.converged and any("exact" in note for note in linear.notes)


def test_parameter_table_counts_what_is_learned(linear, screen, hs, train):
    """A row for every free cell, and the weights of networks in one: as many as the fit has."""
    table = jl.VAE(3, "normal", decoder="linear").parameter_table(hs)
    assert table["size"].sum() == linear._fitted.n_parameters == 27 + 9 + 9
    assert table["op"].value_counts().to_dict() == {"=~": 27, "intercepts": 9, "dispersion": 9}
    assert sorted(table["free"]) == list(range(1, 46)) and table["start"].notna().all()
    table = screen.spec.parameter_table(train)
    assert table["size"].sum() == screen._fitted.n_parameters
    assert table.iloc[-1][["lhs", "op"]].tolist() == ["decoder", "network"]
    with pytest.raises(ValueError, match="below the number of columns"):
        jl.VAE(9, "normal").parameter_table(hs)


def test_the_density_of_x_is_standard_normal_unless_learned(screen):
    x = np.random.default_rng(0).normal(size=(5, 4))
    density = np.exp(-(x**2).sum(1) / 2) / (2 * np.pi) ** 2
    np.testing.assert_allclose(screen.latent_density(x), density, rtol=1e-4)
    with pytest.raises(ValueError, match=r"\[row, 4\]"):
        screen.latent_density(x[:, :2])


@pytest.mark.study
def test_the_sampled_bound_of_its_guide_reaches_that_optimum(hs, linear):
    sampled = jl.VAE(3, "normal", decoder="linear").fit(hs, jl.AmortizedVI(polish=False))
    assert sampled.log_likelihood == pytest.approx(linear.log_likelihood, abs=1e-3 * len(hs) * 3)
    assert sampled.log_likelihood_estimate.standard_error < 1


def test_the_elbo_with_the_exact_posterior_is_the_log_likelihood(linear, hs):
    f = linear._fitted
    with jax.enable_x64(True):
        arrays = jax.tree.map(jnp.asarray, deep_arrays(f.codes, None, "float64"))
        params = jax.tree.map(jnp.asarray, f.params)
        found = f.rule.posteriors(f.model, params, arrays)
        root = np.linalg.cholesky(found.cov)
        below = root[:, *np.tril_indices(3, -1)]
        diagonal = np.log(np.diagonal(root, axis1=1, axis2=2))
        q = CholeskyNormal(*(jnp.asarray(a) for a in (found.mean, diagonal, below)))
        x = q.sample(jax.random.key(0), (3,))
        each = np.asarray(log_weights(f.model, params, arrays, q, x))
    np.testing.assert_allclose(each, np.broadcast_to(found.log_marginal, each.shape), atol=1e-9)


def test_a_2pl_decoder_is_the_item_response_model():
    lsat = jl.datasets.load("lsat7")
    found = jl.VAE(1, "2pl", decoder="linear").fit(lsat, QUICK)
    model = jl.IRT("2pl").fit(lsat)
    assert found.log_likelihood == pytest.approx(model.log_likelihood, abs=1e-3)
    np.testing.assert_allclose(found.log_likelihoods(), model.log_likelihoods(), atol=1e-3)
    np.testing.assert_allclose(np.abs(found.scores()["F1"]), np.abs(model.scores().iloc[:, 0]), atol=2e-3)


def test_missing_cells_of_a_linear_decoder_are_integrated_out(hs):
    holes = hs.mask(np.random.default_rng(0).random(hs.shape) < 0.1)
    syntax = "f =~ " + " + ".join(hs.columns)
    full = jl.SEM(syntax, std_lv=True).fit(holes)
    found = jl.VAE(1, "normal", decoder="linear").fit(holes, QUICK)
    assert found.log_likelihood == pytest.approx(full.log_likelihood, abs=1e-3)
    assert any("cells are missing" in note for note in found.notes)


@pytest.mark.study
def test_low_rank_residuals_of_a_linear_decoder_are_more_factors(hs, linear):
    found = jl.VAE(1, "normal", decoder="linear", covariance="low_rank").fit(hs, QUICK)  # rank 9 // 4 = 2
    assert found.log_likelihood == pytest.approx(linear.log_likelihood, abs=1e-3)


# ---- what a user does -----------------------------------------------------------------------------------------------


def test_training_beats_independent_pixels_and_says_how_it_went(screen, train, digits):
    test = digits.iloc[600:900]
    rate = train.to_numpy().mean(0).clip(1e-3, 1 - 1e-3)
    alone = (test * np.log(rate) + (1 - test) * np.log(1 - rate)).to_numpy().sum(1).mean()
    assert screen.log_likelihoods(test).mean() > alone + 3
    assert screen.converged and screen.n_iterations <= 30
    assert "constant" in " ".join(screen.notes)
    assert np.isfinite(screen.log_likelihood_estimate.value)
    assert list(screen.active_units().columns) == ["variance", "nats", "active"]
    text = str(screen.summary())
    assert "bernoulli (64 columns)" in text and "Log-likelihood per person" in text


def test_more_samples_give_higher_bounds_that_agree(screen, digits):
    few = screen.log_likelihoods(digits.iloc[600:700], n_samples=5).mean()
    many = screen.log_likelihoods(digits.iloc[600:700], n_samples=2000).mean()
    again = screen.log_likelihoods(digits.iloc[600:700], n_samples=2000, key=9).mean()
    assert few < many and many == pytest.approx(again, abs=0.1)


def test_frames_give_frames_and_arrays_arrays(screen, digits):
    rows = digits.iloc[600:605]
    assert list(screen.transform(rows).index) == list(rows.index)
    assert isinstance(screen.transform(rows.to_numpy()), np.ndarray)
    np.testing.assert_allclose(screen.transform(rows.to_numpy()), screen.transform(rows), atol=1e-6)
    made = screen.reconstruct(rows)
    assert list(made.columns) == list(digits.columns) and made.to_numpy().min() >= 0 and made.to_numpy().max() <= 1
    np.testing.assert_allclose(screen.decode(screen.transform(rows)), made)
    with pytest.raises(ValueError, match=r"Expected finite latent variables \[row, 4\]"):
        screen.decode(np.zeros((3, 5)))


def test_draws_are_right_values_and_follow_the_key(screen):
    drawn = screen.simulate(200, key=1)
    assert drawn.shape == (200, 64) and set(np.unique(drawn)) == {0.0, 1.0}
    pd.testing.assert_frame_equal(drawn, screen.simulate(200, key=1))
    assert not drawn.equals(screen.simulate(200, key=2))


def test_rows_like_others_and_between_two(screen, train):
    label = np.array(train.attrs["label"][:600])
    made = screen.generate(train[label == 0], 50)
    own, other = train[label == 0].mean(), train[label == 1].mean()
    nearer = ((made - own) ** 2).sum(axis=1) < ((made - other) ** 2).sum(axis=1)
    assert made.shape == (50, 64) and nearer.mean() > 0.95
    between = screen.interpolate(train.iloc[[0]], train.iloc[[1]], steps=5)
    np.testing.assert_allclose(between.iloc[[0]], screen.reconstruct(train.iloc[[0]]), atol=1e-6)
    np.testing.assert_allclose(between.iloc[[4]], screen.reconstruct(train.iloc[[1]]), atol=1e-6)
    with pytest.raises(ValueError, match="Expected one row each"):
        screen.interpolate(train.iloc[:2], train.iloc[[1]])
    with pytest.raises(ValueError, match="at least 2 rows"):
        screen.generate(train.iloc[[0]], 5)


def test_moving_along_an_attribute(screen, train):
    """Zeros moved to where ones are look like ones; where they start they are themselves."""
    label = np.array(train.attrs["label"][:600])
    zeros, ones = train[label == 0], train[label == 1]
    way = screen.attribute_direction(ones, zeros)
    made = screen.move(zeros, way)
    nearer = ((made - ones.mean()) ** 2).sum(axis=1) < ((made - zeros.mean()) ** 2).sum(axis=1)
    assert nearer.mean() > 0.9
    np.testing.assert_allclose(screen.move(zeros, way, 0.0), screen.reconstruct(zeros), atol=1e-6)
    with pytest.raises(ValueError, match="a direction of 4 finite numbers"):
        screen.move(zeros, [1.0, 2.0])


def test_outliers(screen, digits):
    """Noise is less likely than all rows of the model, rows of the model are as likely as each other."""
    noise = pd.DataFrame(np.random.default_rng(0).integers(0, 2, (20, 64)).astype(float), columns=digits.columns)
    noise.iloc[0, 0] = np.nan
    found = screen.outlier_scores(noise, n_simulated=200)
    assert np.isnan(found["pvalue"][0]) and (found["pvalue"][1:] <= 2 / 201).all()
    own = screen.outlier_scores(screen.simulate(200, key=9), n_simulated=200)["pvalue"]
    assert abs(own.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 100)  # two samples of 200
    with pytest.raises(ValueError, match=r"latent=jl\.latent\.Mixture"):
        screen.predict_proba()


def test_missing_cells_are_imputed_near_their_values(screen, digits):
    rows = digits.iloc[600:700].astype(float)
    holes = rows.mask(np.random.default_rng(1).random(rows.shape) < 0.2)
    filled = screen.impute(holes)
    kept = ~holes.isna().to_numpy()
    np.testing.assert_array_equal(filled.to_numpy()[kept], rows.to_numpy()[kept])
    error = np.abs(filled.to_numpy() - rows.to_numpy())[~kept].mean()
    blind = np.abs(np.broadcast_to(digits.iloc[:600].mean().to_numpy(), rows.shape) - rows.to_numpy())[~kept].mean()
    assert error < 0.8 * blind


def test_a_missing_cell_says_nothing(screen, digits):
    """The log-likelihood of the other cells is that of the same cells whatever stood there."""
    rows = digits.iloc[600:610].astype(float)
    first, second = rows.copy(), rows.copy()
    second.iloc[:, 10:30] = 1 - second.iloc[:, 10:30]
    for each in (first, second):
        each.iloc[:, 10:30] = np.nan
    np.testing.assert_array_equal(screen.log_likelihoods(first), screen.log_likelihoods(second))


def test_pictures(screen, digits, tmp_path):
    pytest.importorskip("matplotlib")
    shown = {
        "reconstructions": lambda path: screen.plot.reconstructions(digits.iloc[600:605], path=path),
        "traversal": lambda path: screen.plot.traversal(path=path),
        "manifold": lambda path: screen.plot.manifold(path=path),
        "latent": lambda path: screen.plot.latent(color=digits.attrs["label"][:600], path=path),
        "depth": lambda path: screen.plot.latent(color=digits.attrs["label"][:600], dimensions=3, path=path),
        "along": lambda path: screen.plot.along(np.ones(4), digits.iloc[600:603], path=path),
        "loss": lambda path: screen.plot.loss(path=path),
        "flat": lambda path: screen.plot.traversal("F1", path=path, shape=(4, 16)),
    }
    for name, draw in shown.items():
        draw(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 3000
    axes = screen.plot.reconstructions(digits.iloc[600:605])
    assert axes.get_images()[0].get_array().shape == (2 * 9 - 1, 5 * 9 - 1, 3)
    with pytest.raises(ValueError, match="64 pixels"):
        screen.plot.manifold(shape=(7, 9))
    with pytest.raises(ValueError, match="dimensions as 2 or 3; got 4"):
        screen.plot.latent(dimensions=4)
    with pytest.raises(ValueError, match="no factor 'F9'"):
        screen.plot.traversal("F9")


def test_pictures_of_columns_that_are_none(linear, hs, tmp_path):
    pytest.importorskip("matplotlib")
    linear.plot.traversal(path=tmp_path / "a.png")
    linear.plot.reconstructions(hs.head(4), path=tmp_path / "b.png")
    assert (tmp_path / "a.png").exists() and (tmp_path / "b.png").exists()


def test_a_saved_fit_gives_the_same_numbers(screen, digits, tmp_path):
    rows = digits.iloc[600:610]
    screen.save(tmp_path / "fit.latent")
    again = jl.load(tmp_path / "fit.latent")
    np.testing.assert_array_equal(again.log_likelihoods(rows), screen.log_likelihoods(rows))
    np.testing.assert_array_equal(again.transform(rows), screen.transform(rows))
    assert again.log_likelihood == screen.log_likelihood and repr(again.spec) == repr(screen.spec)
    with pytest.raises(ValueError, match="holds no rows"):
        again.scores()
    assert np.isfinite(again.plot.loss().get_ylim()).all()


@pytest.mark.study
def test_a_run_that_is_taken_up_again_is_the_same_run(train, tmp_path):
    model = jl.VAE(4, "bernoulli", hidden=SCREEN)
    whole = model.fit(train, QUICK)
    first = model.fit(train, QUICK, checkpoint=tmp_path / "run")
    again = model.fit(train, QUICK, checkpoint=tmp_path / "run")
    assert whole.log_likelihood == first.log_likelihood == again.log_likelihood


def test_convolutions_of_ones_own_are_trained_and_come_back(train, tmp_path):
    encoder, decoder = Convolutions(), Deconvolutions()
    engine = jl.AmortizedVI(max_epochs=8, particles=2, optimizer=optax.adam(3e-3))
    found = jl.VAE(4, "bernoulli", encoder=encoder, decoder=decoder).fit(train, engine)
    looks = found._fitted.trained.looks
    assert looks[-1].held > looks[0].held
    found.save(tmp_path / "fit.latent")
    with pytest.raises(ValueError, match="'Convolutions' is the user's own"):
        jl.load(tmp_path / "fit.latent")
    again = jl.load(tmp_path / "fit.latent", objects={"Convolutions": encoder, "Deconvolutions": decoder})
    np.testing.assert_array_equal(again.transform(train), found.transform(train))


def test_columns_of_several_kinds(train):
    rng = np.random.default_rng(5)
    x = rng.normal(size=300)
    data = pd.DataFrame({
        "binary": (x + rng.normal(size=300) > 0).astype(int), "number": 10 + 5 * x + rng.normal(size=300),
        "count": rng.poisson(np.exp(0.5 + 0.5 * x)), "kind": rng.choice(["1", "4", "9"], 300).astype(int),
        "heavy": x + rng.standard_t(3, 300),
    })  # fmt: skip
    likelihood = {"binary": "bernoulli", "number": "normal", "count": "counts", "kind": "categorical",
                  "heavy": "student_t"}  # fmt: skip
    found = jl.VAE(1, likelihood, hidden=(16,)).fit(data, jl.AmortizedVI(max_epochs=40))
    drawn = found.simulate(300)
    assert set(drawn["kind"]) == {1, 4, 9} and set(drawn["binary"]) <= {0, 1} and (drawn["count"] >= 0).all()
    assert abs(found.scores()["F1"].corr(pd.Series(x))) > 0.9
    assert found.reconstruct(data)["number"].corr(data["number"]) > 0.9


@pytest.mark.study
def test_deviations_that_depend_on_x_are_recovered():
    rng, grid = np.random.default_rng(1), np.linspace(-2, 2, 41)
    x, slope, log_slope = rng.normal(size=3000), rng.uniform(0.7, 1.3, 10), rng.uniform(-0.4, 0.4, 10)
    y = slope * x[:, None] + np.exp(-0.5 + log_slope * x[:, None]) * rng.normal(size=(3000, 10))
    found = jl.VAE(1, "normal", hidden=(32,), covariance="network").fit(y)
    sign = np.sign(np.corrcoef(found.scores()["F1"], x)[0, 1])
    away = np.log(found.deviations(sign * grid[:, None])) - (-0.5 + log_slope * grid[:, None])
    assert np.sqrt((away**2).mean()) < 0.1


@pytest.mark.study
def test_a_deep_model_is_a_numpyro_pair(train):
    from numpyro.infer import SVI

    bound = jl.VAE(4, "bernoulli", hidden=SCREEN).bind(train)
    pair = jl.numpyro_pair(bound)
    svi = SVI(pair.model, pair.guide, optax.adam(3e-3), jl.ImportanceWeightedELBO(2))
    result = svi.run(jax.random.key(0), 60, bound.arrays, progress_bar=False)
    assert result.losses[-1] < 0.8 * result.losses[0]
    assert set(result.params) == {"decoder", "guide", "intercepts_free"}


@pytest.mark.study
@pytest.mark.parametrize("options", [{"latent": jl.latent.Flow("spline")}, {"latent": jl.latent.Mixture(3)}])
def test_learned_densities_of_x(digits, options):
    found = jl.VAE(3, "bernoulli", hidden=SCREEN, **options).fit(digits.iloc[:600], QUICK)
    assert np.isfinite(found.log_likelihood) and found.simulate(5).shape == (5, 64)


@pytest.mark.study
def test_a_density_with_two_modes_is_found():
    """20 items, 5000 rows: L1 distance from the truth, which is 0 for equal densities and 2 for disjoint ones."""
    rng, share, modes, sd = np.random.default_rng(1), np.array([0.7, 0.3]), np.array([-0.62, 1.447]), 0.45
    mode = rng.choice(2, 5000, p=share)
    x = modes[mode] + sd * rng.standard_normal(5000)
    eta = x[:, None] * np.linspace(1.5, 3, 20) + np.linspace(-1.5, 1.5, 20)
    y = (rng.random(eta.shape) < 1 / (1 + np.exp(-eta))).astype(int)
    fit = jl.VAE(1, "2pl", decoder="linear", latent=jl.latent.Mixture(2)).fit(y)
    grid = np.linspace(-8, 8, 2001)
    truth = np.exp(-(((grid[:, None] - modes) / sd) ** 2) / 2) @ share / (sd * np.sqrt(2 * np.pi))
    found = fit.latent_density(grid[:, None] * np.sign(np.corrcoef(fit.scores()["F1"], x)[0, 1]))
    assert np.trapezoid(found, grid) == pytest.approx(1, abs=1e-3)
    assert np.trapezoid(abs(found - truth), grid) < 0.1
    # components by falling weight are the modes; with x known 99 % of persons are nearer to their own
    assert ((fit.predict() == "2") == (mode == 1)).mean() > 0.93
    assert abs(fit.predict_proba().mean() - share).max() < 0.05


@pytest.mark.study
@pytest.mark.parametrize("covariance", ["network", "low_rank", "full"])
def test_covariances_of_grey_values(covariance):
    grey = jl.datasets.load("digits").iloc[:600]
    found = jl.VAE(3, "normal", hidden=SCREEN, covariance=covariance).fit(grey, QUICK)
    looks = found._fitted.trained.looks
    assert looks[-1].held > looks[0].held and np.isfinite(found.log_likelihood)


@pytest.mark.study
def test_layers_of_latent_variables(digits):
    found = jl.VAE((8, 3), "bernoulli", hidden=SCREEN).fit(digits.iloc[:600], QUICK)
    assert list(found.scores().columns[:2]) == ["L1_1", "L1_2"] and found.scores().shape[1] == 11
    assert found.decode(found.scores().to_numpy()).shape == (600, 64)


@pytest.mark.study
def test_free_bits_keep_latent_variables_in_use(digits):
    train = digits.iloc[:600]
    model = jl.VAE(4, "bernoulli", hidden=SCREEN)
    strict = model.fit(train, jl.AmortizedVI(max_epochs=20, beta=20.0, estimator="elbo"))
    free = model.fit(train, jl.AmortizedVI(max_epochs=20, beta=20.0, free_bits=4.0))
    assert strict.active_units()["nats"].sum() < free.active_units()["nats"].sum()


def test_a_pipeline_of_scikit_learn(digits):
    sklearn = pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    factors = jl.FactorTransformer(jl.VAE(4, "bernoulli", hidden=SCREEN), QUICK)
    labels = np.array(digits.attrs["label"])
    pipeline = make_pipeline(factors, LogisticRegression(max_iter=500))
    pipeline.fit(digits.iloc[:600].to_numpy(), labels[:600])
    assert pipeline.score(digits.iloc[600:900].to_numpy(), labels[600:900]) > 0.3
    again = sklearn.base.clone(factors)
    assert again.get_params() == factors.get_params() and not hasattr(again, "fit_")
    x = factors.transform(digits.iloc[600:605].to_numpy())
    assert factors.inverse_transform(x).shape == (5, 64) and np.isfinite(factors.score(digits.iloc[600:605].to_numpy()))
    assert list(factors.get_feature_names_out()) == ["F1", "F2", "F3", "F4"]
    with pytest.raises(ValueError, match="not fitted yet"):
        again.transform(x)


# ---- bad input ------------------------------------------------------------------------------------------------------


def test_images_of_another_size(screen, digits):
    with pytest.raises(ValueError, match="Expected an array with the 64 columns"):
        screen.transform(np.zeros((3, 49)))
    with pytest.raises(ValueError, match="'pixel_7_7' is not in the data"):
        screen.log_likelihoods(digits.drop(columns="pixel_7_7"))


def test_values_outside_the_range_are_named(screen, digits):
    grey = jl.datasets.load("digits")
    with pytest.raises(ValueError, match=r"The column 'pixel_0_1' has the value 2 in row 14; expected 0 or 1"):
        jl.VAE(4, "bernoulli").fit(grey)
    with pytest.raises(ValueError, match=r"The column 'pixel_0_1' has the value 2 in row 14; expected one of 0, 1"):
        screen.transform(grey)
    with pytest.raises(ValueError, match=r"has the value 0.5 in row 1; expected a whole number from 0"):
        jl.VAE(1, "counts").fit(np.full((20, 3), 0.5))
    with pytest.raises(ValueError, match="expected a positive number"):
        jl.VAE(1, "lognormal").fit(np.tile([1.0, 0.0, 2.0], (20, 1)))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (lambda: jl.VAE(0, "bernoulli"), "latent_size as a whole number from 1"),
        (lambda: jl.VAE(2, "gaussian"), "Expected a likelihood among bernoulli"),
        (lambda: jl.VAE(2, {"a": "bernouli"}), "Expected a likelihood among bernoulli"),
        (lambda: jl.VAE(2, "normal", covariance="banded"), "Expected covariance among"),
        (lambda: jl.VAE(2, "normal", hidden=(3.5,)), "Expected widths of layers"),
        (lambda: jl.VAE(2, "normal", decoder="cubic"), "Expected decoder as None, 'linear'"),
        (lambda: jl.VAE(2, "normal", encoder=lambda y: y), "Expected encoder as None"),
        (lambda: jl.VAE(2, "normal", decoder="linear", covariance="network"), "needs a decoder that is a network"),
        (lambda: jl.VAE((4, 2), "bernoulli", latent=jl.latent.Flow()), "leave latent out"),
        (lambda: jl.AmortizedVI(free_bits=1.0, estimator="dreg"), "free_bits is for the estimators"),
        (lambda: jl.AmortizedVI(beta=-1.0), "Expected beta as a number"),
    ],
)
def test_options_that_are_wrong(model, sentence):
    with pytest.raises(ValueError, match=sentence):
        model()


def test_models_and_data_that_do_not_go_together(digits, hs):
    with pytest.raises(ValueError, match="latent_size below the number of columns, 9; got 9"):
        jl.VAE(9, "normal").fit(hs)
    with pytest.raises(ValueError, match=r"output has 64 numbers for each row \(64 columns\); got shape \(7, 8\)"):
        jl.VAE(4, "bernoulli", decoder=Deconvolutions(7)).fit(digits)
    with pytest.raises(ValueError, match="no entry for the column 'x2'"):
        jl.VAE(1, {"x1": "normal"}).fit(hs)
    with pytest.raises(ValueError, match="takes complete rows"):
        jl.VAE(1, "normal", covariance="full").fit(hs.mask(hs > 8))
    with pytest.raises(ValueError, match="The column 'x3' has no values"):
        jl.VAE(1, "normal").fit(hs.assign(x3=np.nan))
    with pytest.raises(ValueError, match=r"Expected AmortizedVI\(...\) as the engine of a VAE"):
        jl.VAE(1, "normal").fit(hs, jl.ML())
    with pytest.raises(ValueError, match="option group is not in this version"):
        jl.VAE(1, "normal").fit(hs, group="x1")
