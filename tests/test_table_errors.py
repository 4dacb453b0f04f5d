"""What the parameter table refuses, and what no engine takes yet, each in a sentence."""

import re
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from jaxlatent.spec.table import build_table, unsupported

SCHOOLS = ("Pasteur", "Grant-White")
THREE = "visual =~ x1 + x2 + x3\ntextual =~ x4 + x5 + x6\nspeed =~ x7 + x8 + x9"
PIECES = ["f", "x", "y", "1", "0.5", "NA", "t1", "=~", "~", "~~", "~*~", "<~", "|", ":=", "==", "<", "=", "+", "-", "*"]
PIECES += [
    "/",
    "^",
    "?",
    ":",
    "(",
    ")",
    ",",
    "c(",
    "start(",
    "equal('f=~x')",
    "efa('b')*",
    "'",
    "\n",
    ";",
    "group: 1",
    " ",
]


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
@settings(deadline=None, max_examples=500)
def test_any_text_gives_a_table_or_a_value_error(text: str) -> None:
    try:
        table = build_table(text, mean_structure=True)
    except ValueError as error:
        assert str(error)
    else:
        assert table.rows


@pytest.mark.parametrize(
    ("text", "given_settings", "message"),
    [
        (
            "f =~ x1 + x2\nf =~ c(1,2,3)*x3",
            {"groups": SCHOOLS},
            "c() in 'f =~ x3' has 3 entries; expected 1 or one for",
        ),
        ("f =~ c(1,2)*x1", {}, "has 2 entries; expected 1 or one for each of 1 group."),
        ("group: 1\nf =~ x\ngroup: 2\nf =~ c(1,2)*x", {"groups": SCHOOLS}, "has 2 entries; expected 1"),
        ("group: 3\nf =~ x", {"groups": SCHOOLS}, "a block for group '3'; there are the groups Pasteur, Grant-White"),
        ("group: 1\nf =~ x", {"groups": SCHOOLS}, "no formulas for group 'Grant-White'"),
        ("f =~ g\ng =~ f", {}, "The latent variable 'f' has no observed indicator"),
        ("f =~ x1\nf <~ x2", {}, "'f' is both a latent variable (=~) and a composite (<~)"),
        ("f =~ x1 + a*x2 + 2*a*x3 + 3*a*x4", {}, "labelled 'a' are equal, but are fixed at 2 and 3"),
        ("y ~ a*x\nb == 2*a", {}, "'b == 2*a' uses 'b', which is no label and not defined before; there are: a."),
        ("y ~ x\nb > 2", {}, "there are: none."),
        ("y ~ a*x\nd := e\ne := a", {}, "'e' uses 'e', which is no label"),
        ("y ~ a*x\na := 2", {}, "'a' is both the label of a parameter and defined by ':='"),
        ("y ~ x\nd := .p3.", {}, "the sample moment x ~~ x of a predictor; use fixed_x=False"),
        ("y ~ x\n2 == 3", {}, "'2 == 3' can't hold"),
        ("y ~ 1*a*x\na > 2", {}, "'a > 2' can't hold: nothing in it is free, and 1 > 2 is false"),
        ("y ~ a*x + b*z\na == b + 1\nb == 2\na == 2", {}, "'a == 2' can't hold together with those before it"),
        ("y ~ a*x\na == a + 1", {}, "'a == a+1' can't hold together"),
        ("y ~ a*x + b*equal('y ~ x')*z", {}, "equal() makes 'b' and 'a' one parameter"),
        ("y ~ x + equal('y ~ w')*z", {}, "equal() names 'y ~ w', which is no other parameter of the model"),
        ("y ~ x + equal('3 +')*z", {}, "or a label, in equal(); got '3 +'"),
        (THREE, {"groups": SCHOOLS, "group_equal": ["loading"]}, "Expected names in group_equal among loadings, "),
        (
            THREE,
            {"groups": SCHOOLS, "group_equal": ["loadings"], "group_partial": ["a=~b"]},
            "names 'a =~ b', which is no",
        ),
        (THREE, {"std_lv": True, "effect_coding": True}, "choose one"),
        (THREE, {"parameterization": "gamma"}, "Expected parameterization 'delta' or 'theta'; got 'gamma'"),
        (THREE, {"groups": ("a", "a")}, "Expected the labels of the groups, each once"),
        (THREE, {"ordered": ["speed"]}, "'speed' is a latent variable"),
        (THREE, {"ordered": ["q"]}, "ordered names 'q', which is no variable of the model"),
        ("group: 1\nf =~ x\ngroup: 2\nlevel: 1\nf =~ x", {"groups": SCHOOLS}, "give each group the same levels"),
    ],
)
def test_refusals(text: str, given_settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        build_table(text, **given_settings)


@pytest.mark.parametrize(
    ("text", "given_settings", "message"),
    [
        ("c <~ x1 + x2\ny ~ c", {}, "'c' is a composite"),
        ("f =~ x1 + x2 + x3\nx1 | t1", {}, "'x1' is ordered"),
        ("f =~ x1 + x2 + x3\nx1 ~*~ x1", {}, "'x1' is ordered"),
        ("f =~ x1 + x2 + x3", {"ordered": ["x2"]}, "'x2' is ordered"),
        ("y ~ x + z + x:z", {}, "'x:z' is an interaction"),
    ],
)
def test_what_no_engine_takes_yet(text: str, given_settings: dict[str, Any], message: str) -> None:
    sentence = unsupported(build_table(text, **given_settings))
    assert sentence is not None and message in sentence and "not in this version" in sentence
    assert sentence.endswith(".") or sentence.endswith(").")


def test_everything_else_is_supported() -> None:
    assert unsupported(build_table(THREE + "\nvisual ~ x\nd := .p2.")) is None
