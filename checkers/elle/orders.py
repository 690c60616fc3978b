"""Whether any order at all, of the writes whose order nobody saw, explains a short history.

What reads prove, and what follows from it, leaves the order of some writes of a key open. Each order may be
wrong for a reason of its own, without anything wrong in what holds whichever it was. So all are tried: two
writes at a time, one first and then the other.

Rules
-----
1. That A wrote a key before B says: A is before B (ww), and whoever read A's value is before B (rw).
2. If that makes a cycle that the model forbids, then B was first. If that does as well, then what was
   supposed on the way there is wrong; if nothing was, then so is the history.
3. What neither is wrong of is supposed, and if need be, the opposite. A supposition that no cycle used need
   not be turned round. The proof is its cycles, each with what it supposes.
4. One order is tried first, whole: that of transactions executed one after the other, each as soon as what
   has to be before it has been, and whoever read what it overwrites; those first whose writes nobody read,
   as they are in nobody's way, and of them those that were over first.

So a history of few enough transactions (TRANSACTIONS_MAX) is explained or refuted; or that takes too long
(WORK_MAX), as it may: the question is NP-complete. Lists and registers that allow a family of cycles have an
order for every key, whatever it is, so what is refuted breaks the model, and what is explained keeps it.

Source: polygraphs, C. Papadimitriou, "The serializability of concurrent database updates", JACM 1979, where
the question is shown to be NP-complete; as it is asked here, C. Tan et al., "Cobra", OSDI 2020, and for
snapshot isolation J. Zhang et al., "Viper", EuroSys 2023.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from checkers.elle import _graph, cycles
from checkers.elle._graph import KINDS, LINK, RW, SERIALIZABLE, WW
from checkers.elle.cases import Case, Explainer, of_cycle
from checkers.elle.cycles import FAMILIES, Cycle, Step, type_of
from checkers.elle.graph import LEVELS, Graph
from checkers.elle.transactions import Transactions
from checkers.elle.words import Names, Reason, value_text

if TYPE_CHECKING:
    from checkers.elle.analysis import History

TRANSACTIONS_MAX = 5000
WORK_MAX = 500_000
"""Rounds of inner loops: half a second."""
SUPPOSED = SERIALIZABLE + 1
"""What an edge takes for granted that is there by a supposition: see `_graph.NONE`."""
DEPTH_MAX = 200
"""So many suppositions on top of each other, but for those that follow."""
CASES_MAX = 8
"""So many cycles of a proof are told."""


class TooLong(Exception):
    """Not all orders were tried: says why."""


class Write(NamedTuple):
    """A write of which nobody may have seen whether it came before others of its key."""

    micro: int
    transaction: int
    readers: tuple[int, ...]
    """Other transactions that read it."""


def by_key(writes: dict[tuple[int, int], Write]) -> list[list[Write]]:
    """Of each key, if there are several. `writes`: by key and transaction."""
    keys: dict[int, list[Write]] = {}
    for (key, _), write in writes.items():
        keys.setdefault(key, []).append(write)
    return [those for those in keys.values() if len(those) > 1]


@dataclass(slots=True, eq=False)
class Supposition:
    """That one write came before another one of the key. Equal only to itself: there is one of each."""

    first: Write
    second: Write
    edges: tuple[_Edge, ...] = field(init=False)
    """Rule 1."""

    def __post_init__(self) -> None:
        target = self.second.transaction
        readers = (reader for reader in self.first.readers if reader != target)
        edges = (self.first.transaction, target, WW), *((reader, target, RW) for reader in readers)
        self.edges = edges


_Edge = tuple[int, int, int]
"""Source, target, kind."""
_Pair = tuple[Supposition, Supposition]
"""One of the two holds."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A cycle, and what it supposes."""

    cycle: Cycle
    supposed: dict[tuple[int, int, int], Supposition]
    """By source, target and kind, the edges that hold only then."""


@dataclass(frozen=True, slots=True)
class _Proof:
    """Cycles, one of which there is in any order that agrees with `uses`."""

    wrong: tuple[Wrong, ...]
    uses: frozenset[Supposition]

    @classmethod
    def of(cls, wrong: Wrong) -> _Proof:
        return cls((wrong,), frozenset(wrong.supposed.values()))

    def or_else(self, other: _Proof, pair: _Pair) -> _Proof:
        """The one proves it if one of the pair holds, the other if the other does."""
        return _Proof(self.wrong + other.wrong, (self.uses | other.uses) - set(pair))


def find(history: History, forbidden: Collection[str]) -> dict[str, list[Case]]:
    """The anomaly that a history without any cycle of a forbidden kind has in whatever order its writes came:
    the cycles, and by which order each. None, if some order explains it. Raises TooLong."""
    if len(history.transactions) > TRANSACTIONS_MAX:
        raise TooLong(f"not tried, of more than {TRANSACTIONS_MAX} transactions")
    keys = history.unordered()
    found: dict[str, list[Case]] = {}
    explained: list[tuple[int, int]] = []
    for level in reversed(range(len(LEVELS))):
        for family in FAMILIES[:-3:-1]:  # G2, and without two anti-dependencies in a row
            name, rank = type_of(family, level), FAMILIES.index(family)
            if name not in forbidden or any(rank <= other and level <= at for other, at in explained):
                continue
            graph = history.graph(level)
            turn = _executed(graph, keys, history.transactions)
            in_turn = [sorted(writes, key=lambda write: turn[write.transaction]) for writes in keys]
            try:
                wrong = refute(graph, family, level, in_turn)
            except TooLong:
                if found:  # with a worse one, perhaps: that is left open
                    return found
                raise
            if wrong:
                found = {name: _cases(history, wrong)}
            else:
                explained.append((rank, level))
    return found


def refute(graph: Graph, family: str, level: int, keys: Sequence[Sequence[Write]]) -> tuple[Wrong, ...]:
    """Cycles of the family, in a graph that has none, of which there must be one in whatever order the writes
    of each key came; none if some order explains the history. Raises TooLong.

    `keys`: the writes of each, in the order that is tried first.
    """
    search = _Search(graph, family, level)
    if search.explains([Supposition(*pair) for writes in keys for pair in pairwise(writes)]):
        return ()
    proof = search.refute(search.known(), search.pairs(keys), 0)
    return proof.wrong if proof else ()


def _executed(graph: Graph, keys: Sequence[Sequence[Write]], transactions: Transactions) -> list[int]:
    """Rule 4: the turn of each transaction; the last one, of those that never can be, as others were too
    early."""
    out: list[list[int]] = [[] for _ in range(graph.nodes)]
    waits_for = [0] * graph.nodes
    for source, target in zip(graph.source.tolist(), graph.target.tolist(), strict=True):
        out[source].append(target)
        waits_for[target] += 1
    over = [at if at >= 0 else transactions.events for at in transactions.complete.tolist()]
    over += [-1] * (graph.nodes - len(over))  # what is no transaction takes no time
    writes: dict[int, list[tuple[int, Write]]] = {}
    reads: dict[int, list[int]] = {}
    for key, those in enumerate(keys):
        for write in those:
            writes.setdefault(write.transaction, []).append((key, write))
            for reader in write.readers:
                reads.setdefault(reader, []).append(key)
    is_read = {write.transaction for those in keys for write in those if write.readers}
    rank = [(node in is_read, over[node], node) for node in range(graph.nodes)]
    ready = [rank[node] for node in range(graph.nodes) if not waits_for[node]]
    heapify(ready)
    late: list[tuple[bool, int, int]] = []
    """Those that would overwrite too early."""
    unread: list[set[int]] = [set() for _ in keys]
    """By key, who is still to read what is there now."""
    turn = [graph.nodes] * graph.nodes
    for number in range(graph.nodes):
        while ready:
            *_, node = heappop(ready)
            if all(unread[key] <= {node} for key, _ in writes.get(node, ())):
                break
            late.append(rank[node])
        else:
            break
        turn[node] = number
        for key in reads.get(node, ()):
            unread[key].discard(node)
        for key, write in writes.get(node, ()):
            unread[key] = set(write.readers)
        for target in out[node]:
            waits_for[target] -= 1
            if not waits_for[target]:
                heappush(ready, rank[target])
        for one in late:
            heappush(ready, one)
        late.clear()
    return turn


class _Known(NamedTuple):
    """A graph that has no cycle, without what was supposed, or with it."""

    reach: list[int]
    """By node of the walks: the nodes that it leads to, and itself, as bits."""
    supposed: tuple[Supposition, _Known] | None


_Forced = tuple[_Pair, Supposition, Callable[[], Wrong]]
"""Of two, the one that holds, and what is wrong with the other."""


_EVERY = np.ones(KINDS * (SUPPOSED + 1), np.bool_)


class _Search:
    def __init__(self, graph: Graph, family: str, level: int) -> None:
        self._graph = graph
        self._family = family
        self._level = level
        self._twice = family == "G-nonadjacent"
        """Whether a transaction is two nodes, the second one for who comes there by an anti-dependency."""
        self._left = WORK_MAX
        self._rows = self._walks(graph)
        first, to, how = self._rows
        ways = list(zip(to.tolist(), how.tolist(), strict=True))
        self._out = [ways[low:high] for low, high in pairwise(first.tolist())]

    def explains(self, suppositions: Sequence[Supposition]) -> bool:
        edges = [edge for supposition in suppositions for edge in supposition.edges]
        source, target, kind = np.array(edges, np.int32).reshape(-1, 3).T
        more = Graph(self._graph.transactions, self._graph.nodes, source, target, kind.astype(np.int8))
        rows = self._walks(self._graph.with_edges(more))
        return _graph.components(*rows, _EVERY)[1] == len(self._out)

    def _walks(self, graph: Graph) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int8]]:
        """The graph whose cycles are those of the family."""
        kept = cycles.ALLOWED[self._family][graph.edge]
        edges = graph.source[kept], graph.target[kept], graph.edge[kept]
        if self._twice:
            return _graph.rows(2 * graph.nodes, *_graph.doubled(*edges))
        return _graph.rows(graph.nodes, *edges)

    def known(self) -> _Known:
        """What holds whatever the order."""
        reach = [0] * len(self._out)
        component, _ = _graph.components(*self._rows, _EVERY)
        for node in np.argsort(component).tolist():
            reach[node] = 1 << node
            for target, _ in self._out[node]:
                reach[node] |= reach[target]
        return _Known(reach, None)

    def pairs(self, keys: Sequence[Sequence[Write]]) -> list[_Pair]:
        """All that could be supposed. Raises TooLong."""
        self._work(sum(len(writes) ** 2 for writes in keys))
        pairs = (pair for writes in keys for pair in combinations(writes, 2))
        return [(Supposition(one, other), Supposition(other, one)) for one, other in pairs]

    def refute(self, known: _Known, undecided: Sequence[_Pair], depth: int) -> _Proof | None:
        """None if some order of what is undecided makes no cycle. Raises TooLong."""
        forced: list[_Forced] = []
        known, undecided, proof = self._follow(known, undecided, forced)
        if proof is None and undecided:
            proof = self._split(known, undecided, depth)
        for pair, right, opposite in reversed(forced):
            if proof is not None and right in proof.uses:
                proof = proof.or_else(_Proof.of(opposite()), pair)
        return proof

    def _follow(
        self, known: _Known, undecided: Sequence[_Pair], forced: list[_Forced]
    ) -> tuple[_Known, Sequence[_Pair], _Proof | None]:
        """Rule 2, until nothing new comes of it: what is known then, what is undecided; or what is wrong.

        Adds to `forced` what follows, and what is wrong with the opposite."""
        news = True
        while news:
            news, left = False, undecided
            still: list[_Pair] = []
            for pair in left:
                one, other = pair
                wrong, otherwise = self._cycle(known, one), self._cycle(known, other)
                if wrong is not None and otherwise is not None:
                    return known, still, _Proof.of(wrong()).or_else(_Proof.of(otherwise()), pair)
                if wrong is not None:
                    right, opposite = other, wrong
                elif otherwise is not None:
                    right, opposite = one, otherwise
                else:
                    still.append(pair)
                    continue
                forced.append((pair, right, opposite))
                after = self._suppose(known, right)
                if isinstance(after, Wrong):
                    return known, still, _Proof.of(after)
                news = news or after is not known
                known = after
            undecided = still
        return known, undecided, None

    def _split(self, known: _Known, undecided: Sequence[_Pair], depth: int) -> _Proof | None:
        """Rule 3."""
        if depth == DEPTH_MAX:
            raise TooLong("there are too many to try them all")
        pair, *rest = undecided
        proofs: list[_Proof] = []
        for supposition in pair:
            after = self._suppose(known, supposition)
            if isinstance(after, Wrong):
                proof: _Proof | None = _Proof.of(after)
            else:
                proof = self.refute(after, rest, depth + 1)
            if proof is None or supposition not in proof.uses:
                return proof
            proofs.append(proof)
        return proofs[0].or_else(proofs[1], pair)

    def _cycle(self, known: _Known, supposition: Supposition) -> Callable[[], Wrong] | None:
        """One that the supposition makes; None if it does not, or only by several of its edges."""
        for edge in supposition.edges:
            for source, target in self._nodes(edge):
                self._work(1)
                if known.reach[target] >> source & 1:
                    return partial(self._shown, known, supposition, edge, source, target)
        return None

    def _suppose(self, known: _Known, supposition: Supposition) -> _Known | Wrong:
        """The same if nothing is new."""
        after = known
        for edge in supposition.edges:
            for source, target in self._nodes(edge):
                if after.reach[target] >> source & 1:
                    return self._shown(after, supposition, edge, source, target)
                if after.reach[source] >> target & 1:
                    continue
                new = after.reach[target]
                self._work(len(self._out))
                after = _Known(
                    [bits | new if bits >> source & 1 else bits for bits in after.reach], (supposition, known)
                )
        return after

    def _nodes(self, edge: tuple[int, int, int]) -> tuple[tuple[int, int], ...]:
        """The edge, as walks have it."""
        source, target, kind = edge
        if not self._twice:
            return ((source, target),)
        if kind == RW:
            return ((2 * source, 2 * target + 1),)
        return (2 * source, 2 * target), (2 * source + 1, 2 * target)

    def _work(self, rounds: int) -> None:
        self._left -= rounds
        if self._left < 0:
            raise TooLong("there are too many to try them all")

    def _shown(
        self, known: _Known, supposition: Supposition, edge: tuple[int, int, int], source: int, target: int
    ) -> Wrong:
        """A shortest cycle that takes the edge of the supposition."""
        why = {edge: supposition}
        out: dict[int, list[tuple[int, int]]] = {}
        at = _Known([], (supposition, known))
        while at.supposed is not None:
            one, at = at.supposed
            for other in one.edges:
                why.setdefault(other, one)
                for start, goal in self._nodes(other):
                    out.setdefault(start, []).append((goal, other[2] + KINDS * SUPPOSED))
        came: dict[int, tuple[int, int]] = {target: (-1, -1)}
        waiting = deque([target])
        while source not in came:
            node = waiting.popleft()
            for goal, how in [*self._out[node], *out.get(node, ())]:
                if goal not in came:
                    came[goal] = node, how
                    waiting.append(goal)
        steps: list[Step] = []
        at_node = source
        while at_node != target:
            at_node, how = came[at_node]
            premise, kind = divmod(how, KINDS)
            if kind != LINK:
                steps.append(Step(at_node // 2 if self._twice else at_node, kind, premise))
        cycle = cycles.around([Step(edge[0], edge[2], SUPPOSED), *reversed(steps)])
        used = {}
        for step, to in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
            if step.premise == SUPPOSED:
                other = step.transaction, to.transaction, step.kind
                used[other] = why[other]
        return Wrong(Cycle(type_of(self._family, self._level), self._level, cycle), used)


# --- In words ------------------------------------------------------------------------------------------


def _cases(history: History, wrong: Sequence[Wrong]) -> list[Case]:
    return [
        _case(history.explainer(), one, number, len(wrong)) for number, one in enumerate(wrong[:CASES_MAX], 1)
    ]


def _case(explainer: Explainer, wrong: Wrong, number: int, cases: int) -> Case:
    return of_cycle(
        _Supposing(explainer, wrong.supposed),
        wrong.cycle,
        lambda names: (
            "Nobody saw in which order some writes came, and whichever it was, there is such a cycle. "
            f"Case {number} of {cases}, if "
            + " and ".join(
                _told(explainer.transactions, names, one) for one in dict.fromkeys(wrong.supposed.values())
            )
            + ". "
        ),
    )


@dataclass(frozen=True)
class _Supposing:
    """The explanation of a cycle that supposes something. Implements `cases.Explainer`."""

    explainer: Explainer
    supposed: dict[tuple[int, int, int], Supposition]

    @property
    def transactions(self) -> Transactions:
        return self.explainer.transactions

    def reason(self, names: Names, level: int, step: Step, to: int) -> Reason:
        if step.premise != SUPPOSED:
            return self.explainer.reason(names, level, step, to)
        supposition = self.supposed[step.transaction, to, step.kind]
        columns, first = self.transactions, supposition.first
        key = columns.keys[columns.key[first.micro]]
        value, later = (
            columns.name(int(columns.value[write.micro])) for write in (first, supposition.second)
        )
        told = _told(columns, names, supposition)
        if step.kind == WW:
            return Reason(f"supposing that {told}, which nobody saw", key, value, later)
        read = f"{names[step.transaction]} read {names[first.transaction]}'s {value_text(value)} in {key}"
        return Reason(f"{read}, and supposing that {told}, which nobody saw", key, value, later)


def _told(columns: Transactions, names: Names, supposition: Supposition) -> str:
    one, other = (
        f"{names[write.transaction]}'s {columns.name(int(columns.value[write.micro]))}"
        for write in (supposition.first, supposition.second)
    )
    return f"{one} came before {other} in {columns.keys[columns.key[supposition.first.micro]]}"
