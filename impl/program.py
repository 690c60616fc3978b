"""An agent as a program: from a command line to an exit code, on whatever ports it is given.

`impl.__main__` runs it on the real ports. A simulator runs the same on its own, by a convention that any
asyncio program can follow: a module has `program(arguments)`, which reads the command line and returns what
runs; that may have an attribute `watch`, which makes what is verified of all such processes at every step.

Exit codes (sysexits.h, where it has one)
-----------------------------------------
0   it was asked to stop, and did
64  the command line is wrong
65  what it was given is broken: a configuration file, the log or the snapshot in the data directory
70  a bug, or an invariant of Raft violated: the log has the details
71  the machine refused something: a port in use, a disk that is full or fails, a directory in use
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from impl.command_line import BrokenConfig, UsageError, load, with_node_id
from impl.config import AgentConfig
from impl.http import serve
from impl.ports import Ports
from impl.server.agent import Agent
from impl.state import StateError
from impl.storage import Corrupt, DiskFailed

if TYPE_CHECKING:
    from impl.invariants import Watch

OK, USAGE_ERROR, BROKEN_INPUT, BUG, MACHINE_ERROR = 0, 64, 65, 70, 71

STOP_SECONDS = 9.0
"""How long a graceful leave may take (clients of agents expect them to be gone within 10 s)."""

log = logging.getLogger("agent")

AgentFactory = Callable[[AgentConfig, Ports], Agent]


class Failed(Exception):
    """The program cannot go on. `code` is its exit code, the text says why and what to do."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Program:
    """One agent, from its start to its end. `make` makes it: a test may use one with a known bug."""

    config: AgentConfig
    warnings: list[str]
    make: AgentFactory = Agent
    agent: Agent | None = None
    """Once it runs."""

    @staticmethod
    def watch() -> Watch:
        """For simulators: what is promised of all agents of a cluster together."""
        from impl.invariants import Watch

        return Watch()

    async def __call__(self, ports: Ports) -> int:
        """Run it; returns 0 once it was asked to stop. Raises Failed."""
        try:
            await self._serve(ports)
        except BrokenConfig as error:
            raise Failed(BROKEN_INPUT, str(error)) from error
        except StateError as error:
            raise Failed(BROKEN_INPUT, str(error)) from error
        except Corrupt as error:
            text = (
                f"{self.config.data_dir}: {error}\nDo not repair it by hand: remove this server from the "
                "cluster, empty its data directory, and start it again as a new one."
            )
            raise Failed(BROKEN_INPUT, text) from error
        except DiskFailed as error:
            text = f"{self.config.data_dir}: {error}: make room, or replace the disk"
            raise Failed(MACHINE_ERROR, text) from error
        except OSError as error:
            raise Failed(MACHINE_ERROR, explain(error)) from error
        except Exception as error:
            log.exception("a bug")
            raise Failed(BUG, f"{type(error).__name__}: {error}") from error
        return OK

    async def _serve(self, ports: Ports) -> None:
        """Bring the agent up, wait for its end, take it down."""
        for warning in self.warnings:
            log.warning("%s", warning)
        agent = self.agent = self.make(await with_node_id(self.config, ports), ports)
        try:
            # The API first: who polls it learns that the agent is there, and a taken port is told at once.
            api = await serve(agent, ports)
            try:
                await agent.start()
                _handle_signals(agent)
                await agent.run()
            finally:
                await api.close()
        finally:
            await agent.stop(leave=False)


def program(arguments: Sequence[str], make: AgentFactory = Agent) -> Program:
    """What the arguments behind `proconsul` ask for, which must be an agent. Raises Failed."""
    if arguments[:1] != ["agent"]:
        raise Failed(USAGE_ERROR, "expected: agent ...")
    try:
        config, warnings = load(arguments[1:])
    except UsageError as error:
        raise Failed(USAGE_ERROR, str(error)) from error
    except BrokenConfig as error:
        raise Failed(BROKEN_INPUT, str(error)) from error
    return Program(config, warnings, make)


def explain(error: OSError) -> str:
    """An error of the machine, and the flag that has to do with it."""
    text = str(error)
    if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
        return f"{text}: see -bind, -client, -http-port, -server-port and -serf-lan-port"
    return f"{text}: see -data-dir" if error.filename else text


def _handle_signals(agent: Agent) -> None:
    """The first signal ends the agent in order, the second one at once."""
    loop = asyncio.get_running_loop()
    ending: list[asyncio.Task[None]] = []

    async def end(leave: bool) -> None:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await agent.stop(leave=leave)
        except TimeoutError:
            log.warning("leaving took too long")
        await agent.stop(leave=False)

    def received(number: signal.Signals, leave: bool) -> None:
        if ending:
            os._exit(128 + number)
        log.info("caught %s: %s", number.name, "leaving" if leave else "stopping")
        ending.append(loop.create_task(end(leave)))

    loop.add_signal_handler(signal.SIGINT, received, signal.SIGINT, agent.config.leave_on_interrupt)
    loop.add_signal_handler(signal.SIGTERM, received, signal.SIGTERM, agent.config.leave_on_terminate)
