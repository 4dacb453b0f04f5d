"""Amortized inference ends where MarginalML does with five factors, where no grid can be used."""

from __future__ import annotations

import numpy as np
import pytest

import jaxlatent as jl
from jaxlatent.inference.amortized_fit import POLISHING


@pytest.mark.study
def test_five_factors_as_by_marginal_maximum_likelihood():
    """Both on the same points of each person: within 0.05 standard errors, which are the same within 5 %.

    Polishing from where training ended must find the maximum that MarginalML finds from its own start.
    """
    rng = np.random.default_rng(0)
    q = np.kron(np.eye(5, dtype=int), np.ones((4, 1), int))
    slopes = rng.uniform(1.0, 2.0, 20)
    x = rng.multivariate_normal(np.zeros(5), 0.7 * np.eye(5) + 0.3, 800)
    behind = x @ (q * slopes[:, None]).T + rng.uniform(-1, 1, 20) + rng.logistic(size=(800, 20))
    model = jl.IRT("2pl", factors=q)
    amortized = model.fit((behind > 0).astype(float), jl.AmortizedVI())
    marginal = model.fit((behind > 0).astype(float), jl.MarginalML(jl.ImportanceSampling(POLISHING)))
    assert amortized.converged and marginal.converged
    a, b = amortized.parameters, marginal.parameters
    free = b["free"] > 0
    assert free.sum() == 50
    assert np.abs((a["est"] - b["est"])[free] / b["se"][free]).max() < 0.05
    np.testing.assert_allclose(a["se"][free], b["se"][free], rtol=0.05)
    assert abs(amortized.log_likelihood - marginal.log_likelihood) < 0.01
