"""Cycles of dependencies: which kinds there are, and the shortest to show.

Kinds, the worst first, by how many anti-dependencies (rw) a cycle has: G0 none, and ww alone; G1c none;
G-single one; G-nonadjacent several, but no two in a row; G2 others. With the edges of an order of
transactions among the dependencies, a cycle that needs them has the order's suffix.

Rules
-----
1. Whether a kind exists is decided exactly, by strongly connected components: of the ww edges, of the ww and
   wr edges, of the graph in which no walk takes two rw in a row, of the whole. (G-single alone needs a
   search.) What is proven and cannot be shown in time is told as "...-cycle-exists".
2. Each component shows one cycle of each kind that is not implied by one that it has shown already, as Elle
   does: after a G1c no G1c-realtime. (But one that is hard to follow is followed by an easier one.)
3. An edge whose inference took something for granted makes the cycle at most that bad: see `_graph.NONE` ff.

Complexity: linear, but for the search of shortest cycles, which is breadth-first from each candidate edge
inside its component, until `timeout_ms` worth of steps are done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from checkers.elle import _graph
from checkers.elle._graph import (
    CONSISTENT_VIEW,
    KINDS,
    LINK,
    NONE,
    PROCESS,
    READ_COMMITTED,
    REALTIME,
    RW,
    SERIALIZABLE,
    WR,
    WW,
)
from checkers.elle.consistency import CYCLE_EXISTS, implied
from checkers.elle.graph import LEVELS, Graph

STEPS_PER_MS = 200_000
"""Edges that a search looks at in a millisecond, about."""
COMPONENTS_MAX = 200
"""So many are searched for cycles to show, the smallest first; of the others it is known what kinds they
have."""
EACH_KIND_MAX = 5
"""And so many more for each kind."""

EASY = 3
"""A cycle that takes more effort to follow is not the last word: an easier one that needs more order is shown
too."""

Known = dict[int, dict[str, int]]
"""By transaction, the kinds of cycles that its component has shown, and what effort they took."""

FAMILIES = ("G0", "G1c", "G-single", "G-nonadjacent", "G2")
_ORDER = (PROCESS, REALTIME, LINK)
_EDGES = np.arange(KINDS * (SERIALIZABLE + 1))
_KIND, _PREMISE = _EDGES % KINDS, _EDGES // KINDS
ALLOWED = {
    "G0": np.isin(_KIND, (WW, *_ORDER)) & (_PREMISE <= NONE),
    "G1c": np.isin(_KIND, (WW, WR, *_ORDER)) & (_PREMISE <= READ_COMMITTED),
    "G-single": np.isin(_KIND, (WW, WR, *_ORDER)) & (_PREMISE <= CONSISTENT_VIEW),
    "G-nonadjacent": _PREMISE <= CONSISTENT_VIEW,
    "G2": _PREMISE <= SERIALIZABLE,
}
"""What a cycle of the family may be made of, beside the one edge that makes it one."""
_MAKES = {
    "G0": ALLOWED["G0"] & (_KIND == WW),
    "G1c": ALLOWED["G1c"] & ((_KIND == WR) | (_PREMISE == READ_COMMITTED)),
    "G-single": (_PREMISE <= CONSISTENT_VIEW)
    & ((_KIND == RW) | ((_KIND == WW) & (_PREMISE == CONSISTENT_VIEW))),
    "G-nonadjacent": (_PREMISE <= CONSISTENT_VIEW) & (_KIND == RW),
    "G2": (_KIND == RW) | (_PREMISE == SERIALIZABLE),
}


def type_of(family: str, level: int) -> str:
    """The anomaly's name: no list or register has predicates, so what has one kind for items is that one."""
    item = "-item" if family in ("G-single", "G-nonadjacent", "G2") else ""
    return family + item + LEVELS[level]


def inferable() -> list[str]:
    """The anomalies that may follow from edges that were inferred: those have premises of their own."""
    return [type_of(family, level) for family in FAMILIES[2:] for level in range(len(LEVELS))]


@dataclass(frozen=True, slots=True)
class Step:
    """An edge of a cycle."""

    transaction: int
    """That it leads from."""
    kind: int
    premise: int


@dataclass(frozen=True, slots=True)
class Cycle:
    type: str
    level: int
    steps: tuple[Step, ...]
    """From the transaction that began first on."""


@dataclass(slots=True)
class Cycles:
    """What one level's graph has."""

    cycles: list[Cycle] = field(default_factory=list)
    proven: dict[str, list[int]] = field(default_factory=dict)
    """Kinds that exist and of which no cycle could be shown, as "...-cycle-exists", with the transactions of
    the smallest component that has one."""
    unsure: list[str] = field(default_factory=list)
    """Kinds of which the search, cut short, left open whether they exist."""
    components: int = 0
    """How many sets of transactions depend on each other in a circle."""
    largest: int = 0


def is_acyclic(graph: Graph) -> bool:
    return not len(members(graph))


def members(graph: Graph) -> NDArray[np.int64]:
    """The transactions that are on some cycle."""
    first, to, how = _graph.rows(graph.nodes, graph.source, graph.target, graph.edge)
    component, count = _graph.components(first, to, how, ALLOWED["G2"])
    if count == graph.nodes:
        return np.empty(0, np.int64)
    return np.flatnonzero((np.bincount(component, minlength=count)[component] > 1)[: graph.transactions])


def find(graph: Graph, level: int, timeout_ms: int, inferred_effort: int, known: Known) -> Cycles:
    """The cycles of a level's graph. Adds to what lower levels have shown.

    `inferred_effort`: how many plain edges one that was inferred is worth, to a reader.
    """
    parts = _Parts(graph)
    found = Cycles(components=len(parts.bounds) - 1, largest=parts.largest)
    exists = {family: parts.existing(family) for family in FAMILIES if family != "G-single"}
    searched = set(range(min(len(parts.bounds) - 1, COMPONENTS_MAX)))
    for having in exists.values():  # lest a kind that only larger ones have is never shown
        searched.update((COMPONENTS_MAX + np.flatnonzero(having[COMPONENTS_MAX:])[:EACH_KIND_MAX]).tolist())
    for part in sorted(searched):
        members = parts.members(part)
        shown: dict[str, int] = {}
        for t in members:
            shown |= known.get(t, {})
        families = [
            family for family in FAMILIES if exists["G-nonadjacent" if family == "G-single" else family][part]
        ]
        _search(parts, part, families, level, timeout_ms * STEPS_PER_MS, inferred_effort, shown, found)
        for t in members:
            known.setdefault(t, {}).update(shown)
    seen = {name for names in known.values() for name in names}
    for family, having in exists.items():
        if having.any() and not _as_bad_as(family, level, seen):
            name = CYCLE_EXISTS[family, LEVELS[level]]
            found.proven[name] = parts.members(int(having.argmax()))
    # Where several anti-dependencies apart from each other exist, there may be a cycle with a single one.
    left = set(np.flatnonzero(exists["G-nonadjacent"]).tolist()) - searched
    if left and not _as_bad_as("G-single", level, seen):
        found.unsure.append(type_of("G-single", level))
    return found


def _as_bad_as(family: str, level: int, seen: set[str]) -> bool:
    """Whether one of the family has been shown, or of a worse one: that is one of this family as well, to
    those who ask whether there are any."""
    worse = FAMILIES[: FAMILIES.index(family) + 1]
    return bool(seen.intersection(type_of(one, at) for one in worse for at in range(level + 1)))


def _search(
    parts: _Parts,
    part: int,
    families: list[str],
    level: int,
    steps_max: int,
    inferred_effort: int,
    shown: dict[str, int],
    found: Cycles,
) -> None:
    """The cycles of one component, the worst kind first: adds to `shown` and `found`."""
    here: set[str] = set()
    steps = steps_max
    for family in families:
        name = type_of(family, level)
        if name in implied(here):
            continue
        easier_than = min((shown[other] for other in shown if name in implied([other])), default=None)
        if easier_than is not None and easier_than <= EASY:
            continue
        cycle, steps = parts.search(family, part, steps)
        effort = _effort(cycle, inferred_effort)
        if cycle and (easier_than is None or (effort <= easier_than and _needs(cycle, level))):
            here.add(name)
            shown[name] = effort
            found.cycles.append(Cycle(name, level, cycle))
        elif not cycle and not steps and easier_than is None:
            found.unsure.append(name)
        steps = steps or steps_max


def _needs(steps: tuple[Step, ...], level: int) -> bool:
    """Whether the cycle takes a step of the level's order."""
    order = {1: PROCESS, 2: REALTIME}.get(level)
    return order is None or any(step.kind == order for step in steps)


def _effort(steps: tuple[Step, ...], inferred: int) -> int:
    """How hard the cycle is to follow."""
    return sum(1 if step.premise < CONSISTENT_VIEW else inferred for step in steps)


class _Parts:
    """The nontrivial components of a graph, the smallest first, each with consecutive numbers for its
    nodes."""

    def __init__(self, graph: Graph) -> None:
        first, to, how = _graph.rows(graph.nodes, graph.source, graph.target, graph.edge)
        component, count = _graph.components(first, to, how, ALLOWED["G2"])
        sizes = np.bincount(component, minlength=count)
        nodes = np.flatnonzero(sizes[component] > 1)
        order = np.lexsort((nodes, component[nodes], sizes[component[nodes]]))
        self.graph = graph
        self.nodes = nodes[order]
        """Of the graph, by their new numbers."""
        part = component[self.nodes]
        starts = np.flatnonzero(np.diff(part, prepend=-1)) if len(part) else np.empty(0, np.int64)
        self.bounds = np.append(starts, len(part))
        """Component p has the nodes bounds[p]:bounds[p + 1]."""
        self.largest = int(np.diff(self.bounds).max(initial=0))
        number = np.full(graph.nodes, -1, np.int32)
        number[self.nodes] = np.arange(len(self.nodes), dtype=np.int32)
        inside = (number[graph.source] >= 0) & (component[graph.source] == component[graph.target])
        edges = (number[graph.source[inside]], number[graph.target[inside]], graph.edge[inside])
        self.plain = _graph.searchable(*_graph.rows(len(self.nodes), *edges))
        self.doubled = _graph.searchable(*_graph.rows(2 * len(self.nodes), *_graph.doubled(*edges)))
        self._components: dict[str, NDArray[np.int32]] = {}

    def members(self, part: int) -> list[int]:
        """The transactions of a component."""
        nodes = self.nodes[self.bounds[part] : self.bounds[part + 1]]
        return [int(node) for node in nodes if node < self.graph.transactions]

    def existing(self, family: str) -> NDArray[np.bool_]:
        """Per component, whether it has cycles of the family or of a worse one."""
        rows = self.doubled if family == "G-nonadjacent" else self.plain
        component, count = _graph.components(rows.first, rows.to, rows.how, ALLOWED[family])
        self._components[family] = component
        cyclic = np.bincount(component, minlength=count)[component] > 1
        starts = self.bounds[:-1] * (2 if family == "G-nonadjacent" else 1)
        if not len(starts):
            return np.zeros(0, np.bool_)
        return np.logical_or.reduceat(cyclic, starts)

    def search(self, family: str, part: int, steps: int) -> tuple[tuple[Step, ...], int]:
        """The shortest cycle of the family in a component, and how many steps are left."""
        doubled = family == "G-nonadjacent"
        rows = self.doubled if doubled else self.plain
        component = self._components[family if family != "G-single" else "G2"]
        low, high = (rows.first[self.bounds[part : part + 2] * (2 if doubled else 1)]).tolist()
        candidates = low + np.flatnonzero(_MAKES[family][rows.how[low:high]])
        candidates = candidates[np.argsort(rows.how[candidates] % KINDS != RW, kind="stable")]
        edges = np.empty(0, np.int64)
        # What takes the least for granted is the easiest to understand.
        for premise in range(READ_COMMITTED, SERIALIZABLE + 1):
            allowed = ALLOWED[family] & (premise >= _PREMISE)
            edges, steps = _graph.shortest_cycle(rows, component, candidates, allowed, 2, steps)
            if len(edges) or not steps or (allowed == ALLOWED[family]).all():
                break
        return self._steps(rows, edges, doubled), steps

    def _steps(self, rows: _graph.Rows, edges: NDArray[np.int64], doubled: bool) -> tuple[Step, ...]:
        """The cycle in terms of transactions: what leads through other nodes is one step."""
        steps: list[Step] = []
        for at in edges.tolist():
            node = self.nodes[rows.origin[at] // (2 if doubled else 1)]
            kind, premise = divmod(int(rows.how[at]), KINDS)[::-1]
            if kind != LINK:
                steps.append(Step(int(node), kind, premise))
        return around(steps)


def around(steps: list[Step]) -> tuple[Step, ...]:
    """A cycle's steps from the transaction that began first on, without detours."""
    return tuple(_rotated(_without_detours(steps)))


def _without_detours(steps: list[Step]) -> list[Step]:
    """Two steps in a row that say "before" by the same order are one."""
    kept: list[Step] = []
    for step in steps:
        if kept and step.kind in (PROCESS, REALTIME) and kept[-1].kind == step.kind:
            continue
        kept.append(step)
    if len(kept) > 2 and kept[-1].kind == kept[0].kind and kept[0].kind in (PROCESS, REALTIME):
        kept = kept[1:]
    return kept


def _rotated(steps: list[Step]) -> Iterator[Step]:
    at = min(range(len(steps)), key=lambda i: steps[i].transaction, default=0)
    yield from steps[at:]
    yield from steps[:at]
