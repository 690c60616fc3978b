"""What a simulated process runs: any asyncio program that takes its surroundings as ports.

The convention: a Python module, started as `python -m MODULE ARGUMENTS` or `python FILE.py ARGUMENTS`, has

    def program(arguments: Sequence[str]) -> Program: ...

which reads the command line and the environment (`os.environ` is the process's own while it is called) and
returns a callable: `await program(ports)` runs the process and returns its exit code. `program` is called
outside of the process, so it may read files. An exception with an integer `code` ends the process with that
exit code, and any other as a crash. What it returns may also have an attribute

    def watch() -> Watch: ...

called once for all such programs of a cluster: what is verified after every step of their processes.

`ports` has the attributes of `Ports`: the only ways out. The program uses asyncio for everything else. Its
streams, servers and datagram endpoints lead to the simulated network, too (`endpoints`).
"""

from __future__ import annotations

import importlib
import importlib.util
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from harness.worlds import SetupError
from harness.worlds.sim.clock import Clock
from harness.worlds.sim.disk import ProcessDisk
from harness.worlds.sim.network import ProcessNetwork


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


def module_of(argv: Sequence[str]) -> tuple[ModuleType, list[str]]:
    """The module that a command line starts, and its arguments. Raises SetupError."""
    if len(argv) >= 3 and argv[1] == "-m":
        name, module, arguments = argv[2], _by_name(argv[2]), list(argv[3:])
    elif len(argv) >= 2 and argv[1].endswith(".py"):
        name, module, arguments = argv[1], _by_path(Path(argv[1])), list(argv[2:])
    else:
        raise SetupError(f"the sim world starts `python -m MODULE` and `python FILE.py`, not {list(argv)!r}")
    if not hasattr(module, "program"):
        raise SetupError(
            f"{name}: it has no `program(arguments)`, which the sim world would run: see docs/simulator.md"
        )
    return module, arguments


def _by_name(name: str) -> ModuleType:
    for candidate in (f"{name}.__main__", name):
        try:
            return importlib.import_module(candidate)
        except ModuleNotFoundError as error:
            if error.name not in (candidate, name):
                raise SetupError(f"-m {name}: {error}") from error
    raise SetupError(f"-m {name}: there is no such module")


def _by_path(path: Path) -> ModuleType:
    try:
        name = f"simulated:{path.resolve()}:{path.stat().st_mtime_ns}"
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from error
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # as Python does for a script
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise SetupError(f"{path}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module
