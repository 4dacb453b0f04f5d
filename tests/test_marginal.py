"""The marginal likelihood of item response models and the engine that maximises it, against independent routes.

The other route of a likelihood is the generic one (model.bind and rule.log_marginal), that of a derivative autodiff.
"""

from __future__ import annotations

import functools
import json
import zipfile
from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.bound import bind_items
from jaxlatent.inference.marginal_engine import scores_of_persons
from jaxlatent.inference.marginal_fit import form_of, pattern_data, problem_of
from jaxlatent.measurement.family import Family, ItemParameter, free
from jaxlatent.models import table_louis
from jaxlatent.models.louis import information
from jaxlatent.models.marginal import evaluate
from jaxlatent.models.persons import setting

NODES = 15
PERSONS = 60
# one item of every family in one model; "grsm" twice, because its first item is fixed
MIXED = {
    "two": "2pl", "three": "3pl", "four": "4pl", "graded": "graded", "gpcm": "gpcm", "nominal": "nominal", "grsm1":
    "grsm", "grsm2": "grsm", "ideal": "ideal", "cloglog": "cloglog", "ogive2": "ogive", "ogive4": "ogive", "rsm": "rsm",
    "poisson": "poisson", "negbin": "negative_binomial", "normal": "normal", "time": "lognormal",
}  # fmt: skip
FEW = ("two", "three", "graded", "nominal", "grsm1", "grsm2", "normal")
BINARY = ("2pl", "3pl", "4pl", "ideal", "cloglog")
evaluate_ = jax.jit(evaluate, static_argnums=0)
information_ = jax.jit(information, static_argnums=0)


def mixed_data(n=PERSONS, missing=0.2):
    """Answers of every kind with a fifth missing; every category occurs."""
    rng = np.random.default_rng(11)
    x = rng.standard_normal(n)
    columns = {}
    for name, kind in MIXED.items():
        z = 0.8 * x + rng.standard_normal(n)
        if kind in BINARY or name == "ogive2":
            y = (z > 0.2).astype(float)
        elif kind in ("poisson", "negative_binomial"):
            y = rng.poisson(np.exp(0.3 + 0.4 * x)).astype(float)
        elif kind in ("normal", "lognormal"):
            y = z if kind == "normal" else np.exp(0.5 * z)
        else:
            y = np.digitize(z, [-0.8, 0.0, 0.8]).astype(float)
        y[rng.random(n) < missing] = np.nan
        columns[name] = y
    return pd.DataFrame(columns)


@dataclass(frozen=True)
class Case:
    """A model with its data at a free vector of its own, by both routes."""

    form: object
    problem: object
    modes: np.ndarray
    places: np.ndarray
    bound: object
    rule: object
    free: np.ndarray

    def persons(self, problem=None):
        """log p(y_i) [person] and S_i [person, free] by the engine."""
        value, score = scores_of_persons(self.form, problem or self.problem, jnp.asarray(self.free), self.modes)
        q = len(self.free)
        return np.asarray(value).ravel()[self.places], np.asarray(score).reshape(-1, q)[self.places]

    def generic(self, free):
        """log p(y_i) [person] by the rule and the bound model."""
        model = self.bound.model
        return self.rule.log_marginal(model, model.layout.unpack(free), self.bound.arrays)


def case_of(spec, data, rule, *, group=None, chunk=None, seed=3):
    with jax.enable_x64(True):
        p = spec._prepare(data, group, None)
        bound = bind_items(spec, p)
        form = form_of(p.measurement, p.coding, rule)
        problem, modes, places = problem_of(form, bound.model.layout, p.data, p.table.n_groups, rule, 0, chunk)
        start = bound.model.layout.start
        at = start * (1 + 0.05 * np.random.default_rng(seed).standard_normal(len(start)))
        return Case(form, problem, modes, places, bound, rule, at)


@functools.cache
def mixed(names=FEW):
    # the variance fixed, though "rsm" would free it: points that stay where they are make derivatives exact
    types = {name: MIXED[name] for name in names}
    factor = f"F =~ {' + '.join(types)}\nF ~~ 1*F"
    return case_of(jl.IRT(types, factor), mixed_data(), jl.GaussHermite(NODES), chunk=PERSONS)


SETS = [pytest.param(FEW, id="some"), pytest.param(tuple(MIXED), id="all", marks=pytest.mark.study)]


# ---- derivatives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", SETS)
def test_likelihood_and_scores_of_every_family_are_the_generic_ones_and_autodiff(names):
    case = mixed(names)
    with jax.enable_x64(True):
        value, score = case.persons()
        other = jax.jit(case.generic)(jnp.asarray(case.free))
        by_autodiff = jax.jit(jax.jacrev(case.generic))(jnp.asarray(case.free))
    assert np.isfinite(value).all() and np.abs(score).max(axis=0).min() > 1e-6  # every parameter matters
    np.testing.assert_allclose(value, other, rtol=0, atol=1e-8)
    np.testing.assert_allclose(score, by_autodiff, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("names", SETS)
def test_scores_are_finite_differences(names):
    case = mixed(names)
    rng, h = np.random.default_rng(1), 1e-5
    with jax.enable_x64(True):
        _, score = case.persons()
        for _ in range(3):
            direction = rng.standard_normal(len(case.free))
            up, down = (replace(case, free=case.free + s * h * direction).persons()[0] for s in (1, -1))
            np.testing.assert_allclose((up - down) / (2 * h), score @ direction, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("names", SETS)
def test_louis_information_of_every_family_is_minus_the_hessian(names):
    case = mixed(names)
    with jax.enable_x64(True):
        observed, complete = information_(case.form, case.problem, jnp.asarray(case.free), case.modes)
        score = jax.grad(lambda f: case.generic(f).sum())
        hessian = np.asarray(jax.jit(jax.jacfwd(score))(jnp.asarray(case.free)))
        observed, complete = np.asarray(observed), np.asarray(complete)
    scale = np.sqrt(np.abs(np.diag(complete)))
    np.testing.assert_allclose(observed / np.outer(scale, scale), -hessian / np.outer(scale, scale), atol=1e-8)


def test_louis_information_by_residuals_at_points_is_that_by_points(monkeypatch):
    """Items of two kinds, one of which lacks a category that others have; missing answers, weights, two groups."""
    y = rated()
    y["y0"], y["y1"] = y["y0"].clip(upper=1), y["y1"].clip(upper=2)
    y[ITEMS] = y[ITEMS].mask(np.random.default_rng(2).random((len(y), 6)) < 0.15)
    types = {name: "2pl" if name == "y0" else "graded" for name in ITEMS}
    case = case_of(jl.IRT(types), y[[*ITEMS, "g"]], jl.GaussHermite(NODES), group="g", chunk=50)
    weight = case.problem.chunks.weight * np.random.default_rng(3).uniform(0.5, 2, case.problem.chunks.shape)
    problem = case.problem._replace(chunks=case.problem.chunks._replace(weight=weight))
    with jax.enable_x64(True):
        here = setting(case.form, problem, jnp.asarray(case.free), np.float64)
        assert table_louis.by_residuals(case.form, here)
        found = information_(case.form, problem, jnp.asarray(case.free), case.modes)
        monkeypatch.setattr(table_louis, "MOST_CELLS", 0)
        again = jax.jit(lambda *args: information(case.form, *args))  # traced anew
        other = again(problem, jnp.asarray(case.free), case.modes)
        assert not table_louis.by_residuals(case.form, here)
        found, other = (tuple(np.asarray(a) for a in pair) for pair in (found, other))
    scale = np.sqrt(np.diag(other[1]))
    for a, b in zip(found, other, strict=True):
        np.testing.assert_allclose(a / np.outer(scale, scale), b / np.outer(scale, scale), rtol=0, atol=1e-10)


@pytest.mark.study
@pytest.mark.parametrize("kind", ["2pl", "graded", "nominal", "grsm", "3pl", "normal", "rasch", "rsm", "pcm", "1pl"])
def test_louis_information_by_type(kind):
    """Alone, with a free variance where there is one: then points move, and quadrature must be fine enough."""
    data = mixed_data(80)
    name = {"2pl": "two", "3pl": "three", "normal": "normal", "rasch": "two", "1pl": "two"}.get(kind, "graded")
    rng = np.random.default_rng(0)
    columns = {f"y{j}": rng.permutation(data[name].to_numpy()) for j in range(4)}
    case = case_of(jl.IRT(kind), pd.DataFrame(columns).dropna(how="all"), jl.GaussHermite(41))
    with jax.enable_x64(True):
        value, score = case.persons()
        gradient = jax.jit(jax.jacrev(case.generic))(jnp.asarray(case.free))
        observed, complete = information_(case.form, case.problem, jnp.asarray(case.free), case.modes)
        hessian = jax.jit(jax.hessian(lambda f: case.generic(f).sum()))(jnp.asarray(case.free))
        np.testing.assert_allclose(value, case.generic(jnp.asarray(case.free)), atol=1e-8)
        observed, complete, hessian = (np.asarray(a) for a in (observed, complete, hessian))
    tolerance = 1e-5 if kind in ("rasch", "rsm", "pcm") else 1e-8
    np.testing.assert_allclose(score, gradient, atol=tolerance)
    scale = np.sqrt(np.abs(np.diag(complete)))
    np.testing.assert_allclose(observed / np.outer(scale, scale), -hessian / np.outer(scale, scale), atol=tolerance)


@pytest.mark.parametrize("names", SETS)
def test_what_fills_a_missing_cell_changes_nothing(names):
    case = mixed(names)
    y, seen = (np.asarray(a) for a in (case.problem.chunks.y, case.problem.chunks.seen))
    assert (~seen).any(axis=(0, 1)).all()  # every family has missing cells
    with jax.enable_x64(True):
        before = case.persons()
        matrix = information_(case.form, case.problem, jnp.asarray(case.free), case.modes)[0]
        for fill in (1.0, 3.0, 0.37, -7.0):
            chunks = case.problem.chunks._replace(y=np.where(seen, y, fill))
            problem = case.problem._replace(chunks=chunks)
            after = case.persons(problem)
            np.testing.assert_array_equal(before[0], after[0])
            np.testing.assert_array_equal(before[1], after[1])
            filled = information_(case.form, problem, jnp.asarray(case.free), case.modes)[0]
            np.testing.assert_array_equal(matrix, filled)


# ---- the same likelihood however persons are held -----------------------------------------------------------------


def rated(n=120, seed=5, groups=False, weights=False):
    """Six items with four categories, one factor; nearly every pattern is its own."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    z = 1.1 * x[:, None] + np.linspace(-0.5, 0.5, 6) + rng.logistic(size=(n, 6))
    y = pd.DataFrame(np.digitize(z, [-1.2, 0, 1.2]).astype(float), columns=[f"y{j}" for j in range(6)])
    for j in range(6):
        y.iloc[:4, j] = rng.permutation(4)
    y["w"] = rng.integers(1, 4, n)
    y["g"] = np.where(np.arange(n) % 2, "v", "u")
    return y


ITEMS = [f"y{j}" for j in range(6)]


def sums(case, problem=None, modes=None):
    with jax.enable_x64(True):
        found = evaluate_(
            case.form, problem or case.problem, jnp.asarray(case.free), case.modes if modes is None else modes
        )
        return float(found.log_likelihood), np.asarray(found.score), np.asarray(found.cross)


def test_chunks_patterns_and_weights_are_bookkeeping():
    y = rated()[ITEMS[:3]].clip(upper=1)
    y = pd.concat([y] * 2, ignore_index=True).assign(g=np.repeat(["u", "v"], 120))
    spec, rule = jl.IRT("2pl", priors=None, factors="F =~ y0 + y1 + y2"), jl.GaussHermite(NODES)
    whole = case_of(spec, y, rule, group="g")
    expected = sums(whole)
    with jax.enable_x64(True):
        p = spec._prepare(y, "g", None)
        layout = whole.bound.model.layout
        seven = problem_of(whole.form, layout, p.data, 2, rule, 0, 7)
        patterns, inverse = pattern_data(p.data)
        assert len(patterns.codes) <= 16 and len(inverse) == 240 and patterns.weight.sum() == 240
        np.testing.assert_array_equal(patterns.codes[inverse], p.data.codes)
        few = problem_of(whole.form, layout, patterns, 2, rule)
        rows = replace(p.data, weight=np.tile([1.0, 2.0], 120))
        again = np.concatenate([np.arange(240), np.arange(1, 240, 2)])
        repeated = replace(p.data, codes=p.data.codes[again], group=p.data.group[again])
        weighted, doubled = (problem_of(whole.form, layout, d, 2, rule) for d in (rows, repeated))
    for other in (seven, few):
        for a, b in zip(expected, sums(whole, other[0], other[1]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-8)
    for a, b in zip(sums(whole, *weighted[:2]), sums(whole, *doubled[:2]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-8)


RULES = [
    jl.GaussHermite(9), jl.AdaptiveGaussHermite(7), jl.QuasiMonteCarlo(64),
    pytest.param(jl.Laplace(), marks=pytest.mark.study),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_engine_and_bound_model_agree_for_every_rule(rule):
    y = rated()[ITEMS]
    y = y.mask(np.random.default_rng(2).random(y.shape) < 0.15)
    case = case_of(jl.IRT("graded", "F =~ y0 + y1 + y2\nG =~ y3 + y4 + y5"), y, rule)
    with jax.enable_x64(True):
        # modes from nothing: let the engine's Newton steps reach them
        value = scores_of_persons(case.form, case.problem, jnp.asarray(case.free), case.modes)[0]
        if case.form.personal:
            from jaxlatent.models.marginal import person_moments

            found = jax.jit(person_moments, static_argnums=0)(
                case.form, case.problem, jnp.asarray(case.free), case.modes, 30
            )
            value = found.log_marginal
        other = jax.jit(case.generic)(jnp.asarray(case.free))
    np.testing.assert_allclose(np.asarray(value).ravel()[case.places], other, rtol=0, atol=1e-8)


# ---- fits -----------------------------------------------------------------------------------------------------------


@functools.cache
def base():
    return jl.IRT("graded").fit(rated()[ITEMS])


def test_the_same_key_gives_the_same_numbers_and_the_gradient_is_zero():
    fit = base()
    again = jl.IRT("graded").fit(rated()[ITEMS])
    np.testing.assert_array_equal(fit._fitted.free, again._fitted.free)
    assert fit.log_likelihood == again.log_likelihood
    assert fit.converged and fit._fitted.estimate.statistics["decrement"] < 1e-8
    np.testing.assert_allclose(fit.log_likelihoods().sum(), fit.log_likelihood, rtol=1e-10)


def test_integer_weights_are_repeated_rows():
    y = rated()
    exact = jl.MarginalML(tolerance=1e-15)  # the two begin at different points and must end at one
    weighted = jl.IRT("graded").fit(y.drop(columns="g"), exact, weights="w")
    repeated = jl.IRT("graded").fit(y.loc[y.index.repeat(y["w"]), ITEMS].reset_index(drop=True), exact)
    share = y["w"].sum() / len(y)  # weights sum to the number of rows
    np.testing.assert_allclose(weighted._fitted.free, repeated._fitted.free, atol=1e-5)
    np.testing.assert_allclose(weighted.log_likelihood * share, repeated.log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(weighted._fitted.vcov, repeated._fitted.vcov * share, rtol=1e-4, atol=1e-8)


def test_long_answers_are_wide_ones():
    y = rated()[ITEMS]
    long = y.reset_index(names="who").melt("who", var_name="what", value_name="answer").sample(frac=1, random_state=0)
    fit = jl.IRT("graded").fit(jl.Responses.from_long(long, person="who", item="what", response="answer"))
    np.testing.assert_array_equal(fit._fitted.free, base()._fitted.free)
    pd.testing.assert_frame_equal(fit.scores(), base().scores())


def test_saved_and_loaded(tmp_path):
    fit = base()
    path = fit.save(tmp_path / "a.latent", include_data=True)
    other = jl.load(path)
    pd.testing.assert_frame_equal(other.parameters, fit.parameters)
    assert other.log_likelihood == fit.log_likelihood and other.converged and other.notes == fit.notes
    pd.testing.assert_frame_equal(other.scores(return_se=True), fit.scores(return_se=True))
    bare = jl.load(fit.save(tmp_path / "b.latent"))
    pd.testing.assert_frame_equal(bare.vcov(), fit.vcov())
    new = rated(seed=9)[ITEMS]
    pd.testing.assert_frame_equal(bare.scores(new), fit.scores(new))
    with pytest.raises(ValueError, match="holds no rows"):
        bare.scores()
    with pytest.raises(ValueError, match="holds no rows"):
        bare.save(tmp_path / "c.latent", include_data=True)
    _damage(path, tmp_path / "d.latent", lambda m: m | {"item_type": "2pl"})
    _damage(path, tmp_path / "e.latent", lambda m: {k: v for k, v in m.items() if k != "rule"})
    _damage(path, tmp_path / "f.latent", lambda m: m | {"rule": {"class": "Simpson", "n": 3}})
    _damage(path, tmp_path / "g.latent", lambda m: m | {"names": m["names"][:3]})
    (tmp_path / "h.latent").write_bytes(path.read_bytes()[:500])
    for name in "defgh":
        with pytest.raises(ValueError, match=rf"{name}\.latent is damaged"):
            jl.load(tmp_path / f"{name}.latent")


def _damage(path, to, change):
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as new:
        new.writestr("manifest.json", json.dumps(change(json.loads(old.read("manifest.json")))))
        new.writestr("arrays.npz", old.read("arrays.npz"))


def test_simulated_answers_have_the_models_proportions():
    fit = base()
    drawn = fit.simulate(20_000, key=4)
    assert list(drawn.columns) == ITEMS and drawn.equals(fit.simulate(20_000, key=4))
    x, w = np.polynomial.hermite_e.hermegauss(41)
    expected = fit.expected_score(x).to_numpy()
    np.testing.assert_allclose(drawn.mean(), (w / w.sum()) @ expected, atol=0.04)
    for name, column in drawn.items():
        table = fit.probabilities(x).loc[name].to_numpy()
        share = np.bincount(column, minlength=4) / len(column)
        np.testing.assert_allclose(share, (w / w.sum()) @ table, atol=0.015)
    with pytest.raises(ValueError, match="n, the number of persons"):
        fit.simulate(0)


@dataclass(frozen=True)
class Cauchit(Family):
    """A type of one's own: P(y = 1) = 1/2 + arctan(eta + d) / pi."""

    fixed_categories: ClassVar[int | None] = 2

    def item_parameters(self, n_categories):
        return (ItemParameter("intercepts", free(1)),)

    def log_prob(self, eta, params, y):
        return jnp.log(0.5 + (2 * y - 1) * jnp.arctan(eta + params["intercepts"][..., 0]) / jnp.pi)


@pytest.mark.study
def test_a_type_of_ones_own_is_fitted_saved_and_loaded(tmp_path):
    y = rated(400)[ITEMS] > 1
    fit = jl.IRT(Cauchit()).fit(y)
    assert fit.converged and np.isfinite(fit.parameters["z"].to_numpy()[:12]).all()
    path = fit.save(tmp_path / "own.latent")
    with pytest.raises(ValueError, match="item type 'Cauchit' is the user's own: pass objects"):
        jl.load(path)
    other = jl.load(path, objects={"Cauchit": Cauchit()})
    pd.testing.assert_frame_equal(other.parameters, fit.parameters)
    pd.testing.assert_frame_equal(other.scores(y), fit.scores(y))


@pytest.mark.study
def test_batch_is_the_loop_and_compiles_once(monkeypatch):
    from jaxlatent.inference import item_batch

    stack = np.stack([rated(seed=s)[ITEMS].to_numpy() for s in range(6)])
    traces = []
    own = item_batch.run_marginal
    monkeypatch.setattr(item_batch, "run_marginal", lambda *a: (traces.append(1), own(*a))[1])
    found = jl.fit_batch(jl.IRT("graded"), stack)
    jl.fit_batch(jl.IRT("graded"), stack[::-1])
    assert len(traces) == 1 and (found.code == 1).all()
    for b, y in enumerate(stack):
        one = jl.IRT("graded").fit(pd.DataFrame(y))
        np.testing.assert_allclose(found.free[b], one._fitted.free, atol=1e-5)
        np.testing.assert_allclose(found.log_likelihood[b], one.log_likelihood, atol=1e-5)
        np.testing.assert_allclose(found.vcov[b], one._fitted.vcov, rtol=1e-3, atol=1e-5)


@pytest.mark.study
def test_groups_with_nothing_equal_are_separate_fits():
    y = rated(400)
    for j in range(6):  # every group has every category
        y.loc[[0, 2, 4, 6], f"y{j}"] = y.loc[[1, 3, 5, 7], f"y{j}"] = [0.0, 1.0, 2.0, 3.0]
    both = jl.IRT("graded").fit(y[[*ITEMS, "g"]], group="g")
    parts = [jl.IRT("graded").fit(y.loc[y["g"] == g, ITEMS]) for g in ("u", "v")]
    np.testing.assert_allclose(both.log_likelihood, sum(p.log_likelihood for p in parts), atol=1e-5)
    est = both.parameters
    for g, part in zip(("u", "v"), parts, strict=True):
        np.testing.assert_allclose(est.loc[est["group"] == g, "est"], part.parameters["est"], atol=1e-4)
        np.testing.assert_allclose(est.loc[est["group"] == g, "se"], part.parameters["se"], atol=1e-4)
    equal = jl.IRT("graded", group_equal=("loadings", "intercepts")).fit(y[[*ITEMS, "g"]], group="g")
    rows = equal.parameters.set_index(["lhs", "op", "rhs", "group"])
    for op, at in (("~~", "F1"), ("~1", "")):
        assert rows.loc[("F1", op, at, "u"), "free"] == 0 and rows.loc[("F1", op, at, "v"), "free"] > 0
    assert rows.loc[("F1", "~~", "F1", "u"), "est"] == 1 and rows.loc[("F1", "~1", "", "u"), "est"] == 0
    np.testing.assert_array_equal(
        rows.xs(("F1", "=~", "u"), level=("lhs", "op", "group"))["est"],
        rows.xs(("F1", "=~", "v"), level=("lhs", "op", "group"))["est"],
    )
    frame = jl.compare(both, equal, names=("free", "equal"))
    assert list(frame.index) == ["free", "equal"] and frame.loc["equal", "df_diff"] == 6 + 18 - 2
    stat = 2 * (both.log_likelihood - equal.log_likelihood)
    np.testing.assert_allclose(frame.loc["equal", "chisq_diff"], stat)
    assert stat > 0 and 0 < frame.loc["equal", "pvalue"] < 1


@pytest.mark.study
def test_fixed_values_constraints_and_priors():
    y = rated(300)[ITEMS]
    plain = jl.IRT("graded").fit(y)
    fixed = jl.IRT("graded", fixed={"loadings": {"y1": 0.9}}).fit(y)
    assert fixed.loadings.loc["y1", "F1"] == 0.9 and fixed._fitted.n_parameters == plain._fitted.n_parameters - 1
    assert fixed.log_likelihood < plain.log_likelihood
    a = np.kron(np.eye(2), np.ones((3, 1)))  # one slope for the first three items, one for the last, 0.2 more for y5
    b = np.array([0, 0, 0, 0, 0, 0.2])
    tied = jl.IRT("graded", constraints=(a, b)).fit(y)
    slopes = tied.loadings["F1"].to_numpy()
    np.testing.assert_allclose(slopes - b, a @ [slopes[0], slopes[3]], atol=1e-10)
    assert tied._fitted.n_parameters == plain._fitted.n_parameters - 4 and tied.log_likelihood < plain.log_likelihood
    labels = jl.IRT("graded", "F1 =~ p*y0 + p*y1 + p*y2 + q*y3 + q*y4 + r*y5\nr == q + 0.2").fit(y)
    np.testing.assert_allclose(labels.log_likelihood, tied.log_likelihood, atol=1e-6)
    np.testing.assert_allclose(labels.loadings, tied.loadings, atol=1e-4)
    strong = jl.IRT("graded", priors={"loadings": dist.Normal(0.5, 0.05)}).fit(y)
    assert (np.abs(strong.loadings["F1"] - 0.5) < np.abs(plain.loadings["F1"] - 0.5)).all()
    assert any("posterior modes" in note for note in strong.notes)
    log_prior = dist.Normal(0.5, 0.05).log_prob(strong.loadings["F1"].to_numpy()).sum()
    np.testing.assert_allclose(strong._fitted.estimate.statistics["log_prior"], log_prior, rtol=1e-6)
    np.testing.assert_allclose(strong.log_likelihoods().sum(), strong.log_likelihood, rtol=1e-8)
    flat = jl.IRT("graded", priors={"loadings": dist.Normal(0, 1e4)}).fit(y)
    np.testing.assert_allclose(flat._fitted.free, plain._fitted.free, atol=1e-4)


@pytest.mark.study
def test_constraints_hold_in_every_group():
    y = rated(300)
    spec = jl.IRT("graded", constraints=(np.ones((6, 1)), np.zeros(6)))
    fit = spec.fit(y[[*ITEMS, "g"]], group="g")
    assert (fit.loadings.groupby(level="group")["F1"].apply(np.ptp) < 1e-10).all()
    assert fit.loadings["F1"].nunique() > 1 and fit._fitted.n_parameters == 2 + 36


@pytest.mark.study
def test_covariates_are_recovered():
    rng = np.random.default_rng(8)
    z = rng.standard_normal((1500, 2))
    x = z @ [0.6, -0.3] + rng.standard_normal(1500)
    eta = 1.2 * x[:, None] + np.linspace(-1, 1, 6)
    y = pd.DataFrame((rng.random((1500, 6)) < 1 / (1 + np.exp(-eta))).astype(float), columns=ITEMS)
    fit = jl.IRT("2pl", covariates=["age", "ses"]).fit(y.assign(age=z[:, 0], ses=z[:, 1]))
    rows = fit.parameters.query("op == '~'").set_index("rhs")
    for name, truth in (("age", 0.6), ("ses", -0.3)):
        assert abs(rows.loc[name, "est"] - truth) < 3 * rows.loc[name, "se"] < 0.3
    moved = jl.IRT("2pl", covariates=["age", "ses"]).fit(y.assign(age=1000 + 50 * z[:, 0], ses=z[:, 1]))
    assert moved.converged
    np.testing.assert_allclose(moved.log_likelihood, fit.log_likelihood, atol=1e-4)
    np.testing.assert_allclose(moved.covariate_effects.loc["F1", "age"], rows.loc["age", "est"] / 50, rtol=1e-3)


def two_factors(n=600):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((n, 2)) @ np.linalg.cholesky([[1, 0.4], [0.4, 1]]).T
    z = np.repeat(x, 3, axis=1) * 1.4 + rng.logistic(size=(n, 6))
    return pd.DataFrame(np.digitize(z, [-0.8, 0.8]).astype(float), columns=ITEMS)


@pytest.mark.study
def test_rules_agree_for_two_factors():
    spec = jl.IRT("graded", "F =~ y0 + y1 + y2\nG =~ y3 + y4 + y5")
    exact = spec.fit(two_factors(), jl.MarginalML(jl.GaussHermite(31)))
    se = np.sqrt(np.diag(exact._fitted.vcov))
    for rule in (jl.AdaptiveGaussHermite(15), jl.ImportanceSampling(1000)):
        other = spec.fit(two_factors(), jl.MarginalML(rule))
        assert other.converged
        np.testing.assert_array_less(np.abs(other._fitted.free - exact._fitted.free) / se, 0.01)
        np.testing.assert_allclose(np.sqrt(np.diag(other._fitted.vcov)), se, rtol=0.01)


@pytest.mark.study
def test_rotation_changes_no_likelihood_and_turns_scores():
    fit = jl.IRT("graded", 2).fit(two_factors())
    turned = fit.rotate("oblimin")
    assert turned.log_likelihood == fit.log_likelihood
    asked = jl.IRT("graded", 2, rotation="oblimin").fit(two_factors())
    np.testing.assert_allclose(asked.loadings, turned.loadings, atol=1e-6)
    plain, scores = fit.scores(), turned.scores()
    np.testing.assert_allclose(
        turned.loadings.to_numpy() @ scores.to_numpy().T, fit.loadings.to_numpy() @ plain.to_numpy().T, atol=1e-8
    )
    cov = turned.factor_cov.to_numpy()
    np.testing.assert_allclose(np.diag(cov), 1, atol=1e-10)
    a, b = turned.loadings.to_numpy(), fit.loadings.to_numpy()
    np.testing.assert_allclose(a @ cov @ a.T, b @ b.T, atol=1e-8)
    assert a.sum(0).min() > 0
