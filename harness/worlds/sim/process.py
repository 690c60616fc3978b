"""A simulated process, as everything in the sim world knows it.

Whose code is running is a context variable: tasks and callbacks inherit it as asyncio's contexts are
inherited, so that whatever a process sets in motion belongs to it.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from harness.worlds import WorldError

if TYPE_CHECKING:
    from harness.worlds.sim.loop import Callback
    from harness.worlds.sim.network import ProcessNetwork


class NotSimulated(WorldError):
    """A simulated process has asked the real machine for something: the message says what to use instead."""


class Exited(BaseException):
    """The process has ended itself in the middle of a call: unwinds what is left of its stack."""


class Process:
    """One process on a node: where callbacks belong, whether they run, and what it has been given."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        """Among all of a simulation: what it sees as its process id, and what the trace is made of."""
        self.alive = True
        self.paused = False
        self.runs = True
        """Alive, and not paused."""
        self.backlog: list[Callback] = []
        """What would have run while it was paused."""
        self.observer: Callable[[], None] | None = None
        """Called after each of its callbacks."""
        self.signals: dict[int, Callable[[], object]] = {}
        self.exception_handler: Handler | None = None
        """What it has set for what nobody handles."""
        self.stopping = False
        """Whether it was asked to end."""
        self.network: ProcessNetwork | None = None
        """Where asyncio's own `create_connection` and the like lead."""
        self.wall_ns: Callable[[], int] = lambda: 0
        self.monotonic_ns: Callable[[], int] = lambda: 0
        """What its node's clock shows: its `time.time()` and `time.monotonic()`."""
        self.random = Random(number)
        """Its random port, and what it draws from the module `random` and the like."""
        self.argv: list[str] = []
        self.environ: dict[str, str] = {}
        self.starting = False
        """It has not come to its `asyncio.run` yet."""
        self.log: Callable[[str], None] = lambda text: None
        """Writes to its log."""
        self.ended: Callable[[str], None] = lambda status: None
        """Called when it ends itself, with its status in words."""
        self.context = contextvars.copy_context()
        """The one to copy: a context can run one callback at a time."""
        self.context.run(CURRENT.set, self)

    def exit(self, code: object) -> None:
        """End it, as `sys.exit(code)` does."""
        if code is None:
            code = 0
        elif not isinstance(code, int):
            self.log(f"{code}\n")
            code = 1
        self.ended(f"exit status {code & 0xFF}")

    async def halt_if_dead(self) -> None:
        """For the ports: who died in the middle of a callback of its own gets no further than this."""
        if not self.alive:
            await asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<Process {self.name}>"


CURRENT: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)
"""Of a context: the process that it belongs to."""


def current_process() -> Process | None:
    """The process in whose context this is called; None in the harness's."""
    return CURRENT.get()


def harness_context() -> contextvars.Context:
    """A new context that belongs to no process."""
    return contextvars.Context()


Details = dict[str, Any]
"""What asyncio tells an exception handler."""

Handler = Callable[[asyncio.AbstractEventLoop, Details], object]
"""An exception handler."""
