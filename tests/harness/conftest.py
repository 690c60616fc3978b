"""Runs in memory for the tests of the run loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import nemesis
from harness import generator as gen
from harness.generator import Operation, Source
from harness.history import History, Op
from harness.interpreter import Client
from harness.run import Inspect, Result, run
from harness.systems import KV, Options, System
from harness.systems.memory import Memory as MemorySystem
from harness.test import Checker, Follower, Test
from harness.worlds import Cluster
from harness.worlds.memory import Memory as MemoryWorld
from harness.worlds.memory import MemoryCluster

Invoke = Callable[[KV, Operation], Awaitable[Any]]


async def register(kv: KV, operation: Operation) -> Any:
    """What most tests' clients do."""
    if operation.f == "read":
        return await kv.read("x")
    await kv.write("x", operation.value)
    return operation.value


@dataclass
class RegisterClient:
    kv: KV
    perform: Invoke
    closed: bool = False

    async def invoke(self, operation: Operation) -> Any:
        assert not self.closed
        return await self.perform(self.kv, operation)

    async def close(self) -> None:
        assert not self.closed
        self.closed = True


def reads_and_writes() -> Source:
    return gen.mix(gen.repeat(Operation("read")), gen.repeat(Operation("write", 1)))


@dataclass
class Registers:
    """A workload made of parts that a test may replace."""

    source: Callable[[], Source] = reads_and_writes
    final: Callable[[], Source] = lambda: None
    perform: Invoke = register
    recovery: float = 0.0
    name: str = "registers"
    time_limit: float = 1.0
    rate: float = 500.0
    opened: list[RegisterClient] = field(default_factory=list)
    """Every client there was."""

    def generator(self, test: Test) -> Source:
        return self.source()

    def long_fault_seconds(self, system: System, options: Options) -> float:
        return 0.0

    def final_generator(self, test: Test) -> Source:
        return self.final()

    def probe(self) -> Operation:
        return Operation("read", key=0)

    def recovery_seconds(self, test: Test) -> float:
        return self.recovery

    async def open(self, test: Test, cluster: Cluster, node: str) -> Client:
        client = RegisterClient(await test.system.kv(cluster, test.options, node), self.perform)
        self.opened.append(client)
        return client

    def checkers(self, test: Test) -> Sequence[Checker]:
        return ()


class WatchedWorld(MemoryWorld):
    """Keeps the cluster that it made, to look at afterwards."""

    cluster: MemoryCluster | None = None
    closed = False

    async def open(self, nodes: tuple[str, ...], directory: Path, seed: int) -> Cluster:
        self.cluster = MemoryCluster(nodes, directory)
        close = self.cluster.close
        cuts: list[Any] = []
        self.answering: tuple[str, ...] = ()
        self.cuts = cuts
        cluster = self.cluster

        async def watched_close() -> None:
            self.answering = tuple(node for node in nodes if cluster.answers(node))
            self.closed = True
            await close()

        cut = cluster.cut

        async def watched_cut(links: Any) -> None:
            cuts.append(frozenset(links))
            await cut(cuts[-1])

        self.cluster.close = watched_close  # type: ignore[method-assign]
        self.cluster.cut = watched_cut  # type: ignore[method-assign]
        return self.cluster


class Quiet:
    """Observes, and remembers the phases."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.on_event: Callable[[Op], None] = lambda event: None

    def phase(self, name: str) -> None:
        self.phases.append(name)

    def event(self, event: Op) -> None:
        self.on_event(event)


@dataclass
class Bench:
    """One run in memory: set it up, `drive` it, look at it."""

    directory: Path
    test: Test
    workload: Registers
    world: WatchedWorld = field(default_factory=WatchedWorld)
    observer: Quiet = field(default_factory=Quiet)
    followers: Sequence[Follower] = ()
    inspect: Inspect | None = None

    def change(self, **changes: Any) -> None:
        self.test = replace(self.test, **changes)

    def damage(self, names: str, **changes: Source) -> None:
        """Have faults, on schedule or by another `generator`."""
        package = nemesis.package(
            names,
            capabilities=MemoryWorld().capabilities,
            nodes=5,
            timing=nemesis.Timing(self.test.time_limit),
            seed=1,
        )
        self.change(nemesis=replace(package, **changes))  # type: ignore[arg-type]

    async def start(self) -> Result:
        return await run(
            self.test,
            self.world,
            self.directory,
            self.observer,
            followers=self.followers,
            inspect=self.inspect,
        )

    def drive(self) -> tuple[Result, History]:
        result = asyncio.run(self.start())
        return result, self.history()

    def history(self) -> History:
        return History.read(self.directory / "history.jsonl")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Five nodes, ten clients, half a second, no faults."""
    workload = Registers()
    test = Test(
        name="bench",
        system=MemorySystem(),
        options=Options(nodes=("n1", "n2", "n3", "n4", "n5"), servers=5),
        workload=workload,
        nemesis=nemesis.NONE,
        concurrency=10,
        rate=1000.0,
        time_limit=0.3,
        operation_timeout=0.2,
        seed=1,
    )
    return Bench(tmp_path, test, workload)
