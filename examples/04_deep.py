import jaxlatent as jl

digits = jl.datasets.load("digits", binary=True)                       # scikit-learn's 1797 real images, 8 x 8, thresholded at 8; 64 columns, attrs["label"]
train, test = digits.iloc[:1400], digits.iloc[1400:]
vae = jl.VAE(latent_size=8, likelihood="bernoulli", hidden=(200, 200)).fit(train, jl.AmortizedVI(particles=50), progress=True)
print(vae.log_likelihoods(test).mean(), vae.transform(test).head())
vae.plot.reconstructions(test.head(10), path="reconstructions.png"); vae.plot.traversal(path="traversal.png")
vae.plot.manifold(path="manifold.png"); vae.plot.latent(color=train.attrs["label"][:1400], path="latent.png")
print(vae.simulate(16, key=1).shape, vae.reconstruct(test.head()).shape)

grey = jl.datasets.load("digits")
jl.VAE(latent_size=8, likelihood="normal", covariance="network").fit(grey)             # mean and covariance of p(y | x) are both networks of x
jl.VAE(latent_size=8, likelihood="bernoulli", latent=jl.latent.Flow("spline")).fit(train)
jl.VAE(latent_size=(32, 8), likelihood="bernoulli").fit(train)                         # two layers of latent variables
hs = jl.datasets.load("holzinger_swineford").filter(regex="^x")
print(jl.VAE(3, "normal", decoder="linear").fit(hs).log_likelihood, jl.EFA(3).fit(hs).log_likelihood)          # one model: the same number
lsat = jl.datasets.load("lsat7")
print(jl.VAE(1, "2pl", decoder="linear").fit(lsat).log_likelihood, jl.IRT("2pl").fit(lsat).log_likelihood)     # one model: the same number
print(jl.EFA(3).fit(hs, jl.EM()).log_likelihood, jl.EFA(3).fit(hs, jl.VariationalBayes()).summary())
jl.AutoEncoder(latent_size=4, hidden=()).fit(grey)                                     # linear: the span of PCA's loadings
pipeline = jl.FactorTransformer(jl.VAE(8, "bernoulli"))                                # stands in a scikit-learn Pipeline
