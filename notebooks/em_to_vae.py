# %% [markdown]
# # From EM to the variational autoencoder
#
# One data set, seven methods. Each is the one before it with a single assumption let go, so that the last one, an
# importance-weighted autoencoder with a normalizing flow, still is a factor model, and the first one, factor analysis by
# Newton's method, already is an autoencoder.
#
# All of them are about one integral. Each image $y_i$ has latent variables $x_i$ that nobody has seen, and
#
# $$p(y_i) = \int p(y_i \mid x)\, p(x)\, dx .$$
#
# The *measurement model* $p(y \mid x)$ and the *latent density* $p(x)$ have parameters $\theta$. Maximum likelihood asks
# for the $\theta$ with the largest $\sum_i \log p(y_i)$. The trouble is the integral inside the logarithm.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import jaxlatent as jl

QUICK = os.environ.get("JAXLATENT_QUICK") == "1"  # few images and epochs, no long cells, to see that the notebook runs
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#6b7785"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
pd.set_option("display.width", 120, "display.max_columns", 20)

digits = jl.datasets.load("digits")
label = np.array(digits.attrs["label"])
noise = np.random.default_rng(0).uniform(size=digits.shape)
images = (digits + noise) / 17
TRAIN, DIMENSIONS = (200 if QUICK else 1400), 2
train, test = images.iloc[:TRAIN], images.iloc[1400:]
n, p = train.shape
print(f"{n} images to learn from, {len(test)} to test on, {p} pixels each")

# %% [markdown]
# The data are scikit-learn's handwritten digits, 8 by 8 pixels with whole grey values from 0 to 16. Noise of the width of
# one grey value makes them continuous, so that they have a density and log-likelihoods of different models can be compared.
# The last images are by other writers than the first: the test is an honest one.
#
# There are two latent variables throughout. Two are few, but they can be drawn.


# %%
def show(axes, rows, titles=None):
    for k, (axis, row) in enumerate(zip(np.ravel(axes), np.asarray(rows), strict=True)):
        axis.imshow(row.reshape(8, 8), cmap="Greys", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[], title=titles[k] if titles is not None else "")
        axis.spines[:].set_visible(False)


figure, axes = plt.subplots(1, 10, figsize=(9, 1.3), num="ten digits of the data")
show(axes, [train.to_numpy()[np.flatnonzero(label[:TRAIN] == k)[0]] for k in range(10)], [str(k) for k in range(10)])
figure.tight_layout()

# %% [markdown]
# ## 1. Factor analysis by Newton's method: the integral in closed form
#
# Let the measurement be linear and everything normal,
#
# $$y = \nu + \Lambda x + \varepsilon, \qquad x \sim \mathcal{N}(0, I), \quad \varepsilon \sim \mathcal{N}(0, \Theta),
# \quad \Theta \text{ diagonal}.$$
#
# Then the integral is known: $y \sim \mathcal{N}(\nu, \Sigma)$ with $\Sigma = \Lambda\Lambda^\top + \Theta$. What is left is
# a function of $\Lambda$ and $\Theta$ that can be maximised directly, which `EFA` does by Newton's method in the
# uniquenesses.

# %%
table = []


def record(name, what, fit, training):
    per_image = fit.log_likelihoods(test).mean()
    row = {"method": name, "training": training / n, "is a": what, "test log-likelihood": per_image, "seconds": fit.elapsed}
    table.append(row)
    print(f"{name}: {what} {training / n:.3f} a training image, log-likelihood {per_image:.3f} a test image")


newton = jl.EFA(DIMENSIONS, rotation="none").fit(train)
record("factor analysis, Newton", "log-likelihood", newton, newton.log_likelihood)

# %% [markdown]
# The columns of $\Lambda$ are images, too: what changes in a digit when a factor goes up. Dark pixels get darker, light
# ones lighter.

# %%
figure, axes = plt.subplots(1, DIMENSIONS, figsize=(4.2, 2.2), num="loadings as images")
for k, axis in enumerate(axes):
    axis.imshow(newton.loadings.to_numpy()[:, k].reshape(8, 8), cmap="PuOr", vmin=-0.3, vmax=0.3)
    axis.set(xticks=[], yticks=[], title=f"loadings of factor {k + 1}")
    axis.spines[:].set_visible(False)
figure.tight_layout()

# %% [markdown]
# ## 2. EM: a bound that touches
#
# What if the integral were not known? Put any density $q(x)$ in, and Jensen's inequality gives a lower bound,
#
# $$\log p(y) = \log \int q(x) \frac{p(y, x)}{q(x)} dx \;\ge\; \int q(x) \log \frac{p(y, x)}{q(x)}\, dx = \text{ELBO}(q, \theta).$$
#
# What is lost is a divergence, for every $q$ and every $\theta$:
#
# $$\log p(y) = \text{ELBO}(q, \theta) + D_{KL}\left[ q(x) \,\|\, p(x \mid y) \right].$$
#
# A divergence is zero where both densities are equal. So there are two ways up:
#
# - **E step**, inference: set $q$ to the posterior $p(x \mid y)$ under the present $\theta$. The divergence is zero, and the
#   bound touches the log-likelihood.
# - **M step**, learning: keep $q$, maximise the bound over $\theta$. The log-likelihood rises at least as much as the bound.
#
# In factor analysis the posterior is normal, with covariance $V = (I + \Lambda^\top \Theta^{-1} \Lambda)^{-1}$ and mean
# $V \Lambda^\top \Theta^{-1} (y - \nu)$, and the M step is a regression of $y$ on $x$. That fits into a few lines:

# %%
centered = train.to_numpy() - train.to_numpy().mean(0)
S = centered.T @ centered / n


def log_likelihood(loadings, unique):
    sigma = loadings @ loadings.T + np.diag(unique)
    return -0.5 * (p * np.log(2 * np.pi) + np.linalg.slogdet(sigma)[1] + np.trace(np.linalg.solve(sigma, S)))


def posterior(loadings, unique):
    """Of all images: E(x | y) = W (y - ν), and cov(x | y)."""
    scaled = loadings / unique[:, None]
    cov = np.linalg.inv(np.eye(loadings.shape[1]) + loadings.T @ scaled)
    return cov @ scaled.T, cov


def elbo(W, V, loadings, unique):
    """E log p(y | x) − KL[q(x | y) || p(x)], a mean over images; q has means W(y − ν) and covariance V."""
    second = V + W @ S @ W.T  # E x x'
    residual = np.diag(S - 2 * loadings @ W @ S + loadings @ second @ loadings.T)
    fit = -0.5 * (p * np.log(2 * np.pi) + np.log(unique).sum() + (residual / unique).sum())
    return fit - 0.5 * (np.trace(second) - len(V) - np.linalg.slogdet(V)[1])


def m_step(W, V):
    cross, second = S @ W.T, V + W @ S @ W.T  # E y x', E x x'
    loadings = np.linalg.solve(second, cross.T).T
    return loadings, np.diag(S - loadings @ cross.T)


loadings, unique = 0.1 * np.random.default_rng(1).normal(size=(p, DIMENSIONS)), np.diag(S).copy()
W, V = np.zeros((DIMENSIONS, p)), np.eye(DIMENSIONS)  # q begins as the prior
trace = []
for _ in range(300):
    trace.append(("start", elbo(W, V, loadings, unique), log_likelihood(loadings, unique)))
    W, V = posterior(loadings, unique)
    trace.append(("E", elbo(W, V, loadings, unique), log_likelihood(loadings, unique)))
    loadings, unique = m_step(W, V)
steps = pd.DataFrame(trace, columns=["after", "ELBO", "log p(y)"])
print(steps.head(8).round(3))
print("after 300 rounds:", steps["log p(y)"].iloc[-1].round(3), " Newton:", round(newton.log_likelihood / n, 3))
assert (np.diff(steps["ELBO"]) > -1e-9).all() and (steps["ELBO"] <= steps["log p(y)"] + 1e-9).all()

# %%
figure, axis = plt.subplots(figsize=(7, 3.2), num="the bound climbs under the log-likelihood", layout="constrained")
first = steps.iloc[1:18]  # the very first bound, with q at the prior, is far below
axis.plot(first.index, first["log p(y)"], color=GREY, label="log p(y)")
axis.plot(first.index, first["ELBO"], color=BLUE, marker="o", ms=4, label="ELBO")
axis.fill_between(first.index, first["ELBO"], first["log p(y)"], color=BLUE, alpha=0.12, lw=0)
axis.set(xlabel="half rounds: E steps at odd numbers, M steps at even ones", ylabel="nats a training image")
axis.annotate("the gap is KL[q || p(x | y)];\nE steps close it", (4, first["ELBO"].loc[4]), xytext=(50, -22),
              textcoords="offset points", arrowprops={"arrowstyle": "->", "color": GREY}, color=GREY, va="center")
axis.legend(frameon=False, loc="lower right")
None

# %% [markdown]
# The library's EM takes the same steps, accelerated, and stops by itself; missing pixels would be no trouble to it.

# %%
em = jl.EFA(DIMENSIONS, rotation="none").fit(train, jl.EM())
record("factor analysis, EM", "log-likelihood", em, em.log_likelihood)

# %% [markdown]
# ## 3. Variational Bayes: the loadings are latent, too
#
# Give $\Lambda$ a prior and it becomes one more thing to integrate over. The posterior of everything together has no closed
# form, so $q$ is *restricted*: a product $q(x)\, q(\Lambda)$. The bound no longer touches. It is a bound of the log
# evidence $\log p(y) = \log \int p(y \mid \Lambda, x)\, p(\Lambda)\, p(x)\, d\Lambda\, dx$, which pays for each parameter, and so
# can compare models of different sizes. `training` below is this bound: of course it is lower than a maximum.

# %%
bayes = jl.EFA(DIMENSIONS, rotation="none").fit(train, jl.VariationalBayes())
record("variational Bayes", "bound of the evidence", bayes, bayes.bound)
assert (np.diff(bayes.trace) > -1e-6).all()  # it never falls

# %% [markdown]
# ## 4. A linear VAE: one network in place of all E steps
#
# EM computes a posterior for each image. The posterior mean is *the same function* of every image, $W(y - \nu)$. Amortized
# inference learns that function: a network with weights $\phi$ gives mean and covariance of $q_\phi(x \mid y)$, and
# gradient steps maximise
#
# $$\text{ELBO} = \mathbb{E}_{q_\phi(x \mid y)} \log p(y \mid x) - D_{KL}\left[ q_\phi(x \mid y) \,\|\, p(x) \right]$$
#
# in $\theta$ and $\phi$ at once: the M step and the E step of EM, a little of both at a time. The first term asks for good
# reconstructions, the second keeps the code close to the prior. That is a regularised autoencoder: $q_\phi$ encodes,
# $p(y \mid x)$ decodes.
#
# The expectation is over a distribution that depends on $\phi$. Draws lose that dependence unless they are written as
# a function of it, $x = \mu_\phi(y) + L_\phi(y)\, \epsilon$ with $\epsilon \sim \mathcal{N}(0, I)$, the *reparameterization trick*:

# %%
epsilon = jax.random.normal(jax.random.key(0), (20_000,))
slope = jax.grad(lambda mu: jnp.mean((mu + 0.5 * epsilon) ** 2))(1.0)
print(f"d/dμ E x² by differentiating through draws: {slope:.3f}; exactly: 2μ = 2")

# %% [markdown]
# With a linear decoder this *is* factor analysis, and the posterior is linear in $y$, so that nothing stands in the way of
# the exact maximum:

# %% tags=["long"]
linear = jl.VAE(DIMENSIONS, "normal", decoder="linear", hidden=(64, 64)).fit(train)
record("linear VAE", "log-likelihood", linear, linear.log_likelihood)

# %% [markdown]
# ## 5. A VAE: the decoder bends
#
# Now let the mean of $y$ be any function of $x$, a neural network:
#
# $$y = g_\theta(x) + \varepsilon .$$
#
# This is nonlinear factor analysis. The integral has no closed form any more, the posterior neither, and EM cannot take a
# single exact step. The bound, the network and the gradient do not mind: nothing in them asked for linearity.

# %%
model = jl.VAE(DIMENSIONS, "normal", hidden=(64, 64))
vae = model.fit(train, jl.AmortizedVI(particles=1, estimator="elbo", max_epochs=2 if QUICK else None))
record("VAE", "log-likelihood, sampled", vae, vae.log_likelihood)

# %% [markdown]
# Two straight axes became a sheet that bends through the space of images. Side by side, what both models expect at the same
# grid of $x$:

# %%
grid = np.stack(np.meshgrid(np.linspace(-2, 2, 9), np.linspace(2, -2, 9)), -1).reshape(-1, 2)
sheets = {
    "factor analysis": train.to_numpy().mean(0) + grid @ newton.loadings.to_numpy().T,
    "VAE": np.asarray(vae.decode(grid)),
}
figure = plt.figure(figsize=(9, 4.6), num="what both models expect over the plane of x")
for part, (name, sheet) in zip(figure.subfigures(1, 2), sheets.items(), strict=True):
    axes = part.subplots(9, 9, gridspec_kw={"wspace": 0.05, "hspace": 0.05, "top": 0.9, "bottom": 0.02})
    show(axes, sheet)
    part.suptitle(name)

# %% [markdown]
# ## 6. IWAE: many draws for one image
#
# With one draw the bound is loose wherever $q$ is not the posterior. Averaging $R$ importance weights *inside* the logarithm
# tightens it,
#
# $$\log p(y) \;\ge\; \mathbb{E} \log \frac1R \sum_{r=1}^R w_r \;\ge\; \text{ELBO}, \qquad
# w_r = \frac{p(y \mid x_r)\, p(x_r)}{q_\phi(x_r \mid y)},$$
#
# and for $R \to \infty$ it is the log-likelihood. Of the fitted VAE, on the test images:

# %% tags=["long"]
draws = [1, 5, 25, 100, 1000, 5000]
print(pd.Series({r: vae.log_likelihoods(test, n_samples=r).mean() for r in draws}, name="bound").rename_axis("R").round(3))

# %% [markdown]
# An importance-weighted autoencoder learns with such a bound. Its guide may be wrong and is forgiven for it, so that the
# decoder need not choose posteriors that the guide can follow. (The guide's gradient is the doubly reparameterized one;
# [the notebook on bounds](../docs/notebooks/importance_weighted_bounds.md) shows why.)

# %% tags=["long"]
iwae = model.fit(train, jl.AmortizedVI(particles=20))
record("IWAE, R = 20", "log-likelihood, sampled", iwae, iwae.log_likelihood)

# %% [markdown]
# ## 7. A flow: the latent density bends
#
# The last assumption is that $x$ is normal. A normalizing flow sends a normal $u$ through an invertible $f$, and the change
# of variables gives the density of $x = f(u)$,
#
# $$p(x) = p(u) \left| \det \frac{\partial f(u)}{\partial u} \right|^{-1},$$
#
# with weights that are learned like all others.

# %% tags=["long"]
bending = jl.VAE(DIMENSIONS, "normal", hidden=(64, 64), latent=jl.latent.Flow("spline"))
flow = bending.fit(train, jl.AmortizedVI(particles=20))
record("IWAE with a flow", "log-likelihood, sampled", flow, flow.log_likelihood)

# %% [markdown]
# ## All in one table
#
# Mean log-likelihoods, in nats an image. Seconds are those of the machine that made this copy, compiling included; it had two busy
# cores, so that only their order is worth reading. Sampled log-likelihoods are bounds as well, by 1000 draws an image.

# %%
pd.DataFrame(table).set_index("method").round(3)

# %%
values = pd.DataFrame(table).set_index("method")["test log-likelihood"][::-1]
figure, axis = plt.subplots(figsize=(7, 3), num="test log-likelihood of all methods", layout="constrained")
axis.hlines(range(len(values)), values.min() - 1, values, color=GREY, lw=1)
axis.plot(values, range(len(values)), "o", color=BLUE)
for k, value in enumerate(values):
    axis.annotate(f"{value:.2f}", (value, k), xytext=(7, 0), textcoords="offset points", va="center", color=GREY)
axis.set_yticks(range(len(values)), values.index)
axis.set(xlabel="log-likelihood of a test image", xlim=(values.min() - 1, values.max() + 1))
None

# %% [markdown]
# The first four rows are one model, and one number but for the prior of variational Bayes. What changes the
# number is the model: a decoder that bends is worth more than anything done afterwards; a tighter bound comes next.
#
# ## What the factors look like
#
# Each dot is a training image at its posterior mean, coloured by a label that no method has seen.

# %% tags=["long"]
maps = {"factor analysis": newton.scores(train), "VAE": vae.scores(), "IWAE with a flow": flow.scores()}
figure, axes = plt.subplots(1, 3, figsize=(10, 3.5), num="images in the plane of x", layout="constrained")
for axis, (name, points) in zip(axes, maps.items(), strict=True):
    at = points.to_numpy()
    dots = axis.scatter(*at.T, c=label[:TRAIN], cmap="tab10", s=6, vmin=-0.5, vmax=9.5)
    axis.set(title=name, xlabel="x₁", xticks=[-2, 0, 2], yticks=[-2, 0, 2], xlim=(-3.5, 3.5), ylim=(-3.5, 3.5))
axes[0].set_ylabel("x₂")
figure.colorbar(dots, ax=axes, ticks=range(10), label="digit")
None

# %%
some = test.iloc[[0, 10, 20, 30, 40, 50, 60, 70, 80, 90]]
linear_means = train.to_numpy().mean(0) + newton.scores(some).to_numpy() @ newton.loadings.to_numpy().T
figure, axes = plt.subplots(3, 10, figsize=(9, 3), num="test images and their reconstructions from two numbers")
for row, (name, found) in zip(axes, {"image": some, "linear": linear_means, "VAE": vae.reconstruct(some)}.items(), strict=True):
    show(row, found)
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
figure.tight_layout(pad=0.4)

# %% [markdown]
# ## Where this leads
#
# | step | measurement | latent density | $q(x \mid y)$ | the bound |
# |---|---|---|---|---|
# | factor analysis | linear, normal | normal | the posterior | touches |
# | variational Bayes | linear, normal, loadings random | normal | a product | of the evidence |
# | linear VAE | linear, normal | normal | a network; can be exact | touches at the end |
# | VAE | a network | normal | a network | loose |
# | IWAE | a network | normal | a network, as a proposal | tighter with $R$ |
# | flow | a network | learned | a network, as a proposal | tighter with $R$ |
#
# Replace the normal distribution of pixels by a logistic one and the third row becomes an item response model:
# [psychometrics and deep learning are one model](../docs/notebooks/one_model.md).
#
# **Sources.** Bishop (2006), Pattern recognition and machine learning, chapters 9, 10 and 12. Burda, Grosse and Salakhutdinov
# (2016), Importance weighted autoencoders. Dempster, Laird and Rubin (1977), JRSS B 39. Kingma and Welling (2014),
# Auto-encoding variational Bayes. Rezende and Mohamed (2015), Variational inference with normalizing flows. Rubin and Thayer
# (1982), EM algorithms for ML factor analysis, Psychometrika 47. Tipping and Bishop (1999), JRSS B 61.
