"""p(x): the distribution of the latent variables."""
