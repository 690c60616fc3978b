"""The command: `proconsul agent ...`, also `python -m impl agent ...`.

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
import contextlib
import errno
import gc
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import uvloop

from impl.command_line import LOG_LEVELS, USAGE, BrokenConfig, UsageError, load, with_node_id
from impl.config import AgentConfig
from impl.http import serve
from impl.ports import Ports
from impl.server.agent import Agent
from impl.server.servers import VERSION
from impl.state import StateError
from impl.storage import Corrupt, DiskFailed
from impl.system import SystemDisk, system_ports

OK, USAGE_ERROR, BROKEN_INPUT, BUG, MACHINE_ERROR = 0, 64, 65, 70, 71

STOP_SECONDS = 9.0
"""How long a graceful leave may take (clients of agents expect them to be gone within 10 s)."""

log = logging.getLogger("agent")

AgentFactory = Callable[[AgentConfig, Ports], Agent]


def main(argv: Sequence[str] | None = None, agent: AgentFactory = Agent) -> int:
    """Run the command line; returns the exit code. `agent` makes the agent: a test may use a broken one."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    match arguments:
        case ["agent", *rest]:
            return _run_agent(rest, agent)
        case ["version"] | ["-version"] | ["--version"]:
            sys.stdout.write(f"proconsul {VERSION}\n")
            return OK
        case ["-h"] | ["-help"] | ["--help"] | ["help"]:
            sys.stdout.write(f"{USAGE}\n       proconsul version\n")
            return OK
    return _complain(USAGE_ERROR, f"expected a command: agent or version\n{USAGE}")


def _run_agent(arguments: Sequence[str], make: AgentFactory) -> int:
    if {"-h", "-help", "--help"} & set(arguments):
        sys.stdout.write(f"{USAGE}\n")
        return OK
    try:
        config, warnings = load(arguments)
        _set_up_logging(config.log_level)
        for warning in warnings:
            log.warning("%s", warning)
        with _data_directory(config) as directory:
            disk = SystemDisk(directory)
            try:
                config = with_node_id(config, directory)
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(_serve(config, make, disk))
            finally:
                disk.close()
    except UsageError as error:
        return _complain(USAGE_ERROR, str(error))
    except (BrokenConfig, StateError) as error:
        return _complain(BROKEN_INPUT, str(error))
    except Corrupt as error:
        return _complain(
            BROKEN_INPUT,
            f"{config.data_dir}: {error}\nDo not repair it by hand: remove this server from the cluster, "
            "empty its data directory, and start it again as a new one.",
        )
    except DiskFailed as error:
        return _complain(MACHINE_ERROR, f"{config.data_dir}: {error}: make room, or replace the disk")
    except OSError as error:
        return _complain(MACHINE_ERROR, _explain(error))
    except Exception as error:
        log.exception("a bug")
        return _complain(BUG, f"{type(error).__name__}: {error}")
    return OK


async def _serve(config: AgentConfig, make: AgentFactory, disk: SystemDisk) -> None:
    """Bring the agent up, wait for its end, take it down."""
    ports = system_ports(disk)
    agent = make(config, ports)
    try:
        # The API first: who polls it learns that the agent is there, and a taken port is told at once.
        api = await serve(agent, ports)
        try:
            await agent.start()
            _handle_signals(agent, config)
            # What lives now lives as long as the agent: the collector need not look at it again.
            gc.freeze()
            await agent.run()
        finally:
            await api.close()
    finally:
        await agent.stop(leave=False)


def _handle_signals(agent: Agent, config: AgentConfig) -> None:
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

    loop.add_signal_handler(signal.SIGINT, received, signal.SIGINT, config.leave_on_interrupt)
    loop.add_signal_handler(signal.SIGTERM, received, signal.SIGTERM, config.leave_on_terminate)


@contextlib.contextmanager
def _data_directory(config: AgentConfig) -> Iterator[Path]:
    """The configured one, or with -dev one that goes with the agent."""
    if config.data_dir is not None:
        yield config.data_dir
        return
    with tempfile.TemporaryDirectory(prefix="proconsul-") as directory:
        yield Path(directory)


def _explain(error: OSError) -> str:
    text = str(error)
    if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
        return f"{text}: see -bind, -client, -http-port, -server-port and -serf-lan-port"
    return f"{text}: see -data-dir" if error.filename else text


def _complain(code: int, text: str) -> int:
    sys.stderr.write(f"proconsul: {text}\n")
    return code


def _set_up_logging(level: str) -> None:
    """To standard error, a line each, as Consul has them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.basicConfig(level=LOG_LEVELS[level], handlers=[handler])
    logging.getLogger("asyncio").setLevel(logging.WARNING)


_LEVEL_NAMES = {"WARNING": "WARN", "CRITICAL": "ERROR"}


class _Formatter(logging.Formatter):
    """`2026-11-24T03:04:50.123Z [INFO]  agent.raft: entering leader state`."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        level = f"[{_LEVEL_NAMES.get(record.levelname, record.levelname)}]"
        line = f"{at}.{int(record.msecs):03d}Z {level:<7} {record.name}: {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


if __name__ == "__main__":
    sys.exit(main())
