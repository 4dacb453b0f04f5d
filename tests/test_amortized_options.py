"""AmortizedVI: linear constraints, annealing, averaging, networks of items, and what else is optional."""

from __future__ import annotations

import numpy as np
import pytest

import jaxlatent as jl

QUICK = {"max_epochs": 6, "se": "none"}


@pytest.fixture(scope="module")
def lsat():
    return jl.datasets.load("lsat7").set_axis(["a", "b", "c", "d", "e"], axis=1)


# ---- linear constraints ---------------------------------------------------------------------------------------------

TIED = "F =~ p*a + q*b + r*c + s*d + t*e\np + q == r + 1\ns == 2*t"


def test_linear_constraints_are_kept(lsat):
    """By training to rounding; and the maximum after second-order steps is MarginalML's, with its errors."""
    model = jl.IRT("2pl", TIED)
    p, q, r, s, t = model.fit(lsat, jl.AmortizedVI(polish=False, **QUICK)).parameters["est"][:5]
    assert abs(p + q - r - 1) < 1e-5 and abs(s - 2 * t) < 1e-5
    found, exact = model.fit(lsat, jl.AmortizedVI(max_epochs=6)), model.fit(lsat)
    assert abs(found.log_likelihood - exact.log_likelihood) < 1e-4
    assert found.fit_measures()["npar"] == 8
    np.testing.assert_allclose(found.parameters["se"], exact.parameters["se"], rtol=0.01)


def test_variances_can_be_equal_but_not_double(lsat):
    """A mean of positive numbers is positive; other combinations have to stay with MarginalML."""
    two = "F =~ a + b + c\nG =~ d + e\nF ~~ NA*F + v*F\nG ~~ NA*G + w*G\nF ~~ 0*G\nv == "
    fit = jl.IRT("rasch", two + "w").fit(lsat, jl.AmortizedVI(polish=False, **QUICK))
    assert np.ptp(np.diag(fit.factor_cov)) < 1e-6 and fit.factor_cov.iloc[0, 0] > 0
    with pytest.raises(ValueError, match=r"linear constraints on factor_cov only where .* use MarginalML"):
        jl.IRT("rasch", two + "2*w").fit(lsat, jl.AmortizedVI(**QUICK))
