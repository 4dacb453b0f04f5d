"""The engine on moments: exact derivatives against autodiff of a plain implementation, programs, codes, invariances."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jaxlatent as jl
from jaxlatent.data.moments import GroupMoments
from jaxlatent.inference.fitting import moment_layout, moment_problem
from jaxlatent.inference.moment_model import normal_weight
from jaxlatent.models import moments_objective
from jaxlatent.models.moments_objective import least_squares, maximum_likelihood
from jaxlatent.spec.layout import unpack
from jaxlatent.spec.table import build_table

THREE = "visual =~ x1 + x2 + x3\ntextual =~ x4 + x5 + x6\nspeed =~ x7 + x8 + x9\n"
MODELS = {
    "factors": ("f =~ x1 + x2 + x3\ng =~ x3 + x4 + x5 + x6\nx1 ~~ x4", {}),
    "regressions": ("f =~ x1 + x2 + x3\ng =~ x4 + x5 + x6\ng ~ f + x7\nx7 ~ x1", {"fixed_x": False}),
    "feedback and ties": ("f =~ a*x1 + a*x2 + b*x3\ng =~ x4 + b*x5 + x6\ng ~ c*f\nf ~ d*g\nx1 ~~ v*x1\nx2 ~~ v*x2", {}),
    "means": ("f =~ x1 + x2 + x3 + x4\nf ~ 1\nx1 ~ 0*1\nx5 ~ f + 1\nx5 ~~ x2", {"mean_structure": True}),
    "growth": ("i =~ 1*x1 + 1*x2 + 1*x3 + 1*x4\ns =~ 0*x1 + 1*x2 + 2*x3 + 3*x4\ns ~ i\nx5 ~ s", {"growth": True}),
    "groups": ("f =~ x1 + x2 + x3\ng =~ x4 + x5 + x6\ng ~ f", {"mean_structure": True, "groups": ("a", "b")}),
    "tied groups": (
        "f =~ x1 + x2 + x3\ng =~ x4 + x5 + x6",
        {"mean_structure": True, "groups": ("a", "b"), "group_equal": ("loadings", "intercepts")},
    ),
}


@pytest.fixture(scope="module", autouse=True)
def holzinger():
    return jl.datasets.load("holzinger_swineford")


@functools.cache
def setting(name):
    """A problem with random moments and a random point near its start."""
    syntax, options = MODELS[name]
    table = build_table(syntax, **options)
    p, groups = len(table.observed), table.n_groups
    rng = np.random.default_rng(len(syntax))
    a = rng.standard_normal((groups, p, 3 * p))
    cov = a @ np.swapaxes(a, 1, 2) / (3 * p)
    moments = GroupMoments(rng.standard_normal((groups, p)), cov, np.array([120, 200][:groups]), table.observed)
    layout = moment_layout(table, moments)
    with jax.enable_x64(True):
        problem = moment_problem(layout, moments, table.mean_structure)
    start = np.asarray(problem.start)
    free = start * rng.uniform(0.9, 1.1, len(start)) + np.asarray(problem.used) * rng.uniform(-0.03, 0.03, len(start))
    return table, problem, free


def plain_moments(problem, free):
    """nu + Lambda (I - B)^-1 alpha and Lambda (I - B)^-1 Psi (I - B)^-T Lambda' + Theta, as written."""
    params = unpack(problem.where, problem.fixed, free)
    out = []
    for g in range(problem.mean.shape[0]):
        one = {k: v[g] for k, v in params.items()}
        total = one["loadings"] @ jnp.linalg.inv(jnp.eye(one["regressions"].shape[0]) - one["regressions"])
        out.append(
            (one["intercepts"] + total @ one["factor_means"], total @ one["factor_cov"] @ total.T + one["residual_cov"])
        )
    return out


def plain_ml(problem, free):
    value = 0.0
    for g, (mu, sigma) in enumerate(plain_moments(problem, free)):
        s, r = problem.cov[g], problem.mean[g] - mu
        k = jnp.linalg.inv(sigma)
        log_det = jnp.linalg.slogdet(sigma)[1] - jnp.linalg.slogdet(s)[1]
        value += problem.weight[g] * (log_det + jnp.trace(s @ k) + r @ k @ r - len(r)) / 2
    return value


def plain_ls(problem, free):
    value = 0.0
    for g, (mu, sigma) in enumerate(plain_moments(problem, free)):
        low = np.tril_indices(len(mu))
        r = jnp.concatenate([problem.mean[g] - mu, (problem.cov[g] - sigma)[low]])
        w = problem.extra[g]
        value += problem.weight[g] * r @ (w * r if w.ndim == 1 else w @ r) / 2
    return value


def weighted(problem, kind):
    p, groups = problem.mean.shape[1], problem.mean.shape[0]
    size = p + p * (p + 1) // 2
    rng = np.random.default_rng(3)
    if kind == "diagonal":
        return problem._replace(extra=jnp.asarray(rng.uniform(0.2, 2, (groups, size))))
    full = np.stack([normal_weight(np.linalg.inv(s), True) for s in np.asarray(problem.cov)])
    return problem._replace(extra=jnp.asarray(full))


def close(ours, theirs):
    """1e-9, relative to the largest number."""
    theirs = np.asarray(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9 * max(1, np.abs(theirs).max()))


OBJECTIVES = {
    "ml": (maximum_likelihood, plain_ml),
    "diagonal": (least_squares, plain_ls),
    "full": (least_squares, plain_ls),
}


WITH_DIAGONAL = ("means", "tied groups")
PAIRS = [(name, kind) for name in MODELS for kind in OBJECTIVES if kind != "diagonal" or name in WITH_DIAGONAL]


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_derivatives_are_exact(name, kind):
    """Value, gradient and Hessian are those of the plain formula; the expected Hessian is that at a perfect fit."""
    _, problem, free = setting(name)
    ours, plain = OBJECTIVES[kind]
    with jax.enable_x64(True):
        problem = problem if kind == "ml" else weighted(problem, kind)
        found = jax.jit(ours)(problem, free)
        n = int(np.asarray(problem.used).sum())

        def at(problem, x):
            return plain(problem, jnp.asarray(free).at[:n].set(x))

        @jax.jit
        def derivatives(problem, x):
            value, gradient = jax.value_and_grad(at, 1)(problem, x)
            perfect = plain_moments(problem, jnp.asarray(free).at[:n].set(x))
            mean, cov = (jnp.stack(parts) for parts in zip(*perfect, strict=True))
            ideal = problem._replace(mean=mean, cov=cov)
            return value, gradient, jax.hessian(at, 1)(problem, x), jax.hessian(at, 1)(ideal, x)

        value, gradient, hessian, expected = derivatives(problem, free[:n])
    close(found.value, value)
    close(found.gradient[:n], gradient)
    close(found.hessian[:n, :n], hessian)
    close(found.expected[:n, :n], expected)
    assert not np.asarray(found.gradient[n:]).any()
    np.testing.assert_array_equal(found.hessian[n:], np.eye(len(free))[n:])
    np.testing.assert_array_equal(found.expected[n:], np.eye(len(free))[n:])


def test_eager_and_batched_are_compiled():
    """jit = eager, vmap = a loop."""
    _, problem, free = setting("factors")
    with jax.enable_x64(True):
        points = free + 0.02 * np.asarray(problem.used) * np.arange(3)[:, None]
        compiled = [jax.jit(maximum_likelihood)(problem, x) for x in points]
        eager = maximum_likelihood(problem, points[1])
        batched = jax.jit(jax.vmap(maximum_likelihood, (None, 0)))(problem, points)
    for field, alone in eager._asdict().items():
        close(alone, getattr(compiled[1], field))
        for i in range(3):
            close(getattr(batched, field)[i], getattr(compiled[i], field))


# ---- programs -------------------------------------------------------------------------------------------------------


def test_five_models_of_one_shape_compile_once(holzinger, monkeypatch, compiled):
    """Other factors, cross-loadings, fixed values, ties and orthogonality are data: the objective is traced once."""
    traced = []

    def counted(problem, free):
        traced.append(free.shape)
        return maximum_likelihood(problem, free)

    monkeypatch.setattr("jaxlatent.inference.fitting.maximum_likelihood", counted)
    models = [
        jl.SEM(THREE),
        jl.SEM("g =~ x1 + x2 + x3 + x4 + x5 + x6 + x7 + x8 + x9"),
        jl.SEM(THREE + "visual =~ x9\nx2 ~~ x7"),
        jl.SEM(THREE.replace("x2", "0.5*x2").replace("x8", "a*x8").replace("x9", "a*x9"), orthogonal=True),
        jl.SEM("a =~ x1 + x2 + x3 + x4 + x5 + x6\nb =~ x7 + x8 + x9", std_lv=True),
    ]
    with compiled() as names:
        fits = [model.fit(holzinger) for model in models]
    assert all(fit.converged for fit in fits)
    assert len({fit.fit_measures()["npar"] for fit in fits}) == 5
    assert len(traced) == 1
    assert names.count("run") == 1


def test_other_sample_sizes_compile_nothing(holzinger, compiled):
    model = jl.SEM(THREE)
    model.fit(holzinger)
    with compiled() as names:
        model.fit(holzinger.iloc[:200])
        model.fit(holzinger, jl.ML(likelihood="wishart"))
        model.fit(jl.Moments(holzinger[[f"x{k}" for k in range(1, 10)]].cov(), 150))
    assert "run" not in names


# ---- how it ends ----------------------------------------------------------------------------------------------------


def test_converges_quadratically(holzinger):
    fit = jl.SEM(THREE).fit(holzinger)
    assert fit.converged
    assert fit.message == "Converged."
    assert fit.n_iterations <= 8
    assert fit.log_likelihood == pytest.approx(-3737.7449, abs=1e-4)


def test_a_model_that_is_not_identified_says_which_parameters(holzinger):
    """A factor without a scale: its loadings, its variance and covariances; no standard errors."""
    with pytest.warns(jl.ModelWarning, match="not identified"):
        fit = jl.SEM(THREE.replace("visual =~ x1", "visual =~ NA*x1")).fit(holzinger)
    assert "visual =~ x1" in fit.message
    assert "textual" not in fit.message.split("determine")[1].split(";")[0].replace("visual ~~ textual", "")
    assert fit.parameters["se"].isna().any()


def test_a_bad_start_is_refused_in_a_sentence(holzinger):
    with pytest.raises(ValueError, match="positive definite"):
        jl.SEM(THREE + "x1 ~~ start(-5)*x1").fit(holzinger)


def test_step_limit_is_a_code(holzinger, monkeypatch):
    monkeypatch.setattr("jaxlatent.inference.fitting.MAX_STEPS", 2)
    with pytest.warns(jl.ModelWarning, match="limit of steps"):
        fit = jl.SEM(THREE).fit(holzinger)
    assert not fit.converged
    assert fit.n_iterations == 2
    assert "NOT converged" in repr(fit)


# ---- invariances ----------------------------------------------------------------------------------------------------

NINE = [f"x{k}" for k in range(1, 10)]
quick = settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
nine = lambda each: st.lists(each, min_size=9, max_size=9)  # noqa: E731


@quick
@given(nine(st.floats(-1.4, 1.4)), nine(st.sampled_from([-1.0, 1.0])))
def test_chi_square_does_not_depend_on_units(holzinger, powers, signs):
    """Variables in other units and reversed: the same chi-square, the same standardized solution up to sign."""
    scale = 10.0 ** np.array(powers) * np.array(signs)
    rescaled = pd.DataFrame(holzinger[NINE].to_numpy() * scale, columns=NINE)
    model = jl.SEM(THREE, std_lv=True)
    fit, base = (model.fit(jl.Moments(frame.cov(), 301)) for frame in (rescaled, holzinger[NINE]))
    assert fit.converged
    assert fit.fit_measures()["chisq"] == pytest.approx(base.fit_measures()["chisq"], rel=1e-7)
    np.testing.assert_allclose(fit.parameters["std_all"].abs(), base.parameters["std_all"].abs(), atol=1e-5)


@quick
@given(st.permutations(NINE), st.integers(0, 10_000))
def test_marker_std_lv_and_effect_coding_are_one_model(holzinger, order, seed):
    """Three ways to give factors a scale, indicators in any order: one likelihood, one standardized solution."""
    rows = holzinger.sample(250, random_state=seed)
    groups = [order[0:3], order[3:6], order[6:9]]
    if any(len({(int(v[1]) - 1) // 3 for v in g}) != 1 for g in groups):
        groups = [sorted(NINE[3 * k : 3 * k + 3], key=order.index) for k in range(3)]
    syntax = "\n".join(f"f{k} =~ {' + '.join(g)}" for k, g in enumerate(groups))
    moments = jl.Moments(rows[NINE].cov(), 250)
    fits = [jl.SEM(syntax, **options).fit(moments) for options in ({}, {"std_lv": True}, {"effect_coding": True})]
    for fit in fits[1:]:
        assert fit.log_likelihood == pytest.approx(fits[0].log_likelihood, abs=1e-6)
        theirs = fits[0].parameters["std_all"].abs()
        np.testing.assert_allclose(fit.parameters["std_all"].abs(), theirs, atol=1e-4)


def test_plain_functions_are_what_is_tested():
    """The objective in use is the one whose derivatives are checked here."""
    assert moments_objective.maximum_likelihood is maximum_likelihood
