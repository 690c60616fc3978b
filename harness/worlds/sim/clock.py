"""A node's clock: virtual time, as far off as a nemesis sets it.

The monotonic clock starts at a time of its own and runs at a rate of its own; it never goes back, whatever
the rate becomes. The wall clock is the simulation's, off by an offset that may jump either way. Timers go by
the monotonic clock, and come neither early nor late by it, though its rate may change while they are set.

What a process does with asyncio's own timers (`asyncio.sleep`, time-outs) goes by true time.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

from harness.worlds.sim.loop import Callback, SimulatedLoop
from harness.worlds.sim.process import CURRENT

EPOCH_NS = 1_767_225_600_000_000_000
"""The wall time at which every simulation begins: 2026-01-01T00:00:00Z."""

PPB = 1_000_000_000
"""Rates are kept in billionths, so that there is no rounding."""


class Clock:
    """One node's clock, and the clock port of its processes."""

    def __init__(self, loop: SimulatedLoop, started_ns: int) -> None:
        """`started_ns`: what the monotonic clock shows at the beginning."""
        self.wall_offset_ns = 0
        self._loop = loop
        self._rate_ppb = PPB
        self._since_ns = loop.now_ns
        self._base_ns = started_ns

    @property
    def rate(self) -> float:
        """Seconds of this clock per second."""
        return self._rate_ppb / PPB

    def run_at(self, rate: float) -> None:
        """From now on, so many seconds per second. More than none: a clock does not stand still."""
        rate_ppb = round(rate * PPB)
        if rate_ppb <= 0:
            raise ValueError(f"a clock's rate must be positive, not {rate}")
        self._base_ns, self._since_ns, self._rate_ppb = self.monotonic_ns(), self._loop.now_ns, rate_ppb
        timers = [t for t in self._loop.timers() if isinstance(t, Timer) and t.clock is self]
        for timer in timers:
            timer.when_ns = max(self._loop.now_ns, self.until(timer.due_ns))
        self._loop.set_anew(timers)

    def monotonic_ns(self) -> int:
        passed_ns = self._loop.now_ns - self._since_ns
        if self._rate_ppb != PPB:
            passed_ns = passed_ns * self._rate_ppb // PPB
        return self._base_ns + passed_ns

    def wall_ns(self) -> int:
        return EPOCH_NS + self._loop.now_ns + self.wall_offset_ns

    def call_at(self, when_ns: int, callback: Callable[[], None]) -> Timer:
        at_ns, context = max(self._loop.now_ns, self.until(when_ns)), contextvars.copy_context()
        timer = Timer(at_ns, callback, (), context, context.get(CURRENT), self, when_ns)
        self._loop.set(timer)
        return timer

    async def sleep(self, duration_ns: int) -> None:
        over: asyncio.Future[None] = self._loop.create_future()

        def wake() -> None:
            if not over.done():  # cancelled in the very turn in which the time is over
                over.set_result(None)

        timer = self.call_at(self.monotonic_ns() + duration_ns, wake)
        try:
            await over
        finally:
            timer.cancel()

    def until(self, when_ns: int) -> int:
        """When it shows `when_ns` first, in the simulation's time."""
        left_ns = when_ns - self._base_ns
        if self._rate_ppb != PPB:
            left_ns = -(-left_ns * PPB // self._rate_ppb)
        return self._since_ns + left_ns


class Timer(Callback, eq=False):
    """A pending call."""

    clock: Clock
    due_ns: int
    """By that clock."""
