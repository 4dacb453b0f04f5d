"""Which prior a parameter gets, and what it becomes: syntax beats label beats class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxlatent.inference.priors import EVERYTHING, CellPrior, Parameter, Priors
from jaxlatent.models.blocks import covariance_patterns
from jaxlatent.models.prior_distributions import LKJ, bounds, is_flat, mass_above, read_prior, stretched_beta
from jaxlatent.numerics.bijections import Covariance
from jaxlatent.spec.layout import Layout

BETWEEN = "_between_groups"
SETS = {
    "variance": (0.0, math.inf), "covariance": (-math.inf, math.inf), "positive": (0.0, math.inf), "unit": (0.0, 1.0),
    "cell": (-math.inf, math.inf),
}  # fmt: skip
NEGLIGIBLE = 1e-6


@dataclass(frozen=True)
class Choice:
    """A prior that has been chosen for a parameter, and what has chosen it."""

    level: int
    key: str
    distribution: Any
    scale: str
    text: str


def resolve(given: Mapping[str, Any], parameters: Sequence[Parameter], layout: Layout) -> Priors:
    """The priors of free parameters: those of the syntax, else of a label or a parameter, else of the narrowest class.

    Raises
    ------
    ValueError
        A name that the model does not have; a prior of a fixed parameter; two priors of one parameter; a prior on
        another scale than the parameter's, or without mass where the parameter lives.
    """
    _check_names(given, parameters)
    chosen: dict[int, tuple[Choice, Parameter]] = {}
    for parameter in parameters:
        choice = _choose(given, parameter)
        if choice is None:
            continue
        before = chosen.get(parameter.free)
        if before is not None and choice.level == before[0].level and choice.distribution is not before[0].distribution:
            raise ValueError(
                f"'{before[1].text}' and '{parameter.text}' are one parameter with two priors, {before[0].text} and"
                f" {choice.text}: keep one."
            )
        if before is None or choice.level > before[0].level:
            chosen[parameter.free] = (choice, parameter)
    cells = [*_grouped(chosen, layout), *_between(given, parameters, layout)]
    return Priors(tuple(cells))


def _check_names(given: Mapping[str, Any], parameters: Sequence[Parameter]) -> None:
    free = [p for p in parameters if p.free >= 0]
    classes = sorted({name for p in free for name, _ in p.classes})
    labels = list(dict.fromkeys(p.label for p in free if p.label))
    groups = {p.group for p in parameters}
    for name in given:
        plain = name.replace(" ", "")
        if name == EVERYTHING or plain in classes or plain in labels:
            continue
        if any(p.text.replace(" ", "") == plain for p in free):
            continue
        fixed = next((p for p in parameters if plain in (p.text.replace(" ", ""), p.label)), None)
        if fixed is not None:
            raise ValueError(_fixed(fixed))
        if plain.endswith(BETWEEN) and plain.removesuffix(BETWEEN) in classes:
            if len(groups) < 2:
                raise ValueError(f"The prior {name!r} is about differences between groups, and there is one group.")
            continue
        shown = ", ".join([*classes, *labels])
        example = f", or a parameter such as {free[0].text!r}" if free else ""
        raise ValueError(f"Expected names in priors among {shown}{example}; got {name!r}.")


def _fixed(parameter: Parameter) -> str:
    return (
        f"'{parameter.text}' is fixed at {parameter.fixed:g}, so that a prior says nothing about it: free it with NA*,"
        " or leave the prior out."
    )


def _choose(given: Mapping[str, Any], p: Parameter) -> Choice | None:
    if p.written and p.free < 0:
        raise ValueError(_fixed(p))
    if p.free < 0:
        return None
    if p.written:
        return _read(p.written, "natural", 4, p.text, p)
    keys = {name.replace(" ", ""): name for name in given}
    for name in (p.text.replace(" ", ""), p.label):
        if name and name in keys:
            return _read(given[keys[name]], "natural", 3, keys[name], p)
    narrow = [(name, scale) for name, scale in p.classes[:-1] if name in keys]
    if len(narrow) > 1:
        raise ValueError(f"The priors {narrow[0][0]!r} and {narrow[1][0]!r} are both about '{p.text}': keep one.")
    for level, (name, scale) in [(2, each) for each in narrow] + [(1, p.classes[-1])]:
        if name in keys:
            return _read(given[keys[name]], scale, level, name, p)
    return _read(given[EVERYTHING], "natural", 0, EVERYTHING, p) if EVERYTHING in given else None


def _read(given: Any, scale: str, level: int, key: str, p: Parameter) -> Choice:
    distribution, own, text = read_prior(given, f"{key!r}", scale)
    used = own if own != "natural" else scale
    if isinstance(distribution, LKJ):
        if not key.endswith("_cor"):
            raise ValueError(f"An LKJ prior is one of all correlations, such as 'factor_cor'; got it for {key!r}.")
        return Choice(level, key, distribution, "lkj", text)
    needed = {"sd": "variance", "cor": "covariance", "logit": "unit"}.get(used)
    if needed is not None and p.kind != needed:
        raise ValueError(f"The prior {text} is one of a {used}, and '{p.text}' is no {needed}: leave [{used}] out.")
    _check_mass(distribution, used, text, p)
    return Choice(level, key, distribution, used, text)


def _check_mass(distribution: Any, scale: str, text: str, p: Parameter) -> None:
    """Refuse a density without mass where the parameter lives."""
    if is_flat(distribution):
        return
    low, high = {"sd": (0.0, math.inf), "cor": (-1.0, 1.0), "logit": (-math.inf, math.inf)}.get(scale) or SETS[p.kind]
    ends = bounds(distribution)
    if ends is None:
        raise ValueError(
            f"The prior {text} of '{p.text}' has the support {distribution.support}: expected an interval."
        )
    inside = min(ends[1], high) > max(ends[0], low)
    if inside and low > -math.inf:
        above = mass_above(distribution, low)
        inside = above is None or above > NEGLIGIBLE
    if inside and high < math.inf:
        beyond = mass_above(distribution, high)
        inside = beyond is None or beyond < 1 - NEGLIGIBLE
    if not inside:
        what = {"sd": "standard deviation", "cor": "correlation", "logit": "logit"}.get(scale, p.kind)
        where = "above 0" if high == math.inf else f"between {low:g} and {high:g}"
        raise ValueError(f"The prior {text} of '{p.text}' has no mass where a {what} lives, {where}.")


# ---- cells ----------------------------------------------------------------------------------------------------------


def _grouped(chosen: Mapping[int, tuple[Choice, Parameter]], layout: Layout) -> Iterable[CellPrior]:
    """One prior for all parameters of a matrix that share a distribution and a scale."""
    home = {p: block.name for block in layout.blocks for p in block.positions}
    groups: dict[tuple[str, int, str], list[int]] = {}
    for position in sorted(chosen):
        choice, _ = chosen[position]
        groups.setdefault((home[position], id(choice.distribution), choice.scale), []).append(position)
    for (matrix, _, scale), positions in groups.items():
        choice = chosen[positions[0]][0]
        if scale not in ("cor", "lkj"):
            yield CellPrior(matrix, choice.distribution, scale, tuple(positions), text=_shown(choice))
            continue
        own = {p: p for block in layout.blocks if block.name == matrix for p in block.positions}
        found = dict.fromkeys(pattern for pattern, _ in covariance_patterns(layout, matrix, own))
        yield from _correlation_priors(choice, matrix, positions, [p for p in found if _correlated(p) & set(positions)])


def _correlation_priors(
    choice: Choice, matrix: str, positions: Sequence[int], patterns: Sequence[Covariance]
) -> Iterable[CellPrior]:
    """LKJ stands for whole matrices: where a correlation has its own prior, the others get LKJ's margin."""
    if choice.scale == "cor":
        yield CellPrior(matrix, choice.distribution, "cor", tuple(positions), tuple(patterns), text=_shown(choice))
        return
    for pattern in patterns:
        mine = tuple(sorted(_correlated(pattern) & set(positions)))
        if len(mine) == len(_correlated(pattern)):
            yield CellPrior(matrix, choice.distribution, "lkj", mine, (pattern,), text=choice.text)
        else:
            a = choice.distribution.concentration - 1 + pattern.size / 2
            yield CellPrior(matrix, stretched_beta(a, a), "cor", mine, (pattern,), text=f"beta({a:g}, {a:g})[cor]")


def _correlated(pattern: Covariance) -> set[int]:
    return {at for i, j, at in pattern.free if i != j}


def _shown(choice: Choice) -> str:
    suffix = "" if choice.scale in ("natural", "lkj") or choice.text.endswith("]") else f"[{choice.scale}]"
    return choice.text + suffix


def _between(given: Mapping[str, Any], parameters: Sequence[Parameter], layout: Layout) -> Iterable[CellPrior]:
    """Deviations of groups' parameters from their mean, where they are free and different in every group."""
    home = {p: block.name for block in layout.blocks for p in block.positions}
    for name, value in given.items():
        key = name.replace(" ", "")
        if not key.endswith(BETWEEN):
            continue
        distribution, scale, text = read_prior(value, f"{name!r}")
        if scale != "natural" or is_flat(distribution) or bounds(distribution) != (-math.inf, math.inf):
            raise ValueError(f"Expected {name!r} as a density of differences, such as 'normal(0, 0.1)'; got {text}.")
        rows: dict[str, dict[int, int]] = {}
        for p in parameters:
            if p.free >= 0 and key.removesuffix(BETWEEN) in dict(p.classes):
                rows.setdefault(p.text, {})[p.group] = p.free
        sets = [tuple(by_group[g] for g in sorted(by_group)) for by_group in rows.values()]
        n_groups = max(p.group for p in parameters)
        sets = [members for members in dict.fromkeys(sets) if len(set(members)) == n_groups]
        if not sets:
            raise ValueError(f"The prior {name!r} finds no parameter that is free and different in every group.")
        for matrix in dict.fromkeys(home[members[0]] for members in sets):
            own = tuple(members for members in sets if home[members[0]] == matrix)
            at = tuple(sorted({p for members in own for p in members}))
            yield CellPrior(matrix, distribution, "between", at, sets=own, text=f"{text}[between groups]")
