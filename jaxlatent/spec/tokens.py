"""Tokens of the model syntax: names, numbers, strings, operators, ends of statements, block headers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

RELATIONS = ("=~", "~*~", "~~", "<~", ":=", "==", "~", "|", "<", ">")
_SYMBOLS = (*RELATIONS[:6], "**", *RELATIONS[6:], "+", "-", "*", "/", "^", "(", ")", ",", "?", ":", "=")
_PATTERNS = (
    ("space", r"[^\S\n]+|[#!][^\n]*"),
    ("newline", r"\n"),
    ("end", r";"),
    ("number", r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"),
    ("name", r"(?:[^\W\d]|\.(?!\d))[\w.]*|`[^`\n]+`"),
    ("string", r"\"[^\"\n]*\"|'[^'\n]*'"),
    ("symbol", "|".join(re.escape(symbol) for symbol in _SYMBOLS)),
)
_TOKEN = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _PATTERNS))
_BLOCK = re.compile(r"(group|level)[^\S\n]*:(?!=)([^\n;#!~=<>|]*)(?=[\n;#!]|\Z)", re.IGNORECASE)
_LEADING = tuple(symbol for symbol in _SYMBOLS if symbol not in ("(", "-"))
_EXPRESSION_RELATIONS = (":=", "==", "<", ">")
# what the token after a piece of a statement becomes when the piece is read by itself: it closes the piece
CLOSING = {"newline": "newline", "end": "end", "symbol": "stop", "stop": "stop"}


class ModelSyntaxError(ValueError):
    """The model text cannot be read; the message shows the line and marks the place."""


@dataclass(frozen=True)
class Token:
    """A piece of the text, of kind name, number, string, symbol, block, newline or end; lines and columns from 1."""

    kind: str
    text: str
    line: int
    column: int
    source: str

    @property
    def value(self) -> str:
        """The text without quotes."""
        return self.text[1:-1] if self.text[:1] in "\"'`" and len(self.text) > 1 else self.text

    def is_symbol(self, *texts: str) -> bool:
        """Whether this is one of these operators or signs."""
        return self.kind == "symbol" and self.text in texts

    def error(self, sentence: str) -> ModelSyntaxError:
        """An error whose message names this place and shows it under a caret."""
        mark = " " * (self.column - 1) + "^"
        return ModelSyntaxError(f"Line {self.line}, column {self.column}: {sentence}\n    {self.source}\n    {mark}")

    def expected(self, what: str) -> ModelSyntaxError:
        """The error "expected ...; found ..."."""
        return self.error(f"expected {what}; found {describe(self)}.")


def describe(token: Token) -> str:
    """The token in words, for messages."""
    if token.kind in ("newline", "end"):
        return "the end of the statement"
    return token.text if token.kind == "string" else f"'{token.text}'"


def tokenize(text: str, line: int = 1, column: int = 1) -> tuple[Token, ...]:
    """All tokens of a text that begins at this line and column, and a last one of kind "end".

    Newlines inside parentheses, after an operator, and before an operator are dropped: the statement goes on.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    tokens = _closed(tuple(_scan(text, line, column)))
    return _joined(tokens)


def _scan(text: str, line: int, column: int) -> Iterator[Token]:
    sources = text.split("\n")
    sources[0] = " " * (column - 1) + sources[0]
    position, start, first, beginning = 0, 1 - column, line, True
    while position < len(text):
        place = (line, position - start + 1, sources[line - first])
        block = _BLOCK.match(text, position) if beginning else None
        match = block or _TOKEN.match(text, position)
        if match is None:
            raise _unreadable(Token("symbol", text[position], *place))
        kind = "block" if block else str(match.lastgroup)
        if kind != "space":
            yield Token(kind, match.group().strip(" "), *place)
            beginning = kind in ("newline", "end")
        position = match.end()
        if kind == "newline":
            line, start = line + 1, position
    yield Token("end", "", line, position - start + 1, sources[line - first])


def _unreadable(token: Token) -> ModelSyntaxError:
    if token.text in "\"'`":
        return token.error(f"this {token.text} is never closed on its line.")
    return token.expected("a name, a number or an operator")


def _closed(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Check the parentheses, and drop newlines inside them."""
    kept: list[Token] = []
    opened: list[Token] = []
    for token in tokens:
        if token.is_symbol("("):
            opened.append(token)
        elif token.is_symbol(")"):
            if not opened:
                raise token.error("this ')' closes no '('.")
            opened.pop()
        elif token.kind == "end" and opened:
            raise opened[-1].error("this '(' is never closed.")
        if not (token.kind == "newline" and opened):
            kept.append(token)
    return tuple(kept)


def _joined(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Drop the newlines across which a statement goes on."""
    kept: list[Token] = []
    in_expression = False
    for index, token in enumerate(tokens):
        if token.kind != "newline":
            kept.append(token)
            in_expression = token.kind != "end" and (in_expression or token.is_symbol(*_EXPRESSION_RELATIONS))
            continue
        following = next(later for later in tokens[index:] if later.kind != "newline")
        leading = (*_LEADING, "-") if in_expression else _LEADING
        ends_open = bool(kept) and kept[-1].kind == "symbol" and kept[-1].text != ")"
        if not ends_open and not (kept and kept[-1].kind != "block" and following.is_symbol(*leading)):
            kept.append(token)
            in_expression = False
    return tuple(kept)


def statements(tokens: tuple[Token, ...]) -> list[tuple[Token, ...]]:
    """The tokens of each statement, with the newline or end that closes it as the last."""
    found: list[tuple[Token, ...]] = []
    current: list[Token] = []
    for token in tokens:
        current.append(token)
        if token.kind in ("newline", "end"):
            if len(current) > 1:
                found.append(tuple(current))
            current = []
    return found
