"""Client, generator and checkers for one promise each: one file per promise.

`registry()` names them all.
"""

from __future__ import annotations

from collections.abc import Mapping


def registry() -> Mapping[str, str]:
    """Every workload by name, as "module:Class"."""
    return {
        "register": "workloads.register:Register",
        "set": "workloads.set:Set",
        "session": "workloads.session:Session",
        "watch": "workloads.watch:Watch",
        "append": "workloads.append:Append",
        "wr": "workloads.wr:Wr",
        "gossip": "workloads.gossip:Gossip",
    }


DEFAULT = ("register", "set", "gossip")
"""What runs where none is named: the promises that most depends on, under two minutes a nemesis."""


def named(names: str) -> list[str]:
    """What a command line means: names by comma, in its order; `all` is every name of the registry."""
    return list(registry()) if names == "all" else [name.strip() for name in names.split(",")]
