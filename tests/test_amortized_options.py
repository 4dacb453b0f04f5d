"""AmortizedVI: linear constraints, annealing, averaging, networks of items, and what else is optional."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxlatent as jl
from jaxlatent.inference.amortized_loop import Pace, Trainer
from jaxlatent.inference.amortized_training import SETTLE, Course, Plan, judge, pace_of

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
