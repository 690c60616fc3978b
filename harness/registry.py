"""Worlds, systems and workloads by name: the built-in ones, or anybody's class as `module:Class`.

Rules
-----
1. Nothing is imported before it is asked for: an unused world may need libraries that are not there.
2. A module of somebody's own is looked for in the current directory, too.
3. What is found has everything that its protocol names, or it is not found: a method that was forgotten must
   not show in the middle of a run.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from harness.raised import raised
from harness.systems import System
from harness.worlds import World

WORLDS: Mapping[str, str] = {
    "netns": "harness.worlds.netns:Netns",
    "sim": "harness.worlds.sim:Sim",
    "memory": "harness.worlds.memory:Memory",
}

SYSTEMS: Mapping[str, str] = {
    "proconsul": "harness.systems.proconsul:Proconsul",
    "etcd": "harness.systems.etcd:Etcd",
    "memory": "harness.systems.memory:Memory",
}


class UnknownName(Exception):
    """No such world, system or workload, or it is none: the message says what there is, or what it lacks."""


def world(name: str) -> World:
    """The world of that name. Raises UnknownName."""
    made: World = find("world", name, WORLDS, World)
    return made


def system(name: str) -> System:
    """The system of that name. Raises UnknownName."""
    made: System = find("system", name, SYSTEMS, System)
    return made


def find(kind: str, name: str, table: Mapping[str, str], protocol: type) -> Any:
    """The thing of that name, of the table or anybody's own, with all that the protocol names.

    Raises UnknownName.
    """
    factory = _class_of(kind, name, table)
    lacking = sorted(getattr(factory, "__abstractmethods__", ()))
    if not lacking:
        try:
            made = factory()
        except Exception as error:
            raise UnknownName(f"{kind} {name!r} cannot be made without arguments: {raised(error)}") from error
        members = {*protocol.__annotations__, *(n for n in vars(protocol) if not n.startswith("_"))}
        lacking = sorted(member for member in members if not hasattr(made, member))
    if lacking:
        whole = f"{protocol.__module__}.{protocol.__name__}"
        raise UnknownName(
            f"{kind} {name!r} lacks {', '.join(lacking)}: {whole} says what each is for, and a class that "
            "inherits from it need not have what is optional"
        )
    return made


def _class_of(kind: str, name: str, table: Mapping[str, str]) -> Callable[[], Any]:
    """The class of that name."""
    module_name, colon, class_name = table.get(name, name).partition(":")
    if not colon:
        raise UnknownName(f"no {kind} {name!r}; there are {', '.join(table)}, or your own as module:Class")
    here = os.getcwd()
    if name not in table and here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise UnknownName(f"{kind} {name!r}: {raised(error)}") from error
        raise UnknownName(
            f"{kind} {name!r}: there is no module {error.name}, neither here ({here}) nor where Python looks"
        ) from error
    except Exception as error:
        raise UnknownName(f"{kind} {name!r}: {raised(error)}") from error
    made: Callable[[], Any] | None = getattr(module, class_name, None)
    if made is None:
        classes = [n for n, item in vars(module).items() if inspect.isclass(item) and not n.startswith("_")]
        own = [n for n in classes if vars(module)[n].__module__ == module.__name__]
        raise UnknownName(f"{kind} {name!r}: {module_name} has no {class_name}; it has {', '.join(own)}")
    return made
