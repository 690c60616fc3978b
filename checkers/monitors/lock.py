"""Linearizability of a lock that knows its holder, with fencing tokens or without, reentrant or not.

Theory
------
A process does one thing at a time, so one knows which release ended which hold: a *hold* lasts at least from
the moment when its acquire finished to the moment when its (last) release began. There is an order if and
only if each process releases only what it holds, and no two holds overlap in what they last at least: then
the holds' order is that of their acquires' finishes, and each lock can be handed over in between. Fencing
tokens must grow in that order.

*Crashed operations* (exact). After a crash a process does nothing more. A crashed acquire is dropped: it
could only keep others out. A crashed release may be the end of its hold, at any time from then on; but not if
the process had acquired the lock once more than that.

Complexity: O(n log n) time (to sort by finish) and O(n) memory for n operations.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from checkers.models import Lock, ModelFailed
from checkers.monitors import Calls, Violation

SOUND, NOT_HELD, HELD_ALREADY = range(3)


def monitor(calls: Calls) -> Violation | None:
    """What is wrong with a lock's history."""
    model = calls.model
    assert isinstance(model, Lock)
    acquires = calls.are("acquire")
    _, process = np.unique(calls.operations.process, return_inverse=True)
    found, at, other, hold_of, holds = held(acquires, process, calls.crashed, model.reentrant)
    if found == NOT_HELD:
        summary = f"{calls.describe(at)}, but it did not hold the lock."
        return calls.violation("Released by another", summary, [at], at)
    if found == HELD_ALREADY:
        summary = f"{calls.describe(at)}, but it held the lock already: {calls.describe(other)}."
        return calls.violation("Acquired twice", summary, [at, other], at)
    begin = calls.finish[holds[:, 0]]
    end = np.where(holds[:, 1] >= 0, calls.start[holds[:, 1]], calls.horizon)
    order = np.argsort(begin, kind="stable")
    overlapping = np.flatnonzero(end[order[:-1]] > begin[order[1:]])
    if len(overlapping):
        return _overlap(calls, *holds[order[overlapping[0] :][:2]].tolist())
    return _fences(calls, holds, hold_of, order) if model.fenced else None


def _overlap(calls: Calls, one: list[int], other: list[int]) -> Violation:
    said = f"{calls.describe(other[0])}, but the lock was held: {calls.describe(one[0])}"
    said += ", and never released" if one[1] < 0 else f", until {calls.describe(one[1])}"
    shown = [at for at in (*one, *other) if at >= 0]
    return calls.violation("Two holders at once", f"{said}.", shown, other[0])


def _fences(
    calls: Calls, holds: NDArray[np.int64], hold_of: NDArray[np.int64], order: NDArray[np.int64]
) -> Violation | None:
    """A token that differs from the other of its hold, or is not greater than that of an earlier one."""
    acquired = np.flatnonzero(hold_of >= 0)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    acquired = acquired[np.argsort(place[hold_of[acquired]], kind="stable")]
    before = -1  # the last one with a token
    newest = None
    for at, token in zip(acquired.tolist(), calls.results(acquired), strict=True):
        if token is None:
            continue
        if type(token) not in (int, float):
            raise ModelFailed(f"a fencing token is a number, not {token!r}"[:200])
        if newest is not None:
            same = hold_of[at] == hold_of[before]
            if same and token != newest:
                summary = f"{calls.describe(at)}, while it held the lock: {calls.describe(before)}."
                return calls.violation("Fencing token changed", summary, [before, at], at)
            if not same and token <= newest:
                summary = f"{calls.describe(at)}, after {calls.describe(before)}: the token did not grow."
                ends = [int(holds[hold_of[one], 1]) for one in (before, at)]
                shown = [before, at, *(one for one in ends if one >= 0)]
                return calls.violation("Fencing token did not grow", summary, shown, at)
        before, newest = at, token
    return None


@njit(cache=True, nogil=True)
def held(
    acquires: NDArray[np.bool_],
    process: NDArray[np.int64],
    crashed: NDArray[np.bool_],
    reentrant: bool,
) -> tuple[int, int, int, NDArray[np.int64], NDArray[np.int64]]:
    """Who held the lock: of each acquire, in which hold it was (-1: in none), and of each hold its first
    acquire and its last release (-1: none). Or, before these, what is wrong, with two operations that show
    it."""
    count = len(acquires)
    processes = process.max() + 1 if count else 0
    depth, current = np.zeros(processes, np.int64), np.full(processes, -1, np.int64)
    hold_of = np.full(count, -1, np.int64)
    holds = np.full((count, 2), -1, np.int64)
    found = 0
    for at in range(count):
        who = process[at]
        if acquires[at] and not crashed[at]:
            if depth[who] == 0:
                current[who] = found
                holds[found, 0] = at
                found += 1
            elif not reentrant:
                return HELD_ALREADY, at, holds[current[who], 0], hold_of, holds
            depth[who] += 1
            hold_of[at] = current[who]
        elif not acquires[at] and depth[who] > 0:
            depth[who] -= 1
            if depth[who] == 0:
                holds[current[who], 1] = at
        elif not acquires[at] and not crashed[at]:
            return NOT_HELD, at, -1, hold_of, holds
    return SOUND, -1, -1, hold_of, holds[:found]
