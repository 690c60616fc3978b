"""A node's clock: virtual time, as far off as a nemesis sets it.

The monotonic clock starts at a time of its own and runs at a rate of its own; it never goes back, whatever
the rate becomes. The wall clock is the simulation's, off by an offset that may jump either way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from harness.worlds.sim.loop import Callback, Process, SimulatedLoop

EPOCH_NS = 1_767_225_600_000_000_000
"""The wall time at which every simulation begins: 2026-01-01T00:00:00Z."""


class Clock:
    """One node's clock. It outlives processes; `of` gives one of them its port."""

    def __init__(self, loop: SimulatedLoop, started_ns: int) -> None:
        """`started_ns`: what the monotonic clock shows at the beginning."""
        self.wall_offset_ns = 0
        self._loop = loop
        self._rate = 1.0
        self._since_ns = loop.now_ns
        self._base_ns = started_ns

    def of(self, process: Process) -> ProcessClock:
        return ProcessClock(self, self._loop, process)

    @property
    def rate(self) -> float:
        """Seconds of this clock per second."""
        return self._rate

    def run_at(self, rate: float) -> None:
        """From now on, so many seconds per second."""
        self._base_ns, self._since_ns, self._rate = self.monotonic_ns(), self._loop.now_ns, rate

    def monotonic_ns(self) -> int:
        passed_ns = self._loop.now_ns - self._since_ns
        return self._base_ns + (passed_ns if self._rate == 1.0 else int(passed_ns * self._rate))

    def wall_ns(self) -> int:
        return EPOCH_NS + self._loop.now_ns + self.wall_offset_ns

    def until(self, when_ns: int) -> int:
        """When it shows `when_ns` at the earliest, in the simulation's time."""
        left_ns = when_ns - self.monotonic_ns()
        if left_ns <= 0:
            return self._loop.now_ns
        return self._loop.now_ns + (left_ns if self._rate == 1.0 else int(left_ns / self._rate) + 1)


class ProcessClock:
    """The clock port of one process."""

    def __init__(self, clock: Clock, loop: SimulatedLoop, process: Process) -> None:
        self._clock = clock
        self._loop = loop
        self._process = process
        self.monotonic_ns = clock.monotonic_ns
        self.wall_ns = clock.wall_ns

    def call_at(self, when_ns: int, callback: Callable[[], None]) -> Timer:
        return Timer(self._clock, self._loop, when_ns, callback)

    async def sleep(self, duration_ns: int) -> None:
        over: asyncio.Future[None] = self._loop.create_future()

        def wake() -> None:
            if not over.done():  # cancelled in the very turn in which the time is over
                over.set_result(None)

        timer = self.call_at(self._clock.monotonic_ns() + duration_ns, wake)
        try:
            await over
        finally:
            timer.cancel()


class Timer:
    """A pending call that never comes early, though the clock's rate may change meanwhile."""

    __slots__ = ("_callback", "_clock", "_handle", "_loop", "_when_ns")

    def __init__(self, clock: Clock, loop: SimulatedLoop, when_ns: int, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._loop = loop
        self._when_ns = when_ns
        self._callback = callback
        self._handle: Callback = loop.at(clock.until(when_ns), self._fire)

    def cancel(self) -> None:
        self._handle.cancel()

    def _fire(self) -> None:
        if self._clock.monotonic_ns() < self._when_ns:
            self._handle = self._loop.at(self._clock.until(self._when_ns), self._fire)
        else:
            self._callback()
