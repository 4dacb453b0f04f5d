# %% [markdown]
# # A Bayesian confirmatory factor analysis
#
# Maximum likelihood gives one point and an error around it. A Bayesian analysis gives a distribution: what the parameters $\delta$ may
# be, given the data and what was known before,
#
# $$p(\delta \mid y) \propto p(\delta) \prod_i \int p(y_i \mid x, \delta)\, p(x \mid \delta)\, dx .$$
#
# The integral is the one of every model here, and for a factor model it is known in closed form. So the sampler need not draw anybody's
# factor scores: it moves in as many dimensions as there are parameters, and they are drawn afterwards.
#
# The data are Holzinger and Swineford's nine mental tests of 301 pupils, the model three correlated factors.

# %%
import arviz_plots as azp
import arviz_stats as azs
import matplotlib.pyplot as plt
import numpy as np
import numpyro.distributions as dist
import pandas as pd

import jaxlatent as jl

BLUE, GREY = "#0072b2", "#6b7785"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
pd.set_option("display.width", 120, "display.max_columns", 20)
engine = jl.NUTS(num_warmup=500, num_samples=1000, num_chains=4)

data = jl.datasets.load("holzinger_swineford")
syntax = "visual =~ x1 + x2 + x3\n textual =~ x4 + x5 + x6\n speed =~ x7 + x8 + x9"

# %% [markdown]
# ## Priors
#
# Here loadings get a prior of ours, by class. Where the column is empty a parameter is fixed or has a weakly informative prior on the scale of
# the data ([priors](../docs/priors.md)). The first loading of each factor is fixed to 1, as everywhere.

# %%
model = jl.SEM(syntax, priors={"loadings": dist.Normal(1, 1)})
model.parameter_table(data)[["lhs", "op", "rhs", "free", "start", "prior"]].iloc[[0, 1, 2, 9, 18, 21]]

# %% [markdown]
# ## Draws

# %% tags=["long"]
fit = model.fit(data, engine)
print(fit.summary())

# %% [markdown]
# Before anything is read off, the chains are asked whether they agree. R-hat compares the spread between chains with the spread inside, and
# should be at most 1.01; the effective sample size says how many independent draws these are worth, 400 or more for an interval.

# %% tags=["long"]
table = fit.parameters.query("free > 0")
print("largest R-hat:", table["rhat"].max().round(3), " smallest effective sample size:", table["ess_bulk"].min().round())
print(*fit.notes, sep="\n")

# %% tags=["long"]
np.ravel(fit.plot.trace(["visual=~x2", "x2~~x2"]))[0].figure

# %% [markdown]
# ## The posterior
#
# ArviZ has the field's pictures of posteriors. One adapter serves every engine: `fit.to_datatree()`.

# %% tags=["long"]
tree = fit.to_datatree(key=1)
print(list(tree.children))
plots = azp.plot_forest(tree, var_names=["=~"], filter_vars="like", combined=True)

# %% [markdown]
# With 301 pupils and priors this mild, posterior means are close to maximum likelihood's estimates and posterior
# standard deviations to its standard errors. Where they differ, as for `x9`, the posterior is skewed:

# %% tags=["long"]
ml = jl.SEM(syntax).fit(data)
rows = ml.parameters["free"] > 0
beside = ml.parameters.loc[rows, ["lhs", "op", "rhs", "est", "se"]].assign(
    posterior_mean=fit.parameters.loc[rows, "est"], posterior_sd=fit.parameters.loc[rows, "se"]
)
beside.head(9).round(3)

# %% [markdown]
# ## Any question about the parameters
#
# A draw is a whole set of parameters, so whatever is computed from each draw has a posterior, too, with no delta method. How reliable is
# the sum of the three visual tests,
#
# $$\omega = \frac{(\sum_j \lambda_j)^2 \psi}{(\sum_j \lambda_j)^2 \psi + \sum_j \theta_j} \; ?$$

# %% tags=["long"]
place = {"".join(row[:3]): row[3] - 1 for row in table[["lhs", "op", "rhs", "free"]].to_numpy()}
draws = np.asarray(fit.draws.free).reshape(-1, len(place))
total = (1 + draws[:, place["visual=~x2"]] + draws[:, place["visual=~x3"]]) ** 2 * draws[:, place["visual~~visual"]]
omega = total / (total + sum(draws[:, place[f"x{j}~~x{j}"]] for j in (1, 2, 3)))
figure, axis = plt.subplots(figsize=(5.5, 2.6), num="posterior of a reliability", layout="constrained")
axis.hist(omega, bins=60, density=True, color=BLUE, alpha=0.7)
axis.axvline(ml.reliability().loc["visual", "omega"], color="black", lw=1, ls="--")
axis.set(xlabel="reliability ω of the visual tests; dashed: from maximum likelihood", yticks=[])
print("P(ω > 0.6 | y) =", (omega > 0.6).mean().round(2))

# %% [markdown]
# ## Does the model fit?
#
# Data sets are replicated from the posterior and compared with the observed one, by discrepancies that factor analysts know. A posterior
# predictive p-value near 0 or 1 says that the model does not make data like these.

# %% tags=["long"]
print(fit.predictive_checks(key=2).round(3))
print(fit.fit_measures().round(3))

# %% [markdown]
# It does not: no replicated data set is as far from the model as the observed one. What is lacking is known, and the modification indices
# of the same model name it: `x9` measures the visual factor, too. Leave-one-out cross-validation says what that is worth for pupils who were not in the sample. Each pupil's likelihood is the
# marginal one, so that "one left out" is a person:

# %% tags=["long"]
print(ml.modification_indices().head(3)[["lhs", "op", "rhs", "mi", "epc"]].round(2))
wider = jl.SEM(syntax.replace("x1 + x2 + x3", "x1 + x2 + x3 + x9"), priors={"loadings": dist.Normal(1, 1)}).fit(data, engine)
azs.compare({"three factors": fit.to_datatree(key=1), "and x9 on visual": wider.to_datatree(key=1)}).round(2)

# %% [markdown]
# ## Scores that know what is not known
#
# A pupil's factor scores are averaged over the draws, so that their errors count the uncertainty of the parameters as well as that of
# her answers.

# %% tags=["long"]
fit.scores(return_se=True).head(3).round(2)

# %% [markdown]
# Item response models go the same way: `jl.IRT("2pl").fit(data, jl.NUTS())`, by quadrature up to three factors.
#
# **Sources.** Hoffman and Gelman (2014), The no-U-turn sampler, JMLR 15. Merkle, Fitzsimmons, Uanhoro and Goodrich (2021), Efficient Bayesian
# structural equation modeling in Stan, Journal of Statistical Software 100. Vehtari, Gelman and Gabry (2017), Practical Bayesian model
# evaluation using leave-one-out cross-validation, Statistics and Computing 27. Vehtari et al. (2021), Rank-normalization, folding and
# localization: an improved R-hat, Bayesian Analysis 16.
