"""Keeps simulated processes from the real machine: its time, chance, threads, files and sockets.

While a simulation runs, code that belongs to a process and calls one of `FENCED` gets `NotSimulated`, which
names the call and what to use instead, and which ends the simulation. The harness's own code, between the
processes' callbacks, does what it likes.

Two kinds of fence, since Python has no single place for it: functions that are looked up in their module at
every call are replaced, and what is implemented in C and opens files or sockets is caught by an audit hook
(PEP 578; such a hook cannot be taken out again, so there is one, and it looks whether it is wanted). What has
been imported by name before (`from time import monotonic`) escapes the first kind, `datetime.now` both: the
tidy test of `impl/` holds those.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from harness.worlds.sim.loop import NotSimulated, SimulatedLoop

FENCED: Mapping[str, tuple[Any, tuple[str, ...], str]] = {
    "time": (
        time,
        (
            "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns",
            "process_time", "sleep",
        ),
        "the clock port, or the event loop's time",
    ),
    "random": (
        random,
        (
            "random", "randint", "randrange", "choice", "choices", "shuffle", "sample", "uniform",
            "getrandbits", "expovariate", "gauss",
        ),
        "the random port",
    ),
    "os": (os, ("urandom", "getrandom", "fork"), "the random port"),
    "threading.Thread": (threading.Thread, ("start",), "tasks"),
}  # fmt: skip
"""What is replaced: where it is, its names, and what to use instead."""

_AUDITED: Mapping[str, str] = {
    "open": "the disk port",
    "os.listdir": "the disk port",
    "os.mkdir": "the disk port",
    "os.remove": "the disk port",
    "os.rename": "the disk port",
    "os.scandir": "the disk port",
    "os.truncate": "the disk port",
    "socket.__new__": "the network port",
    "socket.bind": "the network port",
    "socket.connect": "the network port",
    "socket.getaddrinfo": "the network port",
    "subprocess.Popen": "nothing: a process of a simulation has no children",
    "os.system": "nothing: a process of a simulation has no children",
    "os.posix_spawn": "nothing: a process of a simulation has no children",
    "_thread.start_new_thread": "tasks",
}
"""Audit events, and what to use instead."""

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
    saved = [
        (holder, name, getattr(holder, name))
        for holder, names, _ in FENCED.values()
        for name in names
        if hasattr(holder, name)
    ]
    uses = {holder: use for holder, _, use in FENCED.values()}
    for holder, name, real in saved:
        shown = f"{getattr(holder, '__qualname__', holder.__name__)}.{name}"
        setattr(holder, name, _fence(loop, real, shown, uses[holder]))
    _fenced = loop
    try:
        yield
    finally:
        _fenced = None
        for holder, name, real in saved:
            setattr(holder, name, real)


def _fence(loop: SimulatedLoop, real: Callable[..., Any], name: str, use: str) -> Callable[..., Any]:
    def fenced(*args: Any, **kwargs: Any) -> Any:
        process = loop.running
        if process is None:
            return real(*args, **kwargs)
        if name in _STAMPS and sys._getframe(1).f_globals.get("__name__") == "logging":
            return process.wall_ns() / 1e9 if name == "time.time" else process.wall_ns()
        if _importing():
            return real(*args, **kwargs)
        raise _refuse(loop, f"{name}()", use)

    return fenced


_STAMPS = ("time.time", "time.time_ns")
"""What a log record takes for the present."""


def _refuse(loop: SimulatedLoop, call: str, use: str) -> NotSimulated:
    process = loop.running
    assert process is not None
    frame = sys._getframe(2)
    while frame.f_back is not None and "/harness/worlds/sim/" in frame.f_code.co_filename:
        frame = frame.f_back
    where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    error = NotSimulated(f"{process.name} calls {call} at {where}: a simulated process uses {use}")
    loop.fail(error)  # whatever the process makes of the exception
    return error


def _audit(event: str, args: tuple[Any, ...]) -> None:
    loop = _fenced
    if loop is None or loop.running is None or event not in _AUDITED:
        return
    if not _importing():
        raise _refuse(loop, f"{event}{args[:1]!r}", _AUDITED[event])


def _importing() -> bool:
    """Whether this happens because a process imports a module, which is nothing of the process's doing."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
