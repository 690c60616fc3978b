"""Systems under test: how to start, reach and understand each, and what it promises.

A system is one file here, or any class named on the command line as `--system=module:Class`.
Nothing else in the harness knows a system by name.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, Protocol, runtime_checkable

from harness.history import Versioned
from harness.worlds import Cluster, SetupError

Reads = Literal["consistent", "default", "stale"]


class Refused(Exception):
    """The operation has definitely not happened: becomes `fail`."""


class Indeterminate(Exception):
    """The operation may have happened, or may still: becomes `info`. The client is closed after it."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says about a run."""

    nodes: tuple[str, ...]
    servers: int
    """How many of the nodes are servers: the first ones. The rest are client agents, if there are such."""
    reads: Reads = "consistent"
    agent: Sequence[str] | None = None
    """The program to run instead of the system's own (a mutant, another version)."""
    extra: Mapping[str, str] | None = None
    """System-specific settings."""


class KV(Protocol):
    """One client's connection to one node's key-value interface. Values are JSON values.

    Every method raises `Refused` or `Indeterminate`; anything else is a bug in the adapter.
    """

    async def read(self, key: str) -> Any:
        """The value, or None if there is no such key."""
        ...

    async def write(self, key: str, value: Any) -> None: ...

    async def cas(self, key: str, old: Any, new: Any) -> bool:
        """Atomically replace `old` by `new`; False if the value was not `old`. Never retried."""
        ...

    async def scan(self, prefix: str) -> dict[str, Any]:
        """All keys under the prefix, with their values, read at one moment."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class Watching(Protocol):
    """A `KV` whose system tells the version of what it shows, and lets clients wait for another one."""

    async def watch(self, key: str, index: int, wait: float) -> Versioned:
        """The key's value and index, once that is past `index` or after `wait` seconds; at once if that is 0.

        An index numbers the writes to the whole store. Of a missing key it is that of the store's last write.
        """
        ...


@runtime_checkable
class Transactional(Protocol):
    """A `KV` whose system reads several keys at one moment, and writes several at one moment, or none."""

    async def read_all(self, keys: Sequence[str]) -> dict[str, Versioned]:
        """Each key's value and version, all of one moment; of a missing key None and 0.

        A version numbers the writes to a key: it changes with every one, and none comes twice.
        """
        ...

    async def write_all(self, values: Mapping[str, Any], versions: Mapping[str, int]) -> bool:
        """Write all values, if by then each key of `versions` has that version (0: there is no such key).

        False if one has another: then nothing was written. Never retried.
        """
        ...


@dataclass(frozen=True, slots=True)
class MembershipBounds:
    """What a system's membership protocol promises, in seconds, from its own parameters.

    `formula` says in words how each was derived."""

    detect: float
    """After a node dies, every live node in its connected component sees it failed within this."""
    converge: float
    """After the last fault heals, every live node sees every live node alive within this."""
    formula: str


class System(Protocol):
    """A system under test. A class that inherits from this one has the defaults of what it leaves out."""

    name: str

    @abstractmethod
    def promise(self, workload: str, options: Options) -> str | None:
        """What it promises of this workload (by its name) under these options, in a sentence with its source.

        None: nothing, and the workload is skipped aloud, or refused if the command line names it.
        """
        ...

    def missing(self, options: Options) -> str | None:
        """What is not installed here and how to get it, or None, as by default."""
        return None

    def knobs(self, random: Random) -> Mapping[str, str]:
        """Settings of its own that a sweep varies, so that what is rare comes often; {}, as by default, if
        there are none."""
        return {}

    @abstractmethod
    async def start(self, cluster: Cluster, options: Options, node: str) -> None:
        """Start the node's agent, for the first time or again over its data."""
        ...

    @abstractmethod
    async def await_ready(self, cluster: Cluster, options: Options, timeout: float) -> None:
        """Return once the whole cluster serves; SetupError, with the end of a log, if it does not.

        `await_nodes` does it, for who knows when a node is ready.
        """
        ...

    async def leader(self, cluster: Cluster, options: Options) -> str | None:
        """The node that a majority of those that answer call leader, if any; none by default."""
        return None

    async def kv(self, cluster: Cluster, options: Options, node: str) -> KV:
        """Open a client. Raises Refused if the node does not take connections.

        By default there are none: SetupError.
        """
        raise SetupError(f"{self.name} has no key-value interface: it needs a --workload of its own")

    async def members(self, cluster: Cluster, options: Options, node: str) -> dict[str, str]:
        """Each member's status as this node sees it: "alive", "suspect", "failed" or "left".

        By default there is no membership: SetupError.
        """
        raise SetupError(f"{self.name} has no gossip membership")

    def membership_bounds(self, options: Options) -> MembershipBounds | None:
        """None, as by default, if it has no gossip membership."""
        return None

    def fault_seconds(self, options: Options) -> float:
        """How long each fault should last at least, if the time limit allows it, for those it spares to go on
        without those it hit. 0, as by default: whatever suits."""
        return 0.0

    @abstractmethod
    def recovery_bound(self, options: Options) -> float:
        """Seconds after the last heal within which operations must succeed on every node again."""
        ...


async def await_nodes(
    cluster: Cluster, timeout: float, not_ready: Callable[[str], Awaitable[str]], *, poll: float = 0.05
) -> None:
    """Return once every node is ready. Raises SetupError, with the end of its log, for one that is not.

    `not_ready(node)`: why it is not, or ""; what it raises of `Refused`, `Indeterminate`, OSError and
    TimeoutError (or takes longer than 2 s) is a reason, too. Asked again every `poll` seconds.
    """
    waiting = dict.fromkeys(cluster.nodes, "it does not answer")

    async def await_node(node: str) -> None:
        while True:
            if not cluster.running(node):
                raise SetupError(f"{node} ended by itself:\n{tail_of_log(cluster, node)}")
            try:
                async with asyncio.timeout(2):
                    waiting[node] = await not_ready(node)
            except (Refused, Indeterminate, OSError) as error:  # TimeoutError is one
                waiting[node] = str(error) or "it does not answer"
            if not waiting[node]:
                del waiting[node]
                return
            await asyncio.sleep(poll)

    tasks = [asyncio.create_task(await_node(node)) for node in cluster.nodes]
    try:
        async with asyncio.timeout(timeout):
            await asyncio.gather(*tasks)
    except TimeoutError:
        node, why = next(iter(waiting.items()))
        raise SetupError(
            f"{node} did not become ready within {timeout:.0f} s: {why}\n{tail_of_log(cluster, node)}"
        ) from None
    finally:
        for task in tasks:  # where one node is given up, nobody asks the others any more
            task.cancel()


def tail_of_log(cluster: Cluster, node: str, lines: int = 15) -> str:
    """The end of a node's log, for an error message."""
    path = cluster.directory(node) / "log"
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        return f"(no log: {error})"
    return "".join(f"  {node}| {line}\n" for line in text.splitlines()[-lines:])
