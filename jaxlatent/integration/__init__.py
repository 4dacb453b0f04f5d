"""The integral: log p(y) = log of the integral of p(y | x) p(x) over x."""
