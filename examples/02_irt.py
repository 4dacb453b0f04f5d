import jaxlatent as jl

responses = jl.datasets.load("bfi").iloc[:, :25]                 # 2800 x 25, six categories, missing values, as it comes
big5 = """
    A =~ A1 + A2 + A3 + A4 + A5
    C =~ C1 + C2 + C3 + C4 + C5
    E =~ E1 + E2 + E3 + E4 + E5
    N =~ N1 + N2 + N3 + N4 + N5
    O =~ O1 + O2 + O3 + O4 + O5
"""
fit = jl.IRT("graded", factors=big5).fit(responses, progress=True)      # five correlated factors, full information, missing at random
print(fit.summary(), fit.irt_parameters(), fit.factor_cov, fit.item_fit())
print(fit.scores(method="eap", return_se=True).head())
fit.plot.item_curves(items=["A1", "E2"], path="curves.png"); fit.plot.information(path="information.png")
print(jl.IRT("graded", factors=5, rotation="oblimin").fit(responses).loadings.round(2))
lsat = jl.IRT("2pl").fit(jl.datasets.load("lsat7"))                     # log-likelihood -2658.805, G2(21) = 31.7
print(lsat.summary(), lsat.fit_measures()[["m2", "m2_df", "m2_pvalue"]])
answers = jl.datasets.load("lsat7").reset_index(names="person").melt("person", var_name="item", value_name="response").sample(frac=0.7, random_state=0)
print(jl.IRT("2pl").fit(jl.Responses.from_long(answers, person="person", item="item", response="response")).summary())
bfi = jl.datasets.load("bfi").dropna(subset=["gender"])
agree = [f"A{i}" for i in range(1, 6)]
configural = jl.IRT("graded").fit(bfi[agree + ["gender"]], group="gender")
metric = jl.IRT("graded", group_equal=("loadings",)).fit(bfi[agree + ["gender"]], group="gender")
print(jl.compare(configural, metric))
print(jl.IRT("graded", covariates=["age"]).fit(bfi[agree + ["age"]]).parameters.tail(3))
