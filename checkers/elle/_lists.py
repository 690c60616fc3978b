"""Lists that transactions append to: what each read proves, and the dependencies that follow.

Theory
------ Every element is appended once, so a list that was read names the transactions that made it, in order.
Lists only grow: of one key, every read is a prefix of the longest, or something is broken
("incompatible-order"); and so it is if what one transaction appended does not stand there in a row, in its
order. The longest read is the key's version order. An append that it lacks, of a transaction that happened,
is part of the *tail*: it comes after all that it has; in which order among themselves nobody saw.

What a transaction reads after an append of its own is what it found there, its view, and its own elements.
The view is a read as any other. That its own elements come next, before all that it did not see, holds unless
there is a G-single: what follows from that alone says so (`_graph.CONSISTENT_VIEW`).

A transaction happened if it is `ok`, or if its outcome is unknown and somebody read what it appended. What is
unknown and was never read is left out: it may not have happened, and if so, nothing is different for anybody.

Edges: ww from each element's transaction to the next one's; wr from the last element's to the reader; rw from
the reader to the transaction of the first element that it lacks. From the last element of a key all of its
tail is ww, and to readers of the whole list all of its tail is rw. (Of two in a tail, who missed anything of
the other's comes first: else there is a G-single. What follows from that has a premise.)

The graph is acyclic and nothing else is found iff the transactions are serializable (with the process or the
real-time edges: in an order that agrees with these): put them in any order that the graph allows; each read
then sees exactly the appends before it, and the tails' order, which nobody saw, is free. So nothing is
missed.

Complexity: linear. Reads are compared with the longest one element by element; only that one is looked up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from checkers.elle._findings import (
    DIRTY_UPDATE,
    DUPLICATE,
    FUTURE_READ,
    G1A,
    G1B,
    GARBAGE,
    INCOMPATIBLE,
    INTERNAL,
    LOST_UPDATE,
    Findings,
    note,
)
from checkers.elle._graph import CONSISTENT_VIEW, KINDS, LINK, NONE, READ_COMMITTED, RW, WR, WW
from checkers.elle._index import writer

NOWHERE = -1
"""In a version order: an element that nobody appended, or that stands there a second time."""
FAR = 1 << 60


class Lists(NamedTuple):
    """Columns of micro-operations, as `checkers.elle.transactions` has them, and what was made of them."""

    begin: NDArray[np.int64]
    of: NDArray[np.int32]
    """The transaction of each micro-operation."""
    reads: NDArray[np.bool_]
    key: NDArray[np.int64]
    value: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    elements: NDArray[np.int64]
    ok: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    slots: NDArray[np.int32]
    """Who appended it: see `_index.writes`."""
    previous: NDArray[np.int32]
    overwritten: NDArray[np.int32]


class Orders(NamedTuple):
    """Each key's version order: the longest list that was read of it."""

    longest: NDArray[np.int64]
    """The read, or -1."""
    first: NDArray[np.int64]
    """Key k's order is order[first[k]:first[k + 1]]."""
    certain: NDArray[np.int64]
    """Per key, how much of it was read by others than who appended the rest: see Theory."""
    order: NDArray[np.int64]
    """The micro-operation that appended each element, or NOWHERE."""
    position: NDArray[np.int64]
    """Of each append in its key's order, or -1."""
    garbage: NDArray[np.int64]
    """Per key the position of the first element that nobody appended, that failed, that was there before,
    that does not stand right behind what its transaction had appended before it; or FAR."""
    failure: NDArray[np.int64]
    duplicate: NDArray[np.int64]
    torn: NDArray[np.int64]


@njit(cache=True, nogil=True)
def views(lists: Lists) -> NDArray[np.int64]:
    """How many elements each read of an `ok` transaction found there: all but those at its end that the
    transaction had appended itself. -1: it is none, or says no more than the transaction's last read of the
    key."""
    view = np.full(len(lists.key), -1, np.int64)
    for i in range(len(lists.key)):
        if not lists.reads[i] or not lists.ok[lists.of[i]]:
            continue
        mine = 0
        again = False
        j = lists.previous[i]
        while j >= 0:
            at = lists.high[i] - 1 - mine
            again |= lists.reads[j]
            if not lists.reads[j] and at >= lists.low[i] and lists.elements[at] == lists.value[j]:
                mine += 1
            j = lists.previous[j]
        if not again or contradicts_itself(lists, i):
            view[i] = lists.high[i] - lists.low[i] - mine
    return view


@njit(cache=True, nogil=True)
def contradicts_itself(lists: Lists, i: int) -> bool:
    """Whether a read does not end with what its transaction has appended since its last read, after what that
    saw."""
    appended = 0
    j = lists.previous[i]
    while j >= 0 and not lists.reads[j]:
        appended += 1
        j = lists.previous[j]
    low = lists.low[i]
    count = lists.high[i] - low
    if j >= 0:
        before = lists.high[j] - lists.low[j]
        if count != before + appended or _common(lists, i, j, before) < before:
            return True
    if count < appended:
        return True
    append = lists.previous[i]
    for back in range(appended):
        if lists.elements[lists.high[i] - 1 - back] != lists.value[append]:
            return True
        append = lists.previous[append]
    return False


@njit(cache=True, nogil=True)
def version_orders(lists: Lists, view: NDArray[np.int64], keys: int) -> Orders:
    longest = np.full(keys, -1, np.int64)
    certain = np.zeros(keys, np.int64)
    for i in range(len(lists.key)):
        k = lists.key[i]
        if view[i] > certain[k]:
            longest[k], certain[k] = i, view[i]
    length = certain.copy()
    known = longest.copy()
    for i in range(len(lists.key)):
        k = lists.key[i]
        if view[i] < 0 or lists.high[i] - lists.low[i] <= length[k]:
            continue
        if certain[k] == 0 or _common(lists, i, known[k], certain[k]) == certain[k]:
            longest[k], length[k] = i, lists.high[i] - lists.low[i]
    first = np.zeros(keys + 1, np.int64)
    first[1:] = np.cumsum(length)
    order = np.full(first[-1], NOWHERE, np.int64)
    position = np.full(len(lists.key), -1, np.int64)
    garbage = np.full(keys, FAR, np.int64)
    failure = np.full(keys, FAR, np.int64)
    duplicate = np.full(keys, FAR, np.int64)
    torn = np.full(keys, FAR, np.int64)
    for k in range(keys):
        for at in range(length[k]):
            value = lists.elements[lists.low[longest[k]] + at]
            append = writer(lists.slots, lists.key, lists.value, k, value)
            if append < 0:
                garbage[k] = min(garbage[k], at)
            elif position[append] >= 0:
                duplicate[k] = min(duplicate[k], at)
            else:
                order[first[k] + at] = append
                position[append] = at
                if lists.failed[lists.of[append]]:
                    failure[k] = min(failure[k], at)
        for at in range(length[k]):
            append = order[first[k] + at]
            if append >= 0 and not _follows(lists, position, append):
                torn[k] = at
                break
    return Orders(longest, first, certain, order, position, garbage, failure, duplicate, torn)


@njit(cache=True, nogil=True)
def _follows(lists: Lists, position: NDArray[np.int64], append: int) -> bool:
    """Whether an append stands right behind its transaction's last one to that key, if there is one."""
    before = lists.previous[append]
    while before >= 0 and lists.reads[before]:
        before = lists.previous[before]
    return bool(before < 0 or 0 <= position[before] == position[append] - 1)


@njit(cache=True, nogil=True)
def _common(lists: Lists, one: int, other: int, most: int) -> int:
    """How many elements two lists that were read begin with together, up to `most`."""
    for at in range(most):
        if lists.elements[lists.low[one] + at] != lists.elements[lists.low[other] + at]:
            return at
    return most


@njit(cache=True, nogil=True)
def read_prefixes(lists: Lists, orders: Orders, view: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each view, how many elements it has if that is a prefix of its key's order; -1 of one that is not;
    -2 where there is no view."""
    seen = np.full(len(lists.key), -2, np.int64)
    for i in range(len(lists.key)):
        if view[i] > 0:
            whole = _common(lists, i, orders.longest[lists.key[i]], view[i]) == view[i]
            seen[i] = view[i] if whole else -1
        elif view[i] == 0:
            seen[i] = 0
    return seen


@njit(cache=True, nogil=True)
def happened(lists: Lists, orders: Orders, seen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The transactions that happened: see Theory."""
    did = lists.ok.copy()
    for i in range(len(lists.key)):
        if orders.position[i] >= 0 and not lists.failed[lists.of[i]]:
            did[lists.of[i]] = True
        if seen[i] == -1:
            for at in range(lists.low[i], lists.high[i]):
                append = writer(lists.slots, lists.key, lists.value, lists.key[i], lists.elements[at])
                if append >= 0 and not lists.failed[lists.of[append]]:
                    did[lists.of[append]] = True
    return did


@njit(cache=True, nogil=True)
def direct(lists: Lists, orders: Orders, seen: NDArray[np.int64], findings: Findings) -> None:
    """All that needs no cycle."""
    last_seen_by = np.full(len(lists.key), -1, np.int64)
    for i in range(len(lists.key)):
        k = lists.key[i]
        if not lists.ok[lists.of[i]]:
            continue
        if not lists.reads[i]:
            _check_future(lists, orders, seen, findings, i)
            continue
        if contradicts_itself(lists, i):
            note(findings, INTERNAL, i, lists.previous[i])
        if seen[i] == -2:
            continue
        if seen[i] == -1:
            note(findings, INCOMPATIBLE, i, orders.longest[k])
            _check_elements(lists, findings, i, last_seen_by)
            continue
        at = orders.first[k]
        if seen[i] > orders.garbage[k]:
            note(findings, GARBAGE, i, orders.garbage[k])
        if seen[i] > orders.duplicate[k]:
            note(findings, DUPLICATE, i, orders.duplicate[k])
        else:
            _check_own(lists, orders, seen, findings, i)
        if seen[i] > orders.failure[k]:
            note(findings, G1A, i, orders.order[at + orders.failure[k]])
        if seen[i] > orders.torn[k]:
            note(findings, INCOMPATIBLE, i, orders.order[at + orders.torn[k]])
        if seen[i] > 0:
            append = orders.order[at + seen[i] - 1]
            if append >= 0 and lists.overwritten[append] >= 0 and lists.of[append] != lists.of[i]:
                note(findings, G1B, i, append)
    _check_updates(lists, orders, seen, findings)


@njit(cache=True, nogil=True)
def _check_future(lists: Lists, orders: Orders, seen: NDArray[np.int64], findings: Findings, i: int) -> None:
    """No read before an append must have seen it. Reads that say no more than the one before need no look."""
    j = lists.previous[i]
    while j >= 0:
        if lists.reads[j] and 0 <= orders.position[i] < seen[j]:
            note(findings, FUTURE_READ, j, i)
            return
        if seen[j] == -1:
            for at in range(lists.low[j], lists.high[j]):
                if lists.elements[at] == lists.value[i]:
                    note(findings, FUTURE_READ, j, i)
                    return
        j = lists.previous[j]


@njit(cache=True, nogil=True)
def _check_own(lists: Lists, orders: Orders, seen: NDArray[np.int64], findings: Findings, i: int) -> None:
    """What stands at the end because the transaction has appended it must not stand before that as well."""
    j = lists.previous[i]
    while j >= 0:
        if not lists.reads[j] and 0 <= orders.position[j] < seen[i]:
            for at in range(lists.low[i] + seen[i], lists.high[i]):
                if lists.elements[at] == lists.value[j]:
                    note(findings, DUPLICATE, i, orders.position[j])
                    return
        j = lists.previous[j]


@njit(cache=True, nogil=True)
def _check_elements(lists: Lists, findings: Findings, i: int, last_seen_by: NDArray[np.int64]) -> None:
    """The elements, one by one, of a read that is no prefix."""
    append = -1
    k = lists.key[i]
    for at in range(lists.low[i], lists.high[i]):
        append = writer(lists.slots, lists.key, lists.value, k, lists.elements[at])
        if append < 0:
            note(findings, GARBAGE, i, at - lists.low[i])
            continue
        if lists.failed[lists.of[append]]:
            note(findings, G1A, i, append)
        if last_seen_by[append] == i:
            note(findings, DUPLICATE, i, at - lists.low[i])
        last_seen_by[append] = i
    if append >= 0 and lists.overwritten[append] >= 0 and lists.of[append] != lists.of[i]:
        note(findings, G1B, i, append)


@njit(cache=True, nogil=True)
def _check_updates(lists: Lists, orders: Orders, seen: NDArray[np.int64], findings: Findings) -> None:
    """Appends on top of what failed; two transactions that read the same list and both appended to it."""
    keys = len(orders.longest)
    for k in range(keys):
        aborted = -1
        for at in range(orders.first[k], orders.first[k + 1]):
            append = orders.order[at]
            if append < 0:
                continue
            if lists.failed[lists.of[append]]:
                if aborted < 0:
                    aborted = append
            elif lists.ok[lists.of[append]]:
                if aborted >= 0:
                    note(findings, DIRTY_UPDATE, append, aborted)
                aborted = -1
    reader = np.full(len(orders.order) + keys, -1, np.int64)
    for i in range(len(lists.key)):
        if seen[i] >= 0 and lists.previous[i] < 0 and lists.overwritten[i] >= 0:
            slot = orders.first[lists.key[i]] + lists.key[i] + seen[i]
            if reader[slot] >= 0:
                note(findings, LOST_UPDATE, i, reader[slot])
            else:
                reader[slot] = i


@njit(cache=True, nogil=True)
def edges(
    lists: Lists,
    orders: Orders,
    view: NDArray[np.int64],
    seen: NDArray[np.int64],
    did: NDArray[np.bool_],
    source: NDArray[np.int32],
    target: NDArray[np.int32],
    edge: NDArray[np.int8],
) -> tuple[int, int]:
    """The dependencies. Returns how many edges and nodes are used."""
    tails, tail_first = _tails(lists, orders, did)
    hubs, nodes = _hubs(tail_first, len(did))
    # The next element, from each position on, of a transaction that happened.
    following = np.full(len(orders.order) + 1, -1, np.int64)
    used = 0
    for k in range(len(orders.longest)):
        last = certain = -1
        for at in range(orders.first[k], orders.first[k + 1]):
            append = orders.order[at]
            if append < 0 or not did[lists.of[append]]:
                continue
            t = lists.of[append]
            if last >= 0 and last != t:
                source[used], target[used], edge[used] = last, t, WW
                used += 1
            last = t
            if at < orders.first[k] + orders.certain[k]:
                certain = t
        upcoming = -1
        for at in range(orders.first[k + 1] - 1, orders.first[k] - 1, -1):
            append = orders.order[at]
            if append >= 0 and did[lists.of[append]]:
                upcoming = lists.of[append]
            following[at] = upcoming
        for at in range(tail_first[k], tail_first[k + 1]):
            if certain >= 0 and certain != tails[at]:
                source[used], target[used] = certain, tails[at]
                edge[used] = WW + KINDS * _premise(lists, tails[at])
                used += 1
            if last != certain and last != tails[at]:
                source[used], target[used], edge[used] = last, tails[at], WW + KINDS * CONSISTENT_VIEW
                used += 1
        used = _link_hubs(hubs[k], tails[tail_first[k] : tail_first[k + 1]], source, target, edge, used)
    for i in range(len(lists.key)):
        if seen[i] == -2:
            continue
        t = lists.of[i]
        k = lists.key[i]
        append = last_seen(lists, orders, view, seen, did, i)
        if append >= 0 and lists.of[append] != t:
            source[used], target[used], edge[used] = lists.of[append], t, WR
            used += 1
        if seen[i] < 0:
            continue
        at = orders.first[k] + seen[i]
        if at < orders.first[k + 1] and following[at] >= 0:
            if following[at] != t:
                source[used], target[used], edge[used] = t, following[at], RW
                used += 1
            continue
        low, high = tail_first[k], tail_first[k + 1]
        if hubs[k] < 0:
            for j in range(low, high):
                if tails[j] != t:
                    source[used], target[used], edge[used] = t, tails[j], RW
                    used += 1
            continue
        mine = np.searchsorted(tails[low:high], t)
        among = low + mine < high and tails[low + mine] == t
        for how in (RW, WW + KINDS * CONSISTENT_VIEW):
            if how != RW and not among:
                break  # of two that append, who missed the other is first
            after = mine + 1 if among else 0
            if low + after < high:
                source[used], target[used], edge[used] = t, hubs[k] + after, how
                used += 1
            if among and mine > 0:
                source[used], target[used], edge[used] = t, hubs[k] + (high - low) + mine - 1, how
                used += 1
    used = _first_updates(lists, orders, tails, source, target, edge, used, len(did))
    return used, nodes


TAIL_MAX = 4
"""A longer tail gets nodes of its own, lest readers times tails be the number of edges."""


@njit(cache=True, nogil=True)
def room(lists: Lists) -> int:
    """How many edges there may be at most: an append makes two, and four more if it has hubs; a read makes
    one, and up to two to each of a short tail."""
    return (2 + 2 * TAIL_MAX) * len(lists.key)


@njit(cache=True, nogil=True)
def _first_updates(
    lists: Lists,
    orders: Orders,
    tails: NDArray[np.int32],
    source: NDArray[np.int32],
    target: NDArray[np.int32],
    edge: NDArray[np.int8],
    used: int,
    transactions: int,
) -> int:
    """Who missed another's append and is in some tail together with it comes first there: else there is a
    G-single."""
    in_tail = np.zeros(transactions, np.bool_)
    in_tail[tails] = True
    for e in range(used):
        one, other = source[e], target[e]
        if edge[e] != RW or other >= transactions or not in_tail[one] or not in_tail[other]:
            continue
        if _share_tail(lists, orders, one, other):
            source[used], target[used], edge[used] = one, other, WW + KINDS * CONSISTENT_VIEW
            used += 1
    return used


@njit(cache=True, nogil=True)
def _share_tail(lists: Lists, orders: Orders, one: int, other: int) -> bool:
    for i in range(lists.begin[one], lists.begin[one + 1]):
        if lists.reads[i] or orders.position[i] >= 0:
            continue
        for j in range(lists.begin[other], lists.begin[other + 1]):
            if lists.key[i] == lists.key[j] and not lists.reads[j] and orders.position[j] < 0:
                return True
    return False


@njit(cache=True, nogil=True)
def _premise(lists: Lists, t: int) -> int:
    """What an unknown outcome was seen to append it has committed, unless there are dirty reads."""
    return NONE if lists.ok[t] else READ_COMMITTED


@njit(cache=True, nogil=True)
def _tails(
    lists: Lists, orders: Orders, did: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Per key the transactions, in order, that happened and appended what its order lacks."""
    keys = len(orders.longest)
    first = np.zeros(keys + 1, np.int64)
    last = np.full(keys, -1, np.int64)
    for count in (True, False):
        if not count:
            first[1:] = np.cumsum(first[1:])
            tails = np.empty(first[-1], np.int32)
            at = first[:-1].copy()
            last[:] = -1
        for i in range(len(lists.key)):
            k, t = lists.key[i], lists.of[i]
            if lists.reads[i] or orders.position[i] >= 0 or not did[t] or last[k] == t:
                continue
            last[k] = t
            if count:
                first[k + 1] += 1
            else:
                tails[at[k]] = t
                at[k] += 1
    return tails, first


@njit(cache=True, nogil=True)
def _hubs(tail_first: NDArray[np.int64], nodes: int) -> tuple[NDArray[np.int64], int]:
    """Per key with a long tail, of m transactions, the first of 2 m nodes: hub + i leads to tails i, i + 1,
    ...; hub + m + i to tails i, i - 1, .... So a reader in the tail itself can lead to all of it but
    itself."""
    hubs = np.full(len(tail_first) - 1, -1, np.int64)
    for k in range(len(hubs)):
        count = tail_first[k + 1] - tail_first[k]
        if count > TAIL_MAX:
            hubs[k] = nodes
            nodes += 2 * count
    return hubs, nodes


@njit(cache=True, nogil=True)
def _link_hubs(
    hub: int,
    tails: NDArray[np.int32],
    source: NDArray[np.int32],
    target: NDArray[np.int32],
    edge: NDArray[np.int8],
    used: int,
) -> int:
    count = len(tails)
    if hub < 0:
        return used
    for i in range(count):
        for base, step in ((hub, 1), (hub + count, -1)):
            source[used], target[used], edge[used] = base + i, tails[i], LINK
            used += 1
            if 0 <= i + step < count:
                source[used], target[used], edge[used] = base + i, base + i + step, LINK
                used += 1
    return used


@njit(cache=True, nogil=True)
def last_seen(
    lists: Lists,
    orders: Orders,
    view: NDArray[np.int64],
    seen: NDArray[np.int64],
    did: NDArray[np.bool_],
    i: int,
) -> int:
    """The last element in a view that is of a transaction that happened: its append, or -1."""
    k = lists.key[i]
    for at in range(view[i] - 1, -1, -1):
        if seen[i] >= 0:
            append = orders.order[orders.first[k] + at]
        else:
            append = writer(lists.slots, lists.key, lists.value, k, lists.elements[lists.low[i] + at])
        if append >= 0 and did[lists.of[append]]:
            return int(append)
    return -1
