"""Linearizability of a set: element by element in linear time, or by whole reads of a set that only grows.

Theory
------
*By element.* An add, a remove or a contains concerns one element, and elements are objects of their own
(Herlihy & Wing 1990: linearizability is local). If each completed add and remove tells whether it changed
anything, an element's presence goes up and down by turns (`_switches`); an add or remove that changed nothing
is one that watched. An add or remove of which nobody knows that (a *blind* one), but the only one of its
element, is decided by hand: with an add at x and a remove at y > x, what saw the element needs a moment
between x and y, and what did not, one outside. So x is as late as those that saw it allow, y as early, and
the others are looked at then. So are several blind adds of an element that is never removed. What else there
is (several blind adds and removes of one element) is left to the search, element by element.

*By whole reads.* If nothing is removed, every two reads are of sets of which one contains the other. That
gives the order: what was read first by the smallest reads, then the adds of what the next ones have more,
and so on. The history is a set's if and only if, put as early as the starts of all before them allow, none
comes after its own completion. Whole reads together with removes are left to the search.

*Crashed operations* (exact). A crashed add or remove that changed nothing leaves no trace; so it either
changed something, or is dropped. A crashed add of an element in a whole read has no completion to meet.

Sources: Abdulla et al. 2025 have linear time for sets of complete histories whose operations tell what they
changed; the rest is argued here.

Complexity: O(n) time and memory for n operations, and of whole reads the elements that they show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from checkers import _words
from checkers.models import ModelFailed
from checkers.monitors import Ambiguous, Calls, Violation
from checkers.monitors._switches import DOWN, SEES_DOWN, SEES_UP, UP, first_stuck
from checkers.monitors._values import ids_of

Moments = NDArray[np.int64]
Positions = NDArray[np.int64]

WATCHERS_MAX = 40
"""Of so many it is tried whether a violation needs them."""
KINDS = ("Added twice", "Removed twice", "Seen, but not there", "Not seen, but there")
"""What a violation is called, by the kind of the operation that is stuck."""


def monitor(calls: Calls) -> Violation | None:
    """What is wrong with a set's history. Raises Ambiguous."""
    reads = np.flatnonzero(calls.are("read"))
    if not len(reads):
        return _by_element(calls)
    adds = np.flatnonzero(calls.are("add"))
    if len(reads) + len(adds) < len(calls) or any(type(told) is bool for told in calls.results(adds)):
        raise Ambiguous("reads of the whole set, and more than adds")
    return _by_reads(calls, adds, reads)


# --- By element ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Presence:
    """Operations on elements, as columns of one length."""

    kind: NDArray[np.int8]
    """UP: it was put in; DOWN: it was taken out; SEES_UP: it was inside; SEES_DOWN: it was not."""
    blind: NDArray[np.bool_]
    """Of an UP, a DOWN: it may have been inside, or not, before."""
    element: NDArray[np.int64]
    start: Moments
    finish: Moments

    def only(self, which: NDArray[Any]) -> _Presence:
        return _Presence(*(getattr(self, name)[which] for name in _Presence.__slots__))

    def wrong(self, horizon: int) -> tuple[int, NDArray[np.bool_]]:
        """An operation that fits in no order, or -1; and the elements that are left to the search."""
        elements = int(self.element.max(initial=-1)) + 1

        def count(which: NDArray[np.bool_]) -> NDArray[np.int64]:
            return np.bincount(self.element[which], minlength=elements)

        by_hand = count(self.blind) > 0
        ups, downs = count(self.kind == UP), count(self.kind == DOWN)
        told = count((self.kind == UP) & ~self.blind & (self.finish < horizon))
        alike = (told == 0) & (downs == 0)
        unclear = by_hand & ~alike & ((ups > 1) | (downs > 1))
        switches = np.flatnonzero(~by_hand[self.element])
        mine = self.only(switches)
        stuck = first_stuck(mine.kind, mine.element, mine.start, mine.finish, elements, 1, horizon)
        if stuck >= 0:
            return int(switches[stuck]), unclear
        others = np.flatnonzero((by_hand & ~unclear)[self.element])
        mine = self.only(others)
        stuck = first_misplaced(
            mine.kind, mine.blind, mine.element, mine.start, mine.finish, elements, horizon
        )
        return int(others[stuck]) if stuck >= 0 else -1, unclear


def _by_element(calls: Calls) -> Violation | None:
    everything = np.arange(len(calls))
    element = ids_of(calls.arguments(everything))
    adds, contains = calls.are("add"), calls.are("contains")
    told = np.array([-1 if type(one) is not bool else int(one) for one in calls.results(everything)])
    told[calls.crashed] = -1
    if (told[contains] < 0).any():
        raise ModelFailed("contains gives true or false, and nothing else")
    inside = np.where(contains, told == 1, adds == (told == 0))  # an add that changed nothing: inside
    watches = contains | (told == 0)
    kind = np.where(watches, np.where(inside, SEES_UP, SEES_DOWN), np.where(adds, UP, DOWN)).astype(np.int8)
    presence = _Presence(kind, (told < 0) & ~calls.crashed, element, calls.start, calls.finish)
    stuck, unclear = presence.wrong(calls.horizon)
    if stuck >= 0:
        return _element_violation(calls, presence, stuck)
    if unclear.any():
        order = np.argsort(element, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(element))[:-1])
        left = [calls.rows[part] for part, open_ in zip(parts, unclear, strict=True) if open_]
        raise Ambiguous("elements that were blindly added or removed several times", left)
    return None


def _element_violation(calls: Calls, presence: _Presence, stuck: int) -> Violation:
    """The operations on one element, without those that only watch and are not needed."""
    mine = np.flatnonzero(presence.element == presence.element[stuck])
    if not presence.blind[mine].any():
        mine = mine[presence.start[mine] < presence.finish[stuck]]
    needed = np.ones(len(mine), np.bool_)
    watching = np.flatnonzero(presence.kind[mine] >= SEES_UP)
    for at in watching if len(watching) <= WATCHERS_MAX else ():
        needed[at] = False
        if presence.only(mine[needed]).wrong(calls.horizon)[0] < 0:
            needed[at] = True
    shown = mine[needed].tolist()
    stuck = max(shown, key=lambda at: int(presence.finish[at]) % calls.horizon)  # the last to complete
    others = [calls.describe(at) for at in shown if at != stuck]
    listed = "; ".join(others[-4:]) or "nothing else happened to it"
    summary = f"{calls.describe(stuck)}, which does not agree with: {listed}."
    return calls.violation(KINDS[presence.kind[stuck]], summary, shown, stuck)


@njit(cache=True, nogil=True)
def first_misplaced(
    kind: NDArray[np.int8],
    blind: NDArray[np.bool_],
    element: NDArray[np.int64],
    start: Moments,
    finish: Moments,
    elements: int,
    horizon: int,
) -> int:
    """An operation that fits in no order, or -1. Each element is put in and taken out at most once, or only
    put in, and that blindly."""
    taken = np.full(elements, -1, np.int64)
    # The first of several blind adds puts it in; none of them can have finished before.
    put_start, put_finish = np.full(elements, horizon, np.int64), np.full(elements, horizon, np.int64)
    # Of those that saw it, and of those that did not: the last start, and the first finish.
    last = np.full((2, elements), -1, np.int64)
    first = np.full((2, elements), horizon, np.int64)
    for op in range(len(kind)):
        one = element[op]
        if kind[op] == UP:
            put_start[one] = min(put_start[one], start[op])
            put_finish[one] = min(put_finish[one], finish[op])
        elif kind[op] == DOWN:
            taken[one] = op
        else:
            side = kind[op] - SEES_UP
            last[side, one] = max(last[side, one], start[op])
            first[side, one] = min(first[side, one], finish[op])
    entered, left = np.full(elements, -1, np.int64), np.full(elements, -1, np.int64)
    fits = np.zeros(elements, np.bool_)
    for one in range(elements):
        take = taken[one]
        latest = min(put_finish[one], first[0, one])  # it was put in before this
        # Never inside: what would have put it there crashed, what would have taken it out did nothing.
        if latest == horizon and (take < 0 or blind[take] or finish[take] == horizon):
            fits[one] = True
        elif put_start[one] < horizon:
            lower = max(put_start[one], last[1, one])
            # Never taken out: what would have done so crashed, or came before.
            if take < 0 or finish[take] == horizon:
                fits[one] = lower < latest
            elif blind[take]:
                fits[one] = max(lower, start[take]) < latest
            if take >= 0 and not fits[one] and put_start[one] < min(latest, finish[take]):
                earliest = max(start[take], last[0, one])  # it was taken out then, or later
                if earliest < finish[take]:
                    fits[one] = True
                    entered[one], left[one] = latest - 1, earliest
    for op in range(len(kind)):
        one = element[op]
        if not fits[one]:
            return op
        if kind[op] == SEES_DOWN and start[op] > entered[one] >= 0 and finish[op] - 1 < left[one]:
            return op
    return -1


# --- By whole reads ------------------------------------------------------------------------------------


def _by_reads(calls: Calls, adds: Positions, reads: Positions) -> Violation | None:
    views: list[list[Any]] = [list(view or ()) for view in calls.results(reads)]
    sizes = np.array([len(view) for view in views], np.int64)
    ids = ids_of(calls.arguments(adds) + [element for view in views for element in view])
    added, shown = ids[: len(adds)], ids[len(adds) :]
    reader = np.repeat(np.arange(len(reads)), sizes)
    elements = int(ids.max(initial=-1)) + 1
    wrong = _strange_views(calls, reads, added, shown, reader, elements)
    if wrong is not None:
        return wrong

    # The levels are the sizes that reads have; an element's level is that of the smallest read that shows it.
    steps, level_of_read = np.unique(sizes, return_inverse=True)
    level = np.full(elements, len(steps), np.int64)
    np.minimum.at(level, shown, level_of_read[reader])
    total = np.cumsum(np.bincount(level, minlength=len(steps)))[: len(steps)]
    if (total != steps).any():
        return _disagreement(
            calls, reads, shown, reader, level_of_read, int(np.argmax(total != steps)), level
        )

    start, finish = calls.start, calls.finish
    first_add = np.full(elements, calls.horizon, np.int64)
    np.minimum.at(first_add, added, start[adds])
    # By turns: what is put in for a level, and the reads of it. The starts of a turn, and of all before it.
    turn = np.full(2 * len(steps), -1, np.int64)
    in_some = level < len(steps)
    np.maximum.at(turn, 2 * level[in_some], first_add[in_some])
    np.maximum.at(turn, 2 * level_of_read + 1, start[reads])
    moment = np.maximum.accumulate(turn)
    missed = np.flatnonzero(moment[2 * level_of_read] >= finish[reads])
    if len(missed):
        one = int(reads[missed[0]])
        before = 2 * int(level_of_read[missed[0]]) + 1
    else:
        # Each add of an element comes after the reads that do not show it.
        after = np.where(level[added] > 0, moment[2 * level[added] - 1], -1)
        missed = np.flatnonzero(after >= finish[adds])
        if not len(missed):
            return None
        one = int(adds[missed[0]])
        before = 2 * int(level[added[missed[0]]])
    cause_turn = int(np.flatnonzero(turn[:before] == moment[before - 1])[0])
    cause = int(np.flatnonzero(start == moment[before - 1])[0])
    return _late(calls, one, cause, reads[np.argmax(level_of_read == cause_turn // 2)])


def _late(calls: Calls, one: int, cause: int, read: int) -> Violation:
    """The first was over before the second began, which must come before it; the read says why, of an add."""
    said = f"{calls.describe(one)}, and only then began {calls.describe(cause)}"
    first_is_add, cause_is_add = calls.are("add")[[one, cause]].tolist()
    if first_is_add and cause_is_add:
        said += f", but {calls.describe(read)}: that without this"
        return calls.violation("Lost element", f"{said}.", [one, cause, read], read)
    if first_is_add:
        return calls.violation("Lost element", f"{said}, without that element.", [one, cause], cause)
    if cause_is_add:
        return calls.violation("From the future", f"{said}.", [one, cause], one)
    return calls.violation("Lost element", f"{said}, which shows less.", [one, cause], cause)


def _strange_views(
    calls: Calls,
    reads: Positions,
    added: NDArray[np.int64],
    shown: NDArray[np.int64],
    reader: NDArray[np.int64],
    elements: int,
) -> Violation | None:
    """A read that shows an element that nobody added, or one twice."""
    strange = np.flatnonzero(np.bincount(added, minlength=elements)[shown] == 0)
    if len(strange):
        at = int(reads[reader[strange[0]]])
        element = [one for view in calls.results(reads) for one in view or ()][strange[0]]
        summary = f"{calls.describe(at)}, but nobody ever added {_words.value_text(element)}."
        return calls.violation("From nowhere", summary, [at], at)
    order = np.lexsort((shown, reader))
    twice = np.flatnonzero((np.diff(shown[order]) == 0) & (np.diff(reader[order]) == 0))
    if len(twice):
        at = int(reads[reader[order[twice[0]]]])
        return calls.violation("Shown twice", f"{calls.describe(at)}: one element twice.", [at], at)
    return None


def _disagreement(
    calls: Calls,
    reads: Positions,
    shown: NDArray[np.int64],
    reader: NDArray[np.int64],
    level_of_read: NDArray[np.int64],
    wrong: int,
    level: NDArray[np.int64],
) -> Violation:
    """Two reads of which neither shows all that the other does."""
    larger = int(np.argmax(level_of_read == wrong))
    mine = shown[reader == larger]
    outside = np.setdiff1d(np.flatnonzero(level <= wrong), mine)
    where = np.flatnonzero(np.isin(shown, outside) & (level_of_read[reader] <= wrong))
    smaller = int(reader[where[0]])
    one, other = int(reads[smaller]), int(reads[larger])
    summary = f"{calls.describe(one)}, and {calls.describe(other)}: each shows what the other does not."
    return calls.violation("Reads disagree", summary, [one, other], other)
