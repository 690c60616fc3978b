"""A callback that does not return stops a simulation for good, and only the real machine's time can tell.

Rules
-----
1. A process that has computed for `ENDLESS_SECONDS` in one callback, or for twice as long at most, is
   `Endless`: the message says who it is, and where. Time in which the machine does something else does not
   count, nor what the harness computes.
2. It interrupts Python code; a loop in somebody's C code cannot be helped.
3. It needs an interval timer and the main thread, and leaves a timer alone that somebody else has set. Where
   there is none, an endless callback is endless.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from harness.worlds import WorldError
from harness.worlds.sim.loop import SimulatedLoop, caller
from harness.worlds.sim.process import Exited

ENDLESS_SECONDS = 30.0
"""Of the processor's time."""


class Endless(WorldError):
    """A process does not come back from a callback: the message says where it is."""


@contextmanager
def watched(loop: SimulatedLoop) -> Iterator[None]:
    """End the loop with `Endless` when there is one."""
    if (
        not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGVTALRM) is not signal.SIG_DFL
    ):
        yield
        return
    seen = -1

    def look(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        process = loop.running
        if process is not None and loop.callbacks == seen:
            loop.fail(
                Endless(
                    f"{process.name} has computed for {ENDLESS_SECONDS:g} s and does not come back from a "
                    f"callback at {loop.time():.9f} s: it is at {caller(frame)}"
                )
            )
            loop.kill(process)  # the dead do not complain of how they ended
            raise Exited
        seen = loop.callbacks

    signal.signal(signal.SIGVTALRM, look)
    signal.setitimer(signal.ITIMER_VIRTUAL, ENDLESS_SECONDS, ENDLESS_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
