"""What stands before the star: fixed values, labels, starts, bounds, priors, one for all groups or one for each."""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy

from .expressions import Expression, evaluate, names, parse_tokens
from .prior_text import checked_prior
from .tokens import Token

Numbers = tuple[float | None, ...]
Texts = tuple[str | None, ...]
Entries = tuple[float | str | None, ...]
_NUMERIC = ("start", "lower", "upper")
_TEXTUAL = ("label", "equal", "prior", "efa")
_WORDS = {"fixed": "value", "start": "start", "lower": "lower bound", "upper": "upper bound", "label": "label"}
_WHAT = "a number, NA, a label, start(), equal(), label(), prior(), lower(), upper() or c()"


@dataclass(frozen=True)
class Modifiers:
    """The modifiers of one term. Each field is empty, or holds one entry (for all groups) or an entry for each group.

    A fixed value of nan is lavaan's NA: free. None is nothing said for that group.
    """

    fixed: Numbers = ()
    start: Numbers = ()
    lower: Numbers = ()
    upper: Numbers = ()
    label: Texts = ()
    equal: Texts = ()
    prior: Texts = ()
    efa: Texts = ()


@dataclass(frozen=True)
class Chosen:
    """The modifiers of one row, in one group."""

    fixed: float | None = None
    start: float | None = None
    lower: float | None = None
    upper: float | None = None
    label: str | None = None
    equal: str | None = None
    prior: str | None = None
    efa: str | None = None


def choose(modifiers: Modifiers, term: str, group: int, n_groups: int) -> Chosen:
    """The modifiers of the group with this index (from 0); lists must have one entry or one for each group."""
    found = {}
    for field in fields(Modifiers):
        entries = getattr(modifiers, field.name)
        if len(entries) not in (0, 1, n_groups):
            groups = "1 group" if n_groups == 1 else f"{n_groups} groups"
            raise ValueError(f"c() in '{term}' has {len(entries)} entries; expected 1 or one for each of {groups}.")
        if entries:
            found[field.name] = entries[group if len(entries) > 1 else 0]
    return Chosen(**found)


def merge(first: Modifiers, second: Modifiers, term: str, place: Token) -> Modifiers:
    """Both together; a ModelSyntaxError at the place if they contradict each other."""
    merged = first
    for field in fields(Modifiers):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if a and b:
            b = _together(a, b, _WORDS.get(field.name, f"{field.name}()"), term, place)
        merged = replace(merged, **{field.name: b or a})
    return merged


def _together(a: Entries, b: Entries, word: str, term: str, place: Token) -> Entries:
    size = max(len(a), len(b))
    if not {len(a), len(b)} <= {1, size}:
        raise place.error(f"'{term}' is given {word}s for {len(a)} groups and for {len(b)} groups.")
    pairs = zip(a * (size // len(a)), b * (size // len(b)), strict=True)
    return tuple(_either(x, y, word, term, place) for x, y in pairs)


def _either(x: float | str | None, y: float | str | None, word: str, term: str, place: Token) -> float | str | None:
    if x is None or y is None:
        return y if x is None else x
    if x == y or (_is_na(x) and _is_na(y)):
        return x
    raise place.error(f"'{term}' is given two different {word}s: {_shown(x)} and {_shown(y)}.")


def _is_na(value: float | str) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _shown(value: float | str) -> str:
    return "NA" if _is_na(value) else f"{value:g}" if isinstance(value, float) else f"'{value}'"


def split(tokens: tuple[Token, ...], *symbols: str) -> list[tuple[Token, ...]]:
    """The tokens between these symbols outside parentheses, each part with the token that follows it as its last."""
    parts: list[tuple[Token, ...]] = []
    depth, begin = 0, 0
    for index, token in enumerate(tokens):
        depth += token.is_symbol("(") - token.is_symbol(")")
        if index == len(tokens) - 1 or (depth == 0 and token.is_symbol(*symbols)):
            parts.append(tokens[begin : index + 1])
            begin = index + 1
    return parts


def read_modifier(part: tuple[Token, ...]) -> Modifiers:
    """The modifier these tokens spell; the last token follows it (a star, or a question mark after a start value)."""
    first, *rest = part[:-1]
    if part[-1].is_symbol("?"):
        return Modifiers(start=(_number(part),))
    if not rest and first.kind in ("string", "name") and first.text != "NA":
        return Modifiers(label=(first.value,))
    if rest and rest[0].is_symbol("(") and part[-2] is _closing(part):
        inside = (*part[2:-2], part[-2])
        if first.text == "c":
            return _vector(split(inside, ","))
        if first.text in _NUMERIC:
            return _one(first.text, tuple(_number(entry) for entry in _entries(inside)))
        if first.text in _TEXTUAL:
            read = _prior if first.text == "prior" else _text
            return _one(first.text, tuple(read(entry) for entry in _entries(inside)))
    return Modifiers(fixed=(_number(part),))


def _one(name: str, entries: Entries) -> Modifiers:
    changes: dict[str, Any] = {name: entries}
    return Modifiers(**changes)


def _closing(part: tuple[Token, ...]) -> Token | None:
    """The parenthesis that closes the one in second place."""
    depth = 0
    for token in part[1:]:
        depth += token.is_symbol("(") - token.is_symbol(")")
        if depth == 0:
            return token
    return None


def _entries(inside: tuple[Token, ...]) -> list[tuple[Token, ...]]:
    """The arguments of a modifier, those of a c() inside it unpacked."""
    found = split(inside, ",")
    only = found[0]
    if len(found) == 1 and len(only) > 3 and only[0].text == "c" and only[-2] is _closing(only):
        return split((*only[2:-2], only[-2]), ",")
    return found


def _vector(entries: list[tuple[Token, ...]]) -> Modifiers:
    """c(...): numbers and NA become fixed values, names and strings labels, entry by entry."""
    read = [read_modifier(entry) for entry in entries if _present(entry)]
    if any((one.fixed == () and one.label == ()) or len(one.fixed + one.label) > 1 for one in read):
        raise entries[0][0].expected("only numbers, NA and labels in c()")
    fixed = tuple(one.fixed[0] if one.fixed else None for one in read)
    label = tuple(one.label[0] if one.label else None for one in read)
    return Modifiers(fixed=fixed if any(one.fixed for one in read) else (), label=label if any(label) else ())


def _present(entry: tuple[Token, ...]) -> bool:
    if len(entry) < 2:
        raise entry[-1].expected(_WHAT)
    return True


def _number(part: tuple[Token, ...]) -> float:
    """The value of a numeric expression, nan for NA."""
    _present(part)
    if len(part) == 2 and part[0].text == "NA":
        return math.nan
    expression = parse_tokens(part)
    if names(expression):
        raise part[0].error(f"expected {_WHAT} before '*'; expressions of labels belong in a constraint (==) or (:=).")
    value = _quiet(expression)
    if not math.isfinite(value):
        raise part[0].expected("an expression with a finite value")
    return value


def _quiet(expression: Expression) -> float:
    with numpy.errstate(all="ignore"):
        return float(numpy.real(evaluate(expression, {})))


def _text(entry: tuple[Token, ...]) -> str:
    _present(entry)
    if len(entry) > 2 or entry[0].kind not in ("string", "name"):
        raise entry[0].expected("a text in quotes")
    return entry[0].value


def _prior(entry: tuple[Token, ...]) -> str:
    _text(entry)
    return checked_prior(entry[0])
