"""lavaan's model syntax: text in, terms, definitions and constraints out. What they mean is said in table.py."""

import math
from dataclasses import dataclass, field, replace

from .expressions import Expression, parse_tokens, to_text
from .modifiers import Modifiers, merge, read_modifier, split
from .tokens import RELATIONS, ModelSyntaxError, Token, statements, tokenize

__all__ = ["Block", "Constraint", "Definition", "ModelSyntaxError", "ParsedModel", "Term", "parse"]

_TERM_OPERATORS = "an operator (=~, ~, ~~, ~1, |, ~*~, <~, :=, ==, < or >)"


@dataclass(frozen=True)
class Block:
    """Where a formula belongs: a group (its number or label) and a level; None is all groups, no levels."""

    group: str | None = None
    level: str | None = None


@dataclass(frozen=True)
class Term:
    """One parameter as written: lhs op rhs with its modifiers. op is =~ ~ ~~ ~1 | ~*~ or <~; rhs is "" for ~1."""

    lhs: str
    op: str
    rhs: str
    modifiers: Modifiers
    block: int
    line: int
    efa: str = ""

    def __str__(self) -> str:
        """The term in the syntax, without modifiers."""
        return spell(self.lhs, self.op, self.rhs)


@dataclass(frozen=True)
class Constraint:
    """lhs op rhs, with op "==", "<" or ">"."""

    text: str
    lhs: Expression
    rhs: Expression
    op: str


@dataclass(frozen=True)
class Definition:
    """A quantity defined by := from parameters and earlier definitions."""

    name: str
    text: str
    expression: Expression


@dataclass(frozen=True)
class ParsedModel:
    """A model's text in order: the terms of every block, and the definitions and constraints."""

    terms: tuple[Term, ...]
    blocks: tuple[Block, ...]
    definitions: tuple[Definition, ...]
    constraints: tuple[Constraint, ...]


def spell(lhs: str, op: str, rhs: str) -> str:
    """A parameter in the syntax."""
    return f"{lhs} ~ 1" if op == "~1" else f"{lhs} {op} {rhs}"


def parse(text: str) -> ParsedModel:
    """Read a model written in lavaan's syntax; ModelSyntaxError shows the place of a mistake."""
    if not isinstance(text, str):
        raise TypeError(f"Expected the model as a text in lavaan's syntax; got {type(text).__name__}.")
    reader = _Reader()
    tokens = tokenize(text)
    for statement in statements(tokens):
        reader.statement(statement)
    if not reader.terms:
        beginning = Token("end", "", 1, 1, text.split("\n")[0])
        raise beginning.error("the model is empty: write at least one formula, such as 'f =~ x1 + x2 + x3'.")
    return ParsedModel(
        tuple(reader.terms.values()), tuple(reader.blocks), tuple(reader.definitions), tuple(reader.constraints)
    )


Key = tuple[int, str, str, str]


@dataclass
class _Reader:
    """Collects what the statements say; terms are kept by block, lhs, op and rhs, so that repeated ones merge."""

    terms: dict[Key, Term] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=lambda: [Block()])
    definitions: list[Definition] = field(default_factory=list)
    constraints: list[Constraint] = field(default_factory=list)
    block: int = 0

    def statement(self, tokens: tuple[Token, ...]) -> None:
        """Read one statement of any kind."""
        if tokens[0].kind == "block":
            return self.header(tokens)
        position = _relation(tokens)
        left, relation, right = tokens[: position + 1], tokens[position], tokens[position + 1 :]
        _check_sides(left, right)
        if relation.text == ":=":
            return self.definition(left, right)
        if relation.text in ("==", "<", ">"):
            return self.constraint(left, relation.text, right)
        self.formula(left, relation, right)

    def header(self, tokens: tuple[Token, ...]) -> None:
        """group: or level:, the start of a block."""
        token, after = tokens[0], tokens[1]
        if after.kind not in ("newline", "end"):
            raise after.expected("the end of the line after a block's name")
        key, _, name = (part.strip() for part in token.text.partition(":"))
        if not name:
            raise token.expected(f"the {key}'s number or name after '{token.text}'")
        here = self.blocks[self.block]
        started = any(key[0] == self.block for key in self.terms)
        if started and (here == Block() or (here.level is None and key.lower() == "level")):
            raise token.error(f"expected '{token.text}' before the first formula, so that every formula has its block.")
        name = name.strip("\"'")
        if key.lower() == "group":
            self.open(Block(name))
        else:
            self.open(Block(self.blocks[self.block].group, name))

    def open(self, block: Block) -> None:
        """Go on in this block: one there is, the present one if nothing is in it yet, or a new one."""
        empty = not any(key[0] == self.block for key in self.terms)
        if block in self.blocks:
            self.block = self.blocks.index(block)
        elif empty and (self.blocks == [Block()] or (self.blocks[self.block] == Block(block.group))):
            self.blocks[self.block] = block
        else:
            self.blocks.append(block)
            self.block = len(self.blocks) - 1

    def definition(self, left: tuple[Token, ...], right: tuple[Token, ...]) -> None:
        """name := expression."""
        if len(left) != 2 or left[0].kind != "name":
            raise left[0].expected("one name to the left of ':='")
        expression = parse_tokens(right)
        name = left[0].value
        if any(name == earlier.name for earlier in self.definitions):
            raise left[0].error(f"'{name}' is defined twice.")
        self.definitions.append(Definition(name, to_text(expression), expression))

    def constraint(self, left: tuple[Token, ...], op: str, right: tuple[Token, ...]) -> None:
        """An equality or inequality of two expressions."""
        lhs, rhs = parse_tokens(left), parse_tokens(right)
        self.constraints.append(Constraint(f"{to_text(lhs)} {op} {to_text(rhs)}", lhs, rhs, op))

    def formula(self, left: tuple[Token, ...], relation: Token, right: tuple[Token, ...]) -> None:
        """Every variable on the left with every term on the right."""
        heads = [_head(part, relation.text) for part in split(left, "+")]
        tails = [_tail(part, relation.text) for part in split(right, "+")]
        for lhs, efa in heads:
            for token, op, rhs, modifiers in tails:
                term = Term(lhs.value, op, rhs, modifiers, self.block, token.line, efa)
                _check_term(term, token)
                self.add(term, token)

    def add(self, term: Term, place: Token) -> None:
        """Keep a term, or merge it with the same parameter written before."""
        swapped = term.op == "~~" and (self.block, term.rhs, term.op, term.lhs) in self.terms
        ends = (term.rhs, term.op, term.lhs) if swapped else (term.lhs, term.op, term.rhs)
        key = (self.block, *ends)
        earlier = self.terms.get(key)
        if earlier is None:
            self.terms[key] = term
        else:
            merged = merge(earlier.modifiers, term.modifiers, str(term), place)
            self.terms[key] = replace(earlier, modifiers=merged, efa=earlier.efa or term.efa)


def _relation(tokens: tuple[Token, ...]) -> int:
    """Where the statement's one relational operator stands."""
    found = [index for index, token in enumerate(tokens) if token.is_symbol(*RELATIONS)]
    lone = next((token for token in tokens if token.is_symbol("=")), None)
    if lone is not None:
        raise lone.error(
            "expected '==' (a constraint), '=~' (a factor) or ':=' (a definition); found '='. "
            "Inequalities are written < and >, and include equality."
        )
    if not found:
        place = tokens[1] if len(tokens) > 1 and tokens[0].kind != "symbol" else tokens[0]
        raise place.expected(_TERM_OPERATORS)
    if len(found) > 1:
        raise tokens[found[1]].error(f"expected one operator in a formula; found a second, '{tokens[found[1]].text}'.")
    return found[0]


def _check_sides(left: tuple[Token, ...], right: tuple[Token, ...]) -> None:
    if len(left) == 1:
        raise left[0].expected(f"a name before '{left[0].text}'")
    if len(right) == 1:
        raise right[0].expected("a term after the operator")


def _head(part: tuple[Token, ...], op: str) -> tuple[Token, str]:
    """A variable to the left of the operator, and the name of its efa block."""
    *modifiers, last = split(part, "*")
    token = last[0]
    if token.kind != "name" or len(last) != 2:
        raise (token if token.kind != "name" else last[1]).expected(f"variable names joined by '+' before '{op}'")
    read = [read_modifier(piece) for piece in modifiers if _written(piece)]
    if len(read) > 1 or (read and (op != "=~" or len(read[0].efa) != 1)):
        raise part[0].error(f"the left side of '{op}' takes no modifiers; write them on the right.")
    return token, (read[0].efa[0] or "") if read else ""


def _tail(part: tuple[Token, ...], op: str) -> tuple[Token, str, str, Modifiers]:
    """(where, operator, variable, modifiers) of a term to the right of the operator."""
    *pieces, last = split(part, "*", "?")
    token, op, rhs, implied = _target(last, op)
    modifiers, product = implied, 1.0
    for piece in pieces:
        read = read_modifier(piece) if _written(piece) else Modifiers()
        if read.efa:
            raise piece[0].error("efa() belongs before a factor, on the left of '=~'.")
        if _is_factor(read):
            product *= read.fixed[0] or 0.0
            read = Modifiers(fixed=(product,))
            modifiers = replace(modifiers, fixed=()) if _is_factor(modifiers) else modifiers
        modifiers = merge(modifiers, read, rhs or "1", piece[0])
    return token, op, rhs, modifiers


def _written(piece: tuple[Token, ...]) -> bool:
    if len(piece) < 2:
        raise piece[-1].expected("a modifier or a variable")
    return True


def _is_factor(modifiers: Modifiers) -> bool:
    """Whether this is a number, which multiplies the numbers beside it."""
    value = modifiers.fixed[0] if len(modifiers.fixed) == 1 else None
    return value is not None and not math.isnan(value)


def _target(last: tuple[Token, ...], op: str) -> tuple[Token, str, str, Modifiers]:
    """What a term ends in: a variable, an interaction x:z, or 1 or 0 for an intercept."""
    token = last[0]
    if token.kind == "number" and op == "~" and len(last) == 2:
        if float(token.text) not in (0, 1):
            raise token.expected("a variable, or 1 (or 0) for the intercept")
        return token, "~1", "", Modifiers() if float(token.text) else Modifiers(fixed=(0.0,))
    if token.kind == "name" and token.text != "NA" and len(last) == 2:
        return token, op, token.value, Modifiers()
    if len(last) == 4 and token.kind == last[2].kind == "name" and last[1].is_symbol(":"):
        return token, op, f"{token.value}:{last[2].value}", Modifiers()
    if token.kind == "name" and token.text != "NA":
        raise last[1].expected("'+', '*' or the end of the formula")
    if token.kind == "number" and last[1].kind == "name":
        raise last[1].expected(f"'*' between {token.text} and '{last[1].text}'")
    raise token.expected("a variable" + (", or 1 for the intercept" if op == "~" else ""))


def _check_term(term: Term, place: Token) -> None:
    """Refuse what no parameter can be."""
    if term.op in ("=~", "<~") and term.lhs == term.rhs:
        raise place.error(f"'{term.lhs}' can't be measured by itself.")
    if term.op == "~" and term.lhs == term.rhs:
        raise place.error(f"'{term.lhs}' can't be regressed on itself.")
    if term.op == "~*~" and term.lhs != term.rhs:
        raise place.expected(f"'{term.lhs}' on both sides of '~*~'")
    if term.op == "|" and not (term.rhs[:1] == "t" and term.rhs[1:].isdigit()):
        raise place.expected("a threshold (t1, t2, ...) after '|'")
    if ":" in term.rhs and term.op not in ("~", "=~", "~~"):
        raise place.error(f"an interaction ('{term.rhs}') can't stand after '{term.op}'.")
