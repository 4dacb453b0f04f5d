"""Expressions: parsing, printing, evaluation with numpy and jax, complex steps, and the affine form."""

import math

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from jaxlatent.spec.expressions import (
    FUNCTIONS,
    Binary,
    Call,
    Expression,
    Name,
    Negative,
    Number,
    affine,
    evaluate,
    names,
    parse_expression,
    substitute,
    to_text,
)
from jaxlatent.spec.tokens import ModelSyntaxError

VALUES = {"a": 2.0, "b": 3.0, "c": -0.5, ".p3.": 4.0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2*3", 7),
        ("2 - 3 - 4", -5),
        ("8/4/2", 1),
        ("2^3^2", 512),
        ("2**3", 8),
        ("-2^2", -4),
        ("(-2)^2", 4),
        ("2^-1", 0.5),
        ("-a*b", -6),
        ("--a", 2),
        ("+a", 2),
        ("a*(b + c)", 5),
        (".p3./a", 2),
        ("1e2 + .5", 100.5),
        ("min(a, b, c)", -0.5),
        ("max(a, b)", 3),
        ("abs(c)", 0.5),
        ("pow(a, b)", 8),
        ("pow(c, 2)", 0.25),
        ("a^0", 1),
        ("a^0.5", math.sqrt(2)),
        ("sqrt(a)*log10(100)", 2 * math.sqrt(2)),
        ("exp(log(b))", 3),
        ("tanh(0) + sinh(0) + cosh(0) + asin(0) + acos(1) + atan(0) + sin(0) + cos(0) + tan(0)", 2),
        ("a +\n b", 5),
    ],
)
def test_value(text: str, expected: float) -> None:
    assert evaluate(parse_expression(text), VALUES) == pytest.approx(expected)


def test_expressions_can_be_hashed_and_compared() -> None:
    assert hash(parse_expression("a*(b + 1)")) == hash(parse_expression("a * (b+1)"))
    assert parse_expression("a-b") != parse_expression("b-a")


def test_names_in_order_of_first_use() -> None:
    assert names(parse_expression("b*a + exp(c)/b")) == ("b", "a", "c")
    assert names(parse_expression("`a b` + .p3.")) == ("a b", ".p3.")


def test_substitute() -> None:
    expression = substitute(parse_expression("-a*exp(b) + c"), {"a": Number(2.0), "b": parse_expression("c + 1")})
    assert to_text(expression) == "-2*exp(c+1)+c"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column 1: expected a number, a label, a function or '\\('; found the end"),
        ("a +", "column 4: expected a number"),
        ("a b", "column 3: expected an operator"),
        ("foo(a)", "there is no function 'foo'; there are exp, log"),
        ("pow(a)", r"pow\(\) takes 2 arguments; got 1"),
        ("exp(a, b)", r"exp\(\) takes 1 argument; got 2"),
        ("exp(a b)", r"column 7: expected '\)'; found 'b'"),
        ("(a", "this '\\(' is never closed"),
        ("a)", "closes no"),
        ("1e999", "expected a finite number"),
        ("a ~ b", "expected an operator"),
        ("a $ b", "expected a name, a number or an operator; found '\\$'"),
        ("(" * 99 + "a" + ")" * 99, "nested too deeply"),
        ("__import__('os')", "there is no function"),
    ],
)
def test_mistakes_are_shown(text: str, message: str) -> None:
    with pytest.raises(ModelSyntaxError, match=message):
        parse_expression(text)


def test_place_of_a_mistake_counts_from_where_the_text_begins() -> None:
    with pytest.raises(ModelSyntaxError, match="Line 7, column 13:"):
        parse_expression("a + * b", line=7, column=9)


def test_long_sums_need_no_recursion() -> None:
    expression = parse_expression(" + ".join(["a"] * 5000))
    assert evaluate(expression, VALUES) == 10000
    assert affine(expression) == ({"a": 5000.0}, 0.0)
    assert len(to_text(expression)) == 9999


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", ({}, 3.0)),
        ("a", ({"a": 1.0}, 0.0)),
        ("2*a - (b - 1)/4 + a", ({"a": 3.0, "b": -0.25}, 0.25)),
        ("-(a + b)*sqrt(4)", ({"a": -2.0, "b": -2.0}, 0.0)),
        ("a - a", ({}, 0.0)),
        ("a^1 + 2^3", ({"a": 1.0}, 8.0)),
        ("max(1, 2)*a", ({"a": 2.0}, 0.0)),
        ("a*b", None),
        ("a/b", None),
        ("1/a", None),
        ("a/0", None),
        ("a^2", None),
        ("exp(a)", None),
        ("log(-1)*a", None),
        ("abs(a)", None),
    ],
)
def test_affine(text: str, expected: tuple[dict[str, float], float] | None) -> None:
    assert affine(parse_expression(text)) == expected


ONE = [name for name, (_, fewest, _) in FUNCTIONS.items() if fewest == 1]
NUMBERS = st.floats(-1e6, 1e6).map(Number) | st.integers(-5, 5).map(lambda value: Number(float(value)))


def expressions() -> st.SearchStrategy[Expression]:
    def grow(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        pair = st.tuples(inner, inner)
        return st.one_of(
            inner.map(Negative),
            st.builds(Binary, st.sampled_from("+-*/^"), inner, inner),
            st.builds(lambda name, argument: Call(name, (argument,)), st.sampled_from(ONE), inner),
            st.builds(Call, st.sampled_from(["pow", "min", "max"]), pair),
        )

    return st.recursive(NUMBERS | st.sampled_from(sorted(VALUES)).map(Name), grow, max_leaves=12)


@given(expressions())
@settings(deadline=None)
def test_printed_expressions_read_back_to_the_same_value(expression: Expression) -> None:
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(
            evaluate(parse_expression(to_text(expression)), VALUES), evaluate(expression, VALUES)
        )


@given(expressions())
@settings(deadline=None)
def test_affine_form_has_the_same_value(expression: Expression) -> None:
    found = affine(expression)
    if found is not None:
        with np.errstate(all="ignore"):
            value = float(evaluate(expression, VALUES))
        terms = [coefficient * VALUES[name] for name, coefficient in found[0].items()]
        size = 1.0 + sum(map(abs, terms)) + abs(found[1])
        if math.isfinite(value) and size < 1e12:
            assert sum(terms) + found[1] == pytest.approx(value, rel=1e-6, abs=1e-6 * size)


SMOOTH = ["a*b + c", "(a + c)^2", "a^-3", "a^b", "exp(-a)/log(b)", "abs(c)*min(a, b) - max(a, b, c)", "atan(a)*tanh(b)"]


@pytest.mark.parametrize("text", SMOOTH)
@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_complex_step_is_the_gradient_of_jax(text: str, name: str) -> None:
    expression = parse_expression(text)
    step = evaluate(expression, {**VALUES, name: complex(VALUES[name], 1e-20)})
    with jax.enable_x64(True):
        gradient = jax.jit(jax.grad(lambda x: evaluate(expression, {**VALUES, name: x}, jnp) * 1.0))(VALUES[name])
    assert np.imag(step) / 1e-20 == pytest.approx(float(gradient), rel=1e-12)


def test_arrays() -> None:
    value = evaluate(parse_expression("max(a, 0)^2 + 1"), {"a": np.array([-1.0, 0.5, 2.0])})
    np.testing.assert_allclose(value, [1.0, 1.25, 5.0])
