"""Bifactor and two-tier models: which factors may covary, and which stand each for itself beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from jaxlatent.spec.layout import Layout


@dataclass(frozen=True)
class Reduction:
    """General factors, specific ones, and the items of each specific factor; those of none come last, if there are any.

    A specific factor is independent of all others, and no item loads on two. Given the general factors the answers to
    different blocks are independent, so that an integral over all factors is one over the general ones of a product of
    integrals over one specific factor each (Gibbons and Hedeker 1992; Cai, Yang and Hansen 2011).
    """

    general: tuple[int, ...]
    specific: tuple[int, ...]
    items: tuple[tuple[int, ...], ...]


def reduction_of(layout: Layout) -> Reduction | None:
    """How the factors of a layout split, with as few general ones as can be; None where nothing is gained.

    Cells count as structural zeros where they are fixed at 0 in every group.
    """
    loads = _may_differ(layout, "loadings")
    tied = _may_differ(layout, "factor_cov") | _may_differ(layout, "regressions")
    tied = tied | tied.T
    np.fill_diagonal(tied, False)
    specific = [k for k in range(loads.shape[1]) if not tied[k].any()]
    while True:
        shared = [int((loads[:, specific].sum(1) > 1)[loads[:, k]].sum()) for k in specific]
        if not any(shared):
            break
        specific.remove(specific[int(np.argmax(shared))])
    if len(specific) == loads.shape[1]:  # all are independent: one of them serves as the general factor
        specific = specific[1:]
    if len(specific) < 2:
        return None
    general = tuple(k for k in range(loads.shape[1]) if k not in specific)
    items = [tuple(int(j) for j in np.flatnonzero(loads[:, k])) for k in specific]
    none = tuple(int(j) for j in np.flatnonzero(~loads[:, specific].any(1)))
    return Reduction(general, tuple(specific), (*items, none) if none else tuple(items))


def _may_differ(layout: Layout, name: str) -> np.ndarray:
    """Cells [..] that are free, or fixed at something, in some group."""
    return ((np.asarray(layout.index[name]) >= 0) | (np.asarray(layout.fixed[name]) != 0)).any(axis=0)


def bifactor(specific: Mapping[str, Iterable[str]], general: str | Mapping[str, Iterable[str]] = "general") -> str:
    """The syntax of a bifactor or two-tier model, for IRT(..., factors=).

    specific: the items of every specific factor, which is independent of all other factors. general: the name of a
    general factor of all these items (bifactor), or the items of several, which may covary (two-tier).

    Raises ValueError where an item is given to two specific factors, or a factor has no items or twice the same name.
    """
    groups = _lists(specific)
    every = list(dict.fromkeys(item for items in groups.values() for item in items))
    top = {general: every} if isinstance(general, str) else _lists(general)
    both = sorted(set(groups) & set(top))
    if both:
        raise ValueError(f"Expected different names for general and specific factors; got {both[0]!r} in both.")
    empty = [name for name, items in (*top.items(), *groups.items()) if not items]
    if empty or not groups or not top:
        what = f"none for {empty[0]!r}" if empty else "no factor"
        raise ValueError(f"Expected general and specific factors with items each; got {what}.")
    owner: dict[str, str] = {}
    for name, items in groups.items():
        for item in items:
            if owner.setdefault(item, name) != name:
                raise ValueError(f"The item {item!r} is given to {owner[item]!r} and {name!r}: expected one of them.")
    lines = [f"{name} =~ {' + '.join(items)}" for name, items in (*top.items(), *groups.items())]
    names = [*top, *groups]
    lines += [f"{name} ~~ 0*{other}" for k, name in enumerate(names) for other in names[:k] if name in groups]
    return "\n".join(lines)


def _lists(given: object) -> dict[str, list[str]]:
    """Names of factors with names of items."""
    if not isinstance(given, Mapping):
        raise ValueError(f"Expected a mapping from factors to their items; got {given!r}.")
    for name, items in given.items():
        if isinstance(items, str) or not isinstance(items, Iterable):
            raise ValueError(f"Expected several items for the factor {name!r}, as a list; got {items!r}.")
    return {str(name): [str(item) for item in items] for name, items in given.items()}
