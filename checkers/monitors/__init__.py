"""Near-linear linearizability of data types: one monitor each, for the histories that it can decide.

Rules
-----
1. A monitor decides one object's history: it finds a violation, or None if there is an order. It never
   guesses: what it cannot decide raises Ambiguous, with the parts that are left to the general search.
2. What a monitor decides is what the model in `checkers.models` says: tests compare the two on small
   histories of every kind.
3. Crashed operations are decided too, not assumed away; each monitor's docstring says how.
4. A violation shows operations that suffice: alone, with whatever was open at its end still open, they are
   not linearizable either.

Sources: Z. H. Lee, U. Mathur, "Efficient Decrease-and-Conquer Linearizability Monitoring", OOPSLA 2025; P.
Abdulla et al., "Efficient Linearizability Monitoring", PLDI 2025. Both take complete histories; the treatment
of crashed operations, and the rest that is not theirs, is argued in each module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers import _words
from checkers.models import (
    Counter,
    Lock,
    Log,
    Model,
    Mutex,
    PriorityQueue,
    Queue,
    Semaphore,
    Set,
    Stack,
    UnorderedQueue,
)
from harness.history import INFO, History, Operations

Rows = NDArray[np.int64]
"""Positions in `History.operations`, ascending."""


class Ambiguous(Exception):
    """A monitor cannot decide this history, or only some of it: the search must, for each of `parts`."""

    def __init__(self, why: str, parts: list[Rows] | None = None) -> None:
        super().__init__(why)
        self.parts = parts
        """Independent of each other; None: all of it."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Operations that fit in no order."""

    kind: str
    """What people call it: "Out of order", "Lost element", ..."""
    summary: str
    rows: list[int]
    """The operations that show it."""
    stuck: int
    """The one of them that the sentence is about."""


@dataclass(frozen=True, slots=True)
class Calls:
    """One object's operations that count, as columns of one length in the order of their invocations."""

    history: History
    model: Model
    rows: Rows
    operations: Operations
    start: NDArray[np.int64]
    """The moment of the invocation: its place among this object's events."""
    finish: NDArray[np.int64]
    """The moment of the completion; `horizon` if it crashed."""
    horizon: int
    """Later than all events."""

    @classmethod
    def of(cls, history: History, model: Model, rows: Rows) -> Calls:
        operations = history.operations.take(rows)
        start, complete = operations.invoke.astype(np.int64), operations.complete.astype(np.int64)
        crashed = operations.outcome >= INFO
        horizon = len(history)
        if 4 * len(rows) < horizon:  # one object of many: kernels walk along all events
            events = np.sort(np.concatenate([start, complete[~crashed]]))
            start, complete = np.searchsorted(events, start), np.searchsorted(events, complete)
            horizon = len(events)
        finish = np.where(crashed, horizon, complete)
        return cls(history, model, rows, operations, start, finish, horizon)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def crashed(self) -> NDArray[np.bool_]:
        crashed: NDArray[np.bool_] = self.finish == self.horizon
        return crashed

    def are(self, f: str) -> NDArray[np.bool_]:
        """Which have that function."""
        named = np.array([name == f for name in self.history.fs], np.bool_)
        return named[self.operations.f]

    def arguments(self, which: NDArray[Any]) -> list[Any]:
        return self.history.arguments(self.operations.take(which))

    def results(self, which: NDArray[Any]) -> list[Any]:
        return self.history.results(self.operations.take(which))

    def describe(self, at: int) -> str:
        """The operation at that position, in words."""
        return _words.describe(self.history, int(self.rows[at]))

    def violation(self, kind: str, summary: str, positions: Iterable[int], stuck: int) -> Violation:
        """What operations at these positions show."""
        rows = sorted({int(self.rows[at]) for at in positions})
        return Violation(kind, summary, rows, int(self.rows[stuck]))


Monitor = Callable[[Calls], Violation | None]
"""Raises Ambiguous, or `checkers.models.ModelFailed` of operations that the model does not have."""


def monitor_of(model: Model) -> Monitor | None:
    """What decides histories of that model, if anything but the search does."""
    # The kernels' modules are imported when they are wanted: numba takes long to import.
    from checkers.monitors import counter, lock, log, priority_queue, queue, semaphore, sets, stack

    monitors: dict[type[Model], Monitor] = {
        Queue: queue.monitor,
        UnorderedQueue: queue.monitor,
        Stack: stack.monitor,
        Mutex: semaphore.monitor,
        Semaphore: semaphore.monitor,
        Lock: lock.monitor,
        Counter: counter.monitor,
        Set: sets.monitor,
        Log: log.monitor,
        PriorityQueue: priority_queue.monitor,
    }
    # A subclass of one's own may have rules of its own.
    return monitors.get(type(model))
