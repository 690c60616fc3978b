"""What simulated processes say, by logging or printing, goes to their nodes' logs, and nowhere else."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from harness.worlds.sim.loop import SimulatedLoop
from harness.worlds.sim.process import Process


@contextmanager
def output(loop: SimulatedLoop) -> Iterator[None]:
    """Tell apart what processes of the loop say and what the harness says."""
    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Printed(loop, stdout), _Printed(loop, stderr)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    router, outside = _Router(loop), _Outside(loop)
    for handler in handlers:
        handler.addFilter(outside)
    root.addHandler(router)
    root.setLevel(min(level, logging.INFO))
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(router)
        for handler in handlers:
            handler.removeFilter(outside)
        sys.stdout, sys.stderr = stdout, stderr


class Log(io.TextIOBase):
    """A process's log as a file to print to."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def write(self, text: str) -> int:
        self._process.log(text)
        return len(text)


class _Printed:
    """Standard output or errors: of a process, if one is running."""

    def __init__(self, loop: SimulatedLoop, real: TextIO) -> None:
        self._loop = loop
        self._real = real

    def write(self, text: str) -> int:
        process = self._loop.asking()
        if process is None:
            return self._real.write(text)
        process.log(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Router(logging.Handler):
    """Sends what a process logs to its node's log."""

    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__(logging.INFO)
        self._loop = loop
        self.setFormatter(logging.Formatter("%(asctime)s [%(levelname)s] %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        process = self._loop.asking()
        if process is not None and process.alive:
            process.log(self._line(process, record))

    def _line(self, process: Process, record: logging.LogRecord) -> str:
        seconds, nanoseconds = divmod(process.wall_ns(), 1_000_000_000)
        stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds // 1_000_000:03}Z"
        text = f"{stamp} [{record.levelname}] {record.name}: {record.getMessage()}\n"
        if record.exc_info:
            text += logging.Formatter().formatException(record.exc_info) + "\n"
        return text


class _Outside(logging.Filter):
    """Passes what no process says."""

    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    def filter(self, record: logging.LogRecord) -> bool:
        return self._loop.asking() is None
