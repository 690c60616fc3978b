"""Between simulated processes and the real machine: what they ask it for is answered, or refused.

Rules
-----
1. What has an answer in the simulation is answered by it: the time by the node's clock, chance by the
   process's own stream (the modules `time` and `random`, `os.urandom` and what is made of it), the command
   line, environment, process id and host name by the process, and `asyncio.all_tasks` by its own tasks.
   `os._exit` and `os.abort` end it. Every node's time zone is UTC.
2. What has none is `NotSimulated`, which names the call and what to use instead, and which ends the
   simulation, whatever the process makes of it: threads, files, sockets, children, signals, and
   `time.sleep`, which would stop everybody.
3. What Python reads for itself is let through: imports, the source lines of tracebacks, translations. A
   process that starts may read files, too: see `programs`.
4. A module that is imported, which happens once and to whoever is the first, draws from a stream that goes by
   its name, so that it draws the same whoever that is. One of Python's library draws from the machine: it may
   be a key that the harness uses, too.
5. The harness's own code, between the processes' callbacks or in another thread, does what it likes.

Python has no single place for this. Functions that are looked up in their module at every call are
replaced, and what is implemented in C and opens files or sockets is caught by an audit hook (PEP 578; such a
hook cannot be taken out again, so there is one, and it looks whether it is wanted). What a module imported by
name before any simulation began (`from time import monotonic`) escapes the first kind, `datetime.now` both:
the tidy test of `impl/` holds those.
"""

from __future__ import annotations

import asyncio
import gettext
import linecache
import os
import random
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

from harness.worlds.sim.loop import SimulatedLoop, Task
from harness.worlds.sim.process import Exited, Process

_WAITING = "asyncio.sleep: this would stop every node"
_FILES = "the disk port (docs/simulator.md)"
_STREAMS = "asyncio.start_server and open_connection, or the network port"
_CHILDREN = "nothing: it has no children"
_SIGNALS = "loop.add_signal_handler, which SIGTERM from the harness calls"
_LOOP = "asyncio.run(main()), once"

FENCED: Mapping[str, tuple[Any, tuple[str, ...]]] = {
    _WAITING: (time, ("sleep",)),
    "time.monotonic": (
        time,
        ("process_time", "process_time_ns", "thread_time", "thread_time_ns", "clock_gettime",
         "clock_gettime_ns"),
    ),
    "time.perf_counter": (os, ("times", "getloadavg")),
    "uuid.uuid4: this takes the machine's address and the time of whoever was the last": (
        uuid, ("getnode", "uuid1", "uuid6", "uuid7"),
    ),
    _FILES: (os, ("stat", "lstat", "access")),
    _CHILDREN: (os, ("fork", "forkpty", "kill", "killpg")),
    _SIGNALS: (signal, ("signal", "raise_signal", "alarm", "setitimer")),
    "tasks: there are no threads": (threading.Thread, ("start",)),
    _LOOP: (asyncio, ("new_event_loop", "Runner")),
}  # fmt: skip
"""What is refused, by what to use instead: where it is, and its names."""

CLOCKS = ("time", "monotonic", "perf_counter")
"""Functions of `time`, each in seconds and in `_ns`."""

OF_NOW: Mapping[str, int] = {"localtime": 0, "gmtime": 0, "ctime": 0, "asctime": 0, "strftime": 1}
"""Functions of `time` that take the present if they have no more arguments than that, or None for it."""

CHANCE = (
    "random", "uniform", "triangular", "randint", "choice", "randrange", "sample", "shuffle", "choices",
    "normalvariate", "lognormvariate", "expovariate", "vonmisesvariate", "gammavariate", "gauss",
    "betavariate", "binomialvariate", "paretovariate", "weibullvariate", "getrandbits", "randbytes",
    "getstate", "setstate", "seed",
)  # fmt: skip
"""Functions of `random`."""

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
    "_thread.start_new_thread": "tasks: there are no threads",
    "_thread.start_joinable_thread": "tasks: there are no threads",
}
"""Audit events, and what to use instead."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_READING = frozenset({"os.listdir", "os.scandir"})
"""Audit events of what changes nothing; `open` may be one, too."""

_INNOCENT = tuple(module.__file__ for module in (linecache, traceback, gettext))
"""What reads files on behalf of Python itself, besides imports (argparse has translations), by its code."""

_fenced: SimulatedLoop | None = None
_hooked = False
_imported: dict[str, random.Random] = {}
"""The streams of modules that the present simulation imported, by name."""


class Started(BaseException):
    """A program that starts has come to its `asyncio.run(main)`: unwinds what is left of its stack."""

    def __init__(self, main: Coroutine[Any, Any, Any]) -> None:
        super().__init__()
        self.main = main


@contextmanager
def fences(loop: SimulatedLoop) -> Iterator[None]:
    """Put the fences up for the processes of a loop."""
    global _fenced, _hooked
    if _fenced is not None:
        raise RuntimeError("one simulation at a time")
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked = True
    zone = _to_zone("UTC")
    replaced = [(holder, name, getattr(holder, name), fence) for holder, name, fence in _replacements()]
    for holder, name, _, fence in replaced:
        setattr(holder, name, fence)
    _fenced = loop
    _imported.clear()
    try:
        yield
    finally:
        _fenced = None
        for holder, name, real, _ in replaced:
            setattr(holder, name, real)
        _to_zone(zone)


def _to_zone(zone: str | None) -> str | None:
    """Change the time zone, which is C's and so everybody's; returns what it was."""
    before = os.environ.pop("TZ", None)
    if zone is not None:
        os.environ["TZ"] = zone
    if hasattr(time, "tzset"):  # not on every system
        time.tzset()
    return before


def _running() -> Process | None:
    """Whose code calls. (A fence that a module took for itself may outlive its simulation.)"""
    return None if _fenced is None else _fenced.asking()


def _asking() -> Process | None:
    """Whose code calls, unless it is an import: that happens once, and to whoever is the first."""
    process = _running()
    return None if process is None or _innocent() else process


def _stream() -> random.Random | None:
    """Whose chance it is: the process's, or an imported module's; None if it is the machine's."""
    process = _running()
    if process is None:
        return None
    module = _importing()
    if module is None:
        return process.random
    if module.partition(".")[0] in sys.stdlib_module_names:
        return None
    if module not in _imported:
        _imported[module] = random.Random(module)
    return _imported[module]


def _refuse(call: str, use: str) -> BaseException:
    assert _fenced is not None
    return _fenced.refuse(call, use)


def _replacements() -> Iterator[tuple[Any, str, Any]]:
    """What stands in place of what while the fences are up."""
    for use, (holder, names) in FENCED.items():
        for name in names:
            if hasattr(holder, name):
                yield holder, name, _fence(holder, name, use)
    for name in CLOCKS:
        yield time, name, _clock(name, 1e9)
        yield time, f"{name}_ns", _clock(f"{name}_ns", 1)
    for name, arguments_max in OF_NOW.items():
        yield time, name, _of_now(name, arguments_max)
    for name in CHANCE:
        if hasattr(random, name):
            yield random, name, _drawn(random, name, partial(_chance, name))
    yield random.Random, "seed", _seeding(random.Random.seed)
    for holder, name in ((os, "urandom"), (os, "getrandom"), (random, "_urandom")):
        if hasattr(holder, name):
            yield holder, name, _drawn(holder, name, _bytes)
    yield os, "getpid", _answering(os, "getpid", lambda process: process.number)
    yield os, "getppid", _answering(os, "getppid", lambda process: 1)
    yield socket, "gethostname", _answering(socket, "gethostname", lambda process: process.name)
    yield asyncio, "all_tasks", _answering(asyncio, "all_tasks", partial(_tasks, asyncio.all_tasks))
    yield os, "_exit", _answering(os, "_exit", _exit)
    yield os, "abort", _answering(os, "abort", _abort)
    yield asyncio, "run", _answering(asyncio, "run", _run)
    yield os, "environ", _Environment(os.environ)
    yield sys, "argv", _Arguments(sys.argv)


def _fence(holder: Any, name: str, use: str) -> Callable[..., Any]:
    real = getattr(holder, name)
    shown = f"{getattr(holder, '__qualname__', holder.__name__)}.{name}"

    def fenced(*args: Any, **kwargs: Any) -> Any:
        process = _asking()
        if process is None or (process.starting and use == _FILES):
            return real(*args, **kwargs)
        raise _refuse(f"{shown}()", use)

    return fenced


def _answering(holder: Any, name: str, answer: Callable[..., Any]) -> Callable[..., Any]:
    real = getattr(holder, name)

    def answering(*args: Any, **kwargs: Any) -> Any:
        process = _asking()
        return real(*args, **kwargs) if process is None else answer(process, *args, **kwargs)

    return answering


def _drawn(holder: Any, name: str, draw: Callable[..., Any]) -> Callable[..., Any]:
    real = getattr(holder, name)

    def drawn(*args: Any, **kwargs: Any) -> Any:
        stream = _stream()
        return real(*args, **kwargs) if stream is None else draw(stream, *args, **kwargs)

    return drawn


def _clock(name: str, unit: float) -> Callable[[], float]:
    """Nanoseconds, divided by the unit."""
    real: Callable[[], float] = getattr(time, name)
    wall = name.startswith("time")

    def now() -> float:
        process = _asking()
        if process is None:
            return real()
        now_ns = process.wall_ns() if wall else process.monotonic_ns()
        return now_ns if unit == 1 else now_ns / unit

    return now


def _of_now(name: str, arguments_max: int) -> Callable[..., Any]:
    real = getattr(time, name)

    of_tuple = name in ("asctime", "strftime")

    def of_now(*args: Any) -> Any:
        process = _asking()
        # In place of seconds, None is the present, too.
        given = len(args) > arguments_max and (of_tuple or args[arguments_max] is not None)
        if process is None or given:
            return real(*args)
        seconds = process.wall_ns() // 1_000_000_000
        return real(*args[:arguments_max], time.localtime(seconds) if of_tuple else seconds)

    return of_now


def _chance(name: str, stream: random.Random, *args: Any, **kwargs: Any) -> Any:
    return getattr(stream, name)(*args, **kwargs)


def _bytes(stream: random.Random, size: int, flags: int = 0) -> bytes:
    return stream.randbytes(size)


def _seeding(real: Callable[..., None]) -> Callable[..., None]:
    """`random.Random()` takes its seed from the machine, unless it is given one."""

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is None and (stream := _stream()) is not None:
            a = stream.getrandbits(64)
        real(self, a, version)

    return seed


def _tasks(real: Callable[..., set[Any]], process: Process, loop: Any = None) -> set[Any]:
    """A process that cancels all tasks on its way out must not cancel those of the other nodes."""
    return {task for task in real(loop) if isinstance(task, Task) and task.process is process}


def _exit(process: Process, code: int) -> None:
    process.exit(code)
    raise Exited


def _abort(process: Process) -> None:
    process.ended("killed by SIGABRT")
    raise Exited


def _run(process: Process, main: Coroutine[Any, Any, Any], **options: Any) -> None:
    if not process.starting:
        main.close()
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    raise Started(main)


class _Arguments(Sequence[str]):
    """`sys.argv`: the process's own, or else the harness's."""

    def __init__(self, real: list[str]) -> None:
        self._real = real

    def _own(self) -> list[str]:
        process = _running()
        return self._real if process is None else process.argv

    def __getitem__(self, at: Any) -> Any:
        return self._own()[at]

    def __len__(self) -> int:
        return len(self._own())

    def __repr__(self) -> str:
        return repr(self._own())


class _Environment(MutableMapping[str, str]):
    """`os.environ`: the process's own, or else the harness's."""

    def __init__(self, real: MutableMapping[str, str]) -> None:
        self._real = real

    def _own(self) -> MutableMapping[str, str]:
        process = _running()
        return self._real if process is None else process.environ

    def __getitem__(self, name: str) -> str:
        return self._own()[name]

    def __setitem__(self, name: str, value: str) -> None:
        self._own()[name] = value

    def __delitem__(self, name: str) -> None:
        del self._own()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._own())

    def __len__(self) -> int:
        return len(self._own())

    def copy(self) -> dict[str, str]:
        return dict(self._own())

    # As `os.environ` has it: the first two make a dict.
    def __or__(self, other: Any) -> Any:
        return dict(self._own()) | dict(other) if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Any) -> Any:
        return dict(other) | dict(self._own()) if isinstance(other, Mapping) else NotImplemented

    def __ior__(self, other: Any) -> _Environment:
        self.update(other)
        return self


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event not in _AUDITED:
        return
    process = _asking()
    if process is None:
        return
    reads = event in _READING or (event == "open" and not args[2] & _WRITING)
    if not (process.starting and reads):
        raise _refuse(f"{event}{args[:1]!r}", _AUDITED[event])


def _importing() -> str | None:
    """The innermost module that is being imported, if one is."""
    module: str | None = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if module is None and frame.f_code.co_name == "<module>":
            module = frame.f_globals.get("__name__", "")
        elif module is not None and frame.f_code.co_filename.startswith("<frozen importlib"):
            return module
        frame = frame.f_back
    return None


def _innocent() -> bool:
    """Whether Python itself does this for a process."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name in _INNOCENT or name.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
