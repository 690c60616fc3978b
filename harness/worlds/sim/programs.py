"""What a simulated process runs: any asyncio program, by `python -m MODULE ...` or `python FILE.py ...`.

A program as it is
------------------
A script is executed anew for every process, as `__main__`, up to its `asyncio.run(main)`; `main` is the
process's life, and what it returns its exit code, if that is a number. Time, chance, streams and what it says
are the simulation's (`fences`, `endpoints`, `output`). Rules:

1. It has one `asyncio.run(...)`, which ends as asyncio's does: the tasks that are left are cancelled, and
   end. What comes after it is not run, though `finally` clauses around it are.
2. Until then it may read files; afterwards it has none. What is to survive a crash needs the disk port.
3. Modules that it imports are imported once, for all nodes and for all runs of the harness's process: their
   global variables are everybody's, and what they draw while they are imported is the same for every seed.

A program with ports
--------------------
A module that defines

    def program(arguments: Sequence[str]) -> Program: ...

is not executed as a script: `program` reads the command line and the environment (`os.environ` is the
process's own while it is called) and returns a callable, and `await program(ports)` runs the process and
returns its exit code. `program` is called outside of the process, so it may read files. What it returns may
also have an attribute

    def watch() -> Watch: ...

called once for all such programs of a cluster: what is verified after every step of their processes.

`ports` has the attributes of `Ports`. The program uses asyncio for everything else.

Of both kinds, an exception with an integer `code` ends the process with that exit code, any other as a crash.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import random
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Protocol

from harness.raised import raised
from harness.worlds import SetupError
from harness.worlds.sim.clock import Clock
from harness.worlds.sim.disk import ProcessDisk
from harness.worlds.sim.fences import Started
from harness.worlds.sim.network import ProcessNetwork
from harness.worlds.sim.process import Process, current_process

NOTHING_RUN_EXIT_CODE = 64
"""Of a script that has no `asyncio.run` (sysexits.h: EX_USAGE)."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything that a process may touch."""

    clock: Clock
    """`monotonic_ns()`, `wall_ns()`, `call_at(when_ns, callback)`, `await sleep(duration_ns)`."""
    disk: ProcessDisk
    """Of the node: `names()`, `read`, `append`, `truncate`, `remove`, `await sync`, `await replace`."""
    network: ProcessNetwork
    """`await listen(factory, address)`, `await connect(...)`, `await datagrams(...)`: asyncio's protocols."""
    random: random.Random


class Program(Protocol):
    """A process, ready to run."""

    async def __call__(self, ports: Any) -> int:
        """Run to the end; returns the exit code."""
        ...


class Watch(Protocol):
    """Looks into a cluster's processes after every step; raises an exception that says what is wrong."""

    def started(self, node: str, program: Any) -> None:
        """A process begins on the node. Nothing of it has run yet."""
        ...

    def stopped(self, node: str) -> None:
        """The process is gone, however it ended."""
        ...

    def observe(self, node: str) -> None:
        """One callback of the node's process has run."""
        ...

    def records(self, node: str, file: str, data: bytes) -> frozenset[str]:
        """What kinds of record are in what the node is writing: the names that crash points go by."""
        ...


class Script:
    """A program as it is: a file that calls `asyncio.run`."""

    def __init__(self, code: CodeType, package: str | None) -> None:
        self._code = code
        self._package = package

    async def __call__(self, ports: Ports) -> int:
        process = current_process()
        assert process is not None
        main = self._execute(process)
        if main is None:
            process.log(
                f"{self._code.co_filename} came to its end without asyncio.run(...), by which the sim world "
                "knows what to run: see docs/simulator.md\n"
            )
            return NOTHING_RUN_EXIT_CODE
        try:
            code = await main
        finally:
            if process.alive:
                await _end_other_tasks()
        return code if isinstance(code, int) else 0

    def _execute(self, process: Process) -> Coroutine[Any, Any, object] | None:
        """Run the file as `python FILE` does, up to its `asyncio.run`; returns what that was called with."""
        module = ModuleType("__main__")
        module.__file__, module.__package__ = self._code.co_filename, self._package
        outer, sys.modules["__main__"] = sys.modules["__main__"], module
        process.starting = True
        try:
            # `python -m` does not look beside the module, where a file may be named like one of the library.
            with _beside(Path(self._code.co_filename)) if self._package is None else nullcontext():
                exec(self._code, module.__dict__)
        except Started as started:
            return started.main
        finally:
            process.starting = False
            sys.modules["__main__"] = outer
        return None


async def _end_other_tasks() -> None:
    """As `asyncio.run` does once `main` is over: cancel all that still run, and let them end."""
    loop, others = asyncio.get_running_loop(), asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for task in others:
        if not task.cancelled() and (error := task.exception()) is not None:
            message = "unhandled exception during asyncio.run() shutdown"
            loop.call_exception_handler({"message": message, "exception": error, "task": task})


def started_by(argv: Sequence[str]) -> Callable[[], Program]:
    """What makes the program that a command line starts. Raises SetupError."""
    if len(argv) >= 3 and argv[1] == "-m":
        name, path = _found(argv[2])
        package, arguments, module = name.rpartition(".")[0], argv[3:], partial(importlib.import_module, name)
    elif len(argv) >= 2 and argv[1].endswith(".py"):
        path = Path(argv[1]).absolute()
        package, arguments, module = None, argv[2:], partial(_by_path, path)
    else:
        raise SetupError(f"the sim world starts `python -m MODULE` and `python FILE.py`, not {list(argv)!r}")
    code = _compiled(path)
    if "program" in code.co_names:  # is assigned to, or at least spoken of
        try:
            make = getattr(module(), "program", None)
        except Exception as error:
            raise SetupError(f"{path}: {raised(error)}") from error
        if make is not None:
            return partial(make, list(arguments))
    return partial(Script, code, package)


def _found(name: str) -> tuple[str, Path]:
    """The module that `python -m` means, and its file. Imports the packages around it, and nothing else."""
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:  # it is a package
            spec = importlib.util.find_spec(f"{name}.__main__")
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            spec = None
        else:
            raise SetupError(f"-m {name}: {raised(error)}") from error
    if spec is None or spec.origin is None:
        raise SetupError(f"-m {name}: there is no such module")
    return spec.name, Path(spec.origin)


def _compiled(path: Path) -> CodeType:
    try:
        return _compile(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from error
    except SyntaxError as error:
        raise SetupError(f"{path}: {raised(error)}") from error


@lru_cache(maxsize=64)
def _compile(path: Path, mtime_ns: int) -> CodeType:
    return compile(path.read_bytes(), path, "exec", dont_inherit=True)


def _by_path(path: Path) -> ModuleType:
    name = f"simulated:{path.resolve()}:{path.stat().st_mtime_ns}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        with _beside(path):
            spec.loader.exec_module(module)
    except Exception:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Modules in a file's folder can be imported, as Python has it for a script."""
    folder = str(path.parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
