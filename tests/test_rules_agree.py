"""Rules of integration that have nothing in common but the likelihood end at one maximum."""

from __future__ import annotations

import numpy as np
import pytest

import jaxlatent as jl

PER_FACTOR, FACTORS = 6, 5


@pytest.mark.study
def test_two_rules_run_long_agree_for_five_factors():
    loadings = np.kron(np.eye(FACTORS), np.linspace(0.8, 1.8, PER_FACTOR)[:, None])
    items = [f"y{j}" for j in range(len(loadings))]
    model = jl.IRT("2pl", factors=(loadings > 0).astype(int))
    truth = {
        "loadings": loadings,
        "intercepts": np.tile(np.linspace(-1, 1, PER_FACTOR), FACTORS),
        "factor_cov": 0.7 * np.eye(FACTORS) + 0.3,
    }
    y = jl.simulate(model, truth, 500, key=2, items=items)
    exact = model.fit(y, jl.MarginalML(jl.AdaptiveGaussHermite(5), tolerance=1e-8))
    drawn = model.fit(y, jl.MarginalML(jl.ImportanceSampling(4096), se="none", tolerance=1e-8))
    assert exact.converged and drawn.converged
    away = (drawn._fitted.free - exact._fitted.free) / np.sqrt(np.diag(exact._fitted.vcov))
    print(f"largest difference {np.abs(away).max():.4f} standard errors, rms {np.sqrt((away**2).mean()):.4f}")
    assert np.abs(away).max() < 0.02
    assert abs(drawn.log_likelihood - exact.log_likelihood) < 0.1
