"""Objects that go up and down by ones within bounds: locks, semaphores, the presence of an element in a set.

Theory
------
All *ups* of an object are alike, and so are all *downs*; the count stays within 0 and its capacity. Go
through the events in their order and do nothing before one must: at the completion of an operation that has
not taken effect yet. If the count does not allow it there and then, one of the open opposite ones goes first:
the one that completes first; those that crashed, which never must, last. If there is none, the history has no
order.

That is exact. Let some order begin as ours did, up to a completion at which ours lets x take effect, be it
the one that must or its helper. All that the other order has between there and that completion is open then,
so it can be put into that one moment. There it begins with an operation of x's kind too, since the count
allows no other, or else has x, which must, with nothing between that could not be moved behind it; exchange
the two: the kinds stay in their order, and where x was, later, the other still is open, for it completes no
earlier.

*Watchers* (of objects of capacity 1) need a moment at which the object was up, or down. One that has not
had one at its completion makes the object change, in the same way.

Complexity: O(n) time for n operations, and O(operations open at once) for each helper.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

UP, DOWN, SEES_UP, SEES_DOWN = range(4)
"""Kinds of operations."""


@njit(cache=True, nogil=True)
def first_stuck(
    kind: NDArray[np.int8],
    owner: NDArray[np.int64],
    start: NDArray[np.int64],
    finish: NDArray[np.int64],
    objects: int,
    capacity: int,
    horizon: int,
) -> int:
    """The first operation to complete that cannot have taken effect, or -1. `owner`: the object of each."""
    count = len(kind)
    starting, finishing = np.full(horizon, -1, np.int64), np.full(horizon, -1, np.int64)
    for op in range(count):
        starting[start[op]] = op
        if finish[op] < horizon:
            finishing[finish[op]] = op
    held = np.zeros(objects, np.int64)
    left = np.full((2, objects), -1, np.int64)  # when the count last left its upper, its lower bound
    spare = np.zeros((2, objects), np.int64)  # ups and downs that crashed, and may yet happen
    first_open = np.full((2, objects), -1, np.int64)  # lists of those that are open and have not happened
    following, preceding = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
    done = np.zeros(count, np.bool_)
    for event in range(horizon):
        op = starting[event]
        if op >= 0 and kind[op] <= DOWN:
            side, one = kind[op], owner[op]
            if finish[op] == horizon:
                spare[side, one] += 1
            else:
                other = first_open[side, one]
                following[op] = other
                if other >= 0:
                    preceding[other] = op
                first_open[side, one] = op
        op = finishing[event]
        if op < 0 or done[op]:
            continue
        side, one = kind[op], owner[op]
        # What must happen first, if anything: an up, a down.
        helper = -1
        if held[one] == 0 and (side == DOWN or (side == SEES_UP and left[0, one] < start[op])):
            helper = UP
        elif held[one] == capacity and (side == UP or (side == SEES_DOWN and left[1, one] < start[op])):
            helper = DOWN
        if helper >= 0:
            chosen, at = -1, first_open[helper, one]
            while at >= 0:
                if chosen < 0 or finish[at] < finish[chosen]:
                    chosen = at
                at = following[at]
            if chosen < 0 and spare[helper, one] == 0:
                return int(op)
            if chosen < 0:
                spare[helper, one] -= 1
            else:
                _close(chosen, first_open[helper], one, following, preceding)
                done[chosen] = True
            _move(helper, one, held, left, capacity, event)
        if side <= DOWN:
            _close(op, first_open[side], one, following, preceding)
            _move(side, one, held, left, capacity, event)
        done[op] = True
    return -1


@njit(cache=True, nogil=True)
def _move(
    side: int, one: int, held: NDArray[np.int64], left: NDArray[np.int64], capacity: int, event: int
) -> None:
    if side == UP:
        if held[one] == 0:
            left[1, one] = event
        held[one] += 1
    else:
        if held[one] == capacity:
            left[0, one] = event
        held[one] -= 1


@njit(cache=True, nogil=True)
def _close(
    op: int,
    first_open: NDArray[np.int64],
    one: int,
    following: NDArray[np.int64],
    preceding: NDArray[np.int64],
) -> None:
    """Take the operation out of its list."""
    before, after = preceding[op], following[op]
    if before >= 0:
        following[before] = after
    else:
        first_open[one] = after
    if after >= 0:
        preceding[after] = before
