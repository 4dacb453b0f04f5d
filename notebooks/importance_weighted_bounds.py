# %% [markdown]
# # Importance-weighted bounds: tighter, and harder to learn from
#
# A guide $q(x \mid y)$ and $R$ draws from it give a lower bound of the log-likelihood (Burda, Grosse and Salakhutdinov 2016),
#
# $$\mathcal{L}_R = \sum_i \mathbb{E}\,\log \frac1R \sum_{r=1}^R w_{ir} \;\le\; \sum_i \log p(y_i), \qquad
# w_{ir} = \frac{p(y_i \mid x_{ir})\, p(x_{ir})}{q(x_{ir} \mid y_i)}, \quad x_{ir} \sim q(x \mid y_i).$$
#
# At $R = 1$ it is the ELBO. Two things happen as $R$ grows:
#
# 1. the bound rises to the log-likelihood, with a gap of order $1/R$;
# 2. the gradient of the *guide* drowns in noise: its signal-to-noise ratio falls as $R^{-1/2}$ (Rainforth et al. 2018), unless
#    it is estimated another way (Tucker et al. 2018).
#
# Both are shown here in a model in which everything is known in closed form: one normal factor, four normal items.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from jax.scipy.stats import multivariate_normal

import jaxlatent as jl

jax.config.update("jax_enable_x64", True)  # small gaps between large numbers

rng = np.random.default_rng(0)
x = rng.normal(size=(40, 1))
y = x @ np.array([[1.0, 0.8, 0.6, 1.2]]) + 0.8 * rng.normal(size=(40, 4))
bound = jl.SEM("f =~ y0 + y1 + y2 + y3").bind(pd.DataFrame(y, columns=["y0", "y1", "y2", "y3"]))

layout = bound.model.layout
params = layout.unpack(jnp.asarray(layout.start))  # the model's parameters stay at these values
mean, cov = bound.model.implied(params)
each = multivariate_normal.logpdf(bound.arrays.y, mean[0], cov[0])  # log p(y_i), exact
print("log p(y) =", float(each.sum()))

# %% [markdown]
# ## A guide that is wrong by a known amount
#
# Given $y$, the factor is normal with variance $v = (1/\psi + \sum_j \lambda_j^2/\theta_j)^{-1}$ and a mean that is linear in
# $y$. The guide is this posterior, moved by `move` and with its standard deviation multiplied by $e^{\texttt{widen}}$: a function of
# the responses like any other that `jl.numpyro_pair` takes.

# %%
slopes, unique = params["loadings"][0, :, 0], jnp.diagonal(params["residual_cov"][0])
variance = 1 / (1 / params["factor_cov"][0, 0, 0] + (slopes**2 / unique).sum())


def guide(y, observed, covariates):
    move, widen = numpyro.param("move", 0.3), numpyro.param("widen", 0.2)
    center = (y - params["intercepts"][0]) @ (slopes / unique) * variance
    return dist.Normal(center[:, None] + move, jnp.sqrt(variance) * jnp.exp(widen))


pair = jl.numpyro_pair(bound, guide)
values = {f"{b.name}_free": jnp.asarray(layout.start)[np.array(b.positions)] for b in layout.blocks}
values |= {"move": jnp.array(0.3), "widen": jnp.array(0.2)}

# %% [markdown]
# ## The bound rises
#
# Means over many keys, with Monte Carlo errors. To first order the gap is $\frac{1}{2R} \sum_i \mathrm{Var}(w_i) / p(y_i)^2$. With
# $s^2$ the variance of the guide and $\delta$ its shift, the integral behind that variance is
#
# $$\int \frac{p(x \mid y)^2}{q(x \mid y)}\, dx = \frac{s^2/v}{\sqrt{2 s^2/v - 1}} \exp\frac{\delta^2}{2 s^2 - v}.$$

# %% tags=["long"]
def losses(particles, estimator, n_keys):
    elbo = jl.ImportanceWeightedELBO(particles, estimator)
    one = lambda key: elbo.loss(key, values, pair.model, pair.guide, bound.arrays)
    run = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=20))
    return np.asarray(run(jax.random.split(jax.random.key(particles), n_keys)))


target = float(each.sum())
s2 = float(variance * jnp.exp(2 * values["widen"]))
v, delta = float(variance), float(values["move"])
relative = s2 / v / np.sqrt(2 * s2 / v - 1) * np.exp(delta**2 / (2 * s2 - v)) - 1  # Var(w) / p(y)^2, the same for all

rows = []
for particles, n_keys in ((1, 20_000), (5, 20_000), (25, 10_000), (100, 4000), (1000, 2000)):
    found = -losses(particles, "iwae", n_keys)
    rows.append((particles, found.mean(), found.std() / n_keys**0.5, target - found.mean(), 40 * relative / (2 * particles)))
table = pd.DataFrame(rows, columns=["particles", "bound", "error", "gap", "first order"]).set_index("particles")
print(table.round(5))

# %% tags=["long"]
from matplotlib.ticker import NullLocator

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#6b7785"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})


def by_particles(ax, particles, **options):
    ax.set(xscale="log", xlabel="particles R", **options)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(particles, [str(r) for r in particles])


grid = list(table.index)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), num="bound_tightens", layout="constrained")
left.axhline(target, color=GREY, lw=1, ls="--")
left.annotate("log p(y)", (1, target), xytext=(0, 5), textcoords="offset points", color=GREY)
left.errorbar(grid, table["bound"], 2 * table["error"], color=BLUE, marker="o", ms=4, lw=1.5)
by_particles(left, grid, ylabel="bound", title="The bound rises to the log-likelihood")
left.margins(y=0.15)
right.plot(grid, table["first order"], color=GREY, lw=1, ls="--", label="first order in 1/R")
right.errorbar(
    grid, table["gap"], 2 * table["error"], color=BLUE, marker="o", ms=4, lw=0, elinewidth=1.5, label="measured, ± 2 errors"
)
by_particles(right, grid, yscale="log", ylabel="log p(y) − bound", title="The gap")
right.legend(frameon=False)
None

# %% [markdown]
# ## The guide's gradient: signal and noise
#
# The derivative of a tight bound with respect to the guide is small, as it should be: whatever the guide, the bound is the
# log-likelihood. Its noise must shrink as fast. With automatic derivatives of the bound (`"iwae"`) it does not: a term, the score of
# $q$, has mean zero and a variance that stays. `"dreg"` leaves that term out and weights the rest so that it is still unbiased,
#
# $$\sum_r v_r^2\, \frac{d \log w_r}{d x_r} \frac{d x_r}{d \phi}, \qquad v_r = w_r \Big/ \sum_s w_s .$$
#
# The signal-to-noise ratio is the mean of a gradient over its standard deviation. Both estimators have the same mean; that of
# `"dreg"`, the more precise one, is taken as the signal of both.

# %% tags=["long"]
def gradients(particles, estimator, n_keys):
    elbo = jl.ImportanceWeightedELBO(particles, estimator)
    slope = jax.grad(lambda move, key: -elbo.loss(key, values | {"move": move}, pair.model, pair.guide, bound.arrays))
    run = jax.jit(lambda keys: jax.lax.map(lambda key: slope(values["move"], key), keys, batch_size=20))
    return np.asarray(run(jax.random.split(jax.random.key(particles + 1), n_keys)))


rows = {}
for r in grid:
    n_keys = 4000 if r <= 100 else 1000
    iwae, dreg = (gradients(r, e, n_keys) for e in ("iwae", "dreg"))
    signal = abs(dreg.mean())
    rows[r] = {
        "signal": signal, "noise, iwae": iwae.std(), "noise, dreg": dreg.std(),
        "ratio, iwae": signal / iwae.std(), "ratio, dreg": signal / dreg.std(),
    }
    agree = abs(iwae.mean() - dreg.mean()) / np.hypot(iwae.std(), dreg.std()) * n_keys**0.5
    assert agree < 4, "the two have one mean"
frame = pd.DataFrame(rows).T.rename_axis("particles")
print(frame.round(3))

# %% tags=["long"]
def named(ax, text, y, colour):
    ax.annotate(text, (grid[-1], y), xytext=(9, 0), textcoords="offset points", color=colour, va="center")


figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), num="signal_to_noise", layout="constrained")
left.plot(grid, frame["signal"], color=GREY, marker="D", ms=4, lw=1.5)
named(left, "signal", frame["signal"].iloc[-1], GREY)
for e, colour, marker, power in (("iwae", ORANGE, "s", "-1/2"), ("dreg", BLUE, "o", "1/2")):
    left.plot(grid, frame[f"noise, {e}"], color=colour, marker=marker, ms=4, lw=1.5)
    right.plot(grid, frame[f"ratio, {e}"], color=colour, marker=marker, ms=4, lw=1.5)
    named(left, f"noise, {e}", frame[f"noise, {e}"].iloc[-1], colour)
    named(right, f"{e}, $R^{{{power}}}$", frame[f"ratio, {e}"].iloc[-1], colour)
by_particles(left, grid, yscale="log", ylabel="gradient by the guide's shift", title="Signal and noise")
by_particles(right, grid, yscale="log", ylabel="signal / noise", title="Their ratio")
right.axhline(1, color=GREY, lw=1, ls="--", zorder=0)
None

# %% tags=["long"]
for e in ("iwae", "dreg"):
    ratio = frame[f"ratio, {e}"].loc[25:]
    power = np.polyfit(np.log(ratio.index.to_numpy(float)), np.log(ratio.to_numpy()), 1)[0]
    print(f"{e}: from R = 25 on, the signal-to-noise ratio goes with R to the power {power:.2f}")

# %% [markdown]
# That is why `jl.AmortizedVI` and `jl.ImportanceWeightedELBO` take `"dreg"` unless told otherwise. The choice concerns the guide
# only: for parameters of the measurement model both estimators are the same.
#
# **Sources.** Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders. Rainforth, Kosiorek, Le, Maddison, Igl, Wood
# and Teh (2018), Tighter variational bounds are not necessarily better. Tucker, Lawson, Gu and Maddison (2018), Doubly
# reparameterized gradient estimators for Monte Carlo objectives.
