"""Where the boxes of a path diagram stand.

Coordinates are first (flow, cross): flow runs along the ranks, cross along a rank. The last step turns them into x and
y for a picture that flows to the right or downward.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, permutations

import numpy as np

from jaxlatent.plots.arrange import Arrangement, Group, arrange
from jaxlatent.plots.geometry import Rect
from jaxlatent.plots.graph import Graph
from jaxlatent.plots.names import box_size

MEMBER_GAP = 13.0
WIDE_GAP = 26.0
"""Between indicators with arrows on both sides, whose residuals need the room."""
GROUP_GAP = 30.0
FACTOR_GAP = 46.0
NODE_GAP = 54.0


@dataclass(frozen=True)
class DiagramLayout:
    """Boxes by name, with the ranks they stand in and the direction in which the ranks follow one another."""

    boxes: dict[str, Rect]
    ranks: dict[str, int]
    flow: str

    def order(self, rank: int) -> list[str]:
        """Names of a rank from the first to the last position."""
        names = [name for name, own in self.ranks.items() if own == rank]
        return sorted(names, key=self.cross)

    def cross(self, name: str) -> float:
        """The coordinate along a rank."""
        return self.boxes[name].x if self.flow == "down" else self.boxes[name].y


def place(graph: Graph, *, detail: bool = False) -> DiagramLayout:
    """Lay out a graph; `detail` leaves room for intercepts in the boxes."""
    plan = arrange(graph)
    sizes = {name: box_size(name, name in graph.latent, detail and name in graph.means) for name in graph.nodes}
    down = plan.flow == "down"
    cross_size = {name: size[0] if down else size[1] for name, size in sizes.items()}
    flow_size = {name: size[1] if down else size[0] for name, size in sizes.items()}
    cross = _cross(graph, plan, cross_size)
    flow = _flow(graph, plan, flow_size, cross)
    boxes = {}
    for name, (width, height) in sizes.items():
        x, y = (cross[name], flow[plan.ranks[name]]) if down else (flow[plan.ranks[name]], cross[name])
        boxes[name] = Rect(x, y, width, height)
    return DiagramLayout(boxes, plan.ranks, plan.flow)


def _cross(graph: Graph, plan: Arrangement, size: dict[str, float]) -> dict[str, float]:
    if not graph.measured():
        return _path_positions(graph, plan, size)
    cross: dict[str, float] = {}
    for rank in sorted({plan.ranks[name] for name in graph.measured()}):
        _pack(graph, plan, rank, size, cross)
    for general in plan.general:
        cross[general] = _centre([cross[name] for name in graph.indicators(general)])
    _spread([n for n in plan.general], cross, cross, size, FACTOR_GAP)
    for name, target in plan.attached.items():
        cross[name] = cross[target]
    _spread(list(plan.attached), cross, cross, size, MEMBER_GAP)
    _place_rest(graph, plan, size, cross)
    return cross


def _pack(graph: Graph, plan: Arrangement, rank: int, size: dict[str, float], cross: dict[str, float]) -> None:
    """Pack the groups whose indicators stand in this rank, and centre their owners on them."""
    groups = [g for g in plan.groups if any(plan.ranks[name] == rank for name in g.members)]
    here = {plan.ranks[g.owner] for g in groups if g.owner}
    right = rank == max(plan.ranks[name] for name in graph.measured())
    if right:
        known = {g.owner for g in groups}
        others = [g for g in plan.groups if g.owner not in known and plan.ranks.get(g.owner) in here | {rank}]
        groups += [g for g in others if not set(graph.indicators(g.owner)) & graph.measured()]
        order = {g: i for i, g in enumerate(plan.groups)}
        groups.sort(key=lambda g: order[g])
    start = 0.0
    for group in groups:
        start = _pack_group(group, start, size, cross, WIDE_GAP if plan.general else MEMBER_GAP)
    names = [name for g in groups for name in (g.owner, *g.members) if name]
    middle = _middle(names, cross, size)
    for name in names:
        cross[name] -= middle
    sharing = [g.owner for g in plan.groups if g.owner and not g.members and g.owner not in cross]
    sharing = [name for name in sharing if plan.ranks[name] in here and name in graph.latent]
    for name in sharing:
        cross[name] = _centre([cross[n] for n in graph.indicators(name) if n in cross])
    owners = [g.owner for g in groups if g.owner and plan.ranks[g.owner] != rank]
    owners = sorted([*owners, *sharing], key=lambda name: cross[name])
    _spread(owners, cross, cross, size, FACTOR_GAP)


def _pack_group(group: Group, start: float, size: dict[str, float], cross: dict[str, float], gap: float) -> float:
    """Give a group its stretch from `start` on; returns where the next one may begin."""
    own = sum(size[name] for name in group.members) + gap * max(len(group.members) - 1, 0)
    room = size[group.owner] + FACTOR_GAP - GROUP_GAP if group.owner and group.members else 0.0
    if not group.members:
        room = size[group.owner]
    extent = max(own, room)
    at = start + (extent - own) / 2
    for name in group.members:
        cross[name] = at + size[name] / 2
        at += size[name] + gap
    if group.owner:
        cross[group.owner] = start + extent / 2
    return start + extent + GROUP_GAP


def _place_rest(graph: Graph, plan: Arrangement, size: dict[str, float], cross: dict[str, float]) -> None:
    """Variables without indicators stand opposite their neighbours that already have a place."""
    waiting = [name for name in plan.ranks if name not in cross]
    while waiting:
        known = {name: near for name in waiting if (near := _neighbours(graph, name, cross))}
        chosen = list(known) or waiting
        rank = max(plan.ranks[name] for name in chosen)
        chosen = [name for name in chosen if plan.ranks[name] == rank]
        wished = {name: _centre([cross[n] for n in known.get(name, [])]) for name in chosen}
        order = {name: i for i, name in enumerate(plan.ranks)}
        chosen.sort(key=lambda name: (round(wished[name], 1), order[name]))
        fixed = [name for name in cross if plan.ranks[name] == rank]
        _spread_around(chosen, fixed, wished, cross, size)
        waiting = [name for name in waiting if name not in cross]


def _neighbours(graph: Graph, name: str, cross: dict[str, float]) -> list[str]:
    arrows = [(e.source, e.target) for e in graph.arrows]
    near = [b for a, b in arrows if a == name] + [a for a, b in arrows if b == name]
    return [n for n in near if n in cross]


def _spread_around(
    names: list[str], fixed: list[str], wished: dict[str, float], cross: dict[str, float], size: dict[str, float]
) -> None:
    """Spread names near their wishes; if the rank already holds others, stand after the last of them."""
    _spread(names, wished, cross, size, NODE_GAP)
    if not fixed:
        return
    limit = max(cross[name] + size[name] / 2 for name in fixed)
    first = min(cross[name] - size[name] / 2 for name in names)
    for name in names:
        cross[name] += max(0.0, limit + NODE_GAP - first)


def _spread(
    names: list[str], wished: dict[str, float], cross: dict[str, float], size: dict[str, float], gap: float
) -> None:
    """The closest positions to the wishes, in this order, that keep `gap` between boxes (isotonic regression)."""
    if not names:
        return
    steps = [(size[a] + size[b]) / 2 + gap for a, b in pairwise(names)]
    offset = np.concatenate([[0.0], np.cumsum(steps)])
    target = np.array([wished[name] for name in names]) - offset
    for name, value in zip(names, _isotonic(target) + offset, strict=True):
        cross[name] = float(value)


def _isotonic(values: np.ndarray) -> np.ndarray:
    """The closest non-decreasing sequence, by pooling neighbours that are out of order."""
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, count = float(value), 1
        while pools and pools[-1][0] > mean:
            before, n = pools.pop()
            mean, count = (mean * count + before * n) / (count + n), count + n
        pools.append((mean, count))
    return np.concatenate([np.full(count, mean) for mean, count in pools])


def _centre(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _middle(names: list[str], cross: dict[str, float], size: dict[str, float]) -> float:
    low = min(cross[name] - size[name] / 2 for name in names)
    high = max(cross[name] + size[name] / 2 for name in names)
    return (low + high) / 2


def _flow(graph: Graph, plan: Arrangement, size: dict[str, float], cross: dict[str, float]) -> dict[int, float]:
    """The flow coordinate of each rank: gaps grow with how steep the arrows between two ranks are."""
    ranks = sorted(set(plan.ranks.values()))
    depth = {rank: max(size[name] for name in plan.members(rank)) for rank in ranks}
    flow = {ranks[0]: 0.0}
    for before, after in pairwise(ranks):
        gap = _gap(graph, plan, cross, before, after)
        flow[after] = flow[before] + (depth[before] + depth[after]) / 2 + gap
    return flow


def _gap(graph: Graph, plan: Arrangement, cross: dict[str, float], before: int, after: int) -> float:
    between = [e for e in graph.arrows if {plan.ranks[e.source], plan.ranks[e.target]} == {before, after}]
    reach = max((abs(cross[e.source] - cross[e.target]) for e in between), default=0.0)
    measuring = bool(between) and all(edge in graph.loadings for edge in between)
    low, share = (86.0, 0.4) if measuring else (112.0, 0.55)
    if plan.flow == "down":
        low -= 8.0
    return float(min(max(low, share * reach + 40.0), 250.0))


def _path_positions(graph: Graph, plan: Arrangement, size: dict[str, float]) -> dict[str, float]:
    """Even positions in each rank, ordered to cross few arrows; an arrow over a rank keeps a place free in it."""
    rows, links = _with_dummies(graph, plan)
    sizes = {name: size.get(name, 12.0) for row in rows for name in row}
    for _ in range(3):
        for i in range(len(rows)):
            rows[i] = _best_order(i, rows, links, sizes)
    cross: dict[str, float] = {}
    for row in rows:
        cross |= _even(row, sizes)
    return {name: cross[name] for name in plan.ranks}


def _with_dummies(graph: Graph, plan: Arrangement) -> tuple[list[list[str]], list[tuple[str, str]]]:
    rows = [plan.members(rank) for rank in sorted(set(plan.ranks.values()))]
    links: list[tuple[str, str]] = []
    for edge in graph.arrows:
        first, last = sorted((edge.source, edge.target), key=lambda name: plan.ranks[name])
        previous = first
        for rank in range(plan.ranks[first] + 1, plan.ranks[last]):
            dummy = f"{first}\n{last}\n{rank}"
            if dummy not in rows[rank]:
                rows[rank].append(dummy)
            links.append((previous, dummy))
            previous = dummy
        links.append((previous, last))
    return rows, links


def _best_order(i: int, rows: list[list[str]], links: list[tuple[str, str]], size: dict[str, float]) -> list[str]:
    row = rows[i]
    if not 2 <= len(row) <= 6:
        return row
    around = {name: at for j in (i - 1, i + 1) if 0 <= j < len(rows) for name, at in _even(rows[j], size).items()}
    near = [(a, b) if a in row else (b, a) for a, b in links if (a in row) != (b in row)]
    near = [(own, other) for own, other in near if other in around]
    return list(min(permutations(row), key=lambda order: _order_cost(list(order), row, near, around, size)))


def _order_cost(
    order: list[str], given: list[str], near: list[tuple[str, str]], around: dict[str, float], size: dict[str, float]
) -> float:
    """Crossings first, then lengths; free places prefer the middle, and the model's order breaks ties."""
    at = _even(order, size)
    pairs = [(at[own], around[other]) for own, other in near]
    crossings = sum((a - c) * (b - d) < 0 for i, (a, b) in enumerate(pairs) for c, d in pairs[:i])
    lengths = sum(abs(a - b) for a, b in pairs)
    middle = sum(abs(at[name]) for name in order if "\n" in name)
    kept = sum(order.index(a) > order.index(b) for i, b in enumerate(given) for a in given[:i])
    return 1000.0 * crossings + lengths + middle + 0.1 * kept


def _even(row: list[str], size: dict[str, float]) -> dict[str, float]:
    cross: dict[str, float] = {}
    at = 0.0
    for name in row:
        cross[name] = at + size[name] / 2
        at += size[name] + NODE_GAP
    middle = (at - NODE_GAP) / 2
    return {name: value - middle for name, value in cross.items()}
