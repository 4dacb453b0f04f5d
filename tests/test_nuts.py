"""Posterior draws: the density, the sampler, the fit, and what is refused."""

from __future__ import annotations

import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxlatent as jl
from jaxlatent.diagnostics.draw_likelihoods import draw_log_likelihoods
from jaxlatent.diagnostics.posterior_measures import leave_one_out, posterior_measures
from jaxlatent.inference.bayes import item_posterior, moment_posterior, reflected, sampling_rule
from jaxlatent.inference.draws import Draws
from jaxlatent.models.marginal import evaluate
from jaxlatent.models.prior_distributions import flat
from jaxlatent.numerics.chains import summarize_chains
from jaxlatent.numerics.rotated_draws import rotate_alike
from jaxlatent.numerics.rotation import rotate
from jaxlatent.results.draws import sampling_draws
from jaxlatent.results.posterior_tables import check_chains

THREE = "visual =~ x1 + x2 + x3\n textual =~ x4 + x5 + x6\n speed =~ x7 + x8 + x9"
FLAT = dict.fromkeys(("loadings", "residual_var", "factor_var", "factor_cov"), flat)
SHORT = jl.NUTS(num_warmup=300, num_samples=300)


@pytest.fixture(scope="module")
def data():
    return jl.datasets.load("holzinger_swineford")


@pytest.fixture(scope="module")
def fit(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jl.ModelWarning)  # the chains are short
        return jl.SEM(THREE).fit(data, SHORT)


@pytest.fixture(scope="module")
def maximum(data):
    return jl.SEM(THREE).fit(data)


@pytest.fixture(scope="module")
def density(maximum):
    """The log posterior density of u, compiled, and a point."""
    posterior, start = moment_posterior(maximum._fitted)
    with jax.enable_x64(True):
        u = np.asarray(posterior.unconstrained(jnp.asarray(start)))
        value = jax.jit(jax.value_and_grad(lambda u: posterior.log_prob(u)))
        return posterior, u, value


# ---- the density ----------------------------------------------------------------------------------------------------


def test_density_is_likelihood_prior_and_jacobian(density, maximum, data):
    """By independent code: scipy's normal rows, the documented default priors, a determinant of differences."""
    posterior, u, value = density
    u = u + 0.05 * np.sin(np.arange(len(u)))
    with jax.enable_x64(True):
        free = np.asarray(posterior.prior(jnp.asarray(u))[0])
        step = 1e-6
        columns = [
            (np.asarray(posterior.prior(jnp.asarray(u + d))[0]) - np.asarray(posterior.prior(jnp.asarray(u - d))[0]))
            / (2 * step)
            for d in step * np.eye(len(u))
        ]
        found = float(value(jnp.asarray(u))[0])
    jacobian = np.linalg.slogdet(np.array(columns))[1]
    table = maximum._fitted.table
    loadings, theta, psi = np.zeros((9, 3)), np.zeros(9), np.zeros((3, 3))
    names = list(table.latent)
    y = data[list(table.observed)].to_numpy()
    sd = y.std(0)
    prior = 0.0
    for row in table.rows:
        c = free[row.free - 1] if row.free else row.fixed
        if row.op == "=~":
            j, k = table.observed.index(row.rhs), names.index(row.lhs)
            loadings[j, k] = c
            if row.free:
                prior += stats.norm.logpdf(c, 0, 3 * sd[j] / sd[3 * k])
        elif row.lhs in names:
            a, b = names.index(row.lhs), names.index(row.rhs)
            psi[a, b] = psi[b, a] = c
        else:
            j = table.observed.index(row.lhs)
            theta[j] = c
            prior += stats.gamma.logpdf(np.sqrt(c), 2, scale=sd[j] / 2) - np.log(2 * np.sqrt(c))
    s = np.sqrt(np.diag(psi))
    prior += sum(stats.gamma.logpdf(s[k], 2, scale=sd[3 * k] / 2) - np.log(2 * s[k]) for k in range(3))
    r = psi / np.outer(s, s)
    # LKJ(2) of 3 x 3: det(R) over its integral, and dr/dcov = 1 / (s_i s_j)
    volume = _lkj_volume(2.0)
    prior += np.log(np.linalg.det(r)) - np.log(volume) - 2 * np.log(s).sum()
    centred = y - y.mean(0)
    likelihood = stats.multivariate_normal(np.zeros(9), loadings @ psi @ loadings.T + np.diag(theta)).logpdf(centred)
    assert found == pytest.approx(likelihood.sum() + prior + jacobian, abs=1e-5)


def _lkj_volume(eta: float) -> float:
    """Integral of det(R)^(eta - 1) over 3 x 3 correlation matrices, by vines: partial correlations are beta."""
    out = 1.0
    for a in (eta + 0.5, eta + 0.5, eta):  # two correlations with one variable left over, one with none
        out *= 2 ** (2 * a - 1) * np.exp(2 * _log_gamma(a) - _log_gamma(2 * a))
    return out


def _log_gamma(x: float) -> float:
    from scipy.special import gammaln

    return float(gammaln(x))


def test_gradient_is_that_of_differences(density):
    _, u, value = density
    step = 1e-5
    with jax.enable_x64(True):
        gradient = np.asarray(value(jnp.asarray(u))[1])
        different = [
            float(value(jnp.asarray(u + d))[0] - value(jnp.asarray(u - d))[0]) / (2 * step)
            for d in step * np.eye(len(u))
        ]
    assert np.allclose(gradient, different, atol=1e-4)  # differences of a sum of 3700: rounding 1e-6


def test_grid_likelihood_is_that_of_the_fit():
    """Reverse derivatives of the table beside scores of persons, with missing answers and two families."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 1))
    codes = (x + rng.standard_normal((120, 4)) > np.array([-0.5, 0.0, 0.3, 0.6])).astype(float)
    codes[:, 0] += x[:, 0] > 1
    codes[rng.random(codes.shape) < 0.1] = np.nan
    types = {"a": "graded", "b": "2pl", "c": "2pl", "d": "2pl"}
    fit = jl.IRT(types).fit(dict(zip("abcd", codes.T, strict=True)), jl.MarginalML(integration=jl.GaussHermite(21)))
    likelihood, start = item_posterior(fit._fitted)[0].likelihood, fit._fitted.free + 0.1
    with jax.enable_x64(True):
        free = jnp.asarray(start)
        value, gradient = jax.jit(lambda each, f: each.first(f))(likelihood, free)
        modes = jnp.zeros((*likelihood.problem.chunks.shape, 1))
        other = jax.jit(lambda p, f: evaluate(likelihood.form, p, f, modes, 0, crossed=False))(likelihood.problem, free)
    assert float(value) == pytest.approx(float(other.log_likelihood), abs=1e-9)
    assert np.allclose(gradient, other.score, atol=1e-8)


# ---- draws ----------------------------------------------------------------------------------------------------------


def test_chains_and_draws_are_sound(fit):
    assert fit.draws.free.shape == (4, 300, 21)
    assert fit.converged
    assert not fit.draws.stats["diverging"].any()
    frame = fit.parameters
    assert list(frame.columns[-4:]) == ["median", "rhat", "ess_bulk", "ess_tail"]
    free = frame["free"] > 0
    assert (frame.loc[free, "rhat"] < 1.05).all()
    assert (frame.loc[free, "ess_bulk"] > 300).all()
    assert frame.loc[~free, "rhat"].isna().all()
    assert ((frame["ci_lower"] <= frame["median"]) & (frame["median"] <= frame["ci_upper"])).all()
    assert np.allclose(frame.loc[free, "est"].to_numpy(), fit.draws.flat.mean(0)[frame.loc[free, "free"] - 1])


def test_another_data_set_compiles_nothing_and_keys_decide(fit, data, compiled):
    """Numbers of data, priors and whitening are leaves of the compiled programs."""
    half = data.iloc[::2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jl.ModelWarning)
        with compiled() as names:
            again = jl.SEM(THREE).fit(half, SHORT, key=1)
        same = jl.SEM(THREE).fit(data, SHORT)
    assert not [name for name in names if name.strip("_") in ("locate", "begin", "advance")]
    assert np.array_equal(same.draws.free, fit.draws.free)
    assert not np.array_equal(again.draws.free, fit.draws.free)


def test_scores_add_the_uncertainty_of_parameters(fit, maximum):
    mine, theirs = fit.scores(return_se=True), maximum.scores(return_se=True)
    for name in ("visual", "textual", "speed"):
        assert np.corrcoef(mine[name], theirs[name])[0, 1] > 0.999
        assert (mine[f"{name}_se"].mean() > theirs[f"{name}_se"].mean() * 0.95).all()
    assert fit.scores(method="eap").equals(fit.scores())


def test_summary_says_what_was_sampled(fit):
    text = str(fit.summary())
    for part in ("NUTS", "Largest R-hat", "Posterior predictive p-value", "LOO", "Post.SD", "97.5%", "ESS"):
        assert part in text
    assert "P(>|z|)" not in text
    assert fit.log_likelihood == pytest.approx(fit.log_likelihoods().sum(), abs=1e-6)


def test_report_is_one_page_with_chains_fit_and_pictures(fit, tmp_path):
    text = fit.report(tmp_path / "three_factors.html").read_text(encoding="utf-8")
    parts = ["How it was sampled", "Chains", "Posterior predictive p-value", "Posterior predictive checks",
             "Path diagram", "Posterior intervals", "Parameters", "How to cite"]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "did not converge" not in text and "<script" not in text and text.count("<svg") == 3


def test_priors_of_a_fit_are_those_of_the_table(fit, data):
    """Defaults as documented: loadings N(0, (3 s_j / s_k)²), deviations Gamma(2, 2 / s), correlations LKJ(2)."""
    frame = fit.priors
    table = jl.SEM(THREE).parameter_table(data, default_priors=True).query("free > 0")
    assert frame["prior"].tolist() == table["prior"].tolist()
    named = frame.set_index(["lhs", "op", "rhs"])["prior"]
    sd = data[[f"x{j}" for j in range(1, 10)]].std(ddof=0)
    assert named["visual", "=~", "x2"] == f"normal(0, {3 * sd['x2'] / sd['x1']:.3g})"
    assert named["x9", "~~", "x9"] == f"gamma(2, {2 / sd['x9']:.3g})[sd]"
    assert named["visual", "~~", "speed"] == "lkj(2)"
    mine = jl.SEM(THREE, std_lv=True, priors={"loadings": "normal(1, 0.5)"}).parameter_table(data, default_priors=True)
    assert (mine.loc[mine["op"] == "=~", "prior"] == "normal(1, 0.5)").all()
    items = jl.IRT("3pl").parameter_table(jl.datasets.load("lsat7"), default_priors=True)
    assert items["prior"].dropna().str.contains("half_normal").sum() == 1  # the slope that fixes the sign
    assert items.loc[items["op"] == "guessing", "prior"].str.contains("logit").all()
    with pytest.raises(ValueError, match="pass the data"):
        jl.SEM(THREE).parameter_table(default_priors=True)


def test_saved_draws_come_back(fit, tmp_path):
    found = jl.load(fit.save(tmp_path / "fit.latent", include_data=True))
    assert isinstance(found, jl.PosteriorFit)
    assert np.array_equal(found.draws.free, fit.draws.free)
    assert found.parameters.equals(fit.parameters)
    assert found.scores().equals(fit.scores())
    assert found.engine == fit.engine


def test_disagreeing_chains_are_said_first(fit):
    """Two chains moved away from the others by ten standard deviations of one parameter."""
    moved = fit.draws.free.copy()
    moved[2:, :, 0] += 10 * moved[:, :, 0].std()
    check = check_chains(Draws(moved, "posterior", fit.draws.stats), list(fit.vcov().index), 10)
    assert not check.agree
    assert check.sentences[0].startswith("The chains disagree")
    assert fit.vcov().index[0] in check.sentences[0]


def test_chain_summaries_are_arviz(fit):
    """The definitions of Vehtari et al. (2021), against ArviZ's code."""
    arviz_stats = pytest.importorskip("arviz_stats")
    base = pytest.importorskip("arviz_base")
    draws = fit.draws.free[:, :, :4] ** 3  # skewed
    tree = base.from_dict({"posterior": {"x": draws}})
    mine = summarize_chains(draws)
    assert np.allclose(mine.rhat, arviz_stats.rhat(tree)["x"], atol=1e-6)
    assert np.allclose(mine.ess_bulk, arviz_stats.ess(tree, method="bulk")["x"], rtol=1e-3)
    assert np.allclose(
        mine.ess_tail, arviz_stats.ess(tree, method="tail", prob=(0.05, 0.95))["x"], rtol=5e-2
    )  # quantiles interpolate


def test_reflection_turns_a_factor_over(maximum):
    f = maximum._fitted
    layout, free = f.layout, f.free.copy()
    assert np.array_equal(reflected(layout, free), free)  # markers give every factor its direction
    fixed = {name: np.array(value) for name, value in layout.fixed.items()}
    index = {name: np.array(value) for name, value in layout.index.items()}
    free[index["loadings"][0, 1:3, 0]] *= -1
    fixed["loadings"][0, 0, 0] = 0.0
    turned = reflected(type(layout)(index, fixed, layout.start, layout.blocks), free)
    assert np.array_equal(turned[index["loadings"][0, 1:3, 0]], f.free[index["loadings"][0, 1:3, 0]])
    assert turned[index["factor_cov"][0, 0, 1]] == -f.free[index["factor_cov"][0, 0, 1]]


def test_draws_of_loadings_are_rotated_alike():
    """One solution turned by random rotations and reflections, as chains may find it, comes back as one."""
    rng = np.random.default_rng(0)
    simple = np.kron(np.eye(3), np.ones((4, 1))) * rng.uniform(0.5, 0.9, (12, 1))
    phi = 0.7 * np.eye(3) + 0.3
    plain = simple @ np.linalg.cholesky(phi)
    turns = np.linalg.qr(rng.standard_normal((30, 3, 3)))[0]
    like = rotate(plain, "oblimin")
    found = rotate_alike(plain @ turns, like)
    back = plain @ turns @ np.linalg.inv(np.swapaxes(found, 1, 2))
    assert np.allclose(back, like.loadings, atol=1e-5)
    assert np.allclose(np.swapaxes(found, 1, 2) @ found, like.factor_cov, atol=1e-5)


@pytest.mark.study
def test_exploratory_draws_are_rotated_like_the_maximum():
    """Posterior means of rotated slopes beside the rotated maximum; chains agree about them."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((300, 2)) @ np.linalg.cholesky([[1, 0.4], [0.4, 1]]).T
    slopes = np.zeros((10, 2))
    slopes[:5, 0], slopes[5:, 1] = rng.uniform(1, 2, 5), rng.uniform(1, 2, 5)
    chance = 1 / (1 + np.exp(-(x @ slopes.T + rng.standard_normal(10) / 2)))
    data = {f"i{j}": (rng.random(300) < chance[:, j]).astype(float) for j in range(10)}
    model = jl.IRT("2pl", factors=2)
    found = model.fit(data, jl.NUTS(num_samples=500)).rotate("oblimin")
    theirs = model.fit(data).rotate("oblimin")
    gap = (found.loadings - theirs.loadings) / found.loadings_se
    assert gap.abs().to_numpy().max() < 0.6  # skewed posteriors of slopes: means lie above the maximum
    assert found.parameters["rhat"].max() < 1.02 and found.parameters["ess_bulk"].min() > 400
    assert abs(found.factor_cov - theirs.factor_cov).to_numpy().max() < 0.1
    assert dict(found.to_datatree()["matrices"].sizes) == {
        "chain": 4,
        "draw": 500,
        "item": 10,
        "factor": 2,
        "factor2": 2,
    }


@pytest.mark.study
def test_leave_one_out_where_factors_are_sampled_along():
    """Four factors: marginal, by importance sampling; eight times as many points move elpd by less than 0.5.

    Draws are those of N(estimate, vcov), at which log-likelihoods are what they are at a posterior's.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 4)) @ np.linalg.cholesky(0.3 + 0.7 * np.eye(4)).T
    slopes = np.kron(np.eye(4), np.ones((4, 1))) * rng.uniform(0.8, 2, (16, 1))
    codes = (rng.random((200, 16)) < 1 / (1 + np.exp(-(x @ slopes.T)))).astype(float)
    names = [f"i{j}" for j in range(16)]
    syntax = "\n".join(f"F{k} =~ {' + '.join(names[4 * k : 4 * k + 4])}" for k in range(4))
    f = jl.IRT("2pl", factors=syntax).fit(dict(zip(names, codes.T, strict=True)))._fitted
    draws = sampling_draws(f, f.vcov, 400)
    found = leave_one_out(f, draws)
    assert float(found.pareto_k.max()) < 0.7 and 20 < float(found.p) < 60  # 38 parameters
    assert posterior_measures(f, draws)["elpd_loo"] == pytest.approx(float(found.elpd), abs=1e-9)
    finer = replace(f, rule=jl.ImportanceSampling(1024))
    assert float(leave_one_out(finer, draws).elpd) == pytest.approx(float(found.elpd), abs=0.5)


@pytest.mark.study
@pytest.mark.parametrize("name", ["lsat7", "bfi"])
def test_fewer_nodes_than_61_give_the_same_posterior(name):
    """The grid that NUTS chooses, by the weights that take its posterior to that of 61 nodes: means within 0.02 sd.

    Draws are those of N(estimate, vcov); what moves them depends on the two likelihoods alone.
    """
    if name == "lsat7":
        model, data = jl.IRT("2pl"), jl.datasets.load("lsat7")
    else:
        model, data = jl.IRT("graded"), jl.datasets.load("bfi")[["N1", "N2", "N3", "N4", "N5"]].head(500)
    f = model.fit(data)._fitted
    free, few = sampling_draws(f, f.vcov, 1000).flat, sampling_rule(f)
    assert few.n < 61
    own, other = (draw_log_likelihoods(replace(f, rule=rule), free).sum(1) for rule in (few, jl.GaussHermite(61)))
    weight = np.exp(other - own - (other - own).max())
    weight /= weight.sum()
    gap = (weight @ free - free.mean(0)) / free.std(0)
    assert np.abs(gap).max() < 0.02


@pytest.mark.study
def test_medians_are_near_the_maximum_under_flat_priors(data, maximum):
    found = jl.SEM(THREE, priors=FLAT).fit(data, jl.NUTS(num_samples=2000))
    loadings = found.parameters["op"].eq("=~") & (found.parameters["free"] > 0)
    gap = (found.parameters["median"] - maximum.parameters["est"]) / found.parameters["se"]
    assert gap[loadings].abs().max() < 0.25
    assert found.parameters.loc[loadings, "ess_bulk"].min() >= 4000


@pytest.mark.study
def test_item_model_on_the_grid_and_jointly():
    """LSAT7's 2PL: posterior means beside the maximum, and the two ways to the same posterior."""
    data = jl.datasets.load("lsat7")
    fit = jl.IRT("2pl").fit(data, jl.NUTS())
    ml = jl.IRT("2pl").fit(data)
    free = fit.parameters["free"] > 0
    gap = (fit.parameters["median"] - ml.parameters["est"]) / fit.parameters["se"]
    assert gap[free].abs().max() < 0.35
    assert fit.parameters.loc[free, "rhat"].max() <= 1.01
    assert fit.parameters.loc[free, "ess_bulk"].min() >= 1600
    assert not fit.draws.stats["diverging"].any()
    assert float(fit.loo().pareto_k.max()) < 0.7
    assert np.corrcoef(fit.scores().iloc[:, 0], ml.scores().iloc[:, 0])[0, 1] > 0.999


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_samples": 0}, "num_samples to be a whole number from 1; got 0"),
        ({"num_chains": 2.5}, "num_chains to be a whole number from 1; got 2.5"),
        ({"num_warmup": -1}, "num_warmup to be a whole number from 0"),
        ({"num_samples": True}, "num_samples"),
        ({"max_tree_depth": 99}, "at most 15"),
        ({"target_accept_prob": 1.0}, "between 0 and 1"),
        ({"chain_method": "parallel"}, "vectorized, sequential"),
    ],
)
def test_settings_that_make_no_sense(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        jl.NUTS(**options)


def test_models_and_data_that_do_not_go(data):
    sampler = jl.NUTS(num_warmup=10, num_samples=10)
    with pytest.raises(ValueError, match="constraint"):
        jl.SEM(THREE, effect_coding=True).fit(data, sampler)
    with pytest.raises(ValueError, match="NUTS takes no weights"):
        jl.SEM(THREE).fit(data, sampler, weights="ageyr")
    with pytest.raises(ValueError, match="'fiml' or 'listwise'"):
        jl.SEM(THREE).fit(data, sampler, missing="two_stage")
    with pytest.raises(ValueError, match="efa blocks"):
        jl.SEM('efa("b")*f1 + efa("b")*f2 =~ x1 + x2 + x3 + x4 + x5 + x6').fit(data, sampler)
    moments = jl.Moments(data[[f"x{j}" for j in range(1, 10)]].cov(), 301)
    with pytest.raises(ValueError, match="hold no rows"):
        jl.SEM(THREE).fit(moments, sampler, missing="fiml")
    with pytest.raises(ValueError, match="normal latent variables"):
        jl.IRT("2pl", latent=jl.latent.Flow()).fit(jl.datasets.load("lsat7"), sampler)
    with pytest.raises(ValueError, match="leave rotation out"):
        jl.IRT("2pl", factors=2, rotation="oblimin").fit(jl.datasets.load("lsat7"), sampler)
    with pytest.raises(ValueError, match="NUTS"):
        jl.fit_batch(jl.SEM(THREE), np.zeros((2, 20, 9)), sampler)
