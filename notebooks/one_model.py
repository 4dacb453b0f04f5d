# %% [markdown]
# # Psychometrics and deep learning are one model
#
# Structural equation models, item response models and variational autoencoders have separate literatures, journals and
# programs. They have one likelihood:
#
# $$p(y_i) = \int p(y_i \mid x)\, p(x)\, dx, \qquad x \in \mathbb{R}^D \text{ latent}, \quad y_i \text{ the observed variables of person } i.$$
#
# | choice | SEM, factor analysis | IRT | VAE |
# |---|---|---|---|
# | measurement $p(y \mid x)$ | $\nu + \Lambda x + \varepsilon$, normal | $\sigma(\Lambda x + d)$, Bernoulli; graded, ... | a neural network, any family |
# | latent $p(x)$ | normal, $x = \alpha + Bx + \xi$ | normal | normal, a flow, a mixture, layers |
# | the integral | closed form | quadrature | importance sampling, guided by a network |
#
# This notebook makes the table concrete: one type of model for all columns, equal numbers where columns meet, and then the
# choices that no single column has by itself.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import jaxlatent as jl

QUICK = os.environ.get("JAXLATENT_QUICK") == "1"  # one rule of four, no long cells, to see that the notebook runs
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#6b7785"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
pd.set_option("display.width", 120, "display.max_columns", 20)

abilities = jl.datasets.load("holzinger_swineford").filter(regex="^x")  # 9 tests, 301 pupils
law = jl.datasets.load("lsat7")  # 5 questions, 1000 applicants

# %% [markdown]
# ## One type
#
# `SEM`, `IRT` and `VAE` are three ways to write a specification. Bound to data, each becomes a `LatentVariableModel`,
# which has a measurement, a latent density, and a layout that says which numbers are free. That is all.

# %%
bound = {
    "SEM": jl.SEM("f =~ x1 + x2 + x3 + x4 + x5", mean_structure=True).bind(abilities),
    "IRT": jl.IRT("2pl").bind(law),
    "VAE": jl.VAE(1, "bernoulli", hidden=(32,)).bind(law),
}
rows = {}
for name, each in bound.items():
    model = each.model
    rows[name] = {
        "type": type(model).__name__,
        "family of p(y | x)": type(model.measurement.groups[0][0]).__name__,
        "predictor": "a network" if model.measurement.decoder is not None else "linear",
        "p(x)": type(model.latent).__name__,
        "free": ", ".join(block.name for block in model.layout.blocks),
    }
pd.DataFrame(rows)

# %% [markdown]
# ## One integral
#
# A rule of integration asks a model for two things only, $\log p(y \mid x)$ at points $x_r$ and $\log p(x_r)$, and returns
#
# $$\log p(y_i) \approx \log \sum_r w_{ir}\; p(y_i \mid x_{ir})\, p(x_{ir}) / q_i(x_{ir}) .$$
#
# So any rule works on any model whose latent variables it can reach. Here are four, on the SEM and on the IRT model, both at
# their starting values; for the SEM the exact answer is known.

# %%
rules = {
    "GaussHermite(61)": jl.GaussHermite(61),
    "AdaptiveGaussHermite(9)": jl.AdaptiveGaussHermite(9),
    "ImportanceSampling(200)": jl.ImportanceSampling(200),
    "Laplace()": jl.Laplace(),
}
found = {}


def log_likelihood(rule, model, params, arrays):
    return float(jax.jit(lambda params: rule.log_marginal(model, params, arrays).sum())(params))


with jax.enable_x64(True):
    for name in ("SEM", "IRT"):
        model, arrays = bound[name].model, bound[name].arrays
        params = model.layout.unpack(jnp.asarray(model.layout.start))
        found[name] = {each: log_likelihood(rule, model, params, arrays) for each, rule in list(rules.items())[: 1 if QUICK else 4]}
        if name == "SEM":
            mean, cov = model.implied(params)
            found[name]["closed form"] = float(jax.scipy.stats.multivariate_normal.logpdf(arrays.y, mean[0], cov[0]).sum())
print(pd.DataFrame(found).round(4))

# %% [markdown]
# Laplace's method puts one point at each posterior's mode. It is exact for the normal model, whose posterior is normal, and
# rough for five yes-or-no questions.
#
# ## One number
#
# A VAE with a linear decoder and normal columns is factor analysis. One with a logistic curve on top is the two-parameter
# model. Both were fitted as networks are, by stochastic gradients of the importance-weighted bound with a network for a guide,
# then finished by second-order steps on the exact likelihood.

# %% tags=["long"]
linear = jl.VAE(3, "normal", decoder="linear").fit(abilities)
efa = jl.EFA(3).fit(abilities)
logistic = jl.VAE(1, "2pl", decoder="linear").fit(law)
irt = jl.IRT("2pl").fit(law)
pd.DataFrame(
    {
        "as a VAE": [linear.log_likelihood, logistic.log_likelihood],
        "as factor analysis, IRT": [efa.log_likelihood, irt.log_likelihood],
    },
    ["9 tests, 3 factors, normal", "5 questions, 1 factor, 2pl"],
)

# %% tags=["long"]
assert abs(linear.log_likelihood - efa.log_likelihood) < 0.01
assert abs(logistic.log_likelihood - irt.log_likelihood) < 0.01
people = law.drop_duplicates()
answers = pd.DataFrame({"VAE": logistic.scores(people)["F1"], "IRT": irt.scores(people).iloc[:, 0]})
answers["VAE"] *= np.sign(answers.corr().iloc[0, 1])  # the sign of a latent variable is nobody's
print(f"scores of the {len(people)} patterns of answers: correlation {answers.corr().iloc[0, 1]:.5f}")

# %% [markdown]
# The scores of the VAE are by draws from its guide, those of IRT by quadrature.
#
# ## Let the measurement bend
#
# The two-parameter model says that more of $x$ always means more of every item. That can be wrong: the best performers may
# skip an item, the most extreme attitudes may reject a moderate statement. Eight of these twelve simulated items are
# logistic, four rise and fall again. One line changes the decoder from a line to a network.

# %% tags=["long"]
rng, N = np.random.default_rng(1), 3000
x, peaks, grid = rng.normal(size=N), (-1, -0.5, 0.5, 1), np.linspace(-2.2, 2.2, 89)


def truth(at):
    eta = [1.5 * at] * 8 + [2 - 1.5 * (at - peak) ** 2 for peak in peaks]
    return 1 / (1 + np.exp(-np.column_stack(eta)))


y = (rng.random((N, 12)) < truth(x)).astype(int)
bent = jl.VAE(1, "bernoulli", hidden=(32,)).fit(y)
straight = jl.VAE(1, "2pl", decoder="linear").fit(y)


def curves(fit):
    """P(y = 1 | x) on the grid, with x in the direction of the truth."""
    sign = np.sign(np.corrcoef(fit.scores()["F1"], x)[0, 1])
    return np.asarray(fit.decode(sign * grid[:, None]))


both = {"linear, as in IRT": (curves(straight), GREY), "a network": (curves(bent), BLUE)}
for name, (found, _) in both.items():
    error = np.sqrt(((found - truth(grid)) ** 2)[abs(grid) <= 2].mean())
    print(f"{name}: root mean square error of the curves {error:.3f}")
print("log-likelihoods:", round(straight.log_likelihood, 1), "and", round(bent.log_likelihood, 1))

# %% tags=["long"]
figure, axes = plt.subplots(1, 4, figsize=(10, 2.7), sharey=True, num="item curves that rise and fall", layout="constrained")
for axis, item in zip(axes, (0, 8, 9, 11), strict=True):
    axis.plot(grid, truth(grid)[:, item], color="black", lw=1, ls="--", label="truth")
    for name, (found, colour) in both.items():
        axis.plot(grid, found[:, item], color=colour, lw=2, label=name)
    axis.set(xlabel="x", title=f"item {item + 1}", ylim=(-0.02, 1.02))
axes[0].set_ylabel("P(y = 1 | x)")
axes[0].legend(frameon=False, fontsize=8)
None

# %% [markdown]
# The linear model cannot say "yes in the middle": it takes such an item for one that falls or rises all the way.
#
# ## Let the latent density bend
#
# Item response theory assumes that $x$ is normal. The same line of code with a flow learns its density instead,
#
# $$p(x) = p(u) \left| \frac{\partial f(u)}{\partial u} \right|^{-1}, \qquad x = f(u), \quad u \sim \mathcal{N}(0, 1).$$
#
# Say that a symptom scale is given to a population in which 70 % are well and 30 % are not:

# %% tags=["long"]
rng = np.random.default_rng(2)
ill = rng.random(N) < 0.3
x = np.where(ill, 1.52, -0.65) + 0.25 * rng.standard_normal(N)
p = 1 / (1 + np.exp(-(x[:, None] * np.linspace(1.5, 3, 12) + np.linspace(-1.5, 1.5, 12))))
symptoms = (rng.random(p.shape) < p).astype(int)

normal = jl.IRT("2pl").fit(symptoms, jl.MarginalML(se="none"))
learned = jl.IRT("2pl", latent=jl.latent.Flow("spline")).fit(symptoms, jl.AmortizedVI(se="none"))
print(f"log-likelihood with a normal x: {normal.log_likelihood:.1f}, with a flow: {learned.log_likelihood:.1f}")

# %% tags=["long"]
axis = learned.plot.latent_density()
at = np.linspace(-2, 2.8, 300)
density = sum(w * np.exp(-0.5 * ((at - m) / 0.25) ** 2) / 0.25 / np.sqrt(2 * np.pi) for w, m in ((0.7, -0.65), (0.3, 1.52)))
axis.plot(at, density, color="black", ls="--", lw=1, label="truth")
axis.legend(frameon=False)
axis.figure.set_size_inches(6, 3)
axis.figure

# %% [markdown]
# The gain is not only in the picture. Scores under the wrong density are pulled towards the middle, where nobody is:

# %% tags=["long"]
scores = {"normal": normal.scores().iloc[:, 0], "flow": learned.scores().iloc[:, 0]}
pd.DataFrame({name: {"root mean square error of scores": np.sqrt(((s - x) ** 2).mean())} for name, s in scores.items()}).round(3)

# %% [markdown]
# ## On real data, does it pay?
#
# Five neuroticism items with six ordered categories, fitted to 1800 of the people and tested on the rest: the graded
# model of IRT; the same family with a network in place of slopes; and a graded model with a flow. A richer model may win
# where it is needed and lose where it is not, and a held-out log-likelihood says which.

# %% tags=["long"]
items = jl.datasets.load("bfi")[["N1", "N2", "N3", "N4", "N5"]].dropna()
shuffled = items.sample(frac=1, random_state=0)
learn, hold = shuffled.iloc[:1800], shuffled.iloc[1800:]
fits = {
    "graded, linear, normal": jl.IRT("graded").fit(learn, jl.MarginalML(se="none")),
    "graded, network, normal": jl.VAE(1, "graded", hidden=(32,)).fit(learn),
    "graded, linear, flow": jl.IRT("graded", latent=jl.latent.Flow("spline")).fit(learn, jl.AmortizedVI(se="none")),
}
held = {name: fit.log_likelihoods(hold) for name, fit in fits.items()}
base = held["graded, linear, normal"]
pd.DataFrame(
    {
        name: {"held out, a person": each.mean(), "minus the first": (each - base).mean(), "its standard error": (each - base).sem()}
        for name, each in held.items()
    }
).T.round(4)

# %% [markdown]
# Here it is not needed: neither difference is beyond two standard errors. Five items about one trait leave little for a bend to explain,
# which is a finding about the scale, and one that a program without the bent models could not have made.
#
# ## The table again
#
# | | measurement | latent density | fitted by |
# |---|---|---|---|
# | `jl.SEM("f =~ x1 + x2 + x3")` | linear, normal | structural | closed form |
# | `jl.IRT("2pl")` | linear, logistic | normal | quadrature |
# | `jl.VAE(1, "2pl", decoder="linear")` | linear, logistic | normal | importance sampling, then quadrature |
# | `jl.VAE(1, "bernoulli")` | network, logistic | normal | importance sampling |
# | `jl.IRT("2pl", latent=jl.latent.Flow("spline"))` | linear, logistic | learned | importance sampling |
#
# Nobody has to choose a discipline first. Say what $p(y \mid x)$ and $p(x)$ are, and let the integral decide how it wants to be done:
# [choosing an engine](../docs/choosing.md).
#
# **Sources.** Bartholomew, Knott and Moustaki (2011), Latent variable models and factor analysis: a unified approach. Burda,
# Grosse and Salakhutdinov (2016), Importance weighted autoencoders. Skrondal and Rabe-Hesketh (2004), Generalized latent
# variable modeling. Urban and Bauer (2021), A deep learning algorithm for high-dimensional exploratory item factor analysis,
# Psychometrika 86.
