# %% [markdown]
# # A structural equation analysis of real data
#
# Two data sets that the field has learned from for decades: Bollen's study of industrialization and democracy, and Holzinger
# and Swineford's mental tests. The whole way: a model, its fit, what is wrong with it, nested models, indirect effects,
# groups, missing values, and a report.
#
# A structural equation model is the corner of the one integral in which it can be done with pen and paper. Measurement and
# structure are linear, everything is normal,
#
# $$y = \nu + \Lambda x + \varepsilon, \qquad x = \alpha + Bx + \xi, \qquad \varepsilon \sim \mathcal{N}(0, \Theta), \quad \xi \sim \mathcal{N}(0, \Psi),$$
#
# so that $p(y) = \int p(y \mid x)\, p(x)\, dx$ is a normal density, with covariance matrix
#
# $$\Sigma(\theta) = \Lambda (I - B)^{-1} \Psi (I - B)^{-\top} \Lambda^\top + \Theta .$$
#
# Maximum likelihood looks for the $\Sigma(\theta)$ that is closest to the sample's covariance matrix $S$, in the sense of
#
# $$F_{ML}(\theta) = \log |\Sigma(\theta)| + \mathrm{tr}\left[ S\, \Sigma(\theta)^{-1} \right] - \log |S| - p .$$

# %%
import os

import matplotlib.pyplot as plt
import pandas as pd

import jaxlatent as jl

QUICK = os.environ.get("JAXLATENT_QUICK") == "1"  # fewer bootstrap samples, to see that the notebook runs
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
pd.set_option("display.width", 120, "display.max_columns", 20)

democracy = jl.datasets.load("political_democracy")
democracy.head(3).round(2)

# %% [markdown]
# 75 developing countries. `y1` to `y4` rate four aspects of democracy in 1960, `y5` to `y8` the same four in 1965, `x1` to `x3`
# are gross national product, energy consumption and the share of industrial workers in 1960.
#
# ## A model
#
# Democracy in 1965 depends on democracy in 1960 and on industrialization. The same rating in two years shares more than the
# factors say, so some residuals covary. The syntax is lavaan's.

# %%
syntax = """
    ind60 =~ x1 + x2 + x3
    dem60 =~ y1 + y2 + y3 + y4
    dem65 =~ y5 + y6 + y7 + y8
    dem60 ~ a*ind60
    dem65 ~ c*ind60 + b*dem60
    y1 ~~ y5
    y2 ~~ y4 + y6
    y3 ~~ y7
    y4 ~~ y8
    y6 ~~ y8
    indirect := a*b
    total := c + a*b
"""
model = jl.SEM(syntax)
model.parameter_table(democracy).head(8)

# %% [markdown]
# Nothing has been computed yet. The table says what will be: the first loading of each factor is fixed to 1, which gives the
# factor its unit; the others are free.

# %%
fit = model.fit(democracy)
print(fit.summary())

# %% [markdown]
# ## How well does it fit?
#
# The chi-square test compares $\Sigma(\hat\theta)$ with a covariance matrix that is free. RMSEA asks how far off the model is for
# each degree of freedom, CFI how much better it is than independence, SRMR how large the residual correlations are.

# %%
measures = fit.fit_measures()
print(measures[["chisq", "df", "pvalue", "cfi", "tli", "rmsea", "rmsea_ci_lower", "rmsea_ci_upper", "srmr"]].round(3))
assert abs(measures["chisq"] - 38.125) < 0.001 and measures["df"] == 35  # as published

# %%
figure = fit.plot.residuals().figure
figure.set_size_inches(5.5, 4.4)
figure

# %% [markdown]
# Correlations observed minus implied: small all over. Do the residual covariances carry the model? Without them it has fewer parameters, and the
# likelihood-ratio test says what they are worth. Modification indices of the smaller model would have suggested most of them, too:

# %%
plain = jl.SEM("\n".join(line for line in syntax.splitlines() if "~~" not in line)).fit(democracy)
print(plain.modification_indices().head(6)[["lhs", "op", "rhs", "mi", "epc"]].round(2))
jl.compare(fit, plain, names=("with residual covariances", "without")).round(3)

# %% [markdown]
# ## The same instrument twice?
#
# To speak of *change* from 1960 to 1965, the ratings should measure democracy alike in both years. A label that occurs twice
# makes two loadings equal.

# %%
equal = syntax.replace("y1 + y2 + y3 + y4", "y1 + l2*y2 + l3*y3 + l4*y4", 1).replace(
    "y5 + y6 + y7 + y8", "y5 + l2*y6 + l3*y7 + l4*y8", 1
)
over_time = jl.SEM(equal).fit(democracy)
jl.compare(fit, over_time, names=("free", "equal loadings")).round(3)

# %% [markdown]
# They do: three parameters fewer, and the fit is no worse than chance would make it. All that follows uses the smaller model.
#
# ## Direct and indirect effects
#
# Rows with `:=` are functions of parameters. Their standard errors come from the delta method, which takes the product
# of two normal estimates for normal. The bootstrap does not: it draws countries with replacement and fits each sample.

# %%
draws = over_time.bootstrap(50 if QUICK else 1000, key=1)
columns = ["lhs", "est", "se", "ci_lower", "ci_upper"]
effects = pd.concat({
    "delta method": over_time.parameters.query("op == ':='")[columns],
    "bootstrap, bias-corrected": draws.parameters(ci="bc").query("op == ':='")[columns],
})
effects.round(3)

# %%
figure, axis = plt.subplots(figsize=(5, 2.6), num="bootstrap of the indirect effect", layout="constrained")
place = over_time.parameters.drop_duplicates("label").set_index("label")["free"] - 1
axis.hist(draws.draws[:, place["a"]] * draws.draws[:, place["b"]], bins=40, color="#0072b2", alpha=0.7)
axis.axvline(over_time.parameters.query("lhs == 'indirect'")["est"].item(), color="black", lw=1, ls="--")
axis.set(xlabel="indirect effect, a·b", ylabel="bootstrap samples", yticks=[])
None

# %% [markdown]
# ## A picture
#
# The path diagram is drawn with no program but Python; `path="democracy.svg"` writes it to a file.

# %%
over_time.plot.path_diagram()

# %%
print(over_time.reliability().round(3))
print(over_time.r_squared().round(3).T)

# %% [markdown]
# ## Groups: is a test the same test in two schools?
#
# 301 pupils of two schools took nine tests: visual (`x1` to `x3`), textual (`x4` to `x6`) and speeded ones (`x7` to `x9`). To compare the
# schools' *abilities*, the tests have to measure them in the same way. Invariance is a ladder, and each rung
# makes more of the measurement model equal:
#
# | rung | equal in both schools | what may be compared |
# |---|---|---|
# | configural | which test belongs to which factor | |
# | metric | and $\Lambda$ | variances and regressions of factors |
# | scalar | and $\nu$ | means of factors |
# | strict | and $\Theta$ | observed means, too |

# %%
hs = jl.datasets.load("holzinger_swineford")
three = "visual =~ x1 + x2 + x3\n textual =~ x4 + x5 + x6\n speed =~ x7 + x8 + x9"
rungs = {"configural": (), "metric": ("loadings",), "scalar": ("loadings", "intercepts")}
rungs["strict"] = (*rungs["scalar"], "residuals")
ladder = {name: jl.SEM(three, mean_structure=True, group_equal=equal).fit(hs, group="school") for name, equal in rungs.items()}
table = pd.DataFrame({
    name: each.fit_measures()[["chisq", "df", "cfi", "rmsea", "srmr", "bic"]] for name, each in ladder.items()
}).T
table["change of cfi"] = table["cfi"].diff()
table.round(3)

# %%
jl.compare(*ladder.values(), names=tuple(ladder)).round(3)

# %% [markdown]
# Loadings are equal; intercepts are not: some test is easier in one school than the pupils' abilities say. Score tests name it:
# what would each equality be worth if it were given up?

# %%
tests = ladder["scalar"].score_tests().iloc[:-1].sort_values("pvalue").head(4)
rows = tests["constraint"].str.extract(r"\.p(\d+)\.")[0].astype(int) - 1  # .p27. is row 27 of the parameters
tests.assign(parameter=["".join(ladder["scalar"].parameters.iloc[k][["lhs", "op", "rhs"]]) for k in rows]).round(5)

# %% [markdown]
# Two intercepts stand out, those of `x3` and `x7`. With these two free (*partial* invariance, Byrne, Shavelson and Muthén 1989)
# the ladder holds, and the means of the other tests carry the comparison.

# %%
partial = jl.SEM(
    three, mean_structure=True, group_equal=("loadings", "intercepts"), group_partial=("x3 ~1", "x7 ~1")
).fit(hs, group="school")
print(jl.compare(ladder["metric"], partial, names=("metric", "partial scalar")).round(3))
print(partial.parameters.query("op == '~1' and lhs in ['visual', 'textual', 'speed'] and group == 'Grant-White'")[["lhs", "est", "se", "pvalue"]].round(3))

# %% [markdown]
# Means of the first group are zero, by definition. The pupils of Grant-White are ahead on the textual factor, by more than half a
# unit of its marker test; on the other two the schools differ by less than a standard error.
#
# ## Missing values, and data that are not normal
#
# Suppose a fifth of the pupils had missed the last two tests. Deleting them would waste what they did; the likelihood of what was
# observed (FIML) uses it, and it is the default as soon as a cell is missing. `MLR` adds standard errors and a test that survive
# non-normality.

# %%
holes = hs.filter(regex="^x").copy()
holes.loc[holes.index[::5], ["x8", "x9"]] = None
full = jl.SEM(three).fit(hs)
observed = jl.SEM(three).fit(holes, jl.estimator("MLR"))
print(observed.engine)
both = {"complete data": full, "with holes, MLR": observed}
pd.concat({
    name: each.parameters.query("op == '=~'").set_index(["lhs", "rhs"])[["est", "se"]] for name, each in both.items()
}, axis=1).round(3)

# %% [markdown]
# ## Keep it
#
# `fit.report("democracy.html")` writes everything into one page for a colleague, `fit.save("democracy.latent")` keeps the fit, and
# `jl.load` reads it, anywhere, without pickle.
#
# **Sources.** Bollen (1989), Structural equations with latent variables. Byrne, Shavelson and Muthén (1989), Psychological
# Bulletin 105. Holzinger and Swineford (1939), A study in factor analysis. Rosseel (2012), lavaan, Journal of Statistical
# Software 48.
