"""Linearizability of a stack, last in, first out, in log-linear time.

Source: Lee & Mathur 2025 and Abdulla et al. 2025 (removing an outermost element; where a stack may be empty),
in a formulation of our own: by stretches. The treatment of crashed pops is argued here, the rest of what is
needed in `_containers`.

Theory
------
An element whose push and pop overlap can be pushed and popped in one moment, which disturbs nothing: only
*solid* elements matter, which are certainly inside for a time. At a moment when no element is certainly
inside, the stack may be taken to be empty (`_containers`), so the *stretches* between such moments are judged
one by one. Throughout a stretch the stack is not empty, so the element at its bottom is the same: one whose
push began before the first push of the stretch had finished, and whose pop finished after the last pop began.
If there is none, there is no order. If there is one, it may be removed: any order of the rest can have its
pushes moved behind and its pops before those moments, and the element put around it. What remains falls into
shorter stretches, and so on.

*Crashed pops.* A missing element may have been popped by any crashed pop that had begun in time, and helps
most if it left as early as possible. So a history is not a stack's if it is not even without the missing
elements. If it is, then the deepest stretch in which a missing element was certainly pushed tells until when
it must have left: before the bottom elements of all stretches around it did (the last of those that could be
the bottom, to be fair). If of the elements that had to leave by some moment there are more than crashed pops
that had begun by then, it is not a stack's either; likewise for moments at which it was found empty. If there
are enough, each missing element is given a crashed pop, the most urgent first, and the whole is judged again
without anything unknown: if that is a stack's history, so is this one. What remains (none were ever seen in a
history of a real stack) is left to the search.

Complexity: O(n log n) time and O(n) memory for n operations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from checkers.monitors import Ambiguous, Calls, Violation
from checkers.monitors._containers import (
    NEVER,
    SHOWN_MAX,
    Container,
    Elements,
    Moments,
    container,
    cover,
    emptiness,
    empty_moments,
    first_within,
    smallest,
)
from checkers.monitors._trees import (
    GONE,
    NONE,
    Tree,
    greatest,
    set_value,
    take_uncovered,
    tree_of,
    uncover,
)


def monitor(calls: Calls) -> Violation | None:
    """What is wrong with a stack's history. Raises Ambiguous."""
    box = container(calls)
    if isinstance(box, Violation):
        return box
    allowed = empty_moments(box)
    wrong = emptiness(box, allowed)
    if wrong is not None:
        return wrong
    nest = _Nest.of_certain(box)
    if nest.stuck >= 0:
        return _tangle(box, nest)
    if not len(nest.late):
        return None
    return _lost(box, nest) or _explained(box, nest, allowed)


def _wrong(calls: Calls) -> bool:
    """The same without words."""
    try:
        box = container(calls)
    except Ambiguous:
        return False
    if isinstance(box, Violation) or emptiness(box, empty_moments(box)) is not None:
        return True
    nest = _Nest.of_certain(box)
    return nest.stuck >= 0 or len(_too_urgent(box, nest)) > 0


@dataclass(frozen=True, slots=True)
class _Nest:
    """Some of a container's elements, and how removing outermost ones went."""

    elements: Elements
    which: NDArray[np.int64]
    """Which of the container's elements they are, in the order of their pushes' finishes."""
    removed: NDArray[np.int64]
    """In which turn each was removed; -1: it was not."""
    first: NDArray[np.int64]
    """By turn: the moment at which the stretch began."""
    last: NDArray[np.int64]
    """By turn: the moment at which it ended."""
    stuck: int
    """The turn in which none could be removed, or -1."""
    late: NDArray[np.int64]
    """The missing elements, in the order of their pushes' finishes."""
    deadline: Moments
    """By missing element: before when it must have left."""
    reason: NDArray[np.int64]
    """By missing element: the turn whose stretch says so, or -1."""

    @classmethod
    def of_certain(cls, box: Container) -> _Nest:
        """Of those that are certainly inside for a time, and if takes crashed, are not missing."""
        elements = box.elements
        return cls.of(elements, elements.solid & ~(elements.missing & (len(box.crashed) > 0)))

    @classmethod
    def of(cls, elements: Elements, certain: NDArray[np.bool_]) -> _Nest:
        which = np.flatnonzero(certain)
        which = which[np.argsort(elements.put_finish[which], kind="stable")]
        late = np.flatnonzero(elements.missing & ~certain)
        late = late[np.argsort(elements.put_finish[late], kind="stable")]
        mine = elements.only(which)
        removed, first, last, stuck, deadline, reason = unnest(
            mine.put_start, mine.put_finish, mine.take_start, mine.take_finish,
            np.argsort(np.concatenate([mine.put_finish, mine.take_start]), kind="stable"),
            elements.put_start[late], elements.put_finish[late], NEVER,
        )  # fmt: skip
        return cls(elements, which, removed, first, last, int(stuck), late, deadline, reason)

    def stretch(self, turn: int) -> list[int]:
        """The fewest elements that were there in that turn and cover its stretch."""
        there = self.which[(self.removed < 0) | (self.removed >= turn)]
        chosen, _ = cover(self.elements.only(there), int(self.first[turn]), int(self.last[turn]))
        return [int(one) for one in there[chosen]]


def _tangle(box: Container, nest: _Nest) -> Violation:
    """A stretch without a bottom."""
    elements = box.elements
    chosen = smallest(box, nest.stretch(nest.stuck), [], _wrong)
    stuck = int(elements.take[chosen[0]])
    if len(chosen) == 2 and stuck >= 0:
        lower, upper = chosen
        summary = (
            f"{box.take_of(lower)}, but {box.name(upper)} was above it: {box.put_of(lower)}, then "
            f"{box.put_of(upper)}, and " + _fate(box, upper) + "."
        )
    else:
        names = ", ".join(box.name(one) for one in chosen[:SHOWN_MAX])
        names += f" and {len(chosen) - SHOWN_MAX} more" if len(chosen) > SHOWN_MAX else ""
        first = min(chosen, key=lambda one: int(elements.put_finish[one]))
        last = max(chosen, key=lambda one: int(elements.take_start[one]))
        until = box.take_of(last) if elements.take[last] >= 0 else "the end"
        summary = (
            f"One after another, {names} were on the stack without a break from {box.put_of(first)} until "
            f"{until}; so one of them lay at the bottom, but none can have been pushed first and popped last."
        )
    shown = box.operations_of(chosen)
    return box.calls.violation("Out of order", summary, shown, stuck if stuck >= 0 else shown[0])


def _fate(box: Container, element: int) -> str:
    if box.elements.take[element] < 0:
        return "nobody popped that"
    return f"that left only later: {box.take_of(element)}"


def _too_urgent(box: Container, nest: _Nest) -> NDArray[np.int64]:
    """Late elements, the most urgent first, that left in time though there were too few crashed pops for it;
    or none."""
    urgent = np.argsort(nest.deadline, kind="stable")
    takers = np.searchsorted(box.crashed_start, nest.deadline[urgent])
    short = np.flatnonzero((takers <= np.arange(len(urgent))) & (nest.deadline[urgent] < NEVER))
    return urgent[: short[0] + 1] if len(short) else urgent[:0]


def _lost(box: Container, nest: _Nest) -> Violation | None:
    """More elements that left in time than crashed pops can have taken."""
    elements = box.elements
    urgent = _too_urgent(box, nest)
    if not len(urgent):
        return None
    turns = sorted({int(turn) for turn in nest.reason[urgent]})
    around = [one for turn in turns for one in nest.stretch(turn)]
    crashed = box.crashed_before(int(nest.deadline[urgent[-1]]) - 1)
    missing = nest.late[urgent].tolist()
    chosen = smallest(box, [*around, *missing], crashed, _wrong)
    around, missing = [one for one in around if one in chosen], [one for one in missing if one in chosen]
    last = max(around, key=lambda one: int(elements.take_finish[one]))
    summary = f"{box.take_of(last)}, but {box.missing_text(missing, crashed)}, and all that was above."
    shown = [*box.operations_of([*around, *missing]), *crashed]
    return box.calls.violation("Lost element", summary, shown, int(elements.take[last]))


def _explained(box: Container, nest: _Nest, allowed: NDArray[np.bool_]) -> Violation | None:
    """None, if crashed pops explain all missing elements: each is given one. Raises Ambiguous if that does
    not work out."""
    elements, calls = box.elements, box.calls
    chosen = first_within(allowed, calls.start[box.empty], calls.finish[box.empty])
    chosen = np.append(np.unique(chosen) + 1, NEVER)  # a take at the latest in that moment began before this
    pushed = elements.put_finish[nest.late]
    deadline = np.minimum(nest.deadline, chosen[np.searchsorted(chosen, pushed, side="right")])
    urgent = np.argsort(deadline, kind="stable")
    given = box.crashed_start[: len(urgent)]
    doubt = "the missing elements may have left in several ways"
    if (deadline[urgent[len(given) :]] < NEVER).any() or (given >= deadline[urgent[: len(given)]]).any():
        raise Ambiguous(doubt)
    left = elements.take_start.copy()
    left[nest.late[urgent[: len(given)]]] = given
    explained = replace(elements, take_start=left)
    if _Nest.of(explained, explained.solid).stuck >= 0:
        raise Ambiguous(doubt)
    return None


@njit(cache=True, nogil=True)
def unnest(
    put_start: Moments,
    put_finish: Moments,
    take_start: Moments,
    take_finish: Moments,
    order: NDArray[np.int64],
    late_start: Moments,
    late_finish: Moments,
    never: int,
) -> tuple[NDArray[np.int64], Moments, Moments, int, Moments, NDArray[np.int64]]:
    """Remove outermost elements until there are none, or none can be. The columns of `_Nest` after `which`,
    but for `late`.

    Elements and late ones come in the order of their puts' finishes. `order` sorts the ends of the elements'
    certain times (their puts' finishes, then their takes' starts); between two such ends there is a gap if
    nothing is inside.
    """
    count = len(put_start)
    removed = np.full(count, -1, np.int64)
    first, last = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    deadline, reason = np.full(len(late_start), never, np.int64), np.full(len(late_start), -1, np.int64)
    if count == 0:
        return removed, first, last, -1, deadline, reason

    moment, rank = np.empty(2 * count, np.int64), np.empty(2 * count, np.int64)
    puts_before = np.zeros(2 * count + 1, np.int64)
    inside = np.empty(2 * count - 1, np.int64)
    for at in range(2 * count):
        end = order[at]
        is_put = end < count
        rank[end] = at
        moment[at] = put_finish[end] if is_put else take_start[end - count]
        puts_before[at + 1] = puts_before[at] + is_put
        if at < len(inside):
            inside[at] = 2 * puts_before[at + 1] - (at + 1)
    least = tree_of(inside, GONE, False)
    added = np.zeros_like(least)
    waiting = tree_of(-put_start, NONE, True)  # elements whose put began too late for a bottom
    ready = tree_of(np.full(count, NONE), NONE, True)  # the others
    unsettled = tree_of(-late_start, NONE, True)
    _settle(unsettled, late_start, late_finish, -1, moment[0], deadline, reason, never, -1)
    _settle(unsettled, late_start, late_finish, moment[-1], never, deadline, reason, never, -1)

    stretches = np.empty((count + 1, 4), np.int64)  # from, to, the deadline of what is in it, the turn
    stretches[0] = 0, len(inside), never, -1
    split = 0  # stretches[:split] are without gaps; the one behind them was not looked at yet
    search_first, search_end = 0, len(inside)
    turn = 0
    while True:
        # Divide stretches[split] at its gaps.
        begin, end, limit, cause = stretches[split]
        while True:
            gap = take_uncovered(least, added, search_first, search_end)
            if gap < 0:
                break
            _settle(
                unsettled,
                late_start,
                late_finish,
                moment[gap],
                moment[gap + 1],
                deadline,
                reason,
                limit,
                cause,
            )
            if gap > begin:
                stretches[split] = begin, gap, limit, cause
                split += 1
            begin = search_first = gap + 1
        if begin < end:
            stretches[split] = begin, end, limit, cause
            split += 1
        if split == 0:
            return removed, first, last, -1, deadline, reason
        split -= 1

        # Remove the bottom of the last one.
        begin, end, limit, cause = stretches[split]
        first[turn], last[turn] = moment[begin], moment[end]
        low, high = puts_before[begin], puts_before[end]
        while True:
            element = greatest(waiting, low, high)
            if element < 0 or put_start[element] > moment[begin]:
                break
            set_value(waiting, element, NONE)
            set_value(ready, element, take_finish[element])
        bottom = greatest(ready, low, high)
        if bottom < 0 or take_finish[bottom] < moment[end]:
            return removed, first, last, turn, deadline, reason
        removed[bottom] = turn
        set_value(ready, bottom, NONE)
        search_first, search_end = rank[bottom], rank[count + bottom]
        uncover(least, added, search_first, search_end)
        if take_finish[bottom] < limit:
            stretches[split, 2], stretches[split, 3] = take_finish[bottom], turn
        turn += 1


@njit(cache=True, nogil=True)
def _settle(
    unsettled: Tree,
    late_start: Moments,
    late_finish: Moments,
    after: int,
    before: int,
    deadline: Moments,
    reason: NDArray[np.int64],
    limit: int,
    cause: int,
) -> None:
    """Late elements that can have been put in between the two moments, in a gap, need not leave earlier than
    what is around that gap."""
    first: int = np.searchsorted(late_finish, after, side="right")  # type: ignore[assignment]
    while True:
        element = greatest(unsettled, first, len(late_start))
        if element < 0 or late_start[element] >= before:
            return
        set_value(unsettled, element, NONE)
        deadline[element], reason[element] = limit, cause
