# %% [markdown]
# # Item response theory on a personality questionnaire
#
# 2800 people, 25 statements about themselves, six answers from "very inaccurate" to "very accurate": the `bfi` data of the SAPA project,
# with missing answers and reversed items, as they come. First one scale, thoroughly; then a comparison of men and women; then
# all five factors at once.
#
# Answers in ordered categories are no normal variables, so the measurement model has a curve in it. In the graded model (Samejima 1969)
#
# $$P(y_j \ge k \mid x) = \sigma(\lambda_j^\top x + d_{jk}), \qquad \sigma(u) = 1 / (1 + e^{-u}), \qquad d_{j1} > d_{j2} > \dots$$
#
# That is a logistic regression of the answer on a latent variable $x \sim \mathcal{N}(0, 1)$: $\lambda_j$ says how sharply an item tells
# people apart, $d_{jk}$ how many reach category $k$. The price of the curve is that the integral
#
# $$\log p(y_i) = \log \int \prod_j p(y_{ij} \mid x)\, p(x)\, dx$$
#
# has no closed form any more. With one factor a sum over 61 nodes of Gauss and Hermite is exact to many digits, and that is what
# happens unless it is told otherwise.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import jaxlatent as jl

QUICK = os.environ.get("JAXLATENT_QUICK") == "1"  # fewer people, no long cells, to see that the notebook runs
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
pd.set_option("display.width", 120, "display.max_columns", 20)

bfi = jl.datasets.load("bfi")
bfi = bfi.head(400) if QUICK else bfi
neuroticism = bfi[["N1", "N2", "N3", "N4", "N5"]]
statements = {
    "N1": "Get angry easily", "N2": "Get irritated easily", "N3": "Have frequent mood swings", "N4": "Often feel blue",
    "N5": "Panic easily",
}  # fmt: skip
table = neuroticism.describe().T[["count", "mean", "std"]].assign(statement=statements)
table.round(2)

# %% [markdown]
# ## Fit
#
# People with missing answers stay in: their likelihood is that of what they answered.

# %%
fit = jl.IRT("graded").fit(neuroticism)
print(fit.summary())

# %% [markdown]
# ## What an item measures
#
# The curves show $P(y = k \mid x)$ for all six answers. Steep curves with clear peaks are good items.

# %%
np.ravel(fit.plot.category_curves(items=["N1", "N4"]))[0].figure

# %% [markdown]
# In the other notation of the field an item has a discrimination $a$ and difficulties $b_k = -d_k / a$, the places on $x$ where half of the people
# reach category $k$:

# %%
fit.irt_parameters().round(2)

# %% [markdown]
# Information adds over items. Its inverse square root is the standard error of a score, so the second picture says for whom
# this scale is precise: for the broad middle and the upset, and hardly for the very calm.

# %%
np.ravel(fit.plot.information())[0].figure

# %% [markdown]
# ## Scores
#
# A score is the mean of a person's posterior (EAP), its error the posterior's standard deviation. Two people with the same sum may differ,
# because items do not weigh alike; and a person who left answers out has a larger error, not a lower score.

# %%
scores = fit.scores(return_se=True)
people = neuroticism.assign(sum=neuroticism.sum(axis=1, min_count=5), **scores)
people.loc[people["sum"] == 15].head(3).round(2)

# %% tags=["long"]
print(fit.reliability().round(3))
missing = neuroticism.isna().sum(axis=1)
print("mean standard error by number of missing answers:", scores.iloc[:, 1].groupby(missing.to_numpy()).mean().round(3).to_dict())

# %% [markdown]
# ## Does it fit?
#
# Three questions, at three levels. Do the margins of pairs of items fit (M2 and its RMSEA)? Does each item (S-X²)? And are answers independent
# given $x$, as the product in the integral says (local dependence)?

# %% tags=["long"]
measures = fit.fit_measures()
print(measures[["logl", "npar", "bic", "c2", "c2_df", "c2_rmsea", "srmsr"]].round(3))
print(fit.item_fit().round(3))

# %% tags=["long"]
dependence = fit.local_dependence("q3")
dependence.round(2)

# %% [markdown]
# C2's RMSEA says no, and the residual correlations say where: among N3, N4 and N5 they are positive, between these and N1 or N2 negative.
# Getting angry and getting irritated is nearly one statement. The pair has pulled the factor over to itself, and what the other
# three share is left over. A second, specific factor for the pair takes its surplus up, and the integral stays cheap, because specific
# factors are integrated one at a time:

# %% tags=["long"]
pair = jl.IRT("graded", factors="N =~ N1 + N2 + N3 + N4 + N5\n anger =~ a*N1 + a*N2\n N ~~ 0*anger").fit(neuroticism)
print(jl.compare(pair, fit, names=("with a factor of anger", "one factor")).round(3))
pd.concat({"one factor": fit.loadings, "with a factor of anger": pair.loadings}, axis=1).round(2)

# %% [markdown]
# One parameter more, and a different picture of the scale: part of what N1 and N2 measured was each other, and mood swings (N3) are as
# sharp a sign of neuroticism as anger is.
#
# ## Men and women
#
# Is a difference in the answers a difference in the trait, or do items work differently? Two groups, in steps: everything free, then equal slopes
# (which frees the variance of the second group), then equal intercepts, too (which frees its mean).

# %% tags=["long"]
both = bfi.dropna(subset=["gender"])[["N1", "N2", "N3", "N4", "N5", "gender"]]
steps = {"configural": (), "metric": ("loadings",), "scalar": ("loadings", "intercepts")}
groups = {name: jl.IRT("graded", group_equal=equal).fit(both, group="gender") for name, equal in steps.items()}
print(both["gender"].value_counts().to_dict())

# %% tags=["long"]
jl.compare(*groups.values(), names=tuple(groups)).round(3)

# %% tags=["long"]
scalar = groups["scalar"]
print(scalar.factor_means.round(3))
print(scalar.factor_cov.round(3))

# %% [markdown]
# Slopes are equal. Intercepts are not, by the likelihood-ratio test; but with thousands of people tiny differences are significant, and BIC
# prefers the scalar model. In it the second group, the women, is higher by the mean above, in standard deviations of the first. Score
# tests name the equalities that cost the most:

# %% tags=["long"]
tests = scalar.score_tests()
tests.sort_values("pvalue").head(5).round(4)

# %% [markdown]
# ## Five factors at once
#
# All 25 items, five correlated factors, 1000 people. The integral now has five dimensions. A grid of 15 nodes in each would have 759,375 points; instead each person
# gets 128 points around the mode of her own posterior, weighted by importance,
#
# $$p(y_i) \approx \frac1R \sum_r \frac{p(y_i \mid x_{ir})\, p(x_{ir})}{q_i(x_{ir})}, \qquad x_{ir} \sim q_i .$$

# %% tags=["long"]
big5 = "\n".join(f"{f} =~ " + " + ".join(f"{f}{j}" for j in range(1, 6)) for f in "ACENO")
some = bfi.iloc[:, :25].sample(1000, random_state=0)  # enough for the picture, and this notebook stays short
five = jl.IRT("graded", factors=big5).fit(some, jl.MarginalML(se="none"))
print(five.engine)
print("log-likelihood:", round(five.log_likelihood, 1))
five.factor_cov.round(2)

# %% tags=["long"]
figure, axis = plt.subplots(figsize=(4.2, 6), num="slopes of 25 items on five factors", layout="constrained")
image = axis.imshow(five.loadings, cmap="PuOr", vmin=-3, vmax=3, aspect="auto")
axis.set_xticks(range(5), five.loadings.columns)
axis.set_yticks(range(25), five.loadings.index, fontsize=8)
figure.colorbar(image, label="slope")
None

# %% [markdown]
# Negative slopes are reversed items; nothing was reversed by hand. Agreeable people are extraverted ones, to a degree that simple sums would
# understate. Every person has five scores from one posterior, so that each score borrows from the other factors; for neuroticism, which
# goes with the others only weakly, that changes next to nothing:

# %% tags=["long"]
together = five.scores()
alone = scores.iloc[:, 0].loc[together.index]
print("correlation of neuroticism's scores, from five items and from 25:", np.corrcoef(together["N"], alone)[0, 1].round(3))
np.ravel(five.plot.scores())[0].figure

# %% [markdown]
# Were five factors a good idea? `jl.choose_dimension` answers by people who were held out, `jl.IRT("graded", factors=5, rotation="oblimin")` without
# naming the items of each factor, and `fit.report("bfi.html")` writes it all up.
#
# **Sources.** Bock and Aitkin (1981), Psychometrika 46. Revelle, Wilt and Rosenthal (2010), The SAPA project. Samejima (1969),
# Psychometrika Monograph 17. Urban and Bauer (2021), Psychometrika 86. Yen (1984), Applied Psychological Measurement 8.
