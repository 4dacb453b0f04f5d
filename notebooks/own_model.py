# %% [markdown]
# # Your own model in NumPyro
#
# A package has the models that its authors thought of. A model bound to data is also a NumPyro function, so that everything
# NumPyro has can be put around it, under it, or in the place of a part of it: your priors, your guide, your optimiser, your sampler.
#
# Four steps, each with a little more of your own:
#
# 1. our model and guide, NumPyro's `SVI`;
# 2. your guide;
# 3. your model around our parameters;
# 4. NumPyro's `NUTS`.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pandas as pd
from numpyro.infer import MCMC, NUTS, SVI, Predictive

import jaxlatent as jl

QUICK = os.environ.get("JAXLATENT_QUICK") == "1"  # few steps, no long cells, to see that the notebook runs
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#6b7785"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
pd.set_option("display.width", 120)

law = jl.datasets.load("lsat7")
bound = jl.IRT("2pl").bind(law)
exact = jl.IRT("2pl").fit(law)
print("the maximum of the log-likelihood, by quadrature:", round(exact.log_likelihood, 3))

# %% [markdown]
# ## 1. A pair
#
# `jl.numpyro_pair` gives a model and a guide of one signature. What is inside are ordinary sites:

# %%
pair = jl.numpyro_pair(bound, guide=jl.guides.Amortized(hidden=(16,), family="full"))
with numpyro.handlers.seed(rng_seed=0):
    print(numpyro.util.format_shapes(numpyro.handlers.trace(pair.model).get_trace(bound.arrays)))

# %% [markdown]
# Free cells of each matrix are sites called `<name>_free`, the whole matrices are deterministic sites, persons stand in a plate. The
# loss is ours, the rest is NumPyro's: any optimiser of optax, any schedule.

# %%
STEPS = 20 if QUICK else 1500
loss = jl.ImportanceWeightedELBO(particles=10, estimator="dreg")
svi = SVI(pair.model, pair.guide, optax.adam(optax.cosine_decay_schedule(0.02, STEPS)), loss)
ours = svi.run(jax.random.key(0), STEPS, bound.arrays, progress_bar=False)
print(f"bound after {STEPS} steps: {-ours.losses[-50:].mean():.2f}")

# %% [markdown]
# ## 2. Your guide
#
# A guide is a function of the answers that returns a distribution of the latent variables of all persons. Yours may be simple. In
# the two-parameter model the answers matter through one weighted sum, so here is a guide with seven numbers in place of a network:


# %%
def guide(y, observed, covariates):
    weight = numpyro.param("weight", jnp.full((y.shape[1], 1), 0.3))
    shift = numpyro.param("shift", -0.5)
    spread = numpyro.param("spread", 0.8, constraint=dist.constraints.positive)
    return dist.Normal(y @ weight + shift, spread).to_event(1)  # batch shape [person], event shape [factor]


own = jl.numpyro_pair(bound, guide)
svi = SVI(own.model, own.guide, optax.adam(optax.cosine_decay_schedule(0.02, STEPS)), loss)
simple = svi.run(jax.random.key(0), STEPS, bound.arrays, progress_bar=False)
print(f"bound after {STEPS} steps: {-simple.losses[-50:].mean():.2f}")

# %%
figure, axis = plt.subplots(figsize=(6.5, 3), num="both guides under the log-likelihood", layout="constrained")
smooth = {name: pd.Series(-np.asarray(run.losses)).rolling(25).mean() for name, run in {"a network": ours, "seven numbers": simple}.items()}
for (name, curve), colour in zip(smooth.items(), (BLUE, ORANGE), strict=True):
    axis.plot(curve, color=colour, lw=1.5, label=name)
axis.axhline(exact.log_likelihood, color=GREY, ls="--", lw=1, label="the maximum")
axis.set(xlabel="step", ylabel="bound", ylim=(exact.log_likelihood - 40, exact.log_likelihood + 12))
axis.legend(frameon=False)
None

# %% [markdown]
# The bound of either guide is noisy and stays below the maximum but for that noise; what a simple guide lacks, ten draws a person make up.
#
# ## 3. Your model
#
# `jl.sample_parameters` gives the parameters of a bound model priors and samples them; `jl.observe` takes matrices and adds latent
# variables and responses. In between, do what you like.
#
# The one-parameter model says that all questions discriminate alike, the two-parameter model that they have nothing to do with
# each other. *Partial pooling* is between: slopes vary around a common one, and the data say how much. No option of `IRT` does this.

# %%
one_slope = jl.IRT("1pl").bind(law)


def pooled(arrays):
    params = jl.sample_parameters(one_slope)  # the common slope is in every row of params["loadings"] [item, factor]
    spread = numpyro.sample("spread", dist.HalfNormal(0.5))
    with numpyro.plate("item", 5):
        away = numpyro.sample("away", dist.Normal(0, 1))
    slopes = params["loadings"] * jnp.exp(spread * away)[:, None]
    numpyro.deterministic("slopes", slopes[:, 0])
    jl.observe(one_slope, params | {"loadings": slopes}, arrays)


prior = Predictive(pooled, num_samples=20 if QUICK else 500)(jax.random.key(1), one_slope.arrays)
print("slopes before any data, 5 %, 50 % and 95 %:", np.quantile(prior["slopes"], [0.05, 0.5, 0.95]).round(2))

# %% [markdown]
# ## 4. NUTS
#
# It is a NumPyro model like any other. The sampler draws the parameters and the latent variables of 1000 people together.

# %% tags=["long"]
mcmc = MCMC(NUTS(pooled), num_warmup=400, num_samples=800, num_chains=2, chain_method="sequential", progress_bar=False)
mcmc.run(jax.random.key(2), one_slope.arrays)
kept = {name: mcmc.get_samples(group_by_chain=True)[name] for name in ("slopes", "spread")}
numpyro.diagnostics.print_summary(kept, group_by_chain=True)

# %% tags=["long"]
draws = np.asarray(mcmc.get_samples()["slopes"])
table = pd.DataFrame(
    {
        "2pl, maximum likelihood": exact.loadings.iloc[:, 0].to_numpy(),
        "its standard error": exact.parameters.query("op == '=~'")["se"].to_numpy(),
        "pooled, posterior mean": draws.mean(0),
        "posterior sd": draws.std(0),
    },
    exact.loadings.index,
)
table.round(3)

# %% tags=["long"]
figure, axis = plt.subplots(figsize=(6.5, 3), num="slopes are shrunk towards each other", layout="constrained")
rows = np.arange(len(table))
for move, (mean, se), colour in ((0.12, (0, 1), GREY), (-0.12, (2, 3), BLUE)):
    value, error = table.iloc[:, mean], table.iloc[:, se]
    axis.errorbar(value, rows + move, xerr=1.96 * error, fmt="o", ms=5, color=colour, lw=1.5, label=table.columns[mean])
axis.set_yticks(rows, table.index)
axis.set(xlabel="slope")
axis.legend(frameon=False, fontsize=9)
None

# %% [markdown]
# Slopes that stand far off with large errors are drawn towards the others, precise ones stay. That is what a hierarchy is for. The
# third slope and the spread have the fewest effective draws: where the spread is small, all slopes have to move together. With
# results like these for a paper, one would draw some thousands.
#
# What else goes: other likelihoods by an item type of your own ([item response](../docs/item_response.md#your-own-item-type)), any
# table of [sites](../docs/amortized.md#numpyro-pairs), mini-batches (`numpyro_pair(..., batch_size=)`), and NUTS on the *marginal* likelihood,
# without the latent variables, as the engine `jl.NUTS`.
