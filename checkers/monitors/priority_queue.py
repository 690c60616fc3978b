"""Linearizability of a priority queue, the least first, in log-linear time.

Source: Lee & Mathur 2025, for the greatest element as the one that may be removed. The formulation as one
condition for each element, and the treatment of crashed takes, are argued here; the rest in `_containers`.

Theory
------
An element is taken when no lesser one is inside. So let an element v be the greatest of all: it disturbs no
other, and its take needs a moment at which nothing else is certainly inside. That suffices: at such a moment
the queue of the others may be taken to be empty (`_containers`). Remove it, and go on with the next. Hence a
history is a priority queue's iff each take that found an element has a moment at which none of the lesser
ones is certainly inside: one condition for each element, with no choice that would matter to another.

*Crashed takes.* A missing element may have been taken by any crashed one that had begun in time. So a take
needs a moment at which nothing less is certainly inside but missing elements, and no more of those than
crashed takes had begun. If every take has one, each is put to its first; that is by when the lesser missing
ones must have left; each of these is given a crashed take, the most urgent first, and the whole is judged
again without anything unknown: if that is a priority queue's history, so is this one. What remains is left to
the search.

Complexity: O(n log n) time (to sort the elements) and O(n) memory for n operations.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from checkers.models import ModelFailed
from checkers.monitors import Ambiguous, Calls, Violation
from checkers.monitors._containers import (
    Container,
    Elements,
    Moments,
    container,
    crowd,
    emptiness,
    empty_moments,
    first_within,
)


def monitor(calls: Calls) -> Violation | None:
    """What is wrong with a priority queue's history. Raises Ambiguous."""
    box = container(calls)
    if isinstance(box, Violation):
        return box
    allowed = empty_moments(box)
    wrong = emptiness(box, allowed)
    if wrong is not None:
        return wrong
    elements = box.elements
    order = _ascending(box.values)
    moment = _moments(box, elements, order)
    late = np.flatnonzero(moment < 0)
    if len(late):
        return _lesser_inside(box, order, int(late[0]))
    if len(box.crashed) and elements.missing.any():
        _explained(box, order, moment, allowed)
    return None


def _ascending(values: list[Any]) -> NDArray[np.int64]:
    """The order of the values; raises ModelFailed if they have none."""
    types = set(map(type, values))
    if types <= {int}:
        try:
            return np.argsort(np.fromiter(values, np.int64, len(values)), kind="stable")
        except OverflowError:
            pass  # beyond 64 bits: as Python sorts them
    if not types <= {int, float} and types != {str}:
        raise ModelFailed("the elements of a priority queue are all numbers or all strings")
    return np.array(sorted(range(len(values)), key=values.__getitem__), np.int64)


def _moments(box: Container, elements: Elements, order: NDArray[np.int64]) -> Moments:
    earliest = np.maximum(elements.put_start, elements.take_start)
    return first_moments(
        order, elements.put_finish, elements.take_start, earliest, elements.take_finish,
        box.crashed_start, box.calls.horizon,
    )  # fmt: skip


def _lesser_inside(box: Container, order: NDArray[np.int64], element: int) -> Violation:
    elements = box.elements
    lesser = order[: int(np.flatnonzero(order == element)[0])]
    begin = int(max(elements.put_start[element], elements.take_start[element]))
    inside, missing, crashed = crowd(box, lesser, begin, int(elements.take_finish[element]))
    said = box.crowd_text(inside, missing, crashed)
    summary = f"{box.take_of(element)}, but all that time something less was inside: {said}."
    shown = [*box.operations_of([*inside, *missing, element]), *crashed]
    kind = "Lost element" if missing else "Out of order"
    return box.calls.violation(kind, summary, shown, int(elements.take[element]))


def _explained(box: Container, order: NDArray[np.int64], moment: Moments, allowed: NDArray[np.bool_]) -> None:
    """Give each missing element a crashed take. Raises Ambiguous if that does not work out."""
    elements, calls = box.elements, box.calls
    found_empty = first_within(allowed, calls.start[box.empty], calls.finish[box.empty])
    deadline = deadlines(order, elements.put_finish, elements.missing, moment, found_empty, calls.horizon)
    urgent = np.flatnonzero(deadline < calls.horizon)
    urgent = urgent[np.argsort(deadline[urgent], kind="stable")]
    doubt = "the missing elements may have left in several ways"
    if len(urgent) > len(box.crashed) or (box.crashed_start[: len(urgent)] > deadline[urgent]).any():
        raise Ambiguous(doubt)
    left = elements.take_start.copy()
    left[urgent] = box.crashed_start[: len(urgent)]
    explained = replace(elements, take_start=left)
    if (_moments(replace(box, crashed_start=box.crashed_start[:0]), explained, order) < 0).any():
        raise Ambiguous(doubt)


@njit(cache=True, nogil=True)
def first_moments(
    order: NDArray[np.int64],
    put_finish: Moments,
    take_start: Moments,
    earliest: Moments,
    take_finish: Moments,
    crashed_start: Moments,
    horizon: int,
) -> Moments:
    """The first moment at which each element, taken at the `earliest` from then on, can have been taken with
    nothing less inside; -1: there is none; horizon: it is missing.

    That is the first with nothing less certainly inside but missing elements, and no more of those than takes
    that crashed had begun.
    """
    following = np.arange(horizon + 1)  # from each moment on, the next with nothing inside: halving paths
    moment = np.full(len(order), horizon, np.int64)
    counts = np.zeros(horizon + 1, np.int64)  # a Fenwick tree of the missing, by when they were put in
    for element in order:
        begin, end = put_finish[element], take_start[element]
        if end == horizon and len(crashed_start):
            node = begin + 1
            while node <= horizon:
                counts[node] += 1
                node += node & -node
            continue
        if end < horizon:
            last = min(take_finish[element], horizon)
            at = earliest[element]
            while at < last:
                at = _next(following, at)
                missing, node = 0, at + 1
                while node > 0 and at < last:
                    missing += counts[node]
                    node &= node - 1
                if missing == 0:
                    break
                enough = crashed_start[missing - 1] if missing <= len(crashed_start) else horizon
                if enough <= at:
                    break
                at = enough
            moment[element] = at if at < last else -1
        while begin < end:
            begin = _next(following, begin)
            if begin < end:
                following[begin] = begin + 1
    return moment


@njit(cache=True, nogil=True)
def _next(following: Moments, at: int) -> int:
    """The first moment from `at` on that leads to itself."""
    while following[at] != at:
        following[at] = following[following[at]]
        at = following[at]
    return at


@njit(cache=True, nogil=True)
def deadlines(
    order: NDArray[np.int64],
    put_finish: Moments,
    missing: NDArray[np.bool_],
    moment: Moments,
    found_empty: Moments,
    horizon: int,
) -> Moments:
    """For each missing element the first moment after its put at which it must not be inside: when a greater
    one is taken, or the queue found empty. `horizon`: there is none."""
    events = np.zeros(horizon + 1, np.int64)  # how many such there are at each moment
    for at in found_empty:
        events[at] += 1
    for element in order:
        if not missing[element]:
            events[moment[element]] += 1
    following = np.arange(horizon + 1)
    for at in range(horizon):
        if events[at] == 0:
            following[at] = at + 1
    found = np.full(len(order), horizon, np.int64)
    for element in order:
        if missing[element]:
            found[element] = _next(following, put_finish[element])
        else:
            at = moment[element]
            events[at] -= 1
            if events[at] == 0 and at < horizon:
                following[at] = at + 1
    return found
