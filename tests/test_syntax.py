"""The model syntax: what each piece of text means, and what is said of mistakes."""

import math

import pytest

from jaxlatent.spec.modifiers import Modifiers
from jaxlatent.spec.syntax import Block, ModelSyntaxError, ParsedModel, parse

NAN = math.nan


def terms(model: ParsedModel) -> list[tuple[str, str, str]]:
    return [(term.lhs, term.op, term.rhs) for term in model.terms]


def modifiers(text: str) -> Modifiers:
    """The modifiers of the first term of a formula."""
    return parse(text).terms[0].modifiers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f =~ x1 + x2", [("f", "=~", "x1"), ("f", "=~", "x2")]),
        ("y ~ x", [("y", "~", "x")]),
        ("x ~~ y", [("x", "~~", "y")]),
        ("y ~ 1", [("y", "~1", "")]),
        ("y~1+x", [("y", "~1", ""), ("y", "~", "x")]),
        ("y ~1", [("y", "~1", "")]),
        ("x | t1 + t2", [("x", "|", "t1"), ("x", "|", "t2")]),
        ("x ~*~ x", [("x", "~*~", "x")]),
        ("c <~ x1", [("c", "<~", "x1")]),
        ("f1 + f2 ~ x + z", [("f1", "~", "x"), ("f1", "~", "z"), ("f2", "~", "x"), ("f2", "~", "z")]),
        ("y ~ x:z", [("y", "~", "x:z")]),
        ("y ~ x; z ~ w", [("y", "~", "x"), ("z", "~", "w")]),
        ("y.1 ~ ünï_2", [("y.1", "~", "ünï_2")]),
        ("`my y` ~ x", [("my y", "~", "x")]),
        ("y ~ x # z\n! all\n   ", [("y", "~", "x")]),
        ("y ~ x\r\nz ~ w\r\n", [("y", "~", "x"), ("z", "~", "w")]),
        ("f =~ x1 +\n\n # comment\n x2", [("f", "=~", "x1"), ("f", "=~", "x2")]),
        ("f =~ x1\n   + x2", [("f", "=~", "x1"), ("f", "=~", "x2")]),
        ("f =~\n x1", [("f", "=~", "x1")]),
        ("f\n =~ x1", [("f", "=~", "x1")]),
        ("f =~ a\n * x1", [("f", "=~", "x1")]),
        ("f =~ c(a,\n b)*x1", [("f", "=~", "x1")]),
        ("x ~~ y; y ~~ x", [("x", "~~", "y")]),
        ("f =~ x1 + x1", [("f", "=~", "x1")]),
    ],
)
def test_terms(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert terms(parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f =~ 2*x", Modifiers(fixed=(2.0,))),
        ("f =~ -1*x", Modifiers(fixed=(-1.0,))),
        ("f =~ 2*3*x", Modifiers(fixed=(6.0,))),
        ("f =~ 1/2*x", Modifiers(fixed=(0.5,))),
        ("f =~ sqrt(4)*x", Modifiers(fixed=(2.0,))),
        ("f =~ (1 + 2)*x", Modifiers(fixed=(3.0,))),
        ("f =~ 1e-1*x", Modifiers(fixed=(0.1,))),
        ("y ~ 0", Modifiers(fixed=(0.0,))),
        ("y ~ 0*1", Modifiers(fixed=(0.0,))),
        ("y ~ mu*1", Modifiers(label=("mu",))),
        ("f =~ a*x", Modifiers(label=("a",))),
        ("f =~ c*x", Modifiers(label=("c",))),
        ("f =~ 'a b'*x", Modifiers(label=("a b",))),
        ('f =~ label("a")*x', Modifiers(label=("a",))),
        ('f =~ label(c("a", "b"))*x', Modifiers(label=("a", "b"))),
        ('f =~ c("a", "b")*x', Modifiers(label=("a", "b"))),
        ("f =~ c(a, b)*x", Modifiers(label=("a", "b"))),
        ("f =~ c(1, 2*3)*x", Modifiers(fixed=(1.0, 6.0))),
        ("f =~ c(1, a)*x", Modifiers(fixed=(1.0, None), label=(None, "a"))),
        ("f =~ start(0.5)*x", Modifiers(start=(0.5,))),
        ("f =~ start(c(1, -2))*x", Modifiers(start=(1.0, -2.0))),
        ("f =~ start(1, 2)*x", Modifiers(start=(1.0, 2.0))),
        ("f =~ 0.5?x", Modifiers(start=(0.5,))),
        ("f =~ a*start(1)*x", Modifiers(label=("a",), start=(1.0,))),
        ('f =~ equal("f =~ y")*x', Modifiers(equal=("f =~ y",))),
        ('f =~ prior("normal(0, 1)")*x', Modifiers(prior=("normal(0, 1)",))),
        ("f =~ lower(0)*upper(1/2)*x", Modifiers(lower=(0.0,), upper=(0.5,))),
        ("f =~ x + a*x + start(.5)*x", Modifiers(label=("a",), start=(0.5,))),
        ("f =~ 2*a*x", Modifiers(fixed=(2.0,), label=("a",))),
        ("x ~~ a*y; y ~~ start(1)*x", Modifiers(label=("a",), start=(1.0,))),
    ],
)
def test_modifiers(text: str, expected: Modifiers) -> None:
    assert modifiers(text) == expected


def test_na_is_a_fixed_nan() -> None:
    assert math.isnan(modifiers("f =~ NA*x").fixed[0] or 0.0)
    first, second = modifiers("f =~ c(NA, 1)*x").fixed
    assert math.isnan(first or 0.0) and second == 1.0
    assert math.isnan(modifiers("f =~ NA*x + NA*x + a*x").fixed[0] or 0.0)


def test_modifiers_belong_to_their_term() -> None:
    found = [term.modifiers.label for term in parse("f =~ x1 + a*x2 + x3\ny + z ~ b*f").terms]
    assert found == [(), ("a",), (), ("b",), ("b",)]


def test_constraints_and_definitions() -> None:
    model = parse("y ~ a*x + b*z\nind := a*b\n  - 1\na == (b + 3)^2\na > 0; b < 1")
    assert [(d.name, d.text) for d in model.definitions] == [("ind", "a*b-1")]
    assert [(c.op, c.text) for c in model.constraints] == [
        ("==", "a == (b+3)^2"),
        (">", "a > 0"),
        ("<", "b < 1"),
    ]


def test_a_name_may_be_called_group() -> None:
    assert parse("y ~ a*x\ngroup := a").definitions[0].name == "group"
    assert terms(parse("y ~ group:x")) == [("y", "~", "group:x")]


def test_groups() -> None:
    model = parse("group: 1\nf =~ x\nGROUP: Grant-White # comment\nf =~ a*x\ngroup: 1\ny ~ x")
    assert model.blocks == (Block("1"), Block("Grant-White"))
    assert [term.block for term in model.terms] == [0, 1, 0]


def test_levels_and_groups() -> None:
    model = parse("group: a; level: 1; f =~ x; level: 2; g =~ x\ngroup: b; level: 1; f =~ x; level: 2; g =~ x")
    assert model.blocks == (Block("a", "1"), Block("a", "2"), Block("b", "1"), Block("b", "2"))
    assert [term.block for term in model.terms] == [0, 1, 2, 3]


def test_efa_blocks() -> None:
    model = parse('efa("b")*f1 + efa("b")*f2 =~ x1 + x2')
    assert terms(model) == [("f1", "=~", "x1"), ("f1", "=~", "x2"), ("f2", "=~", "x1"), ("f2", "=~", "x2")]
    assert {term.efa for term in model.terms} == {"b"}


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "the model is empty"),
        ("# nothing\n", 1, 1, "the model is empty"),
        ("a > 0", 1, 1, "the model is empty"),
        ("f =~", 1, 5, "expected a term after the operator; found the end of the statement"),
        ("=~ x", 1, 1, "expected a name before '=~'"),
        ("f x1", 1, 3, "expected an operator"),
        ("x1", 1, 3, "expected an operator"),
        ("f = x", 1, 3, "expected '==' (a constraint), '=~' (a factor)"),
        ("y ~ x\na >= 3", 2, 4, "include equality"),
        ("y ~ x ~ z", 1, 7, "found a second, '~'"),
        ("f =~ x1\ng =~ x2 x3", 2, 9, "expected '+', '*' or the end of the formula; found 'x3'"),
        ("f =~ x1 + + x2", 1, 11, "expected a variable; found '+'"),
        ("f =~ x1 +", 1, 10, "expected a variable; found the end"),
        ("f =~ a*", 1, 8, "expected a variable"),
        ("f =~ *x", 1, 6, "expected a modifier or a variable"),
        ("f =~ 2x", 1, 7, "expected '*' between 2 and 'x'"),
        ("y ~ x - z", 1, 7, "expected '+', '*'"),
        ("y ~ 2", 1, 5, "expected a variable, or 1 (or 0) for the intercept; found '2'"),
        ("f =~ 1", 1, 6, "expected a variable; found '1'"),
        ("y ~ NA", 1, 5, "expected a variable"),
        ("y ~ y", 1, 5, "'y' can't be regressed on itself"),
        ("f =~ f", 1, 6, "'f' can't be measured by itself"),
        ("x ~*~ y", 1, 7, "expected 'x' on both sides"),
        ("x | a1", 1, 5, "expected a threshold (t1, t2, ...)"),
        ("c <~ x:z", 1, 6, "an interaction ('x:z') can't stand after '<~'"),
        ("x:z ~ y", 1, 2, "expected variable names joined by '+' before '~'; found ':'"),
        ("2*f =~ x", 1, 1, "takes no modifiers"),
        ("efa('b')*y ~ x", 1, 1, "takes no modifiers"),
        ("y ~ efa('b')*x", 1, 5, "efa() belongs before a factor"),
        ("f =~ a*b*x", 1, 8, "'x' is given two different labels: 'a' and 'b'"),
        ("f =~ 1*x + 2*x", 1, 14, "'f =~ x' is given two different values: 1 and 2"),
        ("f =~ NA*x + 2*x", 1, 15, "two different values: NA and 2"),
        ("x ~~ 1*y\ny ~~ 0.5*x", 2, 10, "two different values: 1 and 0.5"),
        ("f =~ c(1,2)*x + c(1,2,3)*x", 1, 26, "is given values for 2 groups and for 3 groups"),
        ("f =~ start(1)*start(2)*x", 1, 15, "two different starts: 1 and 2"),
        ("f =~ c()*x", 1, 8, "expected a number, NA, a label"),
        ("f =~ c(start(1), 2)*x", 1, 8, "expected only numbers, NA and labels in c()"),
        ("f =~ foo(2)*x", 1, 6, "there is no function 'foo'"),
        ("f =~ (a + b)*x", 1, 6, "expressions of labels belong in a constraint"),
        ("f =~ 1/0*x", 1, 6, "expected an expression with a finite value"),
        ("f =~ label(1)*x", 1, 12, "expected a text in quotes; found '1'"),
        ("f =~ start(a)*x", 1, 12, "expected a number"),
        ('f =~ "a*x', 1, 6, 'this " is never closed'),
        ("f =~ (x", 1, 6, "this '(' is never closed"),
        ("f =~ x)", 1, 7, "this ')' closes no '('"),
        ("y ~ x @ z", 1, 7, "expected a name, a number or an operator; found '@'"),
        ("y ~ x\na + b := 3", 2, 1, "expected one name to the left of ':='"),
        ("d := 1\nd := 2", 2, 1, "'d' is defined twice"),
        ("y ~ a*x\na == b +* 2", 2, 9, "expected a number, a label, a function"),
        ("group:\nf =~ x", 1, 1, "expected the group's number or name"),
        ("f =~ x\ngroup: 2\nf =~ x", 2, 1, "expected 'group: 2' before the first formula"),
        ("group: 1\nf =~ x\nlevel: 1\nf =~ x", 3, 1, "expected 'level: 1' before the first formula"),
    ],
)
def test_mistakes_name_their_place(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(ModelSyntaxError) as caught:
        parse(text)
    first, shown, caret = str(caught.value).split("\n")
    assert first.startswith(f"Line {line}, column {column}: ")
    assert message in first
    assert shown == "    " + text.split("\n")[line - 1]
    assert caret == "    " + " " * (column - 1) + "^"


def test_a_model_is_a_text() -> None:
    with pytest.raises(TypeError, match="Expected the model as a text in lavaan's syntax; got int"):
        parse(3)  # type: ignore[arg-type]
