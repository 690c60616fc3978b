"""Worlds, systems and workloads by name: the built-in ones, or anybody's class as `module:Class`.

Nothing is imported before it is asked for: an unused world may need libraries that are not there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

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
    """No such world, system or workload. The message lists those there are."""


def world(name: str) -> World:
    """The world of that name. Raises UnknownName."""
    made: World = find("world", name, WORLDS)()
    return made


def system(name: str) -> System:
    """The system of that name. Raises UnknownName."""
    made: System = find("system", name, SYSTEMS)()
    return made


def find(kind: str, name: str, table: Mapping[str, str | Callable[[], Any]]) -> Callable[[], Any]:
    """What makes the thing of that name: the table's entry, or the class itself. Raises UnknownName."""
    location = table.get(name, name)
    if not isinstance(location, str):
        return location
    module_name, colon, class_name = location.partition(":")
    if not colon:
        raise UnknownName(f"no {kind} {name!r}; there are {', '.join(table)}, or your own as module:Class")
    try:
        made: Callable[[], Any] = getattr(importlib.import_module(module_name), class_name)
        return made
    except (ImportError, AttributeError) as error:
        raise UnknownName(f"{kind} {name!r}: {error}") from error
