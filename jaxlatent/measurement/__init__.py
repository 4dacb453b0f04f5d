"""p(y | x): how items depend on latent variables, one family a file."""
