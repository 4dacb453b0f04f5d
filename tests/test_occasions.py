"""Several occasions: the table, the likelihood, scores by person and occasion, recurrent guides, deep models."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logsumexp
from scipy.stats import multivariate_normal

import jaxlatent as jl

ITEMS = [f"y{j}" for j in range(1, 5)]


def simulated(n: int, occasions: int, seed: int, absent: float = 0.0) -> tuple[pd.DataFrame, np.ndarray]:
    """Binary items of persons at occasions 1, 2, ..., rows in random order, some absent; and x [person, occasion]."""
    rng = np.random.default_rng(seed)
    slopes, intercepts = np.array([1.7, 1.1, 1.4, 1.0]), np.array([0.8, -0.5, -0.6, 0.2])
    x = rng.normal(size=(n, occasions))
    for t in range(1, occasions):
        x[:, t] = 0.25 + 0.7 * x[:, t - 1] + np.sqrt(0.6) * x[:, t]
    y = rng.uniform(size=(n, occasions, 4)) < expit(x[:, :, None] * slopes + intercepts)
    frame = pd.DataFrame(y.reshape(-1, 4).astype(float), columns=ITEMS)
    frame.insert(0, "wave", np.tile(np.arange(1, occasions + 1), n))
    frame.insert(0, "person", np.repeat(np.arange(n), occasions))
    frame = frame[rng.uniform(size=len(frame)) >= absent]
    return frame.sample(frac=1, random_state=seed), x


@pytest.fixture(scope="module")
def two():
    """Two occasions, some rows and cells missing."""
    frame, x = simulated(300, 2, 0, absent=0.15)
    frame[ITEMS] = frame[ITEMS].mask(np.random.default_rng(1).uniform(size=(len(frame), 4)) < 0.1)
    frame = frame[frame[ITEMS].notna().any(axis=1)]
    return frame, x, jl.IRT("2pl", occasions="wave").fit(frame)


def exact_log_likelihood(frame: pd.DataFrame, fit, occasions: int) -> float:
    """Sum over persons at the estimates, by the forward recursion over occasions on a grid of 121 points, in NumPy."""
    rows = fit.parameters.set_index(["lhs", "op", "rhs"])["est"]
    grid = np.linspace(-8, 9, 121)
    eta = grid[:, None] * [rows["F1.1", "=~", f"{name}.1"] for name in ITEMS]
    eta = eta + [rows[f"{name}.1", "~1", ""] for name in ITEMS]
    wide = frame.set_index(["person", "wave"])[ITEMS].unstack("wave").swaplevel(axis=1)
    total = None
    for t in range(1, occasions + 1):
        y = wide[t].to_numpy()[:, None, :]
        given = np.where(np.isnan(y), 0, -np.logaddexp(0, np.where(y == 1, -eta, eta))).sum(-1)
        if total is None:
            total = given - grid**2 / 2 - np.log(2 * np.pi) / 2
        else:
            mean = rows[f"F1.{t}", "~1", ""] + rows[f"F1.{t}", "~", f"F1.{t - 1}"] * grid[:, None]
            variance = rows[f"F1.{t}", "~~", f"F1.{t}"]
            step = -((grid - mean) ** 2) / (2 * variance) - np.log(2 * np.pi * variance) / 2
            total = logsumexp(total[:, :, None] + step, axis=1) + given
        total = total + np.log(grid[1] - grid[0])
    return float(logsumexp(total, axis=1).sum())


def test_a_simulated_autoregression_is_found():
    frame, _ = simulated(1000, 4, 3, absent=0.1)
    fit = jl.IRT("2pl", occasions="wave").fit(frame, jl.MarginalML(se="none"))
    found = fit.parameters[fit.parameters["label"] != ""].drop_duplicates("label").set_index("label")["est"]
    assert fit.converged and isinstance(fit.engine.integration, jl.ImportanceSampling)
    assert abs(found["autoregression"] - 0.7) < 0.05 and abs(found["innovation"] - 0.6) < 0.25
    assert np.abs(fit.factor_means.to_numpy().ravel() - [0, 0.25, 0.425, 0.5475]).max() < 0.15
    assert abs(fit.log_likelihood - exact_log_likelihood(frame, fit, 4)) < 0.5


def test_likelihood_and_scores_are_those_of_a_double_integral(two):
    """On a grid of 121 x 121 points in NumPy, at the estimates."""
    frame, _, fit = two
    rows = fit.parameters.set_index(["lhs", "op", "rhs"])["est"]
    mean, carried, variance = rows["F1.2", "~1", ""], rows["F1.2", "~", "F1.1"], rows["F1.2", "~~", "F1.2"]
    grid = np.linspace(-7, 7, 121)
    a, b = np.meshgrid(grid, grid, indexing="ij")
    prior = -(a**2) / 2 - (b - mean - carried * a) ** 2 / (2 * variance)
    prior = prior - logsumexp(prior)
    slopes, d = fit.loadings.to_numpy(), fit.intercepts.to_numpy().ravel()
    np.testing.assert_array_equal(slopes[:4, 0], slopes[4:, 1])
    np.testing.assert_array_equal(d[:4], d[4:])
    given = {}
    for row in frame.itertuples():
        y = np.array([getattr(row, name) for name in ITEMS])
        eta = grid[:, None] * slopes[:4, 0] + d[:4]
        each = np.where(np.isnan(y), 0, np.log(expit(np.where(y == 1, eta, -eta)))).sum(1)
        given.setdefault(row.person, np.zeros((2, 121)))[row.wave - 1] = each
    log_joint = {who: prior + each[0][:, None] + each[1] for who, each in given.items()}
    total = sum(logsumexp(each) for each in log_joint.values())
    assert abs(fit.log_likelihood - total) < 1e-3 and abs(total - exact_log_likelihood(frame, fit, 2)) < 1e-3
    own = fit.log_likelihoods()
    assert set(own.index) == set(given) and abs(own.sum() - total) < 1e-3
    assert fit.scores().index.equals(frame.index)
    scores = fit.scores()["F1"].to_numpy()
    for k, row in enumerate(frame.head(40).itertuples()):
        joint = np.exp(log_joint[row.person] - logsumexp(log_joint[row.person]))
        assert abs(scores[k] - (joint * (a, b)[row.wave - 1]).sum()) < 1e-3


def test_scores_of_new_persons_are_rows_as_they_came(two):
    frame, _, fit = two
    some = frame[frame["person"] < 20]
    expected = fit.scores().loc[some.index]
    pd.testing.assert_frame_equal(fit.scores(some.rename(columns=str)), expected, atol=1e-6)
    indexed = some.set_index(["person", "wave"])
    np.testing.assert_allclose(
        jl.IRT("2pl", occasions="wave").fit(frame.set_index(["person", "wave"])).scores(indexed), expected, atol=1e-5
    )
    empty = some.head(2).assign(**dict.fromkeys(ITEMS, np.nan))
    assert fit.scores(empty).notna().all().all()


def test_what_else_a_fit_of_occasions_gives(two, tmp_path):
    frame, _, fit = two
    draws = fit.plausible_values(2)
    assert draws.index.names == ["row", "draw"] and len(draws) == 2 * len(frame) and list(draws) == ["F1"]
    new = fit.simulate(5, key=3)
    assert list(new) == ["person", "wave", *ITEMS] and len(new) == 10 and new["wave"].isin([1, 2]).all()
    assert "at 2 occasions (of 'wave'): 1, 2" in fit.notes[0] and "'person'" in fit.notes[0]
    stationary = fit.wald_test("autoregression * autoregression + innovation == 1")
    assert stationary["df"] == 1 and stationary["stat"] >= 0
    loaded = jl.load(fit.save(tmp_path / "two.latent", include_data=True))
    pd.testing.assert_frame_equal(loaded.scores(), fit.scores())
    pd.testing.assert_frame_equal(loaded.scores(frame.head()), fit.scores(frame.head()))
    assert loaded.spec.occasions == (None, "wave")
    fit.plot.wright_map(factor="F1.2"), fit.plot.latent()


# ---- the table ------------------------------------------------------------------------------------------------------

LINES = "A =~ y1 + y2\nB =~ y3 + y4"


def free_of(model: jl.IRT, frame: pd.DataFrame, **options: str) -> tuple[int, pd.DataFrame]:
    table = model.parameter_table(frame, **options)
    return int(table["free"].max()), table[table["op"] == "~"]


def test_parameters_are_those_of_items_and_of_the_transition():
    frame, _ = simulated(60, 3, 5)
    latent = jl.latent.Autoregressive
    kinds = {
        "one factor": (jl.IRT("2pl", occasions="wave"), 8 + 2 + 1 + 1),
        "no means": (jl.IRT("2pl", occasions="wave", latent=latent(means=False)), 8 + 1 + 1),
        "free at all lags": (jl.IRT("2pl", occasions="wave", latent=latent(equal=())), 8 + 2 + 2 + 2),
        "rasch": (jl.IRT("rasch", occasions="wave"), 4 + 1 + 2 + 1 + 1),
        "two factors": (jl.IRT("2pl", LINES, occasions="wave"), 8 + 1 + 4 + 4 + 3),
        "orthogonal": (jl.IRT("2pl", LINES + "\nA ~~ 0*B", occasions="wave"), 8 + 4 + 4 + 2),
        "own lags": (jl.IRT("2pl", LINES, occasions="wave", latent=latent(cross_lagged=False)), 8 + 1 + 4 + 2 + 3),
        "covariate": (jl.IRT("2pl", occasions="wave", covariates=["z"]), 8 + 1 + 2 + 1 + 1 + 1),
    }
    frame["z"] = frame["person"] % 7
    for name, (model, expected) in kinds.items():
        assert free_of(model, frame if name == "covariate" else frame.drop(columns="z"))[0] == expected, name
    carried = free_of(kinds["two factors"][0], frame)[1]
    assert sorted(set(carried["label"])) == [
        "autoregression_A", "autoregression_B", "cross_lagged_A_B", "cross_lagged_B_A",
    ]  # fmt: skip
    assert set(zip(carried["lhs"], carried["rhs"], strict=True)) == {
        (f"{a}.{t}", f"{b}.{t - 1}") for a in "AB" for b in "AB" for t in (2, 3)
    }


def test_groups_have_transitions_of_their_own_unless_they_are_made_equal():
    frame, _ = simulated(80, 2, 6)
    frame["g"] = np.where(frame["person"] % 2, "u", "v")
    apart = jl.IRT("2pl", occasions="wave")
    equal = jl.IRT("2pl", occasions="wave", group_equal=("loadings", "intercepts", "regressions"))
    assert free_of(apart, frame, group="g")[0] == 2 * (8 + 3)
    assert free_of(equal, frame, group="g")[0] == 8 + 2 + (1 + 1) + 2 + 1  # the second group's mean and variance


def test_occasions_are_ordered_as_their_values_are():
    frame, _ = simulated(60, 3, 5)
    as_text = frame.assign(wave="t" + (frame["wave"] * 5).astype(str))
    days = frame.assign(wave=pd.to_datetime("2024-01-31") + pd.to_timedelta(30 * frame["wave"], unit="D"))
    named = pd.Categorical.from_codes(frame["wave"] - 1, ["before", "after", "later"], ordered=True)
    for given, labels in [
        (as_text, ["t5", "t10", "t15"]),
        (days, ["2024-03-01", "2024-03-31", "2024-04-30"]),
        (frame.assign(wave=named), ["before", "after", "later"]),
    ]:
        rows = jl.IRT("2pl", occasions=("person", "wave")).parameter_table(given)
        assert list(rows.loc[rows["op"] == "~", "rhs"]) == [f"F1.{label}" for label in labels[:-1]]


# ---- bad input ------------------------------------------------------------------------------------------------------

BAD = {
    "one occasion": (lambda f: f[f["wave"] == 1], {}, "'wave' has one value only.*leave occasions out"),
    "twice": (lambda f: pd.concat([f, f.head(1)]), {}, "two rows of the occasion '.' .*keep one"),
    "no column": (lambda f: f, {"occasions": "time"}, "occasion variable 'time' is not in the data"),
    "no person": (lambda f: f.drop(columns="person"), {}, "persons of the rows in a column 'person'.*found neither"),
    "no order": (lambda f: f.assign(wave=np.where(f["wave"] == 1, "pre", "post")), {}, "texts whose order is not"),
    "mixed": (lambda f: f.assign(wave=f["wave"].astype(object).where(f["wave"] == 1, None)), {}, "'wave' is missing"),
    "a wave each": (lambda f: f.assign(wave=np.arange(len(f))), {}, "has 120 different values in 120 rows"),
    "an array": (lambda f: f.to_numpy(), {}, "expected a frame with a row for each person and occasion"),
    "exploratory": (lambda f: f, {"factors": 2}, "With occasions expected one factor"),
    "regressions": (lambda f: f, {"factors": LINES + "\nB ~ A"}, "'B.* ~ A.*' relates factors of one occasion"),
    "a flow": (lambda f: f, {"latent": jl.latent.Flow()}, "With occasions expected latent=jl.latent.Autoregressive"),
    "one name": (lambda f: f, {"occasions": ("wave", "wave")}, "different columns for person and occasion"),
    "an item": (lambda f: f, {"factors": "F =~ y1 + y2 + wave"}, "'wave' says who or when"),
    "a covariate": (lambda f: f.assign(z=f["wave"] * 1.0), {"covariates": ["z"]}, "covariate 'z' of the person ."),
    "not linked": (
        lambda f: f.assign(y1=f["y1"].where(f["wave"] == 1), y2=f["y2"].where(f["wave"] == 1),
                           y3=f["y3"].where(f["wave"] == 2), y4=f["y4"].where(f["wave"] == 2)),
        {}, "No item among y1, y2, y3, y4 was answered both at the occasion '2' and at one linked to '1'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    change, options, sentence = BAD[name]
    frame = change(simulated(60, 2, 7)[0])
    with pytest.raises(ValueError, match=sentence):
        jl.IRT("2pl", **{"occasions": "wave", **options}).fit(frame)


def test_bad_options():
    with pytest.raises(ValueError, match="names in equal among regressions, innovations; got 'means'"):
        jl.latent.Autoregressive(equal=("means",))
    with pytest.raises(ValueError, match="is for several occasions: give their column"):
        jl.IRT("2pl", latent=jl.latent.Autoregressive())
    with pytest.raises(ValueError, match="widths of layers"):
        jl.guides.Recurrent(hidden=())
    with pytest.raises(ValueError, match="without occasions"):
        jl.fit_batch(jl.IRT("2pl", occasions="wave"), np.zeros((2, 30, 4)))


def test_an_unknown_occasion_is_not_scored(two):
    frame, _, fit = two
    with pytest.raises(ValueError, match=r"The occasion '3' of 'wave' was not fitted; those are 1, 2\."):
        fit.scores(frame.assign(wave=3).drop_duplicates("person"))


def test_an_item_that_is_not_given_at_an_occasion_is_missing_by_design():
    frame, _ = simulated(60, 2, 8)
    frame["y1"] = frame["y1"].where(frame["wave"] == 1)
    bound = jl.IRT("2pl", occasions="wave").bind(frame)
    assert bound.model.n_occasions == 2 and not bound.arrays.observed[:, 4].any()


# ---- recurrent guides -----------------------------------------------------------------------------------------------


def test_markov_normal_is_a_normal_distribution():
    import jax

    from jaxlatent.guides.markov_normal import MarkovNormal
    from jaxlatent.guides.recurrent import markov_parts

    keys = jax.random.split(jax.random.key(0), 5)
    shapes = [(3, 4, 2), (3, 4, 2), (3, 4, 1), (3, 3, 2, 2)]
    q = MarkovNormal(*(np.asarray(0.4 * jax.random.normal(k, s)) for k, s in zip(keys, shapes, strict=False)))

    @jax.jit
    def found(q):
        x = q.sample(keys[4], (20_000,))
        return x, q.log_prob(x[:10]), q.mean, q.covariance_matrix

    x, log_prob, mean, cov = (np.asarray(a, float) for a in found(q))
    for k in range(3):
        np.testing.assert_allclose(log_prob[:, k], multivariate_normal(mean[k], cov[k]).logpdf(x[:10, k]), atol=1e-3)
    np.testing.assert_allclose(np.cov(x[:, 0].T), cov[0], atol=0.15)
    np.testing.assert_allclose(np.linalg.inv(cov[0])[:2, 4:], 0, atol=1e-3)
    parts = markov_parts(cov[0], 4)
    np.testing.assert_allclose(parts["carried"], q.carried[0], atol=1e-4)
    np.testing.assert_allclose(parts["log_diagonal"], q.log_diagonal[0], atol=1e-4)


def test_a_recurrent_guide_sees_occasions_and_no_missing_cell():
    from dataclasses import replace

    import jax

    frame, _ = simulated(40, 3, 9, absent=0.2)
    bound = jl.IRT("2pl", occasions="wave").bind(frame)
    arrays = bound.arrays
    changed = replace(arrays, y=np.where(arrays.observed, arrays.y, 1))
    last = replace(arrays, observed=np.asarray(arrays.observed) & (np.arange(12) < 8))
    drawn = jax.jit(lambda guide, params, arrays: guide.distribution(params, arrays))
    for bidirectional in (True, False):
        guide = jl.guides.Recurrent(hidden=(4, 4), bidirectional=bidirectional).bind(bound.model, arrays)
        start = jax.jit(guide.init)(jax.random.key(0))
        loud = {**start, "weights": 0 * start["weights"],
                "network": jax.tree.map(lambda a: a + 0.1, start["network"])}  # fmt: skip
        q = drawn(guide, loud, arrays)
        assert q.mean.shape == (bound.arrays.n_persons, 3) and q.mean.dtype == np.float32
        np.testing.assert_array_equal(q.mean, drawn(guide, loud, changed).mean)
        moved = np.abs(q.mean - drawn(guide, loud, last).mean).max(0) > 1e-6
        assert moved.tolist() == [bidirectional, bidirectional, True]
    plain = jl.guides.Amortized().bind(bound.model, arrays)
    moments = jax.jit(lambda guide, params: (q := guide.distribution(params, arrays)) and (q.mean, q.covariance_matrix))
    expected, got = moments(plain, jax.jit(plain.init)(jax.random.key(0))), moments(guide, start)
    np.testing.assert_allclose(got[0], expected[0], atol=0.1)
    np.testing.assert_allclose(got[1], expected[1], atol=0.1)
    with pytest.raises(ValueError, match=r"goes through the occasions.*guides.Amortized"):
        jl.guides.Recurrent().bind(jl.IRT("2pl").bind(frame[ITEMS]).model, arrays)


def test_amortized_inference_ends_where_quadrature_does(two, tmp_path):
    frame, _, fit = two
    engine = jl.AmortizedVI(guide=jl.guides.Recurrent(hidden=(8,)), max_epochs=4)
    amortized = jl.IRT("2pl", occasions="wave").fit(frame, engine)
    away = (amortized.parameters["est"] - fit.parameters["est"]) / fit.parameters["se"].replace(0, 1)
    assert np.abs(away).max() < 0.01
    value, error, _ = amortized.log_likelihood_estimate
    assert error < 1 and abs(value - fit.log_likelihood) < 4 * error + 0.05
    loaded = jl.load(amortized.save(tmp_path / "amortized.latent"))
    np.testing.assert_allclose(loaded.scores(frame.head()), amortized.scores(frame.head()))


def test_the_pair_of_a_model_of_occasions_goes_through_them():
    import jax
    from numpyro.infer import SVI
    from optax import adam

    frame, _ = simulated(40, 3, 9, absent=0.2)
    bound = jl.IRT("2pl", occasions="wave").bind(frame)
    pair = jl.numpyro_pair(bound)
    svi = SVI(pair.model, pair.guide, adam(1e-3), jl.ImportanceWeightedELBO(particles=2, estimator="dreg"))
    params = jax.eval_shape(lambda arrays: svi.get_params(svi.init(jax.random.key(0), arrays)), bound.arrays)
    assert "forward0" in params["guide"]["network"]


@pytest.mark.study
def test_amortized_inference_alone_finds_the_autoregression():
    frame, x = simulated(1000, 4, 3)
    model = jl.IRT("2pl", occasions="wave")
    exact = model.fit(frame, jl.MarginalML(jl.AdaptiveGaussHermite(5)))
    fit = model.fit(frame, jl.AmortizedVI(polish=False))
    assert isinstance(fit.engine.guide, jl.guides.Recurrent)
    found, best = (f.parameters.set_index(["lhs", "op", "rhs"]) for f in (fit, exact))
    assert abs(found.loc[("F1.2", "~", "F1.1"), "est"] - 0.7) < 0.05
    away = ((found["est"] - best["est"]) / best["se"].where(best["se"] > 0)).dropna()
    assert np.sqrt((away**2).mean()) < 0.7
    scores = fit.scores(return_se=True)
    missed = (scores["F1"] - x[frame["person"], frame["wave"] - 1]) / scores["F1_se"]
    assert abs(np.mean(missed**2) - 1) < 0.1
    value, error, _ = fit.log_likelihood_estimate
    assert value < exact.log_likelihood + 4 * error and value > exact.log_likelihood - 2


# ---- deep models ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linear(two):
    """A linear decoder is the item response model."""
    frame = two[0]
    engine = jl.AmortizedVI(guide=jl.guides.Recurrent(hidden=(8,)), max_epochs=80)
    return frame, jl.VAE(1, "2pl", decoder="linear", occasions="wave").fit(frame, engine)


def test_a_linear_decoder_is_the_item_response_model(two, linear):
    (_, _, exact), (frame, fit) = two, linear
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
    assert filled["y1"].between(0, 1).all() and filled.notna().all().all()
    np.testing.assert_array_equal(filled["y4"][some["y4"].notna()], some["y4"].dropna())
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
    params = {**model.layout.unpack(model.layout.start), **jax.jit(model.networks)(jax.random.key(0))}
    x = np.random.default_rng(0).normal(size=(4, 2))
    wide = [np.concatenate([np.zeros((4, 2 * t)), x, np.zeros((4, 4 - 2 * t))], 1).astype("float32") for t in range(3)]
    expected = jax.jit(model.measurement.expected)
    at = [np.asarray(expected(params, each, np.zeros(4, int))) for each in wide]
    for t in range(3):
        np.testing.assert_allclose(at[t][:, 5 * t : 5 * t + 5], at[0][:, :5], atol=1e-5)
    assert np.abs(at[1][:, :5] - at[0][:, :5]).max() > 1e-3
    assert model.n_latent == 6 and model.n_occasions == 3
    index = model.layout.index
    assert len(np.unique(index["regressions"][index["regressions"] >= 0])) == 4
    guide = jl.guides.Recurrent(hidden=(4,)).bind(model, bound.arrays)
    assert np.abs(guide.weights).sum() > 0  # principal components of one occasion, the same at each
    q = jax.eval_shape(lambda: guide.distribution(guide.init(jax.random.key(0)), bound.arrays).mean)
    assert q.shape == (40, 6)


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
