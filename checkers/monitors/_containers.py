"""What queues, stacks and priority queues have in common: elements that are put in once and taken out once.

Theory
------
Let every element be put in once. Then one knows for each take which put it undoes. From the moment when its
put finishes to the moment when its take starts an element is *certainly inside*.

*Emptiness.* An operation that found the container empty needs a moment at which nothing is certainly inside.
That suffices, for all of them together: in any order of the rest, whatever is inside at such a moment can
have its take moved before it or its put moved behind it, without a change to the order of the others. (For
queues, stacks and priority queues alike: those taken earlier come out in the order in which they would have
come, with fewer above or before them.)

*Crashed puts* (exact). One whose element nobody is known to have taken is dropped, and with it a crashed take
that may have taken it: an element that leaves no trace changes no other's fate. One whose element was taken
took effect before that take finished, and finishes there.

*Crashed takes*. Each may have taken one of the elements that are *missing*: put in for certain, and taken by
nobody who tells. Which it was, each container has to find out. For emptiness it is enough to count: at a
moment when the container is to be empty, no more elements may be missing than takes had begun that crashed.
A crashed take that found nothing, or never happened, is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers import _words
from checkers.models import ModelFailed, Queue
from checkers.monitors import Ambiguous, Calls, Violation
from checkers.monitors._values import ids_of
from harness.history import FAIL

Moments = NDArray[np.int64]
Positions = NDArray[np.int64]
"""Positions in Calls."""

NEVER = np.iinfo(np.int64).max
"""When the take of a missing element finishes."""
SMALLEST_SECONDS = 2.0
SHOWN_MAX = 30
"""Of many missing elements and crashed takes, so many are shown."""


@dataclass(frozen=True, slots=True)
class Elements:
    """Elements in the order of their puts, as columns of one length."""

    put: Positions
    take: Positions
    """-1: it is missing."""
    put_start: Moments
    put_finish: Moments
    take_start: Moments
    """`horizon`: it is missing."""
    take_finish: Moments
    """After `horizon`: it is missing."""

    def __len__(self) -> int:
        return len(self.put)

    @property
    def missing(self) -> NDArray[np.bool_]:
        return self.take < 0

    @property
    def solid(self) -> NDArray[np.bool_]:
        """Those that are certainly inside for a time."""
        return self.put_finish < self.take_start

    def only(self, which: NDArray[Any]) -> Elements:
        return Elements(*(getattr(self, name)[which] for name in Elements.__slots__))


@dataclass(frozen=True, slots=True)
class Container:
    """A history of a container."""

    calls: Calls
    elements: Elements
    values: list[Any]
    """Of the elements, as the client sees them."""
    empty: Positions
    """Those that found it empty."""
    crashed: Positions
    """Takes that crashed, in the order of their starts."""
    crashed_start: Moments

    def put_of(self, element: int) -> str:
        return self.calls.describe(int(self.elements.put[element]))

    def take_of(self, element: int) -> str:
        return self.calls.describe(int(self.elements.take[element]))

    def name(self, element: int) -> str:
        return _words.value_text(self.values[element])

    def operations_of(self, elements: Iterable[int]) -> list[int]:
        """Positions of their puts and takes."""
        both = [at for one in elements for at in (self.elements.put[one], self.elements.take[one])]
        return [int(at) for at in both if at >= 0]

    def missing_text(self, missing: Sequence[int], crashed: Sequence[int]) -> str:
        """That so many elements are missing, and why no crashed take explains it."""
        names = ", ".join(self.name(element) for element in missing[:SHOWN_MAX])
        more = len(missing) - SHOWN_MAX
        said = f"nobody took {names}" + (f" and {more} more" if more > 0 else "")
        if crashed:
            return f"{said}, but for {len(crashed)} of unknown outcome that may have taken one each"
        return f"{said} ({self.put_of(missing[0])})" if len(missing) == 1 else said

    def crowd_text(self, inside: Sequence[int], missing: Sequence[int], crashed: Sequence[int]) -> str:
        """What was inside, of `crowd`."""
        said = []
        for one in inside[:3]:
            until = "" if self.elements.take[one] < 0 else f", until {self.take_of(one)}"
            said.append(f"{self.name(one)} was ({self.put_of(one)}{until})")
        if len(inside) > 3:
            said.append(f"{len(inside) - 3} more were, one after another")
        if missing:
            said.append(self.missing_text(missing, crashed))
        return "; ".join(said)

    def crashed_before(self, moment: int) -> list[int]:
        """Positions of the crashed takes that had begun by then."""
        begun = int(np.searchsorted(self.crashed_start, moment, side="right"))
        return [int(at) for at in self.crashed[:begun]]


def container(calls: Calls) -> Container | Violation:
    """The history by elements, unless these alone show a violation. Raises Ambiguous."""
    model = calls.model
    assert isinstance(model, Queue)
    puts = np.flatnonzero(calls.are(model.puts))
    takes = calls.are(model.takes)
    crashed = np.flatnonzero(takes & calls.crashed)
    others = np.flatnonzero(~calls.are(model.puts) & ~calls.crashed)
    arguments, results = calls.arguments(puts), calls.results(others)
    if None in arguments:
        raise ModelFailed(f"{model.puts} null: null is what an empty container gives")
    found = np.array([result is not None for result in results], np.bool_)
    taken = others[found]
    ids = ids_of(arguments + [result for result in results if result is not None])
    count = int(ids.max(initial=-1)) + 1
    put_id, taken_id = ids[: len(puts)], ids[len(puts) :]
    # A peek takes nothing, but sees what was put.
    wrong = _strange(calls, puts, put_id, taken, taken_id, takes[taken])
    if wrong is not None:
        return wrong
    if not takes[taken].all():
        raise Ambiguous("peeks see elements; only the search knows them")
    if (np.bincount(put_id, minlength=count) > 1).any():
        raise Ambiguous("an element was put in more than once")

    take_of = np.full(count, -1, np.int64)
    take_of[taken_id] = taken
    take = take_of[put_id]
    put_start, put_finish = calls.start[puts], calls.finish[puts]
    take_start = np.where(take >= 0, calls.start[take], calls.horizon)
    take_finish = np.where(take >= 0, calls.finish[take], NEVER)
    put_finish = np.where(put_finish == calls.horizon, np.minimum(take_finish, calls.horizon), put_finish)
    elements = Elements(puts, take, put_start, put_finish, take_start, take_finish)
    matters = (take >= 0) | (put_finish < calls.horizon)
    elements, values = elements.only(matters), list(compress(arguments, matters.tolist()))
    early = np.flatnonzero(elements.take_finish < elements.put_start)
    made = Container(calls, elements, values, others[~found], crashed, calls.start[crashed])
    if len(early):
        one = int(early[0])
        return calls.violation(
            "From the future",
            f"{made.take_of(one)} before it was put in: {made.put_of(one)}.",
            made.operations_of([one]),
            int(elements.take[one]),
        )
    return made


def _strange(
    calls: Calls,
    puts: Positions,
    put_id: NDArray[np.int64],
    taken: Positions,
    taken_id: NDArray[np.int64],
    takes: NDArray[np.bool_],
) -> Violation | None:
    """An element that came from nowhere, or was taken more often than it was put in."""
    model = calls.model
    assert isinstance(model, Queue)
    count = 1 + max(int(put_id.max(initial=-1)), int(taken_id.max(initial=-1)))
    supply = np.bincount(put_id, minlength=count)
    phantom = np.flatnonzero(supply[taken_id] == 0)
    if len(phantom):
        at = int(taken[phantom[0]])
        element = calls.results(np.array([at]))[0]
        why = f"nobody ever put in {_words.value_text(element)}"
        history = calls.history
        failed = np.flatnonzero(
            (history.operations.outcome == FAIL)
            & (history.operations.key == calls.operations.key[at])
            & np.array([f == model.puts for f in history.fs])[history.operations.f]
        )
        tried = history.arguments(history.operations.take(failed))
        for row, argument in zip(failed.tolist(), tried, strict=True):
            if argument == element:
                why = f"it had been refused: {_words.describe(history, row)}"
        return calls.violation("From nowhere", f"{calls.describe(at)}, but {why}.", [at], at)
    demand = np.bincount(taken_id[takes], minlength=count)
    if (demand > supply).any():
        one = int(np.flatnonzero(demand > supply)[0])
        mine = [int(at) for at in taken[takes & (taken_id == one)][: supply[one] + 1]]
        times = "once" if supply[one] == 1 else f"{supply[one]} times"
        said = " and ".join(map(calls.describe, mine))
        summary = f"{said}, but it was put in only {times}."
        return calls.violation("Taken twice", summary, [*mine, *puts[put_id == one]], mine[-1])
    return None


def empty_moments(box: Container) -> NDArray[np.bool_]:
    """For each moment (from one event to the next) whether the container can be empty in it."""
    elements, horizon = box.elements, box.calls.horizon
    inside = elements.only(elements.solid & ~elements.missing)
    missing = elements.only(elements.missing)

    def up_to(moments: Moments) -> NDArray[np.int64]:
        return np.cumsum(np.bincount(moments, minlength=horizon))

    certain = up_to(inside.put_finish) - up_to(inside.take_start)
    explained = up_to(missing.put_finish) <= up_to(box.crashed_start)
    allowed: NDArray[np.bool_] = explained & (certain == 0)
    return allowed


def first_within(allowed: NDArray[np.bool_], start: Moments, finish: Moments) -> Moments:
    """The first allowed moment in each operation; -1: none."""
    horizon = len(allowed)
    if not len(start):
        return np.empty(0, np.int64)
    moments = np.where(allowed, np.arange(horizon), horizon)
    following = np.minimum.accumulate(moments[::-1])[::-1]
    first = following[start]
    return np.where(first < finish, first, -1)


def emptiness(box: Container, allowed: NDArray[np.bool_]) -> Violation | None:
    """One that found the container empty when it cannot have been."""
    calls = box.calls
    start, finish = calls.start[box.empty], calls.finish[box.empty]
    wrong = np.flatnonzero(first_within(allowed, start, finish) < 0)
    if not len(wrong):
        return None
    one = int(wrong[np.argmin((finish - start)[wrong])])
    at, begin, end = int(box.empty[one]), int(start[one]), int(finish[one])
    inside, missing, crashed = crowd(box, np.arange(len(box.elements)), begin, end)
    said = box.crowd_text(inside, missing, crashed)
    summary = f"{calls.describe(at)}, but it was never empty then: {said}."
    shown = [at, *box.operations_of([*inside, *missing]), *crashed]
    return calls.violation("Not empty", summary, shown, at)


def crowd(
    box: Container, which: NDArray[np.int64], begin: int, end: int
) -> tuple[list[int], list[int], list[int]]:
    """Of these elements, a few that suffice to have one inside at every moment from `begin` to `end`: those
    certainly inside, those missing, and the crashed takes that do not explain these."""
    elements = box.elements
    certain = which[~elements.missing[which]] if len(box.crashed) else which
    chosen, gaps = cover(elements.only(certain), begin, end)
    if not gaps:
        return certain[chosen].tolist(), [], []
    crashed = box.crashed_before(gaps[-1])
    missing = which[elements.missing[which]]
    missing = missing[np.argsort(elements.put_finish[missing], kind="stable")]
    return certain[chosen].tolist(), missing[: len(crashed) + 1].tolist(), crashed


def cover(elements: Elements, begin: int, end: int) -> tuple[list[int], list[int]]:
    """The fewest elements that are certainly inside from `begin` to `end`, one after another, and the moments
    at which none is."""
    order = np.argsort(elements.put_finish, kind="stable")
    order = order[elements.solid[order]]
    put_finish, leaves = elements.put_finish[order], elements.take_start[order]
    reach = np.maximum.accumulate(leaves)
    furthest = np.maximum.accumulate(np.where(leaves == reach, np.arange(len(order)), 0))
    chosen: list[int] = []
    gaps: list[int] = []
    moment = begin
    while moment < end:
        known = int(np.searchsorted(put_finish, moment, side="right"))
        if known and reach[known - 1] > moment:
            chosen.append(int(order[furthest[known - 1]]))
            moment = int(reach[known - 1])
        else:
            gaps.append(moment)
            moment += 1
    return chosen, gaps


def smallest(
    box: Container, elements: list[int], kept: list[int], wrong: Callable[[Calls], bool]
) -> list[int]:
    """Fewer of the elements that, with the operations at the `kept` positions, still are `wrong`: halves are
    dropped, quarters, ... and single ones. (If a history is a container's, it is so without any element.)"""
    calls = box.calls
    deadline = time.monotonic() + SMALLEST_SECONDS
    size = len(elements) // 2
    while size:
        at = 0
        while at < len(elements) and time.monotonic() < deadline:
            fewer = elements[:at] + elements[at + size :]
            rows = calls.rows[sorted({*box.operations_of(fewer), *kept})]
            if fewer and wrong(Calls.of(calls.history, calls.model, rows)):
                elements = fewer
            else:
                at += size
        size //= 2
    return elements
