import jaxlatent as jl

data = jl.datasets.load("political_democracy")
syntax = """
    ind60 =~ x1 + x2 + x3
    dem60 =~ y1 + a*y2 + b*y3 + c*y4
    dem65 =~ y5 + a*y6 + b*y7 + c*y8
    dem60 ~ g1*ind60
    dem65 ~ g2*ind60 + g3*dem60
    y1 ~~ y5
    y2 ~~ y4 + y6
    y3 ~~ y7
    y4 ~~ y8
    y6 ~~ y8
    indirect := g1*g3
    total    := g1*g3 + g2
"""
model = jl.SEM(syntax)
print(model.parameter_table())
fit = model.fit(data)
print(fit.summary())
print(fit.fit_measures()["cfi"], fit.standardized().head(), fit.modification_indices().head(10))
fit.plot.path_diagram(path="democracy.svg")
fit.save("democracy.latent")
print(jl.load("democracy.latent").scores(data).head())
free = jl.SEM(syntax.replace("a*", "").replace("b*", "").replace("c*", "")).fit(data)
print(jl.compare(free, fit))
print(fit.bootstrap(1000, key=1).parameters(ci="bca").tail(2))
hs = jl.datasets.load("holzinger_swineford")
three = "visual =~ x1 + x2 + x3\n textual =~ x4 + x5 + x6\n speed =~ x7 + x8 + x9"
print(jl.SEM(three, group_equal=("loadings",)).fit(hs, group="school").summary())
print(jl.SEM(three).fit(hs, jl.estimator("MLR")).summary(), jl.SEM(three).fit(hs, jl.LeastSquares("gls")).fit_measures())
