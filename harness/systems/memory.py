"""A key-value store in the harness's own process: linearizable, unless told otherwise.

For trying the harness out (`pytest harness/ --world=memory --system=memory`), for its tests, and for
measuring it. It needs the memory world.

How it keeps its promise: there is one table, and a node serves only while it can talk to a majority;
otherwise the request waits, as it would for an elected leader, until the client gives up.

How it can break it:

- `--reads=stale` reads the node's own copy, which a cut-off node does not get updates for;
- `fault=lose-writes` (in `Options.extra`) acknowledges every tenth write without doing it;
- `fault=crash` ends the process of the node that served the hundredth request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from harness.history import Versioned
from harness.systems import KV, MembershipBounds, Options, Refused, System
from harness.worlds import Cluster, SetupError
from harness.worlds.memory import MemoryCluster

FAULTS = ("lose-writes", "crash")


MISSING = Versioned(None, 0)


@dataclass(slots=True)
class _Table:
    """What the nodes share."""

    values: dict[str, Versioned] = field(default_factory=dict)
    """By key, with the number of the write."""
    copies: dict[str, dict[str, Versioned]] = field(default_factory=dict)
    """Each node's own, brought up to date whenever the node is with the majority."""
    writes: int = 0
    requests: int = 0


class Memory(System):
    """Implements `harness.systems.System`."""

    name = "memory"

    def promise(self, workload: str, options: Options) -> str | None:
        if workload == "watch":
            return None
        if workload in ("append", "wr"):
            strict = "Serializable" if options.reads == "stale" else "Strict serializable"
            return f"{strict}: one table behind it all (harness/systems/memory.py)."
        if options.reads == "stale":
            return "Linearizable writes; reads of a cut-off node may be stale (harness/systems/memory.py)."
        return "Linearizable: one table behind it all (harness/systems/memory.py)."

    def missing(self, options: Options) -> str | None:
        return None

    def knobs(self, random: Random) -> Mapping[str, str]:
        return {}

    async def start(self, cluster: Cluster, options: Options, node: str) -> None:
        fault = (options.extra or {}).get("fault")
        if fault is not None and fault not in FAULTS:
            raise SetupError(f"the memory system knows no fault {fault!r}; there are {', '.join(FAULTS)}")
        _of(cluster).state.setdefault("table", _Table())
        await cluster.start(node, ["memory", fault or "correct"], {})

    async def await_ready(self, cluster: Cluster, options: Options, timeout: float) -> None:
        for node in cluster.nodes:
            if not cluster.running(node):
                raise SetupError(f"{node} is not running")

    async def leader(self, cluster: Cluster, options: Options) -> str | None:
        memory = _of(cluster)
        return next((node for node in memory.nodes if memory.in_majority(node)), None)

    async def kv(self, cluster: Cluster, options: Options, node: str) -> KV:
        memory = _of(cluster)
        if not memory.running(node):
            raise Refused(f"{node} is not running")
        return MemoryKV(memory, node, options)

    async def members(self, cluster: Cluster, options: Options, node: str) -> dict[str, str]:
        memory = _of(cluster)
        await _until_answers(memory, node)
        return {
            other: "alive" if memory.answers(other) and memory.reaches(node, other) else "failed"
            for other in memory.nodes
        }

    def membership_bounds(self, options: Options) -> MembershipBounds | None:
        return MembershipBounds(1.0, 1.0, "at once, and a second of grace")

    def recovery_bound(self, options: Options) -> float:
        return 5.0  # at once; but a busy machine's clients may not have come to every node in a second


class MemoryKV:
    """One client. Implements `harness.systems.KV`."""

    __slots__ = ("_cluster", "_fault", "_node", "_stale", "_table")

    def __init__(self, cluster: MemoryCluster, node: str, options: Options) -> None:
        self._cluster = cluster
        self._node = node
        self._stale = options.reads == "stale"
        self._fault = (options.extra or {}).get("fault")
        self._table: _Table = cluster.state["table"]

    async def read(self, key: str) -> Any:
        return (await self._values()).get(key, MISSING).value

    async def write(self, key: str, value: Any) -> None:
        await self._served()
        self._put(key, value)

    async def cas(self, key: str, old: Any, new: Any) -> bool:
        await self._served()
        if self._table.values.get(key, MISSING).value != old:
            return False
        self._put(key, new)
        return True

    async def scan(self, prefix: str) -> dict[str, Any]:
        values = await self._values()
        return {key: one.value for key, one in values.items() if key.startswith(prefix)}

    async def read_all(self, keys: Sequence[str]) -> dict[str, Versioned]:
        values = await self._values()
        return {key: values.get(key, MISSING) for key in keys}

    async def write_all(self, values: Mapping[str, Any], versions: Mapping[str, int]) -> bool:
        await self._served()
        table = self._table.values
        if any(table.get(key, MISSING).version != version for key, version in versions.items()):
            return False
        for key, value in values.items():
            self._put(key, value)
        return True

    async def close(self) -> None:
        pass

    def _put(self, key: str, value: Any) -> None:
        table = self._table
        table.writes += 1
        if self._fault != "lose-writes" or table.writes % 10:
            table.values[key] = Versioned(value, table.writes)

    async def _served(self) -> None:
        """Wait until the node serves, as a request would; Refused once it is dead."""
        cluster, node = self._cluster, self._node
        while not cluster.in_majority(node):
            if not cluster.running(node):
                raise Refused(f"{node} is not running")
            await cluster.changed.wait()
        self._table.requests += 1
        if self._fault == "crash" and self._table.requests == 100:
            cluster.crash(node, "exit status 1")

    async def _values(self) -> Mapping[str, Versioned]:
        """What a read looks into."""
        if self._stale:
            return await self._own_copy()
        await self._served()
        return self._table.values

    async def _own_copy(self) -> Mapping[str, Versioned]:
        """The table as the node last saw it."""
        cluster, node, table = self._cluster, self._node, self._table
        await _until_answers(cluster, node)
        if cluster.in_majority(node):
            table.copies[node] = dict(table.values)
        return table.copies.get(node, {})


async def _until_answers(cluster: MemoryCluster, node: str) -> None:
    while not cluster.answers(node):
        if not cluster.running(node):
            raise Refused(f"{node} is not running")
        await cluster.changed.wait()


def _of(cluster: Cluster) -> MemoryCluster:
    if not isinstance(cluster, MemoryCluster):
        raise SetupError("the memory system needs --world=memory")
    return cluster
