"""Whether demands on the order of versions contradict one another: kernels that make edges, and a search for
cycles.

A vertex is a version (ids as in `Registers`), or an auxiliary one that stands for a moment: in the time of a
key, or in the life of a session at a key. An edge says that one is before the other; there is an order of
versions that meets all demands iff there is no cycle. Moments keep the edges as few as the operations: what
is before a moment is before all that comes after it.

An edge's label is the operation (position in the columns of `Registers`) that demands it; -1: time, a number
or a cas does.
"""

from __future__ import annotations

from collections import defaultdict, deque

import numpy as np
from numba import njit
from numpy.typing import NDArray

from checkers._versions import Versions

CYCLE_STARTS_MAX = 200
"""Vertices from which a shortest cycle is looked for."""

Column = NDArray[np.int64]


class Graph:
    """Edges as they come together. The first `versions` vertices are versions."""

    def __init__(self, versions: int) -> None:
        self.versions = versions
        self.vertices = versions
        self._parts: list[tuple[Column, Column, Column]] = []

    def add(self, source: Column, target: Column, label: Column, vertices: int) -> None:
        """Edges; `vertices`: how many there are now."""
        self._parts.append((source, target, label))
        self.vertices = max(self.vertices, vertices)

    def copy(self) -> Graph:
        other = Graph(self.versions)
        other.vertices = self.vertices
        other._parts = list(self._parts)
        return other

    def cycle(self) -> list[tuple[int, int]]:
        """The versions of a short cycle, each with the label of the edges that lead to it; nothing if there
        is none."""
        source, target, label = map(np.concatenate, zip(*self._parts, strict=True))
        left = in_or_between_cycles(source, target, self.vertices)
        inside = np.flatnonzero(left[source] & left[target])
        after: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        columns = (column[inside].tolist() for column in (source, target, label))
        for one, other, why in zip(*columns, strict=True):
            after[one].append((other, why))
        shortest: list[tuple[int, int]] = []
        for start in sorted(after)[:CYCLE_STARTS_MAX]:
            found = [(vertex, why) for vertex, why in _back_to(start, after) if vertex < self.versions]
            if found and (not shortest or len(found) < len(shortest)):
                shortest = found
        return shortest


def order_told(known: Versions) -> Graph:
    """What time, cas and numbers tell of the order of versions."""
    columns = known.registers
    graph = Graph(columns.values)
    every = np.arange(columns.values)
    usable = ~known.repeated[known.key]
    begun = every[usable & (known.writer >= 0)]
    there = every[usable & (known.by < known.horizon) & ((known.writer >= 0) | (every < columns.keys))]
    version = np.concatenate([begun, there])
    at = np.concatenate([known.since[begun], known.by[there]])
    ends = np.arange(len(version)) >= len(begun)
    order = np.lexsort((at, known.key[version]))
    graph.add(*time_edges(known.key[version][order], version[order], ends[order], graph.vertices))

    made = np.flatnonzero((columns.written >= 0) & (columns.observed >= 0) & ~known.repeated[columns.key])
    numbered = every[usable & (known.number >= 0)]
    numbered = numbered[np.lexsort((known.number[numbered], known.key[numbered]))]
    before, after = numbered[:-1], numbered[1:]
    rises = (known.key[before] == known.key[after]) & (known.number[before] < known.number[after])
    source = np.concatenate([columns.observed[made], before[rises]])
    target = np.concatenate([columns.written[made], after[rises]])
    graph.add(source, target, np.full(len(source), -1), graph.vertices)
    return graph


def _back_to(start: int, after: dict[int, list[tuple[int, int]]]) -> list[tuple[int, int]]:
    """The shortest way from a vertex to itself: the vertices on it after the first, and their labels."""
    came: dict[int, tuple[int, int]] = {}
    waiting = deque([start])
    while waiting:
        vertex = waiting.popleft()
        for target, label in after.get(vertex, ()):
            if target in came:
                continue
            came[target] = vertex, label
            if target == start:
                way = [(start, label)]
                while vertex != start:
                    way.append((vertex, came[vertex][1]))
                    vertex = came[vertex][0]
                return way[::-1]
            waiting.append(target)
    return []


@njit(cache=True, nogil=True)
def in_or_between_cycles(source: Column, target: Column, vertices: int) -> NDArray[np.bool_]:
    """What is left when one takes away, again and again, the vertices without predecessors, and then those
    without successors."""
    left = np.ones(vertices, np.bool_)
    for _ in range(2):
        waiting = np.zeros(vertices, np.int64)
        begin = np.zeros(vertices + 1, np.int64)
        for i in range(len(source)):
            if left[source[i]] and left[target[i]]:
                begin[source[i] + 1] += 1
                waiting[target[i]] += 1
        for vertex in range(vertices):
            begin[vertex + 1] += begin[vertex]
        fill = begin[:-1].copy()
        targets = np.empty(begin[vertices], np.int64)
        for i in range(len(source)):
            if left[source[i]] and left[target[i]]:
                targets[fill[source[i]]] = target[i]
                fill[source[i]] += 1
        free = np.empty(vertices, np.int64)
        count = 0
        for vertex in range(vertices):
            if left[vertex] and waiting[vertex] == 0:
                free[count] = vertex
                count += 1
        taken = 0
        while taken < count:
            vertex = free[taken]
            taken += 1
            left[vertex] = False
            for i in range(begin[vertex], begin[vertex + 1]):
                waiting[targets[i]] -= 1
                if waiting[targets[i]] == 0:
                    free[count] = targets[i]
                    count += 1
        source, target = target, source
    return left


@njit(cache=True, nogil=True)
def _pushed(array: Column, count: int, value: int) -> Column:
    """The array with a value at `count`, twice as long if it was full."""
    if count == len(array):
        longer = np.empty(2 * count + 16, np.int64)
        longer[:count] = array
        array = longer
    array[count] = value
    return array


@njit(cache=True, nogil=True)
def time_edges(
    key: Column, version: Column, ends: NDArray[np.bool_], vertices: int
) -> tuple[Column, Column, Column, int]:
    """What took effect before something began is before it. The columns: each time that a version began or
    had taken effect (`ends`), sorted by key and time."""
    size = 2 * len(key)
    source, target = np.empty(size, np.int64), np.empty(size, np.int64)
    count, moment = 0, -1
    for i in range(len(key)):
        if i == 0 or key[i] != key[i - 1]:
            moment = -1
        if ends[i]:
            if moment >= 0:
                source[count], target[count] = moment, vertices
                count += 1
            moment = vertices
            vertices += 1
            source[count], target[count] = version[i], moment
            count += 1
        elif moment >= 0:
            source[count], target[count] = moment, version[i]
            count += 1
    return source[:count], target[:count], np.full(count, -1, np.int64), vertices


@njit(cache=True, nogil=True)
def session_edges(
    rows: Column, place: Column, push: Column, check: Column, versions: int, vertices: int
) -> tuple[Column, Column, Column, int]:
    """Each version that an operation checks is not before any that one earlier at its place pushed.

    `rows`: operations sorted by place, then in the session's order, which is total. `push` and `check`: a
    version or -1, per operation.
    """
    source, target, label = np.empty(64, np.int64), np.empty(64, np.int64), np.empty(64, np.int64)
    count = 0
    where = np.full(
        versions, -1, np.int64
    )  # a version's last position among `pushed`, if it is at this place
    pushed, moments = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    depth, begin = 0, 0
    for at in range(len(rows)):
        i = rows[at]
        if at == 0 or place[i] != place[rows[at - 1]]:
            begin = depth
        wanted = check[i]
        if wanted >= 0 and depth > begin:
            behind = depth - 1
            if where[wanted] >= begin:
                for later in range(where[wanted] + 1, depth):
                    source = _pushed(source, count, pushed[later])
                    target = _pushed(target, count, wanted)
                    label = _pushed(label, count, i)
                    count += 1
                behind = where[wanted] - 1
            if behind >= begin:
                source = _pushed(source, count, moments[behind])
                target = _pushed(target, count, wanted)
                label = _pushed(label, count, i)
                count += 1
        given = push[i]
        if given < 0 or (depth > begin and pushed[depth - 1] == given):
            continue
        source = _pushed(source, count, given)
        target = _pushed(target, count, vertices)
        label = _pushed(label, count, i)
        count += 1
        if depth > begin:
            source = _pushed(source, count, moments[depth - 1])
            target = _pushed(target, count, vertices)
            label = _pushed(label, count, i)
            count += 1
        where[given], pushed[depth], moments[depth] = depth, given, vertices
        depth += 1
        vertices += 1
    return source[:count], target[:count], label[:count], vertices


@njit(cache=True, nogil=True)
def past_edges(
    session: Column,
    key: NDArray[np.int32],
    observed: Column,
    written: Column,
    start: Column,
    finish: Column,
    observes: NDArray[np.bool_],
    writer: Column,
    since: Column,
    by: Column,
    place: Column,
    position: Column,
    place_rows: Column,
    place_begin: Column,
    key_places: Column,
    key_begin: Column,
    kept: Column,
    causal: bool,
    horizon: int,
) -> tuple[Column, Column, Column, Column]:
    """What a session has seen of any session, it has seen all before: each version in the past of an
    operation, of the key that it reads or writes, is before what it reads or writes.

    The past of an operation is what its session did and observed before, with all that those whose writes it
    observed had done before these; and if `causal`, observed. Edges that time demands already are left out.

    `position`: of a write, its number in its session. `place_rows`, `place_begin`: the writes at each place,
    in order. `key_places`, `key_begin`: the places of each key. `kept`: of a version that some operation
    observes, a number of its own; else -1.

    Returns source, target, label, and the operation by which the session came to know of the source.
    """
    sessions = session.max() + 1
    clock = np.zeros((sessions, sessions), np.int32)  # how many writes of each session each has seen
    through = np.full((sessions, sessions), -1, np.int64)  # the operation that last showed it more of them
    clocks = np.zeros((kept.max() + 1 if causal else 0, sessions), np.int32)  # of the past of each version
    complete = np.zeros(len(clocks), np.bool_)
    session_of_place = np.full(len(place_begin) - 1, -1, np.int64)
    for i in range(len(place)):
        session_of_place[place[i]] = session[i]
    source, target, label, via = (
        np.empty(64, np.int64), np.empty(64, np.int64), np.empty(64, np.int64), np.empty(64, np.int64)
    )  # fmt: skip
    count = 0
    opens, closes = np.full(horizon + 1, -1, np.int64), np.full(horizon + 1, -1, np.int64)
    for i in range(len(session)):
        opens[start[i]] = i
        closes[finish[i]] = i if finish[i] < horizon else -1
    for event in range(horizon):
        for i, is_end in ((opens[event], False), (closes[event], True)):
            if i < 0:
                continue
            s = session[i]
            if is_end and observes[i] and writer[observed[i]] >= 0:
                author = writer[observed[i]]
                t = session[author]
                if causal:
                    _resolve(observed[i], clocks, kept, complete, observed, writer, session, position)
                    seen = clocks[kept[observed[i]]]
                    for other in range(sessions):
                        if seen[other] > clock[s, other]:
                            clock[s, other], through[s, other] = seen[other], i
                if position[author] + 1 > clock[s, t]:
                    clock[s, t], through[s, t] = position[author] + 1, i
            if not is_end and written[i] >= 0 and causal and kept[written[i]] >= 0:
                clocks[kept[written[i]]] = clock[s]
            version = (observed[i] if observes[i] else -1) if is_end else written[i]
            if version >= 0:
                k = key[i]
                for at in range(key_begin[k], key_begin[k + 1]):
                    p = key_places[at]
                    limit = clock[s, session_of_place[p]]
                    # The last write at the place that is in the past.
                    low, high = place_begin[p], place_begin[p + 1]
                    while low < high:
                        middle = (low + high) // 2
                        if position[place_rows[middle]] < limit:
                            low = middle + 1
                        else:
                            high = middle
                    if low == place_begin[p]:
                        continue
                    before = written[place_rows[low - 1]]
                    if before != version and by[before] >= since[version]:
                        source = _pushed(source, count, before)
                        target = _pushed(target, count, version)
                        label = _pushed(label, count, i)
                        via = _pushed(via, count, through[s, session_of_place[p]])
                        count += 1
            if is_end and written[i] >= 0:
                clock[s, s] = position[i] + 1
    return source[:count], target[:count], label[:count], via[:count]


@njit(cache=True, nogil=True)
def _resolve(
    version: int,
    clocks: NDArray[np.int32],
    kept: Column,
    complete: NDArray[np.bool_],
    observed: Column,
    writer: Column,
    session: Column,
    position: Column,
) -> None:
    """Complete the clock of a version that is observed for the first time: what cas made has in its past what
    it was made from."""
    chain = [version]
    while True:
        source = observed[writer[chain[-1]]] if writer[chain[-1]] >= 0 else -1
        if source < 0 or complete[kept[source]] or source in chain:
            break
        chain.append(source)
    for at in range(len(chain) - 1, -1, -1):
        made = chain[at]
        complete[kept[made]] = True
        source = observed[writer[made]] if writer[made] >= 0 else -1
        if source >= 0 and writer[source] >= 0:
            mine, its = clocks[kept[made]], clocks[kept[source]]
            for other in range(len(mine)):
                mine[other] = max(mine[other], its[other])
            author = writer[source]
            mine[session[author]] = max(mine[session[author]], position[author] + 1)
