"""Groups and levels: which formulas belong to which, and which parameters are equal across groups."""

from collections.abc import Callable, Sequence

from .automatic import Draft, Options
from .modifiers import Chosen, choose
from .syntax import Block, ParsedModel, Term, parse, spell

_NAMES = (
    "loadings",
    "intercepts",
    "means",
    "thresholds",
    "regressions",
    "residuals",
    "residual_covariances",
    "lv_variances",
    "lv_covariances",
)
BlockTerms = list[tuple[Term, Chosen]]


def check_names(group_equal: Sequence[str]) -> tuple[str, ...]:
    """The names of equality constraints, lavaan's dots as underscores; a ValueError lists what there is."""
    names = (group_equal,) if isinstance(group_equal, str) else tuple(group_equal)
    names = tuple(name.replace(".", "_") for name in names)
    for name in names:
        if name not in _NAMES:
            raise ValueError(f"Expected names in group_equal among {', '.join(_NAMES)}; got '{name}'.")
    return names


def assign(parsed: ParsedModel, groups: tuple[str, ...]) -> list[tuple[int, int, BlockTerms]]:
    """(group, level, terms with their modifiers) of each block, groups first, levels in order of appearance."""
    levels = list(dict.fromkeys(block.level for block in parsed.blocks)) or [None]
    if None in levels and len(levels) > 1:
        raise ValueError("Some formulas are in a level: block and others in none; give each group the same levels.")
    numbers = [_group_number(block, groups) for block in parsed.blocks]
    found = []
    for group in range(1, len(groups) + 1):
        for number, level in enumerate(levels, 1):
            terms: BlockTerms = []
            for index, block in enumerate(parsed.blocks):
                if block.level == level and numbers[index] in (None, group):
                    terms += [(term, _chosen(term, numbers[index], group, groups)) for term in _of(parsed, index)]
            if not terms:
                where = "" if level is None else f" and level {level}"
                raise ValueError(f"The model has no formulas for group '{groups[group - 1]}'{where}.")
            found.append((group, number, terms))
    return found


def _of(parsed: ParsedModel, block: int) -> list[Term]:
    return [term for term in parsed.terms if term.block == block]


def _chosen(term: Term, own: int | None, group: int, groups: tuple[str, ...]) -> Chosen:
    if own is not None:
        return choose(term.modifiers, str(term), 0, 1)
    return choose(term.modifiers, str(term), group - 1, len(groups))


def _group_number(block: Block, groups: tuple[str, ...]) -> int | None:
    """The number of the group a block names by its label or number; None is every group."""
    if block.group is None:
        return None
    if block.group in groups:
        return groups.index(block.group) + 1
    if block.group.isdigit() and 1 <= int(block.group) <= len(groups):
        return int(block.group)
    there = f"there are the groups {', '.join(groups)}" if len(groups) > 1 else "no group variable is given"
    raise ValueError(f"The model has a block for group '{block.group}'; {there}.")


def release_later_groups(rows: Sequence[Draft], latent: set[str], options: Options) -> None:
    """Free what equality across groups makes estimable, in all groups but the first."""
    equal = options.group_equal
    for row in rows:
        if row.group == 1:
            continue
        if row.is_variance and row.lhs in latent and not row.free:
            released = "loadings" in equal and "lv_variances" not in equal
        elif row.op == "~1" and row.lhs in latent:
            released = bool({"intercepts", "thresholds"} & set(equal)) and "means" not in equal
        else:
            released = "thresholds" in equal and _is_scale(row, options)
        if released:
            row.release()


def _is_scale(row: Draft, options: Options) -> bool:
    """Whether this is what sets the scale of an ordered variable, and is not to be equal across groups."""
    if row.lhs not in options.ordered:
        return False
    if options.parameterization == "delta":
        return row.op == "~*~"
    return row.is_variance and "residuals" not in options.group_equal


def tie_groups(rows: Sequence[Draft], latent: set[str], options: Options) -> None:
    """Give free rows that are equal across groups the label of the first of them, unless the user labelled them."""
    released = _partial(rows, options.group_partial)
    first: dict[tuple[str, str, str, int], Draft] = {}
    for row in rows:
        selected = any(_KINDS[name](row, latent) for name in options.group_equal)
        if not selected or not row.free or row.key in released or row.label:
            continue
        leader = first.setdefault((*row.key, row.level), row)
        row.label = leader.plabel


_KINDS: dict[str, Callable[[Draft, set[str]], bool]] = {
    "loadings": lambda row, latent: row.op == "=~",
    "intercepts": lambda row, latent: row.op == "~1" and row.lhs not in latent,
    "means": lambda row, latent: row.op == "~1" and row.lhs in latent,
    "thresholds": lambda row, latent: row.op == "|",
    "regressions": lambda row, latent: row.op == "~",
    "residuals": lambda row, latent: row.is_variance and row.lhs not in latent,
    "residual_covariances": lambda row, latent: row.op == "~~" and row.lhs != row.rhs and row.lhs not in latent,
    "lv_variances": lambda row, latent: row.is_variance and row.lhs in latent,
    "lv_covariances": lambda row, latent: row.op == "~~" and row.lhs != row.rhs and row.lhs in latent,
}


def _partial(rows: Sequence[Draft], texts: Sequence[str]) -> set[tuple[str, str, str]]:
    """The parameters that group_partial releases."""
    keys = {row.key for row in rows}
    found = set()
    for text in (texts,) if isinstance(texts, str) else texts:
        for term in parse(text).terms:
            key = (term.lhs, term.op, term.rhs)
            if key not in keys and term.op == "~~":
                key = (term.rhs, term.op, term.lhs)
            if key not in keys:
                raise ValueError(f"group_partial names '{spell(*key)}', which is no parameter of the model.")
            found.add(key)
    return found
