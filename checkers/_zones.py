"""Linearizability of registers with unique written values, in linear time: zones.

Source: P. Gibbons, E. Korach, "Testing Shared Memories", SIAM J. Computing 26(4), 1997, section 4 (reads and
writes, read mapping known). The extension to compare-and-set and the crash reduction are argued here.

Theory
------
Let every value be written at most once. Then one knows for each read which write it read from;
a write with its reads is a *cluster*, and in any linearization of a register a cluster's operations stand
together, the write first. A successful cas reads one cluster's value and writes the next one's: it ties the
two clusters together, with nothing between. Clusters tied by cas are a *block*: a plain write (or the initial
value), its reads, a cas, its reads, and so on. A history of reads and writes alone has blocks of one cluster.

*Inside a block* the order is given but for reads of the same value, which are free. It agrees with real time
iff no operation finishes before one of an earlier step starts.

*Between blocks*, A must come before B iff some operation of A finishes before some operation of B starts,
that is iff f(A) < s(B), with f the least finish and s the greatest start in a block. Two blocks that must
each come before the other conflict. If no two conflict, there is no longer cycle either: let A have the least
f on a shortest cycle, P before it and Q before P; f(A) <= f(P) < s(A), and f(A) <= f(Q) < s(P), so A must
come before P, as P before A. Hence the blocks can be put in order, and the history is linearizable, iff every
block is sound inside and no two conflict.

A block's *zone* is the interval between f and s: forward if f < s, else backward. Two blocks conflict iff
both zones are forward and overlap, or one is backward and lies inside the other, forward one (Gibbons &
Korach). The initial value's block begins with a write that finishes before everything.

*Crashed operations* (Rule: exact for unique values). A crashed write or cas whose new value nobody observes
is dropped: taking effect, it would be seen by nobody, and what came before it would have stayed in place just
as well. One whose value is observed took effect before its first observer finished, and finishes there. A
crashed cas that is itself kept observes, so the rule is applied along chains of them.

Complexity: O(n) time and memory for n operations on any number of keys: one hash table, and one sweep over
the events instead of a sort, since all ends of zones are events.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from checkers._registers import CAS, FAILED_CAS, READ, WRITE, Registers
from harness.history import FAIL, NOTHING, OK, OTHER, PAIR, PLAIN

SOUND, PHANTOM, TWO_SUCCESSORS, CYCLE, ORDER, CONFLICT = range(6)
"""What is found of a key, with the operations that show it (see `zones_of`):
PHANTOM: [an observer] of a value that nobody wrote;
TWO_SUCCESSORS: [cas, cas] that both replaced the one value;
CYCLE: [cas]: each value of the chain was made from a later one;
ORDER: [finished, started]: the first finished before the second started, but comes after it;
CONFLICT: [f(A), s(A), f(B), s(B)]: operations of two blocks, each of which must come before the other."""

FINE, NO_PAIR, OTHER_VALUE = range(3)
"""What `select` says: a cas without two values; values that are no integers."""

Bytes = NDArray[np.int8]
Shorts = NDArray[np.int32]
Ints = NDArray[np.int64]


@njit(cache=True, nogil=True)
def intern(key: NDArray[np.int32], value: NDArray[np.int64]) -> NDArray[np.int64]:
    """Dense ids of (key, value) pairs in order of first appearance."""
    capacity = 16
    while capacity < 2 * len(key):
        capacity *= 2
    slots = np.full(capacity, -1, np.int64)  # id
    first = np.empty(len(key), np.int64)  # position of an id's first pair
    ids = np.empty(len(key), np.int64)
    count = 0
    for i in range(len(key)):
        mixed = np.uint64(value[i]) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key[i])
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        slot = np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(capacity - 1))
        while slots[slot] >= 0:
            other = first[slots[slot]]
            if value[other] == value[i] and key[other] == key[i]:
                break
            slot = (slot + 1) & (capacity - 1)
        if slots[slot] < 0:
            slots[slot] = count
            first[count] = i
            count += 1
        ids[i] = slots[slot]
    return ids


@njit(cache=True, nogil=True)
def select(
    kind_of_f: Bytes,
    f: Shorts,
    outcome: Bytes,
    key: Shorts,
    invoke: Ints,
    complete: Ints,
    value_kind: Bytes,
    first: Ints,
    second: Ints,
    keys: int,
    failed_cas: bool,
) -> tuple[int, Ints, Bytes, Shorts, Ints, Ints, Ints, Ints, int]:
    """The columns of `Registers` up to `finish`, and the number of values; before them, what is wrong with
    the last operation of `row`, if anything. Values as in `history.Values`."""
    count = len(f)
    row, key_of = np.empty(count, np.int64), np.empty(count, np.int32)
    kind = np.empty(count, np.int8)
    observed, written = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
    start, finish = np.empty(count, np.int64), np.empty(count, np.int64)
    capacity = 16
    while capacity < 3 * count:
        capacity *= 2
    slots = np.full(capacity, -1, np.int32)  # id
    value_of = np.empty(2 * count + keys, np.int64)
    in_key = np.empty(2 * count + keys, np.int32)
    total, size, trouble = keys, 0, FINE
    for i in range(count):
        what = kind_of_f[f[i]]
        if outcome[i] == FAIL and what == CAS and failed_cas:
            what = FAILED_CAS
        elif outcome[i] == FAIL or (what == READ and outcome[i] != OK):
            continue
        # A read's value is in its completion, a write's in its invocation: completions may repeat it, but
        # need not.
        event = complete[i] if what == READ else invoke[i]
        row[size], kind[size], key_of[size] = i, what, key[i]
        start[size] = invoke[i]
        finish[size] = complete[i] if outcome[i] == OK or outcome[i] == FAIL else len(first)
        size += 1
        if value_kind[event] != (PAIR if what >= CAS else PLAIN):
            trouble = OTHER_VALUE if what < CAS or value_kind[event] == OTHER else NO_PAIR
            break
        for half in range(2 if what == CAS else 1):
            value = second[event] if half else first[event]
            id_ = key[i]
            if value != NOTHING:
                # Neighbours stay neighbours: values mostly count upwards, and memory is read in order.
                mixed = np.uint64(value) + (np.uint64(value) >> np.uint64(14)) * np.uint64(0x9E3779B97F4A7C15)
                mixed += np.uint64(key[i]) * np.uint64(0xBF58476D1CE4E5B9)
                slot = np.int64(mixed & np.uint64(capacity - 1))
                while slots[slot] >= 0 and (value_of[slots[slot]] != value or in_key[slots[slot]] != key[i]):
                    slot = (slot + 1) & (capacity - 1)
                if slots[slot] < 0:
                    slots[slot] = total
                    value_of[total], in_key[total] = value, key[i]
                    total += 1
                id_ = slots[slot]
            if half or what == WRITE:
                written[size - 1] = id_
            else:
                observed[size - 1] = id_
    return (
        trouble, row[:size], kind[:size], key_of[:size], observed[:size], written[:size], start[:size],
        finish[:size], total,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def restrict(
    kind: Bytes, key: Shorts, observed: Ints, written: Ints, keys: int, values: int
) -> tuple[NDArray[np.bool_], Bytes, Ints, Ints]:
    """Keys of which zones tell only a part; and the operations (a copy, if there are such keys) without what
    zones do not apply to: values written more than once, and failed cas. (-1, -1): nothing is left of it."""
    writers = np.zeros(values, np.int32)
    writers[:keys] = 1  # the initial values were there
    for i in range(len(kind)):
        if written[i] >= 0:
            # A cas of a value to itself makes it once more.
            writers[written[i]] += 1 if observed[i] != written[i] else 2
    part = np.zeros(keys, np.bool_)
    for i in range(len(kind)):
        saw, left = observed[i], written[i]
        several = (saw >= 0 and writers[saw] > 1) or (left >= 0 and writers[left] > 1)
        if several or kind[i] == FAILED_CAS:
            part[key[i]] = True
    if not part.any():
        return part, kind, observed, written
    kind, observed, written = kind.copy(), observed.copy(), written.copy()
    for i in range(len(kind)):
        if kind[i] == FAILED_CAS:
            observed[i] = -1
        if observed[i] >= 0 and writers[observed[i]] > 1:
            observed[i] = -1
            kind[i] = WRITE
        if written[i] >= 0 and writers[written[i]] > 1:
            written[i] = -1
            kind[i] = READ
    return part, kind, observed, written


def zones_of(columns: Registers) -> tuple[Bytes, Shorts, Ints]:
    """What is found of each key (SOUND to CONFLICT); up to four operations that show it (-1: none, or, in
    f(A) of a CONFLICT, the initial value); and each operation's finish after the crash reduction (`horizon`:
    it is dropped). Each value must be written at most once: see `restrict`."""
    found: tuple[Bytes, Shorts, Ints] = _zones(
        columns.kind, columns.key, columns.observed, columns.written, columns.start, columns.finish,
        columns.keys, columns.values, columns.horizon,
    )  # fmt: skip
    return found


@njit(cache=True, nogil=True)
def _zones(
    kind: Bytes,
    key: Shorts,
    observed: Ints,
    written: Ints,
    start: Ints,
    finish: Ints,
    keys: int,
    values: int,
    horizon: int,
) -> tuple[Bytes, Shorts, Ints]:
    """See `zones_of`. Columns as in `Registers`."""
    found = np.zeros(keys, np.int8)
    shown = np.full((keys, 4), -1, np.int32)
    count = len(kind)

    writer = np.full(values, -1, np.int32)
    for i in range(count):
        if written[i] >= 0:
            writer[written[i]] = i

    # The crash reduction: ends[i] is where operation i finishes, horizon if it is dropped.
    ends = finish.copy()
    deadline = np.full(values, horizon, np.int32)  # the first finish of an observer
    for i in range(count):
        if observed[i] >= 0:
            deadline[observed[i]] = min(deadline[observed[i]], finish[i])
    for i in range(count):
        j = i
        while j >= 0 and finish[j] == horizon and written[j] >= 0 and deadline[written[j]] < ends[j]:
            ends[j] = deadline[written[j]]
            if kind[j] != CAS or deadline[observed[j]] <= ends[j]:
                break
            deadline[observed[j]] = ends[j]
            j = writer[observed[j]]

    # Clusters: the earliest finish and latest start of each value's reads, and the cas that replaced it.
    early = np.full(values, -1, np.int32)
    late = np.full(values, -1, np.int32)
    successor = np.full(values, -1, np.int32)
    for i in range(count):
        k, value = key[i], observed[i]
        if found[k] != SOUND or value < 0 or ends[i] == horizon:
            continue
        if value >= keys and writer[value] < 0:
            found[k] = PHANTOM
            shown[k, 0] = i
        elif kind[i] == CAS:
            if successor[value] >= 0:
                found[k] = TWO_SUCCESSORS
                shown[k, 0], shown[k, 1] = successor[value], i
            successor[value] = i
        else:
            if early[value] < 0 or ends[i] < ends[early[value]]:
                early[value] = i
            if late[value] < 0 or start[i] > start[late[value]]:
                late[value] = i

    # Blocks: from each root along the successors. zone_at[event] is the block whose zone begins there.
    in_block = np.zeros(values, np.bool_)
    first_finish = np.full(values, -1, np.int32)  # by root: the operation with f, and the one with s
    last_start = np.full(values, -1, np.int32)
    zone_at = np.full(horizon, -1, np.int32)
    reach = np.full(keys, -1, np.int32)  # the end of the key's last forward zone, and its block
    reaching = np.full(keys, -1, np.int32)
    for root in range(values):
        writes = writer[root]
        if root >= keys and (writes < 0 or kind[writes] == CAS or ends[writes] == horizon):
            continue
        k = root if root < keys else key[writes]
        if found[k] != SOUND:
            continue
        low, low_at = (-1, -1) if root < keys else (ends[writes], writes)
        high, high_at = (-1, -1) if root < keys else (start[writes], writes)
        value = root
        while True:
            in_block[value] = True
            if early[value] >= 0:
                if ends[early[value]] < high:
                    found[k] = ORDER
                    shown[k, 0], shown[k, 1] = early[value], high_at
                    break
                if ends[early[value]] < low:
                    low, low_at = ends[early[value]], early[value]
                if start[late[value]] > high:
                    high, high_at = start[late[value]], late[value]
            cas = successor[value]
            if cas < 0:
                break
            if ends[cas] < high:
                found[k] = ORDER
                shown[k, 0], shown[k, 1] = cas, high_at
                break
            if ends[cas] < low:
                low, low_at = ends[cas], cas
            if start[cas] > high:
                high, high_at = start[cas], cas
            value = written[cas]
            if in_block[value]:
                break
        first_finish[root], last_start[root] = low_at, high_at
        if low >= 0:
            zone_at[min(low, high)] = root
        elif high >= 0:
            reach[k], reaching[k] = high, root
    for i in range(count):
        if found[key[i]] == SOUND and written[i] >= 0 and ends[i] < horizon and not in_block[written[i]]:
            found[key[i]] = CYCLE
            shown[key[i], 0] = i

    # The sweep.
    for event in range(horizon):
        root = zone_at[event]
        if root < 0:
            continue
        k = root if root < keys else key[writer[root]]
        if found[k] != SOUND:
            continue
        low, high = ends[first_finish[root]], start[last_start[root]]
        if low < reach[k]:
            other = reaching[k]
            found[k] = CONFLICT
            shown[k, 0], shown[k, 1] = first_finish[other], last_start[other]
            shown[k, 2], shown[k, 3] = first_finish[root], last_start[root]
        elif low < high:
            reach[k], reaching[k] = high, root
    return found, shown, ends
