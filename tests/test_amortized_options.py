"""AmortizedVI: linear constraints, annealing, averaging, networks of items, and what else is optional."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.inference.amortized_loop import Pace, Trainer
from jaxlatent.inference.amortized_training import SETTLE, Course, Plan, judge, pace_of
from jaxlatent.numerics.networks import MLP, Departure, _white_points

QUICK = {"max_epochs": 6, "se": "none"}


@pytest.fixture(scope="module")
def lsat():
    return jl.datasets.load("lsat7").set_axis(["a", "b", "c", "d", "e"], axis=1)


# ---- linear constraints ---------------------------------------------------------------------------------------------

TIED = "F =~ p*a + q*b + r*c + s*d + t*e\np + q == r + 1\ns == 2*t"


def test_linear_constraints_are_kept(lsat):
    """By training to rounding; and the maximum after second-order steps is MarginalML's, with its errors."""
    model = jl.IRT("2pl", TIED)
    p, q, r, s, t = model.fit(lsat, jl.AmortizedVI(polish=False, **QUICK)).parameters["est"][:5]
    assert abs(p + q - r - 1) < 1e-5 and abs(s - 2 * t) < 1e-5
    found, exact = model.fit(lsat, jl.AmortizedVI(max_epochs=6)), model.fit(lsat)
    assert abs(found.log_likelihood - exact.log_likelihood) < 1e-4
    assert found.fit_measures()["npar"] == 8
    np.testing.assert_allclose(found.parameters["se"], exact.parameters["se"], rtol=0.01)


@pytest.mark.study
def test_variances_can_be_equal_but_not_double(lsat):
    """A mean of positive numbers is positive; other combinations have to stay with MarginalML."""
    two = "F =~ a + b + c\nG =~ d + e\nF ~~ NA*F + v*F\nG ~~ NA*G + w*G\nF ~~ 0*G\nv == "
    fit = jl.IRT("rasch", two + "w").fit(lsat, jl.AmortizedVI(polish=False, **QUICK))
    assert np.ptp(np.diag(fit.factor_cov)) < 1e-6 and fit.factor_cov.iloc[0, 0] > 0
    with pytest.raises(ValueError, match=r"linear constraints on factor_cov only where .* use MarginalML"):
        jl.IRT("rasch", two + "2*w").fit(lsat, jl.AmortizedVI(**QUICK))


# ---- annealing and averaging ----------------------------------------------------------------------------------------


def test_the_pace_of_an_epoch():
    """Weights rise to 1 by the end of annealing; of four settling epochs the last half is averaged."""
    plan = Plan(0.1, 1, 10, 5, 0, annealing=2, averaging=0.5)
    weights = [pace_of(Course(epoch=k), plan, 4).weight for k in range(3)]
    np.testing.assert_allclose(np.concatenate(weights), np.minimum(np.arange(1, 13) / 8, 1))
    late = [pace_of(Course(SETTLE, k, 6, 4), plan, 2).averaged for k in range(6, 10)]
    np.testing.assert_array_equal(np.concatenate(late), [0, 0, 0, 0, 1, 1, 1, 1])
    assert not pace_of(Course(epoch=9), plan, 2).averaged.any()
    assert pace_of(Course(), Plan(0.1, 1, 10, 5, 0), 3)[1:] == (None, None)


def test_looks_while_annealing_are_no_measure():
    """A bound that is far lower when the weight has risen is no fall; from then on it would be."""
    plan, course = Plan(0.1, 1, 30, 5, 0, annealing=3), Course()
    for epoch, held in ((1, -1.0), (3, -1.2), (4, -3.0), (5, -9.0)):
        course.epoch = epoch
        judge(course, plan, -held, np.full(50, held) + np.linspace(0, 0.1, 50))
        assert course.fell is (epoch == 5) and course.stalls == 0
    assert course.is_best and course.best.mean() < -2


def test_the_average_is_that_of_the_steps(lsat):
    """Of a quadratic at a constant rate: the mean of the iterates it was asked for, and nearer to the minimum."""
    trainer = Trainer(lambda _, p, arrays, rows, key: ((p["a"] - arrays[rows].mean()) ** 2).sum(), optax.sgd(0.4))
    state = trainer.start({"a": jnp.zeros(2)}, jax.random.key(0), averaging=True)
    assert np.array_equal(trainer.shown(state)["a"], state.params["a"])
    y, rows = jnp.asarray(np.random.default_rng(0).standard_normal(64)), np.arange(60).reshape(30, 2)
    path, at = [], state
    for k in range(30):
        pace = Pace(np.ones(1, np.float32), None, np.full(1, float(k >= 10), np.float32))
        at, _ = trainer.stretch(None, at, y, rows[k : k + 1], pace)
        path.append(np.asarray(at.params["a"]))
    np.testing.assert_allclose(trainer.shown(at)["a"], np.mean(path[10:], 0), rtol=1e-5)
    assert np.abs(trainer.shown(at)["a"]).max() < np.abs(path[10:]).max()
    assert float(trainer.back(at).averaged) == 0


def test_annealing_and_averaging_recompile_nothing(lsat, compiled):
    """Epochs and shares are data; all but constrained ends of training stay what they are."""
    fit = lambda **more: jl.IRT("2pl").fit(lsat, jl.AmortizedVI(polish=False, **more, **QUICK))  # noqa: E731
    first = fit(annealing=2, averaging=0.5)
    with compiled() as names:
        second = fit(annealing=3, averaging=1.0)
    assert not {"stretch", "watch", "_mean", "start"} & set(names)
    gap = first.parameters["est"] - second.parameters["est"]
    assert 1e-6 < np.abs(gap).max() < 1.0


# ---- networks of items ----------------------------------------------------------------------------------------------

NAMES = [f"i{j + 1}" for j in range(8)]
BENT = {"items": NAMES[:2], "hidden": (8,)}


@pytest.fixture(scope="module")
def bent():
    """Two of eight items are answered by those who are far from the middle."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(1500)
    eta = x[:, None] * np.linspace(1, 2, 8) + np.linspace(-1, 1, 8)
    eta[:, :2] = (0.6 * x + 1.2 * (x**2 - 1))[:, None]
    return pd.DataFrame((rng.random(eta.shape) < 1 / (1 + np.exp(-eta))).astype(float), columns=NAMES)


@pytest.fixture(scope="module")
def decoded(bent):
    return jl.IRT("2pl", decoder=jl.Decoder(**BENT)).fit(bent, jl.AmortizedVI(max_epochs=45))


def test_a_departure_leaves_nothing_of_a_line():
    """Mean 0 and no correlation with x under N(0, I), and 0 for a linear network."""
    z = jax.random.normal(jax.random.key(0), (4, 3, 2))
    line = Departure(MLP(2, (), 3, scale=1.0))
    np.testing.assert_allclose(line.apply(line.init(jax.random.key(0)), z), np.zeros((4, 3, 3)), atol=1e-5)
    bend = Departure(MLP(2, (8,), 3, scale=1.0))
    weights, white = bend.init(jax.random.key(1)), _white_points(2).astype(np.float32)
    at = np.asarray(bend.apply(weights, white))
    assert at.std() > 0.1
    np.testing.assert_allclose(np.concatenate([at.mean(0)[None], white.T @ at / len(at)]), 0, atol=1e-5)


def test_a_network_finds_what_loadings_miss(bent, decoded):
    """At least 150 in log-likelihood over lines; curves of the bent items within .15 of the true ones."""
    line = jl.IRT("2pl").fit(bent, jl.MarginalML(se="none"))
    assert decoded.log_likelihood > line.log_likelihood + 150 and decoded.converged
    x = np.linspace(-1.5, 1.5, 7)
    truth = 1 / (1 + np.exp(-(0.6 * x + 1.2 * (x**2 - 1))))
    sign = np.sign(decoded.loadings.loc["i8", "F1"])
    found = decoded.probabilities(sign * x)
    for name in NAMES[:2]:
        assert np.abs(found.loc[name][1].to_numpy() - truth).max() < 0.15
    expected = decoded.expected_score(x)
    np.testing.assert_allclose(expected["i1"], decoded.probabilities(x).loc["i1"][1], atol=1e-9)
    weights = 8 * 2 + 8 * 2  # of the layer and its biases, and of the last layer
    assert decoded.fit_measures()["npar"] == 16 + weights == line.fit_measures()["npar"] + weights


def test_information_is_that_of_the_slopes(decoded):
    """(P')^2 / (P (1 - P)) of a binary item, P' by differences."""
    x, h = np.array([-1.0, 0.3, 1.2]), 1e-4
    p, up, down = (decoded.probabilities(x + move).loc["i1"][1].to_numpy() for move in (0, h, -h))
    slope = (up - down) / (2 * h)
    np.testing.assert_allclose(decoded.information(x)["i1"], slope**2 / (p * (1 - p)), rtol=1e-4)


def test_what_follows_a_fit_knows_the_networks(bent, decoded, tmp_path):
    """Simulated answers have the bent items' shares given the rest; saved, it scores as before."""
    drawn = decoded.simulate(4000, key=1)
    rest = [frame[NAMES[2:]].sum(axis=1) for frame in (bent, drawn)]
    for low, high in ((0, 0), (3, 3), (6, 6)):
        share = [frame["i1"][r.between(low, high)].mean() for frame, r in zip((bent, drawn), rest, strict=True)]
        assert abs(share[0] - share[1]) < 0.1
    assert (decoded.item_fit()["s_x2_pvalue"] > 1e-4).all() and np.isnan(decoded.fit_measures()["m2"])
    decoded.save(tmp_path / "bent.latent")
    again = jl.load(tmp_path / "bent.latent")
    np.testing.assert_allclose(again.scores(bent[:50]), decoded.scores(bent[:50]), atol=1e-6)
    np.testing.assert_allclose(again.probabilities([0.5]), decoded.probabilities([0.5]), atol=1e-9)
    with pytest.raises(ValueError, match=r"'ml' are for items without networks"):
        decoded.scores(method="ml")
    with pytest.raises(ValueError, match=r"items have networks"):
        decoded.modification_indices()


WRONG = {
    "engine": (
        lambda d: jl.IRT("2pl", decoder=jl.Decoder()).fit(d, jl.MarginalML()),
        "MarginalML takes items with loadings, not networks",
    ),
    "name": (lambda d: jl.IRT("2pl", decoder=jl.Decoder(["zz"])).fit(d), "names 'zz', which is no item"),
    "twice": (lambda d: jl.IRT("2pl", decoder=[jl.Decoder(["i1"]), jl.Decoder(["i1"])]).fit(d), "in two decoders"),
    "type": (lambda d: jl.IRT("grsm", decoder=jl.Decoder(["i1"])).fit(d), "can't have a decoder"),
    "count": (lambda d: jl.IRT("2pl", 2, decoder=jl.Decoder()), "depend on their rotation"),
    "object": (lambda d: jl.IRT("2pl", decoder=3), "Expected decoder as jl.Decoder"),
    "widths": (lambda d: jl.Decoder(hidden=(0,)), "Expected widths of layers"),
    "none": (lambda d: jl.Decoder(items=[]), "got none"),
    "network": (lambda d: jl.Decoder(network=3), "with init and apply"),
}


@pytest.mark.parametrize("name", WRONG)
def test_decoders_that_make_no_sense(name, bent):
    make, sentence = WRONG[name]
    with pytest.raises(ValueError, match=sentence):
        make(bent)


# ---- learned weights ------------------------------------------------------------------------------------------------


def test_weights_of_learned_densities():
    """A mixture has k - 1 means, covariance matrices and shares more than a normal; flows count all they have."""
    assert [jl.latent.Mixture(k).n_weights(d) for k, d in ((1, 3), (2, 1), (3, 2))] == [0, 3, 12]
    learned = jax.tree.leaves(jl.latent.Flow("spline").init(jax.random.key(0), 1))
    assert jl.latent.Flow("spline").n_weights(1) == sum(leaf.size for leaf in learned) > 0
    assert jl.latent.Normal().n_weights(2) == 0
