"""The rows that are added to what the user wrote, and the values at which rows are fixed unless the user says more."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, combinations_with_replacement

from .modifiers import Chosen
from .syntax import Term
from .variables import Variables

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Options:
    """The settings of a table; thresholds maps an ordered variable to its number of categories, 0 when unknown."""

    std_lv: bool
    orthogonal: bool
    effect_coding: bool
    mean_structure: bool
    fixed_x: bool
    growth: bool
    auto: bool
    group_equal: tuple[str, ...]
    group_partial: tuple[str, ...]
    ordered: Mapping[str, int]
    parameterization: str


@dataclass
class Draft:
    """A row while the table is built: free or fixed at value (nan for a sample statistic)."""

    lhs: str
    op: str
    rhs: str
    user: int
    group: int
    level: int
    chosen: Chosen = field(default_factory=Chosen)
    efa: str = ""
    free: bool = True
    value: float = math.nan
    exo: int = 0
    label: str = ""
    plabel: str = ""

    @property
    def key(self) -> Key:
        """lhs, op, rhs."""
        return self.lhs, self.op, self.rhs

    @property
    def is_variance(self) -> bool:
        """Whether this is a variable with itself."""
        return self.op == "~~" and self.lhs == self.rhs

    def fix(self, value: float) -> None:
        """Fix at a value."""
        self.free, self.value = False, value

    def release(self) -> None:
        """Make free."""
        self.free, self.value = True, math.nan


def block_rows(
    terms: Sequence[tuple[Term, Chosen]], variables: Variables, options: Options, group: int, level: int
) -> list[Draft]:
    """The user's rows and the automatic ones of one group and level, free or fixed as they are by default."""
    rows = [Draft(t.lhs, t.op, t.rhs, 1, group, level, chosen, t.efa) for t, chosen in terms]
    present = {_canonical(row.key) for row in rows}
    for key in _automatic(variables, options):
        if _canonical(key) not in present:
            present.add(_canonical(key))
            rows.append(Draft(*key, 0, group, level))
    _fix_scales(rows, variables, options)
    _fix_variances(rows, variables, options)
    _fix_means(rows, variables, options)
    _fix_ordered(rows, options)
    _fix_predictors(rows, variables, options)
    return rows


def _canonical(key: Key) -> Key:
    lhs, op, rhs = key
    return (min(lhs, rhs), op, max(lhs, rhs)) if op == "~~" else key


def _automatic(variables: Variables, options: Options) -> Iterator[Key]:
    """The automatic rows in lavaan's order."""
    ordered = [name for name in variables.observed if name in options.ordered]
    for name in ordered:
        yield from ((name, "|", f"t{k}") for k in range(1, options.ordered[name]))
    if options.auto:
        yield from ((name, "~~", name) for name in (*variables.outcomes, *variables.latent))
        yield from _covariances(combinations(variables.latent_exogenous, 2))
        yield from _covariances(combinations((*variables.latent_last, *variables.observed_last), 2))
    yield from _covariances(combinations_with_replacement(variables.predictors, 2))
    yield from ((name, "~*~", name) for name in ordered)
    if options.mean_structure:
        yield from ((name, "~1", "") for name in (*variables.observed, *variables.latent))


def _covariances(pairs: Iterable[tuple[str, str]]) -> Iterator[Key]:
    return ((first, "~~", second) for first, second in pairs)


def _fix_scales(rows: list[Draft], variables: Variables, options: Options) -> None:
    """The scale of each latent variable: its first loading, or its variance."""
    exploratory = {row.lhs for row in rows if row.efa}
    for row in rows:
        if row.is_variance and row.lhs in variables.latent and (options.std_lv or row.lhs in exploratory):
            row.fix(1.0)
    if options.std_lv or options.effect_coding or not options.auto:
        return
    for name in variables.latent:
        if name not in exploratory:
            next(row for row in rows if row.op == "=~" and row.lhs == name).fix(1.0)


def _fix_variances(rows: list[Draft], variables: Variables, options: Options) -> None:
    """No error in a single indicator, and no covariances of latent variables when orthogonal."""
    single = _single_indicators(rows, variables) if options.auto else set()
    for row in rows:
        if row.user or row.op != "~~":
            continue
        if row.lhs == row.rhs and row.lhs in single:
            row.fix(0.0)
        if options.orthogonal and row.lhs != row.rhs and {row.lhs, row.rhs} <= set(variables.latent):
            row.fix(0.0)


def _single_indicators(rows: list[Draft], variables: Variables) -> set[str]:
    """Observed variables that are the only indicator of a latent variable."""
    indicators: dict[str, list[str]] = {}
    for row in rows:
        if row.op == "=~":
            indicators.setdefault(row.lhs, []).append(row.rhs)
    return {names[0] for names in indicators.values() if len(names) == 1 and names[0] in variables.observed}


def _fix_means(rows: list[Draft], variables: Variables, options: Options) -> None:
    """Automatic intercepts of observed variables are free and latent means 0; in growth models the reverse."""
    observed_free = options.auto and not options.growth
    latent_free = options.auto and (options.growth or options.effect_coding)
    for row in rows:
        if row.op == "~1" and not row.user and not (latent_free if row.lhs in variables.latent else observed_free):
            row.fix(0.0)


def _fix_ordered(rows: list[Draft], options: Options) -> None:
    """Ordered variables: unit variances and scales, intercepts 0, thresholds free."""
    for row in rows:
        if row.lhs in options.ordered and not row.user:
            if row.is_variance or row.op == "~*~":
                row.fix(1.0)
            elif row.op == "~1":
                row.fix(0.0)


def _fix_predictors(rows: list[Draft], variables: Variables, options: Options) -> None:
    """Moments of exogenous observed variables: sample statistics with fixed_x, else free."""
    for row in rows:
        if row.op in ("~~", "~1") and row.lhs in variables.predictors and row.rhs in ("", *variables.predictors):
            row.release()
            if options.fixed_x:
                row.fix(math.nan)
                row.exo = 1
