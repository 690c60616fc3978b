"""A set that grows: every acknowledged element must be found again.

Each element is a key of its own under one prefix, and a read is one scan of the prefix. Reads go on during
the run, so that it can be told when an element appeared and whether it ever vanished; at the end every client
reads once more, for what is missing then is lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from checkers.availability import Availability
from checkers.online_set import SetFollower
from checkers.performance import Performance
from checkers.set_full import SetFull
from checkers.stats import Stats
from harness import generator as gen
from harness.generator import Operation, Source
from harness.interpreter import Client
from harness.systems import KV
from harness.test import Checker, Follower, Test, Workload
from harness.worlds import Cluster

PREFIX = "set/"
ADDS_PER_READ = 15


class Set(Workload):
    """Durability of acknowledged writes."""

    name = "set"

    def generator(self, test: Test) -> Source:
        return _adds_and_reads()

    def final_generator(self, test: Test) -> Source:
        return gen.each_thread(gen.until_ok(gen.repeat(Operation("read"))))

    def probe(self) -> Operation:
        return Operation("read")

    async def open(self, test: Test, cluster: Cluster, node: str) -> Client:
        return SetClient(await test.system.kv(cluster, test.options, node))

    def checkers(self, test: Test) -> Sequence[Checker]:
        return (
            # Without consistent reads nobody promises that a read is fresh, but nothing may be lost.
            SetFull(linearizable=test.options.reads == "consistent"),
            Availability(test.system.recovery_bound(test.options)),
            Stats(),
            Performance(),
        )

    def followers(self, test: Test) -> Sequence[Follower]:
        return (SetFollower(linearizable=test.options.reads == "consistent"),)


def _adds_and_reads() -> Iterator[Operation]:
    for element in itertools.count():
        yield Operation("add", element)
        if element % ADDS_PER_READ == ADDS_PER_READ - 1:
            yield Operation("read")


class SetClient:
    """Implements `harness.interpreter.Client`."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv

    async def invoke(self, operation: Operation) -> Any:
        match operation.f:
            case "add":
                await self._kv.write(f"{PREFIX}{operation.value}", operation.value)
                return operation.value
            case "read":
                return sorted((await self._kv.scan(PREFIX)).values())
            case _:
                raise ValueError(f"no such operation on a set: {operation.f}")

    async def close(self) -> None:
        await self._kv.close()
