"""Nominal items whose first and last category have one slope, but for a little that has the other sign."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.inference.nominal_turns import far_out, turned
from jaxlatent.spec.item_table import item_layout


def answers(n=700, seed=4):
    """Four nominal items of four categories; of the first, middle categories go with x, and the last hardly."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    slopes = np.array([[0, 1.2, 1.4, -0.15], [0, 0.5, 1.1, 1.6], [0, 0.6, 1.0, 2.0], [0, 0.4, 1.2, 1.5]])
    u = x[:, None, None] * slopes + rng.gumbel(size=(n, 4, 4))
    return pd.DataFrame(u.argmax(-1), columns=list("abcd"))


def test_signs_are_turned_of_items_that_are_far_out_and_their_own():
    y = answers()
    for fixed, names in ((None, {(0, 0), (0, 2)}), ({"loadings": {"a": 1.0}}, {(0, 2)})):
        p = jl.IRT("nominal", fixed=fixed)._prepare(y, None, None)
        layout = item_layout(p.table)
        free = np.linspace(0.1, 1, p.table.n_free)
        scores = layout.index["scoring"][0]
        free[scores[0, 1]], free[scores[2, 2]] = 30.0, -8.0
        assert far_out(layout, free) == [(0, 0), (0, 2)]
        slope = np.zeros_like(free)
        slope[layout.index["loadings"][0, [0, 2], 0]] = -1.0  # of positive loadings: towards 0
        out, found = turned(layout, free, slope)
        assert found == names and not turned(layout, free, -slope)[1]
        changed = {int(k) for k in np.flatnonzero(out != free)}
        own = {int(k) for _, j in names for k in (*layout.index["loadings"][0, j], *scores[j]) if k >= 0}
        assert changed == own and (out[sorted(own)] == -free[sorted(own)]).all()


@pytest.mark.study
def test_the_maximum_beyond_infinity_is_found():
    y = answers()
    fit = jl.IRT("nominal").fit(y)
    recoded = y.assign(a=y["a"].map({0: 0, 1: 3, 2: 1, 3: 2}))  # the same model, first and last category far apart
    other = jl.IRT("nominal").fit(recoded)
    assert fit.converged and other.converged
    np.testing.assert_allclose(fit.log_likelihood, other.log_likelihood, atol=1e-4)
    assert np.abs(fit.parameters.query("op == 'scoring' and lhs == 'a'")["est"]).max() > 6
