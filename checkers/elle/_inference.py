"""Which value of a register came first: inferred from what else must come before what.

Theory
------ Every value is written once, so a read names the write that it saw (wr). In which order a key's values
were written nobody sees; it must be inferred. Let W have written what R read of a key, and let W2 have
written that key too. If W is before W2, then so are their values, and R is before W2 (rw): R did not see
W2's. If W2 is before R, then W2 is before W (ww): had it come in between, R would have seen it. If R, that
missed W2, and W2 write the same key, whichever, then R's value was first (ww): else there is a G-single.
"Before" is any way through the graph: what was read, the order of each process, real time, and what was
inferred already; so this is done again until nothing new comes of it. A key held nothing before its first
write: whoever read nothing is before all its writers.

*Chains.* To ask whether W is before W2 for all pairs would be quadratic. But transactions are few chains, in
each of which every one is before the next: a client's, or in real time as many as were open at once. Of each
node one needs to know, per chain, the first transaction that it is before (and likewise the last one before
it): a vector clock. Per read and chain there is then at most one edge of each kind to add: the others follow
along the chain. Clocks are computed for CLOCK chains at a time.

*Premises.* A rule is sound if otherwise there would be a cycle: the way from W to W2 with the opposite order
of the values. A way without any rw makes that G1c or G-single; any way, G2. So what is inferred over ways
without rw holds under every model that forbids G-single, snapshot isolation among them; what is inferred over
any way, only if the transactions are serializable. Edges say so (`_graph.CONSISTENT_VIEW`, `SERIALIZABLE`),
and a cycle through them is no worse than that.

What this misses: orders that follow only from trying both (the question is NP-complete: Papadimitriou 1979).
It never accuses a history that has an explanation.

Complexity: edges times chains per round; a handful of rounds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from checkers.elle._graph import KINDS, NONE, RW

NEVER = np.int32(2**31 - 1)
NO_SUM = -(1 << 62)
CLOCK = 32


class Chains(NamedTuple):
    """Transactions in rows, each of which is before the next one of its row."""

    chain: NDArray[np.int32]
    """-1: in none."""
    position: NDArray[np.int32]
    number: int


@njit(cache=True, nogil=True)
def by_time(events: int, invoke: NDArray[np.int64], over: NDArray[np.int64]) -> Chains:
    """As few rows as real time allows. `over`: the event after which a transaction is before all that begin,
    or -1."""
    begins = np.full(events, -1, np.int32)
    following = np.full(len(invoke), -1, np.int32)  # others that are over at the same event
    ends = np.full(events, -1, np.int32)
    for t in range(len(invoke)):
        if invoke[t] >= 0:
            begins[invoke[t]] = t
            if over[t] >= 0:
                following[t] = ends[over[t]]
                ends[over[t]] = t
    chain = np.full(len(invoke), -1, np.int32)
    position = np.zeros(len(invoke), np.int32)
    free = np.empty(len(invoke), np.int32)  # the last transactions of rows that may go on
    idle = count = 0
    for event in range(events):
        t = ends[event]
        while t >= 0:
            free[idle] = t
            idle += 1
            t = following[t]
        t = begins[event]
        if t < 0:
            continue
        if idle:
            idle -= 1
            chain[t] = chain[free[idle]]
            position[t] = position[free[idle]] + 1
        else:
            chain[t] = count
            count += 1
    return Chains(chain, position, count)


@njit(cache=True, nogil=True)
def by_process(process: NDArray[np.int64], did: NDArray[np.bool_], processes: int) -> Chains:
    chain = np.full(len(process), -1, np.int32)
    position = np.zeros(len(process), np.int32)
    length = np.zeros(processes, np.int32)
    for t in range(len(process)):
        if did[t]:
            chain[t] = process[t]
            position[t] = length[process[t]]
            length[process[t]] += 1
    return Chains(chain, position, processes)


@njit(cache=True, nogil=True)
def by_path(
    first: NDArray[np.int64],
    to: NDArray[np.int32],
    how: NDArray[np.int8],
    allowed: NDArray[np.bool_],
    component: NDArray[np.int32],
    lonely: NDArray[np.bool_],
    transactions: int,
) -> Chains:
    """Rows along edges, greedily: each transaction goes on the row of the first that leads to it."""
    order = np.argsort(-component)
    chain = np.full(transactions, -1, np.int32)
    position = np.zeros(transactions, np.int32)
    count = 0
    for v in order:
        if v >= transactions or not lonely[v]:
            continue
        if chain[v] < 0:
            chain[v] = count
            count += 1
        for i in range(first[v], first[v + 1]):
            w = to[i]
            if allowed[how[i]] and w < transactions and lonely[w] and chain[w] < 0:
                chain[w] = chain[v]
                position[w] = position[v] + 1
                break
    return Chains(chain, position, count)


# --- Clocks --------------------------------------------------------------------------------------------


class Walk(NamedTuple):
    """A graph in an order in which it can be walked."""

    first: NDArray[np.int64]
    to: NDArray[np.int32]
    how: NDArray[np.int8]
    allowed: NDArray[np.bool_]
    component: NDArray[np.int32]
    order: NDArray[np.int64]
    """The nodes by component: what others lead to comes first."""


@njit(cache=True, nogil=True)
def clocks_after(walk: Walk, chains: Chains, block: int, clock: NDArray[np.int32]) -> None:
    """clock[v, c]: the first position in chain block + c that v is at or before, or NEVER."""
    first, to, component, order = walk.first, walk.to, walk.component, walk.order
    width = clock.shape[1]
    clock[:] = NEVER
    low = 0
    while low < len(order):
        high = low + 1
        while high < len(order) and component[order[high]] == component[order[low]]:
            high += 1
        own = order[low]  # the nodes of one component share a clock
        for n in range(low, high):
            v = order[n]
            for i in range(first[v], first[v + 1]):
                if walk.allowed[walk.how[i]]:
                    w = to[i]
                    for c in range(width):
                        clock[own, c] = min(clock[own, c], clock[w, c])
            if v < len(chains.chain):
                c = chains.chain[v] - block
                if 0 <= c < width:
                    clock[own, c] = min(clock[own, c], chains.position[v])
        for n in range(low + 1, high):
            clock[order[n]] = clock[own]
        low = high


@njit(cache=True, nogil=True)
def clocks_before(walk: Walk, chains: Chains, block: int, clock: NDArray[np.int32]) -> None:
    """clock[v, c]: the last position in chain block + c that is at or before v, or -1."""
    first, to, component, order = walk.first, walk.to, walk.component, walk.order
    width = clock.shape[1]
    clock[:] = -1
    high = len(order)
    while high > 0:
        low = high - 1
        while low > 0 and component[order[low - 1]] == component[order[low]]:
            low -= 1
        own = order[low]
        for n in range(low, high):
            v = order[n]
            for c in range(width):
                clock[own, c] = max(clock[own, c], clock[v, c])
            if v < len(chains.chain):
                c = chains.chain[v] - block
                if 0 <= c < width:
                    clock[own, c] = max(clock[own, c], chains.position[v])
        for n in range(low, high):
            v = order[n]
            clock[v] = clock[own]
            for i in range(first[v], first[v + 1]):
                if walk.allowed[walk.how[i]]:
                    w = to[i]
                    for c in range(width):
                        clock[w, c] = max(clock[w, c], clock[own, c])
        high = low


# --- The rules -----------------------------------------------------------------------------------------


class Writers(NamedTuple):
    """Who wrote each key, by chain: key k's rows are segments[k]:segments[k + 1]; row s is of chain[s], and
    has the transactions first[s]:first[s + 1], in order."""

    segments: NDArray[np.int64]
    chain: NDArray[np.int32]
    first: NDArray[np.int64]
    transaction: NDArray[np.int32]
    position: NDArray[np.int32]
    begin: NDArray[np.int64]
    """Transaction t writes keys[begin[t]:begin[t + 1]], in order."""
    keys: NDArray[np.int64]


class Premises(NamedTuple):
    """What was read by whom: one row for each read that inference starts from."""

    micro: NDArray[np.int64]
    key: NDArray[np.int64]
    reader: NDArray[np.int32]
    writer: NDArray[np.int32]
    """-1: nothing was read."""


class Inferred(NamedTuple):
    """Edges that rules add, and the read that each follows from."""

    source: NDArray[np.int32]
    target: NDArray[np.int32]
    edge: NDArray[np.int8]
    read: NDArray[np.int64]
    """Its micro-operation."""


@njit(cache=True, nogil=True)
def _share_key(writers: Writers, one: int, other: int) -> bool:
    """Whether two transactions write the same key."""
    i, j = writers.begin[one], writers.begin[other]
    while i < writers.begin[one + 1] and j < writers.begin[other + 1]:
        if writers.keys[i] == writers.keys[j]:
            return True
        if writers.keys[i] < writers.keys[j]:
            i += 1
        else:
            j += 1
    return False


@njit(cache=True, nogil=True)
def overwriters(
    reads: Premises, writers: Writers, chains: Chains, lonely: NDArray[np.bool_], block: int,
    clock: NDArray[np.int32], sums: NDArray[np.int64], kind: int, premise: int, inferred: Inferred, used: int,
) -> int:  # fmt: skip
    """If the writer of what was read is before another writer, so is the reader. Returns how many edges are
    used.

    `kind`: RW; or WW, of readers that write something that the other writes as well.

    `clock`: of `clocks_after`. `sums`: of its rows, as the last round left them (NO_SUM: it did not); where
    they are the same still, nothing has changed. What the reader is before already is not said again.
    """
    now = sums_of(clock)
    for i in range(len(reads.key)):
        reader, writer = reads.reader[i], reads.writer[i]
        unchanged = writer >= 0 and now[writer] == sums[writer]
        if unchanged or not lonely[reader] or (writer >= 0 and not lonely[writer]):
            continue
        k = reads.key[i]
        begin, end = writers.segments[k], writers.segments[k + 1]
        for s in range(begin + np.searchsorted(writers.chain[begin:end], block), end):
            chain = writers.chain[s]
            if chain >= block + clock.shape[1]:
                break
            since = np.int32(0)
            if writer >= 0:
                since = clock[writer, chain - block]
                if chain == chains.chain[writer]:
                    since = chains.position[writer] + 1
            low, high = writers.first[s], writers.first[s + 1]
            at = low + np.searchsorted(writers.position[low:high], since)
            if at == high:
                continue
            other = writers.transaction[at]
            known = clock[reader, chain - block] <= writers.position[at]
            if known or other == reader or not lonely[other] or used == len(inferred.source):
                continue
            if kind != RW and not _share_key(writers, reader, other):
                continue
            inferred.source[used], inferred.target[used] = reader, other
            certain = writer < 0 and kind == RW
            inferred.edge[used] = kind + KINDS * (NONE if certain else premise)
            inferred.read[used] = reads.micro[i]
            used += 1
    if used < len(inferred.source):
        sums[:] = now
    else:
        sums[:] = NO_SUM
    return used


@njit(cache=True, nogil=True)
def overwritten(
    reads: Premises, writers: Writers, chains: Chains, lonely: NDArray[np.bool_], block: int,
    clock: NDArray[np.int32], sums: NDArray[np.int64], kind: int, premise: int, inferred: Inferred, used: int,
) -> int:  # fmt: skip
    """If another writer is before the reader, it is before the writer of what was read. Returns how many
    edges are used.

    `clock`: of `clocks_before`; `sums` as above. What is before that writer already is not said again.
    """
    now = sums_of(clock)
    for i in range(len(reads.key)):
        reader, writer = reads.reader[i], reads.writer[i]
        unchanged = now[reader] == sums[reader]
        if unchanged or writer < 0 or not lonely[reader] or not lonely[writer]:
            continue
        k = reads.key[i]
        begin, end = writers.segments[k], writers.segments[k + 1]
        for s in range(begin + np.searchsorted(writers.chain[begin:end], block), end):
            chain = writers.chain[s]
            if chain >= block + clock.shape[1]:
                break
            until = clock[reader, chain - block]
            if chain == chains.chain[reader]:
                until = chains.position[reader] - 1
            low, high = writers.first[s], writers.first[s + 1]
            at = low + np.searchsorted(writers.position[low:high], until, side="right") - 1
            if at < low:
                continue
            other = writers.transaction[at]
            known = clock[writer, chain - block] >= writers.position[at]
            if known or other == writer or not lonely[other] or used == len(inferred.source):
                continue
            inferred.source[used], inferred.target[used] = other, writer
            inferred.edge[used] = kind + KINDS * premise
            inferred.read[used] = reads.micro[i]
            used += 1
    if used < len(inferred.source):
        sums[:] = now
    else:
        sums[:] = NO_SUM
    return used


@njit(cache=True, nogil=True)
def sums_of(clock: NDArray[np.int32]) -> NDArray[np.int64]:
    """Of each row. Clocks only ever go one way, so a row whose sum is the same is the same."""
    sums = np.zeros(len(clock), np.int64)
    for v in range(len(clock)):
        for c in range(clock.shape[1]):
            sums[v] += clock[v, c]
    return sums
