"""Priors: what is written is what acts, in modes, densities and draws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import integrate, optimize, stats

import jaxlatent as jl
from jaxlatent.inference.prior_predictive import draw_parameters
from jaxlatent.inference.priors import Priors
from jaxlatent.models.block_prior import BlockPrior, Written
from jaxlatent.models.blocks import parameter_blocks
from jaxlatent.models.default_priors import block_prior
from jaxlatent.models.prior_distributions import LKJ, bounds, from_text
from jaxlatent.numerics.bijections import Bijection, Covariance
from jaxlatent.spec.prior_text import parse_prior

THREE = """
    visual  =~ x1 + prior("normal(0.6, 0.2)")*x2 + a*x3
    textual =~ x4 + x5 + x6
    speed   =~ x7 + x8 + x9
"""
PRIORS = {
    "loadings": dist.Normal(0.0, 1.0), "a": "gamma(2, 3)", "factor_cor": "lkj(3)", "residual_sd": dist.HalfNormal(1.0),
    "x9 ~~ x9": "gamma(1, 1)",
}  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return jl.datasets.load("holzinger_swineford")


@pytest.fixture(scope="module")
def mode(data):
    return jl.SEM(THREE, priors=PRIORS).fit(data)


# ---- texts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("normal(1, 1/2)", stats.norm(1, 0.5)),
        ("half-normal(2)", stats.halfnorm(0, 2)),
        ("student_t(4, 1, 2)", stats.t(4, 1, 2)),
        ("half_student_t(3, 2)", None),
        ("cauchy(0, 2.5)", stats.cauchy(0, 2.5)),
        ("half_cauchy(1)", stats.halfcauchy(0, 1)),
        ("laplace(0, 2)", stats.laplace(0, 2)),
        ("lognormal(0.5, 2)", stats.lognorm(2, scale=np.exp(0.5))),
        ("gamma(2, 3)", stats.gamma(2, scale=1 / 3)),
        ("inv_gamma(2, 3)", stats.invgamma(2, scale=3)),
        ("exponential(2)", stats.expon(scale=0.5)),
        ("beta(2, 3)", stats.beta(2, 3)),
        ("beta(2, 3)[cor]", stats.beta(2, 3, -1, 2)),
        ("uniform(-1, 2)", stats.uniform(-1, 3)),
        ("horseshoe(0.1, 2)", None),
        ("spike_and_slab(0.1, 2, 0.3)", None),
    ],
)
def test_texts_are_densities(text, reference):
    found = from_text(parse_prior(text))
    assert from_text(parse_prior(text)) is found  # one object, so that programs are used again
    low, high = bounds(found)
    at = np.array([0.05, 0.3, 0.7])
    with jax.enable_x64(True):
        log_prob = np.asarray(found.log_prob(at))
        if reference is not None:
            np.testing.assert_allclose(log_prob, reference.logpdf(at), rtol=1e-5)
            assert (low, high) == pytest.approx(reference.support())
        elif text.startswith("half_student"):
            np.testing.assert_allclose(log_prob, stats.t(3, 0, 2).logpdf(at) + np.log(2), rtol=1e-6)
        elif text.startswith("spike"):
            expected = 0.7 * stats.norm(0, 0.1).pdf(at) + 0.3 * stats.norm(0, 2).pdf(at)
            np.testing.assert_allclose(np.exp(log_prob), expected, rtol=1e-6)
        else:  # the local scale integrated out by adaptive quadrature

            def given(u, c):
                return stats.norm.pdf(c, 0, (1 / 4 + 1 / (0.1 * np.tan(np.pi * u / 2)) ** 2) ** -0.5)

            expected = [integrate.quad(given, 1e-12, 1 - 1e-12, args=(c,), limit=400)[0] for c in at]
            np.testing.assert_allclose(np.exp(log_prob), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("prior", "sentence"),
    [
        ("nomal(0, 1)", r"Line 1, column 17: expected a prior among normal"),
        ("dnorm(0, 0.01)", r"column 17: the prior 'dnorm' is JAGS' name: write normal\(mean, sd\)"),
        ("normal(0)", r"normal\(mean, sd\) with 2 number"),
        ("normal(0, -1)", "the sd of .* above 0; got -1"),
        ("normal(a, 1)", "expected numbers .* got 'a'"),
        ("normal(0, 1)[odd]", r"\[sd\], \[var\], \[cor\]"),
        ("uniform(2, 1)", "low below high"),
        ("__import__('os')", "expected a prior among"),
    ],
)
def test_texts_that_are_none(prior, sentence):
    with pytest.raises(jl.ModelSyntaxError, match=sentence):
        jl.SEM(f'f =~ x1 + prior("{prior}")*x2 + x3')


# ---- which prior acts -----------------------------------------------------------------------------------------------


def test_syntax_beats_label_beats_class(data):
    table = jl.SEM(THREE, priors=PRIORS).parameter_table(data)
    shown = dict(zip(table["lhs"] + table["op"] + table["rhs"], table["prior"], strict=True))
    assert shown["visual=~x1"] is None and shown["visual=~x2"] == "normal(0.6, 0.2)"
    assert shown["visual=~x3"] == "gamma(2, 3)" and shown["textual=~x5"] == "Normal(0, 1)"
    assert shown["x1~~x1"] == "HalfNormal(1)[sd]" and shown["x9~~x9"] == "gamma(1, 1)"
    assert shown["visual~~speed"] == "lkj(3)" and shown["visual~~visual"] is None


def test_texts_and_distributions_are_the_same(data):
    by_text = jl.SEM(THREE, priors={"loadings": "student_t(4, 0, 1)"}).bind(data)
    by_object = jl.SEM(THREE, priors={"loadings": dist.StudentT(4.0, 0.0, 1.0)}).bind(data)
    free = by_text.model.layout.start
    for a, b in zip(
        by_text.priors.on_host(by_text.model.layout, free),
        by_object.priors.on_host(by_object.model.layout, free),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize(
    ("priors", "sentence"),
    [
        ({"slopes": "normal(0, 1)"}, "names in priors among factor_cor, .*, a, or a parameter such as 'visual =~ x2'"),
        ({"visual =~ x1": "normal(0, 1)"}, "'visual =~ x1' is fixed at 1"),
        ({"residual_var": dist.Normal(-9.0, 0.1)}, "Normal.* of 'x1 ~~ x1' has no mass where a variance lives"),
        ({"factor_cor": "uniform(1, 2)"}, "no mass where a correlation lives, between -1 and 1"),
        ({"residual_sd": dist.Uniform(-2.0, -1.0)}, "no mass where a standard deviation lives"),
        ({"loadings": "gamma(1, 1)[sd]"}, "'visual =~ x3' is no variance"),
        ({"loadings": "lkj(2)"}, "LKJ prior is one of all correlations"),
        ({"loadings": dist.Poisson(1.0)}, "the discrete Poisson"),
        ({"loadings": dist.Normal(jnp.zeros(3), 1.0)}, r"distribution of one number .* of shape \(3,\)"),
        ({"loadings": 3}, "NumPyro distribution or a text"),
        ({"factor_sd": "gamma(1, 1)", "factor_var": "gamma(1, 1)"}, "both about 'visual ~~ visual'"),
        ({"loadings_between_groups": "normal(0, 0.1)"}, "there is one group"),
        (["loadings"], "priors as a mapping"),
    ],
)
def test_priors_that_cannot_be(data, priors, sentence):
    with pytest.raises(ValueError, match=sentence):
        jl.SEM(THREE, priors=priors).parameter_table(data)


def test_engines_without_a_likelihood_are_refused(data):
    model = jl.SEM(THREE)
    for engine, missing, sentence in (
        (jl.LeastSquares("uls"), None, "ULS has none"),
        (jl.ML(test="satorra_bentler"), None, "those of the log posterior"),
        (jl.ML(), "two_stage", "no likelihood of the rows"),
    ):
        with pytest.raises(ValueError, match=sentence):
            model.fit(data, engine, missing=missing)


# ---- modes ----------------------------------------------------------------------------------------------------------


def log_prior(fit, free):
    """The priors of THREE and PRIORS, by SciPy."""
    rows = {f"{r.lhs}{r.op}{r.rhs}": free[r.free - 1] for r in fit._fitted.table.rows if r.free}
    out = stats.norm(0.6, 0.2).logpdf(rows["visual=~x2"]) + stats.gamma(2, scale=1 / 3).logpdf(rows["visual=~x3"])
    out += sum(stats.norm().logpdf(rows[k]) for k in ("textual=~x5", "textual=~x6", "speed=~x8", "speed=~x9"))
    out += sum(stats.halfnorm().logpdf(np.sqrt(rows[f"x{j}~~x{j}"])) for j in range(1, 9))
    out += stats.expon().logpdf(rows["x9~~x9"])
    names = ("visual", "textual", "speed")
    cov = np.array([[rows.get(f"{a}~~{b}", rows.get(f"{b}~~{a}")) for a in names] for b in names])
    return out + 2 * (np.linalg.slogdet(cov)[1] - np.log(np.diag(cov)).sum())


def log_likelihood(fit, y, free):
    f = fit._fitted
    full = np.append(free, 0.0)
    one = {name: np.where(i >= 0, full[i], f.layout.fixed[name])[0] for name, i in f.layout.index.items()}
    cov = one["loadings"] @ one["factor_cov"] @ one["loadings"].T + one["residual_cov"]
    mean = one["intercepts"] if f.table.mean_structure else np.nanmean(y, axis=0)
    total = 0.0
    for pattern in np.unique(np.isnan(y), axis=0):
        rows = y[(np.isnan(y) == pattern).all(axis=1)][:, ~pattern]
        total += stats.multivariate_normal(mean[~pattern], cov[np.ix_(~pattern, ~pattern)]).logpdf(rows).sum()
    return total


def check_mode(fit, y):
    """The likelihood is the likelihood; nothing near is better; errors are the Hessian's; the prior is SciPy's."""
    free = fit._fitted.free
    assert fit.log_likelihood == pytest.approx(log_likelihood(fit, y, free), abs=1e-7)
    assert fit._fitted.estimate.statistics["log_prior"] == pytest.approx(log_prior(fit, free), abs=1e-6)

    def objective(x):
        return -log_likelihood(fit, y, x) - log_prior(fit, x)

    se = np.sqrt(np.diag(fit.vcov()))
    found = optimize.minimize(lambda z: objective(free + se * z), np.full(len(free), 0.05), method="BFGS")
    assert np.abs(found.x).max() < 1e-3  # standard errors
    for k in (0, 1, 8):
        step = np.zeros(len(free))
        step[k] = 1e-3
        curve = (objective(free + step) - 2 * objective(free) + objective(free - step)) / 1e-6
        assert np.linalg.inv(fit.vcov())[k, k] == pytest.approx(curve, rel=1e-3)


def test_the_posterior_mode(data, mode):
    assert mode.converged and any("posterior modes" in note for note in mode.notes)
    check_mode(mode, data[list(mode._fitted.table.observed)].to_numpy())
    for refused in (mode.modification_indices, mode.score_tests, lambda: mode.bootstrap(10)):
        with pytest.raises(ValueError, match="about a maximum of the likelihood"):
            refused()


@pytest.mark.study
def test_the_posterior_mode_from_incomplete_rows(data):
    some = data.copy()
    some.loc[:40, "x2"] = np.nan
    some.loc[30:90, "x5"] = np.nan
    fit = jl.SEM(THREE, priors=PRIORS).fit(some)
    check_mode(fit, some[list(fit._fitted.table.observed)].to_numpy())


def test_flat_priors_give_the_maximum(data):
    flat, plain = jl.SEM(THREE.replace('prior("normal(0.6, 0.2)")*', ""), priors="flat"), jl.SEM("f =~ x1 + x2 + x3")
    fit = flat.fit(data)
    expected = jl.SEM(flat.syntax).fit(data)
    np.testing.assert_array_equal(fit._fitted.free, expected._fitted.free)
    assert fit.notes == () and fit.engine == expected.engine
    jl.numpyro_model(jl.SEM(plain.syntax, priors="flat").bind(data), "sample")  # identified: nothing to refuse
    with pytest.raises(ValueError, match="data do not determine f =~ x1, f =~ x2, f =~ x3, f ~~ f"):
        jl.numpyro_model(jl.SEM("f =~ NA*x1 + x2 + x3", priors="flat").bind(data), "sample")
    with pytest.raises(ValueError, match=r"slope 'F1 =~ Item\.1' has no proper posterior"):
        jl.numpyro_model(jl.IRT("2pl", priors={"loadings": "flat"}).bind(jl.datasets.load("lsat7")), "sample")
    with pytest.raises(ValueError, match="is flat, so that nothing can be drawn"):
        flat.prior_predictive(data)


def test_normal_items_have_one_mode(data):
    """A factor model with normal items is both: ML of moments and MarginalML by quadrature end at one mode."""
    items = ["x1", "x2", "x3"]
    priors = {"loadings": dist.Normal(0.5, 0.1), "x1 ~1": "normal(4.9, 0.02)"}
    by_moments = jl.SEM("F =~ x1 + x2 + x3", std_lv=True, mean_structure=True, priors=priors).fit(data)
    rule = jl.GaussHermite(41)
    by_points = jl.IRT("normal", factors="F =~ x1 + x2 + x3", priors=priors).fit(data[items], jl.MarginalML(rule))
    np.testing.assert_allclose(by_points.loadings.to_numpy(), by_moments.loadings.to_numpy(), atol=1e-4)
    np.testing.assert_allclose(by_points.log_likelihood, by_moments.log_likelihood, atol=1e-4)
    free = jl.SEM("F =~ x1 + x2 + x3", std_lv=True).fit(data)
    assert np.abs(free.loadings.to_numpy() - by_moments.loadings.to_numpy()).max() > 0.05  # the prior has acted


def test_cross_loadings_are_freed_and_kept_small(data):
    syntax = THREE.replace('prior("normal(0.6, 0.2)")*', "")
    model = jl.SEM(syntax, std_lv=True, priors={"cross_loadings": dist.Normal(0.0, 0.1)})
    fit = model.fit(data)
    lam = fit.loadings.to_numpy()
    cross = np.kron(np.eye(3), np.ones((3, 1))) == 0
    assert fit.converged and not fit.warnings and (lam[cross] != 0).all() and np.abs(lam[cross]).max() < 0.3
    assert lam[8, 0] > 0.15  # x9 loads on visual, as modification indices of these data say
    se = fit.parameters.query("op == '=~'")["se"]
    assert np.isfinite(se).all() and (se < 0.2).all()


def test_approximate_invariance(data):
    """Normal differences of small variance: between free loadings in groups and equal ones."""
    syntax = "visual =~ x1 + x2 + x3\nvisual ~~ c(1, NA)*visual"
    fits = {
        sd: jl.SEM(syntax, std_lv=True, priors={"loadings_between_groups": dist.Normal(0.0, sd)}).fit(
            data, group="school"
        )
        for sd in (1e-4, 0.05)
    }
    equal = jl.SEM("visual =~ x1 + x2 + x3", std_lv=True, group_equal="loadings").fit(data, group="school")
    spread = {sd: np.ptp(fit.loadings.to_numpy().reshape(2, 3), axis=0).max() for sd, fit in fits.items()}
    assert spread[1e-4] < 1e-5 < 1e-3 < spread[0.05]
    np.testing.assert_allclose(fits[1e-4].log_likelihood, equal.log_likelihood, atol=1e-3)


def test_files_keep_priors(data, tmp_path):
    model = jl.SEM(
        "f =~ x1 + x2 + x3\ng =~ x4 + x5 + x6",
        priors={"cross_loadings": dist.Normal(0.0, 0.1), "residual_sd": dist.Gamma(2.0, 2.0)},
    )
    fit = model.fit(data)
    again = jl.load(fit.save(tmp_path / "a.latent"))
    np.testing.assert_array_equal(again.loadings, fit.loadings)
    assert again.notes == fit.notes and again._fitted.priors.active
    with pytest.raises(ValueError, match="about a maximum"):
        again.modification_indices()


# ---- densities and draws --------------------------------------------------------------------------------------------


def full(size, fixed=()):
    cells = [(i, j) for i in range(size) for j in range(i + 1) if (i, j) not in fixed]
    return Covariance(size, tuple((i, j, k) for k, (i, j) in enumerate(cells)), ())


def prior_of(pattern, *written):
    """A block of one covariance matrix; written: (distribution, cells, scale)."""
    at = {(i, j): k for i, j, k in pattern.free}
    n = len(at)
    own = tuple(Written(d, np.isin(np.arange(n), [at[cell] for cell in cells]), scale) for d, cells, scale in written)
    return BlockPrior(Bijection(n, covariances=(pattern,)), np.ones(n, bool), np.zeros(n), np.ones(n), own), at


def test_lkj_and_deviations_are_a_density():
    """The density of cells integrates to 1, and its draws have the moments of what was written."""
    with jax.enable_x64(True):
        prior, at = prior_of(full(2), (dist.Gamma(3.0, 3.0), [(0, 0), (1, 1)], "sd"), (LKJ(2.0), [(1, 0)], "lkj"))
        s, r = np.linspace(0.01, 6, 90), np.linspace(-0.999, 0.999, 91)
        a, b, c = np.meshgrid(s, s, r, indexing="ij")
        cells = np.stack([a**2, c * a * b, b**2], -1)
        jacobian = 4 * a**2 * b**2  # of (s1, s2, r) -> cells
        density = np.exp(np.asarray(prior.log_prob(cells))) * jacobian
        total = integrate.simpson(integrate.simpson(integrate.simpson(density, x=r), x=s), x=s)
        assert total == pytest.approx(1, abs=2e-3)
        draws = np.asarray(prior.sample(jax.random.key(0), (20_000,)))
    sd = np.sqrt(draws[:, [at[0, 0], at[1, 1]]])
    r = draws[:, at[1, 0]] / sd.prod(axis=1)
    for values, reference in ((sd[:, 0], stats.gamma(3, scale=1 / 3)), (sd[:, 1], stats.gamma(3, scale=1 / 3))):
        assert stats.kstest(values, reference.cdf).pvalue > 1e-4
    assert stats.kstest((r + 1) / 2, stats.beta(2, 2).cdf).pvalue > 1e-4


@pytest.mark.parametrize("fixed", [(), ((2, 0),)], ids=["full", "a fixed zero"])
def test_draws_follow_the_density_of_matrices(fixed):
    """E[w] = 1 for w = density / density of an importance distribution, within and only within the set of the draws."""
    with jax.enable_x64(True):
        prior, at = prior_of(
            full(3, fixed),
            (dist.LogNormal(0.0, 0.3), [(0, 0), (1, 1), (2, 2)], "sd"),
            (LKJ(2.0), [cell for cell in ((1, 0), (2, 0), (2, 1)) if cell not in fixed], "lkj"),
        )
        draws = np.asarray(prior.sample(jax.random.key(1), (40_000,)))
        # correlations by a grid of the density at unit deviations
        grid = np.linspace(-0.98, 0.98, 50)
        mesh = np.meshgrid(*[grid] * (3 - len(fixed)), indexing="ij")
        cells = np.ones((*mesh[0].shape, len(at)))
        for k, cell in enumerate(cell for cell in ((1, 0), (2, 0), (2, 1)) if cell not in fixed):
            cells[..., at[cell]] = mesh[k]
        density = np.nan_to_num(np.exp(np.asarray(prior.log_prob(cells))))
    weight = density / density.sum()
    sd = {i: np.sqrt(draws[:, at[i, i]]) for i in range(3)}
    for k, (i, j) in enumerate(cell for cell in ((1, 0), (2, 0), (2, 1)) if cell not in fixed):
        r = draws[:, at[i, j]] / (sd[i] * sd[j])
        assert (r**2).mean() == pytest.approx((weight * mesh[k] ** 2).sum(), rel=0.03)
        assert r.mean() == pytest.approx(0, abs=4 * r.std() / 200)


def test_draws_of_written_priors(data):
    """Moments of draws are those written, also of a prior restricted to positive numbers and of one with bounds."""
    bound = jl.SEM(THREE, priors=PRIORS | {"textual =~ x5": "uniform(-1, 3)", "residual_sd": "uniform(0.5, 2)"}).bind(
        data
    )
    draws = draw_parameters(bound, 20_000, jax.random.key(0))
    rows = {f"{r.lhs}{r.op}{r.rhs}": draws[:, r.free - 1] for r in bound.table.rows if r.free}
    for values, reference in (
        (rows["visual=~x2"], stats.norm(0.6, 0.2)),
        (rows["visual=~x3"], stats.gamma(2, scale=1 / 3)),
        (rows["textual=~x5"], stats.uniform(-1, 4)),
        (np.sqrt(rows["x1~~x1"]), stats.uniform(0.5, 1.5)),
        (rows["x9~~x9"], stats.expon()),
    ):
        assert stats.kstest(values, reference.cdf).pvalue > 1e-4
    r = rows["visual~~speed"] / np.sqrt(rows["visual~~visual"] * rows["speed~~speed"])
    assert stats.kstest((r + 1) / 2, stats.beta(3.5, 3.5).cdf).pvalue > 1e-4  # LKJ's margin, η - 1 + d/2


def test_defaults_follow_the_scale_of_the_data(data):
    """Twice the unit of x1 and its factor: twice, half and four times the spread of what belongs to them."""
    model, wide = jl.SEM("f =~ x1 + x2 + x3\nf ~ x7"), data.assign(x1=data["x1"] * 2)
    found = []
    for frame in (data, wide):
        bound = model.bind(frame)
        blocks = parameter_blocks(bound.model)
        found.append({b.name: block_prior(b, bound.model, bound.arrays) for b in blocks})
    (a, b), key = found, jax.random.key(0)
    np.testing.assert_allclose(b["loadings"].scale / a["loadings"].scale, 0.5, rtol=1e-6)
    np.testing.assert_allclose(b["regressions"].scale / a["regressions"].scale, 2, rtol=1e-6)
    ratio = b["residual_cov"].sample(key, (10,)) / a["residual_cov"].sample(key, (10,))
    np.testing.assert_allclose(ratio, np.tile([4, 1, 1], (10, 1)), rtol=1e-4)
    assert all(not prior.improper.any() for prior in a.values())


def test_prior_predictive(data, tmp_path):
    priors = {"loadings": "normal(1, 0.1)", "residual_sd": "gamma(100, 100)", "factor_sd": "gamma(100, 100)"}
    found = jl.SEM("f =~ x1 + x2 + x3", priors=priors).prior_predictive(data, n_draws=50)
    assert found.data.shape == (50, 301, 3) and list(found.parameters) == list(found.names)
    assert found.data.var(axis=1).mean() == pytest.approx(2, rel=0.1)  # 1² 1 + 1
    found.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000
    items = jl.IRT("graded").prior_predictive(jl.datasets.load("bfi")[["N1", "N2", "N3"]].head(100), n_draws=20)
    assert set(np.unique(items.data)) <= set(range(6)) and all(items.categorical)
    with pytest.raises(ValueError, match="n_draws"):
        jl.SEM("f =~ x1 + x2 + x3").prior_predictive(data, n_draws=0)


def test_item_models_share_all_this():
    """By class, by label and by parameter; the column prior; what is not there."""
    y = jl.datasets.load("lsat7")
    names = list(y.columns)
    model = jl.IRT("2pl", priors={"loadings": "lognormal(0, 0.5)", f"F1 =~ {names[0]}": "normal(1, 0.01)"})
    table = model.parameter_table(y)
    assert table.query("op == '=~'")["prior"].tolist() == ["normal(1, 0.01)"] + ["lognormal(0, 0.5)"] * 4
    fit = model.fit(y)
    assert fit.loadings.to_numpy()[0, 0] == pytest.approx(1, abs=0.02)
    with pytest.raises(ValueError, match="names in priors among intercepts, loadings, or a parameter such as"):
        jl.IRT("2pl", priors={"residual_sd": "normal(0, 1)"}).fit(y)


def test_empty_priors_are_none():
    assert Priors().on_host(None, np.zeros(2))[0] == 0.0
