"""Many data sets of one model in one compiled call: equal to single fits; the bootstrap."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.inference import batch

THREE = "visual =~ x1 + x2 + x3\ntextual =~ x4 + x5 + x6\nspeed =~ x7 + x8 + x9"
NINE = [f"x{k}" for k in range(1, 10)]
MODELS = {
    "plain": jl.SEM(THREE),
    "means": jl.SEM(THREE, mean_structure=True),
    "ties": jl.SEM(THREE.replace("x2", "a*x2").replace("x5", "a*x5") + "\nx1 ~~ v*x1\nx2 ~~ w*x2\nv == 0.5*w + 0.1"),
    "fixed x": jl.SEM("visual =~ x1 + x2 + x3\ntextual =~ x4 + x5 + x6\ntextual ~ visual + x7\nvisual ~ x7 + x8 + x9"),
}


@pytest.fixture(scope="module")
def holzinger():
    return jl.datasets.load("holzinger_swineford")


@pytest.fixture(scope="module")
def stack(holzinger):
    rng = np.random.default_rng(0)
    y = holzinger[NINE].to_numpy()
    return np.stack([y[rng.integers(301, size=220)] for _ in range(4)])


def frames(model, stack):
    """The data sets with the model's variables in order, as frames."""
    names = model.table().observed
    return names, [pd.DataFrame(y, columns=NINE)[list(names)] for y in stack]


WISHART = jl.ML(likelihood="wishart")
PAIRS = [*((name, None) for name in MODELS), ("plain", "ULS"), ("plain", WISHART)]


@pytest.mark.parametrize(("name", "engine"), PAIRS, ids=str)
def test_a_batch_is_a_loop_of_fits(stack, name, engine, compiled):
    model = MODELS[name]
    names, each = frames(model, stack)
    with compiled() as names_compiled:
        found = jl.fit_batch(model, each, engine)
    assert names_compiled.count("_fit_stack") == 1
    assert (found.code == 1).all()
    for k, frame in enumerate(each):
        alone = model.fit(frame, engine)
        free = alone.parameters.query("free > 0").drop_duplicates("free").sort_values("free")
        np.testing.assert_allclose(found.free[k], free["est"], rtol=1e-7, atol=1e-7)
        assert found.statistics["chisq"][k] == pytest.approx(alone.fit_measures()["chisq"], abs=1e-7)
        if engine is None:
            np.testing.assert_allclose(found.vcov[k], alone.vcov(), rtol=1e-6, atol=1e-8)
            assert found.log_likelihood[k] == pytest.approx(alone.log_likelihood, abs=1e-7)
    stacked = np.stack([frame.to_numpy() for frame in each])
    with compiled() as names_compiled:
        np.testing.assert_array_equal(jl.fit_batch(model, stacked, engine).free, found.free)
    assert "_fit_stack" not in names_compiled
    assert names == model.table().observed


BAD = {
    "missing": (lambda y: np.where(np.arange(9) == 3, np.nan, y), None, "Data set 0 of the stack has missing"),
    "shape": (lambda y: y[..., :5], None, "the 9 variables"),
    "two dimensions": (lambda y: y[0], None, "stack"),
    "too few rows": (lambda y: y[:, :6], None, "more rows than variables"),
    "engine": (lambda y: y, "GLS", "ML and ULS"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(stack, case):
    change, engine, sentence = BAD[case]
    with pytest.raises(ValueError, match=sentence):
        jl.fit_batch(MODELS["plain"], change(stack), engine)


def test_nonlinear_constraints_are_refused(stack):
    with pytest.raises(ValueError, match="linear equality"):
        jl.fit_batch(jl.SEM(THREE.replace("x2", "a*x2").replace("x3", "b*x3") + "\na == b^2"), stack)


# ---- the bootstrap --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fit(holzinger):
    return MODELS["plain"].fit(holzinger)


def test_every_draw_converges(fit):
    boot = fit.bootstrap(500, key=1, progress=False)
    assert boot.n_failed == 0
    assert boot.draws.shape == (500, 21)
    np.testing.assert_allclose(boot.draws.mean(0), fit._fitted.free, atol=0.1)
    assert len(np.unique(boot.draws[:, 0])) == 500


def test_draws_are_fits_of_resampled_rows(fit, holzinger):
    """Draws by one key are the same, whatever their number; each is a fit of rows drawn with replacement."""
    few, more = fit.bootstrap(10, key=3, progress=False), fit.bootstrap(10, key=3, progress=False)
    np.testing.assert_array_equal(few.draws, more.draws)
    assert not np.allclose(few.draws, fit.bootstrap(10, key=4, progress=False).draws)
    ties = MODELS["ties"].fit(holzinger).bootstrap(5, key=1, progress=False)
    free = {row.label: row.free - 1 for row in MODELS["ties"].table().rows if row.free}
    np.testing.assert_allclose(ties.draws[:, free["v"]], 0.5 * ties.draws[:, free["w"]] + 0.1, atol=1e-9)


def test_bootstrap_of_incomplete_rows(holzinger):
    frame = holzinger.copy()
    frame.loc[::7, "x3"] = np.nan
    fit = MODELS["plain"].fit(frame)
    boot = fit.bootstrap(40, key=1, progress=False)
    assert boot.n_failed == 0
    assert boot.draws.shape == (40, 30)
    se = fit.parameters.query("free > 0")["se"].to_numpy()
    ratio = boot.draws.std(0, ddof=1) / se
    assert 0.7 < np.median(ratio) < 1.5


def test_bootstrap_of_groups(holzinger):
    fit = jl.SEM(THREE, group_equal=("loadings",)).fit(holzinger, group="school")
    boot = fit.bootstrap(20, key=1, progress=False)
    assert boot.n_failed == 0
    assert set(boot.parameters()["group"]) == {"Pasteur", "Grant-White"}


def test_bootstrap_standard_errors_by_engine(holzinger):
    """se="bootstrap" is the standard deviation of a thousand draws by the fit's key."""
    fit = MODELS["plain"].fit(holzinger, jl.ML(se="bootstrap"), key=7, progress=False)
    draws = fit.bootstrap(1000, key=7, progress=False).draws
    se = fit.parameters.query("free > 0")["se"]
    np.testing.assert_allclose(se, draws.std(0, ddof=1), rtol=1e-12)


def test_intervals(fit):
    boot = fit.bootstrap(500, key=1, progress=False)
    tables = {ci: boot.parameters(ci=ci) for ci in ("percentile", "bc", "bca")}
    for table in tables.values():
        moving = table[table["free"] > 0]
        assert (moving["ci_lower"] < moving["est"]).all()
        assert (moving["est"] < moving["ci_upper"]).all()
        fixed = table[table["free"] == 0]
        np.testing.assert_array_equal(fixed["ci_lower"], fixed["est"])
    low, high = np.quantile(boot.draws[:, 0], [0.025, 0.975])
    row = tables["percentile"].iloc[1]
    assert (row["ci_lower"], row["ci_upper"]) == pytest.approx((low, high))
    wide = boot.parameters(level=0.99)
    assert (wide["ci_lower"] <= tables["percentile"]["ci_lower"]).all()
    with pytest.raises(ValueError, match="percentile, bc, bca"):
        boot.parameters(ci="normal")


def test_an_interrupted_bootstrap_leaves_the_fit_usable(fit, monkeypatch):
    """Ctrl-C between two portions ends the bootstrap with KeyboardInterrupt, and nothing else."""

    def interrupted(items, *_):
        yield next(iter(items))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batch, "track", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit.bootstrap(500, key=1, progress=False)
    assert fit.converged
    assert fit.bootstrap(300, key=1, progress=False).n_failed == 0
    assert np.isfinite(fit.fit_measures()["chisq"])


@pytest.mark.parametrize("n", [0, 1, 2.5])
def test_number_of_draws(fit, n):
    with pytest.raises(ValueError, match="number of bootstrap draws"):
        fit.bootstrap(n)


def test_moments_cannot_be_resampled(holzinger):
    fit = MODELS["plain"].fit(jl.Moments(holzinger[NINE].cov(), 301))
    with pytest.raises(ValueError, match="resamples rows"):
        fit.bootstrap(10)


def test_weights_that_vary_are_refused(holzinger):
    with pytest.raises(ValueError, match="its weight varies"):
        MODELS["plain"].fit(holzinger, "GLS").bootstrap(10)
