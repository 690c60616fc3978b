"""Linearizability of registers whose versions are known, in the time that sorting takes.

Where each read tells which version it saw and each write which one it made (`history.Op.version`), the order
of the writes is given. What is judged is then the register with its versions: a write makes a greater version
than any before it, and a read shows version and value of the last write.

Theory
------
Put the operations in the order of their versions, the write of a version before its reads. That order is the
only one, but for reads of one version, which are free. So the history is linearizable iff
- no two writes make one version, all who tell of a version tell the same value, and a cas expects the value
  of the version before its own;
- no operation finishes before one of an earlier version starts, nor a read before the write of its version;
- each version that was seen but that no completed write made, can be given a crashed write of that value
  which starts before any operation of that or a later version finishes. The writes of one value are given out
  by their starts to the versions in order: the limits only grow, so if any assignment is right, this one is.
  The same goes for a value that a cas expects but that no version before it shows.
Source: Gibbons & Korach 1997, theorem 4.13 (the order of writes is known); crashed writes as argued.

Not decided here, but by the search: keys with operations that tell no version, with failed cas that count,
and with crashed cas that make a value for which a crashed write is sought.

Complexity: O(n log n).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from checkers._registers import CAS, READ, WRITE, Registers
from harness.history import History

IN_ORDER, TWO_WRITES, TWO_VALUES, NO_WRITE, BACKWARD, NOT_EXPECTED, UNDECIDED = range(7)
"""What is found of a key, with the operations that show it:
TWO_WRITES: [write, write] of one version;
TWO_VALUES: [one, other] that tell two values of one version;
NO_WRITE: [observer] of a version that no write can have made;
BACKWARD: [finished, started]: the first finished before the second started, but is of a later version;
NOT_EXPECTED: [cas, before]: the version before the cas's own has another value than it expects."""

Bytes = NDArray[np.int8]
Shorts = NDArray[np.int32]
Ints = NDArray[np.int64]


def versions_of(history: History, columns: Registers) -> tuple[Bytes, Shorts] | None:
    """What is found of each key, and up to two operations that show it (-1: none); None if no versions are
    told."""
    if not (history.version >= 0).any():
        return None
    complete = history.operations.complete[columns.row]
    version = np.where(columns.finish < columns.horizon, history.version[complete], -1)
    # Who sees the initial value need not say that its version is 0.
    version[(columns.observed == columns.key) & (columns.kind == READ) & (version < 0)] = 0
    order = np.lexsort((columns.kind == READ, version, columns.key))
    found: tuple[Bytes, Shorts] = _versions(
        columns.kind, columns.key, columns.observed, columns.written, columns.start, columns.finish, version,
        order, columns.keys, columns.values, columns.horizon,
    )  # fmt: skip
    return found


@njit(cache=True, nogil=True)
def _versions(
    kind: Bytes,
    key: Shorts,
    observed: Ints,
    written: Ints,
    start: Ints,
    finish: Ints,
    version: Ints,
    order: Ints,
    keys: int,
    values: int,
    horizon: int,
) -> tuple[Bytes, Shorts]:
    """See `versions_of`. Columns as in `Registers`; `order`: key by key; a version's write before its reads;
    crashed operations, which have no version (-1), first."""
    found = np.zeros(keys, np.int8)
    shown = np.full((keys, 2), -1, np.int32)
    limit = np.empty(len(order) + 1, np.int64)  # the first finish from here to the end of the key
    limit[len(order)] = horizon
    for i in range(len(order) - 1, -1, -1):
        last = i + 1 == len(order) or key[order[i + 1]] != key[order[i]]
        limit[i] = min(finish[order[i]], horizon if last else limit[i + 1])
    unused = np.full(values, -1, np.int32)  # the first crashed write of a value that is not given out yet
    later = np.full(len(kind), -1, np.int32)  # and the next one
    by_cas = np.zeros(values, np.bool_)
    for i in range(len(order) - 1, -1, -1):
        op = order[i]
        if finish[op] < horizon or kind[op] == READ:
            continue
        if kind[op] == CAS:
            by_cas[written[op]] = True
        elif kind[op] == WRITE:
            later[op] = unused[written[op]]
            unused[written[op]] = op
    first = 0
    while first < len(order):
        k = key[order[first]]
        end = first
        while end < len(order) and key[order[end]] == k:
            end += 1
        found[k], shown[k, 0], shown[k, 1] = _one_key(
            kind, observed, written, start, finish, version, order[first:end], limit[first:end], k, unused,
            later, by_cas, horizon,
        )  # fmt: skip
        first = end
    return found, shown


@njit(cache=True, nogil=True)
def _one_key(
    kind: Bytes,
    observed: Ints,
    written: Ints,
    start: Ints,
    finish: Ints,
    version: Ints,
    order: Ints,
    limit: Ints,
    initial: int,
    unused: Shorts,
    later: Shorts,
    by_cas: NDArray[np.bool_],
    horizon: int,
) -> tuple[int, int, int]:
    at = 0
    while at < len(order) and version[order[at]] < 0:
        if finish[order[at]] < horizon:
            return UNDECIDED, -1, -1
        at += 1
    holds, before, shows = initial, 0, -1  # the value, the version that made it, and an operation that tells
    latest = -1  # the operation of all versions so far that starts last
    while at < len(order):
        one = order[at]
        made = version[one]
        writes = kind[one] != READ
        if kind[one] > CAS or (writes and made == 0):
            return UNDECIDED, -1, -1
        sought = -1  # a value that a crashed write must have made
        if writes:
            value = written[one]
            if kind[one] == CAS and observed[one] != holds:
                if made < before + 2:
                    return NOT_EXPECTED, one, shows
                sought = observed[one]
        elif made == 0:
            value = np.int64(initial)
        else:
            value = sought = observed[one]
        if sought >= 0:
            if by_cas[sought]:
                return UNDECIDED, -1, -1
            crashed = unused[sought]
            if crashed < 0 or start[crashed] > limit[at]:
                return (NOT_EXPECTED, one, shows) if writes else (NO_WRITE, one, -1)
            unused[sought] = later[crashed]
        if writes:
            if latest >= 0 and finish[one] < start[latest]:
                return BACKWARD, one, latest
            if latest < 0 or start[one] > start[latest]:
                latest = one
            at += 1
        # The version's reads: none before its write, and all of one value.
        last = latest
        while at < len(order) and version[order[at]] == made:
            op = order[at]
            if kind[op] != READ:
                return (TWO_WRITES if kind[op] in (WRITE, CAS) else UNDECIDED), one, op
            if observed[op] != value:
                return (NO_WRITE, op, -1) if made == 0 else (TWO_VALUES, one, op)
            if latest >= 0 and finish[op] < start[latest]:
                return BACKWARD, op, latest
            if last < 0 or start[op] > start[last]:
                last = op
            at += 1
        latest = last
        holds, before, shows = value, made, one
    return IN_ORDER, -1, -1
