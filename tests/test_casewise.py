"""Full information from incomplete rows: against autodiff of a loop over rows, and in its special cases."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.data.incomplete import CaseArrays, cases_of, joined, missing_positions
from jaxlatent.data.responses import Responses
from jaxlatent.inference import casewise_model, saturated
from jaxlatent.inference.casewise_model import CasewiseModel, casewise_first, casewise_second
from jaxlatent.inference.casewise_sums import casewise_sums, factor_sums, saturated_information_of
from jaxlatent.inference.saturated import em_step, pack_moments, saturated_first, saturated_second
from jaxlatent.models.casewise import gram_matrices, log_likelihood, moment_scores, saturated_information
from jaxlatent.models.casewise_objective import CasewiseProblem, fiml_first, fiml_second
from jaxlatent.models.cells import cells_of
from jaxlatent.numerics.masked import Cases
from jaxlatent.spec.layout import layout_of, unpack
from jaxlatent.spec.start import starting_values
from jaxlatent.spec.table import build_table

P = 5
THREE = "visual =~ x1 + x2 + x3\ntextual =~ x4 + x5 + x6\nspeed =~ x7 + x8 + x9"
NINE = [f"x{k}" for k in range(1, 10)]


def incomplete(n, share=0.25, *, p=P, seed=0, patterns=None, weight=False, groups=1):
    """Rows of one factor with missing cells, every row observed somewhere; few patterns where asked for."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((n, 1)) * 0.8 + 0.6 * rng.standard_normal((n, p)) + np.arange(p)
    holes = rng.uniform(size=(n if patterns is None else patterns, p)) < share
    holes[:, 0] &= holes[:, 1:].sum(1) < p - 1
    holes = holes if patterns is None else holes[rng.integers(patterns, size=n)]
    y[holes] = np.nan
    w = rng.uniform(0.3, 2, n) if weight else None
    w = w if w is None else w * n / w.sum()
    group = rng.integers(groups, size=n).astype(np.int32)
    names = tuple(f"x{k + 1}" for k in range(p))
    return Responses(y, names, group, tuple("ab"[:groups]), weight=w, index=np.arange(n))


def cases(data, g=0, *, single=False):
    return tuple(Cases(*bucket) for bucket in cases_of(data, g, single=single))


def point(p=P, seed=1):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((p, 2 * p))
    return np.arange(p) + 0.3 * rng.standard_normal(p), a @ a.T / (2 * p) + 0.2 * np.eye(p)


def plain(data, mu, sigma, g=0):
    """Minus log-likelihood, each row by the observed block of its own covariance matrix."""
    rows = data.rows_of(g)
    y, seen = np.nan_to_num(data.y[rows]), ~np.isnan(data.y[rows])
    w = np.ones(len(rows)) if data.weight is None else data.weight[rows]

    def row(y, seen):
        block = jnp.where(seen[:, None] & seen, sigma, jnp.eye(len(y)))
        e = jnp.where(seen, y - mu, 0)
        return (seen.sum() * jnp.log(2 * jnp.pi) + jnp.linalg.slogdet(block)[1] + e @ jnp.linalg.solve(block, e)) / 2

    return w @ jax.vmap(row)(y, seen)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


DATA = {
    "single rows": incomplete(25),
    "weights": incomplete(25, weight=True, seed=2),
    "patterns": incomplete(40, patterns=4, seed=3),
    "weighted patterns": incomplete(40, patterns=4, seed=4, weight=True),
}


@functools.cache
def autodiff(name):
    """Value, gradient and Hessian over (mu, vech Sigma) of the plain likelihood."""
    data = DATA[name]
    with jax.enable_x64(True):
        x = pack_moments(*point())
        low = np.tril_indices(P)

        def function(x):
            half = jnp.zeros((P, P)).at[low].set(x[P:])
            return plain(data, x[:P], half + jnp.tril(half, -1).T)

        both = jax.jit(lambda x: (*jax.value_and_grad(function)(x), jax.hessian(function)(x)))
        return tuple(np.asarray(v) for v in both(x))


# ---- the kernels ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DATA)
def test_value_gradient_and_information(name):
    data, (mu, sigma) = DATA[name], point()
    value, gradient, hessian = autodiff(name)
    buckets = cases(data)
    assert (buckets[0].scatter is not None) == ("patterns" in name)
    sums = jax.jit(log_likelihood)(mu, sigma, buckets)
    np.testing.assert_allclose(sums.value, value, rtol=1e-12)
    half = np.asarray(sums.d_cov) - np.diag(np.diagonal(sums.d_cov)) / 2
    np.testing.assert_allclose(pack_moments(sums.d_mean, half), gradient, rtol=1e-9, atol=1e-9)
    information = saturated_information(jax.jit(gram_matrices)(mu, sigma, buckets))
    np.testing.assert_allclose(information, hessian, rtol=1e-9, atol=1e-9 * np.abs(hessian).max())
    n = sum(float(c.n.sum()) for c in buckets)
    x = pack_moments(mu, sigma)
    host = cases_of(data, 0)
    first, second = saturated_first(host, x), saturated_second(host, x)
    np.testing.assert_allclose(first[0] * n, value, rtol=1e-12)
    np.testing.assert_allclose(first[1] * n, gradient, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(second[0] * n, hessian, rtol=1e-9, atol=1e-9 * np.abs(hessian).max())


@pytest.mark.parametrize("name", ["patterns", "weighted patterns"])
def test_patterns_are_rows(name):
    """Whole patterns and single rows: the same sums, the same EM moments, the same information."""
    data, (mu, sigma) = DATA[name], point()
    forms = [cases(data), cases(data, single=True)]
    assert forms[0][0].scatter is not None
    assert forms[1][0].scatter is None
    whole, rows = (jax.jit(log_likelihood)(mu, sigma, form) for form in forms)
    for field, value in whole._asdict().items():
        np.testing.assert_allclose(value, getattr(rows, field), rtol=1e-10, atol=1e-10, err_msg=field)
    whole, rows = (jax.jit(gram_matrices)(mu, sigma, form) for form in forms)
    for field, value in whole._asdict().items():
        np.testing.assert_allclose(value, getattr(rows, field), rtol=1e-10, atol=1e-10, err_msg=field)


def test_scores_of_persons():
    """Each row's gradient; their sum is the gradient of all."""
    data, (mu, sigma) = DATA["single rows"], point()
    case = Cases(*CaseArrays(np.ones(len(data.y)), data.y, None, missing_positions(data.y)))
    found = np.asarray(jax.jit(moment_scores)(mu, sigma, case))
    np.testing.assert_allclose(found.sum(0), -autodiff("single rows")[1], rtol=1e-9, atol=1e-9)
    seen = np.flatnonzero(~np.isnan(data.y[0]))
    want = np.zeros(P)
    want[seen] = np.linalg.solve(sigma[np.ix_(seen, seen)], (data.y[0] - mu)[seen])
    np.testing.assert_allclose(found[0, :P], want, rtol=1e-9, atol=1e-12)


def test_expected_information_given_the_patterns():
    """sum over rows of P and 1/2 D'(P kron P)D, and nothing between means and covariances."""
    data, (mu, sigma) = DATA["patterns"], point()
    low = np.tril_indices(P)
    duplication = np.zeros((P * P, len(low[0])))
    for k, (i, j) in enumerate(zip(*low, strict=True)):
        duplication[[P * i + j, P * j + i], k] = 1
    want = np.zeros((P + len(low[0]),) * 2)
    for y in data.y:
        o = np.flatnonzero(~np.isnan(y))
        inverse = np.zeros((P, P))
        inverse[np.ix_(o, o)] = np.linalg.inv(sigma[np.ix_(o, o)])
        want[:P, :P] += inverse
        want[P:, P:] += duplication.T @ np.kron(inverse, inverse) @ duplication / 2
    found = saturated_information_of(cases_of(data, 0), mu, sigma, expected=True)
    np.testing.assert_allclose(found, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", DATA)
def test_em_never_loses(name):
    """The likelihood rises with every step, and ends where the gradient is zero."""
    buckets = cases(DATA[name])
    mu, sigma = point()
    value = jax.jit(lambda mu, sigma: log_likelihood(mu, sigma, buckets).value)
    values = [float(value(mu, sigma))]
    for _ in range(30):
        mu, sigma = em_step(cases_of(DATA[name], 0), mu, sigma)
        values.append(float(value(mu, sigma)))
    assert (np.diff(values) <= 1e-10).all()
    assert values[-1] < values[0] - 1


def test_more_rows_than_a_chunk():
    """Rows beyond 256 in one bucket: their sums are the sums of the parts."""
    data, (mu, sigma) = incomplete(700, seed=5), point()
    buckets = cases(data, single=True)
    assert max(len(c.n) for c in buckets) > 256
    parts = [data.take(np.arange(len(data.y)) % 3 == k) for k in range(3)]
    whole = jax.jit(log_likelihood)(mu, sigma, buckets)
    likelihood, matrices = jax.jit(log_likelihood), jax.jit(gram_matrices)
    sums = [likelihood(mu, sigma, cases(part)) for part in parts]
    for field in ("value", "d_mean", "d_cov"):
        total = sum(getattr(s, field) for s in sums)
        np.testing.assert_allclose(getattr(whole, field), total, rtol=1e-10, atol=1e-9)
    grams = [matrices(mu, sigma, form) for form in (buckets, *map(cases, parts))]
    for field in grams[0]._fields:
        total = sum(getattr(g, field) for g in grams[1:])
        np.testing.assert_allclose(getattr(grams[0], field), total, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("weight", [False, True])
def test_large_data_block_by_block(weight, monkeypatch):
    """Rows read where they are, in blocks whose last overlaps: the sums and both kinds of information are the same."""
    data, at = incomplete(700, 0.4, p=9, seed=9, weight=weight), point(9)
    plain = cases_of(data, 0)
    monkeypatch.setattr("jaxlatent.data.incomplete.LARGE", 1)
    monkeypatch.setattr("jaxlatent.data.incomplete.BLOCK", 150)
    large = cases_of(data, 0)
    assert [type(bucket).__name__ for bucket in large] == ["LargeCases"] * len(plain)
    assert [bucket.width for bucket in large] == [bucket.width for bucket in plain]
    assert all(bucket.mean is large[0].mean for bucket in large)
    for here, there in zip(casewise_sums(*at, large), casewise_sums(*at, plain), strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-11, atol=1e-9)
    for expected in (False, True):
        here, there = (saturated_information_of(form, *at, expected=expected) for form in (large, plain))
        np.testing.assert_allclose(here, there, rtol=1e-11, atol=1e-11 * np.abs(there).max())


def test_cases_of_weight_zero_count_for_nothing():
    """At the end, where they are not looked at, and in between."""
    data, (mu, sigma) = incomplete(300, seed=10), point()
    (whole,) = cases(data, single=True)
    n = np.where((np.arange(len(whole.n)) < 190) & (np.arange(len(whole.n)) != 40), whole.n, 0)
    kept = cases(data.take(n[:300] > 0), single=True)
    for function in (log_likelihood, gram_matrices):
        here, there = (jax.jit(function)(mu, sigma, form) for form in ((whole._replace(n=n),), kept))
        for field, value in here._asdict().items():
            np.testing.assert_allclose(value, getattr(there, field), rtol=1e-10, atol=1e-9, err_msg=field)


# ---- the structured objective ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 2])
def test_structured_derivatives(groups):
    """A factor model with a regression and ties between groups, on incomplete rows."""
    data = incomplete(30, seed=6, groups=groups)
    labels = ("1",) if groups == 1 else ("a", "b")
    options = {"mean_structure": True, "groups": labels, "group_equal": ("loadings",) if groups > 1 else ()}
    table = build_table("f =~ x1 + x2 + x3\nx4 ~ f\nx5 ~ x4 + f", fixed_x=False, **options)
    data = Responses(data.y[:, [data.names.index(v) for v in table.observed]], table.observed, data.group, labels)
    layout = layout_of(table)
    moments = np.nanmean(data.y, 0)[None].repeat(groups, 0), np.diag(np.nanvar(data.y, 0))[None].repeat(groups, 0)
    free = starting_values(layout, *moments) + np.random.default_rng(1).uniform(-0.1, 0.1, table.n_free)
    every = tuple(cases(data, g) for g in range(groups))
    used, n = np.ones(table.n_free), float(len(data.y))
    problem = CasewiseProblem(cells_of(layout, table.n_free), layout.index, layout.fixed, used, every, n)

    def function(x):
        params = unpack(layout.index, layout.fixed, x)
        total = 0.0
        for g in range(groups):
            one = {k: v[g] for k, v in params.items()}
            effects = one["loadings"] @ jnp.linalg.inv(jnp.eye(one["regressions"].shape[0]) - one["regressions"])
            sigma = effects @ one["factor_cov"] @ effects.T + one["residual_cov"]
            total += plain(data, one["intercepts"] + effects @ one["factor_means"], sigma, g)
        return total / len(data.y)

    value, gradient = jax.jit(fiml_first)(problem, free)
    hessian, _ = jax.jit(fiml_second)(problem, free)
    want = jax.jit(lambda x: (*jax.value_and_grad(function)(x), jax.hessian(function)(x)))(jnp.asarray(free))
    np.testing.assert_allclose(value, want[0], rtol=1e-12)
    np.testing.assert_allclose(gradient, want[1], atol=1e-9)
    np.testing.assert_allclose(hessian, want[2], atol=1e-9 * np.abs(want[2]).max())


# ---- fits -----------------------------------------------------------------------------------------------------------


@functools.cache
def holzinger(share=0.1, seed=0):
    """The real data with cells removed at random."""
    frame = jl.datasets.load("holzinger_swineford")
    rng = np.random.default_rng(seed)
    frame[NINE] = frame[NINE].mask(rng.uniform(size=(len(frame), 9)) < share)
    return frame


@functools.cache
def full_information(**options):
    return jl.SEM(THREE).fit(holzinger(), **options)


def test_complete_rows_are_their_moments():
    """At the fit of the moments of complete rows the casewise likelihood is the same, and its gradient is zero."""
    frame = jl.datasets.load("holzinger_swineford")
    moments = jl.SEM(THREE, mean_structure=True).fit(frame)
    fitted = moments._fitted
    problem = CasewiseProblem(
        cells_of(fitted.layout, fitted.table.n_free),
        fitted.layout.index,
        fitted.layout.fixed,
        np.ones(fitted.table.n_free),
        (cases(fitted.data),),
        301.0,
    )
    value, gradient = jax.jit(fiml_first)(problem, fitted.free)
    assert -301 * float(value) == pytest.approx(moments.log_likelihood, abs=1e-8)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_log_likelihood_is_that_of_the_rows():
    fit = full_information()
    mean, cov = fit.implied()
    y = holzinger()[NINE].to_numpy()
    data = Responses(y, tuple(NINE), np.zeros(len(y), np.int32), ("1",), index=np.arange(len(y)))
    assert len(np.unique(np.isnan(y), axis=0)) > 50
    assert fit.log_likelihood == pytest.approx(-float(plain(data, mean.to_numpy(), cov.to_numpy())), abs=1e-8)
    assert fit.log_likelihoods().sum() == pytest.approx(fit.log_likelihood, abs=1e-8)


def test_nothing_nearby_is_better():
    fit = full_information()
    free, vcov = fit._fitted.free, fit.vcov().to_numpy()
    root = np.linalg.cholesky(vcov)
    rng, buckets, likelihood = np.random.default_rng(0), cases(fit._fitted.data), jax.jit(log_likelihood)
    for _ in range(10):
        moved = fit._fitted.layout.unpack(free + 0.05 * root @ rng.standard_normal(len(free)))
        one = {k: np.asarray(v)[0] for k, v in moved.items()}
        sigma = one["loadings"] @ one["factor_cov"] @ one["loadings"].T + one["residual_cov"]
        mu = one["intercepts"] + one["loadings"] @ one["factor_means"]
        assert -float(likelihood(mu, sigma, buckets).value) < fit.log_likelihood


def test_rows_twice_and_weights_of_two():
    """Every row given twice is every row with weight one, twice: the same estimates, half the variances."""
    frame = holzinger()
    rng = np.random.default_rng(0)
    double = frame.assign(w=np.where(rng.uniform(size=len(frame)) < 0.5, 2.0, 1.0))
    repeated = double.loc[double.index.repeat(double["w"].astype(int))].reset_index(drop=True)
    weighted = jl.SEM(THREE).fit(double, weights="w")
    rows = jl.SEM(THREE).fit(repeated)
    np.testing.assert_allclose(weighted.parameters["est"], rows.parameters["est"], rtol=1e-6, atol=1e-8)
    assert weighted.engine.se == "robust"


def test_groups_without_ties_are_fits_of_their_own():
    """Two groups, nothing equal: each group's estimates are those of its own fit."""
    frame = holzinger()
    both = jl.SEM(THREE).fit(frame, group="school")
    assert both.converged
    total = 0.0
    for label in ("Pasteur", "Grant-White"):
        alone = jl.SEM(THREE).fit(frame[frame["school"] == label])
        ours = both.parameters[both.parameters["group"] == label]
        np.testing.assert_allclose(ours["est"], alone.parameters["est"], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(ours["se"], alone.parameters["se"], rtol=1e-5, atol=1e-7)
        total += alone.log_likelihood
    assert both.log_likelihood == pytest.approx(total, abs=1e-7)


def test_em_alone_where_variables_are_many(monkeypatch):
    """Above the limit of the second-order method EM goes on to the end: the same maximum."""
    data = incomplete(300, 0.1, p=6, seed=7)
    second, value = saturated.saturated_moments(data)
    monkeypatch.setattr(saturated, "SECOND_ORDER_LIMIT", 5)
    alone, other = saturated.saturated_moments(data)
    assert other == pytest.approx(value, abs=1e-8)
    np.testing.assert_allclose(alone.mean, second.mean, atol=1e-7)
    np.testing.assert_allclose(alone.cov, second.cov, atol=1e-7)


def test_many_variables():
    """42 variables, two factors: EM for the saturated model, Newton for ours."""
    rng = np.random.default_rng(8)
    factors = rng.standard_normal((400, 2)) @ np.linalg.cholesky([[1, 0.4], [0.4, 1]]).T
    y = np.repeat(factors, 21, axis=1) * 0.7 + 0.7 * rng.standard_normal((400, 42))
    y[rng.uniform(size=y.shape) < 0.03] = np.nan
    names = [f"y{k}" for k in range(42)]
    fit = jl.SEM(f"f =~ {' + '.join(names[:21])}\ng =~ {' + '.join(names[21:])}").fit(pd.DataFrame(y, columns=names))
    assert fit.converged
    measures = fit.fit_measures()
    assert measures["df"] == 42 * 43 / 2 - 85
    assert measures["unrestricted_logl"] > measures["logl"]
    assert measures["rmsea"] < 0.05
    assert fit.factor_cov.loc["f", "g"] / np.sqrt(np.prod(np.diag(fit.factor_cov))) == pytest.approx(0.4, abs=0.15)


def test_two_stage_rests_on_saturated_moments():
    """The first stage's moments are those of full information; the second fits them as if they were complete."""
    fit, whole = jl.SEM(THREE).fit(holzinger(), missing="robust_two_stage"), full_information()
    mine, theirs = fit.residuals("raw"), whole.residuals("raw")
    np.testing.assert_allclose(mine[NINE] + fit.implied()[1], theirs[NINE] + whole.implied()[1], atol=1e-9)
    moments = jl.Moments((theirs[NINE] + whole.implied()[1]) * 301 / 300, 301, mean=np.zeros(9), names=NINE)
    plainly = jl.SEM(THREE, mean_structure=True).fit(moments)
    ours = fit.parameters[fit.parameters["op"] != "~1"]
    np.testing.assert_allclose(ours["est"], plainly.parameters["est"][: len(ours)], rtol=1e-6)
    assert (fit.engine.se, fit.engine.test) == ("robust_two_stage", "satorra_bentler")


# ---- by factors -----------------------------------------------------------------------------------------------------

TWO = "f =~ x1 + x2 + x3 + x4 + x5 + x6\ng =~ x7 + x8 + x9 + x10 + x11 + x12\ng ~ f"


def two_factors(n, share, seed=0):
    """Twelve items of two factors with missing cells: nearly as many patterns as rows."""
    rng = np.random.default_rng(seed)
    f = rng.standard_normal(n)
    g = 0.5 * f + rng.standard_normal(n)
    y = np.repeat(np.stack([f, g], axis=1), 6, axis=1) * rng.uniform(0.6, 1.2, 12) + rng.standard_normal((n, 12))
    y[rng.uniform(size=y.shape) < share] = np.nan
    return pd.DataFrame(y, columns=[f"x{k + 1}" for k in range(12)])


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("share", [0.15, 0.3, 0.6])
def test_by_factors_is_the_same(share, large, monkeypatch):
    """Value, gradient and Hessian by factors are those by missing blocks, whatever is missing."""
    if large:
        monkeypatch.setattr("jaxlatent.data.incomplete.LARGE", 1)
        monkeypatch.setattr("jaxlatent.data.incomplete.BLOCK", 150)
    fit = jl.SEM(TWO).fit(two_factors(400, 0.3))
    layout = fit._fitted.layout
    data = Responses.from_frame(two_factors(400, share, seed=1), fit._fitted.table.observed)
    made = (cases_of(data, 0),)
    plain = CasewiseModel(layout, made, float(len(data.y)))
    factors = plain._replace(cases=(joined(made[0]),), factors=2)
    free = fit._fitted.free * np.random.default_rng(2).uniform(0.8, 1.2, len(fit._fitted.free))
    for first, second in zip(casewise_first(plain, free), casewise_first(factors, free), strict=True):
        np.testing.assert_allclose(second, first, rtol=1e-8, atol=1e-12)
    for first, second in zip(casewise_second(plain, free), casewise_second(factors, free), strict=True):
        np.testing.assert_allclose(second, first, rtol=1e-8, atol=1e-10)


def test_fits_by_factors(monkeypatch):
    """Where more variables are missing than there are factors the fit goes by factors, and is the same fit."""
    used = []
    monkeypatch.setattr(casewise_model, "factor_sums", lambda *a: used.append(1) or factor_sums(*a))
    frame = two_factors(600, 0.5, seed=3)
    fit = jl.SEM(TWO).fit(frame)
    assert used
    monkeypatch.setattr(CasewiseModel, "by_factors", lambda *_: None)
    other = jl.SEM(TWO).fit(frame)
    assert fit.converged
    assert other.converged
    assert fit.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-8)
    np.testing.assert_allclose(fit.parameters["est"], other.parameters["est"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(fit.parameters["se"], other.parameters["se"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("more", "share", "by"),
    [("", 0.5, True), ("\nx1 ~~ x2", 0.5, False), ("\nx1 ~~ 0*x1", 0.5, False), ("", 0.02, False)],
)
def test_when_by_factors(more, share, by, monkeypatch):
    """Not with correlated or fixed zero residuals, nor where few patterns are shared by many."""
    seen = []
    whole = CasewiseModel.by_factors
    monkeypatch.setattr(CasewiseModel, "by_factors", lambda *a: seen.append(whole(*a)) or seen[-1])
    jl.SEM(TWO + more).fit(two_factors(400, share, seed=4))
    assert (seen[0] is not None) == by


def test_negative_variances_are_not_lost():
    """A Heywood case has no factor form at its maximum: it is fitted by missing blocks."""
    rng = np.random.default_rng(5)
    loadings = np.array([1.1, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7])
    sigma = np.outer(loadings, loadings) + np.diag([-0.1] + [0.51] * 7)
    y = rng.multivariate_normal(np.zeros(8), sigma, 800)
    y[rng.uniform(size=y.shape) < 0.4] = np.nan
    frame = pd.DataFrame(y, columns=[f"x{k + 1}" for k in range(8)]).dropna(how="all")
    with pytest.warns(jl.ModelWarning, match="Heywood"):
        fit = jl.SEM("f =~ " + " + ".join(frame.columns)).fit(frame)
    assert fit.converged
    assert fit.parameters["est"][fit.parameters["op"] == "~~"].min() < 0
