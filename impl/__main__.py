"""The command: `proconsul agent ...`, also `python -m impl agent ...`. Exit codes: see `impl.program`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from impl.command_line import LOG_LEVELS, USAGE
from impl.config import AgentConfig
from impl.program import MACHINE_ERROR, OK, USAGE_ERROR, AgentFactory, Failed, Program, explain, program
from impl.server.agent import Agent
from impl.server.servers import VERSION

__all__ = ["main", "program"]


def main(argv: Sequence[str] | None = None, agent: AgentFactory = Agent) -> int:
    """Run the command line; returns the exit code. `agent` makes the agent: a test may use a broken one."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    match arguments:
        case ["agent", *rest]:
            if {"-h", "-help", "--help"} & set(rest):
                sys.stdout.write(f"{USAGE}\n")
                return OK
            return _run_agent(arguments, agent)
        case ["version"] | ["-version"] | ["--version"]:
            sys.stdout.write(f"proconsul {VERSION}\n")
            return OK
        case ["-h"] | ["-help"] | ["--help"] | ["help"]:
            sys.stdout.write(f"{USAGE}\n       proconsul version\n")
            return OK
    return _complain(USAGE_ERROR, f"expected a command: agent or version\n{USAGE}")


def _run_agent(arguments: Sequence[str], agent: AgentFactory) -> int:
    try:
        made = program(arguments, agent)
        _set_up_logging(made.config.log_level)
        with _data_directory(made.config) as directory:
            return _run_on_this_machine(made, directory)
    except Failed as failure:
        return _complain(failure.code, str(failure))
    except OSError as error:
        return _complain(MACHINE_ERROR, explain(error))


def _run_on_this_machine(made: Program, directory: Path) -> int:
    # Not where a simulator imports this module: it may run where there is neither.
    import uvloop

    from impl.system import SystemDisk, system_ports

    disk = SystemDisk(directory)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            # What lives once the modules are loaded lives as long as the agent: the collector need not look
            # at it again.
            gc.freeze()
            return runner.run(made(system_ports(disk)))
    finally:
        disk.close()


@contextlib.contextmanager
def _data_directory(config: AgentConfig) -> Iterator[Path]:
    """The configured one, or with -dev one that goes with the agent."""
    if config.data_dir is not None:
        yield config.data_dir
        return
    with tempfile.TemporaryDirectory(prefix="proconsul-") as directory:
        yield Path(directory)


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
