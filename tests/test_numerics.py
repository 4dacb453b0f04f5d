"""Small linear algebra: the same numbers alone, in batches and from NumPy, visible failure, and no deadlock."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from jaxlatent.inference.newton_engine import Newton, NewtonProblem, run
from jaxlatent.numerics.linalg import TINY, spd_inverse, structural_inverse, sweep_inverse
from jaxlatent.numerics.masked import CHUNK, Cases, missing_blocks, observed_inverses, over_chunks, solve_observed
from jaxlatent.numerics.newton import BAD_START, CONVERGED, STEP_LIMIT, Evaluation
from jaxlatent.numerics.noncentral import noncentral_cdf, noncentrality


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def spd(seed, n, *, batch=(), scale=1.0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((*batch, n, n + 2))
    return a @ np.swapaxes(a, -1, -2) / n * scale


# ---- inverses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 20])
def test_inverse_alone_in_batches_and_from_numpy(n):
    a = spd(n, n, batch=(5,))
    alone = [spd_inverse(jnp.asarray(m)) for m in a]
    batched = jax.jit(jax.vmap(spd_inverse))(a)
    twice = jax.vmap(jax.vmap(spd_inverse))(a[None])
    want, log_det = np.linalg.inv(a), np.linalg.slogdet(a)[1]
    scale = np.abs(want).max((1, 2), keepdims=True)
    for got in (jax.tree.map(lambda *x: jnp.stack(x), *alone), batched, jax.tree.map(lambda x: x[0], twice)):
        np.testing.assert_allclose(got[0] / scale, want / scale, atol=1e-11)
        np.testing.assert_allclose(got[1], log_det, rtol=1e-11, atol=1e-11)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.floats(-6, 6), min_size=4, max_size=4), st.integers(0, 100))
def test_inverse_does_not_depend_on_units(powers, seed):
    """Variables rescaled by powers of ten: the inverse is rescaled, no digit more is lost."""
    a, d = spd(seed, 4) + 0.1 * np.eye(4), 10.0 ** np.array(powers)
    with jax.enable_x64(True):
        inverse, log_det = (np.asarray(x) for x in spd_inverse(jnp.asarray(a * np.outer(d, d))))
    back = inverse * np.outer(d, d)
    np.testing.assert_allclose(back, np.linalg.inv(a), atol=1e-9 * np.abs(np.linalg.inv(a)).max())
    assert log_det == pytest.approx(np.linalg.slogdet(a)[1] + 2 * np.log(d).sum(), abs=1e-8)


NOT_POSITIVE = {
    "indefinite": np.array([[1.0, 2.0], [2.0, 1.0]]),
    "singular": np.ones((2, 2)),
    "zero variance": np.diag([1.0, 0.0]),
    "negative variance": np.diag([1.0, -1.0]),
    "nan": np.array([[1.0, np.nan], [np.nan, 1.0]]),
    "nearly singular": np.array([[1.0, 1 - TINY / 10], [1 - TINY / 10, 1.0]]),
}


@pytest.mark.parametrize("name", NOT_POSITIVE)
def test_not_positive_definite_gives_nan(name):
    """All nan, alone and as a lane of a batch whose other lane is untouched."""
    bad, good = NOT_POSITIVE[name], np.array([[2.0, 0.3], [0.3, 1.0]])
    inverse, log_det = spd_inverse(jnp.asarray(bad))
    assert np.isnan(inverse).all()
    assert np.isnan(log_det)
    inverse, log_det = jax.vmap(spd_inverse)(np.stack([bad, good]))
    assert np.isnan(inverse[0]).all()
    assert np.isnan(log_det[0])
    np.testing.assert_allclose(inverse[1], np.linalg.inv(good), rtol=1e-12)


def test_sweeps_of_any_batch():
    a = spd(3, 4, batch=(2, 3))
    a /= np.sqrt(np.einsum("...i,...j->...ij", *[np.diagonal(a, axis1=-2, axis2=-1)] * 2))
    inverse, log_det = sweep_inverse(jnp.asarray(a))
    assert inverse.shape == (2, 3, 4, 4)
    np.testing.assert_allclose(inverse, np.linalg.inv(a), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(a)[1], rtol=1e-10)


def test_structural_inverse():
    """Recursive in any order, and with a feedback loop; derivatives flow through it."""
    rng = np.random.default_rng(0)
    lower = np.tril(rng.normal(size=(5, 5)), -1)
    order = rng.permutation(5)
    loop = np.zeros((5, 5))
    loop[0, 1], loop[1, 0], loop[2, 0] = 0.4, 0.3, -0.8
    for b in (lower, lower[np.ix_(order, order)], loop):
        np.testing.assert_allclose(structural_inverse(jnp.asarray(b)), np.linalg.inv(np.eye(5) - b), atol=1e-12)
    stacked = np.stack([lower, loop])
    np.testing.assert_allclose(jax.vmap(structural_inverse)(stacked)[1], np.linalg.inv(np.eye(5) - loop), atol=1e-12)
    a = np.linalg.inv(np.eye(5) - loop)
    gradient = jax.jacfwd(lambda b: structural_inverse(b)[2, 1])(jnp.asarray(loop))
    np.testing.assert_allclose(gradient, np.outer(a[2], a[:, 1]), atol=1e-12)
    singular = structural_inverse(jnp.array([[0.0, 1.0], [1.0, 0.0]]))
    assert not np.isfinite(singular).all()


HANG = """
import jax, jax.numpy as jnp, numpy as np
from jaxlatent.numerics.linalg import spd_inverse
jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(0)
a = rng.standard_normal((200, 9, 12))
a = a @ np.swapaxes(a, 1, 2) / 12 + np.eye(9)

def lane(m):
    def body(s):
        k, x, y = s  # two independent inverses in one body: batched LAPACK calls can deadlock here
        return k + 1, spd_inverse(x)[0] + 0.1 * jnp.eye(9), spd_inverse(y.T @ y + jnp.eye(9))[0]
    return jax.lax.while_loop(lambda s: s[0] < 5 + jnp.int32(m[0, 0]), body, (jnp.int32(0), m, m))[1].sum()

compiled = jax.jit(jax.vmap(lane))
for _ in range(50):
    total = compiled(a).sum()
print(bool(jnp.isfinite(total)))
"""


def test_batched_loop_does_not_hang():
    """Two independent inverses in a vmapped while_loop of 200 lanes, on the cores there are."""
    done = subprocess.run([sys.executable, "-c", HANG], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "True", done.stderr


# ---- missing values -------------------------------------------------------------------------------------------------


def cases(seed, n, p):
    rng = np.random.default_rng(seed)
    mean = rng.standard_normal((n, p))
    mean[rng.uniform(size=(n, p)) < 0.4] = np.nan
    missing = np.full((n, p), p)
    for i in range(n):
        at = np.flatnonzero(np.isnan(mean[i]))
        missing[i, : len(at)] = at
    return Cases(jnp.asarray(rng.uniform(0.5, 2, n)), jnp.asarray(mean), None, jnp.asarray(missing))


def test_observed_blocks_from_one_inverse():
    """P, P (y - mu), log|Sigma_oo| and conditional expectations of every pattern, also with nothing observed."""
    p, sigma, mu = 5, spd(1, 5), np.arange(5.0)
    c = cases(2, 12, p)
    c = c._replace(mean=c.mean.at[0].set(jnp.nan), missing=c.missing.at[0].set(jnp.arange(5)))
    k, log_det = spd_inverse(jnp.asarray(sigma))
    blocks = missing_blocks(k, c)
    residual, v, complete = solve_observed(k, blocks, c, jnp.asarray(mu))
    inverses = observed_inverses(k, blocks, c)
    for i, y in enumerate(np.asarray(c.mean)):
        o = np.flatnonzero(~np.isnan(y))
        want = np.zeros((p, p))
        want[np.ix_(o, o)] = np.linalg.inv(sigma[np.ix_(o, o)])
        e = np.nan_to_num(y - mu)
        np.testing.assert_allclose(residual[i], e)
        np.testing.assert_allclose(inverses[i], want, atol=1e-10)
        np.testing.assert_allclose(v[i], want @ e, atol=1e-10)
        np.testing.assert_allclose(complete[i], sigma @ want @ e, atol=1e-10)
        det = np.linalg.slogdet(sigma[np.ix_(o, o)])[1] if len(o) else 0.0
        assert log_det + blocks.log_det[i] == pytest.approx(det, abs=1e-10)


@pytest.mark.parametrize("n", [1, 255, CHUNK, CHUNK + 1, 3 * CHUNK - 7])
def test_chunks_count_every_case_once(n):
    c = cases(0, n, 3)
    total = over_chunks(lambda t, part: t + (part.n[:, None] * jnp.nan_to_num(part.mean)).sum(0), jnp.zeros(3), c)
    np.testing.assert_allclose(total, np.asarray(c.n) @ np.nan_to_num(c.mean), rtol=1e-12, atol=1e-12)


# ---- Newton's method ------------------------------------------------------------------------------------------------


def minimise(function, start, *, max_steps=200):
    def objective(_, x):
        hessian = jax.hessian(function)(x)
        return Evaluation(function(x), jax.grad(function)(x), hessian, jnp.diag(jnp.abs(jnp.diagonal(hessian)) + 1))

    problem = NewtonProblem(None, None, None, jnp.asarray(start), 1.0, 0.0, 1e-13, max_steps)
    return run(Newton(objective), problem)


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


@pytest.mark.parametrize("start", [(-1.2, 1.0), (3.0, -4.0), (0.0, 0.0)])
def test_newton_on_a_curved_valley(start):
    found = minimise(rosenbrock, start)
    assert found.code == CONVERGED
    np.testing.assert_allclose(found.free, [1, 1], atol=1e-6)
    assert found.statistics["value"] <= optimize.rosen(found.free) + 1e-15


def test_newton_codes():
    assert minimise(rosenbrock, (-1.2, 1.0), max_steps=3).code == STEP_LIMIT
    assert minimise(lambda x: jnp.log(x[0]) + x[1] ** 2, (-1.0, 0.0)).code == BAD_START


# ---- noncentral chi-square ------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(0.01, 1e4), st.integers(1, 500), st.sampled_from([0.05, 0.5, 0.95]))
def test_noncentrality_inverts_the_distribution(x, df, probability):
    ncp = noncentrality(x, df, probability)
    if ncp == 0:
        assert stats.chi2.cdf(x, df) <= probability + 1e-9
    else:
        assert noncentral_cdf(x, df, ncp) == pytest.approx(probability, abs=1e-7)


@pytest.mark.parametrize(("x", "df"), [(85.3055, 24), (1e5, 20), (1.0, 1)])
def test_noncentral_distribution(x, df):
    assert noncentral_cdf(x, df, 0.0) == pytest.approx(stats.chi2.cdf(x, df), rel=1e-12)
    assert noncentral_cdf(x, df, 30.0) == pytest.approx(stats.ncx2.cdf(x, df, 30.0), abs=1e-9)


@pytest.mark.parametrize(("x", "df"), [(0.0, 5), (-1.0, 5), (3.0, 0), (float("nan"), 5)])
def test_noncentrality_of_nothing_is_zero(x, df):
    assert noncentrality(x, df, 0.05) == 0.0
