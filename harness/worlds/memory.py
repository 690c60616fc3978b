"""The memory world: nodes are entries in a table, a process is a flag.

No process, network or disk: faults only change what `harness.systems.memory` sees. It is for trying the
harness out, for its tests, and to measure what the harness itself can drive (`benchmarks/run_loop.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from harness.worlds import Cluster, Completed, Exit, InjectionError, Limited, Link, SetupError

_Result = TypeVar("_Result")

CAPABILITIES = frozenset({"kill", "pause", "cut"})


class Memory:
    """Makes clusters of nodes that are only pretended."""

    name = "memory"

    def __init__(self) -> None:
        self.capabilities = CAPABILITIES

    def missing(self) -> str | None:
        return None

    def run(self, main: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run(main)

    async def open(self, nodes: tuple[str, ...], directory: Path, seed: int) -> Cluster:
        return MemoryCluster(nodes, directory)


class MemoryCluster(Limited):
    """Implements `harness.worlds.Cluster`, but for what needs a real node (`run`, `connect`)."""

    def __init__(self, nodes: tuple[str, ...], directory: Path) -> None:
        self.nodes = nodes
        self.capabilities = CAPABILITIES
        self.exits: list[Exit] = []
        self.state: dict[str, Any] = {}
        """For the system: whatever its nodes share."""
        self.changed = asyncio.Event()
        """Set, and replaced by a new one, whenever a fault comes or goes."""
        self._directory = directory
        self._in_majority: dict[str, bool] = {}
        """What was worked out since the last change: asked for at every request."""
        self._running: set[str] = set()
        self._paused: set[str] = set()
        self._subscribers: list[Callable[[Exit], None]] = []
        self._cut: frozenset[Link] = frozenset()

    # --- For the system --------------------------------------------------------------------------------

    def answers(self, node: str) -> bool:
        """Whether the node's process is there and not paused."""
        return node in self._running and node not in self._paused

    def reaches(self, node: str, other: str) -> bool:
        """Whether two nodes can talk, both ways."""
        return (node, other) not in self._cut and (other, node) not in self._cut

    def in_majority(self, node: str) -> bool:
        """Whether the node answers and, itself counted, reaches more than half of all that do or should."""
        known = self._in_majority.get(node)
        if known is None:
            peers = sum(self.answers(other) and self.reaches(node, other) for other in self.nodes)
            known = self._in_majority[node] = self.answers(node) and 2 * peers > len(self.nodes)
        return known

    def crash(self, node: str, status: str) -> None:
        """End the node's process without anybody having asked."""
        self._end(node, status, expected=False)

    # --- Cluster ---------------------------------------------------------------------------------------

    def address(self, node: str) -> str:
        return f"10.0.0.{self.nodes.index(node) + 1}"

    def directory(self, node: str) -> Path:
        return self._directory / node

    def on_exit(self, callback: Callable[[Exit], None]) -> None:
        self._subscribers.append(callback)

    async def start(self, node: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        if node in self._running:
            raise SetupError(f"{node} is running already")
        directory = self.directory(node)
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / "log").open("a") as log:
            log.write(f"started: {' '.join(argv)}\n")
        self._running.add(node)
        self._change()

    async def stop(self, node: str, timeout: float = 10.0) -> None:
        self._end(node, "exit status 0", expected=True)

    async def kill(self, node: str) -> None:
        self._end(node, "killed by SIGKILL", expected=True)

    async def pause(self, node: str) -> None:
        self._require(node)
        self._paused.add(node)
        self._change()

    async def resume(self, node: str) -> None:
        self._require(node)
        self._paused.discard(node)
        self._change()

    def running(self, node: str) -> bool:
        return node in self._running

    async def run(self, node: str, argv: Sequence[str], timeout: float = 10.0) -> Completed:
        raise SetupError("the memory world has no nodes to run commands on")

    async def cut(self, links: Iterable[Link]) -> None:
        self._cut = frozenset(links)
        self._change()

    async def connect(
        self, factory: Callable[[], asyncio.Protocol], node: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        raise SetupError("the memory world has no network")

    async def close(self) -> None:
        for node in sorted(self._running):
            self._end(node, "killed by SIGKILL", expected=True)

    def _require(self, node: str) -> None:
        if node not in self._running:
            raise InjectionError(f"{node} is not running")

    def _end(self, node: str, status: str, *, expected: bool) -> None:
        if node in self._running:
            self._running.discard(node)
            self._paused.discard(node)
            record = Exit(node, status, expected)
            self.exits.append(record)
            for callback in self._subscribers:
                callback(record)
            self._change()

    def _change(self) -> None:
        self._in_majority.clear()
        self.changed.set()
        self.changed = asyncio.Event()
