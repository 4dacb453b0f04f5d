"""Which rank each variable of a path diagram stands in, and in which order within it.

Ranks follow the arrows: predictors, factors, indicators. Exogenous factors with indicators stand at rank 0 with their
indicators behind them at rank -1, so that the regressions between factors have the middle of the picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from jaxlatent.plots.graph import Graph

ROW_LIMIT = 13
"""A measurement model with more indicators than this is drawn as a column."""


@dataclass(frozen=True)
class Arrangement:
    """`flow` is "down" or "right"; `groups` are the bundles that are packed together: an owner and its members."""

    flow: str
    ranks: dict[str, int]
    groups: tuple[Group, ...] = ()
    general: tuple[str, ...] = ()
    attached: dict[str, str] = field(default_factory=dict)

    def members(self, rank: int) -> list[str]:
        return [name for name, own in self.ranks.items() if own == rank]


@dataclass(frozen=True)
class Group:
    """A factor (or a variable without indicators) and the indicators that are packed beside it."""

    owner: str
    members: tuple[str, ...]


def arrange(graph: Graph) -> Arrangement:
    """Choose ranks for any model; cycles of regressions are cut where they close."""
    general = general_factors(graph)
    if general:
        return _bifactor(graph, general)
    return _layered(graph)


def general_factors(graph: Graph) -> tuple[str, ...]:
    """Factors whose indicators include all of at least two other factors'."""
    sets = {name: set(graph.indicators(name)) for name in graph.latent}
    found = []
    for name, own in sets.items():
        inside = [other for other, theirs in sets.items() if other != name and theirs and theirs < own]
        if len(inside) >= 2 and own <= graph.measured():
            found.append(name)
    return tuple(found)


def _bifactor(graph: Graph, general: tuple[str, ...]) -> Arrangement:
    measured = graph.measured()
    ranks = dict.fromkeys(general, 0) | dict.fromkeys([n for n in graph.observed if n in measured], 1)
    specific = [name for name in graph.latent if name not in general]
    ranks |= dict.fromkeys(specific, 2)
    predictors = [n for n in graph.observed if n not in measured]
    outcomes = {edge.target for edge in graph.regressions}
    ranks |= {name: 3 if name in outcomes else -1 for name in predictors}
    return Arrangement("right", ranks, _groups(graph, specific, ranks), general)


def _layered(graph: Graph) -> Arrangement:
    attached = _attached(graph)
    structural = [n for n in graph.nodes if n not in graph.measured() and n not in attached]
    layers = _layers(structural, _structural_edges(graph, set(structural)))
    shared = _shares_indicators(graph)
    left = set() if shared else _left_bank(graph)
    ranks = _collapse(graph, layers, left)
    bottom = max([ranks[n] for n in graph.latent if n not in left], default=-1) + 1
    for name in graph.observed:
        if name in graph.measured():
            owners = [edge.source for edge in graph.loadings if edge.target == name]
            ranks[name] = -1 if all(owner in left for owner in owners) else bottom
    ranks |= dict.fromkeys(attached, bottom + 1)
    order = sorted(structural, key=lambda n: (ranks[n], layers[n]))
    return Arrangement(_flow(graph, shared, ranks), ranks, _groups(graph, order, ranks), (), attached)


def _attached(graph: Graph) -> dict[str, str]:
    """Observed predictors of one indicator and nothing else (time-varying covariates): name -> indicator."""
    measured, found = graph.measured(), {}
    targets = {edge.target for edge in graph.regressions}
    for name in graph.observed:
        aims = [edge.target for edge in graph.regressions if edge.source == name]
        if name not in measured and name not in targets and len(aims) == 1 and aims[0] in measured:
            found[name] = aims[0]
    return found


def _structural_edges(graph: Graph, nodes: set[str]) -> list[tuple[str, str]]:
    pairs = [(edge.source, edge.target) for edge in graph.arrows]
    return [pair for pair in dict.fromkeys(pairs) if set(pair) <= nodes]


def _layers(nodes: Iterable[str], edges: list[tuple[str, str]]) -> dict[str, int]:
    """The longest way from a source to each node, after cutting the edges that close a cycle."""
    names = list(nodes)
    following: dict[str, list[str]] = {name: [] for name in names}
    entered = {target for _, target in edges}
    for source, target in edges:
        following[source].append(target)
    finished: list[str] = []
    kept: list[tuple[str, str]] = []
    for name in [n for n in names if n not in entered] + names:
        _visit(name, following, [], finished, kept)
    layers = dict.fromkeys(names, 0)
    for source in reversed(finished):
        for target in (b for a, b in kept if a == source):
            layers[target] = max(layers[target], layers[source] + 1)
    return layers


def _visit(
    name: str, following: dict[str, list[str]], path: list[str], finished: list[str], kept: list[tuple[str, str]]
) -> None:
    """Depth first; an edge back to a node still on the path closes a cycle and is not kept."""
    if name in finished:
        return
    for target in following[name]:
        if target not in path and target != name:
            kept.append((name, target))
            _visit(target, following, [*path, name], finished, kept)
    finished.append(name)


def _shares_indicators(graph: Graph) -> bool:
    """Whether two factors have the same indicators, as in growth models."""
    sets = [set(graph.indicators(name)) & graph.measured() for name in graph.latent]
    return any(len(a & b) >= 2 and 2 * len(a & b) >= len(a | b) for i, a in enumerate(sets) for b in sets[:i])


def _left_bank(graph: Graph) -> set[str]:
    """Factors with observed indicators, predicted by nothing, that predict something other than an indicator."""
    measured = graph.measured()
    entered = {edge.target for edge in graph.arrows}
    predicting = {e.source for e in graph.regressions if e.target not in measured and e.target != e.source}
    return {
        name
        for name in graph.latent
        if name in predicting and name not in entered and set(graph.indicators(name)) <= measured
        if graph.indicators(name)
    }


def _collapse(graph: Graph, layers: dict[str, int], left: set[str]) -> dict[str, int]:
    """Put all factors that have indicators, other than the left bank, in one rank; then close the gaps."""
    measured = graph.measured()
    owners = [n for n in graph.latent if n not in left and set(graph.indicators(n)) & measured]
    ranks = dict(layers)
    if owners:
        last = max(layers[name] for name in owners)
        ranks |= dict.fromkeys(owners, last)
    used = sorted(set(ranks.values()))
    return {name: used.index(rank) for name, rank in ranks.items()}


def _flow(graph: Graph, shared: bool, ranks: dict[str, int]) -> str:
    if shared:
        return "down"
    in_row = len(graph.measured()) <= ROW_LIMIT and not graph.regressions and len(graph.latent) > 0
    longest = max((len(name) for name in graph.observed), default=0)
    return "down" if in_row and longest <= 9 else "right"


def _groups(graph: Graph, owners: Iterable[str], ranks: dict[str, int]) -> tuple[Group, ...]:
    """Each indicator goes with the first of its factors; indicators of nothing here come last."""
    measured, taken, groups = graph.measured(), set[str](), []
    for owner in owners:
        own = [n for n in dict.fromkeys(graph.indicators(owner)) if n in measured and n not in taken]
        taken |= set(own)
        groups.append(Group(owner, tuple(own)))
    rest = [n for n in graph.observed if n in measured and n not in taken]
    return (*groups, *(Group("", (name,)) for name in rest))
