"""Linearizability of a counter: in log-linear time if all adds add the same.

Theory
------
Let every add add 1 (or all the same amount). All adds are alike, and the count only grows. Go through the
events in their order and do nothing before one must: at the completion of an add that has not taken effect,
it does. A read that completes needs a moment since its start at which the count was what it read. If the
count is still less, open adds take effect first, those that complete first before the others, and those that
crashed, which never must, last. If there are too few, or if the count was greater already when the read
began, the history has no order. That is exact, by the exchange argued in `_switches`: of two orders that
begin alike, up to a completion, either may have any of the adds that are open there first; and the count, as
low as it can be, rules out nothing that a greater one allows.

Whatever the amounts, a read must be within its *bounds*: what was certainly added before it began, and all
that can have been added until it ended. With different amounts it is a knapsack whether it can be, so if
these bounds hold, the history is left to the search.

Complexity: O(n log n) time and O(n) memory for n operations.
"""

from __future__ import annotations

import heapq

import numpy as np
from numba import njit
from numpy.typing import NDArray

from checkers.models import ModelFailed
from checkers.monitors import Ambiguous, Calls, Violation

SHOWN_MAX = 30
"""Adds are counted, and shown if they are no more than this."""


def monitor(calls: Calls) -> Violation | None:
    """What is wrong with a counter's history. Raises Ambiguous."""
    are_adds = calls.are("add")
    adds, reads = np.flatnonzero(are_adds), np.flatnonzero(~are_adds)
    amounts, counts = calls.arguments(adds), calls.results(reads)
    numbers = {type(number) for number in (*amounts, *counts)}
    if not numbers <= {int, float}:
        raise ModelFailed("a counter counts numbers, and nothing else")
    if numbers != {int} or sum(map(abs, amounts)) + max(map(abs, counts), default=0) >= 1 << 62:
        raise Ambiguous("fractions, or very large numbers")
    wrong = _out_of_bounds(calls, adds, np.array(amounts, np.int64), reads, np.array(counts, np.int64))
    if wrong is not None:
        return wrong
    if not amounts:
        return None
    if len(set(amounts)) > 1 or amounts[0] == 0:
        raise Ambiguous("adds of different amounts")
    goal = np.full(len(calls), -1, np.int64)
    goal[reads] = [count // amounts[0] if count % amounts[0] == 0 else -1 for count in counts]
    stuck, higher = first_misread(goal, are_adds, calls.start, calls.finish, calls.horizon)
    return None if stuck < 0 else _misread(calls, are_adds, goal, stuck, higher)


def _out_of_bounds(
    calls: Calls,
    adds: NDArray[np.int64],
    amounts: NDArray[np.int64],
    reads: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> Violation | None:
    """A read of less than was certainly added before it, or of more than can have been."""
    by_finish = np.argsort(calls.finish[adds], kind="stable")
    certain = np.searchsorted(calls.finish[adds][by_finish], calls.start[reads])
    possible = np.searchsorted(calls.start[adds], calls.finish[reads])

    def total(amounts: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(amounts)])

    done = amounts[by_finish]
    gains, losses = np.maximum(amounts, 0), np.minimum(amounts, 0)
    least = total(np.maximum(done, 0))[certain] + total(losses)[possible]
    most = total(np.minimum(done, 0))[certain] + total(gains)[possible]
    wrong = np.flatnonzero((counts < least) | (counts > most))
    if not len(wrong):
        return None
    one = int(wrong[0])
    at = int(reads[one])
    summary = f"{calls.describe(at)}, but it cannot have been "
    summary += f"less than {least[one]}" if counts[one] < least[one] else f"more than {most[one]}"
    summary += f": {certain[one]} adds were over before, and {possible[one]} had begun by its end."
    return calls.violation("Out of bounds", summary, [*_shown(adds[: possible[one]]), at], at)


def _shown(adds: NDArray[np.int64]) -> list[int]:
    return adds.tolist() if len(adds) <= SHOWN_MAX else []


def _misread(
    calls: Calls, are_adds: NDArray[np.bool_], goal: NDArray[np.int64], stuck: int, higher: int
) -> Violation:
    """A read that is within its bounds, but not together with those before it."""
    begun = calls.start < calls.finish[stuck]
    adds = np.flatnonzero(begun & are_adds)
    if higher < 0:
        summary = f"{calls.describe(stuck)}, but all adds add the same, and never add up to that."
        return calls.violation("Out of bounds", summary, [*_shown(adds), stuck], stuck)
    subject = np.zeros(len(calls), np.bool_)
    subject[adds] = subject[[higher, stuck]] = True
    summary = f"{calls.describe(stuck)}, but before that began, {calls.describe(higher)}"
    if goal[higher] <= goal[stuck]:
        summary += ", and too much was added in between"
    alone, _ = first_misread(
        goal[subject], are_adds[subject], calls.start[subject], calls.finish[subject], calls.horizon
    )
    reads = np.array([higher, stuck])
    if alone < 0:
        reads = np.flatnonzero(~are_adds & (calls.finish <= calls.finish[stuck]))
    return calls.violation("Went back", f"{summary}.", [*_shown(adds), *reads.tolist()], stuck)


@njit(cache=True, nogil=True)
def first_misread(
    goal: NDArray[np.int64],
    are_adds: NDArray[np.bool_],
    start: NDArray[np.int64],
    finish: NDArray[np.int64],
    horizon: int,
) -> tuple[int, int]:
    """The first read to complete that cannot have read so many adds (its `goal`), and the read before it for
    which there had to be more; -1: there is none."""
    starting, finishing = np.full(horizon, -1, np.int64), np.full(horizon, -1, np.int64)
    for op in range(len(goal)):
        starting[start[op]] = op
        if finish[op] < horizon:
            finishing[finish[op]] = op
    count, higher = 0, -1
    before = np.zeros(len(goal), np.int64)  # the count when it began
    done = np.zeros(len(goal), np.bool_)
    waiting = [np.int64(0) for _ in range(0)]  # adds that are open, by their finishes: a heap
    for event in range(horizon):
        op = starting[event]
        if op >= 0:
            before[op] = count
            if are_adds[op]:
                heapq.heappush(waiting, finish[op] * len(goal) + op)
        op = finishing[event]
        if op < 0 or done[op]:
            continue
        done[op] = True
        if are_adds[op]:
            count += 1
        elif goal[op] < before[op]:
            return op, higher if goal[op] >= 0 else -1
        elif goal[op] > count:
            higher = op
        while not are_adds[op] and goal[op] > count:
            if len(waiting) == 0:
                return op, -1
            add = heapq.heappop(waiting) % len(goal)
            if not done[add]:
                done[add] = True
                count += 1
    return -1, -1
