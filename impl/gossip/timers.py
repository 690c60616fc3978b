"""Calls to be made at given times, in the order of their times and, at one time, of their making."""

from __future__ import annotations

import heapq
from collections.abc import Callable

NEVER_NS = 1 << 63
"""Later than any clock."""


class Timer:
    """A pending call."""

    __slots__ = ("callback", "due_ns")

    def __init__(self, due_ns: int, callback: Callable[[], None]) -> None:
        self.due_ns = due_ns
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """The call will not be made. Harmless if it was."""
        self.callback = None


class Timers:
    """A heap of timers. Cancelled ones stay in it until their time, so `deadline_ns` looks past them."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        self._serial = 0

    def at(self, due_ns: int, callback: Callable[[], None]) -> Timer:
        timer = Timer(due_ns, callback)
        self._serial += 1
        heapq.heappush(self._heap, (due_ns, self._serial, timer))
        return timer

    @property
    def deadline_ns(self) -> int:
        """When the next call is due; `NEVER_NS` if there is none."""
        while self._heap and self._heap[0][2].callback is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else NEVER_NS

    def run(self, now_ns: int) -> None:
        """Make all calls that are due, also those that these calls add."""
        while self.deadline_ns <= now_ns:
            _, _, timer = heapq.heappop(self._heap)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
