"""Worlds and systems by name: the built-in ones, or anybody's class as `module:Class`.

Nothing is imported before it is asked for: an unused world may need libraries that are not there.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, cast

from harness.systems import System
from harness.worlds import World

WORLDS: Mapping[str, str] = {
    "netns": "harness.worlds.netns:Netns",
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
    return cast(World, _made("world", name, WORLDS))


def system(name: str) -> System:
    """The system of that name. Raises UnknownName."""
    return cast(System, _made("system", name, SYSTEMS))


def _made(kind: str, name: str, table: Mapping[str, str]) -> Any:
    location = table.get(name, name)
    module_name, colon, class_name = location.partition(":")
    if not colon:
        raise UnknownName(f"no {kind} {name!r}; there are {', '.join(table)}, or your own as module:Class")
    try:
        module = importlib.import_module(module_name)
        return getattr(module, class_name)()
    except (ImportError, AttributeError) as error:
        raise UnknownName(f"{kind} {name!r}: {error}") from error
