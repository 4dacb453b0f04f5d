# %% [markdown]
# # A simulation study in batches
#
# Is this estimator biased at $n = 50$? Do 95 % intervals hold the truth 95 % of the time, also when data are not normal? Questions
# like these are answered by simulation: draw many data sets from a known model, fit each, count. `jl.fit_batch` fits all data sets of
# one size in one compiled call, so that a study of thousands of fits takes a minute or two.
#
# Of $B$ estimates $\hat\theta_b$ with standard errors $s_b$, of a parameter whose true value is $\theta$:
#
# $$\text{bias} = \frac1B \sum_b \hat\theta_b - \theta, \qquad
# \text{coverage} = \frac1B \sum_b \mathbb{1}\left[ |\hat\theta_b - \theta| \le 1.96\, s_b \right].$$
#
# A coverage from $B$ data sets has a Monte Carlo error of its own, $\sqrt{.95 \cdot .05 / B}$: with $B = 1000$ it is .007.

# %%
import os
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import jaxlatent as jl

QUICK = os.environ.get("JAXLATENT_QUICK") == "1"  # few data sets of one size, to see that the notebook runs
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#6b7785"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
pd.set_option("display.width", 120, "display.max_columns", 20)
B = 40 if QUICK else 1000
SIZES = (100,) if QUICK else (50, 100, 200, 500)

# %% [markdown]
# ## A model and its true values
#
# Two factors with four indicators each; the second depends on the first. A specification says what is free, `jl.simulate` takes values
# for what is free.

# %%
model = jl.SEM("""
    F =~ x1 + x2 + x3 + x4
    G =~ y1 + y2 + y3 + y4
    G ~ F
""")
truth = {f"F =~ x{j}": 1.0 for j in (2, 3, 4)} | {f"G =~ y{j}": 1.0 for j in (2, 3, 4)}
truth |= {f"{v}{j} ~~ {v}{j}": 0.5 for v in "xy" for j in (1, 2, 3, 4)}
truth |= {"G ~ F": 0.5, "F ~~ F": 0.6, "G ~~ G": 0.45}

names = model.parameter_table().query("free > 0").drop_duplicates("free").sort_values("free")
names = [f"{row.lhs} {row.op} {row.rhs}" for row in names.itertuples()]
values = np.array([truth[name] for name in names])
kinds = np.array(["regression" if " ~ " in n else "loadings" if "=~" in n else "residual variances" for n in names])
kinds[[names.index("F ~~ F"), names.index("G ~~ G")]] = "factor variances"
print(len(names), "free parameters:", pd.Series(kinds).value_counts().to_dict())


# %% [markdown]
# ## Normal data, and heavy tails
#
# The second kind of data has the same covariance matrix, but comes from a multivariate $t$ distribution with 5 degrees of freedom: each
# person's row is multiplied by one random number. Standard errors of maximum likelihood assume the first.


# %%
def draw(n, heavy, key):
    """B data sets [data set, person, variable]."""
    rows = model_rows = jl.simulate(model, truth, B * n, key=key).to_numpy()
    if heavy:
        rng = np.random.default_rng(key)
        rows = model_rows * np.sqrt(3 / rng.chisquare(5, size=(len(model_rows), 1)))  # E of 3 / chi² with 5 df is 1
    return rows.reshape(B, n, -1)


def study(n, heavy, key):
    started = time.perf_counter()
    batch = jl.fit_batch(model, draw(n, heavy, key))
    good = np.asarray(batch.code) == 1
    free, vcov = np.asarray(batch.free)[good], np.asarray(batch.vcov)[good]
    se = np.sqrt(np.diagonal(vcov, axis1=1, axis2=2))
    inside = abs(free - values) <= 1.96 * se
    frame = pd.DataFrame({
        "kind": kinds, "relative bias": free.mean(0) / values - 1, "sd of estimates": free.std(0), "mean se": se.mean(0),
        "coverage": inside.mean(0),
    })  # fmt: skip
    table = frame.groupby("kind").mean()
    return table.assign(n=n, data="heavy tails" if heavy else "normal", converged=good.mean(), seconds=time.perf_counter() - started)


found = pd.concat([study(n, heavy, key=n) for n in SIZES for heavy in (False, True)])
table = found.reset_index().set_index(["data", "n", "kind"]).sort_index()
table[["converged", "relative bias", "sd of estimates", "mean se", "coverage"]].round(3)

# %%
fits = 2 * B * len(SIZES)
print(f"{fits} fits in {found.groupby(['data', 'n'])['seconds'].first().sum():.1f} s, compiling and drawing included")

# %% [markdown]
# ## What it shows

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.3), num="bias and coverage by sample size", layout="constrained")
style = {"normal": (BLUE, "o"), "heavy tails": (ORANGE, "s")}
for data, (colour, marker) in style.items():
    for kind, line in (("loadings", "-"), ("factor variances", "--")):
        part = table.loc[data].xs(kind, level="kind")
        label = f"{kind}, {data}"
        axes[0].plot(part.index, 100 * part["relative bias"], color=colour, marker=marker, ms=4, ls=line, label=label)
        axes[1].plot(part.index, 100 * part["coverage"], color=colour, marker=marker, ms=4, ls=line, label=label)
axes[0].axhline(0, color=GREY, lw=1)
axes[1].axhline(95, color=GREY, lw=1)
axes[0].set(xscale="log", xlabel="n", ylabel="relative bias, %")
axes[1].set(xscale="log", xlabel="n", ylabel="coverage of 95 % intervals, %")
for axis in axes:
    axis.set_xticks(SIZES, [str(n) for n in SIZES])
    axis.minorticks_off()
axes[1].legend(frameon=False, fontsize=8)
None

# %% [markdown]
# - **Bias** is a matter of the sample size, and small: it goes to zero as $1/n$ with either kind of data. Maximum likelihood of a normal
#   model needs covariances only, not normality, to be right on average.
# - **Coverage** is not. With normal data intervals do what they say. With heavy tails estimates vary more than the standard errors know,
#   and *more data do not help*: the intervals shrink around an error that was never counted.
#
# The remedy is a standard error that does not assume normality (`jl.estimator("MLR")`: `se="robust"`, Huber and White's sandwich). One data set,
# both ways, and how much the robust errors are larger:

# %%
rows = pd.DataFrame(draw(SIZES[-1], True, key=1)[0], columns=["x1", "x2", "x3", "x4", "y1", "y2", "y3", "y4"])
plain, robust = (model.fit(rows, jl.ML(se=kind)).parameters for kind in ("standard", "robust"))
ratio = (robust["se"] / plain["se"]).rename("robust / standard")
shown = plain[["lhs", "op", "rhs", "est", "se"]].assign(robust=robust["se"], ratio=ratio)
shown[plain["free"] > 0].groupby("op")[["se", "robust", "ratio"]].mean().round(3)

# %% [markdown]
# `=~` are loadings, `~` the regression, `~~` variances. Robust errors repair what was wrong, most of all for variances.
#
# Item response models go through `jl.fit_batch` in the same way; `python -m benchmarks.recovery` is such a study, with its
# table in the [benchmarks](../docs/benchmarks_irt.md).
