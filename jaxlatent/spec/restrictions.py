"""Equal labels, constraints and definitions: names become parameters, and contradictions are found at once."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy

from .automatic import Draft
from .expressions import Binary, Expression, Name, Number, affine, evaluate, names, substitute, to_text
from .syntax import Constraint, Definition, ModelSyntaxError, parse, spell

_HOLDS: dict[str, Callable[[float, float], bool]] = {
    "==": lambda a, b: math.isclose(a, b, abs_tol=1e-12),
    "<": lambda a, b: a <= b,
    ">": lambda a, b: a >= b,
}


def link_equal(rows: Sequence[Draft]) -> None:
    """Carry out equal("f =~ x2"): the row gets the label of the row it names, or both get one."""
    for row in rows:
        if row.chosen.equal:
            _link(rows, row, _named(rows, row, row.chosen.equal))


def _link(rows: Sequence[Draft], row: Draft, target: Draft) -> None:
    own, other = row.chosen.label, target.chosen.label
    if own and other and own != other:
        raise ValueError(f"equal() makes '{own}' and '{other}' one parameter; give them one label.")
    label = own or other or target.label or target.plabel
    old = {text for text in (row.label, target.label) if text}
    for member in rows:
        if member is row or member is target or member.label in old:
            member.label = label


def _named(rows: Sequence[Draft], row: Draft, text: str) -> Draft:
    """The row that the text names by its formula or its label."""
    for other in rows:
        if text in (other.label, other.plabel):
            return other
    try:
        term = parse(text).terms[0]
    except ModelSyntaxError:
        raise ValueError(f"Expected a parameter such as 'f =~ x2', or a label, in equal(); got '{text}'.") from None
    keys = {(term.lhs, term.op, term.rhs)} | ({(term.rhs, "~~", term.lhs)} if term.op == "~~" else set())
    for other in rows:
        if other.key in keys and (other.group, other.level) == (row.group, row.level) and other is not row:
            return other
    raise ValueError(f"equal() names '{term}', which is no other parameter of the model.")


def spread_fixed(rows: Sequence[Draft]) -> None:
    """Rows with the label of a fixed row are fixed at its value."""
    for label, members in by_label(rows).items():
        values = {row.value for row in members if not row.free}
        if len(values) > 1:
            shown = " and ".join(f"{value:g}" for value in sorted(values))
            raise ValueError(f"The parameters labelled '{label}' are equal, but are fixed at {shown}.")
        for row in members if values else ():
            row.fix(next(iter(values)))


def by_label(rows: Sequence[Draft]) -> dict[str, list[Draft]]:
    """The rows of each label."""
    found: dict[str, list[Draft]] = {}
    for row in rows:
        if row.label:
            found.setdefault(row.label, []).append(row)
    return found


def numbers(rows: Sequence[Draft]) -> list[int]:
    """The number of each row's free parameter, 0 when fixed; rows with one label share it."""
    known: dict[str, int] = {}
    return [known.setdefault(row.label or row.plabel, len(known) + 1) if row.free else 0 for row in rows]


def effect_coding(rows: Sequence[Draft], free: Sequence[int], mean_structure: bool) -> Iterator[Constraint]:
    """For each factor whose loadings are all free: their mean is 1, and its indicators' intercepts sum to 0."""
    number = dict(zip((row.plabel for row in rows), free, strict=True))
    intercepts = {(row.group, row.level, row.lhs): row for row in rows if row.op == "~1"}
    factors: dict[tuple[int, int, str], list[Draft]] = {}
    for row in rows:
        if row.op == "=~":
            factors.setdefault((row.group, row.level, row.lhs), []).append(row)
    seen: set[tuple[int, ...]] = set()
    sums = [(members, len(members)) for members in factors.values()]
    if mean_structure:
        sums += [([intercepts[row.group, row.level, row.rhs] for row in m], 0) for m in factors.values()]
    for members, total in sums:
        key = tuple(number[row.plabel] for row in members)
        if all(key) and key not in seen:
            seen.add(key)
            yield _sum_is([row.plabel for row in members], total)


def _sum_is(plabels: list[str], total: int) -> Constraint:
    rest: Expression = Number(float(total))
    for plabel in plabels[1:]:
        rest = Binary("-", rest, Name(plabel))
    return Constraint(f"{plabels[0]} == {to_text(rest)}", Name(plabels[0]), rest, "==")


def bounds(rows: Sequence[Draft]) -> Iterator[Constraint]:
    """lower() and upper() as inequalities, one for each parameter."""
    seen = set()
    for row in rows:
        name = row.label or row.plabel
        for op, value in ((">", row.chosen.lower), ("<", row.chosen.upper)):
            if value is not None and not math.isnan(value) and row.free and (name, op, value) not in seen:
                seen.add((name, op, value))
                yield Constraint(f"{name} {op} {value:g}", Name(name), Number(value), op)


class Names:
    """What names in constraints and definitions stand for: parameters by label or plabel, and definitions."""

    def __init__(self, rows: Sequence[Draft], definitions: Sequence[Definition]) -> None:
        self.rows = {row.plabel: row for row in rows} | {row.label: row for row in rows if row.label}
        self.labels = [label for label in by_label(rows) if label[0] != "."]
        self.inlined: dict[str, Expression] = {}
        self.definitions = tuple(self._define(definition) for definition in definitions)

    def _define(self, definition: Definition) -> Definition:
        if definition.name in self.rows:
            raise ValueError(f"'{definition.name}' is both the label of a parameter and defined by ':='.")
        expression = self._resolve(definition.expression, definition.text, inline=False)
        self.inlined[definition.name] = substitute(expression, self.inlined)
        return Definition(definition.name, definition.text, expression)

    def constraint(self, given: Constraint) -> Constraint | None:
        """The constraint in terms of free parameters only; None if it always holds."""
        lhs, rhs = (self._resolve(side, given.text, inline=True) for side in (given.lhs, given.rhs))
        if names(lhs) or names(rhs):
            return Constraint(given.text, lhs, rhs, given.op)
        with numpy.errstate(all="ignore"):
            a, b = (float(evaluate(side, {})) for side in (lhs, rhs))
        if not _HOLDS[given.op](a, b):
            raise ValueError(
                f"The constraint '{given.text}' can't hold: nothing in it is free, and {a:g} {given.op} {b:g} is false."
            )
        return None

    def _resolve(self, expression: Expression, text: str, inline: bool) -> Expression:
        replacements: dict[str, Expression] = {}
        for name in names(expression):
            if name in self.inlined:
                replacements[name] = self.inlined[name] if inline else Name(name)
            else:
                replacements[name] = self._parameter(name, text)
        return substitute(expression, replacements)

    def _parameter(self, name: str, text: str) -> Expression:
        row = self.rows.get(name)
        if row is None:
            there = ", ".join([*self.labels, *self.inlined]) or "none"
            raise ValueError(f"'{text}' uses '{name}', which is no label and not defined before; there are: {there}.")
        if row.free:
            return Name(name)
        if math.isnan(row.value):
            what = spell(*row.key)
            raise ValueError(f"'{text}' uses '{name}', the sample moment {what} of a predictor; use fixed_x=False.")
        return Number(row.value)


def check_consistent(constraints: Sequence[Constraint], free: Mapping[str, int], *, inequalities: bool = False) -> None:
    """Refuse linear equalities (and inequalities) that no parameters can satisfy together."""
    forms = [(c, affine(Binary("-", c.lhs, c.rhs))) for c in constraints if inequalities or c.op == "=="]
    linear = sorted(((c, form) for c, form in forms if form is not None), key=lambda pair: pair[0].op != "==")
    matrix = numpy.zeros((len(linear), max(free.values(), default=0) + 1))
    for row, (constraint, (coefficients, constant)) in zip(matrix, linear, strict=True):
        row[0] = constant
        for name, coefficient in coefficients.items():
            row[free[name]] += coefficient
        row *= -1 if constraint.op == ">" else 1
    equalities = sum(c.op == "==" for c, _ in linear)
    if not _feasible(matrix, equalities):
        count = next(k for k in range(1, len(linear) + 1) if not _feasible(matrix[:k], min(k, equalities)))
        last, others = linear[count - 1][0].text, [c.text for c, _ in linear[: count - 1]]
        where = f"with {' and '.join(repr(t) for t in others)}" if len(others) == 1 else "with those before it"
        raise ValueError(f"The constraint '{last}' can't hold together {where}.")


def _feasible(matrix: numpy.ndarray, equalities: int) -> bool:
    """Whether matrix[:, 1:] x + matrix[:, 0] has solutions that are 0 in the first rows and at most 0 in the others."""
    same, below = matrix[:equalities], matrix[equalities:]
    if same.size and numpy.linalg.matrix_rank(same[:, 1:]) < numpy.linalg.matrix_rank(same):
        return False
    if not len(below):
        return True
    from scipy.optimize import linprog

    used = numpy.abs(matrix[:, 1:]).sum(axis=0) > 0
    a = matrix[:, 1:][:, used]
    found = linprog(
        numpy.zeros(a.shape[1]),
        A_ub=a[equalities:],
        b_ub=-below[:, 0],
        A_eq=a[:equalities] if equalities else None,
        b_eq=-same[:, 0] if equalities else None,
        bounds=(None, None),
    )
    return bool(found.status != 2)
