"""Keeps simulated processes from the real machine: its time, chance, threads, files and sockets.

While a simulation runs, code that belongs to a process and calls one of `FENCED` gets `NotSimulated`, which
names the call and what to use instead, and which ends the simulation, whatever the process makes of it. The
harness's own code, between the processes' callbacks, does what it likes. So does what only looks into source
files: imports, and the printing of tracebacks.

Some calls are answered instead: a process's id is its number, `os._exit` and `os.abort` end it, and what asks
for the time of a log record gets the node's.

Two kinds of fence, since Python has no single place for it: functions that are looked up in their module at
every call are replaced, and what is implemented in C and opens files or sockets is caught by an audit hook
(PEP 578; such a hook cannot be taken out again, so there is one, and it looks whether it is wanted). What has
been imported by name before (`from time import monotonic`) escapes the first kind, `datetime.now` both: the
tidy test of `impl/` holds those.
"""

from __future__ import annotations

import linecache
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from harness.worlds.sim.loop import SimulatedLoop
from harness.worlds.sim.process import Exited, Process

_TIME = "the clock port, or the event loop's time"
_CHANCE = "the random port"
_FILES = "the disk port"
_STREAMS = "the network port, or asyncio's streams"
_CHILDREN = "nothing: it has no children"
_SIGNALS = "loop.add_signal_handler, which SIGTERM from the harness calls"

FENCED: Mapping[str, tuple[Any, tuple[str, ...]]] = {
    _TIME: (
        time,
        (
            "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time",
            "process_time_ns", "thread_time", "thread_time_ns", "clock_gettime", "clock_gettime_ns", "sleep",
        ),
    ),
    _CHANCE: (
        random,
        (
            "random", "uniform", "triangular", "randint", "choice", "randrange", "sample", "shuffle",
            "choices", "normalvariate", "lognormvariate", "expovariate", "vonmisesvariate", "gammavariate",
            "gauss", "betavariate", "binomialvariate", "paretovariate", "weibullvariate", "getrandbits",
            "randbytes", "seed", "getstate", "setstate", "_urandom",
        ),
    ),
    _CHANCE + " ": (os, ("urandom", "getrandom")),
    _FILES: (os, ("stat", "lstat", "access")),
    _CHILDREN: (os, ("fork", "forkpty", "kill", "killpg")),
    _SIGNALS: (signal, ("signal", "raise_signal", "alarm", "setitimer")),
    "tasks": (threading.Thread, ("start",)),
}  # fmt: skip
"""What is replaced, by what to use instead: where it is, and its names."""

_OF_NOW: Mapping[str, int] = {"localtime": 0, "gmtime": 0, "ctime": 0, "asctime": 0, "strftime": 1}
"""Functions of `time` that take the present if they have no more arguments than that."""

_AUDITED: Mapping[str, str] = {
    "open": _FILES,
    "os.chmod": _FILES,
    "os.link": _FILES,
    "os.listdir": _FILES,
    "os.mkdir": _FILES,
    "os.remove": _FILES,
    "os.rename": _FILES,
    "os.rmdir": _FILES,
    "os.scandir": _FILES,
    "os.symlink": _FILES,
    "os.truncate": _FILES,
    "socket.__new__": _STREAMS,
    "socket.bind": _STREAMS,
    "socket.connect": _STREAMS,
    "socket.getaddrinfo": _STREAMS,
    "socket.gethostbyname": _STREAMS,
    "os.exec": _CHILDREN,
    "os.posix_spawn": _CHILDREN,
    "os.spawn": _CHILDREN,
    "os.system": _CHILDREN,
    "subprocess.Popen": _CHILDREN,
    "_thread.start_new_thread": "tasks",
    "_thread.start_joinable_thread": "tasks",
}
"""Audit events, and what to use instead."""

_INNOCENT = tuple(module.__file__ for module in (linecache, traceback))
"""What reads source files on behalf of Python itself, besides imports, by where its code is."""

_fenced: SimulatedLoop | None = None
_hooked = False


@contextmanager
def fences(loop: SimulatedLoop) -> Iterator[None]:
    """Put the fences up for the processes of a loop."""
    global _fenced, _hooked
    if _fenced is not None:
        raise RuntimeError("one simulation at a time")
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked = True
    replaced = [(holder, name, getattr(holder, name), fence) for holder, name, fence in _replacements(loop)]
    for holder, name, _, fence in replaced:
        setattr(holder, name, fence)
    _fenced = loop
    try:
        yield
    finally:
        _fenced = None
        for holder, name, real, _ in replaced:
            setattr(holder, name, real)


def _replacements(loop: SimulatedLoop) -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    """What stands in place of what while the fences are up."""
    for use, (holder, names) in FENCED.items():
        for name in names:
            if hasattr(holder, name):
                yield holder, name, _fence(loop, holder, name, use.strip())
    for name, least in _OF_NOW.items():
        yield time, name, _fence(loop, time, name, _TIME, least)
    yield random.Random, "seed", _seed(loop)
    for name, answer in (("getpid", _process_id), ("_exit", _exit), ("abort", _abort)):
        yield os, name, _answering(loop, getattr(os, name), answer)


def _fence(
    loop: SimulatedLoop, holder: Any, name: str, use: str, arguments_max: int | None = None
) -> Callable[..., Any]:
    """Refuses; if it is about the number of arguments, only with so many."""
    real = getattr(holder, name)
    shown = f"{getattr(holder, '__qualname__', holder.__name__)}.{name}"
    stamps = shown in ("time.time", "time.time_ns")

    def fenced(*args: Any, **kwargs: Any) -> Any:
        process = loop.running
        if process is None or (arguments_max is not None and len(args) > arguments_max):
            return real(*args, **kwargs)
        if stamps and sys._getframe(1).f_globals.get("__name__") == "logging":
            return process.wall_ns() / 1e9 if name == "time" else process.wall_ns()
        if _innocent():
            return real(*args, **kwargs)
        raise loop.refuse(f"{shown}()", use)

    return fenced


def _seed(loop: SimulatedLoop) -> Callable[..., Any]:
    """`random.Random()` takes its seed from the machine, unless it is given one."""
    real = random.Random.seed

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is None and loop.running is not None:
            raise loop.refuse("random.Random() without a seed", _CHANCE)
        real(self, a, version)

    return seed


def _answering(
    loop: SimulatedLoop, real: Callable[..., Any], answer: Callable[..., Any]
) -> Callable[..., Any]:
    def answering(*args: Any) -> Any:
        process = loop.running
        return real(*args) if process is None else answer(process, *args)

    return answering


def _process_id(process: Process) -> int:
    return process.number


def _exit(process: Process, code: int) -> None:
    process.exit(code)
    raise Exited


def _abort(process: Process) -> None:
    process.ended("killed by SIGABRT")
    raise Exited


def _audit(event: str, args: tuple[Any, ...]) -> None:
    loop = _fenced
    if loop is None or loop.running is None or event not in _AUDITED:
        return
    if not _innocent():
        raise loop.refuse(f"{event}{args[:1]!r}", _AUDITED[event])


def _innocent() -> bool:
    """Whether Python itself does this for a process: it imports a module, or prints a traceback."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name in _INNOCENT or name.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
