"""Exploratory blocks in structural equation models."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl

BLOCK = " + ".join(f'efa("b")*f{k}' for k in (1, 2, 3)) + " =~ " + " + ".join(f"x{i}" for i in range(1, 10))
LARGER = 'efa("b")*f1 + efa("b")*f2 =~ x1 + x2 + x3 + x4 + x5 + x6\ng =~ x7 + x8 + x9\ng ~ f1 + f2\nf1 + f2 ~ ageyr'


@pytest.fixture(scope="module")
def hs():
    return jl.datasets.load("holzinger_swineford")


@pytest.fixture(scope="module")
def larger(hs):
    return jl.SEM(LARGER, rotation="oblimin").fit(hs)


@pytest.mark.parametrize("rotation", ["oblimin", "varimax"])
def test_lavaan(shared, hs, rotation):
    expected = json.loads((shared / "reference" / f"k01_hs_esem_{rotation}.json").read_text())
    fit = jl.SEM(BLOCK, rotation=rotation).fit(hs)
    table = pd.DataFrame(expected["parameters"])
    mine = fit.parameters.set_index(["lhs", "op", "rhs"])
    for _, row in table.iterrows():
        found = mine.loc[(row["lhs"], row["op"], row["rhs"])]
        assert found["est"] == pytest.approx(row["est"], abs=1e-4)
        if rotation == "varimax":  # oblique: see the tests of EFA
            assert found["se"] == pytest.approx(row["se"], rel=1e-4, abs=1e-6)
    for name in ("npar", "chisq", "df", "cfi", "rmsea", "srmr", "logl", "aic", "bic"):
        assert fit.fit_measures()[name] == pytest.approx(expected["fit"][name], rel=1e-5, abs=1e-5)


def test_a_model_that_is_one_block_is_an_exploratory_factor_analysis(hs):
    block, efa = jl.SEM(BLOCK, rotation="oblimin").fit(hs), jl.EFA(3).fit(hs.filter(regex="^x"))
    order = [1, 0, 2]  # by the variables; EFA's factors come by explained variance
    np.testing.assert_allclose(block.loadings, efa.loadings.to_numpy()[:, order], atol=1e-8)
    errors = [f.parameters.query("op == '=~'")["se"].to_numpy().reshape(3, 9) for f in (block, efa)]
    np.testing.assert_allclose(errors[0], errors[1][order], atol=1e-8)


def test_a_block_within_a_larger_model(hs, larger):
    """The same maximum as the model with a triangle of zeros; what does not belong to the block has its errors."""
    echelon = jl.SEM(
        "f1 =~ NA*x1 + x2 + x3 + x4 + x5 + x6\nf2 =~ 0*x1 + NA*x2 + x3 + x4 + x5 + x6\ng =~ x7 + x8 + x9\ng ~ f1 + f2\n"
        "f1 + f2 ~ ageyr\nf1 ~~ 1*f1 + 0*f2\nf2 ~~ 1*f2"
    ).fit(hs)
    np.testing.assert_allclose(larger.implied()[1], echelon.implied()[1], atol=1e-6)
    for name in ("npar", "df", "chisq", "srmr"):
        assert larger.fit_measures()[name] == pytest.approx(echelon.fit_measures()[name], rel=1e-7)
    keys = ["lhs", "op", "rhs"]
    mine, theirs = (f.parameters.set_index(keys) for f in (larger, echelon))
    shared_rows = [k for k in mine.index if k[1] == "~~" and k[0] == k[2] and k[0].startswith("x")] + [
        ("g", "=~", "x8")
    ]
    np.testing.assert_allclose(mine.loc[shared_rows, "se"], theirs.loc[shared_rows, "se"], rtol=1e-5)
    assert mine.loc[("f1", "~~", "f2"), "se"] > 0
    r2 = [f.r_squared().loc["g", "r2"] for f in (larger, echelon)]
    assert r2[0] == pytest.approx(r2[1], rel=1e-6)


def test_save_and_load(tmp_path, larger):
    again = jl.load(larger.save(tmp_path / "a.latent"))
    assert again.spec.rotation == "oblimin" and str(again.summary()) == str(larger.summary())


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda d: jl.SEM("f =~ x1 + x2 + x3", rotation="oblimin").fit(d), "for exploratory blocks"),
        (lambda d: jl.SEM(BLOCK, rotation="oblique"), "Expected a rotation out of"),
        (lambda d: jl.SEM(BLOCK).fit(d, group="school"), "several groups"),
        (lambda d: jl.SEM(LARGER.replace("g ~ f1 + f2", "g ~ f1"), rotation="oblimin").fit(d), "the same regressions"),
        (lambda d: jl.SEM('efa("b")*f1 + efa("b")*f2 =~ x1 + 0*x2 + x3 + x4 + x5').fit(d), "free on all its factors"),
        (lambda d: jl.SEM('efa("b")*f1 + efa("b")*f2 =~ x1 + x2').fit(d), "more variables than factors"),
        (lambda d: jl.SEM(BLOCK).bind(d), "takes no efa blocks"),
        (lambda d: jl.fit_batch(jl.SEM(BLOCK), np.zeros((2, 20, 9))), "takes no efa blocks"),
    ],
)
def test_bad_input(hs, make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(hs)
