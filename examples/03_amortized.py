import jax, optax, numpy as np, jaxlatent as jl
from numpyro.infer import MCMC, NUTS, SVI

responses = jl.datasets.load("bfi").iloc[:, :25]
Q = np.kron(np.eye(5), np.ones((5, 1)))
model = jl.IRT("graded", factors=Q)                                        # the same model object as for every other engine
fit = model.fit(responses, jl.AmortizedVI(particles=25, estimator="dreg"), progress=True)
print(fit.log_likelihood_estimate)                                         # value, Monte Carlo standard error, number of samples
print(fit.parameters)                                                      # with standard errors
print(fit.scores(responses.head()))                                        # new people: no refit
fit.plot.loss(path="loss.png"); fit.plot.latent(path="latent.png")

bound = model.bind(responses)                                              # the specification meets its data
pair = jl.numpyro_pair(bound, guide=jl.guides.Amortized(hidden=(128, 128), family="full"))
svi = SVI(pair.model, pair.guide, optax.adam(1e-3), jl.ImportanceWeightedELBO(particles=25, estimator="dreg"))
result = svi.run(jax.random.key(0), 2000, bound.arrays)                    # plain NumPyro: their SVI, our pair, our loss
lsat = jl.IRT("2pl").bind(jl.datasets.load("lsat7"))
mcmc = MCMC(NUTS(jl.numpyro_model(lsat, parameters="sample")), num_warmup=200, num_samples=200)
mcmc.run(jax.random.key(1), lsat.arrays)
mcmc.print_summary(exclude_deterministic=False)                                                       # sites named loadings, intercepts, ...

bent = jl.IRT("graded", factors=1, latent=jl.latent.Flow("spline")).fit(responses[["N1", "N2", "N3", "N4", "N5"]], jl.AmortizedVI())
bent.plot.latent_density(path="density.png")                               # learned, not assumed normal
responses.to_parquet("answers.parquet")
big = model.fit(jl.Responses.scan("answers.parquet"), jl.AmortizedVI(), checkpoint="run/")     # larger than memory; stop it, start it again, same answer
