"""Arithmetic over named parameters: a small parser, and evaluation with any array module. Nothing is ever eval'd."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, TypeVar

import numpy

from .tokens import CLOSING, Token, tokenize

FUNCTIONS: dict[str, tuple[str, int, int]] = {
    # name in the text: (name in the array module, fewest and most arguments)
    "exp": ("exp", 1, 1),
    "log": ("log", 1, 1),
    "log10": ("log10", 1, 1),
    "sqrt": ("sqrt", 1, 1),
    "abs": ("abs", 1, 1),
    "sin": ("sin", 1, 1),
    "cos": ("cos", 1, 1),
    "tan": ("tan", 1, 1),
    "asin": ("arcsin", 1, 1),
    "acos": ("arccos", 1, 1),
    "atan": ("arctan", 1, 1),
    "sinh": ("sinh", 1, 1),
    "cosh": ("cosh", 1, 1),
    "tanh": ("tanh", 1, 1),
    "min": ("min", 1, 99),
    "max": ("max", 1, 99),
    "pow": ("power", 2, 2),
}
_OPERATIONS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}
_STRENGTH = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 4}
_UNARY = 3
_DEEPEST = 60
_LARGEST_POWER = 64
_PLAIN_NAME = re.compile(r"(?:[^\W\d]|\.(?!\d))[\w.]*")
T = TypeVar("T")


@dataclass(frozen=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True)
class Name:
    """A parameter's label, or a defined quantity."""

    name: str


@dataclass(frozen=True)
class Negative:
    """Minus an expression."""

    operand: "Expression"


@dataclass(frozen=True)
class Binary:
    """left op right, with op one of + - * / ^."""

    op: str
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True)
class Call:
    """One of FUNCTIONS and its arguments."""

    function: str
    arguments: tuple["Expression", ...]


Expression = Number | Name | Negative | Binary | Call


def parse_expression(text: str, line: int = 1, column: int = 1) -> Expression:
    """The expression a text spells; line and column say where it begins, for the messages."""
    tokens = tuple(token for token in tokenize(text, line, column) if token.kind != "newline")
    return parse_tokens(tokens)


def parse_tokens(tokens: tuple[Token, ...]) -> Expression:
    """The expression these tokens spell; the last of them closes the statement and is no part of it."""
    return _Parser((*tokens[:-1], replace(tokens[-1], kind=CLOSING[tokens[-1].kind]))).whole()


class _Parser:
    """Operator precedence climbing over a list of tokens."""

    def __init__(self, tokens: tuple[Token, ...]) -> None:
        self.tokens, self.position, self.depth = tokens, 0, 0

    @property
    def token(self) -> Token:
        """The token to read next."""
        return self.tokens[self.position]

    def advance(self) -> Token:
        """Read one token."""
        self.position += 1
        return self.tokens[self.position - 1]

    def take(self, symbol: str) -> None:
        """Read this symbol, and no other."""
        if not self.token.is_symbol(symbol):
            raise self.token.expected(f"'{symbol}'")
        self.position += 1

    def whole(self) -> Expression:
        """All tokens but the last as one expression."""
        found = self.expression(0)
        if self.position < len(self.tokens) - 1:
            raise self.token.expected("an operator (+ - * / ^) or the end of the expression")
        return found

    def expression(self, strength: int) -> Expression:
        """Everything from here that binds more tightly than strength."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.token.error("this expression is nested too deeply.")
        left = self.operand()
        while self.token.is_symbol("+", "-", "*", "/", "^", "**"):
            op = "^" if self.token.text == "**" else self.token.text
            if _STRENGTH[op] <= strength:
                break
            self.position += 1
            right = self.expression(_UNARY - 1 if op == "^" else _STRENGTH[op])
            left = Binary(op, left, right)
        self.depth -= 1
        return left

    def operand(self) -> Expression:
        """A number, a name, a call, something in parentheses, or one of these with a sign."""
        token = self.token
        if token.is_symbol("-", "+"):
            self.position += 1
            inner = self.expression(_UNARY)
            return Negative(inner) if token.text == "-" else inner
        if token.is_symbol("("):
            self.position += 1
            inner = self.expression(0)
            self.take(")")
            return inner
        if token.kind == "number":
            return self.number(self.advance())
        if token.kind == "name":
            self.position += 1
            return self.call(token) if self.token.is_symbol("(") else Name(token.value)
        raise token.expected("a number, a label, a function or '('")

    def number(self, token: Token) -> Number:
        """The number a token spells."""
        value = float(token.text)
        if not math.isfinite(value):
            raise token.expected("a finite number")
        return Number(value)

    def call(self, name: Token) -> Expression:
        """The arguments of a function."""
        if name.text not in FUNCTIONS:
            raise name.error(f"there is no function '{name.text}'; there are {', '.join(FUNCTIONS)}.")
        self.take("(")
        arguments = [self.expression(0)]
        while self.token.is_symbol(","):
            self.position += 1
            arguments.append(self.expression(0))
        self.take(")")
        _, fewest, most = FUNCTIONS[name.text]
        if not fewest <= len(arguments) <= most:
            raise name.error(f"{name.text}() takes {fewest} argument{'s' * (fewest > 1)}; got {len(arguments)}.")
        return Call(name.text, tuple(arguments))


def children(expr: Expression) -> tuple[Expression, ...]:
    """The expressions this one is made of."""
    if isinstance(expr, Negative):
        return (expr.operand,)
    if isinstance(expr, Binary):
        return (expr.left, expr.right)
    return expr.arguments if isinstance(expr, Call) else ()


def fold(expr: Expression, combine: Callable[[Expression, list[T]], T]) -> T:
    """Build a value from the leaves up: combine(node, values of its children). No recursion, so sums may be long."""
    pending: list[tuple[Expression, bool]] = [(expr, False)]
    values: list[T] = []
    while pending:
        node, ready = pending.pop()
        parts = children(node)
        if ready or not parts:
            cut = len(values) - len(parts)
            values[cut:] = [combine(node, values[cut:])]
        else:
            pending.append((node, True))
            pending.extend((part, False) for part in reversed(parts))
    return values[0]


def evaluate(expr: Expression, values: Mapping[str, Any], xp: Any = numpy) -> Any:
    """The value of an expression, with the functions of the array module xp (numpy or jax.numpy).

    Works on complex numbers too: abs, min and max look at the real part, so complex steps differentiate through them.
    """
    with numpy.errstate(all="ignore"):  # what is not a number is told in a sentence where it matters
        return fold(expr, lambda node, parts: _value(node, parts, values, xp))


def _value(node: Expression, parts: list[Any], values: Mapping[str, Any], xp: Any) -> Any:
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Name):
        return values[node.name]
    if isinstance(node, Negative):
        return -parts[0]
    if isinstance(node, Binary):
        left, right = parts
        return _power(node.right, left, right, xp) if node.op == "^" else getattr(xp, _OPERATIONS[node.op])(left, right)
    if node.function == "pow":
        return _power(node.arguments[1], parts[0], parts[1], xp)
    if node.function == "abs":
        return xp.where(xp.real(parts[0]) < 0, -parts[0], parts[0])[()]
    if node.function == "min":
        return reduce(lambda a, b: xp.where(xp.real(b) < xp.real(a), b, a)[()], parts)
    if node.function == "max":
        return reduce(lambda a, b: xp.where(xp.real(b) > xp.real(a), b, a)[()], parts)
    return getattr(xp, FUNCTIONS[node.function][0])(parts[0])


def _power(exponent: Expression, base: Any, power: Any, xp: Any) -> Any:
    """base ** power; small whole powers by multiplication, which is exact for complex steps and negative bases."""
    whole = _whole(exponent)
    if whole is None:
        return xp.power(base, power)
    result: Any = 1.0
    square, left = base, abs(whole)
    while left:
        result = xp.multiply(result, square) if left % 2 else result
        left //= 2
        square = xp.multiply(square, square) if left else square
    return xp.divide(1.0, result) if whole < 0 else result


def _whole(exponent: Expression) -> int | None:
    """The exponent if it is written as a small whole number."""
    sign = 1
    while isinstance(exponent, Negative):
        sign, exponent = -sign, exponent.operand
    if isinstance(exponent, Number) and abs(exponent.value) <= _LARGEST_POWER and exponent.value.is_integer():
        return sign * int(exponent.value)
    return None


def names(expr: Expression) -> tuple[str, ...]:
    """The names in an expression, in order of first use."""
    found: dict[str, None] = {}
    fold(expr, lambda node, _: found.setdefault(node.name) if isinstance(node, Name) else None)
    return tuple(found)


def substitute(expr: Expression, replacements: Mapping[str, Expression]) -> Expression:
    """The expression with some names replaced by expressions."""
    return fold(expr, lambda node, parts: _rebuilt(node, parts, replacements))


def _rebuilt(node: Expression, parts: list[Expression], replacements: Mapping[str, Expression]) -> Expression:
    if isinstance(node, Name):
        return replacements.get(node.name, node)
    if isinstance(node, Negative):
        return Negative(parts[0])
    if isinstance(node, Binary):
        return Binary(node.op, parts[0], parts[1])
    return Call(node.function, tuple(parts)) if isinstance(node, Call) else node


Affine = tuple[dict[str, float], float]


def affine(expr: Expression) -> Affine | None:
    """(coefficients, constant) when the expression is affine in its names, else None; zero coefficients are dropped."""
    found = fold(expr, _affine)
    if found is None or not all(map(math.isfinite, (*found[0].values(), found[1]))):
        return None
    return {name: value for name, value in found[0].items() if value != 0}, found[1]


def _affine(node: Expression, parts: list[Affine | None]) -> Affine | None:
    if isinstance(node, Number):
        return {}, node.value
    if isinstance(node, Name):
        return {node.name: 1.0}, 0.0
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    if isinstance(node, Negative):
        return _scaled(known[0], -1.0)
    if all(not part[0] for part in known):
        return _constant(node, [part[1] for part in known])
    return _affine_binary(node, *known) if isinstance(node, Binary) else None


def _affine_binary(node: Binary, left: Affine, right: Affine) -> Affine | None:
    if node.op in "+-":
        other = right if node.op == "+" else _scaled(right, -1.0)
        summed = {name: left[0].get(name, 0.0) + other[0].get(name, 0.0) for name in {**left[0], **other[0]}}
        return summed, left[1] + other[1]
    if node.op == "*" and not (left[0] and right[0]):
        return _scaled(right, left[1]) if right[0] else _scaled(left, right[1])
    if right[0] or right[1] == 0:
        return None
    if node.op == "/":
        return {name: value / right[1] for name, value in left[0].items()}, left[1] / right[1]
    return left if node.op == "^" and right[1] == 1 else None


def _scaled(form: Affine, factor: float) -> Affine:
    return {name: factor * value for name, value in form[0].items()}, factor * form[1]


def _constant(node: Expression, parts: list[float]) -> Affine:
    with numpy.errstate(all="ignore"):
        return {}, float(_value(node, parts, {}, numpy))


def to_text(expr: Expression) -> str:
    """The expression in the syntax; parsing the text gives the same values again."""
    return fold(expr, _spelled)[0]


def _spelled(node: Expression, parts: list[tuple[str, int]]) -> tuple[str, int]:
    """(text, how strongly its outermost operator binds)."""
    if isinstance(node, Number):
        text = repr(int(node.value)) if node.value == int(node.value) and abs(node.value) < 1e15 else repr(node.value)
        return (text, 9) if math.copysign(1.0, node.value) > 0 else (f"-{abs(node.value)!r}", _UNARY)
    if isinstance(node, Name):
        return (node.name if _PLAIN_NAME.fullmatch(node.name) else f"`{node.name}`"), 9
    if isinstance(node, Negative):
        return "-" + _wrapped(parts[0], _UNARY), _UNARY
    if isinstance(node, Call):
        return f"{node.function}({', '.join(text for text, _ in parts)})", 9
    strength = _STRENGTH[node.op]
    left = _wrapped(parts[0], strength + (node.op == "^"))
    right = _wrapped(parts[1], _UNARY if node.op == "^" else strength + 1)
    return f"{left}{node.op}{right}", strength


def _wrapped(part: tuple[str, int], least: int) -> str:
    return part[0] if part[1] >= least else f"({part[0]})"
