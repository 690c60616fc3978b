"""What the search is given: a problem as the kernel wants it, made smaller by exact simplifications.

Of a register
-------------
1. A crashed operation whose new value nobody observes is left out: taking effect, it would be seen by nobody.
   (Not if a failed cas counts, which observes that the old value is gone.)
2. The writer of a value that is written once finishes when the first who observes it does: it took effect
   before. If it had crashed, it has happened.
3. Values that nobody observes are one value.
4. What is known of a value that is written once: see `_configurations`.

Complexity: O(n).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from checkers._configurations import (
    BEGIN,
    BITS,
    CAS,
    CLASS,
    CRASHED_FIELDS,
    FAILED_CAS,
    FIRST,
    KIND,
    LAST_BEGIN,
    LAST_USE,
    OBSERVED,
    OP_FIELDS,
    RANK,
    READ,
    SHIFT,
    SIZE,
    SLOT,
    SUCCESSOR,
    TABLE,
    TABLE_READ_ONLY,
    VALUE_FIELDS,
    WORD,
    WRITE,
    WRITTEN,
    Ints,
    Shorts,
)


@njit(cache=True, nogil=True)
def simplify(
    kind: NDArray[np.int8],
    observed: Ints,
    written: Ints,
    start: Ints,
    finish: Ints,
    horizon: int,
    initial: int,
    values: int,
) -> tuple[NDArray[np.bool_], Ints, Ints, Ints, NDArray[np.bool_]]:
    """Which operations are kept; the values that they write now (`values`: one that nobody observes); when
    they finish, and how many of those that finish at the same moment come after each; and which values are
    written only once (the initial one at the start)."""
    count = len(kind)
    keep = np.zeros(count, np.bool_)
    wanted = np.zeros(values + 1, np.bool_)
    counts_failed = False
    for i in range(count):
        if finish[i] < horizon:
            keep[i] = True
            if kind[i] != WRITE:
                wanted[observed[i]] = True
            counts_failed = counts_failed or kind[i] == FAILED_CAS
    _keep_crashed(kind, observed, written, finish, horizon, counts_failed, keep, wanted)

    writers = np.zeros(values + 1, np.int64)
    writers[initial] = 1
    writer = np.full(values + 1, -1, np.int64)
    for i in range(count):
        if keep[i] and written[i] >= 0:
            writers[written[i]] += 1
            writer[written[i]] = i
    once = writers == 1
    for value in range(values + 1):
        if not once[value]:
            writer[value] = -1
    ends, after = _bring_forward(kind, observed, written, start, finish, keep, writer, horizon)

    new = np.full(count, -1, np.int64)
    for i in range(count):
        if keep[i] and written[i] >= 0:
            new[i] = written[i] if wanted[written[i]] else values
    return keep, new, ends, after, once


@njit(cache=True, nogil=True)
def _keep_crashed(
    kind: NDArray[np.int8],
    observed: Ints,
    written: Ints,
    finish: Ints,
    horizon: int,
    all_: bool,
    keep: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
) -> None:
    """Keep the crashed operations that make a value that is wanted, and what those want in turn."""
    latest = np.full(len(wanted), -1, np.int64)  # by value: crashed operations that make it, as a list
    older = np.full(len(kind), -1, np.int64)
    for i in range(len(kind)):
        if finish[i] >= horizon and written[i] >= 0:
            older[i] = latest[written[i]]
            latest[written[i]] = i
    queue = np.empty(len(wanted), np.int64)
    queued = 0
    for value in range(len(wanted)):
        if wanted[value] or (all_ and latest[value] >= 0):
            queue[queued] = value
            queued += 1
    seen = wanted.copy()
    for place in range(queued):
        seen[queue[place]] = True
    at = 0
    while at < queued:
        i = latest[queue[at]]
        at += 1
        while i >= 0:
            keep[i] = True
            if kind[i] == CAS:
                wanted[observed[i]] = True
                if not seen[observed[i]]:
                    seen[observed[i]] = True
                    queue[queued] = observed[i]
                    queued += 1
            i = older[i]


@njit(cache=True, nogil=True)
def _bring_forward(
    kind: NDArray[np.int8],
    observed: Ints,
    written: Ints,
    start: Ints,
    finish: Ints,
    keep: NDArray[np.bool_],
    writer: Ints,
    horizon: int,
) -> tuple[Ints, Ints]:
    """When each operation finishes, by rule 2, and how many that finish at the same moment come after it."""
    ends = finish.copy()
    after = np.zeros(len(kind), np.int64)
    first = np.full(len(writer), -1, np.int64)  # by value: the first to finish of those who observe it
    for i in range(len(kind)):
        if keep[i] and finish[i] < horizon and kind[i] in (READ, CAS):
            value = observed[i]
            if first[value] < 0 or ends[i] < ends[first[value]]:
                first[value] = i
    for i in range(len(kind)):
        j = i
        while keep[j] and written[j] >= 0 and writer[written[j]] == j and first[written[j]] >= 0:
            observer = first[written[j]]
            if ends[observer] >= ends[j] or ends[observer] < start[j]:
                break  # it finishes first anyway; or was observed before it began: the search will find it
            ends[j], after[j] = ends[observer], after[observer] + 1
            if kind[j] != CAS:
                break
            value = observed[j]
            if first[value] < 0 or ends[j] < ends[first[value]]:
                first[value] = j
            if writer[value] < 0:
                break
            j = writer[value]
    return ends, after


# --- The plan ------------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """A problem as the kernel of the search wants it: see `_configurations`."""

    position: Ints
    """Of each row of `ops` in the problem; `returns` to `begun` speak of rows."""
    ops: Shorts
    returns: Shorts
    begins: Shorts
    """In the order of their beginnings."""
    begun: Shorts
    """By frontier: how many of `begins` are open, or were."""
    crashed: Shorts
    begins_crashed: Shorts
    makers: Shorts
    """Classes of crashed operations by the value that they make: makers[makers_from[v]:makers_from[v+1]]."""
    makers_from: Shorts
    values: Shorts
    guards: NDArray[np.uint64]
    slots: int
    classes: int


@njit(cache=True, nogil=True)
def plan_of(
    kind: NDArray[np.int8],
    observed: Ints,
    written: Ints,
    start: Ints,
    finish: Ints,
    horizon: int,
    initial: int,
    values: int,
) -> Plan:
    """`values`: the number of values of a register, or of classes of TABLE operations."""
    count = len(kind)
    register = count == 0 or kind[0] < TABLE
    once = np.zeros(0, np.bool_)
    after = np.zeros(count, np.int64)
    classes, class_count = observed, values
    if register:
        keep, written, finish, after, once = simplify(
            kind, observed, written, start, finish, horizon, initial, values
        )
        classes, class_count = _classes_of(kind, observed, written)
        values += 1
    else:
        keep = (kind != TABLE_READ_ONLY) | (finish < horizon)
        values = 0
    position = np.flatnonzero(keep & (finish < horizon))
    # The writers of what an operation saw, which finish with it, come before it.
    returns = np.argsort(finish[position] * (after.max() + 1 if count else 1) - after[position])
    ends = finish[position][returns]
    ops = np.empty((len(position), OP_FIELDS), np.int32)
    for place in range(len(returns)):
        ops[returns[place], RANK] = place
    begin = np.searchsorted(ends, start[position])
    for i in range(len(position)):
        at = position[i]
        ops[i, KIND], ops[i, OBSERVED], ops[i, WRITTEN] = kind[at], observed[at], written[at]
        ops[i, CLASS], ops[i, BEGIN] = classes[at], begin[i]
    slots = _fill_slots(ops, returns)
    table = np.full((values, VALUE_FIELDS), -1, np.int32)
    lost = np.flatnonzero(keep & (finish >= horizon))
    begin_lost = np.searchsorted(ends, start[lost])
    lost, begin_lost = lost[begin_lost < len(position)], begin_lost[begin_lost < len(position)]
    by_class = np.argsort(classes[lost], kind="mergesort")
    lost, begin_lost = lost[by_class], begin_lost[by_class]
    crashed = np.empty((len(lost), CRASHED_FIELDS), np.int32)
    used = 0
    for i in range(len(lost)):
        at = lost[i]
        if i == 0 or classes[at] != classes[lost[i - 1]]:
            crashed[used, KIND], crashed[used, OBSERVED], crashed[used, WRITTEN] = (
                kind[at],
                observed[at],
                written[at],
            )
            crashed[used, CLASS], crashed[used, FIRST], crashed[used, SIZE] = classes[at], i, 0
            used += 1
        crashed[used - 1, SIZE] += 1
    crashed = crashed[:used].copy()
    if register:
        _fill_values(ops, once, table)
        _fill_last_use(ops, crashed, values)
    makers = np.argsort(crashed[:, WRITTEN], kind="mergesort")
    return Plan(
        position,
        ops,
        returns.astype(np.int32),
        np.arange(len(position)).astype(np.int32),
        np.searchsorted(begin, np.arange(len(position)), side="right").astype(np.int32),
        crashed,
        begin_lost.astype(np.int32),
        makers.astype(np.int32),
        np.searchsorted(crashed[makers, WRITTEN], np.arange(values + 1)).astype(np.int32),
        table,
        _fields(crashed),
        slots,
        class_count,
    )


@njit(cache=True, nogil=True)
def _fill_values(ops: Shorts, once: NDArray[np.bool_], table: Shorts) -> None:
    """What is known of values that are written once: see `_configurations`."""
    for i in range(len(ops)):
        kind, value = ops[i, KIND], ops[i, OBSERVED]
        if kind in (READ, CAS) and once[value]:
            table[value, LAST_BEGIN] = max(table[value, LAST_BEGIN], ops[i, BEGIN])
            if kind == CAS:
                table[value, SUCCESSOR] = i


@njit(cache=True, nogil=True)
def _fill_last_use(ops: Shorts, crashed: Shorts, values: int) -> None:
    """When each write is observed for the last time, if at all. It cannot be by who begins after another
    write that began after it had completed was itself over."""
    count = len(ops)
    over = np.full(count + 2, count, np.int64)  # by frontier: the first completion of writes from there on
    for i in range(count):
        if ops[i, WRITTEN] >= 0:
            over[ops[i, BEGIN]] = min(over[ops[i, BEGIN]], ops[i, RANK])
    for frontier in range(count, -1, -1):
        over[frontier] = min(over[frontier], over[frontier + 1])
    expected = np.zeros(values, np.bool_)  # by a crashed cas
    for i in range(len(crashed)):
        if crashed[i, KIND] == CAS:
            expected[crashed[i, OBSERVED]] = True
    # Those who observe, value by value (behind the last: failed cas, which observe any write), in the order
    # of their beginnings; and the last completion up to each.
    key = np.full(count, values + 1, np.int64)
    for i in range(count):
        if ops[i, KIND] in (READ, CAS):
            key[i] = ops[i, OBSERVED]
        elif ops[i, KIND] == FAILED_CAS:
            key[i] = values
    order = np.argsort(key, kind="mergesort")
    first = np.searchsorted(key[order], np.arange(values + 2))
    last = np.empty(count, np.int64)
    for place in range(count):
        i = order[place]
        last[place] = ops[i, RANK]
        if place and key[order[place - 1]] == key[i]:
            last[place] = max(last[place], last[place - 1])
    for i in range(count):
        if ops[i, KIND] != WRITE:
            continue
        until, value = over[ops[i, RANK] + 1], np.int64(ops[i, WRITTEN])
        ops[i, LAST_USE] = until if expected[value] else -1
        for observers in (value, values):
            low, high = first[observers], first[observers + 1]
            while low < high:  # the first that begins later
                middle = (low + high) // 2
                if ops[order[middle], BEGIN] <= until:
                    low = middle + 1
                else:
                    high = middle
            if low > first[observers]:
                ops[i, LAST_USE] = max(ops[i, LAST_USE], last[low - 1])


@njit(cache=True, nogil=True)
def _fill_slots(ops: Shorts, returns: Ints) -> int:
    """Give each operation a slot from the frontier where it begins to its completion. Returns how many there
    are."""
    free = np.empty(len(ops), np.int32)
    freed = used = passed = 0
    for i in range(len(ops)):
        while passed < ops[i, BEGIN]:
            free[freed] = ops[returns[passed], SLOT]
            freed += 1
            passed += 1
        if freed:
            freed -= 1
            ops[i, SLOT] = free[freed]
        else:
            ops[i, SLOT] = used
            used += 1
    return used


@njit(cache=True, nogil=True)
def _fields(crashed: Shorts) -> NDArray[np.uint64]:
    """Give each class of crashed operations a field of bits for its number. Returns the spare bits."""
    guards = np.zeros(len(crashed), np.uint64)
    word, used = -1, 64
    for i in range(len(crashed)):
        bits = 1
        while crashed[i, SIZE] >> bits:
            bits += 1
        if used + bits + 1 > 64:
            word, used = word + 1, 0
        crashed[i, WORD], crashed[i, SHIFT], crashed[i, BITS] = word, used, bits
        used += bits + 1
        guards[word] |= np.uint64(1) << np.uint64(used - 1)
    return guards[: word + 1].copy()


@njit(cache=True, nogil=True)
def _classes_of(kind: NDArray[np.int8], observed: Ints, written: Ints) -> tuple[Ints, int]:
    """Dense ids of equal (kind, observed, written), and their number."""
    capacity = 16
    while capacity < 2 * len(kind):
        capacity *= 2
    slots = np.full(capacity, -1, np.int64)  # the first of a class
    classes = np.empty(len(kind), np.int64)
    count = 0
    for i in range(len(kind)):
        mixed = np.uint64(observed[i]) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(written[i])
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) + np.uint64(kind[i])
        place = np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(capacity - 1))
        while slots[place] >= 0:
            other = slots[place]
            if kind[other] == kind[i] and observed[other] == observed[i] and written[other] == written[i]:
                break
            place = (place + 1) & (capacity - 1)
        if slots[place] < 0:
            slots[place] = i
            classes[i] = count
            count += 1
        else:
            classes[i] = classes[slots[place]]
    return classes, count
