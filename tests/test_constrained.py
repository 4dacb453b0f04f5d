"""Nonlinear equalities and inequalities: against lavaan, other ways to write the same model, and SLSQP."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.optimize

from jaxlatent.data.moments import sample_moments
from jaxlatent.data.responses import Responses
from jaxlatent.diagnostics.tests_of_fit import standard
from jaxlatent.inference import active_constraints, constrained, fitting
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.information import Inference
from jaxlatent.inference.newton_engine import Newton, run
from jaxlatent.inference.settings import LeastSquares
from jaxlatent.models.moments_objective import maximum_likelihood
from jaxlatent.numerics import sqp
from jaxlatent.numerics.newton import BAD_START, CONVERGED, STEP_LIMIT, STUCK
from jaxlatent.spec.restrictions_matrix import split
from jaxlatent.spec.table import build_table

REGRESSION = "y ~ b1*x1 + b2*x2 + b3*x3\n"
SQUARE = REGRESSION + "b1 == (b2 + b3)^2"


def fit(text: str, frame: pd.DataFrame, engine=None, **options) -> Fitted:
    table = build_table(text, **options)
    return fitting.fit_table(table, Responses.from_frame(frame, table.observed), engine)


def chi_square(fitted: Fitted) -> float:
    return standard(fitted).stat


def messages(fitted: Fitted) -> tuple[str, ...]:
    inequalities = split(fitted.table)[2]
    return active_constraints.active_messages(fitted.table, fitted.estimate, inequalities)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Four variables; least squares slopes near 0.4, 0.5 and 0.45."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(120, 3)) @ np.array([[1, 0.2, 0.1], [0, 1, 0.1], [0, 0, 1]])
    y = x @ [0.4, 0.5, 0.45] + rng.normal(size=120)
    return pd.DataFrame({"y": y, "x1": x[:, 0], "x2": x[:, 1], "x3": x[:, 2]})


@pytest.fixture(scope="module")
def free_fit(frame) -> Fitted:
    return fit(REGRESSION, frame)


@pytest.fixture(scope="module")
def square_fit(frame) -> Fitted:
    return fit(SQUARE, frame)


def regression_optimum(frame: pd.DataFrame, constraints: list[dict]) -> tuple[np.ndarray, float]:
    """Slopes and F_ML (log residual variance, halved, against least squares) under constraints, by SLSQP."""
    x = frame[["x1", "x2", "x3"]].to_numpy() - frame[["x1", "x2", "x3"]].to_numpy().mean(0)
    y = frame["y"].to_numpy() - frame["y"].mean()
    value = lambda b: 0.5 * np.log(((y - x @ b) ** 2).mean())  # noqa: E731
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    slope = lambda b: -(x.T @ (y - x @ b)) / ((y - x @ b) ** 2).sum()  # noqa: E731
    options = {"ftol": 1e-15, "maxiter": 500}
    found = scipy.optimize.minimize(value, best, jac=slope, constraints=constraints, method="SLSQP", options=options)
    return found.x, found.fun - value(best)


# references


def test_nonlinear_equality_is_at_least_as_good_as_lavaan(shared):
    reference = json.loads((shared / "reference" / "g07_nonlinear_equality.json").read_text())
    fitted = fit(reference["model"], pd.read_csv(shared / "data" / reference["data"]))
    assert fitted.estimate.code == CONVERGED
    assert fitted.df == reference["fit"]["df"] == 1
    assert chi_square(fitted) <= reference["fit"]["chisq"] + 1e-7
    assert chi_square(fitted) == pytest.approx(reference["fit"]["chisq"], abs=1e-3)
    assert fitted.log_likelihood >= reference["fit"]["logl"] - 1e-8
    estimate, se = (np.array(reference["parameters"][k][:4]) for k in ("est", "se"))
    off = np.abs(fitted.free - estimate)
    assert (off <= np.maximum(1e-3 * se, 1e-4 * np.abs(estimate))).all()
    b1, b2, b3 = fitted.free[:3]
    assert b1 == pytest.approx((b2 + b3) ** 2, abs=1e-12)
    np.testing.assert_allclose(np.sqrt(np.diag(Inference(fitted).vcov("standard"))), se, rtol=1e-3)


def test_linear_equality_agrees_with_lavaan_and_with_its_nonlinear_spelling(shared):
    reference = json.loads((shared / "reference" / "d06_pd_linear_constraint.json").read_text())
    data = pd.read_csv(shared / "data" / reference["data"])
    linear = fit(reference["model"], data)
    bent = fit(reference["model"].replace("p2 == 0.5*p1", "p2/p1 == 0.5"), data)
    for fitted in (linear, bent):
        assert fitted.estimate.code == CONVERGED
        assert fitted.df == reference["fit"]["df"]
        assert chi_square(fitted) == pytest.approx(reference["fit"]["chisq"], abs=1e-6)
    np.testing.assert_allclose(bent.free, linear.free, rtol=1e-7)


# nonlinear equalities


def test_nonlinear_equality_is_the_reparametrised_model(frame):
    fitted = fit(REGRESSION + "b1 == b2^2\nb2 == 0.5", frame)
    fixed = fit("y ~ 0.25*x1 + 0.5*x2 + b3*x3", frame)
    assert fitted.df == fixed.df == 2
    assert chi_square(fitted) == pytest.approx(chi_square(fixed), abs=1e-10)
    np.testing.assert_allclose(fitted.free, [0.25, 0.5, *fixed.free], rtol=1e-10)


def test_equality_agrees_with_slsqp(frame, square_fit):
    slopes, value = regression_optimum(frame, [{"type": "eq", "fun": lambda b: b[0] - (b[1] + b[2]) ** 2}])
    np.testing.assert_allclose(square_fit.free[:3], slopes, atol=1e-6)
    assert float(square_fit.estimate.statistics["value"]) == pytest.approx(value, abs=1e-10)


def test_multipliers_balance_the_gradient(frame, square_fit):
    """F rises by the multiplier where the constraint is moved."""
    step = 1e-4
    values = []
    for shift in (-step, step):
        constraint = {"type": "eq", "fun": lambda b, shift=shift: b[0] - (b[1] + b[2]) ** 2 - shift}
        values.append(regression_optimum(frame, [constraint])[1])
    slope = (values[1] - values[0]) / (2 * step)
    assert square_fit.estimate.statistics["multipliers"] == pytest.approx([slope], rel=1e-4)


def test_units_do_not_matter(frame, square_fit):
    scaled = fit(REGRESSION + "b1 == 1e7*(1e-4*b2 + 0.1*b3)^2", frame * [1e4, 1e-3, 1.0, 1e3])
    assert scaled.estimate.code == CONVERGED
    assert chi_square(scaled) == pytest.approx(chi_square(square_fit), rel=1e-9)


def test_nonlinear_constraint_can_identify_a_factor():
    rng = np.random.default_rng(3)
    f = rng.normal(size=(200, 1))
    data = pd.DataFrame(f @ [[1, 0.8, 0.9, 0.7]] + rng.normal(size=(200, 4)), columns=["x1", "x2", "x3", "x4"])
    product = fit("f =~ NA*x1 + l1*x1 + l2*x2 + l3*x3 + l4*x4\nl1*l2*l3*l4 == 1", data)
    marker = fit("f =~ x1 + x2 + x3 + x4", data)
    assert product.estimate.code == CONVERGED
    assert product.df == marker.df
    assert chi_square(product) == pytest.approx(chi_square(marker), abs=1e-9)
    assert np.prod(product.free[:4]) == pytest.approx(1, abs=1e-10)


def test_start_without_slope_and_repeated_constraints(frame):
    """Slopes start at zero, where b1*b2 has no gradient; repeated constraints cost nothing."""
    fitted = fit(REGRESSION + "b1*b2 == 0.1\n2*b1*b2 == 0.2", frame)
    assert fitted.estimate.code == CONVERGED
    assert fitted.df == 1
    assert fitted.restrictions.shape == (1, 4)
    _, value = regression_optimum(frame, [{"type": "eq", "fun": lambda b: b[0] * b[1] - 0.1}])
    assert float(fitted.estimate.statistics["value"]) == pytest.approx(value, abs=1e-9)


def test_least_squares_takes_nonlinear_equalities(frame):
    fitted = fit(SQUARE, frame, LeastSquares("gls"))
    assert fitted.estimate.code == CONVERGED
    b1, b2, b3 = fitted.free[:3]
    assert b1 == pytest.approx((b2 + b3) ** 2, abs=1e-12)
    assert fitted.df == 1


@pytest.mark.parametrize("contradiction", ["b1 == b2^2\nb1 == -1", "b1^2 + b2^2 == -0.5"])
def test_contradictory_equalities_end_with_a_code(frame, contradiction):
    fitted = fit(REGRESSION + contradiction, frame)
    assert fitted.estimate.code in (STUCK, STEP_LIMIT)
    assert np.isfinite(fitted.free).all()


def test_start_outside_the_domain_is_a_bad_start():
    smooth = sqp.Smooth(
        lambda x: (x @ x, 2 * x),
        lambda x: (2 * jnp.eye(1), 2 * jnp.eye(1)),
        lambda x: (jnp.log(x), jnp.diag(1 / x)),
        lambda x, m: jnp.diag(-m / x**2),
    )
    state = sqp.sqp_step(smooth, sqp.sqp_init(smooth, jnp.array([-1.0])), 1e-13, 200)
    assert state.code == BAD_START


# inequalities


def test_inactive_inequality_is_the_unconstrained_fit(frame, free_fit):
    fitted = fit(REGRESSION + "b1 > 0\nb1*b2 < 10", frame)
    np.testing.assert_array_equal(fitted.free, free_fit.free)
    np.testing.assert_array_equal(Inference(fitted).vcov("standard"), Inference(free_fit).vcov("standard"))
    assert chi_square(fitted) == chi_square(free_fit)
    assert fitted.df == free_fit.df
    assert fitted.restrictions.shape == (0, 4)
    assert messages(fitted) == ()


def test_active_inequality_is_the_equality_fit_with_unchanged_df(frame, free_fit):
    fitted, equal = fit(REGRESSION + "b1 > 0.6", frame), fit(REGRESSION + "b1 == 0.6", frame)
    assert fitted.estimate.code == CONVERGED
    np.testing.assert_allclose(fitted.free, equal.free, rtol=1e-7)
    np.testing.assert_allclose(Inference(fitted).vcov("standard"), Inference(equal).vcov("standard"), atol=1e-9)
    assert chi_square(fitted) == pytest.approx(chi_square(equal), abs=1e-10)
    assert (fitted.df, equal.df) == (free_fit.df, free_fit.df + 1)
    np.testing.assert_array_equal(fitted.restrictions, [[1, 0, 0, 0]])
    assert fitted.equalities == 0
    (message,) = messages(fitted)
    assert message.startswith("The constraint 'b1 > 0.6' is active") and "degrees of freedom" in message


@pytest.mark.parametrize(
    ("text", "slacks"),
    [
        ("b1 > 0.6\nb2 < 0.3\nb3 > 0", lambda b: [b[0] - 0.6, 0.3 - b[1], b[2]]),
        ("b1 > 0.6\nb1 + b2 > 1.2\nb1 + b2 + b3 > 1.5", lambda b: [b[0] - 0.6, b[0] + b[1] - 1.2, sum(b) - 1.5]),
        ("b1 + b2 > 2\nb1 > 0.5\nb2 > 0.6", lambda b: [b[0] + b[1] - 2, b[0] - 0.5, b[1] - 0.6]),
        ("b1*b2 > 0.4\nb1 > 0.7\nb3 < 2", lambda b: [b[0] * b[1] - 0.4, b[0] - 0.7, 2 - b[2]]),
        ("b1*b2 > 0.6\nb1 > 0.5\nb3 < 2", lambda b: [b[0] * b[1] - 0.6, b[0] - 0.5, 2 - b[2]]),
    ],
)
def test_several_inequalities_agree_with_slsqp(frame, text, slacks):
    """The second to last cases need a constraint that is first added and then dropped."""
    fitted = fit(REGRESSION + text, frame)
    slopes, value = regression_optimum(frame, [{"type": "ineq", "fun": lambda b: np.array(slacks(b))}])
    assert fitted.estimate.code == CONVERGED
    assert fitted.df == 0
    np.testing.assert_allclose(fitted.free[:3], slopes, atol=2e-6)
    assert float(fitted.estimate.statistics["value"]) == pytest.approx(value, abs=1e-9)
    assert (fitted.estimate.statistics["multipliers"] >= 0).all()
    assert len(messages(fitted)) == len(fitted.restrictions)


def test_active_set_is_one_program(frame, compiled):
    """Rounds, bounds and signs are data: affine inequalities of one shape share what is compiled."""
    fit(REGRESSION + "b1 > 0.6\nb2 < 0.3\nb3 > 0", frame)
    with compiled() as names:
        fit(REGRESSION + "b1 + b2 > 2\nb1 - b3 < 0.1\nb2 < 0.9*b3", frame)
    assert "run" not in names


def test_inequalities_with_a_nonlinear_equality(frame):
    fitted = fit(SQUARE + "\nb2 < 0.3", frame)
    constraints = [
        {"type": "eq", "fun": lambda b: b[0] - (b[1] + b[2]) ** 2},
        {"type": "ineq", "fun": lambda b: 0.3 - b[1]},
    ]
    slopes, value = regression_optimum(frame, constraints)
    assert fitted.estimate.code == CONVERGED
    assert (fitted.df, fitted.equalities, len(fitted.restrictions)) == (1, 1, 2)
    np.testing.assert_allclose(fitted.free[:3], slopes, atol=1e-6)
    assert float(fitted.estimate.statistics["value"]) == pytest.approx(value, abs=1e-10)


def test_contradictory_inequalities_end_with_a_code(frame):
    fitted = fit(REGRESSION + "b1 > 1\nb1 < 0.9\nb2 > 0", frame)
    assert fitted.estimate.code in (STUCK, STEP_LIMIT)


def test_bounds_on_variances(frame):
    text = "x1 ~~ v*x1\nx2 ~~ w*x2\nx1 ~~ x2\n"
    sample = np.cov(frame[["x1", "x2"]].T, ddof=0)
    low, high = 0.9 * sample[0, 0], 1.2 * sample[0, 0]
    inside, outside = (fit(f"{text}v > {bound}", frame) for bound in (low, high))
    assert inside.free[0] == pytest.approx(sample[0, 0], rel=1e-10)
    assert outside.free[0] == pytest.approx(high, rel=1e-10)
    assert outside.df == inside.df == 0
    # given x1, x2 keeps its regression: the covariance grows with the variance
    free = {row.lhs + row.rhs: outside.free[row.free - 1] for row in outside.table.rows if row.free}
    assert free["x1x2"] / high == pytest.approx(sample[0, 1] / sample[0, 0], rel=1e-8)


def test_heywood_case_is_held_at_zero():
    cov = np.array([[1, 0.8, 0.8], [0.8, 1, 0.4], [0.8, 0.4, 1]])
    half = np.linalg.cholesky(cov)
    z = np.random.default_rng(0).normal(size=(100, 3))
    z = (z - z.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T, ddof=0))).T @ half.T
    data = pd.DataFrame(z, columns=["x1", "x2", "x3"])
    plain = fit("f =~ x1 + x2 + x3", data)
    held = fit("f =~ x1 + x2 + x3\nx1 ~~ v*x1\nv > 0", data)
    assert plain.free[2] < 0
    assert held.estimate.code == CONVERGED
    assert held.free[2] == pytest.approx(0, abs=1e-12)
    assert (held.df, len(messages(held))) == (0, 1)
    assert chi_square(held) > chi_square(plain)


# full information


def missing_data_optimum(
    frame: pd.DataFrame, constraints: list[dict], start: np.ndarray
) -> scipy.optimize.OptimizeResult:
    """Minus log-likelihood per person over slopes, residual variance, Cholesky factor of x and all means, by SLSQP."""
    data = frame[["y", "x1", "x2", "x3"]].to_numpy()
    patterns, which = np.unique(~np.isnan(data), axis=0, return_inverse=True)
    lower = np.tril_indices(3)

    def value(theta):
        b, log_psi = theta[:3], theta[3]
        half = jnp.zeros((3, 3)).at[lower].set(theta[4:10])
        phi = half @ half.T
        sigma = jnp.block([[(b @ phi @ b + jnp.exp(log_psi))[None, None], (phi @ b)[None]], [(phi @ b)[:, None], phi]])
        total = 0.0
        for k, seen in enumerate(patterns):
            at = np.flatnonzero(seen)
            logpdf = jax.scipy.stats.multivariate_normal.logpdf
            total -= logpdf(data[which == k][:, at], theta[10:][at], sigma[np.ix_(at, at)]).sum()
        return total / len(data)

    with jax.enable_x64(True):
        both = jax.jit(jax.value_and_grad(value))
        call = lambda t: tuple(np.asarray(a, float) for a in both(jnp.asarray(t)))  # noqa: E731
        options = {"ftol": 1e-14, "maxiter": 500}
        return scipy.optimize.minimize(call, start, jac=True, constraints=constraints, method="SLSQP", options=options)


def test_full_information_with_a_nonlinear_equality(frame, square_fit):
    holes = frame.copy()
    holes.iloc[3, 0] = holes.iloc[10, 2] = np.nan
    fitted = fit(SQUARE, holes, mean_structure=True, fixed_x=False)
    assert fitted.missing == "fiml"
    assert fitted.estimate.code == CONVERGED
    assert fitted.df == 1
    start = np.concatenate([square_fit.free, np.eye(3)[np.tril_indices(3)], np.zeros(4)])
    start[3] = np.log(start[3])
    equality = {"type": "eq", "fun": lambda t: t[0] - (t[1] + t[2]) ** 2}
    found = missing_data_optimum(holes, [equality], start)
    np.testing.assert_allclose(fitted.free[:3], found.x[:3], atol=1e-5)
    assert float(fitted.estimate.statistics["value"]) == pytest.approx(found.fun, abs=1e-9)
    np.testing.assert_allclose(fitted.free[:3], square_fit.free[:3], atol=0.1)


@pytest.mark.slow
def test_full_information_of_complete_rows_is_the_moment_fit(frame, square_fit):
    """A row that adds nothing but one cell of x1 makes the fit casewise; b2 and b3 hardly notice."""
    extra = pd.DataFrame({"y": [np.nan], "x1": [frame["x1"].mean()], "x2": [np.nan], "x3": [np.nan]})
    fitted = fit(SQUARE, pd.concat([frame, extra]), mean_structure=True, fixed_x=False)
    assert fitted.missing == "fiml"
    np.testing.assert_allclose(fitted.free[:4], square_fit.free, rtol=1e-6)


# the optimiser itself


def test_orthonormal_rows_leave_out_dependent_ones():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(5, 7))
    a[2] = 3 * a[0] - a[1]
    a[4] = 0
    with jax.enable_x64(True):
        rows, recipe = (np.asarray(m) for m in sqp.orthonormal_rows(jnp.asarray(a)))
    np.testing.assert_allclose(rows @ rows.T, np.diag([1, 1, 0, 1, 0]), atol=1e-14)
    np.testing.assert_allclose(recipe @ a, rows, atol=1e-12)


def test_rosenbrock_on_a_circle():
    """Indefinite Hessians, a curved valley and a curved constraint: every start ends at one of the two minima."""
    rosenbrock = lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2  # noqa: E731
    circle = lambda x: jnp.array([x @ x - 2.0])  # noqa: E731
    smooth = sqp.Smooth(
        jax.value_and_grad(rosenbrock),
        lambda x: (jax.hessian(rosenbrock)(x), jnp.diag(jnp.array([802.0, 200.0]))),
        lambda x: (circle(x), jax.jacfwd(circle)(x)),
        lambda x, m: jnp.tensordot(m, jax.hessian(circle)(x), 1),
    )

    def solve(x):
        step = lambda s: sqp.sqp_step(smooth, s, 1e-13, 200)  # noqa: E731
        return jax.lax.while_loop(lambda s: s.code == 0, step, sqp.sqp_init(smooth, x))

    with jax.enable_x64(True):
        starts = jnp.asarray(np.random.default_rng(2).uniform(0.1, 3, size=(16, 2)))
        state = jax.jit(jax.vmap(solve))(starts)
    assert (state.code == CONVERGED).all()
    minima = np.array([[1, 1], [-0.99777034, 1.00222470]])
    assert (np.abs(np.asarray(state.at.x)[:, None] - minima).max(-1).min(-1) < 1e-6).all()
    assert state.steps.max() < 60


def test_batches_are_single_fits(frame):
    """Under vmap every fit of a batch equals the fit alone."""
    table = build_table(SQUARE + "\nb2 < 0.4")
    restrictions = split(table)
    problems, alone = [], []
    for part in (frame[:60], frame[60:], frame):
        moments = sample_moments(Responses.from_frame(part, table.observed), unbiased=False)
        inner = fitting.moment_problem(fitting.moment_layout(table, moments), moments, False)
        rows = constrained._rows_of(table, restrictions, len(inner.start))
        on = np.array([False, True]) if len(part) == 60 else np.array([True, True])
        parts = (inner, rows.matrix, rows.constant, rows.positions, on, inner.start, float(len(part)), 0.0)
        problems.append(constrained.SqpProblem(*parts, 1e-13, 200))
    engine = constrained.Sqp(Newton(maximum_likelihood), rows.expressions, rows.names)
    with jax.enable_x64(True):
        alone = [run(engine, problem) for problem in problems]
        stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *problems)
        batch = jax.vmap(lambda problem: run(engine, problem))(stacked)
    assert (batch.code == CONVERGED).all()
    for i, single in enumerate(alone):
        np.testing.assert_allclose(batch.free[i], single.free, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(batch.vcov[i], single.vcov, rtol=1e-7, atol=1e-12)
    assert alone[2].free[1] == pytest.approx(0.4, abs=1e-12)
