import arviz_plots as azp, arviz_stats as azs, jax, numpyro, numpyro.distributions as dist, jaxlatent as jl

data = jl.datasets.load("holzinger_swineford")
model = jl.SEM("""
    visual  =~ x1 + prior("normal(0.6, 0.2)")*x2 + x3
    textual =~ x4 + x5 + x6
    speed   =~ x7 + x8 + x9
""", priors={"loadings": dist.Normal(0, 1)})
fit = model.fit(data, jl.NUTS(num_warmup=500, num_samples=1000, num_chains=4), progress=True)
print(fit.summary())                       # posterior mean, sd, interval, R-hat, ESS; posterior predictive p; LOO
tree = fit.to_datatree()                   # posterior, sample_stats, log_likelihood [person], posterior_predictive, prior, observed_data; named dims
azp.plot_forest(tree); print(azs.loo(tree)); azp.plot_ppc_dist(tree)
scores = jl.IRT("graded").fit(jl.datasets.load("bfi")[["N1", "N2", "N3", "N4", "N5"]].head(500), jl.NUTS()).scores(return_se=True)
ml = jl.SEM("visual =~ x1 + x2 + x3\n textual =~ x4 + x5 + x6\n speed =~ x7 + x8 + x9").fit(data)
azp.plot_forest(ml.to_datatree())          # the sampling distribution: the same plots for a frequentist fit

bound = model.bind(data)
def own_model(arrays):                     # NumPyro authoring: our parameters, your model
    params = jl.sample_parameters(bound)
    common = params["loadings"][1, 0] ** 2 * params["factor_cov"][0, 0]
    numpyro.deterministic("communality_x2", common / (common + params["residual_cov"][1, 1]))
    jl.observe(bound, params, arrays)
mcmc = numpyro.infer.MCMC(numpyro.infer.NUTS(own_model), num_warmup=300, num_samples=300)
mcmc.run(jax.random.key(0), bound.arrays)
