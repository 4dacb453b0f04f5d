"""Item families: log-probabilities, derivatives, information, draws, and mirt's answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit

from jaxlatent.data.arrays import Arrays
from jaxlatent.measurement.family import Family, ItemParameter, free
from jaxlatent.measurement.graded import Graded
from jaxlatent.measurement.item_types import ITEM_TYPES, family_of
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.measurement.nominal import Nominal
from jaxlatent.numerics.log_probability import NEVER, log1mexp, rising_gammaln, softplus

CATEGORIES = {"rasch": 4, "graded": 4, "grsm": 4, "gpcm": 4, "pcm": 4, "rsm": 4, "nominal": 4, "ogive": 4}
BINARY_TOO = [(name, 2) for name in ("rasch", "ogive", "nominal", "grsm", "rsm")]
CASES = [(name, CATEGORIES.get(name, 2)) for name in ITEM_TYPES] + BINARY_TOO
CATEGORICAL = [(name, k) for name, k in CASES if family_of(name, k).categorical]
OTHERS = [(name, k) for name, k in CASES if not family_of(name, k).categorical]
EXTREME = (-100.0, -30.0, -3.0, 0.0, 0.7, 3.0, 30.0, 100.0)


def matrices(n_categories, width=None, dtype=None):
    """Named matrices of two items [1, 2, cell]; the second has one category less where there are more than two."""
    width = width or n_categories - 1
    d = np.full((1, 2, width), NEVER)
    d[0, 0, : n_categories - 1] = np.linspace(1.2, -0.9, n_categories - 1)
    less = max(n_categories - 2, 1)
    d[0, 1, :less] = np.linspace(0.4, -1.1, less)
    scoring = np.zeros((1, 2, width + 1))
    scoring[0, 0, :n_categories] = np.arange(n_categories) + 0.3 * (np.arange(n_categories) % 2)
    scoring[0, 1, : less + 1] = np.arange(less + 1)
    params = {
        "loadings": [[[1.3], [0.8]]],
        "intercepts": d,
        "spacing": d,
        "shift": [[[0.0], [-0.4]]],
        "scoring": scoring,
        "guessing": [[[0.2], [0.0]]],
        "upper": [[[0.9], [1.0]]],
        "dispersion": [[[0.6], [0.15]]],
    }
    return {name: jnp.asarray(np.asarray(value), dtype) for name, value in params.items()}


def grid(dtype, values=EXTREME):
    return jnp.asarray(np.repeat(np.array(values)[:, None, None], 2, -1), dtype)  # [point, 1, item]


def responses(family, own, point):
    """Every response [response, 1, item] the second item can have too."""
    if family.categorical:
        return np.arange(max(family.n_categories(own) - 1, 2)).repeat(2).reshape(-1, 1, 2)
    return np.array([1, 3, 40]).repeat(2).reshape(-1, 1, 2)


@pytest.mark.parametrize(("name", "k"), CATEGORICAL)
@pytest.mark.parametrize("x64", [False, True])
def test_probabilities_sum_to_one(name, k, x64):
    with jax.enable_x64(x64):
        family, dtype = family_of(name, k), jnp.float64 if x64 else jnp.float32
        own = family.item_params(matrices(k, dtype=dtype))
        each = family.probabilities(grid(dtype), own)
        assert each.shape == (len(EXTREME), 1, 2, k) and each.dtype == dtype
        np.testing.assert_allclose(each.sum(-1), 1, rtol=1e-13 if x64 else 3e-6)
        if k > 2:
            np.testing.assert_array_equal(each[..., 1, -1], 0)  # the category the second item lacks


@pytest.mark.parametrize(("name", "k"), CASES)
@pytest.mark.parametrize("x64", [False, True])
def test_values_and_derivatives_are_finite_and_keep_their_type(name, k, x64):
    with jax.enable_x64(x64):
        family, dtype = family_of(name, k), jnp.float64 if x64 else jnp.float32
        params, eta = matrices(k, dtype=dtype), grid(dtype)
        own = family.item_params(params)
        for y in responses(family, own, eta):
            for answers in (jnp.asarray(y, jnp.int8), jnp.asarray(y, dtype)):
                value = family.log_prob(eta, own, answers)
                assert value.dtype == dtype and value.shape == eta.shape and np.isfinite(value).all()

            def total(params, eta, y=y):
                return family.log_prob(eta, family.item_params(params), jnp.asarray(y, jnp.int8)).sum()

            by_params, by_eta = jax.grad(total, (0, 1))(params, eta)
            assert np.isfinite(by_eta).all() and by_eta.dtype == dtype
            assert all(np.isfinite(each).all() for each in by_params.values())
            second = jax.jvp(jax.grad(lambda at: total(params, at)), (eta,), (jnp.ones_like(eta),))[1]
            assert np.isfinite(second).all()
        for answer in (family.information(eta, own), family.expected(eta, own)):
            assert answer.dtype == dtype and answer.shape == eta.shape and not np.isnan(answer).any()
        draw = family.sample(jax.random.key(0), eta[2:6], own)
        assert draw.dtype == dtype and draw.shape == eta[2:6].shape


@pytest.mark.parametrize(("name", "k"), CASES)
def test_single_precision_agrees_with_double(name, k):
    def at(dtype):
        family = family_of(name, k)
        own = family.item_params(matrices(k, dtype=dtype))
        eta = grid(dtype, (-12.0, -3.0, -1.2, 0.0, 0.4, 2.0, 6.0))
        y = jnp.asarray(responses(family, own, eta)[1])
        score = jax.grad(lambda eta: family.log_prob(eta, own, y).sum())(eta)
        return np.asarray(family.log_prob(eta, own, y)), np.asarray(score)

    with jax.enable_x64(True):
        value, score = at(jnp.float64)
    for got, want in zip(at(jnp.float32), (value, score), strict=True):
        np.testing.assert_allclose(got, want, rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_padding_for_larger_items_changes_nothing(name, k):
    """Matrices as wide as another family's items need give the same answers."""
    with jax.enable_x64(True):
        family, eta = family_of(name, k), grid(jnp.float64, (-2.0, 0.3, 1.0))
        plain, wide = (family.item_params(matrices(k, width)) for width in (None, 6))
        for y in responses(family, plain, eta):
            want, got = (family.log_prob(eta, own, jnp.asarray(y)) for own in (plain, wide))
            np.testing.assert_allclose(got, want, rtol=1e-14)
        np.testing.assert_allclose(family.expected(eta, wide), family.expected(eta, plain), rtol=1e-13)
        np.testing.assert_allclose(family.information(eta, wide), family.information(eta, plain), rtol=1e-13)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_missing_cells_leave_no_trace(name, k):
    """A cell that is masked outside holds 0: neither the value nor a derivative notices."""
    with jax.enable_x64(True):
        family, params = family_of(name, k), matrices(k)
        eta, observed = grid(jnp.float64, (0.5, -30.0)), jnp.array([[True, False]])

        def total(params, eta, y):
            each = family.log_prob(eta, family.item_params(params), y)
            return jnp.where(observed, each, 0).sum()

        value, (by_params, by_eta) = jax.value_and_grad(total, (0, 1))(params, eta, jnp.array([[1, 0]]))
        assert np.isfinite(value) and (by_eta[..., 1] == 0).all() and np.isfinite(by_eta).all()
        own_rows = [row.matrix for row in family.item_parameters(k) if not row.shared]
        assert all(np.isfinite(by_params[name]).all() and (by_params[name][:, 1] == 0).all() for name in own_rows)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_one_pick_serves_all_particles(name, k):
    """Leading axes of eta and persons of their own parameters broadcast."""
    family, params = family_of(name, k), matrices(k)
    own = {key: jnp.repeat(value, 5, 0) for key, value in family.item_params(params).items()}  # [person, item, ...]
    eta = jax.random.normal(jax.random.key(1), (3, 5, 2))
    y = jnp.ones((5, 2), jnp.int8)
    together = family.log_prob(eta, own, y)
    assert together.shape == (3, 5, 2)
    single = family.log_prob(eta[1, 2:3], family.item_params(params), y[2:3])
    np.testing.assert_allclose(together[1, 2:3], single, rtol=1e-5, atol=1e-6)
    assert family.log_prob(eta[:, :1], own, y).shape == (3, 5, 2)  # one x for all persons
    each = family.log_prob(eta, own, jnp.broadcast_to(y, eta.shape))  # responses of their own for each particle
    np.testing.assert_allclose(each, together, rtol=1e-5, atol=1e-6)
    for answer in (family.expected(eta[:, :1], own), family.sample(jax.random.key(0), eta[:, :1], own)):
        assert answer.shape == (3, 5, 2)
    assert family.information(eta[:, :1], own).shape == (3, 5, 2)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_information_is_the_expected_squared_score(name, k):
    with jax.enable_x64(True):
        family, points, h = family_of(name, k), (-2.0, -0.3, 0.5, 1.1), 1e-5
        own, eta = family.item_params(matrices(k)), grid(jnp.float64, points)
        answers, measure = support(name, family, own)
        total, mean = np.zeros(eta.shape), np.zeros(eta.shape)
        for y, weight in zip(answers, measure, strict=True):
            at = jnp.full((1, 2), y)
            up, down, here = (np.asarray(family.log_prob(e, own, at)) for e in (eta + h, eta - h, eta))
            total += weight * np.exp(here) * ((up - down) / (2 * h)) ** 2
            mean += weight * np.exp(here) * y
        np.testing.assert_allclose(family.information(eta, own), total, rtol=1e-5)
        np.testing.assert_allclose(family.expected(eta, own), mean, rtol=1e-5)


def support(name, family, own):
    """Values of y, and what each counts in a sum over y."""
    if family.categorical:
        return np.arange(family.n_categories(own)), np.ones(family.n_categories(own))
    if name in ("poisson", "negative_binomial"):
        return np.arange(400), np.ones(400)
    if name == "normal":
        values = np.linspace(-12, 12, 2001)
        return values, np.full(2001, values[1] - values[0])
    logs = np.linspace(-12, 12, 2001)
    return np.exp(logs), np.exp(logs) * (logs[1] - logs[0])


@pytest.mark.parametrize(("name", "k"), CASES)
def test_draws_have_the_distribution(name, k):
    with jax.enable_x64(True):
        family, count = family_of(name, k), 40_000
        own, eta = family.item_params(matrices(k)), jnp.full((count, 1, 2), 0.4)
        y = np.asarray(family.sample(jax.random.key(3), eta, own))[:, 0]
        if family.categorical:
            each = np.asarray(family.probabilities(eta[:1], own))[0, 0]
            got = (y[..., None] == np.arange(each.shape[-1])).mean(0)
            np.testing.assert_allclose(got, each, atol=5 * 0.5 / np.sqrt(count))
            return
        mean = np.asarray(family.expected(eta[:1], own))[0, 0]
        assert (abs(y.mean(0) - mean) < 5 * y.std(0) / np.sqrt(count)).all()
        # the entropy estimated from the draws: the whole distribution, not its mean alone
        log_p = np.asarray(family.log_prob(eta, own, jnp.asarray(y)[:, None]))[:, 0]
        answers, measure = support(name, family, own)
        exact = np.zeros(2)
        for value, weight in zip(answers, measure, strict=True):
            each = np.asarray(family.log_prob(eta[:1], own, jnp.full((1, 2), value)))[0, 0]
            exact += weight * np.exp(each) * each
        assert (abs(log_p.mean(0) - exact) < 5 * log_p.std(0) / np.sqrt(count)).all()


def test_graded_is_a_difference_of_sigmoids():
    with jax.enable_x64(True):
        own, eta = Graded().item_params(matrices(4)), grid(jnp.float64, (-8.0, -1.0, 0.2, 5.0))
        d = np.asarray(own["intercepts"])[0]
        reach = expit(np.asarray(eta)[..., None] + d)
        reach = np.concatenate([np.ones_like(reach[..., :1]), reach, np.zeros_like(reach[..., :1])], -1)
        np.testing.assert_allclose(Graded().probabilities(eta, own), -np.diff(reach), rtol=1e-10, atol=1e-16)


def test_ordered_ogive_is_a_difference_of_normal_integrals():
    with jax.enable_x64(True):
        family, eta = family_of("ogive", 4), grid(jnp.float64, (-4.0, -1.0, 0.2, 5.0))
        own = family.item_params(matrices(4))
        at = np.asarray(eta)[..., None] + np.asarray(own["intercepts"])[0]
        reach = np.concatenate([np.ones_like(at[..., :1]), stats.norm.cdf(at), np.zeros_like(at[..., :1])], -1)
        np.testing.assert_allclose(family.probabilities(eta, own), -np.diff(reach), rtol=1e-8, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_guessing_none_and_upper_one_are_the_two_parameter_model(dtype):
    """Values and derivatives, also where σ underflows."""
    with jax.enable_x64(dtype == np.float64):
        eta = jnp.asarray(np.linspace(-100, 100, 81)[:, None, None], dtype)
        two, four = family_of("2pl", 2), family_of("4pl", 2)
        one = {"intercepts": 0.3, "guessing": 0.0, "upper": 1.0}
        own = {key: jnp.full((1, 1, 1), value, dtype) for key, value in one.items()}
        tight = 1e-5 if dtype == np.float32 else 1e-13
        for y in (jnp.zeros((1, 1)), jnp.ones((1, 1))):
            for f in (lambda e, family, y=y: family.log_prob(e, own, y), score(own, y)):
                np.testing.assert_allclose(f(eta, four), f(eta, two), rtol=tight, atol=tight)

            def of_guessing(g, e, y=y):
                return four.log_prob(e, own | {"guessing": g}, y).sum()

            slope = [jax.grad(of_guessing)(own["guessing"], e[None]) for e in eta]
            assert np.isfinite(slope).all()
            l = np.linspace(-3, 3, 5)
            got = [jax.grad(of_guessing)(own["guessing"], jnp.full((1, 1, 1), at - 0.3, dtype))[0, 0, 0] for at in l]
            np.testing.assert_allclose(got, np.exp(-l) if y[0, 0] else -np.ones(5), rtol=1e-4)


def score(own, y):
    return lambda eta, family: jax.grad(lambda at: family.log_prob(at, own, y).sum())(eta)


def test_four_parameters_are_written_out_rightly():
    with jax.enable_x64(True):
        family, eta = family_of("4pl", 2), grid(jnp.float64, (-100.0, -5.0, 0.2, 3.0, 100.0))
        own = family.item_params(matrices(2))
        g, u, d = (np.asarray(own[name])[0, :, 0] for name in ("guessing", "upper", "intercepts"))
        p = g + (u - g) * expit(np.asarray(eta) + d)
        np.testing.assert_allclose(family.probabilities(eta, own)[..., 1], p, rtol=1e-12)
        np.testing.assert_allclose(family.probabilities(eta, own)[..., 0], 1 - p, rtol=1e-9, atol=1e-15)


def test_ideal_at_its_point():
    for dtype in (jnp.float32, jnp.float64):
        with jax.enable_x64(dtype == jnp.float64):
            family, eta = family_of("ideal", 2), jnp.zeros((1, 1, 1), dtype)
            own = {"intercepts": jnp.zeros((1, 1, 1), dtype)}
            for y in (0, 1):
                slope = jax.grad(lambda e, y=y: family.log_prob(e, own, jnp.full((1, 1), y)).sum())(eta)  # noqa: B023
                assert np.isfinite(slope).all()
            assert family.information(eta, own)[0, 0, 0] == 2


def test_counts_are_scipys():
    with jax.enable_x64(True):
        params, eta, y = matrices(2), grid(jnp.float64, (-1.0, 0.5, 3.0)), np.array([[7, 2]])
        poisson, negative = family_of("poisson", 2), family_of("negative_binomial", 2)
        mean = np.exp(np.asarray(eta) + np.asarray(params["intercepts"])[0, :, 0])
        r = 1 / np.asarray(params["dispersion"])[0, :, 0]
        got = poisson.log_prob(eta, poisson.item_params(params), jnp.asarray(y))
        np.testing.assert_allclose(got, stats.poisson.logpmf(y, mean), rtol=1e-12)
        got = negative.log_prob(eta, negative.item_params(params), jnp.asarray(y))
        np.testing.assert_allclose(got, stats.nbinom.logpmf(y, r, r / (r + mean)), rtol=1e-12)
        flat = negative.item_params(params | {"dispersion": jnp.full((1, 2, 1), 1e-9)})
        np.testing.assert_allclose(
            negative.log_prob(eta, flat, jnp.asarray(y)), stats.poisson.logpmf(y, mean), rtol=1e-6
        )


def test_elementary_logarithms():
    with jax.enable_x64(True):
        x = jnp.array([-800.0, -30.0, 0.0, 1e-9, 2.0, 800.0])
        np.testing.assert_allclose(softplus(x), np.logaddexp(0, x), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(jax.vmap(jax.grad(jax.grad(softplus)))(jnp.zeros(1)), 0.25)
        at = np.array([1e-20, 1e-3, 0.5, 1.0, 60.0])
        np.testing.assert_allclose(log1mexp(jnp.asarray(at)), np.log(-np.expm1(-at)), rtol=1e-12, atol=1e-25)
        assert log1mexp(jnp.zeros(())) == NEVER
        for r in (0.3, 7.9, 8.1, 1e3):
            want = np.log(r + np.arange(5)).sum() - 5 * np.log(r)
            np.testing.assert_allclose(rising_gammaln(jnp.array(r), jnp.array(5.0)), want, rtol=1e-9)
        assert abs(rising_gammaln(jnp.array(1e12), jnp.array(5.0))) < 1e-10


@pytest.mark.parametrize(("name", "k"), CASES)
def test_rows_and_starting_values(name, k):
    """Starting values are finite, keep fixed cells, lie in their support; at eta = 0 they give what was observed."""
    family = family_of(name, k)
    shares = np.array([0.0, 0.5, 0.2, 0.3])[-k:] if k > 2 else np.array([0.35, 0.65])
    observed = shares / shares.sum() if family.categorical else np.array([2.0, 3.0])
    start = family.start(k, observed)
    rows = family.item_parameters(k)
    assert set(start) == {row.matrix for row in rows}
    assert [row.matrix for row in rows] == [row.matrix for row in family.item_parameters(k + 1)]
    for row in rows:
        value = start[row.matrix]
        assert value.shape == (len(row.cells),) and np.isfinite(value).all()
        fixed = [(v, cell) for v, cell in zip(value, row.cells, strict=True) if cell is not None]
        assert all(v == cell for v, cell in fixed)
        assert row.support != "decreasing" or (np.diff(value) < 0).all()
        assert row.support != "positive" or (value > 0).all()
        assert row.support != "unit" or ((value >= 0) & (value <= 1)).all()
    with jax.enable_x64(True):
        params = {key: jnp.asarray(value)[None, None] for key, value in start.items()}
        params["loadings"] = jnp.ones((1, 1, 1))
        own, eta = family.item_params(params), jnp.zeros((1, 1, 1))
        if family.categorical:
            np.testing.assert_allclose(family.probabilities(eta, own)[0, 0, 0], observed, atol=0.01)
        else:
            at_mean = np.exp(np.log(2) - np.log1p(3 / 4) / 4) if name == "lognormal" else 2
            np.testing.assert_allclose(family.expected(eta, own)[0, 0, 0], at_mean, rtol=1e-6)


def test_names_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"Expected an item type among rasch, .*; got '5pl'"):
        family_of("5pl", 2)
    with pytest.raises(ValueError, match="Expected 2 categories for item type '2pl'; got 4"):
        family_of("2pl", 4)
    with pytest.raises(ValueError, match="Expected at least two categories for item type 'graded'; got 1"):
        family_of("graded", 1)


def test_facts_about_slopes():
    one = {name for name, each in ITEM_TYPES.items() if each.slopes == "one"}
    assert one == {"rasch", "pcm", "rsm", "cloglog"}
    assert {name for name, each in ITEM_TYPES.items() if each.variance_free} == {"rasch", "pcm", "rsm"}
    assert [name for name, each in ITEM_TYPES.items() if each.slopes == "common"] == ["1pl"]


@dataclass(frozen=True)
class Cauchit(Family):
    """A type of one's own: P(y = 1) = 1/2 + arctan(eta + d) / π."""

    fixed_categories: ClassVar[int | None] = 2

    def item_parameters(self, n_categories):
        return (ItemParameter("intercepts", free(1)),)

    def log_prob(self, eta, params, y):
        return jnp.log(0.5 + (2 * y - 1) * jnp.arctan(eta + params["intercepts"][..., 0]) / np.pi)


def test_a_type_of_ones_own_needs_two_methods():
    family, params = Cauchit(), matrices(2, width=4)
    own, eta = family.item_params(params), jnp.zeros((2000, 1, 2))
    p = family.probabilities(eta[:1], own)[0, 0, :, 1]
    np.testing.assert_allclose(family.expected(eta[:1], own)[0, 0], p, rtol=1e-6)
    np.testing.assert_allclose(family.sample(jax.random.key(0), eta, own).mean(0)[0], p, atol=0.05)
    density = 1 / (np.pi * (1 + np.asarray(own["intercepts"])[0, :, 0] ** 2))
    np.testing.assert_allclose(family.information(eta[:1], own)[0, 0], density**2 / (p * (1 - p)), rtol=1e-4)
    np.testing.assert_array_equal(family.start(2, np.array([0.3, 0.7]))["intercepts"], [0.0])


# --- mirt's answers ---------------------------------------------------------------------------------------------------

TYPES = {"2PL": "2pl", "3PL": "3pl", "Rasch": "rasch", "grsmIRT": "grsm", "gpcmIRT": "gpcm"}
REFERENCES = [
    *("m_lsat6_1pl", "m_lsat6_2pl", "m_lsat6_3pl_fixg", "m_lsat6_rasch"),
    *("m_lsat7_1pl", "m_lsat7_2pl", "m_lsat7_3pl_fixg", "m_lsat7_3pl_prior", "m_lsat7_ideal", "m_lsat7_missing"),
    *("m_lsat7_rasch", "m_science_gpcm", "m_science_gpcmirt", "m_science_graded", "m_science_grsm"),
    *("m_science_nominal", "m_science_rasch"),
    *(f"m_lsat7_2pl_se_{kind}" for kind in "central complete crossprod fisher louis oakes sandwich sem".split()),
]


@pytest.mark.parametrize("case", REFERENCES)
def test_mirts_probabilities_information_and_likelihood(shared, case):
    answer = json.loads((shared / "reference" / f"{case}.json").read_text())
    with jax.enable_x64(True):
        family, params, variance = of_mirt(answer)
        own = family.item_params(params)
        slopes = params["loadings"][0, :, 0]

        eta = jnp.asarray(answer["grid"])[:, None, None] * slopes
        want = np.array([item["values"] for item in answer["probtrace"]]).swapaxes(0, 1)
        np.testing.assert_allclose(family.probabilities(eta, own)[:, 0], want, atol=1e-8)
        information = np.asarray(family.information(eta, own) * slopes**2)[:, 0].T
        np.testing.assert_allclose(information, answer["iteminfo"], atol=1e-8)

        y = pd.read_csv(shared / "data" / answer["data"])[answer["itemnames"]].to_numpy(float)
        y = y - np.nanmin(y, 0)
        nodes = np.linspace(-6, 6, 61)
        weights = np.exp(-(nodes**2) / (2 * variance))  # mirt's: equal steps, normal weights that sum to one
        each = family.log_prob(jnp.asarray(nodes)[:, None, None] * slopes, own, jnp.asarray(np.nan_to_num(y)))
        given = np.where(np.isnan(y), 0, each).sum(-1)
        marginal = np.log((np.exp(given) * (weights / weights.sum())[:, None]).sum(0))
        assert marginal.sum() == pytest.approx(answer["fit"]["logLik"], abs=1e-3)


def of_mirt(answer):
    """Our family, our matrices and the latent variance of one of mirt's fits."""
    coef = answer["coef"]
    table = dict(zip(coef["items"]["colnames"], np.array(coef["items"]["values"], float).T, strict=True))
    mirts = answer["itemtype"][0]
    n_categories = answer["fit"]["K"][0]
    slope = table["a1"]

    def columns(stem, numbers):
        return np.stack([table[f"{stem}{k}"] for k in numbers], -1)

    steps = range(1, n_categories)
    if mirts == "gpcmIRT":
        intercepts = -np.cumsum(slope[:, None] * columns("b", steps), -1)
    elif mirts == "grsmIRT":
        intercepts = np.zeros((len(slope), 0))
    else:
        intercepts = table["d"][:, None] if "d" in table else columns("d", steps)
    params = {"loadings": slope[:, None], "intercepts": intercepts}
    if mirts == "3PL":
        params |= {"guessing": table["g"][:, None], "upper": table["u"][:, None]}
    if mirts == "grsmIRT":
        params |= {"spacing": columns("b", steps), "shift": table["c"][:, None]}
    if mirts == "nominal":
        params["scoring"] = columns("ak", range(n_categories))
    family = family_of(TYPES.get(mirts, mirts), n_categories)
    return family, {name: jnp.asarray(value)[None] for name, value in params.items()}, coef["cov"]["values"][0][0]


def test_measurement_takes_families_of_different_widths():
    params = matrices(4)
    both = Measurement(((Nominal(), range(1)), (family_of("2pl", 2), range(1, 2))))
    data = Arrays.of(np.array([[2.0, 1.0], [np.nan, 0.0]], np.float32))
    value = both.log_prob(params, jnp.zeros((3, 2, 1)), data)
    assert value.shape == (3, 2) and np.isfinite(value).all()
    assert both.expected(params, jnp.zeros((3, 2, 1)), data.group).shape == (3, 2, 2)
