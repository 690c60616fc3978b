"""The dependency graph: edges between transactions, its strongly connected parts, its shortest cycles.

Representation
-------------- Nodes 0 to n - 1 are transactions. More nodes may follow, which are none: they stand for "from
here on" and keep the number of edges linear where many must come before many (`order_edges`, and the tails of
lists). An edge is one byte: its kind in the low three bits, and above them what its inference takes for
granted. An edge out of such a node is a LINK: it continues the kind of the edge that led there.

Algorithms: Tarjan (1972) without recursion; breadth-first search with links free of charge (0-1 BFS).
Real-time order: the transitive reduction of an interval order, one node per run of completions. All linear in
the edges.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

WW, WR, RW, PROCESS, REALTIME, LINK = range(6)
KINDS = 8
"""An edge is kind + KINDS * premise."""

NONE, READ_COMMITTED, CONSISTENT_VIEW, SERIALIZABLE = range(4)
"""What the inference of an edge takes for granted: nothing; or that otherwise there would be a cycle that the
model of that name forbids (G1c, G-single, G2)."""


@njit(cache=True, nogil=True)
def rows(
    nodes: int, source: NDArray[np.int32], target: NDArray[np.int32], edge: NDArray[np.int8]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int8]]:
    """The edges by source: those of node v are to[first[v]:first[v + 1]], likewise `how`."""
    first = np.zeros(nodes + 1, np.int64)
    for i in range(len(source)):
        first[source[i] + 1] += 1
    for v in range(nodes):
        first[v + 1] += first[v]
    at = first[:-1].copy()
    to = np.empty(len(source), np.int32)
    how = np.empty(len(source), np.int8)
    for i in range(len(source)):
        v = source[i]
        to[at[v]] = target[i]
        how[at[v]] = edge[i]
        at[v] += 1
    return first, to, how


@njit(cache=True, nogil=True)
def components(
    first: NDArray[np.int64], to: NDArray[np.int32], how: NDArray[np.int8], allowed: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], int]:
    """Each node's strongly connected component over the edges that are allowed[how], and their number.

    Components are numbered against the edges: one that another leads to has the lower number.
    """
    nodes = len(first) - 1
    component = np.full(nodes, -1, np.int32)
    reached = np.full(nodes, -1, np.int32)  # when the search came to the node
    low = np.empty(nodes, np.int32)
    at = first[:-1].copy()
    path = np.empty(nodes, np.int32)
    waiting = np.empty(nodes, np.int32)
    count = clock = waits = 0
    for root in range(nodes):
        if reached[root] >= 0:
            continue
        depth = 0
        path[0] = root
        reached[root] = low[root] = clock
        clock += 1
        waiting[waits] = root
        waits += 1
        while depth >= 0:
            v = path[depth]
            if at[v] < first[v + 1]:
                i = at[v]
                at[v] += 1
                if not allowed[how[i]]:
                    continue
                w = to[i]
                if reached[w] < 0:
                    depth += 1
                    path[depth] = w
                    reached[w] = low[w] = clock
                    clock += 1
                    waiting[waits] = w
                    waits += 1
                elif component[w] < 0 and reached[w] < low[v]:
                    low[v] = reached[w]
                continue
            depth -= 1
            if depth >= 0 and low[v] < low[path[depth]]:
                low[path[depth]] = low[v]
            if low[v] == reached[v]:
                while True:
                    waits -= 1
                    w = waiting[waits]
                    component[w] = count
                    if w == v:
                        break
                count += 1
    return component, count


@njit(cache=True, nogil=True)
def order_edges(
    events: int,
    invoke: NDArray[np.int64],
    complete: NDArray[np.int64],
    nodes: int,
    source: NDArray[np.int32],
    target: NDArray[np.int32],
    edge: NDArray[np.int8],
) -> tuple[int, int]:
    """Real-time order: transactions that were over before others began. Returns how many edges and nodes are
    used; the arrays have room for 3 edges a transaction.

    `invoke`, `complete`: events, or -1 for "does not take part" and "is never over".
    """
    begins = np.full(events, -1, np.int32)
    ends = np.full(events, -1, np.int32)
    for t in range(len(invoke)):
        if invoke[t] >= 0:
            begins[invoke[t]] = t
            if complete[t] >= 0:
                ends[complete[t]] = t
    used = 0
    over = -1  # the node that stands for all completions so far
    closed = True  # somebody has begun after it: later completions need another
    for event in range(events):
        t = ends[event]
        if t >= 0:
            if closed:
                if over >= 0:
                    source[used], target[used], edge[used] = over, nodes, LINK
                    used += 1
                over = nodes
                nodes += 1
                closed = False
            source[used], target[used], edge[used] = t, over, REALTIME
            used += 1
        t = begins[event]
        if t >= 0 and over >= 0:
            source[used], target[used], edge[used] = over, t, LINK
            used += 1
            closed = True
    return used, nodes


@njit(cache=True, nogil=True)
def process_edges(
    process: NDArray[np.int64],
    takes_part: NDArray[np.bool_],
    processes: int,
    source: NDArray[np.int32],
    target: NDArray[np.int32],
    edge: NDArray[np.int8],
) -> int:
    """Each client's transactions, one after the other. Returns how many edges."""
    last = np.full(processes, -1, np.int64)
    used = 0
    for t in range(len(process)):
        if not takes_part[t]:
            continue
        who = process[t]
        if last[who] >= 0:
            source[used], target[used], edge[used] = last[who], t, PROCESS
            used += 1
        last[who] = t
    return used


@njit(cache=True, nogil=True)
def doubled(
    source: NDArray[np.int32], target: NDArray[np.int32], edge: NDArray[np.int8]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int8]]:
    """The graph whose walks take no two anti-dependencies in a row: node v is 2 v, and 2 v + 1 after one."""
    again_source = np.empty(2 * len(source), np.int32)
    again_target = np.empty(2 * len(source), np.int32)
    again_edge = np.empty(2 * len(source), np.int8)
    used = 0
    for i in range(len(source)):
        kind = edge[i] % KINDS
        for after in range(2):
            if kind == RW and after:
                continue
            again_source[used] = 2 * source[i] + after
            again_target[used] = 2 * target[i] + (kind == RW or (kind == LINK and after))
            again_edge[used] = edge[i]
            used += 1
    return again_source[:used], again_target[:used], again_edge[:used]


class Rows(NamedTuple):
    """A graph by source, and the scratch of its searches."""

    first: NDArray[np.int64]
    """The edges of node v are first[v]:first[v + 1]."""
    origin: NDArray[np.int32]
    to: NDArray[np.int32]
    how: NDArray[np.int8]
    cost: NDArray[np.int32]
    reached: NDArray[np.int64]
    """By which search: the number of the last one is in reached[nodes]."""
    by: NDArray[np.int64]
    """The edge that led to the node."""
    now: NDArray[np.int32]
    later: NDArray[np.int32]


@njit(cache=True, nogil=True)
def searchable(first: NDArray[np.int64], to: NDArray[np.int32], how: NDArray[np.int8]) -> Rows:
    nodes = len(first) - 1
    origin = np.empty(len(to), np.int32)
    for v in range(nodes):
        origin[first[v] : first[v + 1]] = v
    return Rows(
        first,
        origin,
        to,
        how,
        np.empty(nodes, np.int32),
        np.zeros(nodes + 1, np.int64),
        np.empty(nodes, np.int64),
        np.empty(2 * nodes + 2, np.int32),
        np.empty(2 * nodes + 2, np.int32),
    )


@njit(cache=True, nogil=True)
def route(
    rows: Rows,
    component: NDArray[np.int32],
    start: int,
    goal: int,
    allowed: NDArray[np.bool_],
    limit: int,
) -> tuple[int, int]:
    """The length, links not counted, of a shortest way from start to goal over edges that are allowed[how]
    inside the goal's component, or -1 if there is none shorter than `limit`; and how many edges were looked
    at.

    `rows.by` then leads back along it.
    """
    first, to, how, cost, reached, by = rows.first, rows.to, rows.how, rows.cost, rows.reached, rows.by
    now, later = rows.now, rows.later
    reached[-1] += 1
    search = reached[-1]
    now[0] = start
    cost[start], reached[start] = 0, search
    waits, distance, steps = 1, 0, 0
    while waits > 0 and distance < limit:
        soon = 0
        at = 0
        while at < waits:  # it grows while it is read: links lead on at no cost
            v = now[at]
            at += 1
            if cost[v] < distance:
                continue
            if v == goal:
                return distance, steps
            for i in range(first[v], first[v + 1]):
                steps += 1
                w = to[i]
                new = distance + (how[i] % KINDS != LINK)
                if not allowed[how[i]] or component[w] != component[goal]:
                    continue
                if reached[w] == search and cost[w] <= new:
                    continue
                cost[w], reached[w], by[w] = new, search, i
                if new == distance:
                    now[waits] = w
                    waits += 1
                else:
                    later[soon] = w
                    soon += 1
        now, later = later, now
        waits = soon
        distance += 1
    return -1, steps


@njit(cache=True, nogil=True)
def walked(rows: Rows, start: int, goal: int) -> NDArray[np.int64]:
    """The edges of the way that `route` has just found."""
    length = 0
    v = goal
    while v != start:
        length += 1
        v = rows.origin[rows.by[v]]
    edges = np.empty(length, np.int64)
    v = goal
    while v != start:
        length -= 1
        edges[length] = rows.by[v]
        v = rows.origin[rows.by[v]]
    return edges


@njit(cache=True, nogil=True)
def shortest_cycle(
    rows: Rows,
    component: NDArray[np.int32],
    candidates: NDArray[np.int64],
    allowed: NDArray[np.bool_],
    enough: int,
    steps: int,
) -> tuple[NDArray[np.int64], int]:
    """The edges of a shortest cycle that takes one of the candidate edges, from that one on, and else edges
    that are allowed[how]; and how many steps are left.

    No edges: there is no such cycle; or, if no steps are left either, nobody knows. It is content with a
    cycle of `enough` transactions.
    """
    best = len(rows.first) + 1
    found = np.empty(0, np.int64)
    for i in candidates:
        if steps <= 0 or best <= enough:
            break
        start, goal = rows.to[i], rows.origin[i]
        if component[start] != component[goal]:
            continue
        length, taken = route(rows, component, start, goal, allowed, best - 1)
        steps -= taken + 1
        if length >= 0:
            best = length + 1
            found = np.concatenate((np.array([i]), walked(rows, start, goal)))
    return found, max(steps, 0)
