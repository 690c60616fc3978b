"""Strings that are put, appended to and read, as registers: so that zones decide them.

Theory
------
Let none of the strings that are put or appended under a key be the beginning of another. Then a string that
was read can be taken apart in one way only: first what was put, or nothing; then what was appended, one piece
after another. What was read makes a tree: a node for each string up to the end of a piece. Let nothing be put
twice; then the object is in each node's state only once, and goes on from it to the next node, or to what
nobody read.

So who made a node is known if its piece was put or appended only once: a put is a write of the node's value,
an append a compare-and-set from the node before. What made no node was seen by nobody: it came after all that
was read before the next put, or at the end, and is a write of a value that nobody reads. The history is
linearizable iff these registers are (`checkers._zones`). Where several operations can have made a node, one
of the ways to choose among them must give registers that are.

Pieces that were seen at more places than there are operations to put them there came there twice, or in two
orders: no string explains that.

Complexity: O(n + length of all strings read) for each of at most CHOICES_MAX ways to choose; where a read
extends an earlier one, only the rest is read.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers._registers import CAS, READ, WRITE, Registers
from harness.history import INFO, History

CHOICES_MAX = 256

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TwoPlaces:
    """A piece that was seen at too many places. Positions in `History.operations`."""

    key: int
    makers: list[int]
    """All that put or appended it."""
    reads: tuple[int, int]
    """Two that saw it; they may be one."""
    after: tuple[str, str]
    """What it came after, in each."""


@dataclass(frozen=True, slots=True)
class Strings:
    """The keys of a history."""

    known: list[Registers]
    """Those under which it is known who made what, as registers (at most one)."""
    choices: dict[int, list[Registers]]
    """Those under which there is a choice: a register for each way to choose."""
    texts: list[str]
    """By id of a value: what it is."""
    two_places: list[TwoPlaces]
    left: list[tuple[int, Rows]]
    """Those under which strings cannot be taken apart, and the operations that count there."""


@dataclass(frozen=True, slots=True)
class _Calls:
    """The operations under one key that count."""

    rows: Rows
    """In `History.operations`."""
    f: list[str]
    value: list[Any]
    """What was put, appended, or read."""
    start: list[int]
    finish: list[int]


def strings(history: History, by_key: Iterable[tuple[int, Rows]]) -> Strings:
    """What can be said of these keys of a history of get, put and append, and the operations that count."""
    found = Strings([], {}, [""] * len(history.keys), [], [])
    known: _Columns = []
    for key, mine in by_key:
        ways = _ways(key, _calls(history, mine), found)
        if ways is None:
            found.left.append((key, mine))
        elif len(ways) == 1:
            known += ways[0]
        elif ways:
            found.choices[key] = [_registers(history, way, len(found.texts)) for way in ways]
    if known:
        found.known.append(_registers(history, known, len(found.texts)))
    return found


_Columns = list[tuple[int, int, int, int, int]]
"""row, kind, key, observed, written"""


def _registers(history: History, columns: _Columns, values: int) -> Registers:
    operations = history.operations
    table = np.array(sorted(columns), np.int64).reshape(-1, 5)
    row = table[:, 0].copy()
    crashed = operations.outcome[row] >= INFO
    return Registers(
        row=row,
        kind=table[:, 1].astype(np.int8),
        key=table[:, 2].astype(np.int32),
        observed=table[:, 3].copy(),
        written=table[:, 4].copy(),
        start=operations.invoke[row],
        finish=np.where(crashed, len(history), operations.complete[row]),
        keys=len(history.keys),
        values=values,
        horizon=len(history),
    )


def _calls(history: History, rows: Rows) -> _Calls:
    mine = history.operations.take(rows)
    f = [history.fs[code] for code in mine.f.tolist()]
    arguments, results = history.arguments(mine), history.results(mine)
    value = [results[at] if one == "get" else arguments[at] for at, one in enumerate(f)]
    finish = np.where(mine.outcome >= INFO, len(history), mine.complete)
    return _Calls(rows, f, value, mine.invoke.tolist(), finish.tolist())


def _ways(key: int, calls: _Calls, found: Strings) -> list[_Columns] | None:
    """The ways in which the operations under one key can have made what was read, as columns; none if a piece
    is at too many places, which is noted; None if the strings cannot be taken apart, or in too many ways."""
    if not all(isinstance(value, str) for value in calls.value):
        return None
    makers: dict[str, list[int]] = {}
    for at, (f, value) in enumerate(zip(calls.f, calls.value, strict=True)):
        if f != "get":
            makers.setdefault(value, []).append(at)
    put = {value for f, value in zip(calls.f, calls.value, strict=True) if f == "put"}
    appended = {value for f, value in zip(calls.f, calls.value, strict=True) if f == "append"}
    if len(put) < calls.f.count("put") or not _prefix_free(makers):
        return None
    tree = _Tree(key, put, appended, found.texts)
    nodes = [tree.node(value) if f == "get" else -1 for f, value in zip(calls.f, calls.value, strict=True)]
    choices = []
    for piece, places in tree.places.items():
        behind = [place for place in places if tree.before[place] != key]
        if len(behind) > len(makers[piece]) - (piece in put) or len(places) > len(makers[piece]):
            places = (behind + places)[:2]
            found.two_places.append(_two_places(key, calls, tree, nodes, makers[piece], places))
            return []
        if math.perm(len(makers[piece]), len(places)) > CHOICES_MAX:
            return None
        choices.append(tree.assignments(places, makers[piece], calls, nodes))
    if math.prod(map(len, choices)) > CHOICES_MAX:
        return None
    nobodys = {}
    for at, f in enumerate(calls.f):
        if f != "get":
            nobodys[at] = len(found.texts)
            found.texts.append(calls.value[at])
    ways = []
    for choice in itertools.product(*choices):
        made = dict(itertools.chain.from_iterable(choice))
        columns: _Columns = []
        for at, row in enumerate(calls.rows.tolist()):
            node = made.get(at)
            if calls.f[at] == "get":
                columns.append((row, READ, key, nodes[at], -1))
            elif node is not None and calls.f[at] == "append":
                columns.append((row, CAS, key, tree.before[node], node))
            else:
                columns.append((row, WRITE, key, -1, nobodys[at] if node is None else node))
        ways.append(columns)
    return ways


def _prefix_free(values: Iterable[str]) -> bool:
    """Whether none of them is empty or the beginning of another."""
    ordered = sorted(values)
    return all(ordered) and not any(
        later.startswith(earlier) for earlier, later in itertools.pairwise(ordered)
    )


def _two_places(
    key: int, calls: _Calls, tree: _Tree, nodes: Sequence[int], makers: Sequence[int], places: Sequence[int]
) -> TwoPlaces:
    saw = [
        next(at for at, node in enumerate(nodes) if node >= 0 and place in tree.path(node))
        for place in places[:2]
    ]
    return TwoPlaces(
        key=key,
        makers=[int(calls.rows[at]) for at in makers],
        reads=(int(calls.rows[saw[0]]), int(calls.rows[saw[1]])),
        after=(tree.texts[tree.before[places[0]]], tree.texts[tree.before[places[1]]]),
    )


class _Tree:
    """What was read under one key. A node is the id of a value."""

    def __init__(self, key: int, put: set[str], appended: set[str], texts: list[str]) -> None:
        self.key = key
        self.first = put | appended
        """What a string can begin with."""
        self.further = appended
        self.texts = texts
        self.lengths = sorted({len(piece) for piece in self.first})
        self.nodes: dict[str, int] = {"": key}
        self.before: dict[int, int] = {}
        """The node before each; the initial one before what was put."""
        self.places: dict[str, list[int]] = {}
        """By piece: the nodes that end with it."""
        self.last = ""

    def node(self, text: str) -> int:
        """The node of what was read; one that nobody can have made, if it cannot be taken apart."""
        if text in self.nodes:
            return self.nodes[text]
        at = len(self.last) if text.startswith(self.last) else 0
        node = self.nodes[text[:at]]
        while at < len(text):
            pieces = self.further if at else self.first
            end = next((at + n for n in self.lengths if text[at : at + n] in pieces), len(text) + 1)
            if end > len(text):
                return self._new(text)
            whole = text[:end]
            above, node = node, self.nodes[whole] if whole in self.nodes else self._new(whole)
            if node not in self.before:
                self.before[node] = above
                self.places.setdefault(text[at:end], []).append(node)
            at = end
        self.last = text
        return node

    def _new(self, text: str) -> int:
        node = self.nodes[text] = len(self.texts)
        self.texts.append(text)
        return node

    def path(self, node: int) -> Iterator[int]:
        """The node, the one before it, and so on."""
        yield node
        while node in self.before:
            node = self.before[node]
            yield node

    def assignments(
        self, places: Sequence[int], makers: Sequence[int], calls: _Calls, nodes: Sequence[int]
    ) -> list[list[tuple[int, int]]]:
        """The ways to say which maker made which place: as pairs (maker, place)."""
        ways = [
            list(zip(chosen, places, strict=True))
            for chosen in itertools.permutations(makers, len(places))
            if all(
                calls.f[maker] == "append" or self.before[place] == self.key
                for maker, place in zip(chosen, places, strict=True)
            )
        ]
        if len(ways) < 2:
            return ways
        # A place was made after those who saw what came before had begun, and before those who saw it ended.
        window = {}
        for place in places:
            older = set(self.path(self.before[place]))
            begin = max((calls.start[at] for at, node in enumerate(nodes) if node in older), default=-1)
            end = min(
                calls.finish[at] for at, node in enumerate(nodes) if node >= 0 and place in self.path(node)
            )
            window[place] = begin, end
        fitting = [
            way
            for way in ways
            if all(
                calls.finish[at] > window[place][0] and calls.start[at] < window[place][1]
                for at, place in way
            )
        ]
        return fitting or ways
