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
